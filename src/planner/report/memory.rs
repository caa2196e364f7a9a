//! Memory with everything at its limit at once: a bar for the machine, and one for each node.

use crate::{planner::Plan, units::Bytes};
use serde::Serialize;

/// A bar of parts.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Bar {
    name: String,
    text: String,
    parts: Vec<Piece>,
    is_over: bool,
}

/// One of them.
#[derive(Clone, Debug, Serialize)]
struct Piece {
    class: &'static str,
    /// In percent.
    width: String,
    title: String,
}

pub(super) fn bars(plan: &Plan) -> Vec<Bar> {
    let Some(placement) = &plan.placement else {
        let (need, whole) = (plan.capacity.tasks_memory_bytes, plan.memory_bytes);
        return vec![bar("Machine".to_owned(), whole, &[("shared", "tasks of all stages", need)])];
    };
    let memory = &placement.memory;
    let pc1 = Bytes(placement.pc1.iter().map(|one| one.memory.0).sum());
    let others = Bytes(memory.need.0.saturating_sub(pc1.0));
    let machine: &[(&str, &str, Bytes)] =
        &[("pc1", "PC1", pc1), ("c2", "PC2, C2 and the rest", others), ("system", "the system's", memory.reserve)];
    let mut bars = vec![bar("Machine".to_owned(), plan.memory_bytes, machine)];
    bars.extend(memory.nodes.iter().map(|node| {
        let parts: &[(&str, &str, Bytes)] =
            &[("pc1", "PC1", node.pc1), ("c2", "PC2 and C2 that prefer it", node.others)];
        bar(format!("Node {}", node.node), node.have, parts)
    }));
    bars
}

fn bar(name: String, whole: Bytes, parts: &[(&'static str, &str, Bytes)]) -> Bar {
    let used: u64 = parts.iter().map(|(.., bytes)| bytes.0).sum();
    // Preferred memory may be had elsewhere: more than there is is drawn as full.
    let scale = used.max(whole.0).max(1) as f64;
    let told: Vec<String> = parts.iter().map(|(_, what, bytes)| format!("{what} {}", bytes.human())).collect();
    Bar {
        name,
        text: format!("{} of {}", told.join(" + "), whole.human()),
        parts: parts
            .iter()
            .map(|(class, what, bytes)| Piece {
                class,
                width: format!("{:.2}", bytes.0 as f64 / scale * 100.0),
                title: format!("{what}: {}", bytes.human()),
            })
            .collect(),
        is_over: used > whole.0,
    }
}
