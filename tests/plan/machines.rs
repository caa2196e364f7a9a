//! Machines of the field: what operators published plans for.

use damocles_worker::{
    hwinfo,
    machine::{Cpu, CpuModel, Disk, DiskKind, Gpu, Machine, Mount},
    sys::topology::Source,
    units::{Bytes, CpuList, NodeId},
};

/// A machine of `line` with this processor, with GPUs on its nodes in turn.
fn built(line: &str, cpu: &str, gpu: &str, gpu_gib: u64, gpus: u32) -> Machine {
    let mut machine =
        hwinfo::describe(&Source::Synthetic(line.into()), "worker-1").expect("the line describes a machine");
    let nodes = machine.nodes().len() as u32;
    let cpus: CpuList = machine.cpus();
    machine.cpu = Some(Cpu {
        architecture: Some("x86_64".into()),
        models: vec![CpuModel { name: cpu.into(), cpus }],
        features: vec!["sha_ni".into()],
    });
    let gpu = |i: u32| Gpu {
        name: gpu.into(),
        vendor: Some("NVIDIA".into()),
        vendor_id: Some("10de".into()),
        pci_address: None,
        driver: Some("nvidia".into()),
        driver_version: None,
        memory_bytes: Some(Bytes::gib(gpu_gib)),
        node: Some(NodeId(i % nodes)),
    };
    machine.gpus = Some((0..gpus).map(gpu).collect());
    machine.unreadable.retain(|missed| missed.what != "cpu" && missed.what != "gpus");
    machine
}

/// Two sockets of 48 cores, three to an L3, 2 TiB, two GPUs.
pub fn two_epyc_7642() -> Machine {
    let line = "pack:2 [numa(memory=1099511627776)] l3:16(size=16777216) core:3 pu:1";
    built(line, "AMD EPYC 7642 48-Core Processor", "NVIDIA GeForce RTX 3080", 10, 2)
}

/// The same with larger GPUs, and 30 TiB of disk.
pub fn user_3() -> Machine {
    let line = "pack:2 [numa(memory=1099511627776)] l3:16(size=16777216) core:3 pu:1";
    let machine = built(line, "AMD EPYC 7642 48-Core Processor", "NVIDIA GeForce RTX 3090", 24, 2);
    with_disks(machine, &[("nvme0n1", "/mnt/nvme", Bytes::tib(30))])
}

/// Two sockets of 24 cores, three to an L3.
pub fn two_epyc_7402() -> Machine {
    let line = "pack:2 [numa(memory=549755813888)] l3:8(size=16777216) core:3 pu:1";
    built(line, "AMD EPYC 7402 24-Core Processor", "NVIDIA GeForce RTX 3080", 10, 4)
}

/// Two sockets of 24 cores, four to an L3.
pub fn two_of_24_cores_four_to_an_l3() -> Machine {
    let line = "pack:2 [numa(memory=549755813888)] l3:6(size=16777216) core:4 pu:1";
    built(line, "AMD EPYC 7542 32-Core Processor", "NVIDIA GeForce RTX 3080", 10, 4)
}

/// 24 cores with SMT, each L3 a node, 1 TiB, a GPU. The second threads have the CPUs 24-47.
pub fn user_1() -> Machine {
    let siblings: Vec<_> = (0..24).map(|core| format!("{core},{}", core + 24)).collect();
    let line = "pack:1 group:8 [numa(memory=137438953472)] l3:1(size=16777216) core:3";
    let machine = built(
        &format!("{line} pu:2(indexes={})", siblings.join(",")),
        "AMD EPYC 7402P 24-Core Processor",
        "NVIDIA GeForce RTX 3090",
        24,
        1,
    );
    with_disks(machine, &[("nvme0n1", "/mnt/nvme", Bytes::tib(20))])
}

/// 32 cores, four to an L3, 1.5 TiB, two disks, a GPU.
pub fn user_2() -> Machine {
    let line = "pack:1 [numa(memory=1649267441664)] l3:8(size=16777216) core:4 pu:1";
    let machine = built(line, "AMD EPYC 7542 32-Core Processor", "NVIDIA GeForce RTX 3080", 10, 1);
    let size = Bytes(7_500_000_000_000);
    with_disks(machine, &[("nvme0n1", "/mnt/nvme0", size), ("nvme1n1", "/mnt/nvme1", size)])
}

/// 16 cores, two to an L3, 512 GiB, 7.5 TB of disk, a GPU.
pub fn user_4() -> Machine {
    let line = "pack:1 [numa(memory=549755813888)] l3:8(size=16777216) core:2 pu:1";
    let machine = built(line, "AMD EPYC 7302P 16-Core Processor", "NVIDIA GeForce RTX 2080 Ti", 11, 1);
    with_disks(machine, &[("nvme0n1", "/mnt/md0", Bytes(7_500_000_000_000))])
}

/// Two nodes of four cores, an L3 each, 512 GiB, a GPU.
pub fn quad() -> Machine {
    let line = "pack:2 [numa(memory=274877906944)] l3:1(size=16777216) core:4 pu:1";
    let mut machine = built(line, "AMD EPYC 7542 32-Core Processor", "NVIDIA GeForce RTX 3080", 10, 1);
    for node in &mut machine.topology.parts {
        node.nodes.iter_mut().for_each(|node| node.page_pools = Some(vec![]));
    }
    with_disks(machine, &[("nvme0n1", "/mnt/nvme", Bytes::tib(8))])
}

/// The machine with an NVMe disk for each file system.
pub fn with_disks(mut machine: Machine, disks: &[(&str, &str, Bytes)]) -> Machine {
    let disk = |(name, path, size): &(&str, &str, Bytes)| Disk {
        name: (*name).into(),
        model: None,
        size_bytes: Some(*size),
        kind: DiskKind::Nvme,
        node: Some(NodeId(0)),
        mounts: Some(vec![Mount {
            path: (*path).into(),
            filesystem: "xfs".into(),
            read_only: false,
            total_bytes: Some(*size),
            free_bytes: None,
        }]),
    };
    machine.disks = Some(disks.iter().map(disk).collect());
    machine.unreadable.retain(|missed| missed.what != "disks");
    machine
}
