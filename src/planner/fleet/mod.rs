//! The cheapest mix of machines that makes a target, with every stage served.
//!
//! ```text
//! fleet.toml ─► entries ─► what one machine of each type makes in each role ─► mix (integer programme) ─► two tables
//!                          (planned, or from stage times that were measured)
//! ```
//!
//! A machine has one role: `seal` does everything, `precommit` all but C2, `c2` only that. Sectors of `precommit`
//! machines need C2 on others. Machines on hand cost nothing more; those to buy have a price.

mod deal;
mod entry;
mod mix;
mod rates;

pub use entry::{Entry, FleetFile, MeasuredStage, Role};
pub use mix::MixError;
pub use rates::{Ability, Work};

use super::{Bottleneck, PlanError, Request};
use crate::{profile::Stage, units::Rate};
use serde::Serialize;

/// The answer: how many of each type in each role.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FleetPlan {
    pub target: Rate,
    pub sectors_per_hour_needed: f64,
    /// Sectors whose PC2 is done, and proofs made, in an hour: the lower is what the fleet makes.
    pub sectors_per_hour_precommitted: f64,
    pub sectors_per_hour_proven: f64,
    pub price: f64,
    pub lines: Vec<Line>,
    /// Types that no role fits, and why.
    pub unused: Vec<String>,
}

/// Machines of one type in one role.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    pub name: String,
    pub role: Role,
    pub on_hand: u32,
    pub buy: u32,
    pub price_each: Option<f64>,
    /// What one makes, in sectors an hour.
    pub sectors_per_hour: f64,
    pub limited_by: Bottleneck,
    /// What one does where.
    pub work: Vec<Work>,
}

/// Why there is no fleet.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// The answer is no: what may be bought and what is there do not do.
    #[error("plan a fleet for {target}: {0}", target = .1)]
    Short(String, Rate),
    #[error("read the fleet file: {0}")]
    File(String),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error("plan a fleet: {0}")]
    Mix(#[from] MixError),
}

impl FleetError {
    /// Whether the question was answered, with no.
    pub fn is_answer(&self) -> bool {
        matches!(self, Self::Short(..))
    }
}

/// The cheapest mix for what is asked.
///
/// # Errors
/// No mix makes the target (`is_answer`), or the input cannot be planned.
pub fn plan_fleet(fleet: &FleetFile, request: &Request) -> Result<FleetPlan, FleetError> {
    let needed = request.target.sectors_per_hour()?;
    request.choices.check(request.target.sector_size)?;
    let mut abilities = Vec::new();
    let mut unused = Vec::new();
    for (place, entry) in fleet.machine.iter().enumerate() {
        match rates::abilities(place, entry, request)? {
            (found, why) if found.is_empty() => unused.push(format!("{}: {why}", entry.name)),
            (found, _) => abilities.extend(found),
        }
    }
    if let Some(lack) = lack(&fleet.machine, &abilities, needed) {
        return Err(FleetError::Short(lack, request.target.rate));
    }
    let counts = mix::cheapest(&fleet.machine, &abilities, needed)?;
    let lines: Vec<Line> = abilities
        .into_iter()
        .zip(counts)
        .filter(|(_, (on_hand, buy))| on_hand + buy > 0)
        .map(|(ability, (on_hand, buy))| line(&fleet.machine[ability.entry], ability, on_hand, buy))
        .collect();
    let made = |stage: Stage| {
        let serving = lines.iter().filter(|line| line.role.serves(stage));
        serving.map(|line| line.sectors_per_hour * f64::from(line.on_hand + line.buy)).sum()
    };
    Ok(FleetPlan {
        target: request.target.rate,
        sectors_per_hour_needed: needed,
        sectors_per_hour_precommitted: made(Stage::Pc2),
        sectors_per_hour_proven: made(Stage::C2),
        price: lines.iter().map(|line| f64::from(line.buy) * line.price_each.unwrap_or(0.0)).sum(),
        lines,
        unused,
    })
}

fn line(entry: &Entry, ability: Ability, on_hand: u32, buy: u32) -> Line {
    Line {
        name: entry.name.clone(),
        role: ability.role,
        on_hand,
        buy,
        price_each: entry.price,
        sectors_per_hour: ability.rate,
        limited_by: ability.limited_by,
        work: ability.work,
    }
}

/// What is missing even if every machine serves where it makes the most: a sum that no mix can beat.
fn lack(entries: &[Entry], abilities: &[Ability], needed: f64) -> Option<String> {
    for (stage, what) in [(Stage::Pc2, "PC1 and PC2"), (Stage::C2, "C2")] {
        let most: f64 = entries
            .iter()
            .enumerate()
            .map(|(place, entry)| {
                let able = abilities.iter().filter(|one| one.entry == place && one.role.serves(stage));
                let rate = able.map(|one| one.rate).fold(0.0, f64::max);
                // A type without a maximum makes as much as is wanted, if it makes anything.
                entry.most().map_or(if rate > 0.0 { f64::INFINITY } else { 0.0 }, |most| rate * f64::from(most))
            })
            .sum();
        if most < needed * (1.0 - 1e-9) {
            return Some(format!(
                "it takes {needed:.2} sectors/h, and all machines together make {most:.2} of {what}; {:.2} more would do: \
                 raise max or add a type that does it",
                needed - most
            ));
        }
    }
    None
}
