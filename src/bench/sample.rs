//! What a measurement showed: the seconds of each task, the output that follows, and which layout is the best. Pure.

use super::layout::{Kind, Layout};
use crate::profile::{Band, Stage};
use serde::{Deserialize, Serialize};

/// Layouts that differ by less are equal: the one with fewer tasks at once needs less memory.
const EQUAL: f64 = 0.03;

/// No band is narrower: what is not measured (a warmer day, other neighbours, the rest of the daemon) moves a duration as
/// much.
const BAND_LEAST: f64 = 0.05;

/// A stage in a layout, measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    pub stage: Stage,
    pub layout: Layout,
    /// Of each task that ran while all others did.
    pub seconds: Vec<f64>,
}

impl Sample {
    /// The average duration of a task.
    pub fn mean_seconds(&self) -> f64 {
        self.seconds.iter().sum::<f64>() / self.seconds.len().max(1) as f64
    }

    /// Sectors an hour of all tasks together.
    pub fn per_hour(&self) -> f64 {
        f64::from(self.layout.at_once()) * 3600.0 / self.mean_seconds()
    }

    /// Sectors an hour for each core in use.
    pub fn per_core_hour(&self) -> f64 {
        self.per_hour() / f64::from(self.layout.cores().max(1))
    }

    /// The shortest and the longest task.
    pub fn range(&self) -> (f64, f64) {
        let least = self.seconds.iter().copied().fold(f64::INFINITY, f64::min);
        (least, self.seconds.iter().copied().fold(0.0, f64::max))
    }

    /// What a duration may be, around the average: as far as tasks were apart, half as much again, since few were seen.
    pub fn band(&self) -> Band {
        band(&self.seconds)
    }
}

/// The band of some durations around their average.
pub fn band(seconds: &[f64]) -> Band {
    let mean = seconds.iter().sum::<f64>() / seconds.len().max(1) as f64;
    let least = seconds.iter().copied().fold(mean, f64::min) / mean;
    let most = seconds.iter().copied().fold(mean, f64::max) / mean;
    let around = |factor: f64| (factor * 1000.0).round() / 1000.0;
    Band {
        low: around((1.0 - (1.5 * (1.0 - least)).max(BAND_LEAST)).max(0.1)),
        high: around(1.0 + (1.5 * (most - 1.0)).max(BAND_LEAST)),
    }
}

/// The best layout of each stage among `kind`, or among all where a stage was measured in none of that kind.
///
/// Only layouts that keep nearly all of the machine busy are compared: alone on a quiet machine a task is faster than it will
/// ever be in production.
pub fn best(samples: &[Sample], kind: Kind) -> Vec<&Sample> {
    let of_stage = |stage: Stage| {
        let all: Vec<&Sample> = samples.iter().filter(|sample| sample.stage == stage).collect();
        let wanted: Vec<&Sample> = all.iter().filter(|sample| sample.layout.kind == kind).copied().collect();
        let of_kind = if wanted.is_empty() { all } else { wanted };
        let most = of_kind.iter().map(|sample| sample.layout.cores()).max()?;
        let full = of_kind.iter().filter(|sample| f64::from(sample.layout.cores()) >= 0.8 * f64::from(most));
        full.copied().reduce(|best, other| {
            let (fewer, more) =
                if other.layout.at_once() < best.layout.at_once() { (other, best) } else { (best, other) };
            if more.per_core_hour() > fewer.per_core_hour() * (1.0 + EQUAL) { more } else { fewer }
        })
    };
    Stage::ALL.into_iter().filter_map(of_stage).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::bench::layout::{layouts, tests::machine};

    pub(in crate::bench) fn sample(stage: Stage, kind: Kind, at: usize, seconds: &[f64]) -> Sample {
        let layout = layouts(&machine(1, 1, 2), stage, &[], &[kind])[at].clone();
        Sample { stage, layout, seconds: seconds.to_vec() }
    }

    #[test]
    fn output_follows_from_the_average_and_the_tasks_at_once() {
        let two = sample(Stage::C2, Kind::Shared, 1, &[90.0, 110.0]);
        assert_eq!((two.mean_seconds(), two.per_hour(), two.per_core_hour()), (100.0, 72.0, 36.0));
        assert_eq!(two.range(), (90.0, 110.0));
        assert_eq!(two.band(), Band { low: 0.85, high: 1.15 });
        assert_eq!(band(&[100.0, 100.0]), Band { low: 0.95, high: 1.05 });
    }

    #[test]
    fn the_best_is_had_with_the_machine_in_use_and_ties_go_to_fewer_at_once() {
        let alone = sample(Stage::C2, Kind::Pinned, 0, &[60.0]);
        let (one, two) = (sample(Stage::C2, Kind::Shared, 0, &[50.0]), sample(Stage::C2, Kind::Shared, 1, &[98.0]));
        let all = [alone.clone(), one.clone(), two.clone()];
        assert_eq!(best(&all, Kind::Shared), [&one], "two at once bring 2 %");
        let faster = Sample { seconds: vec![90.0], ..two };
        assert_eq!(best(&[one.clone(), faster.clone()], Kind::Shared), [&faster]);
        assert_eq!(best(&[faster.clone(), one], Kind::Shared), [&faster], "whatever comes first");
        let pair = sample(Stage::C2, Kind::Pinned, 1, &[80.0]);
        assert_eq!(best(&[alone, pair.clone()], Kind::Pinned), [&pair], "one core of two is not the machine");
        assert_eq!(best(std::slice::from_ref(&pair), Kind::Shared), [&pair], "there is nothing else");
    }
}
