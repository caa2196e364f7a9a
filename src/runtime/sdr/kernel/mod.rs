//! Labels of one layer, node after node: the inner loop of PC1, in the fastest form that this processor runs.
//!
//! ```text
//! label(node) = SHA-256( replica id ‖ layer ‖ node ‖ 0…   one block, "the header"
//!                        parents 0 1 2 … 13  0 1 2 … 13  0 1 … 8 )   37 labels, two to a block: 20 blocks in all
//! ```
//!
//! In layer 1 there are only the six parents of the same layer, six times over and the first once more: 20
//! blocks too. One of the six is always the node before, so labels are one chain and the only thing that
//! counts is the time of its 20 blocks.
//!
//! | kernel | where | what |
//! | --- | --- | --- |
//! | `Portable` | everywhere | `sha2`, one block after another: the twin that the others are compared with |
//! | `ShaNi` | x86-64 with SHA-NI | message schedules kept for the blocks that come again, parents prefetched |
//! | `Armv8` | AArch64 with SHA2 | the same idea |
//!
//! Always holds: a strand's slices have one length, a power of two, and every parent's number is taken modulo
//! that length, so that no parent cache, however damaged, makes a kernel read outside of its memory.

#[cfg(target_arch = "aarch64")]
mod armv8;
mod portable;
#[cfg(target_arch = "x86_64")]
mod sha_ni;

use super::label::{Label, Parents};

/// How many nodes ahead of the one in work parents are asked for. Anything from 1 to 32 measures the same.
const PREFETCH_NODES: usize = 4;

/// One layer of one sector on its way.
pub struct Strand<'a> {
    replica: Label,
    layer: u32,
    parents: &'a [Parents],
    previous: Option<&'a [Label]>,
    current: &'a mut [Label],
    next: usize,
}

impl<'a> Strand<'a> {
    /// Layer `layer` (from 1) of the sector with this replica id. `previous` is the layer before: there is
    /// one for every layer but the first.
    ///
    /// # Panics
    ///
    /// When the lengths differ or are not a power of two of at least two nodes, or when `previous` is there for
    /// the first layer or missing for another.
    pub fn new(
        replica: Label,
        layer: u32,
        parents: &'a [Parents],
        previous: Option<&'a [Label]>,
        current: &'a mut [Label],
    ) -> Self {
        assert!(current.len().is_power_of_two() && current.len() >= 2, "a graph has a power of two nodes");
        assert!(u32::try_from(current.len() - 1).is_ok(), "a node's number has 32 bits");
        assert_eq!(parents.len(), current.len(), "every node has its parents");
        assert_eq!(previous.is_some(), layer > 1, "every layer but the first has one before it");
        assert!(previous.is_none_or(|previous| previous.len() == current.len()), "layers are equally long");
        Self { replica, layer, parents, previous, current, next: 0 }
    }

    /// The nodes that have their label.
    pub fn done(&self) -> usize {
        self.next
    }

    /// All nodes.
    pub fn nodes(&self) -> usize {
        self.current.len()
    }

    /// Goes on at a later node, for measurements that need not begin at the first.
    pub fn skip(&mut self, nodes: usize) {
        self.next = (self.next + nodes).min(self.nodes());
    }

    fn left(&self) -> usize {
        self.nodes() - self.next
    }
}

/// A way to compute labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    Portable,
    ShaNi,
    Armv8,
}

impl Kernel {
    /// Those that this processor can run, the best first.
    pub fn available() -> Vec<Self> {
        let mut kernels = Vec::new();
        #[cfg(target_arch = "x86_64")]
        if sha_ni::available() {
            kernels.push(Self::ShaNi);
        }
        #[cfg(target_arch = "aarch64")]
        if armv8::available() {
            kernels.push(Self::Armv8);
        }
        kernels.push(Self::Portable);
        kernels
    }

    /// The best of this processor.
    pub fn best() -> Self {
        Self::available()[0]
    }

    /// Its name in logs and benchmarks.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::ShaNi => "sha-ni",
            Self::Armv8 => "armv8-sha2",
        }
    }

    /// Hashes so many blocks one after another and nothing else: what no label can be faster than. For benchmarks.
    pub fn dependent_blocks(self, blocks: usize) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::ShaNi => sha_ni::dependent_blocks(blocks),
            _ => portable::dependent_blocks(blocks),
        }
    }

    /// Computes up to `nodes` more labels.
    pub fn advance(self, strand: &mut Strand, nodes: usize) {
        let nodes = nodes.min(strand.left());
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::ShaNi => sha_ni::advance(strand, nodes),
            #[cfg(target_arch = "aarch64")]
            Self::Armv8 => armv8::advance(strand, nodes),
            _ => portable::advance(strand, nodes),
        }
    }

    /// Computes up to `nodes` more labels of each of two sectors, with their chains side by side where the
    /// kernel can do that and both are in layers of the same kind; else of one and then of the other.
    pub fn advance_pair(self, one: &mut Strand, other: &mut Strand, nodes: usize) {
        let together = nodes.min(one.left()).min(other.left());
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::ShaNi if one.previous.is_some() == other.previous.is_some() => {
                sha_ni::advance_pair(one, other, together);
            }
            _ => {
                self.advance(one, together);
                self.advance(other, together);
            }
        }
        self.advance(one, nodes - together);
        self.advance(other, nodes - together);
    }
}

#[cfg(test)]
mod tests;
