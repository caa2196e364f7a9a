//! Machines of the field: what operators published plans for.

use damocles_worker::{
    hwinfo,
    machine::{Cpu, CpuModel, Gpu, Machine},
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

/// Two sockets of 48 cores, three to an L3, 2007 GiB that can be used, two GPUs.
pub fn two_epyc_7642() -> Machine {
    let line = "pack:2 [numa(memory=1077511651328)] l3:16(size=16777216) core:3 pu:1";
    built(line, "AMD EPYC 7642 48-Core Processor", "NVIDIA GeForce RTX 3080", 10, 2)
}

/// Two sockets of 24 cores, three to an L3.
pub fn two_epyc_7402() -> Machine {
    let line = "pack:2 [numa(memory=549755813888)] l3:8(size=16777216) core:3 pu:1";
    built(line, "AMD EPYC 7402 24-Core Processor", "NVIDIA GeForce RTX 3080", 10, 4)
}
