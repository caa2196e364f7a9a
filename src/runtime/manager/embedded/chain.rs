//! The simulated chain: which epoch it is, when a message lands, what its randomness is. Pure.
//!
//! ```text
//! head = anchor epoch + (now - anchor time) / epoch length
//!
//! pre-commit sent at E:  E Pending, E+1 Packed, E+2 Landed ── 150 epochs ──► E+152 seed
//! proof sent at P:       P Pending, P+1 Packed, P+2 Landed
//! ```
//!
//! What always holds: the head never goes back. When the wall clock steps back the anchor moves with it;
//! when the configured epoch length changes the chain is anchored anew at the head it had.

use crate::runtime::manager::wire::{OnChainState, Randomness, Seed, Ticket};

/// How many epochs before the head a ticket is drawn: the network's finality.
pub const TICKET_LOOK_BACK: i64 = 900;
/// Epochs from a landed pre-commit to its seed.
pub const SEED_DELAY: i64 = 150;
/// Epochs from sending a message to its landing.
const LANDING: i64 = 2;

/// Where the chain stands. Times are unix milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    pub anchor_epoch: i64,
    pub anchor_ms: i64,
    pub epoch_ms: i64,
    /// The latest time at which the chain was looked at.
    pub seen_ms: i64,
}

impl Chain {
    /// A new chain. It starts where the first ticket can be drawn from epoch 0.
    pub fn begin(now_ms: i64, epoch_ms: i64) -> Self {
        Self { anchor_epoch: TICKET_LOOK_BACK, anchor_ms: now_ms, epoch_ms, seen_ms: now_ms }
    }

    /// The epoch at the time it was last looked at.
    pub fn head(&self) -> i64 {
        self.anchor_epoch + self.seen_ms.saturating_sub(self.anchor_ms) / self.epoch_ms
    }

    /// The chain at `now_ms`. A clock that stepped back takes the anchor along, so no time is lost or gained.
    pub fn at(self, now_ms: i64) -> Self {
        let stepped_back = self.seen_ms.saturating_sub(now_ms).max(0);
        Self { anchor_ms: self.anchor_ms.saturating_sub(stepped_back), seen_ms: now_ms, ..self }
    }

    /// The same head with epochs of another length from here on.
    pub fn with_epoch_ms(self, epoch_ms: i64) -> Self {
        if epoch_ms == self.epoch_ms {
            return self;
        }
        Self { anchor_epoch: self.head(), anchor_ms: self.seen_ms, epoch_ms, ..self }
    }

    /// Milliseconds until `epoch` begins; 0 when it has.
    fn ms_until(&self, epoch: i64) -> i64 {
        let begins_ms = (epoch - self.anchor_epoch).saturating_mul(self.epoch_ms).saturating_add(self.anchor_ms);
        begins_ms.saturating_sub(self.seen_ms).max(0)
    }

    /// Seconds until `epoch` begins, rounded up; `None` when it has.
    pub fn seconds_until(&self, epoch: i64) -> Option<u64> {
        let ms = self.ms_until(epoch);
        (epoch > self.head()).then(|| u64::try_from(ms).unwrap_or(0).div_ceil(1000).max(1))
    }

    /// The epoch whose ticket a sector gets now.
    pub fn ticket_epoch(&self) -> i64 {
        (self.head() - TICKET_LOOK_BACK).max(0)
    }

    /// Where a message stands that was sent at `sent`.
    pub fn message_state(&self, sent: i64) -> OnChainState {
        match self.head() - sent {
            ..=0 => OnChainState::Pending,
            1 => OnChainState::Packed,
            LANDING.. => OnChainState::Landed,
        }
    }
}

/// The epoch of the seed that follows from a pre-commit sent at `sent`.
pub fn seed_epoch(sent: i64) -> i64 {
    sent + LANDING + SEED_DELAY
}

/// The chain's randomness: the same question has the same answer for the life of the database.
///
/// All 32 bytes are free. The proofs library hashes the ticket into the replica id and the seed into the
/// challenges, so neither has to be a field element (only PoSt randomness has its two top bits cleared).
#[derive(Clone)]
pub struct Beacon {
    secret: [u8; 32],
}

impl Beacon {
    /// The randomness that follows from a database's secret.
    pub fn new(secret: [u8; 32]) -> Self {
        Self { secret }
    }

    /// The ticket of an epoch, for a miner.
    pub fn ticket(&self, miner: u64, epoch: i64) -> Ticket {
        Ticket { ticket: self.draw(b"sealing ticket", miner, epoch), epoch }
    }

    /// The interactive seed of an epoch, for a miner.
    pub fn seed(&self, miner: u64, epoch: i64) -> Seed {
        Seed { seed: self.draw(b"porep seed", miner, epoch), epoch }
    }

    /// What the chain goes by: it follows from the secret, and the secret does not follow from it. Its purpose is
    /// its own, so it is no draw of any epoch.
    pub fn chain_id(&self) -> String {
        let id = blake2b_simd::Params::new().hash_length(32).key(&self.secret).personal(b"chain id").hash(b"");
        id.to_hex().to_string()
    }

    fn draw(&self, purpose: &[u8], miner: u64, epoch: i64) -> Randomness {
        let hash = blake2b_simd::Params::new()
            .hash_length(32)
            .key(&self.secret)
            .personal(purpose)
            .to_state()
            .update(&miner.to_le_bytes())
            .update(&epoch.to_le_bytes())
            .finalize();
        Randomness(hash.as_bytes().try_into().expect("a hash length of 32 was asked for"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EPOCH: i64 = 30_000;

    #[test]
    fn an_epoch_lasts_as_long_as_configured() {
        let chain = Chain::begin(1_000_000, EPOCH);
        assert_eq!(chain.head(), 900);
        assert_eq!(chain.at(1_000_000 + EPOCH - 1).head(), 900);
        assert_eq!(chain.at(1_000_000 + EPOCH).head(), 901);
    }

    #[test]
    fn a_clock_that_steps_back_neither_turns_nor_stops_the_chain() {
        let late = Chain::begin(1_000_000, EPOCH).at(1_000_000 + 10 * EPOCH + 7);
        let back = late.at(5);
        assert_eq!(back.head(), late.head());
        assert_eq!(back.seconds_until(911), late.seconds_until(911));
        assert_eq!(back.at(5 + EPOCH).head(), late.head() + 1);
    }

    #[test]
    fn another_epoch_length_keeps_the_head() {
        let chain = Chain::begin(0, EPOCH).at(10 * EPOCH);
        let fast = chain.with_epoch_ms(100);
        assert_eq!(fast.head(), chain.head());
        assert_eq!(fast.at(10 * EPOCH + 100).head(), chain.head() + 1);
        assert_eq!(chain.with_epoch_ms(EPOCH), chain);
    }

    #[test]
    fn a_message_lands_after_two_epochs() {
        let at = |epochs| Chain::begin(0, EPOCH).at(epochs * EPOCH).message_state(900);
        assert_eq!([at(0), at(1), at(2)], [OnChainState::Pending, OnChainState::Packed, OnChainState::Landed]);
        assert_eq!(at(1_000_000), OnChainState::Landed);
    }

    #[test]
    fn a_wait_is_told_in_whole_seconds_and_is_never_none_while_there_is_one() {
        let wait = |now, epoch_ms| Chain::begin(0, epoch_ms).at(now).seconds_until(901);
        assert_eq!(wait(0, 30_000), Some(30));
        assert_eq!(wait(28_001, 30_000), Some(2));
        assert_eq!(wait(29_999, 30_000), Some(1));
        assert_eq!(wait(0, 10), Some(1));
        assert_eq!(wait(30_000, 30_000), None);
        assert_eq!(wait(90_000, 30_000), None);
    }

    #[test]
    fn randomness_depends_on_secret_purpose_miner_and_epoch() {
        let draw = |secret, miner, epoch| Beacon::new([secret; 32]).ticket(miner, epoch).ticket;
        assert_eq!(draw(1, 1000, 5), draw(1, 1000, 5));
        let others = [draw(2, 1000, 5), draw(1, 1001, 5), draw(1, 1000, 6), Beacon::new([1; 32]).seed(1000, 5).seed];
        assert!(others.iter().all(|other| *other != draw(1, 1000, 5)));
    }

    #[test]
    fn a_chains_id_follows_from_its_secret_and_is_no_randomness_of_it() {
        let id = |secret| Beacon::new([secret; 32]).chain_id();
        assert_eq!(id(1), id(1));
        assert_ne!(id(1), id(2));
        let beacon = Beacon::new([1; 32]);
        let drawn = [beacon.ticket(0, 0).ticket, beacon.seed(0, 0).seed].map(|drawn| crate::units::hex(&drawn.0));
        assert!(!drawn.contains(&id(1)) && id(1) != crate::units::hex(&[1; 32]));
    }

    proptest! {
        #[test]
        fn the_head_never_goes_back(
            begin in 0i64..2_000_000_000_000,
            steps in prop::collection::vec((0i64..2_000_000_000_000, prop::option::of(1i64..100_000)), 1..50),
        ) {
            let mut chain = Chain::begin(begin, EPOCH);
            for (now, epoch_ms) in steps {
                let mut next = chain.at(now);
                if let Some(epoch_ms) = epoch_ms {
                    next = next.with_epoch_ms(epoch_ms);
                }
                prop_assert!(next.head() >= chain.head());
                prop_assert!(next.ticket_epoch() >= 0);
                prop_assert_eq!(next.at(now), next);
                chain = next;
            }
        }
    }
}
