//! The best layout of a machine, by simulation, and how far it is from what no layout exceeds.
//!
//! ```text
//! every layout with every number of PC1 tasks, those that can make the most first
//!   │  simulated, with more or fewer sealing threads and PC1 starts closer or further apart
//!   ▼
//! the best so far makes as much as the next could at most, or as the bound: nothing better is left
//! ```
//!
//! What a layout can make at most is arithmetic (the slowest stage, GPU, disk), so one that is passed over cannot
//! have been better. The simulation is that of the forecast: one seed, the same answer every time.

use super::{
    Placement, THREADS_MAX,
    placement::{Candidates, disks},
};
use serde::Serialize;

/// How a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Optimum {
    /// What one machine makes when it never rests, by simulation.
    pub sectors_per_hour: f64,
    /// What no layout of it exceeds.
    pub sectors_per_hour_bound: f64,
    /// The part of the bound that is missing.
    pub distance: f64,
    /// Layouts that fit, and how many of their variants were simulated.
    pub layouts: usize,
    pub simulated: usize,
    /// Whether no layout was left that could have been better.
    pub complete: bool,
}

/// Simulations after which a search ends with what it has.
const SIMULATIONS_MAX: usize = 400;

/// A gain below this is noise of the simulation, and the simpler layout stays.
const GAIN_MIN: f64 = 0.002;

/// Nearer to the bound than this is there.
const CLOSE: f64 = 0.001;

/// The best of `all`. `simulated` says how many sectors an hour a placement makes.
pub(super) fn search<E>(
    all: &Candidates,
    bound: f64,
    mut simulated: impl FnMut(&Placement) -> Result<f64, E>,
) -> Result<Option<(Placement, Optimum)>, E> {
    let ranked = all.ranked();
    let mut best: Option<(Placement, f64)> = None;
    let mut count = 0;
    let mut complete = true;
    for (candidate, most) in &ranked {
        let reached = best.as_ref().map_or(0.0, |(_, rate)| *rate);
        if reached >= most * (1.0 - GAIN_MIN) || reached >= bound * (1.0 - CLOSE) {
            break;
        }
        if count >= SIMULATIONS_MAX {
            complete = false;
            break;
        }
        let placement = all.place(*candidate);
        let mut own: Option<(Placement, f64)> = None;
        for variant in threads(&placement) {
            count += 1;
            own = better(own, variant, &mut simulated)?;
        }
        for variant in own.clone().iter().flat_map(|(placement, _)| gaps(placement)) {
            count += 1;
            own = better(own, variant, &mut simulated)?;
        }
        if let Some((placement, rate)) = own.filter(|(_, rate)| *rate > reached * (1.0 + GAIN_MIN)) {
            best = Some((placement, rate));
        }
    }
    Ok(best.map(|(placement, rate)| {
        let optimum = Optimum {
            sectors_per_hour: rate,
            sectors_per_hour_bound: bound,
            distance: (1.0 - rate / bound).max(0.0),
            layouts: ranked.len(),
            simulated: count,
            complete,
        };
        (placement, optimum)
    }))
}

fn better<E>(
    known: Option<(Placement, f64)>,
    variant: Placement,
    simulated: &mut impl FnMut(&Placement) -> Result<f64, E>,
) -> Result<Option<(Placement, f64)>, E> {
    let rate = simulated(&variant)?;
    let is_better = known.as_ref().is_none_or(|(_, best)| rate > best * (1.0 + GAIN_MIN));
    Ok(if is_better { Some((variant, rate)) } else { known })
}

/// As planned, and with more sealing threads where the disks hold them.
fn threads(placement: &Placement) -> Vec<Placement> {
    let most = disks::most_threads(&placement.folders).unwrap_or(THREADS_MAX).min(THREADS_MAX);
    let mut counts: Vec<u32> = [1.0, 1.25, 1.6]
        .into_iter()
        .map(|times| (f64::from(placement.threads) * times).ceil().min(f64::from(most)) as u32)
        .collect();
    counts.dedup();
    counts.into_iter().map(|threads| Placement { threads, ..placement.clone() }).collect()
}

/// PC1 whenever there is room, and as far apart as it is on average.
fn gaps(placement: &Placement) -> Vec<Placement> {
    let planned = placement.pc1_gap_seconds;
    let others = [0, planned * 2].into_iter().filter(|gap| *gap != planned);
    others.map(|pc1_gap_seconds| Placement { pc1_gap_seconds, ..placement.clone() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_have_more_threads_and_other_gaps() {
        let placement = Placement { threads: 10, pc1_gap_seconds: 30, ..Placement::empty() };
        assert_eq!(threads(&placement).iter().map(|one| one.threads).collect::<Vec<_>>(), [10, 13, 16]);
        assert_eq!(gaps(&placement).iter().map(|one| one.pc1_gap_seconds).collect::<Vec<_>>(), [0, 60]);
        let alone = Placement { threads: THREADS_MAX, pc1_gap_seconds: 0, ..placement };
        assert_eq!((threads(&alone).len(), gaps(&alone).len()), (1, 0));
    }
}
