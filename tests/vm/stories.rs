//! The machines: what each is, and what its kernel must say it is.

use crate::{
    checks::{Expected, story},
    guest::{self, AMD, Guest, When},
    script::Script,
};

/// Everything at once: SMT, two packages of two caches each, CPUs switched off, memory without CPUs, distances,
/// hugepages.
#[test]
fn a_machine_with_everything_at_once() {
    let guest = Guest {
        cpu: AMD,
        shape: [2, 2, 2, 2],
        nodes: &[(512, "0-7"), (512, "8-15"), (512, "")],
        distances: &[(0, 1, 32), (0, 2, 17), (1, 2, 28)],
        offline: &[3, 6, 7],
        pages: &[(0, 2048, 3), (1, 2048, 40), (2, 2048, 100)],
        ..Guest::default()
    };
    let expected = Expected {
        packages: &["0-2,4-5", "8-15"],
        l3: &["0-2", "4-5", "8-11", "12-15"],
        nodes: &["0-2,4-5", "8-15", ""],
        smt: true,
        offline: "3,6-7",
        distances: &[&[10, 32, 17], &[32, 10, 28], &[17, 28, 10]],
        pages: &[3, 40, 100],
        ..Expected::default()
    };
    story("everything", When::Always, &guest, &expected);
}

/// As in a container: a cgroup that forbids half of the CPUs and a node, on a machine with CPUs switched off.
#[test]
fn a_cgroup_that_forbids_cpus_and_a_node() {
    let guest = Guest {
        cpu: AMD,
        shape: [2, 2, 2, 2],
        nodes: &[(512, "0-7"), (512, "8-15")],
        offline: &[5, 14],
        pages: &[(1, 2048, 8)],
        cgroup: Some(("2-9,12", "1")),
        ..Guest::default()
    };
    let expected = Expected {
        packages: &["0-4,6-7", "8-13,15"],
        l3: &["0-3", "4,6-7", "8-11", "12-13,15"],
        nodes: &["0-4,6-7", "8-13,15"],
        smt: true,
        offline: "5,14",
        pages: &[0, 8],
        allowed: Some(("2-4,6-9,12", "1")),
        ..Expected::default()
    };
    story("cgroup", When::Slow, &guest, &expected);
}

#[test]
fn two_packages_of_two_caches_each() {
    let nodes = &[(768, "0-7"), (768, "8-15")];
    let guest = Guest { cpu: AMD, shape: [2, 2, 4, 1], nodes, ..Guest::default() };
    let l3 = &["0-3", "4-7", "8-11", "12-15"];
    let expected = Expected { packages: &["0-7", "8-15"], l3, nodes: &["0-7", "8-15"], ..Expected::default() };
    story("epyc", When::Slow, &guest, &expected);
}

#[test]
fn smt_siblings() {
    let nodes = &[(768, "0-7"), (768, "8-15")];
    let guest = Guest { cpu: AMD, shape: [2, 2, 2, 2], nodes, ..Guest::default() };
    let l3 = &["0-3", "4-7", "8-11", "12-15"];
    let expected =
        Expected { packages: &["0-7", "8-15"], l3, nodes: &["0-7", "8-15"], smt: true, ..Expected::default() };
    story("epyc-smt", When::Slow, &guest, &expected);
}

/// Caches of 3, 2, 4 and 1 cores: what a cpuset must not be made of blindly.
#[test]
fn cpus_switched_off_leave_uneven_caches() {
    let nodes = &[(768, "0-7"), (768, "8-15")];
    let guest = Guest { cpu: AMD, shape: [2, 2, 4, 1], nodes, offline: &[3, 6, 7, 13, 14, 15], ..Guest::default() };
    let expected = Expected {
        packages: &["0-2,4-5", "8-12"],
        l3: &["0-2", "4-5", "8-11", "12"],
        nodes: &["0-2,4-5", "8-12"],
        smt: false,
        offline: "3,6-7,13-15",
        ..Expected::default()
    };
    story("epyc-uneven", When::Slow, &guest, &expected);
}

/// SMT switched off by hand: one sibling of each core is offline.
#[test]
fn one_sibling_of_each_core_switched_off() {
    let nodes = &[(768, "0-3"), (768, "4-7")];
    let guest = Guest { cpu: AMD, shape: [2, 1, 2, 2], nodes, offline: &[1, 3, 5, 7], ..Guest::default() };
    let expected = Expected {
        packages: &["0,2", "4,6"],
        l3: &["0,2", "4,6"],
        nodes: &["0,2", "4,6"],
        smt: false,
        offline: "1,3,5,7",
        ..Expected::default()
    };
    story("smt-off", When::Slow, &guest, &expected);
}

#[test]
fn memory_without_cpus() {
    let guest = Guest { cpu: "max", shape: [1, 1, 4, 1], nodes: &[(768, "0-3"), (768, "")], ..Guest::default() };
    let expected = Expected { packages: &["0-3"], l3: &["0-3"], nodes: &["0-3", ""], ..Expected::default() };
    story("tier", When::Slow, &guest, &expected);
}

/// Four nodes in one package, one for each cache: firmware's "L3 as NUMA".
#[test]
fn a_node_for_each_cache() {
    let nodes = &[(384, "0-1"), (384, "2-3"), (384, "4-5"), (384, "6-7")];
    let guest = Guest { cpu: AMD, shape: [1, 4, 2, 1], nodes, ..Guest::default() };
    let each = &["0-1", "2-3", "4-5", "6-7"];
    let expected = Expected { packages: &["0-7"], l3: each, nodes: each, ..Expected::default() };
    story("l3-as-numa", When::Slow, &guest, &expected);
}

#[test]
fn an_intel_machine_with_smt() {
    let nodes = &[(768, "0-3"), (768, "4-7")];
    let guest = Guest { cpu: "Icelake-Server", shape: [2, 1, 2, 2], nodes, ..Guest::default() };
    let expected = Expected {
        packages: &["0-3", "4-7"],
        l3: &["0-3", "4-7"],
        nodes: &["0-3", "4-7"],
        smt: true,
        ..Expected::default()
    };
    story("intel-smt", When::Slow, &guest, &expected);
}

/// What other stories rely on: order, exit codes, both streams, what was left running, the cgroup, the hugepages.
#[test]
fn steps_run_in_order_in_their_cgroup() {
    let pages = &[(0, 2048, 16), (1, 2048, 8)];
    let guest = Guest { pages, cgroup: Some(("1,3", "1")), ..Guest::default() };
    let script = Script::new()
        .program("damocles-worker")
        .file("/etc/story", "told\n")
        .step("start", "damocles-worker --version; sleep 600 & echo $! >/tmp/child")
        .step("fail", "cat /etc/story; echo talk >&2; exit 37")
        .step("child", "grep s_allowed_list /proc/$(cat /tmp/child)/status")
        .files("pools", &["/sys/devices/system/node/node*/hugepages/hugepages-2048kB/free_hugepages"]);
    let Some(answers) = guest::ask("steps", When::Slow, &guest, &script) else { return };
    assert!(answers.said("start").starts_with("damocles-worker "));
    let failed = answers.step("fail");
    assert_eq!((failed.code, failed.out.as_str(), failed.err.as_str()), (37, "told\n", "talk\n"));
    assert_eq!(answers.said("child"), "Cpus_allowed_list:\t1,3\nMems_allowed_list:\t1\n");
    let free: Vec<_> = answers.files("pools").below("/sys").map(|(_, text)| text.trim()).collect();
    assert_eq!(free, ["16", "8"]);
}
