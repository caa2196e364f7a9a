//! How often a call that got no answer is made again before its worker is told, and after what pauses. Pure.
//!
//! A manager that restarts, or a lost packet, should cost a moment and not a worker's `recover_interval`. A thousand
//! workers that lost the same manager at the same moment should not all come back at the same moment: each pause is a
//! random part, from the half to the whole, of one that doubles.

use crate::runtime::manager::Call;
use std::time::Duration;

/// The bounds of trying again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// How often a call is made at most, the first time included.
    pub tries: u32,
    /// The longest that the first pause can be.
    pub first: Duration,
    /// The longest that any pause can be.
    pub longest: Duration,
    /// After this time no new try is begun.
    pub within: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            tries: 4,
            first: Duration::from_millis(500),
            longest: Duration::from_secs(5),
            within: Duration::from_secs(90),
        }
    }
}

/// What is known of a call that got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// No connection stood: the manager has not seen it.
    Unsent,
    /// The manager may have carried it out.
    Unanswered,
}

impl Retries {
    /// A call is made once.
    pub const NONE: Self = Self { tries: 1, first: Duration::ZERO, longest: Duration::ZERO, within: Duration::ZERO };

    /// The pause before the next try, after `made` tries in `spent` time. `chance` is from 0 to 1. `None`: the worker is told.
    pub fn pause(&self, made: u32, spent: Duration, chance: f64) -> Option<Duration> {
        if made >= self.tries || spent >= self.within {
            return None;
        }
        let doubled = self.first.saturating_mul(1 << made.saturating_sub(1).min(16));
        Some(doubled.min(self.longest).mul_f64(0.5 + 0.5 * chance.clamp(0.0, 1.0)))
    }
}

/// Whether a call may be made again here. Every call may be repeated (`manager/mod.rs` says why), but a sector that was
/// handed out and not heard of is a number lost: the worker asks for another when it rests anyway.
pub fn may_repeat(call: &Call, lost: Lost) -> bool {
    lost == Lost::Unsent || !matches!(call, Call::AllocateSector(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::manager::wire::{AllocateSectorSpec, SectorId};

    const RETRIES: Retries = Retries {
        tries: 5,
        first: Duration::from_millis(100),
        longest: Duration::from_millis(300),
        within: Duration::from_secs(9),
    };

    #[test]
    fn pauses_double_up_to_the_longest_and_end_with_the_tries() {
        let at = |chance| [1, 2, 3, 4, 5].map(|made| Some(RETRIES.pause(made, Duration::ZERO, chance)?.as_millis()));
        assert_eq!(at(1.0), [Some(100), Some(200), Some(300), Some(300), None]);
        assert_eq!(at(0.0), [Some(50), Some(100), Some(150), Some(150), None]);
        assert_eq!(RETRIES.pause(1_000_000, Duration::ZERO, 0.5), None);
        assert_eq!(Retries::NONE.pause(1, Duration::ZERO, 0.5), None);
    }

    #[test]
    fn no_try_is_begun_after_the_time_that_they_have() {
        assert!(RETRIES.pause(1, Duration::from_millis(8_999), 0.5).is_some());
        assert_eq!(RETRIES.pause(1, Duration::from_secs(9), 0.5), None);
    }

    #[test]
    fn a_number_is_not_asked_for_twice_where_one_may_be_lost() {
        let allocate = Call::AllocateSector(AllocateSectorSpec::default());
        assert!(may_repeat(&allocate, Lost::Unsent));
        assert!(!may_repeat(&allocate, Lost::Unanswered));
        let ticket = Call::AssignTicket(SectorId { miner: 1, number: 2 });
        assert!(may_repeat(&ticket, Lost::Unanswered));
    }
}
