//! Trees of described machines, line for line.

use crate::{assert_reads_back, synthetic, tree};
use damocles_worker::{hwinfo, machine, units::NodeId};
use insta::assert_snapshot;

#[test]
fn two_packages_print_in_the_fields_form() {
    let machine = synthetic("pack:2 [numa(memory=270119186432)] l3:2(size=16777216) core:4 pu:1");
    assert_reads_back(&machine);
    assert_snapshot!(tree(&machine), @r"
    CPU topology:
    Machine (503.14 GiB)
    ├── Package (251.57 GiB)
    │   ├── NUMANode (#0 251.57 GiB)
    │   ├── L3 (L#0 16 MiB)
    │   │   └── PU #0 + PU #1 + PU #2 + PU #3
    │   └── L3 (L#1 16 MiB)
    │       └── PU #4 + PU #5 + PU #6 + PU #7
    └── Package (251.57 GiB)
        ├── NUMANode (#1 251.57 GiB)
        ├── L3 (L#2 16 MiB)
        │   └── PU #8 + PU #9 + PU #10 + PU #11
        └── L3 (L#3 16 MiB)
            └── PU #12 + PU #13 + PU #14 + PU #15
    ");
}

#[test]
fn smt_siblings_share_a_pu() {
    let machine = synthetic("pack:1 l3:2(size=33554432) core:2 pu:2(indexes=0,4,1,5,2,6,3,7)");
    assert_reads_back(&machine);
    assert!(machine.has_smt());
    assert_snapshot!(tree(&machine), @r"
    CPU topology:
    Machine (1 GiB)
    └── Package (1 GiB)
        ├── NUMANode (#0 1 GiB)
        ├── L3 (L#0 32 MiB)
        │   └── PU #0/#4 + PU #1/#5
        └── L3 (L#1 32 MiB)
            └── PU #2/#6 + PU #3/#7
    ");
}

#[test]
fn os_indices_are_printed_not_hwlocs_own() {
    let machine = synthetic("pack:2 [numa(indexes=1,0)] core:2 pu:1(indexes=3,1,2,0)");
    assert_reads_back(&machine);
    assert_eq!(machine.node_of(3).unwrap().os_index, NodeId(1));
    assert_snapshot!(tree(&machine), @r"
    CPU topology:
    Machine
    ├── Package
    │   ├── NUMANode (#0)
    │   └── PU #0 + PU #2
    └── Package
        ├── NUMANode (#1)
        └── PU #1 + PU #3
    ");
}

#[test]
fn a_machine_without_l3_keeps_its_cores() {
    let machine = synthetic("pack:1 l2:2 core:1 pu:2");
    assert_eq!((machine.cores().len(), machine.l3_groups().len()), (2, 0));
    assert_snapshot!(tree(&machine), @r"
    CPU topology:
    Machine (1 GiB)
    └── Package (1 GiB)
        ├── NUMANode (#0 1 GiB)
        └── PU #0/#1 + PU #2/#3
    ");
}

#[test]
fn one_core_l3_groups_are_groups() {
    let machine = synthetic("pack:1 l3:3 core:1 pu:1");
    assert_eq!(machine.l3_groups().len(), 3);
    assert_snapshot!(tree(&machine), @r"
    CPU topology:
    Machine (1 GiB)
    └── Package (1 GiB)
        ├── NUMANode (#0 1 GiB)
        ├── L3 (L#0 16 MiB)
        │   └── PU #0
        ├── L3 (L#1 16 MiB)
        │   └── PU #1
        └── L3 (L#2 16 MiB)
            └── PU #2
    ");
}

#[test]
fn bare_pus_are_cores() {
    let machine = synthetic("pu:3");
    assert_eq!(machine.cores().len(), 3);
    assert_snapshot!(tree(&machine), @r"
    CPU topology:
    Machine (1 GiB)
    ├── NUMANode (#0 1 GiB)
    └── PU #0 + PU #1 + PU #2
    ");
}

#[test]
fn dies_and_groups_are_shown() {
    let machine = synthetic("pack:1 die:2 group:2 [numa(memory=1073741824)] l3:2 core:1 pu:1");
    assert_reads_back(&machine);
    assert_snapshot!(tree(&machine), @r"
    CPU topology:
    Machine (4 GiB)
    └── Package (4 GiB)
        ├── Die (#0 2 GiB)
        │   ├── Group (L#0 1 GiB)
        │   │   ├── NUMANode (#0 1 GiB)
        │   │   ├── L3 (L#0 16 MiB)
        │   │   │   └── PU #0
        │   │   └── L3 (L#1 16 MiB)
        │   │       └── PU #1
        │   └── Group (L#1 1 GiB)
        │       ├── NUMANode (#1 1 GiB)
        │       ├── L3 (L#2 16 MiB)
        │       │   └── PU #2
        │       └── L3 (L#3 16 MiB)
        │           └── PU #3
        └── Die (#1 2 GiB)
            ├── Group (L#2 1 GiB)
            │   ├── NUMANode (#2 1 GiB)
            │   ├── L3 (L#4 16 MiB)
            │   │   └── PU #4
            │   └── L3 (L#5 16 MiB)
            │       └── PU #5
            └── Group (L#3 1 GiB)
                ├── NUMANode (#3 1 GiB)
                ├── L3 (L#6 16 MiB)
                │   └── PU #6
                └── L3 (L#7 16 MiB)
                    └── PU #7
    ");
}

#[test]
fn a_second_memory_beside_a_node_is_memory_only() {
    let machine = synthetic("pack:2 [numa(memory=1GB)] [numa(memory=2GB)] core:2 pu:1");
    assert_reads_back(&machine);
    let memory_only: Vec<_> = machine.nodes().into_iter().filter(|node| node.is_memory_only()).collect();
    assert_eq!(memory_only.len(), 2);
    assert_snapshot!(tree(&machine), @r"
    CPU topology:
    Machine (5.59 GiB)
    ├── Package (2.79 GiB)
    │   ├── NUMANode (#0 953.67 MiB)
    │   ├── NUMANode (#1 1.86 GiB) (memory only)
    │   └── PU #0 + PU #1
    └── Package (2.79 GiB)
        ├── NUMANode (#2 953.67 MiB)
        ├── NUMANode (#3 1.86 GiB) (memory only)
        └── PU #2 + PU #3
    ");
}

#[test]
fn memory_of_a_whole_package_is_near_it_and_owns_no_cpu() {
    let machine = synthetic("pack:1 [numa(memory=4GB)] die:2 [numa(memory=1GB)] core:2 pu:1");
    assert_reads_back(&machine);
    assert_snapshot!(tree(&machine), @r"
    CPU topology:
    Machine (5.59 GiB)
    └── Package (5.59 GiB)
        ├── NUMANode (#2 3.73 GiB) (memory only)
        ├── Die (#0 953.67 MiB)
        │   ├── NUMANode (#0 953.67 MiB)
        │   └── PU #0 + PU #1
        └── Die (#1 953.67 MiB)
            ├── NUMANode (#1 953.67 MiB)
            └── PU #2 + PU #3
    ");
}

/// The machine that the field's documents print, 2 x 32 cores in 16 L3 groups, as a machine.json.
fn documented_machine() -> String {
    let package = |package: u64, bytes: u64| {
        let groups: Vec<_> = (0..8)
            .map(|group| {
                let l3 = package * 8 + group;
                let cores: Vec<_> =
                    (l3 * 4..l3 * 4 + 4).map(|cpu| serde_json::json!({ "cpus": cpu.to_string() })).collect();
                serde_json::json!({ "kind": "l3", "os_index": l3, "size_bytes": 16 << 20, "cores": cores })
            })
            .collect();
        serde_json::json!({
            "kind": "package", "os_index": package, "model": "*** *** *** 32-Core Processor", "memory_bytes": bytes,
            "nodes": [{ "os_index": package, "memory_bytes": bytes,
                        "cpus": format!("{}-{}", package * 32, package * 32 + 31) }],
            "parts": groups,
        })
    };
    let (first, second) = (270_119_186_432u64, 270_559_428_608u64);
    serde_json::json!({
        "version": 1, "hostname": "documented", "allowed_cpus": "0-63",
        "topology": { "kind": "machine", "memory_bytes": first + second,
                      "parts": [package(0, first), package(1, second)] },
    })
    .to_string()
}

#[test]
fn the_documented_machine_prints_as_documented() {
    let machine = machine::parse(&documented_machine()).unwrap();
    assert_snapshot!(tree(&machine), @r"
    CPU topology:
    Machine (503.55 GiB)
    ├── Package (251.57 GiB) (*** *** *** 32-Core Processor)
    │   ├── NUMANode (#0 251.57 GiB)
    │   ├── L3 (#0 16 MiB)
    │   │   └── PU #0 + PU #1 + PU #2 + PU #3
    │   ├── L3 (#1 16 MiB)
    │   │   └── PU #4 + PU #5 + PU #6 + PU #7
    │   ├── L3 (#2 16 MiB)
    │   │   └── PU #8 + PU #9 + PU #10 + PU #11
    │   ├── L3 (#3 16 MiB)
    │   │   └── PU #12 + PU #13 + PU #14 + PU #15
    │   ├── L3 (#4 16 MiB)
    │   │   └── PU #16 + PU #17 + PU #18 + PU #19
    │   ├── L3 (#5 16 MiB)
    │   │   └── PU #20 + PU #21 + PU #22 + PU #23
    │   ├── L3 (#6 16 MiB)
    │   │   └── PU #24 + PU #25 + PU #26 + PU #27
    │   └── L3 (#7 16 MiB)
    │       └── PU #28 + PU #29 + PU #30 + PU #31
    └── Package (251.98 GiB) (*** *** *** 32-Core Processor)
        ├── NUMANode (#1 251.98 GiB)
        ├── L3 (#8 16 MiB)
        │   └── PU #32 + PU #33 + PU #34 + PU #35
        ├── L3 (#9 16 MiB)
        │   └── PU #36 + PU #37 + PU #38 + PU #39
        ├── L3 (#10 16 MiB)
        │   └── PU #40 + PU #41 + PU #42 + PU #43
        ├── L3 (#11 16 MiB)
        │   └── PU #44 + PU #45 + PU #46 + PU #47
        ├── L3 (#12 16 MiB)
        │   └── PU #48 + PU #49 + PU #50 + PU #51
        ├── L3 (#13 16 MiB)
        │   └── PU #52 + PU #53 + PU #54 + PU #55
        ├── L3 (#14 16 MiB)
        │   └── PU #56 + PU #57 + PU #58 + PU #59
        └── L3 (#15 16 MiB)
            └── PU #60 + PU #61 + PU #62 + PU #63
    ");
}

#[test]
fn offline_and_forbidden_cpus_are_told() {
    let text = documented_machine()
        .replace("\"allowed_cpus\":\"0-63\"", "\"allowed_cpus\":\"0-5\",\"offline_cpus\":\"64-65\"");
    let machine = machine::parse(&text).unwrap();
    assert_eq!(machine.usable_cores().len(), 6);
    let tree = tree(&machine);
    assert!(tree.ends_with("\nOffline CPUs: 64-65\nCPUs forbidden by the cgroup: 6-63\n"), "{tree}");
}

#[test]
fn long_lines_become_ranges_that_a_cpuset_takes() {
    let cores = |line: &str| {
        let tree = tree(&synthetic(line));
        tree.lines().last().unwrap().trim_start_matches(['└', '─', ' ']).to_owned()
    };
    assert_eq!(cores("core:8 pu:1").matches(" + ").count(), 7, "eight are listed one by one");
    assert_eq!(cores("core:16 pu:1"), "PU #0-15 (16)");
    let apart = (0..16).flat_map(|core| [core, core + 64]).map(|cpu| cpu.to_string()).collect::<Vec<_>>().join(",");
    let filler = (16..64).flat_map(|core| [core, core + 64]).map(|cpu| cpu.to_string()).collect::<Vec<_>>().join(",");
    let line = format!("pack:4 core:16 pu:2(indexes={apart},{filler})");
    assert!(tree(&synthetic(&line)).contains("PU #0-15 + siblings #64-79 (16 cores)\n"));
    assert_eq!(cores("core:16 pu:2"), "PU #0-31 (16 cores, siblings are neighbours: #0/#1 + #2/#3 + …)");
}

#[test]
fn colours_are_only_written_for_a_terminal() {
    let machine = synthetic("pack:1 l3:1 core:1 pu:1");
    let mut out = Vec::new();
    hwinfo::write_painted_tree(&machine, hwinfo::Paint::Terminal, &mut out).unwrap();
    let painted = String::from_utf8(out).unwrap();
    assert!(painted.contains("\x1b[1mPackage\x1b[0m"), "{painted}");
    let mut plain = painted;
    for code in ["\x1b[1m", "\x1b[32m", "\x1b[36m", "\x1b[33m", "\x1b[0m"] {
        plain = plain.replace(code, "");
    }
    assert_eq!(plain, tree(&machine));
    assert!(!tree(&machine).contains('\x1b'));
}
