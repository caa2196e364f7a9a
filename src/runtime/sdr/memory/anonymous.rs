//! Anonymous memory: transparent huge pages, from the node of the core that hashes.
//!
//! On a machine of several nodes the kernel prefers the node of the CPU that writes a page first, until that has no free
//! page left; page cache, which is never far from that, then drives layers to another node. So the memory is bound, and
//! taken at once, while the node is seen to have it. Bound memory that a node runs out of ends a process: therefore one task
//! of the machine takes at a time, and a node that has too little is only preferred.

use super::{Between, Buffers, Labels, Place, Taken, needed, nodes::Nodes};
use crate::{
    runtime::sdr::{error::SdrError, label::Label, mapping::Anonymous},
    sys::{
        Root,
        lock::{Lock, LockError},
        memory, settings,
    },
    units::{Bytes, CpuList, NodeId},
};
use std::{
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// Beside what is asked for: what everything else on the node takes meanwhile.
const SPARE_PART: u64 = 16;
/// Between two tries for the lock that another process holds.
const LOCK_EVERY: Duration = Duration::from_millis(100);

/// Anonymous memory with transparent huge pages.
#[derive(Debug, Default)]
pub struct AnonymousMemory {
    /// Where processes of the machine take turns; none: no other is there.
    locks: Option<PathBuf>,
    taking: Mutex<()>,
}

impl AnonymousMemory {
    /// Memory that is taken in turns with other processes, by a lock in this folder.
    pub fn in_turns(locks: Option<PathBuf>) -> Self {
        Self { locks, taking: Mutex::default() }
    }

    /// Room for so many layers.
    pub(super) fn layers(
        &self,
        count: usize,
        nodes: usize,
        near: &CpuList,
        between: &mut Between,
    ) -> Result<Vec<Box<dyn Labels>>, SdrError> {
        let root = Root::at("/");
        enough(&root, needed(count, nodes))?;
        let mut layers: Vec<Anonymous> = (0..count).map(|_| Anonymous::new(nodes)).collect::<Result<_, _>>()?;
        if layers.iter().any(|layer| !layer.is_huge()) {
            tracing::warn!(
                "this kernel gives no transparent huge pages: expect pc1 to take about a tenth longer; \
                 write madvise to /sys/kernel/mm/transparent_hugepage/enabled"
            );
        }
        if let Some(node) = Nodes::here(&root).only_near(near) {
            self.place(&root, node, &mut layers, needed(count, nodes), between)?;
        }
        Ok(layers.into_iter().map(|layer| Box::new(layer) as Box<dyn Labels>).collect())
    }

    /// Binds memory to a node of several and takes it, or prefers the node where it has too little.
    fn place(
        &self,
        root: &Root,
        node: NodeId,
        layers: &mut [Anonymous],
        needed: Bytes,
        between: &mut Between,
    ) -> Result<(), SdrError> {
        let _turn = self.turn(between)?;
        let available = memory::available(root, node).unwrap_or(Bytes(0));
        let alone = available.0 >= needed.0 + needed.0 / SPARE_PART;
        if !alone {
            tracing::warn!(
                "pc1: node {node} has {available} for layers of {needed}: a part of them will lie on another node; \
                 run fewer tasks on this node, or keep hugepage files for them"
            );
        }
        for layer in layers {
            if let Err(error) = layer.place(node, alone) {
                tracing::warn!("pc1: layers come from whatever node the kernel chooses: {error}");
                return Ok(());
            }
            if alone {
                layer.populate(between)?;
            }
        }
        Ok(())
    }

    /// The right to look and take, until it is dropped.
    fn turn(&self, between: &mut Between) -> Result<(MutexGuard<'_, ()>, Option<Lock>), SdrError> {
        let held = self.taking.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(folder) = &self.locks else { return Ok((held, None)) };
        loop {
            match Lock::take(&folder.join("pc1-memory.lock")) {
                Ok(lock) => return Ok((held, Some(lock))),
                Err(LockError::Held(_)) => {
                    between()?;
                    thread::sleep(LOCK_EVERY);
                }
                Err(error) => {
                    tracing::debug!(%error, "memory is not taken in turns with other processes");
                    return Ok((held, None));
                }
            }
        }
    }
}

impl Buffers for AnonymousMemory {
    fn take(&self, nodes: usize, near: &CpuList, between: &mut Between) -> Result<Taken, SdrError> {
        let layers = self.layers(2, nodes, near, between)?;
        Ok(Taken { layers, places: vec![Place::Anonymous; 2] })
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

/// A short test before the kernel has to choose whom to kill.
fn enough(root: &Root, needed: Bytes) -> Result<(), SdrError> {
    match settings::meminfo(root, "MemAvailable") {
        Ok(available) if available < needed => Err(SdrError::TooLittleMemory { needed, available }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::root::tests::tree;

    #[test]
    fn memory_that_is_not_there_is_refused_before_it_is_taken() {
        let (_dir, root) = tree(&[("proc/meminfo", "MemTotal: 100 kB\nMemAvailable:      1000 kB\n")]);
        enough(&root, Bytes::kib(1000)).unwrap();
        let error = enough(&root, Bytes::kib(1001)).unwrap_err().to_string();
        assert!(error.contains("free memory or run fewer pc1 tasks at once"), "{error}");
        enough(&Root::at("/nonexistent"), Bytes(u64::MAX)).expect("nothing is known, so the kernel decides");
    }

    #[test]
    fn one_task_of_the_machine_takes_memory_at_a_time_and_waiting_can_be_ended() {
        let folder = tempfile::tempdir().unwrap();
        let memory = || AnonymousMemory::in_turns(Some(folder.path().to_owned()));
        let (ours, theirs) = (memory(), memory());
        let turn = ours.turn(&mut || Ok(())).unwrap();
        assert!(turn.1.is_some());
        assert!(matches!(theirs.turn(&mut || Err(SdrError::Stopped)), Err(SdrError::Stopped)));
        drop(turn);
        assert!(theirs.turn(&mut || Err(SdrError::Stopped)).is_ok());
    }

    #[test]
    fn a_node_is_bound_to_and_all_its_memory_there_before_hashing_begins() {
        // Node 0 of this machine, whatever it is, with facts that say that there is enough of it, or not.
        for (free, populated) in [(1 << 30, 1), (100, 0)] {
            let meminfo =
                format!("Node 0 MemFree: {free} kB\nNode 0 Active(file): 0 kB\nNode 0 Inactive(file): 0 kB\n");
            let (_dir, root) = tree(&[("sys/devices/system/node/node0/meminfo", &meminfo)]);
            let mut layers = [Anonymous::new(1 << 16).unwrap()];
            let mut calls = 0;
            let mut count = || {
                calls += 1;
                Ok(())
            };
            let memory = AnonymousMemory::default();
            memory.place(&root, NodeId(0), &mut layers, Bytes::mib(2), &mut count).unwrap();
            // A container may forbid memory policies altogether.
            assert!(calls == populated || layers[0].place(NodeId(0), false).is_err(), "{calls} of {populated}");
        }
    }
}
