//! Where the two layers of a sector in work lie: in files of huge pages where the operator has made some, else in anonymous
//! memory of the node that hashes.
//!
//! ```text
//! take(2 layers, near CPU 3) ─► pool: own node ─► pool: nearest node ─► anonymous, placed on the own node
//!                                                      └ said                 └ said; with --require-hugepages an error
//! ```
//!
//! | part | owns |
//! | --- | --- |
//! | `pattern` | which folder is which node's |
//! | `nodes` | which nodes are near to a CPU, and in which order the others follow |
//! | `pool` | files: looked at, locked, mapped |
//! | `anonymous` | memory of this process |

mod anonymous;
mod nodes;
mod pattern;
mod pool;

pub use anonymous::AnonymousMemory;
pub use pattern::Pattern;
pub use pool::{Loaded, Pool};

use super::{error::SdrError, label::Label};
use crate::units::{Bytes, CpuList, NodeId};
use std::fmt;

/// Room for the labels of one layer. Given back when it is dropped.
pub trait Labels: Send + Sync {
    /// The labels.
    fn labels(&self) -> &[Label];
    /// The labels, to write.
    fn labels_mut(&mut self) -> &mut [Label];
}

/// Called while memory is taken, which may last; an error ends it.
pub type Between<'a> = dyn FnMut() -> Result<(), SdrError> + 'a;

/// Gives room for layers.
pub trait Buffers: Send + Sync {
    /// Room for two layers of so many labels, near to the CPUs that will write them.
    fn take(&self, nodes: usize, near: &CpuList, between: &mut Between) -> Result<Taken, SdrError>;
}

/// Room for two layers, and where it is.
pub struct Taken {
    pub layers: Vec<Box<dyn Labels>>,
    pub places: Vec<Place>,
}

/// Where the room for a layer lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a hugepage file, on a node of the CPU that hashes.
    Near(NodeId),
    /// In a hugepage file, on another node.
    Far(NodeId),
    /// Anonymous, because no hugepage file was to be had although they are wanted.
    Instead,
    /// Anonymous, as it was meant.
    Anonymous,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Near(node) => write!(f, "hugepages of node {node}"),
            Self::Far(node) => write!(f, "hugepages of the other node {node}"),
            Self::Instead => f.write_str("anonymous for want of hugepages"),
            Self::Anonymous => f.write_str("anonymous"),
        }
    }
}

/// Both places in few words.
pub fn shown(places: &[Place]) -> String {
    match places {
        [one, other] if one != other => format!("{one}, {other}"),
        [one, ..] => one.to_string(),
        [] => String::new(),
    }
}

/// The memory of a process: its pool where it has one, and what stands in for it.
pub struct Memory {
    pub pool: Option<Pool>,
    /// Whether a sector that cannot have hugepages is refused.
    pub required: bool,
    pub anonymous: AnonymousMemory,
}

impl Buffers for Memory {
    fn take(&self, nodes: usize, near: &CpuList, between: &mut Between) -> Result<Taken, SdrError> {
        let mut taken = Taken { layers: Vec::new(), places: Vec::new() };
        let Some(pool) = &self.pool else {
            return self.anonymous.take(nodes, near, between);
        };
        let got = pool.take(nodes, 2, near);
        for file in got.files {
            taken.places.push(file.place());
            taken.layers.push(Box::new(file));
        }
        let missing = 2 - taken.layers.len();
        if missing > 0 {
            let size = Bytes((nodes * size_of::<Label>()) as u64);
            let why = got.why;
            if self.required {
                return Err(SdrError::TooFewHugepages { size, missing, why });
            }
            tracing::warn!(
                missing,
                "pc1: unable to take hugepage files, falling back to anonymous memory: {why}; make two files of {size} for \
                 each task on its node (`damocles-worker store hugepage-file-init`), or forbid it with --require-hugepages"
            );
            taken.layers.extend(self.anonymous.layers(missing, nodes, near, between)?);
            taken.places.extend(std::iter::repeat_n(Place::Instead, missing));
        }
        Ok(taken)
    }
}

/// What so many layers of so many nodes take.
pub fn needed(layers: usize, nodes: usize) -> Bytes {
    Bytes((layers * nodes * size_of::<Label>()) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_places_are_told_in_few_words() {
        assert_eq!(shown(&[Place::Near(NodeId(1)); 2]), "hugepages of node 1");
        let mixed = [Place::Far(NodeId(0)), Place::Instead];
        assert_eq!(shown(&mixed), "hugepages of the other node 0, anonymous for want of hugepages");
    }
}
