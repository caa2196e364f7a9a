//! Chance that comes from a seed: the same seed draws the same numbers on every machine, in every release.

use crate::profile::Band;

/// A row of numbers that look as if drawn (SplitMix64). Ours and not a crate's, whose sequence may change with its
/// version, and with it every forecast.
#[derive(Clone, Debug)]
pub struct Chance {
    state: u64,
    is_expected: bool,
}

impl Chance {
    /// The `run`th row of numbers of this seed.
    pub fn new(seed: u64, run: u64) -> Self {
        // One step of another stride, so that neighbouring seeds have nothing in common.
        let mut chance = Self { state: seed ^ run.wrapping_mul(0xA24B_AED4_963E_E407), is_expected: false };
        chance.next();
        chance
    }

    /// The same with no luck in what holds for a whole run: only tasks differ.
    #[must_use]
    pub fn expected(self) -> Self {
        Self { is_expected: true, ..self }
    }

    /// A factor for a whole run.
    pub(super) fn level(&mut self, band: Band) -> f64 {
        if self.is_expected { 1.0 } else { self.factor(band) }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number from 0 to 1, without 1.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A factor within `band`: as often above 1 as below it, the likelier the nearer to 1.
    pub fn factor(&mut self, band: Band) -> f64 {
        if band.low >= 1.0 && band.high <= 1.0 {
            return 1.0;
        }
        let u = self.unit();
        if u < 0.5 {
            1.0 - (1.0 - band.low).max(0.0) * (1.0 - (2.0 * u).sqrt())
        } else {
            1.0 + (band.high - 1.0).max(0.0) * (1.0 - (2.0 * (1.0 - u)).sqrt())
        }
    }
}

/// What factors within `band` come to on average: more than 1 where the band reaches further up than down.
pub(super) fn mean(band: Band) -> f64 {
    1.0 + ((band.high - 1.0).max(0.0) - (1.0 - band.low).max(0.0)) / 6.0
}

/// A quarter of a band.
pub(super) fn quarter(band: Band) -> Band {
    Band { low: 1.0 - (1.0 - band.low) / 4.0, high: 1.0 + (band.high - 1.0) / 4.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_stay_in_their_band_and_are_centred_on_one() {
        let (band, mut chance) = (Band { low: 0.5, high: 3.0 }, Chance::new(1, 2));
        let drawn: Vec<f64> = (0..10_000).map(|_| chance.factor(band)).collect();
        assert!(drawn.iter().all(|factor| (0.5..=3.0).contains(factor)));
        let below = drawn.iter().filter(|factor| **factor < 1.0).count();
        assert!((4800..5200).contains(&below), "{below}");
        assert!(drawn.iter().any(|f| *f < 0.55) && drawn.iter().any(|f| *f > 2.8));
        let average = drawn.iter().sum::<f64>() / drawn.len() as f64;
        assert!((average - mean(band)).abs() < 0.02, "{average} {}", mean(band));
        assert_eq!((chance.factor(Band::EXACT), mean(Band::EXACT)), (1.0, 1.0));
    }

    #[test]
    fn a_seed_draws_the_same_and_another_run_does_not() {
        let row = |seed, run| {
            let mut chance = Chance::new(seed, run);
            [chance.unit(), chance.unit()]
        };
        assert_eq!(row(7, 0), row(7, 0));
        assert!(row(7, 0) != row(7, 1) && row(7, 0) != row(8, 0));
        assert_eq!(row(0, 0)[0], 0.431_527_997_048_509_97, "pinned: it must not change with a release");
    }
}
