//! report.html as values: everything that the page shows, with every length and place reckoned; the template only writes it down.
//!
//! ```text
//! Order, Played ─► head (what, how many) ─ chart (output against target) ─┬─ machine (cores by stage, memory per node)
//!                                                                         ├─ gantt (threads through the first hours)
//!                                                                         └─ stages, bounds, what one more would bring
//! ```
//!
//! One file that loads nothing: drawings are SVG and boxes in the page itself, no script. The same order gives the same bytes.

mod chart;
mod gantt;
mod machine;
mod memory;
mod words;

use super::{
    artefacts::{MachineType, Operations, Order, Played, Purchase, operations, purchase, settings},
    simulate::{Forecast, StageUse},
};
use crate::{profile::Cost, units::Bytes};
use serde::Serialize;
use words::{count, rate, share, time};

/// The page.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Page {
    title: String,
    summary: String,
    cards: Vec<Card>,
    chart: chart::Chart,
    types: Vec<Section>,
    is_fleet: bool,
    purchase: Purchase,
    operations: Operations,
    version: &'static str,
}

/// A figure that is read first.
#[derive(Clone, Debug, Serialize)]
struct Card {
    label: &'static str,
    value: String,
    note: String,
    /// `good`, `bad`, or nothing.
    tone: &'static str,
}

/// A type of machine.
#[derive(Clone, Debug, Serialize)]
struct Section {
    id: String,
    name: String,
    /// `seal`, and what that means.
    role: &'static str,
    count: String,
    drawn: Option<machine::Drawn>,
    memory: Vec<memory::Bar>,
    played: Option<Course>,
    figures: Vec<Figure>,
    settings: Vec<String>,
    warnings: Vec<String>,
}

/// How a machine's month goes.
#[derive(Clone, Debug, Serialize)]
struct Course {
    bottleneck: String,
    gantt: gantt::Gantt,
    stages: Vec<StageRow>,
    shared: Vec<SharedRow>,
    bounds: Vec<Bound>,
    one_more: Vec<Gain>,
    first: String,
    whole: String,
    notes: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
struct StageRow {
    stage: &'static str,
    class: &'static str,
    task: String,
    at_once: String,
    busy: String,
    /// Of the bar, in percent.
    width: String,
    wait: String,
}

#[derive(Clone, Debug, Serialize)]
struct SharedRow {
    name: String,
    busy: String,
    width: String,
}

#[derive(Clone, Debug, Serialize)]
struct Bound {
    what: String,
    a_day: String,
}

#[derive(Clone, Debug, Serialize)]
struct Gain {
    what: String,
    gain: String,
    a_day: String,
}

/// What the plan rests on.
#[derive(Clone, Debug, Serialize)]
struct Figure {
    stage: &'static str,
    takes: String,
    memory: String,
    source: String,
}

pub(super) fn page(order: &Order, played: &[Option<Played>]) -> Page {
    let target = &order.target;
    let machines: u32 = order.types.iter().map(MachineType::count).sum();
    let types = order.types.iter().zip(played).enumerate();
    Page {
        title: format!("{} of {} sectors", target.rate, target.sector_size),
        summary: summary(order, machines),
        cards: cards(order, played, machines),
        chart: chart::of(order, played),
        types: types.map(|(i, (one, played))| section(i, one, played.as_ref())).collect(),
        is_fleet: order.is_fleet,
        purchase: purchase(order),
        operations: operations(order, played),
        version: env!("CARGO_PKG_VERSION"),
    }
}

fn summary(order: &Order, machines: u32) -> String {
    match order.types.as_slice() {
        [one] => format!("{}: {}", count(machines, "machine"), one.name),
        types => format!("{} of {} types", count(machines, "machine"), types.len()),
    }
}

fn cards(order: &Order, played: &[Option<Played>], machines: u32) -> Vec<Card> {
    let needed_a_day = order.needed * 24.0;
    let made = output(order, played);
    let bytes = |sectors: f64| Bytes((sectors * order.target.sector_size.bytes().0 as f64) as u64).human();
    let mut cards = vec![
        Card {
            label: "Needed",
            value: format!("{} a day", bytes(needed_a_day)),
            note: format!("{} sectors", rate(needed_a_day)),
            tone: "",
        },
        Card {
            label: "Expected",
            value: format!("{} a day", bytes(made.expected)),
            note: format!("{} sectors, {} to {}", rate(made.expected), rate(made.low), rate(made.high)),
            tone: if made.expected >= needed_a_day { "good" } else { "bad" },
        },
    ];
    let buy: u32 = order.types.iter().map(|one| one.buy).sum();
    let priced = order.price.map_or_else(String::new, |price| format!(" for {}", words::grouped(price as i64)));
    cards.push(Card {
        label: "Machines",
        value: machines.to_string(),
        note: match buy {
            0 => "all on hand".to_owned(),
            buy => format!("{buy} to buy{priced}"),
        },
        tone: "",
    });
    if let [Some(played)] = played {
        let first = played.forecast.first_minutes.map_or_else(|| "not in this time".to_owned(), time);
        cards.push(Card {
            label: "Bottleneck",
            value: played.forecast.bottleneck.clone(),
            note: format!("first sector after {first}"),
            tone: "",
        });
    }
    cards
}

/// Sectors a day of all machines: as played where that was done, else as planned; C2 machines only serve the others.
fn output(order: &Order, played: &[Option<Played>]) -> super::simulate::Range {
    let mut all = super::simulate::Range { low: 0.0, expected: 0.0, high: 0.0 };
    for (one, played) in order.types.iter().zip(played) {
        let machines = f64::from(one.count());
        let planned = one.sectors_per_hour * 24.0;
        let range = match played {
            Some(played) => played.forecast.sectors_per_day,
            None if one.role == super::fleet::Role::C2 => continue,
            None => super::simulate::Range { low: planned, expected: planned, high: planned },
        };
        all.low += range.low * machines;
        all.expected += range.expected * machines;
        all.high += range.high * machines;
    }
    all
}

fn section(place: usize, one: &MachineType, played: Option<&Played>) -> Section {
    let plan = one.host.as_ref().and_then(|host| host.plan.as_ref());
    Section {
        id: format!("type-{place}"),
        name: one.name.clone(),
        role: match one.role {
            super::fleet::Role::Seal => "seals the whole way",
            super::fleet::Role::Precommit => "everything but C2",
            super::fleet::Role::C2 => "C2 of others",
        },
        count: count(one.count(), "machine"),
        drawn: one.host.as_ref().map(|host| machine::drawn(one, host, played)),
        memory: plan.map_or_else(Vec::new, memory::bars),
        played: played.map(course),
        figures: plan.map_or_else(Vec::new, |plan| plan.stages.iter().map(figure).collect()),
        settings: one.host.as_ref().map_or_else(Vec::new, |host| settings(&host.machine)),
        warnings: plan.map_or_else(Vec::new, |plan| plan.warnings.clone()),
    }
}

fn course(played: &Played) -> Course {
    let Forecast { bottleneck, stages, shared, locks, bounds, one_more, notes, .. } = &played.forecast;
    let busy = shared.iter().chain(locks).filter(|one| one.busy > 0.0);
    Course {
        bottleneck: bottleneck.clone(),
        gantt: gantt::of(played),
        stages: stages.iter().map(stage_row).collect(),
        shared: busy
            .map(|one| SharedRow { name: one.name.clone(), busy: share(one.busy), width: percent(one.busy) })
            .collect(),
        bounds: bounds
            .iter()
            .take(5)
            .map(|bound| Bound { what: bound.what.clone(), a_day: rate(bound.sectors_per_day) })
            .collect(),
        one_more: one_more
            .iter()
            .take(5)
            .map(|more| Gain {
                what: more.what.clone(),
                gain: format!("+{:.1} %", more.gain * 100.0),
                a_day: rate(more.sectors_per_day),
            })
            .collect(),
        first: played.forecast.first_minutes.map_or_else(|| "not in this time".to_owned(), time),
        whole: time(played.forecast.minutes_per_sector),
        notes: notes.clone(),
    }
}

fn stage_row(stage: &StageUse) -> StageRow {
    StageRow {
        stage: stage.stage,
        class: words::class(stage.stage),
        task: time(stage.task_minutes),
        at_once: format!("{} of {}", rate(stage.at_once), stage.at_once_max),
        busy: share(stage.busy),
        width: percent(stage.busy),
        wait: time(stage.wait_minutes),
    }
}

fn percent(part: f64) -> String {
    format!("{:.1}", (part * 100.0).clamp(0.0, 100.0))
}

fn figure(cost: &Cost) -> Figure {
    let cores = cost.cores();
    let band = (cost.band.low, cost.band.high);
    let minutes = cost.minutes(cores);
    let span = if band.0 < band.1 {
        format!(" ({} to {})", time(minutes * band.0), time(minutes * band.1))
    } else {
        String::new()
    };
    Figure {
        stage: cost.stage.name(),
        takes: format!("{}{span} on {}", time(minutes), count(cores, "core")),
        memory: cost.memory_on(cores).human(),
        source: cost.source.clone(),
    }
}
