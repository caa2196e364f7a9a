//! Labels through the `sha2` crate, in the order in which the definition has them: slow and easy to check.

use super::Strand;
use crate::runtime::sdr::label::{BASE_PARENTS, LAST_WORD, Label, PARENTS, TOTAL_PARENTS};
use sha2::{Sha256, digest::Digest};

pub(super) fn advance(strand: &mut Strand, nodes: usize) {
    for node in strand.next..strand.next + nodes {
        strand.current[node] = label(strand, node);
    }
    strand.next += nodes;
}

fn label(strand: &Strand, node: usize) -> Label {
    let mut hasher = Sha256::new();
    hasher.update(strand.replica.to_bytes());
    hasher.update(strand.layer.to_be_bytes());
    hasher.update((node as u64).to_be_bytes());
    hasher.update([0; 20]);
    if node > 0 {
        let mask = strand.nodes() - 1;
        let parents = strand.parents[node].get();
        let degree = if strand.previous.is_some() { PARENTS } else { BASE_PARENTS };
        for at in (0..degree).cycle().take(TOTAL_PARENTS) {
            let parent = parents[at] as usize & mask;
            let layer = if at < BASE_PARENTS { &*strand.current } else { strand.previous.unwrap_or_default() };
            hasher.update(layer[parent].to_bytes());
        }
    }
    let mut label = Label::from_bytes(&hasher.finalize().into());
    label.0[7] &= LAST_WORD;
    label
}

pub(super) fn dependent_blocks(blocks: usize) {
    let mut hasher = Sha256::new();
    (0..blocks).for_each(|_| hasher.update([0; 64]));
    std::hint::black_box(hasher.finalize());
}
