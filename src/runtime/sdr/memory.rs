//! Where the two layers of a sector in work lie: the seam behind which pools of huge pages stand beside anonymous memory.

use super::{error::SdrError, label::Label, mapping::Anonymous};
use crate::units::Bytes;

/// Room for the labels of one layer. Given back when it is dropped.
pub trait Labels: Send + Sync {
    /// The labels.
    fn labels(&self) -> &[Label];
    /// The labels, to write.
    fn labels_mut(&mut self) -> &mut [Label];
}

/// Gives room for layers.
pub trait Buffers: Send + Sync {
    /// Room for so many labels, near to the CPU that will write them where that is known.
    fn take(&self, nodes: usize, cpu: Option<u32>) -> Result<Box<dyn Labels>, SdrError>;
    /// What kind of memory it is, for a line in the log.
    fn kind(&self) -> &'static str;
}

/// Anonymous memory with transparent huge pages. The kernel takes each page from the node of the CPU that writes it
/// first, which is the one that hashes.
#[derive(Debug, Default)]
pub struct AnonymousMemory;

impl Buffers for AnonymousMemory {
    fn take(&self, nodes: usize, _cpu: Option<u32>) -> Result<Box<dyn Labels>, SdrError> {
        let memory = Anonymous::new(nodes)?;
        if !memory.is_huge() {
            tracing::warn!(
                "this kernel gives no transparent huge pages: expect pc1 to take about a tenth longer; \
                 write madvise to /sys/kernel/mm/transparent_hugepage/enabled"
            );
        }
        Ok(Box::new(memory))
    }

    fn kind(&self) -> &'static str {
        "anonymous"
    }
}

impl Labels for Anonymous {
    fn labels(&self) -> &[Label] {
        self.labels()
    }
    fn labels_mut(&mut self) -> &mut [Label] {
        self.labels_mut()
    }
}

/// What two layers of so many nodes take.
pub fn needed(nodes: usize) -> Bytes {
    Bytes(2 * nodes as u64 * size_of::<Label>() as u64)
}
