//! The library's single-core path over a part of a layer, in whatever build this file is compiled into.

use crate::{TreeHasher, hashers::Hasher};
use std::time::Instant;
use storage_proofs_core::{
    api_version::ApiVersion,
    crypto::{FEISTEL_DST, derive_porep_domain_seed},
    drgraph::BASE_DEGREE,
    parameter_cache::{ParameterSetMetadata, VERSION},
};
use storage_proofs_porep::stacked::{
    EXP_DEGREE, StackedBucketGraph,
    create_label::single::{create_label, create_label_exp},
};

pub type Graph = StackedBucketGraph<TreeHasher>;
const LABEL_BYTES: usize = 32;

/// A graph of version 1.1 with so many nodes.
pub fn graph(nodes: usize, porep_id: [u8; 32]) -> Graph {
    Graph::new_stacked(nodes, BASE_DEGREE, EXP_DEGREE, porep_id, ApiVersion::V1_1_0).expect("a power of two nodes")
}

/// The name that the library looks for this graph's parent cache under.
#[allow(dead_code)] // Only one of the two programs that include this file makes the cache.
pub fn parent_cache_name(graph: &Graph, nodes: usize, porep_id: [u8; 32]) -> String {
    use sha2::{Digest, Sha256};
    let mut hasher = Sha256::new();
    hasher.update(<TreeHasher as Hasher>::name());
    hasher.update(graph.identifier());
    hasher.update(derive_porep_domain_seed(FEISTEL_DST, porep_id));
    hasher.update((nodes as u32).to_le_bytes());
    let name: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("v{VERSION}-sdr-parent-{name}.cache")
}

/// Nanoseconds a node of the first `count` nodes of a layer. `current` and `previous` are a whole layer's bytes.
pub fn single(graph: &Graph, layer: usize, count: usize, previous: &[u8], current: &mut [u8]) -> f64 {
    let mut parents = graph.parent_cache().expect("the parent cache is there");
    let replica = [9; LABEL_BYTES];
    let began = Instant::now();
    for node in 0..count {
        let cache = Some(&mut parents);
        let made = match layer {
            1 => create_label(graph, cache, replica, current, layer, node),
            _ => create_label_exp(graph, cache, replica, previous, current, layer, node),
        };
        made.expect("labels are made");
    }
    began.elapsed().as_nanos() as f64 / count as f64
}
