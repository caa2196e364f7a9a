//! Every kernel of this processor gives the portable one's labels, whatever the graph, and stays in its memory.

use super::*;
use crate::runtime::sdr::label::{BASE_PARENTS, PARENTS};
use proptest::prelude::*;

/// A graph of this many nodes, the node before each as its first or its last parent of the same layer.
fn graph(nodes: usize, before_last: bool, seed: u64) -> Vec<Parents> {
    let mut state = seed | 1;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32
    };
    let mut parents = |node: usize| {
        let mut parents: [u32; PARENTS] = std::array::from_fn(|i| {
            let below = if i < BASE_PARENTS { node } else { nodes };
            next() % below.max(1) as u32
        });
        parents[if before_last { BASE_PARENTS - 1 } else { 0 }] = node.saturating_sub(1) as u32;
        Parents::new(parents)
    };
    (0..nodes).map(&mut parents).collect()
}

/// All layers, each by a kernel in steps of so many nodes.
fn layers(kernel: Kernel, replica: Label, graph: &[Parents], layers: u32, step: usize) -> Vec<Vec<Label>> {
    let mut made: Vec<Vec<Label>> = Vec::new();
    for layer in 1..=layers {
        let mut current = vec![Label::default(); graph.len()];
        let mut strand = Strand::new(replica, layer, graph, made.last().map(Vec::as_slice), &mut current);
        while strand.done() < strand.nodes() {
            kernel.advance(&mut strand, step);
        }
        made.push(current);
    }
    made
}

proptest! {
    #[test]
    fn every_kernel_gives_the_portable_ones_labels(
        replica: [u32; 8], seed: u64, before_last: bool, size in 1u32..9, step in 1usize..300,
    ) {
        let graph = graph(1 << size, before_last, seed);
        let expected = layers(Kernel::Portable, Label(replica), &graph, 3, usize::MAX);
        for kernel in Kernel::available() {
            prop_assert_eq!(&layers(kernel, Label(replica), &graph, 3, step), &expected, "{}", kernel.name());
        }
    }

    #[test]
    fn two_sectors_side_by_side_do_not_disturb_each_other(
        replicas: [[u32; 8]; 2], seed: u64, size in 1u32..8, ahead in 0usize..200, steps in prop::collection::vec(1usize..90, 1..5),
        layer in prop::array::uniform2(1u32..4),
    ) {
        let graph = graph(1 << size, false, seed);
        let expected = replicas.map(|replica| layers(Kernel::Portable, Label(replica), &graph, 3, usize::MAX));
        for kernel in Kernel::available() {
            let before: [Option<&[Label]>; 2] =
                std::array::from_fn(|i| layer[i].checked_sub(2).map(|at| &expected[i][at as usize][..]));
            let mut current = [vec![Label::default(); 1 << size], vec![Label::default(); 1 << size]];
            let [one, other] = &mut current;
            let mut one = Strand::new(Label(replicas[0]), layer[0], &graph, before[0], one);
            let mut other = Strand::new(Label(replicas[1]), layer[1], &graph, before[1], other);
            kernel.advance(&mut one, ahead);
            for step in &steps {
                kernel.advance_pair(&mut one, &mut other, *step);
            }
            kernel.advance_pair(&mut other, &mut one, usize::MAX);
            for i in 0..2 {
                prop_assert_eq!(&current[i], &expected[i][layer[i] as usize - 1], "{}", kernel.name());
            }
        }
    }

    #[test]
    fn numbers_beyond_the_layer_wrap_and_read_nothing_else(rows in prop::collection::vec(any::<[u32; PARENTS]>(), 64)) {
        let graph: Vec<_> = rows.into_iter().map(Parents::new).collect();
        let expected = layers(Kernel::Portable, Label([7; 8]), &graph, 2, usize::MAX);
        for kernel in Kernel::available() {
            prop_assert_eq!(&layers(kernel, Label([7; 8]), &graph, 2, 64), &expected, "{}", kernel.name());
        }
    }
}

#[test]
fn a_layer_that_does_not_fit_its_graph_is_refused() {
    let refused = |layer: u32, graph: usize, previous: Option<usize>, current: usize| {
        let graph = vec![Parents::default(); graph];
        let previous = previous.map(|nodes| vec![Label::default(); nodes]);
        let mut current = vec![Label::default(); current];
        let strand = std::panic::AssertUnwindSafe(|| {
            Strand::new(Label::default(), layer, &graph, previous.as_deref(), &mut current);
        });
        std::panic::catch_unwind(strand).is_err()
    };
    assert!(!refused(1, 4, None, 4));
    assert!(!refused(2, 4, Some(4), 4));
    assert!(refused(1, 4, Some(4), 4), "nothing comes before the first layer");
    assert!(refused(2, 4, None, 4), "every other layer has one before it");
    assert!(refused(2, 4, Some(2), 4));
    assert!(refused(1, 2, None, 4));
    assert!(refused(1, 6, None, 6));
    assert!(refused(1, 1, None, 1));
}
