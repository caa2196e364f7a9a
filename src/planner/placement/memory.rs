//! Memory when everything is at its limit at once: on the machine, and on each node for what is pinned there.
//!
//! Nothing staggers stages by memory, so the sum is the rule; stages that share a lock count once, with the larger.
//! What the system and the daemon keep is one figure, `reserve`, used for machines of every size.

use crate::units::Bytes;

/// What the system, the daemon and page caches keep of so much memory: 16 GiB, on small machines 15 %.
pub(crate) fn reserve(memory: Bytes) -> Bytes {
    Bytes::gib(16).min(Bytes(memory.0 / 100 * 15))
}

/// What may be planned of so much memory.
pub(crate) fn planned(memory: Bytes) -> Bytes {
    Bytes(memory.0.saturating_sub(reserve(memory).0))
}

/// The budget of a placement.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Memory {
    /// All tasks at their limits.
    pub need: Bytes,
    /// The same with what careful sources book for each.
    pub need_most: Bytes,
    /// What may be planned: the machine's without the reserve.
    pub have: Bytes,
    pub reserve: Bytes,
    pub nodes: Vec<NodeMemory>,
}

/// The part of one node.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct NodeMemory {
    pub node: crate::units::NodeId,
    /// Of the PC1 tasks there, which are the ones that must not reach for another node's memory.
    pub pc1: Bytes,
    /// Of other processors that prefer this node.
    pub others: Bytes,
    pub have: Bytes,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_one_figure() {
        assert_eq!(reserve(Bytes::tib(2)), Bytes::gib(16));
        assert_eq!(reserve(Bytes::gib(100)), Bytes(Bytes::gib(100).0 / 100 * 15));
        assert!(reserve(Bytes::gib(107)) == Bytes::gib(16) && reserve(Bytes(0)) == Bytes(0));
    }
}
