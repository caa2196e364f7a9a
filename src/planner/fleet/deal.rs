//! Cores for each C2 task of a machine that does nothing else: at home with its GPU as far as that goes.

use crate::{
    planner::inventory::{Core, Inventory},
    units::CpuList,
};

/// The CPUs of each task, which has one of these GPUs or none: so many whole cores from its GPU's node, or else from the node
/// that has the most left. What remains is the system's.
pub(super) fn cpusets(inventory: &Inventory, gpus: &[Option<usize>], cores_each: u32) -> Vec<CpuList> {
    let mut left: Vec<Vec<Core>> =
        inventory.nodes.iter().map(|node| node.groups.iter().flatten().cloned().collect()).collect();
    if left.is_empty() {
        // Without L3 caches there are no groups; the cores are there all the same.
        let usable = inventory.machine.usable_cores().into_iter();
        let cores = usable.map(|core| core.cpus.and(&inventory.machine.allowed_cpus));
        let core = |cpus: CpuList| {
            let first = cpus.iter().next()?;
            Some(Core { first, cpus })
        };
        left = vec![cores.filter_map(core).collect()];
    }
    gpus.iter().map(|gpu| take(&mut left, gpu.and_then(|gpu| inventory.gpus[gpu].node), cores_each)).collect()
}

fn take(left: &mut [Vec<Core>], home: Option<usize>, cores: u32) -> CpuList {
    let mut taken: Vec<Core> = Vec::new();
    let mut order: Vec<usize> = (0..left.len()).collect();
    order.sort_by_key(|node| (Some(*node) != home, std::cmp::Reverse(left[*node].len()), *node));
    for node in order {
        let count = (cores as usize - taken.len()).min(left[node].len());
        taken.extend(left[node].drain(..count));
    }
    taken.iter().flat_map(|core| core.cpus.iter()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::catalogue;

    #[test]
    fn each_task_is_at_home_with_its_gpu_and_no_core_is_given_twice() {
        let machine = catalogue::machine("2x epyc-7302 512GiB 2x rtx3090").unwrap();
        let inventory = Inventory::of(&machine);
        let found = cpusets(&inventory, &[Some(0), Some(1)], 15);
        assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), ["0-14", "16-30"]);
        let found = cpusets(&inventory, &[None, None, None], 10);
        assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), ["0-9", "16-25", "10-15,26-29"]);
    }
}
