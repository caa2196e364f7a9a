//! The pipeline's first hours: a row for each sealing thread, a bar for each task, from the run behind the forecast.
//!
//! The bars of a stage are one path: a hundred threads with ten bars each would be a thousand elements otherwise.

use super::words::{class, step};
use crate::planner::{
    artefacts::Played,
    simulate::{Part, Span},
};
use serde::Serialize;
use std::{collections::BTreeMap, fmt::Write};

/// The drawing is so wide; the page stretches it to what there is, and writes the labels beside it.
const WIDTH: f64 = 1000.0;
/// More rows than this are nothing that an eye can follow.
const ROWS_MAX: usize = 64;

/// The drawing.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Gantt {
    /// In pixels, as places of rows are.
    height: String,
    ticks: Vec<Tick>,
    rows: Vec<Row>,
    /// The background of all rows: where nothing lies on it, a sector waits for its turn.
    track: String,
    bars: Vec<Bars>,
    caption: String,
}

#[derive(Clone, Debug, Serialize)]
struct Tick {
    /// In percent.
    at: String,
    /// In the drawing.
    x: String,
    label: String,
}

#[derive(Clone, Debug, Serialize)]
struct Row {
    at: String,
    label: String,
}

/// All bars of one kind.
#[derive(Clone, Debug, Serialize)]
struct Bars {
    class: &'static str,
    path: String,
}

pub(super) fn of(played: &Played) -> Gantt {
    let threads = played.line.threads.len();
    let shown = shown(threads);
    let pitch = match shown.len() {
        0..=16 => 18.0,
        17..=32 => 12.0,
        _ => 8.0,
    };
    let thick = pitch - if pitch > 10.0 { 3.0 } else { 2.0 };
    let scale = WIDTH / played.shown_ms.max(1.0);
    let x = |ms: f64| ms.min(played.shown_ms) * scale;
    let y = |row: usize| row as f64 * pitch;
    let row_of: BTreeMap<u32, usize> = shown.iter().enumerate().map(|(row, thread)| (*thread as u32, row)).collect();
    let mut bars: BTreeMap<&'static str, String> = BTreeMap::new();
    for span in &played.spans {
        let Some(row) = row_of.get(&span.thread) else { continue };
        let (from, to) = (x(span.from_ms), x(span.to_ms));
        bar(bars.entry(kind(played, span)).or_default(), from, y(*row), (to - from).max(0.3), thick);
    }
    let mut track = String::new();
    (0..shown.len()).for_each(|row| bar(&mut track, 0.0, y(row), WIDTH, thick));
    let label_every = (15.0 / pitch).ceil() as usize;
    let labelled = shown.iter().enumerate().filter(|(row, _)| row.is_multiple_of(label_every.max(1)));
    Gantt {
        height: format!("{:.0}", y(shown.len())),
        ticks: ticks(played.shown_ms, x),
        rows: labelled
            .map(|(row, thread)| Row { at: format!("{:.1}", y(row) + thick / 2.0), label: (thread + 1).to_string() })
            .collect(),
        track,
        bars: ORDER.into_iter().filter_map(|class| Some(Bars { class, path: bars.remove(class)? })).collect(),
        caption: match shown.len() == threads {
            true => format!("each of the {threads} sealing threads is a row"),
            false => format!("{} of the {threads} sealing threads, each a row", shown.len()),
        },
    }
}

/// What is drawn later lies above.
const ORDER: [&str; 8] = ["chain", "addpieces", "treed", "pc1", "pc2", "transfer", "c1", "c2"];

fn kind(played: &Played, span: &Span) -> &'static str {
    match span.part {
        Part::Station(station) => class(played.line.stations[station].name),
        Part::Wait(_) => "chain",
    }
}

/// All threads, or as many as can be seen, evenly from all.
fn shown(threads: usize) -> Vec<usize> {
    let rows = threads.min(ROWS_MAX);
    (0..rows).map(|row| row * threads / rows).collect()
}

fn bar(path: &mut String, x: f64, y: f64, width: f64, height: f64) {
    write!(path, "M{x:.1} {y:.1}h{width:.1}v{height:.1}h-{width:.1}z").expect("a String takes everything");
}

fn ticks(until_ms: f64, x: impl Fn(f64) -> f64) -> Vec<Tick> {
    let (unit_ms, unit) = [(86_400_000.0, "d"), (3_600_000.0, "h"), (60_000.0, "min")]
        .into_iter()
        .find(|(unit_ms, _)| until_ms >= 3.0 * unit_ms)
        .unwrap_or((1000.0, "s"));
    let step = step(until_ms / unit_ms, 6.0).max(0.1);
    let count = (until_ms / unit_ms / step + 1e-9) as u32;
    let tick = |i: u32| {
        let value = (f64::from(i) * step * 10.0).round() / 10.0;
        let place = x(value * unit_ms);
        let label = if i == 0 { "0".to_owned() } else { format!("{value} {unit}") };
        Tick { at: format!("{:.2}", place / WIDTH * 100.0), x: format!("{place:.1}"), label }
    };
    (0..=count).map(tick).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_threads_are_thinned_out_evenly() {
        assert_eq!(shown(3), [0, 1, 2]);
        let many = shown(256);
        assert_eq!((many.len(), many[0], many[1], many[63]), (64, 0, 4, 252));
    }

    #[test]
    fn times_on_the_axis_are_round() {
        let labels = |hours: f64| -> Vec<String> {
            ticks(hours * 3_600_000.0, |ms| ms).into_iter().map(|tick| tick.label).collect()
        };
        assert_eq!(labels(20.0), ["0", "5 h", "10 h", "15 h", "20 h"]);
        assert_eq!(labels(0.01), ["0", "10 s", "20 s", "30 s"]);
    }
}
