//! How many of each type in each role: the cheapest whole numbers that serve PC2 and C2 of the target.
//!
//! ```text
//! minimise   Σ price · bought  (and, of equal prices, machines in use)
//! subject to Σ rate · (on hand + bought) ≥ target   over the roles that precommit, and over those that prove
//!            Σ on hand ≤ count,  Σ bought ≤ max − count   for each type
//! ```

use super::{Ability, Entry};
use crate::profile::Stage;
use good_lp::{Expression, ProblemVariables, Solution, SolverModel, Variable, constraint, default_solver, variable};

/// The programme had no answer although one was known to exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the integer programme was not solved: {0}; this is a bug, please report it")]
pub struct MixError(String);

/// A machine in use weighs so little beside a price of 1 that it only decides between equal prices.
const IN_USE: f64 = 1e-5;

/// More of one type than this are no fleet, and the solver wants bounds.
const MOST: u32 = 1_000_000;

/// On hand and bought, for each ability.
pub(super) fn cheapest(entries: &[Entry], abilities: &[Ability], needed: f64) -> Result<Vec<(u32, u32)>, MixError> {
    let mut variables = ProblemVariables::new();
    let unit = price_unit(entries);
    let counts: Vec<(Variable, Variable)> = abilities
        .iter()
        .map(|one| {
            let entry = &entries[one.entry];
            // No more of a role than serve the whole target alone.
            let useful = (needed / one.rate).ceil().min(f64::from(MOST));
            let mut integer = |most: f64| variables.add(variable().integer().min(0).max(most.min(useful)));
            let buyable = entry.most().map_or(MOST, |most| most - entry.on_hand());
            (integer(entry.on_hand().into()), integer(buyable.into()))
        })
        .collect();
    let cost: Expression = abilities
        .iter()
        .zip(&counts)
        .map(|(one, (on_hand, bought))| {
            let price = entries[one.entry].price.unwrap_or(1.0) / unit;
            *bought * (price + IN_USE) + *on_hand * IN_USE
        })
        .sum();
    let mut model = variables.minimise(cost).using(default_solver);
    for stage in [Stage::Pc2, Stage::C2] {
        let serving = abilities.iter().zip(&counts).filter(|(one, _)| one.role.serves(stage));
        // In parts of the target: numbers near 1 are kind to the solver.
        let made: Expression = serving.map(|(one, (a, b))| (*a + *b) * (one.rate / needed)).sum();
        model = model.with(constraint!(made >= 1.0));
    }
    for (place, entry) in entries.iter().enumerate() {
        let own = || abilities.iter().zip(&counts).filter(move |(one, _)| one.entry == place);
        let on_hand: Expression = own().map(|(_, (on_hand, _))| Expression::from(*on_hand)).sum();
        let bought: Expression = own().map(|(_, (_, bought))| Expression::from(*bought)).sum();
        model = model.with(constraint!(on_hand <= f64::from(entry.on_hand())));
        if let Some(most) = entry.most() {
            model = model.with(constraint!(bought <= f64::from(most - entry.on_hand())));
        }
    }
    let solution = model.solve().map_err(|error| MixError(error.to_string()))?;
    let whole = |variable: Variable| solution.value(variable).round().max(0.0) as u32;
    Ok(counts.into_iter().map(|(on_hand, bought)| (whole(on_hand), whole(bought))).collect())
}

/// Prices are counted in the largest one.
fn price_unit(entries: &[Entry]) -> f64 {
    let largest = entries.iter().filter_map(|entry| entry.price).fold(0.0, f64::max);
    if largest > 0.0 { largest } else { 1.0 }
}
