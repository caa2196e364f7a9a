//! How long a child that ended stays down. Pure: what it lived is an argument.
//!
//! ```text
//! lived: long   short  short  short      short   long   short
//! pause:  1 s    2 s    4 s    8 s … up to 60 s    1 s    2 s
//! ```
//!
//! A child that fell after hours of work comes back at once; one that falls again and again is not started a
//! thousand times an hour.

use std::time::Duration;

/// The lengths of pauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    pub first: Duration,
    /// Pauses double up to this.
    pub most: Duration,
    /// Who lived so long fell for a new reason.
    pub healthy: Duration,
}

impl Pace {
    /// A second, then twice as long each time up to a minute; a minute of life counts as health.
    pub const DEFAULT: Self =
        Self { first: Duration::from_secs(1), most: Duration::from_secs(60), healthy: Duration::from_secs(60) };
}

/// A child's short lives in a row.
#[derive(Clone, Debug)]
pub struct Restarts {
    pace: Pace,
    in_a_row: u32,
}

impl Restarts {
    /// None yet.
    pub fn new(pace: Pace) -> Self {
        Self { pace, in_a_row: 0 }
    }

    /// The child ended after `lived`: how long it stays down.
    pub fn pause(&mut self, lived: Duration) -> Duration {
        if lived >= self.pace.healthy {
            self.in_a_row = 0;
        }
        let doubled = self.pace.first.saturating_mul(1u32.checked_shl(self.in_a_row).unwrap_or(u32::MAX));
        self.in_a_row = self.in_a_row.saturating_add(1);
        doubled.min(self.pace.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHORT: Duration = Duration::from_millis(5);

    #[test]
    fn pauses_double_up_to_the_most_and_health_begins_anew() {
        let mut restarts = Restarts::new(Pace::DEFAULT);
        let seconds: Vec<_> = (0..8).map(|_| restarts.pause(SHORT).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(restarts.pause(Duration::from_secs(60)).as_secs(), 1);
        assert_eq!(restarts.pause(SHORT).as_secs(), 2);
    }

    proptest! {
        #[test]
        fn a_pause_is_never_shorter_than_the_first_or_longer_than_the_most(lives in prop::collection::vec(0u64..100, 0..200)) {
            let mut restarts = Restarts::new(Pace::DEFAULT);
            for life in lives {
                let pause = restarts.pause(Duration::from_secs(life));
                prop_assert!(pause >= Pace::DEFAULT.first && pause <= Pace::DEFAULT.most);
            }
        }
    }
}
