//! What an hwloc XML export tells beside its tree, and what it does not.

use crate::{assert_reads_back, tree};
use damocles_worker::{
    hwinfo,
    machine::{DiskKind, Machine},
    sys::topology::Source,
    units::{Bytes, NodeId},
};
use insta::assert_snapshot;
use std::process::Command;

/// The sets of an object, as hwloc writes them.
fn sets(cpus: u32, nodes: u32) -> String {
    format!("cpuset=\"{cpus:#x}\" complete_cpuset=\"{cpus:#x}\" nodeset=\"{nodes:#x}\" complete_nodeset=\"{nodes:#x}\"")
}

/// Two packages with a node of their own and a few devices; `relations` come last.
fn export(root: &str, relations: &str) -> String {
    let package = |index: u32, devices: &str| {
        let (cpus, nodes) = (0b11 << (2 * index), 1 << index);
        let pu = |cpu: u32| {
            let sets = sets(1 << cpu, nodes);
            format!(
                "<object type=\"Core\" os_index=\"{cpu}\" {sets} gp_index=\"{}\">\
                 <object type=\"PU\" os_index=\"{cpu}\" {sets} gp_index=\"{}\"/></object>",
                100 + cpu,
                200 + cpu
            )
        };
        let sets = sets(cpus, nodes);
        format!(
            "<object type=\"Package\" os_index=\"{index}\" {sets} gp_index=\"{}\">\
             <info name=\"CPUModel\" value=\"AMD EPYC 7542  32-Core\"/>\
             <object type=\"NUMANode\" os_index=\"{index}\" {sets} gp_index=\"{}\" local_memory=\"4294967296\">\
             <page_type size=\"4096\" count=\"100\"/><page_type size=\"1073741824\" count=\"{}\"/></object>{}{}{devices}\
             </object>\n",
            10 + index,
            20 + index,
            64 * index,
            pu(2 * index),
            pu(2 * index + 1)
        )
    };
    let devices = |bus: u32, inside: &str| {
        format!(
            "<object type=\"Bridge\" gp_index=\"{}\" bridge_type=\"0-1\" depth=\"0\" bridge_pci=\"0000:[{bus:02x}-{bus:02x}]\">\
             {inside}</object>",
            300 + bus
        )
    };
    let pci = |gp: u32, address: &str, kind: &str, inside: &str| {
        format!(
            "<object type=\"PCIDev\" gp_index=\"{gp}\" pci_busid=\"{address}\" pci_type=\"{kind}\">{inside}</object>\n"
        )
    };
    let info = |name: &str, value: &str| format!("<info name=\"{name}\" value=\"{value}\"/>");
    let os = |gp: u32, name: &str, kind: u32, infos: &str| {
        format!("<object type=\"OSDev\" gp_index=\"{gp}\" name=\"{name}\" osdev_type=\"{kind}\">{infos}</object>")
    };
    let nvml = info("GPUModel", "NVIDIA GeForce RTX 3090") + &info("CUDAGlobalMemorySize", "25165824");
    let disk = info("Size", "3750738264") + &info("Model", "SAMSUNG MZQL23T8HCLS-00A07");
    let first = pci(401, "0000:01:00.0", "0108 [144d:a80a] [0000:0000] 00", &os(402, "nvme0n1", 0, &disk))
        + &pci(
            403,
            "0000:01:00.1",
            "0106 [1022:7901] [0000:0000] 00",
            &(os(404, "sda", 0, "") + &os(405, "sr0", 0, "")),
        );
    let named = info("PCIVendor", "Mellanox Technologies") + &info("PCIDevice", "ConnectX-5");
    let second = pci(406, "0000:81:00.0", "0302 [10de:2204] [0000:0000] a1", &os(407, "cuda0", 5, &nvml))
        + &pci(408, "0000:81:00.1", "0200 [15b3:1017] [0000:0000] 00", &(named + &os(409, "eth0", 2, "")));
    let loopback = os(410, "lo", 2, &info("Address", "00:00:00:00:00:00"));
    format!(
        "<?xml version=\"1.0\"?>\n<topology version=\"2.0\">\n\
         <object type=\"Machine\" os_index=\"0\" {root} nodeset=\"0x3\" complete_nodeset=\"0x3\" allowed_nodeset=\"0x3\" gp_index=\"1\">\n\
         {}{}{}{}{}{}{loopback}</object>\n{relations}</topology>\n",
        info("OSName", "Linux"),
        info("OSRelease", "6.1.0-37-amd64"),
        info("HostName", "sealer-1"),
        info("Architecture", "x86_64"),
        package(0, &devices(1, &first)),
        package(1, &devices(0x81, &second)),
    )
}

const WHOLE: &str = "cpuset=\"0xf\" complete_cpuset=\"0xf\" allowed_cpuset=\"0xf\"";

const RELATIONS: &str = "<distances2 type=\"NUMANode\" nbobjs=\"2\" kind=\"5\" name=\"NUMALatency\" indexing=\"os\">\
    <indexes length=\"4\">0 1 </indexes><u64values length=\"12\">10 32 31 10 </u64values></distances2>\n\
    <memattr name=\"Bandwidth\" flags=\"5\"><memattr_value target_obj_type=\"NUMANode\" target_obj_gp_index=\"21\" \
    value=\"20000\" initiator_cpuset=\"0x3\"/></memattr>\n\
    <memattr name=\"quiet &amp; cheap\" flags=\"2\"><memattr_value target_obj_type=\"NUMANode\" target_obj_gp_index=\"20\" \
    value=\"7\"/></memattr>\n\
    <memattr name=\"cheap\" flags=\"2\"><memattr_value target_obj_type=\"NUMANode\" target_obj_gp_index=\"20\" value=\"9\"/></memattr>\n\
    <cpukind cpuset=\"0x5\" forced_efficiency=\"1\"><info name=\"CoreType\" value=\"IntelCore\"/></cpukind>\n\
    <cpukind cpuset=\"0xa\" forced_efficiency=\"0\"><info name=\"CoreType\" value=\"IntelAtom\"/></cpukind>\n";

fn described(text: String) -> Machine {
    let machine = hwinfo::describe(&Source::XmlText { name: "x.xml".into(), text }, "x").unwrap();
    assert_reads_back(&machine);
    machine
}

fn not_in_source(machine: &Machine) -> Vec<&str> {
    machine.unreadable.iter().map(|missed| missed.what.as_str()).collect()
}

#[test]
fn an_export_tells_devices_with_their_nearest_node() {
    let machine = described(export(WHOLE, RELATIONS));
    let cpu = machine.cpu.as_ref().unwrap();
    assert_eq!((cpu.architecture.as_deref(), cpu.features.len()), (Some("x86_64"), 0));
    assert_eq!(
        (cpu.models[0].name.as_str(), cpu.models[0].cpus.to_string().as_str()),
        ("AMD EPYC 7542 32-Core", "0-3")
    );
    assert_eq!(machine.pc1_capable().answer, damocles_worker::machine::Answer::Unknown);
    assert_eq!(machine.kernel.as_ref().unwrap().release.as_deref(), Some("6.1.0-37-amd64"));
    let distances = machine.distances.as_ref().unwrap();
    assert_eq!(
        (&distances.nodes[..], &distances.rows[..]),
        (&[NodeId(0), NodeId(1)][..], &[[10, 32].to_vec(), [31, 10].to_vec()][..])
    );
    // The normal pages are no pool; how many of a pool are free is not told.
    let pools = machine.node(NodeId(1)).unwrap().page_pools.as_ref().unwrap();
    assert_eq!((pools.len(), pools[0].page_bytes, pools[0].pages, pools[0].free), (1, Bytes::gib(1), 64, None));

    let disks = machine.disks.as_ref().unwrap();
    let told: Vec<_> = disks.iter().map(|disk| (disk.name.as_str(), disk.kind, disk.size_bytes, disk.node)).collect();
    let size = Some(Bytes(3_750_738_264 << 10));
    let expected =
        [("nvme0n1", DiskKind::Nvme, size, Some(NodeId(0))), ("sda", DiskKind::Unknown, None, Some(NodeId(0)))];
    assert_eq!(told, expected);
    assert_eq!((disks[0].model.as_deref(), &disks[0].mounts), (Some("SAMSUNG MZQL23T8HCLS-00A07"), &None));
    let gpus = machine.gpus.as_ref().unwrap();
    assert_eq!(
        (gpus.len(), gpus[0].name.as_str(), gpus[0].vendor_id.as_deref()),
        (1, "NVIDIA GeForce RTX 3090", Some("10de"))
    );
    assert_eq!((gpus[0].memory_bytes, gpus[0].node), (Some(Bytes::gib(24)), Some(NodeId(1))));
    let nics = machine.nics.as_ref().unwrap();
    assert_eq!((nics.len(), nics[0].name.as_str(), nics[0].node), (1, "eth0", Some(NodeId(1))));
    assert_eq!(nics[0].model.as_deref(), Some("Mellanox Technologies ConnectX-5"));
    assert_eq!(nics[0].pci_address.as_deref(), Some("0000:81:00.1"));
    assert_eq!(
        not_in_source(&machine).iter().filter(|what| **what != "names of PCI devices").collect::<Vec<_>>(),
        [
            &"hugetlbfs",
            &"limits",
            &"instructions of the processor",
            &"SMT state, governors, huge page and NUMA settings, swap",
            &"free memory and free hugepages",
            &"mounts of disks",
            &"drivers of GPUs",
            &"state, speed and driver of network interfaces"
        ]
    );
}

#[test]
fn devices_of_an_export_are_in_the_picture_and_in_the_fleet_entry() {
    let machine = described(export(WHOLE, ""));
    let picture = hwinfo::picture(&machine);
    for device in ["NVIDIA GeForce RTX 3090", "nvme0n1", "eth0"] {
        assert!(picture.contains(device), "{device}");
    }
    let entry = hwinfo::fleet_toml(&machine).unwrap();
    for line in
        ["name = \"NVIDIA GeForce RTX 3090\"", "memory = \"24GiB\"", "kind = \"nvme\"", "size = \"3750738264KiB\""]
    {
        assert!(entry.contains(line), "{line}: {entry}");
    }
}

#[test]
fn an_export_without_devices_does_not_say_that_there_are_none() {
    let whole = export(WHOLE, "");
    let without = |kind: &str| {
        let mut text = whole.clone();
        while let Some(begin) = text.find(&format!("<object type=\"{kind}\"")) {
            // Neither holds another of its kind.
            let end = begin + text[begin..].find("</object>").unwrap() + "</object>".len();
            text.replace_range(begin..end, "");
        }
        described(text)
    };
    let machine = without("OSDev");
    assert_eq!((&machine.disks, &machine.nics), (&None, &None));
    assert!(["disks", "nics"].iter().all(|what| not_in_source(&machine).contains(what)));
    let gpu = &machine.gpus.as_ref().unwrap()[0];
    assert_eq!((gpu.memory_bytes, gpu.node), (None, Some(NodeId(1))));
    // With PCI devices and no GPU among them, there is none; without PCI devices nobody looked.
    let machine = described(whole.replace("0302 [10de:2204]", "0680 [10de:1af1]"));
    assert_eq!(machine.gpus, Some(Vec::new()));
    let none = described(export(WHOLE, "").replace("PCIDev", "Misc"));
    assert_eq!(none.gpus, None);
    assert!(not_in_source(&none).contains(&"gpus"));
}

/// An export leaves out what a cgroup forbids, unless all was asked for.
#[test]
fn cpus_that_an_export_leaves_out_are_offline_or_forbidden() {
    let left_out = "cpuset=\"0xf\" complete_cpuset=\"0x3f\" allowed_cpuset=\"0xf\"";
    let machine = described(export(left_out, ""));
    assert!(machine.offline_or_forbidden);
    assert!(tree(&machine).ends_with("\nOffline or forbidden CPUs: 4-5\n"), "{}", tree(&machine));
    assert!(hwinfo::picture(&machine).contains("offline or forbidden CPUs: 4-5"));
    let all = "cpuset=\"0xf\" complete_cpuset=\"0x3f\" allowed_cpuset=\"0x7\"";
    let machine = described(export(all, ""));
    assert!(!machine.offline_or_forbidden);
    assert!(tree(&machine).ends_with("\nOffline CPUs: 4-5\nCPUs forbidden by the cgroup: 3\n"), "{}", tree(&machine));
    assert!(!described(export(WHOLE, "")).offline_or_forbidden);
}

#[test]
fn cores_of_two_kinds_are_told_apart() {
    let machine = described(export(WHOLE, RELATIONS));
    let kinds: Vec<_> =
        machine.cpu_kinds.iter().map(|kind| (kind.name.as_str(), kind.efficiency, kind.cpus.to_string())).collect();
    assert_eq!(kinds, [("E-core", Some(0), "1,3".to_owned()), ("P-core", Some(1), "0,2".to_owned())]);
    assert_snapshot!(tree(&machine), @r"
    CPU topology:
    Machine (8 GiB)
    ├── Package (4 GiB) (AMD EPYC 7542 32-Core)
    │   ├── NUMANode (#0 4 GiB)
    │   ├── PU #0 (P-cores)
    │   └── PU #1 (E-cores)
    └── Package (4 GiB) (AMD EPYC 7542 32-Core)
        ├── NUMANode (#1 4 GiB)
        ├── PU #2 (P-cores)
        └── PU #3 (E-cores)
    ");
    let mut tables = Vec::new();
    hwinfo::write_tables(&machine, &mut tables).unwrap();
    let tables = String::from_utf8(tables).unwrap();
    assert!(tables.contains(" Kinds of cores   P-cores on 2 CPUs (0,2), E-cores on 2 CPUs (1,3)\n"), "{tables}");
    // Of one kind, told of all CPUs, there is nothing to tell apart.
    let alike = "<cpukind cpuset=\"0xf\"><info name=\"FrequencyMaxMHz\" value=\"3900\"/></cpukind>";
    assert!(described(export(WHOLE, alike)).cpu_kinds.is_empty());
    // Without a name of their own.
    let speeds = RELATIONS.replace("CoreType", "FrequencyMaxMHz");
    let names: Vec<_> = described(export(WHOLE, &speeds)).cpu_kinds.into_iter().map(|kind| kind.name).collect();
    assert_eq!(names, ["slower core", "faster core"]);
}

/// As any hwloc program, hwinfo shows what the environment points hwloc at, and nothing of this host.
#[test]
fn an_export_that_the_environment_names_is_read_like_any_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.xml");
    std::fs::write(&path, export(WHOLE, RELATIONS)).unwrap();
    let shown = |arguments: &[&str]| {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin("damocles-worker-util"));
        command.args(["hwinfo", "--json"]).args(arguments);
        if arguments.is_empty() {
            command.env("HWLOC_XMLFILE", &path);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(shown(&[]), shown(&["--from", path.to_str().unwrap()]));
}

fn full(arguments: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.xml");
    std::fs::write(&path, export(WHOLE, RELATIONS)).unwrap();
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("damocles-worker-util"));
    let output = command.args(["hwinfo", "--full", "--from"]).arg(&path).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// hwlocality would end the process.
#[test]
fn a_bridge_that_leads_to_a_host_is_no_crash() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.xml");
    std::fs::write(&path, export(WHOLE, "").replace("bridge_type=\"0-1\"", "bridge_type=\"0-0\"")).unwrap();
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("damocles-worker-util"));
    let output = command.args(["hwinfo", "--full", "--from"]).arg(&path).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
}

#[test]
fn everything_includes_what_is_between_objects() {
    let text = full(&[]);
    let (_, below) = text.split_once("\nKinds of cores").unwrap();
    assert_snapshot!(format!("Kinds of cores{below}"), @r"
    Kinds of cores (efficiency 0 is the least powerful):
     CPUs   Efficiency   Told
     1,3    0            CoreType: IntelAtom
     0,2    1            CoreType: IntelCore

    Distances NUMALatency (latency):
                     to 0   to 1
     0 NUMANode #0   10     32
     1 NUMANode #1   31     10

    Memory attribute Bandwidth (MiB/s):
     Memory        From       Value
     NUMANode #1   cpus 0-1   20000

    Memory attribute cheap:
     Memory        From   Value
     NUMANode #0   -      9

    Memory attribute quiet & cheap:
     Memory        From   Value
     NUMANode #0   -      7
    ");
    let json: serde_json::Value = serde_json::from_str(&full(&["--json"])).unwrap();
    assert_eq!(json["relations"]["distances"][0]["rows"], serde_json::json!([[10, 32], [31, 10]]));
    assert_eq!(json["relations"]["memory_attributes"][0]["values"][0]["value"], 20000);
    assert_eq!(json["relations"]["cpu_kinds"][1]["cpus"], "0,2");
    assert!(json["children"][0].get("relations").is_none());
}
