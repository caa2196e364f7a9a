//! The facts beside the tree, from described hosts: small trees of files as the kernel writes them.

use crate::{assert_reads_back, synthetic};
use damocles_worker::{
    hwinfo,
    machine::{DiskKind, Fleet, Gpu, Machine, Spec},
    sys::{
        Root,
        nvml::{NvmlFailed, NvmlGpu, Told},
    },
    units::{Bytes, NodeId},
};
use insta::assert_snapshot;
use proptest::prelude::*;
use std::fs;

const CPU: &str = "sys/devices/system/cpu";
const NODE: &str = "sys/devices/system/node";
const PCI: &str = "sys/bus/pci/devices";

/// A host with two nodes: a little of everything.
fn host() -> Vec<(String, String)> {
    let mut files = vec![
        ("proc/sys/kernel/hostname", "sealer-1"),
        ("proc/sys/kernel/osrelease", "6.1.0-37-amd64"),
        ("proc/sys/kernel/arch", "x86_64"),
        ("proc/sys/kernel/numa_balancing", "1"),
        ("proc/meminfo", "MemTotal: 1 kB\nSwapTotal: 8388608 kB\nSwapFree: 6291456 kB\nHugepagesize: 2048 kB"),
        ("sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never"),
        ("usr/share/misc/pci.ids", "1002  Advanced Micro Devices, Inc. [AMD/ATI]\n\t740f  Aldebaran [Instinct MI210]\n10de  NVIDIA Corporation\n\t2204  GA102 [GeForce RTX 3090]\n15b3  Mellanox Technologies\n\t1017  MT27800 Family [ConnectX-5]\n1a03  ASPEED Technology, Inc.\n\t2000  ASPEED Graphics Family"),
        ("proc/self/limits", "Limit    Soft Limit  Hard Limit Units\nMax open files   1024    524288    files\nMax locked memory    8388608   unlimited  bytes"),
        ("proc/self/mountinfo", "22 1 8:1 / /boot rw - ext4 /dev/sda1 rw\n23 1 253:0 / /data ro,noatime - xfs /dev/mapper/vg-data rw\n24 1 0:9 / /mnt/huge rw - hugetlbfs none rw,pagesize=1024M\n25 1 0:10 / /dev/hugepages rw - hugetlbfs none rw\n26 1 0:11 / /proc rw - proc proc rw"),
        ("sys/block/sda/size", "1000000000"),
        ("sys/block/sda/dev", "8:0"),
        ("sys/block/sda/device/model", "ST4000NM0035"),
        ("sys/block/sda/queue/rotational", "1"),
        ("sys/block/sda/sda1/partition", "1"),
        ("sys/block/sda/sda1/dev", "8:1"),
        ("sys/block/nvme0n1", "->../devices/pci0000:40/0000:41:00.0/nvme/nvme0/nvme0n1"),
        ("sys/devices/pci0000:40/0000:41:00.0/numa_node", "-1"),
        ("sys/devices/pci0000:40/0000:41:00.0/nvme/nvme0/model", "SAMSUNG MZQL23T8HCLS-00A07"),
        ("sys/devices/pci0000:40/0000:41:00.0/nvme/nvme0/nvme0n1/device", "->.."),
        ("sys/devices/pci0000:40/0000:41:00.0/nvme/nvme0/nvme0n1/size", "7501476528"),
        ("sys/devices/pci0000:40/0000:41:00.0/nvme/nvme0/nvme0n1/dev", "259:0"),
        ("sys/devices/pci0000:40/0000:41:00.0/nvme/nvme0/nvme0n1/holders/dm-0/x", ""),
        ("sys/block/dm-0/dev", "253:0"),
        ("sys/block/vdb/size", "2048"),
        ("sys/class/net/eth0", "->../../devices/pci0000:17/0000:17:00.0/net/eth0"),
        ("sys/devices/pci0000:17/0000:17:00.0/net/eth0/device", "->../.."),
        ("sys/devices/pci0000:17/0000:17:00.0/net/eth0/operstate", "up"),
        ("sys/devices/pci0000:17/0000:17:00.0/net/eth0/speed", "25000"),
        ("sys/devices/pci0000:17/0000:17:00.0/numa_node", "0"),
        ("sys/devices/pci0000:17/0000:17:00.0/driver", "->../../../bus/pci/drivers/mlx5_core"),
    ]
    .into_iter()
    .map(|(path, text)| (path.to_owned(), text.to_owned()))
    .collect::<Vec<_>>();
    let cpuinfo = |cpu| format!("processor\t: {cpu}\nmodel name\t: AMD EPYC 7542\nflags\t\t: lm avx2 sha_ni\n");
    files.push(("proc/cpuinfo".into(), (0..4).map(cpuinfo).collect::<Vec<_>>().join("\n")));
    for (cpu, governor) in ["performance", "performance", "schedutil", "performance"].iter().enumerate() {
        files.push((format!("{CPU}/cpu{cpu}/cpufreq/scaling_governor"), (*governor).to_owned()));
    }
    files.push((format!("{CPU}/smt/control"), "off".into()));
    files.push((format!("{NODE}/online"), "0-1".into()));
    for (node, distance, pages) in [(0, "10 32", 64), (1, "32 10", 0)] {
        let mut file = |name: &str, text: String| files.push((format!("{NODE}/node{node}/{name}"), text));
        file("distance", distance.to_owned());
        file("meminfo", format!("Node {node} MemTotal: 9 kB\nNode {node} MemFree: 1048576 kB"));
        for (name, number) in [("nr", pages), ("free", pages / 2), ("surplus", 0)] {
            file(&format!("hugepages/hugepages-1048576kB/{name}_hugepages"), number.to_string());
        }
    }
    for (address, class, vendor, device, node) in [
        ("0000:03:00.0", "0x030000", "0x1a03", "0x2000", "0"),
        ("0000:17:00.0", "0x020000", "0x15b3", "0x1017", "0"),
        ("0000:41:00.0", "0x010802", "0x144d", "0xa80a", "-1"),
        ("0000:65:00.0", "0x030000", "0x10de", "0x2204", "1"),
        ("0000:b1:00.0", "0x038000", "0x1002", "0x740f", "1"),
    ] {
        for (name, text) in [("class", class), ("vendor", vendor), ("device", device), ("numa_node", node)] {
            files.push((format!("{PCI}/{address}/{name}"), text.to_owned()));
        }
    }
    files.push((format!("{PCI}/0000:65:00.0/driver"), "->../../drivers/nvidia".into()));
    files.push((format!("{PCI}/0000:b1:00.0/driver"), "->../../drivers/amdgpu".into()));
    files.push((format!("{PCI}/0000:b1:00.0/mem_info_vram_total"), "68702699520".into()));
    files
}

fn write(files: &[(String, String)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match text.strip_prefix("->") {
            Some(target) => std::os::unix::fs::symlink(target, path).unwrap(),
            None => fs::write(path, text).unwrap(),
        }
    }
    dir
}

fn two_nodes() -> Machine {
    synthetic("pack:2 [numa(memory=4294967296)] l3:1(size=33554432) core:2 pu:1")
}

fn told() -> Result<Told, NvmlFailed> {
    let gpu = NvmlGpu {
        pci_address: "0000:65:00.0".into(),
        name: "NVIDIA GeForce RTX 3090".into(),
        memory: Some(Bytes(25_769_803_776)),
    };
    Ok(Told { driver_version: "535.183.01".into(), gpus: vec![gpu], failed: Vec::new() })
}

fn filled(dir: &tempfile::TempDir, nvml: impl FnOnce() -> Result<Told, NvmlFailed>) -> Machine {
    let mut machine = two_nodes();
    hwinfo::facts::fill(&mut machine, &Root::at(dir.path()), nvml);
    assert_reads_back(&machine);
    machine
}

/// The tables, with the root's place written as nothing.
fn tables(machine: &Machine, dir: &tempfile::TempDir) -> String {
    let mut out = Vec::new();
    hwinfo::write_tables(machine, &mut out).unwrap();
    String::from_utf8(out).unwrap().replace(dir.path().to_str().unwrap(), "")
}

fn gpu<'a>(machine: &'a Machine, address: &str) -> &'a Gpu {
    machine.gpus.iter().flatten().find(|gpu| gpu.pci_address.as_deref() == Some(address)).unwrap()
}

#[test]
fn a_whole_host_prints_as_tables() {
    let dir = write(&host());
    assert_snapshot!(tables(&filled(&dir, told), &dir), @r#"
    Processor:
     Model          AMD EPYC 7542
     Architecture   x86_64
     Instructions   SHA-NI, AVX2
     PC1-capable    yes: every CPU has the SHA instructions (sha_ni)

    Kernel:
     Release                  6.1.0-37-amd64
     SMT                      off
     Governor                 performance on 3 CPUs (0-1,3), schedutil on 1 CPU (2)
     Transparent huge pages   always
     NUMA balancing           on
     Swap                     8 GiB, 2 GiB used

    Memory:
     Node   CPUs   Memory   Free    1 GiB pages
     0      0-1    4 GiB    1 GiB   64, 32 free
     1      2-3    4 GiB    1 GiB   0

    Distances:
     From node   to 0   to 1
     0           10     32
     1           32     10

    hugetlbfs:
     Mount            Pages of
     /mnt/huge        1 GiB
     /dev/hugepages   2 MiB

    Disks:
     Disk      Kind      Size         Node   Model                        Mounts
     nvme0n1   NVMe      3.49 TiB     -      SAMSUNG MZQL23T8HCLS-00A07   /data (xfs, read-only)
     sda       HDD       476.84 GiB   -      ST4000NM0035                 /boot (ext4)
     vdb       unknown   1 MiB        -      -                            -

    GPUs:
     GPU                                                                 Memory      Driver              PCI            Node
     ASPEED Graphics Family                                              -           -                   0000:03:00.0   0
     NVIDIA GeForce RTX 3090                                             24 GiB      nvidia 535.183.01   0000:65:00.0   1
     Advanced Micro Devices, Inc. [AMD/ATI] Aldebaran [Instinct MI210]   63.98 GiB   amdgpu              0000:b1:00.0   1

    Network:
     Interface   State   Speed       Driver      PCI            Node   Model
     eth0        up      25 Gbit/s   mlx5_core   0000:17:00.0   0      Mellanox Technologies MT27800 Family [ConnectX-5]

    Limits of this process:
     Limit                       Soft    Hard
     Locked memory (ulimit -l)   8 MiB   unlimited
     Open files (ulimit -n)      1024    524288

    Could not be read:
      free space of /data: its space cannot be asked: No such file or directory (/data)
      free space of /boot: its space cannot be asked: No such file or directory (/boot)
    "#);
}

#[test]
fn each_fact_is_where_the_contract_has_it() {
    let dir = write(&host());
    let machine = filled(&dir, told);
    let node = machine.node(NodeId(0)).unwrap();
    assert_eq!(node.free_bytes, Some(Bytes::gib(1)));
    assert_eq!(node.page_pools.as_ref().unwrap()[0].free, Some(32));
    assert_eq!(machine.distances.as_ref().unwrap().rows, [[10, 32], [32, 10]]);
    let disks = machine.disks.as_ref().unwrap();
    let kinds: Vec<_> = disks.iter().map(|disk| (disk.name.as_str(), disk.kind, disk.node)).collect();
    // -1 of two nodes is no node.
    let expected = [("nvme0n1", DiskKind::Nvme, None), ("sda", DiskKind::Hdd, None), ("vdb", DiskKind::Unknown, None)];
    assert_eq!(kinds, expected);
    // Mounted from a volume on the disk.
    let mount = &disks[0].mounts.as_ref().unwrap()[0];
    assert_eq!((mount.path.as_str(), mount.read_only), ("/data", true));
    assert_eq!(gpu(&machine, "0000:65:00.0").driver_version.as_deref(), Some("535.183.01"));
    assert_eq!(gpu(&machine, "0000:b1:00.0").memory_bytes, Some(Bytes(68_702_699_520)));
    assert!(!gpu(&machine, "0000:03:00.0").can_compute());
    assert_eq!(machine.absent(), [] as [&str; 0]);
}

#[test]
fn on_one_node_everything_is_near_it() {
    let dir = write(&host());
    let mut machine = synthetic("pack:1 [numa(memory=4294967296)] core:4 pu:1");
    hwinfo::facts::fill(&mut machine, &Root::at(dir.path()), told);
    assert!(machine.disks.iter().flatten().all(|disk| disk.node == Some(NodeId(0))));
    // The kernel has a second node that the topology does not.
    assert_eq!(machine.distances.as_ref().unwrap().rows, [[10]]);
}

#[test]
fn without_the_drivers_library_the_pci_names_stay_and_the_reason_is_told() {
    let dir = write(&host());
    let machine = filled(&dir, || Err(NvmlFailed("libnvidia-ml.so.1: cannot open shared object file".into())));
    let found = gpu(&machine, "0000:65:00.0");
    assert_eq!((found.name.as_str(), found.memory_bytes), ("GA102 [GeForce RTX 3090]", None));
    let reasons: Vec<_> = machine.unreadable.iter().map(|missed| missed.reason.as_str()).collect();
    assert!(reasons.contains(&"libnvidia-ml.so.1: cannot open shared object file"), "{reasons:?}");
    assert!(reasons.contains(&"its driver nvidia does not tell it"), "{reasons:?}");
}

#[test]
fn what_the_drivers_library_leaves_out_is_listed_and_the_name_kept() {
    let dir = write(&host());
    let machine = filled(&dir, || {
        let mut told = told()?;
        told.gpus[0].memory = None;
        told.failed.push("memory of 0000:65:00.0: a symbol is missing".into());
        Ok(told)
    });
    assert_eq!(gpu(&machine, "0000:65:00.0").name, "NVIDIA GeForce RTX 3090");
    assert!(machine.unreadable.iter().any(|missed| missed.reason.ends_with("a symbol is missing")));
}

#[test]
fn a_gpu_that_only_the_driver_knows_is_kept() {
    let mut files = host();
    files.retain(|(path, _)| !path.starts_with(PCI));
    files.push(("proc/driver/nvidia/version".into(), "NVRM version".into()));
    let dir = write(&files);
    let machine = filled(&dir, told);
    assert_eq!(gpu(&machine, "0000:65:00.0").name, "NVIDIA GeForce RTX 3090");
    assert_eq!(machine.compute_gpus().len(), 1);
    // Others may be hidden.
    assert!(machine.unreadable.iter().any(|missed| missed.what == "GPUs"), "{:?}", machine.unreadable);
}

#[test]
fn no_gpu_is_a_fact_and_the_driver_is_not_asked() {
    let mut files = host();
    // The network card and the disk stay.
    files.retain(|(path, _)| {
        !["03:00", "65:00", "b1:00"].iter().any(|gpu| path.starts_with(&format!("{PCI}/0000:{gpu}")))
    });
    let dir = write(&files);
    let machine = filled(&dir, || panic!("there is no NVIDIA driver to ask"));
    assert_eq!(machine.gpus, Some(Vec::new()));
    assert!(tables(&machine, &dir).contains("\nGPUs: none\n"));
}

/// As in containers: the folders are gone, or may not be looked into.
#[test]
fn hidden_devices_are_not_told_as_none() {
    for (folder, what, title) in [
        ("sys/block", "disks", "\nDisks: none"),
        (PCI, "GPUs", "\nGPUs: none"),
        ("sys/class/net", "network interfaces", "\nNetwork: none"),
    ] {
        let mut files = host();
        files.retain(|(path, _)| !path.starts_with(folder));
        let dir = write(&files);
        for reason in ["no such folder", "Not a directory"] {
            let machine = filled(&dir, || Ok(Told::default()));
            let missed = machine.unreadable.iter().find(|missed| missed.what == what);
            let missed = missed.unwrap_or_else(|| panic!("{what}: {:?}", machine.unreadable));
            assert!(missed.reason.contains(reason) && missed.path.as_ref().unwrap().ends_with(folder), "{missed:?}");
            assert!(!tables(&machine, &dir).contains(title), "{what}");
            assert_eq!(machine.absent().len(), 1, "{what}");
            fs::create_dir_all(dir.path().join(folder).parent().unwrap()).unwrap();
            fs::write(dir.path().join(folder), "").unwrap();
        }
    }
}

#[test]
fn whoever_cannot_see_a_device_does_not_say_that_there_is_no_gpu() {
    let mut files = host();
    files.retain(|(path, _)| !path.starts_with(PCI) || path.starts_with(&format!("{PCI}/0000:65:00.0")));
    let dir = write(&files);
    fs::remove_file(dir.path().join(PCI).join("0000:65:00.0/class")).unwrap();
    let machine = filled(&dir, || panic!("no driver is known to be there"));
    assert_eq!(machine.gpus, None);
    assert!(machine.unreadable.iter().any(|missed| missed.what == "class of PCI device 0000:65:00.0"));
}

/// The host as hwloc-gather-topology takes it.
fn captured_host() -> Vec<(String, String)> {
    let mut files = host();
    let never = ["proc/sys", "proc/self", "usr", "sys/kernel"];
    files.retain(|(path, _)| !never.iter().any(|folder| path.starts_with(folder)));
    files.push(("proc/version".into(), "Linux version 6.1.0-37-amd64 (debian) #1 SMP".into()));
    let mounts = "/dev/sda1 /boot ext4 rw 0 0\n/dev/mapper/vg-data /data xfs ro,noatime 0 0\n\
                  none /mnt/huge hugetlbfs rw,pagesize=1024M 0 0\nnone /dev/hugepages hugetlbfs rw 0 0\n";
    files.push(("proc/mounts".into(), mounts.into()));
    files.push(("sys/block/dm-0/dm/name".into(), "vg-data".into()));
    files.push((format!("{PCI}/0000:03:00.0/driver"), "->../../drivers/ast".into()));
    files
}

fn captured(files: &[(String, String)]) -> Machine {
    let (dir, names) = (write(files), write(&host()));
    let mut machine = two_nodes();
    hwinfo::facts::fill_captured(&mut machine, &Root::captured(dir.path()).unwrap(), &Root::at(names.path()));
    assert_reads_back(&machine);
    machine
}

#[test]
fn a_captured_tree_tells_what_the_live_host_tells() {
    let mut live = filled(&write(&host()), || Err(NvmlFailed("not asked".into())));
    let found = captured(&captured_host());
    // The space of a captured disk is not that of this host, whatever is mounted there.
    for mount in live.disks.iter_mut().flatten().flat_map(|disk| disk.mounts.iter_mut().flatten()) {
        (mount.total_bytes, mount.free_bytes) = (None, None);
    }
    assert_eq!((&found.cpu, &found.topology), (&live.cpu, &live.topology));
    assert_eq!((&found.distances, &found.hugetlbfs), (&live.distances, &live.hugetlbfs));
    assert_eq!((&found.disks, &found.nics), (&live.disks, &live.nics));
    let named = |machine: &Machine| {
        let gpu = |gpu: &Gpu| (gpu.name.clone(), gpu.vendor.clone(), gpu.memory_bytes, gpu.node);
        machine.gpus.as_ref().unwrap().iter().map(gpu).collect::<Vec<_>>()
    };
    assert_eq!(named(&found), named(&live));
    let (found_kernel, live_kernel) = (found.kernel.as_ref().unwrap(), live.kernel.unwrap());
    assert_eq!((&found_kernel.release, &found_kernel.smt), (&live_kernel.release, &live_kernel.smt));
    assert_eq!((&found_kernel.governors, found_kernel.swap), (&live_kernel.governors, live_kernel.swap));
    // What only the running host could tell, each with the reason and the place on the host that was captured.
    let missed: Vec<_> = found
        .unreadable
        .iter()
        .map(|missed| (missed.what.as_str(), missed.path.as_deref().unwrap_or(""), missed.reason.as_str()))
        .collect();
    let not_in_source = "not in this source";
    let expected = [
        ("transparent huge pages", "/sys/kernel/mm/transparent_hugepage/enabled", not_in_source),
        ("NUMA balancing", "/proc/sys/kernel/numa_balancing", not_in_source),
        ("memory of GPU 0000:65:00.0", "", not_in_source),
        ("free space of file systems", "", not_in_source),
        ("limits of a process", "", not_in_source),
    ];
    assert_eq!(missed, expected);
}

#[test]
fn what_a_capture_does_not_hold_is_absent_and_not_none() {
    for (folder, what, more) in [
        ("sys/block", "disks", "--io"),
        (PCI, "GPUs", "--io"),
        ("sys/class/net", "network interfaces", "--io"),
        ("proc/cpuinfo", "processors and their instructions", ""),
        ("proc/version", "kernel release", ""),
        ("proc/mounts", "mounts (hugetlbfs, file systems of disks)", ""),
        ("proc/meminfo", "swap", ""),
        ("sys/devices/system/cpu/smt", "SMT state", ""),
        ("sys/devices/system/cpu", "frequency governors", ""),
        ("sys/devices/system/node/node0/distance", "distances of nodes", ""),
    ] {
        let mut files = captured_host();
        files.retain(|(path, _)| !path.starts_with(folder));
        let machine = captured(&files);
        let missed = machine.unreadable.iter().find(|missed| missed.what == what);
        let missed = missed.unwrap_or_else(|| panic!("{folder}: {:?}", machine.unreadable));
        assert!(missed.reason.starts_with("not in this source") && missed.reason.ends_with(more), "{missed:?}");
        assert!(
            missed.path.as_ref().unwrap().starts_with(&format!("/{}", folder.split('/').next().unwrap())),
            "{missed:?}"
        );
    }
    // Both nodes in one entry.
    let mut files = captured_host();
    files.retain(|(path, _)| !path.contains("hugepages-1048576kB"));
    let machine = captured(&files);
    assert!(machine.unreadable.iter().any(|missed| missed.what == "hugepages of node 0-1"), "{:?}", machine.unreadable);
    assert!(machine.nodes().iter().all(|node| node.page_pools.is_none()));
}

#[test]
fn every_file_that_is_a_folder_is_listed_with_its_reason() {
    for (path, what) in [
        ("proc/cpuinfo", "processors and their instructions"),
        ("proc/sys/kernel/osrelease", "kernel release"),
        ("proc/sys/kernel/numa_balancing", "NUMA balancing"),
        ("proc/meminfo", "swap"),
        ("proc/self/limits", "limits of this process"),
        ("proc/self/mountinfo", "mounts (hugetlbfs, file systems of disks)"),
        ("sys/kernel/mm/transparent_hugepage/enabled", "transparent huge pages"),
        ("sys/devices/system/cpu/smt/control", "SMT state"),
        ("sys/devices/system/cpu/cpu2/cpufreq/scaling_governor", "governor of CPU 2"),
        ("sys/devices/system/node/node1/distance", "distances of nodes"),
        ("sys/devices/system/node/node1/meminfo", "free memory of node 1"),
        ("sys/devices/system/node/node0/hugepages/hugepages-1048576kB/nr_hugepages", "hugepages of node 0"),
        ("sys/block/sda/size", "size of disk sda"),
        ("sys/block/sda/queue/rotational", "kind of disk sda"),
        ("sys/devices/pci0000:40/0000:41:00.0/numa_node", "node of disk nvme0n1"),
        ("sys/bus/pci/devices/0000:65:00.0/class", "class of PCI device 0000:65:00.0"),
        ("sys/bus/pci/devices/0000:b1:00.0/mem_info_vram_total", "memory of GPU 0000:b1:00.0"),
        ("sys/devices/pci0000:17/0000:17:00.0/net/eth0/speed", "speed of network interface eth0"),
        ("usr/share/misc/pci.ids", "names of PCI devices"),
    ] {
        let dir = write(&host());
        fs::remove_file(dir.path().join(path)).unwrap();
        fs::create_dir(dir.path().join(path)).unwrap();
        let machine = filled(&dir, told);
        let missed = machine.unreadable.iter().find(|missed| missed.what == what);
        let missed = missed.unwrap_or_else(|| panic!("{path}: {:?}", machine.unreadable));
        assert!(missed.reason.contains("directory") && missed.path.is_some(), "{missed:?}");
        assert!(tables(&machine, &dir).contains(&format!("  {what}: ")));
    }
}

#[test]
fn a_host_without_any_file_lists_all_that_it_lacks() {
    let dir = tempfile::tempdir().unwrap();
    let machine = filled(&dir, told);
    // No hugepages are a fact of a kernel; the rest should be there.
    assert_eq!(machine.absent(), ["cpu", "hugetlbfs", "disks", "gpus", "nics", "limits"]);
    let what: Vec<_> = machine.unreadable.iter().map(|missed| missed.what.as_str()).collect();
    for expected in ["processors and their instructions", "swap", "free memory of node 1", "disks", "SMT state"] {
        assert!(what.contains(&expected), "{expected}: {what:?}");
    }
    let is_told = |reason: &str| reason.contains("no such file") || reason.contains("no such folder");
    assert!(machine.unreadable.iter().all(|missed| is_told(&missed.reason)), "{:?}", machine.unreadable);
}

#[test]
fn a_described_machine_says_what_its_source_does_not_have() {
    let dir = tempfile::tempdir().unwrap();
    let machine = two_nodes();
    assert!(machine.unreadable.iter().any(|missed| missed.what == "gpus" && missed.reason == "not in this source"));
    let expected = "\nNot in this source: processor, disks, distances between nodes, GPUs, hugetlbfs mounts, \
                    kernel and its settings, limits, network interfaces, hugepages\n";
    assert_eq!(tables(&machine, &dir), expected);
}

#[test]
fn a_machine_of_a_fleet_reads_back() {
    let dir = write(&host());
    let machine = filled(&dir, told);
    let text = hwinfo::fleet_toml(&machine).unwrap();
    let fleet: Fleet = toml::from_str(&text).unwrap();
    assert_eq!(fleet.machine, [Spec::of(&machine)]);
    assert_snapshot!(text, @r#"
    [[machine]]
    name = "synthetic"
    count = 1
    cpu = "AMD EPYC 7542"
    pc1_capable = true
    packages = 2
    cores = 4
    cpus = 4

    [[machine.l3]]
    count = 2
    cores = 2
    size = "32MiB"

    [[machine.nodes]]
    index = 0
    cores = 2
    memory = "4GiB"

    [[machine.nodes]]
    index = 1
    cores = 2
    memory = "4GiB"

    [[machine.gpus]]
    count = 1
    name = "Aldebaran [Instinct MI210]"
    memory = "65520MiB"

    [[machine.gpus]]
    count = 1
    name = "NVIDIA GeForce RTX 3090"
    memory = "24GiB"

    [[machine.disks]]
    count = 1
    kind = "nvme"
    model = "SAMSUNG MZQL23T8HCLS-00A07"
    size = "3750738264KiB"

    [[machine.disks]]
    count = 1
    kind = "hdd"
    model = "ST4000NM0035"
    size = "500000000KiB"

    [[machine.disks]]
    count = 1
    kind = "unknown"
    size = "1MiB"
    "#);
}

#[test]
fn a_fleet_written_by_hand_needs_little() {
    let text = "[[machine]]\nname = 'a'\npackages = 1\ncores = 8\ncpus = 16\nnodes = [{index = 0, cores = 8, memory = '64 GiB'}]\n";
    let fleet: Fleet = toml::from_str(text).unwrap();
    assert_eq!((fleet.machine[0].count, fleet.machine[0].nodes[0].memory.0), (1, Bytes::gib(64)));
    let error = toml::from_str::<Fleet>(&text.replace("64 GiB", "64 apples")).unwrap_err().to_string();
    assert!(error.contains("\"64 apples\" is not a size"), "{error}");
}

#[test]
fn the_documented_entry_of_a_fleet_is_one() {
    let page = include_str!("../../docs/hwinfo.md");
    let text = page.split_once("```toml\n").unwrap().1.split_once("```").unwrap().0;
    let fleet: Fleet = toml::from_str(text).unwrap();
    assert_eq!((fleet.machine[0].count, fleet.machine[0].disks[0].count), (4, 6));
    // Every key of the page is one that is read.
    assert_eq!(toml::to_string(&fleet).unwrap().matches(" = ").count(), text.matches(" = ").count());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_text_in_any_file_is_a_crash(at in 0usize..64, text in "[-0-9a-z:\\[\\] \n\t%é/\\\\]{0,40}") {
        let mut files = host();
        let at = at % files.len();
        prop_assume!(!files[at].1.starts_with("->"));
        files[at].1 = text;
        let dir = write(&files);
        let machine = filled(&dir, told);
        tables(&machine, &dir);
        hwinfo::fleet_toml(&machine).unwrap();
    }
}
