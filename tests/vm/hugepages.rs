//! Hugepage files on machines with several nodes: what `store hugepage-…` says, held against the guest's own pools.
//!
//! The worker asks the kernel for the node of every page (move_pages); what it says is believed only together with the nodes'
//! own counts of free pages in /sys, and with a file that is wrong on purpose and that it must find.

use crate::{
    guest::{self, Guest, When},
    script::{Answers, Files, Script},
};
use damocles_worker::units::Bytes;

const POOLS: &[&str] = &["/sys/devices/system/node/node*/hugepages/hugepages-*/*_hugepages", "/proc/mounts"];
const SMALL: Bytes = Bytes::mib(2);
const LARGE: Bytes = Bytes::gib(1);

/// Pages of a node's pool, and how many of them are free.
fn pool(files: &Files, node: u32, page: Bytes) -> (u64, u64) {
    let number = |name: &str| {
        let pool = format!("/sys/devices/system/node/node{node}/hugepages/hugepages-{}kB", page.0 / 1024);
        files.get(&format!("{pool}/{name}_hugepages")).trim().parse().unwrap()
    };
    (number("nr"), number("free"))
}

/// Everything is as it was: pools of every node, mounts.
#[track_caller]
fn assert_same(answers: &Answers, before: &str, after: &str) {
    assert_eq!(answers.files(after), answers.files(before), "{before} and {after}");
}

/// The step ended with this code and said all these words.
#[track_caller]
fn told(answers: &Answers, step: &str, code: i32, words: &[&str]) {
    let said = answers.step(step);
    assert_eq!(said.code, code, "{step}: {}{}", said.out, said.err);
    for word in words {
        assert!(said.out.contains(word) || said.err.contains(word), "{step}: {word}: {}{}", said.out, said.err);
    }
}

fn worker() -> Script {
    Script::new().program("damocles-worker")
}

/// The example that operators know, in files of 32 MiB instead of 32 GiB: two nodes, two files on each.
#[test]
fn the_example_of_the_field_on_two_nodes() {
    let guest = Guest { nodes: &[(1024, "0-1"), (1024, "2-3")], ..Guest::default() };
    // The second command runs on a CPU of the first node, and is asked for pages of the other.
    let script = worker()
        .files("before", POOLS)
        .step(
            "one",
            "damocles-worker store hugepage-file-init --node=0 --num=2 --size=32MiB --path=/mnt/huge_1g/pc1_1 \
             --mount=/mnt/huge_1g --page-size=2MiB",
        )
        .files("half", POOLS)
        .step(
            "two",
            "taskset 1 damocles-worker store hugepage-file-init --node=1 --num=2 --size=32MiB \
             --path=/mnt/huge_1g/pc1_2",
        )
        .files("after", POOLS)
        .step("tree", "find /mnt/huge_1g | sort")
        .step("verify", "damocles-worker store hugepage-verify")
        .step("status", "damocles-worker store hugepage-status")
        .step("again", "damocles-worker store hugepage-file-init -n1 -c2 -s32MiB --path_pattern='/mnt/huge_1g/pc1_2/numa_$NUMA_NODE_INDEX'")
        .step("unit", "damocles-worker store hugepage-persist")
        .step("first", "damocles-worker store hugepage-release --path /mnt/huge_1g/pc1_1")
        .files("left", POOLS)
        .step("rest", "damocles-worker store hugepage-release --all")
        .files("end", POOLS)
        .step("gone", "find /mnt");
    let Some(answers) = guest::ask("hugepages", When::Always, &guest, &script) else { return };
    assert!(answers.said("one").contains("node 0: raised the pool of 2MiB pages from 0 to 32"));
    assert!(answers.said("two").contains("32.0_MiB_1: made, 16 pages of 2MiB, all on node 1"));
    let tree = [
        "/mnt/huge_1g",
        "/mnt/huge_1g/pc1_1",
        "/mnt/huge_1g/pc1_1/numa_0",
        "/mnt/huge_1g/pc1_1/numa_0/32.0_MiB_0",
        "/mnt/huge_1g/pc1_1/numa_0/32.0_MiB_1",
        "/mnt/huge_1g/pc1_2",
        "/mnt/huge_1g/pc1_2/numa_1",
        "/mnt/huge_1g/pc1_2/numa_1/32.0_MiB_0",
        "/mnt/huge_1g/pc1_2/numa_1/32.0_MiB_1",
    ];
    assert_eq!(answers.said("tree").lines().collect::<Vec<_>>(), tree);
    let pools = |name: &str| [0, 1].map(|node| pool(answers.files(name), node, SMALL));
    assert_eq!(
        pools("half"),
        [(32, 0), (0, 0)],
        "the first files took every page of their node, and none of the other"
    );
    assert_eq!(pools("after"), [(32, 0), (32, 0)]);
    let verified = answers.said("verify");
    assert_eq!(verified.matches(": 16 pages of 2MiB, all on node 0").count(), 2, "{verified}");
    assert_eq!(verified.matches(": 16 pages of 2MiB, all on node 1").count(), 2, "{verified}");
    assert!(answers.said("status").contains("  2MiB: 32 pages, 0 free, 32 added by this tool"));
    assert_eq!(answers.said("again").matches(": was there, verified").count(), 2);
    let unit = answers.said("unit");
    assert!(unit.contains("--node 1 --num 2 --size 32MiB --path /mnt/huge_1g/pc1_2 --mount /mnt/huge_1g"), "{unit}");
    assert!(!answers.said("first").contains("unmounted"));
    assert_eq!(pools("left"), [(0, 0), (32, 0)]);
    assert!(answers.said("rest").contains("unmounted /mnt/huge_1g"));
    assert_same(&answers, "before", "end");
    assert!(answers.step("gone").code != 0, "{:?}", answers.step("gone"));
}

/// Files whose pages lie on the other node: made with the tools of a shell, on a CPU of that node.
#[test]
fn misplaced_pages_are_found_and_made_anew_on_their_node() {
    let guest =
        Guest { nodes: &[(768, "0-1"), (768, "2-3")], pages: &[(0, 2048, 8), (1, 2048, 8)], ..Guest::default() };
    let script = worker()
        .step(
            "wrong",
            "mkdir -p /mnt/huge && mount -t hugetlbfs -o pagesize=2M none /mnt/huge && mkdir -p /mnt/huge/pc1/numa_0 && \
             cd /mnt/huge/pc1/numa_0 && taskset 4 fallocate -l 8388608 8.0_MiB_0 && \
             taskset 1 fallocate -l 8388608 8.0_MiB_1",
        )
        .files("wrong", POOLS)
        .step("verify", "damocles-worker store hugepage-verify --path /mnt/huge/pc1")
        .step("status", "damocles-worker store hugepage-status --json")
        .step("init", "damocles-worker store hugepage-file-init -n0 -c2 -s8MiB --path /mnt/huge/pc1")
        .files("still", POOLS)
        .step("repair", "damocles-worker store hugepage-verify --path /mnt/huge/pc1 --repair")
        .files("right", POOLS)
        .step("verified", "damocles-worker store hugepage-verify --path /mnt/huge/pc1");
    let Some(answers) = guest::ask("misplaced", When::Slow, &guest, &script) else { return };
    answers.said("wrong");
    let pools = |name: &str| [0, 1].map(|node| pool(answers.files(name), node, SMALL));
    assert_eq!(pools("wrong"), [(8, 4), (8, 4)], "the guest is what this story is about");
    let problem = "numa_0/8.0_MiB_0: WRONG: its pages lie 4 on node 1, they should all lie on node 0";
    told(&answers, "verify", 1, &[problem, "8.0_MiB_1: 4 pages of 2MiB, all on node 0"]);
    let status: serde_json::Value = serde_json::from_str(answers.said("status")).unwrap();
    assert_eq!(status["folders"][0]["files"][0]["pages"]["1"].as_u64(), Some(4), "{status:#}");
    told(&answers, "init", 1, &["its pages lie 4 on node 1", "it was left as it is"]);
    assert_same(&answers, "wrong", "still");
    told(&answers, "repair", 0, &["8.0_MiB_0: made anew, 4 pages of 2MiB, all on node 0"]);
    assert_eq!(pools("right"), [(8, 0), (8, 8)], "the other node has its pages back");
    told(&answers, "verified", 0, &["8.0_MiB_0: 4 pages of 2MiB, all on node 0"]);
}

/// A node of memory alone, one that has too little, and a cgroup's limit: on one machine.
#[test]
fn memory_without_cpus_too_little_of_it_and_a_limit() {
    let guest = Guest { nodes: &[(1024, "0-1"), (512, "2-3"), (256, "")], ..Guest::default() };
    let init = "damocles-worker store hugepage-file-init --path /mnt/huge/pc1 --mount /mnt/huge --page-size 2MiB";
    let limited = "mount -t cgroup2 cgroup /sys/fs/cgroup && echo +hugetlb > /sys/fs/cgroup/cgroup.subtree_control && \
                   mkdir /sys/fs/cgroup/few && echo 16M > /sys/fs/cgroup/few/hugetlb.2MB.max && \
                   echo 0 > /sys/fs/cgroup/few/cgroup.procs && ";
    let script = worker()
        .files("before", POOLS)
        .step("memory", &format!("{init} -n2 -c2 -s16MiB"))
        .files("memory", POOLS)
        .step("all", &format!("{init} -nall -c1 -s16MiB"))
        .files("all", POOLS)
        .step("release", "damocles-worker store hugepage-release --all")
        .files("released", POOLS)
        .step("which", &format!("{init} -c2 -s16MiB"))
        .step("none", &format!("{init} -n3 -c2 -s16MiB"))
        .step("short", &format!("{init} -n1 -c1 -s480MiB"))
        .files("short", POOLS)
        .step("second", &format!("{init} -n0,1 -c1 -s480MiB"))
        .files("second", POOLS)
        .step("room", &format!("{init} -n0,1 -c1 -s600MiB"))
        .files("room", POOLS)
        .step("limited", &format!("{limited}{init} -n0 -c3 -s8MiB"))
        .step("umount", "umount /sys/fs/cgroup")
        .files("limited", POOLS);
    let Some(answers) = guest::ask("short-nodes", When::Slow, &guest, &script) else { return };
    told(&answers, "memory", 2, &["node 2 has memory and no CPUs", "choose among 0,1"]);
    told(
        &answers,
        "all",
        0,
        &["16.0_MiB_0: made, 8 pages of 2MiB, all on node 0", "made, 8 pages of 2MiB, all on node 1"],
    );
    assert_eq!([0, 1, 2].map(|node| pool(answers.files("all"), node, SMALL)), [(8, 0), (8, 0), (0, 0)]);
    answers.said("release");
    told(&answers, "which", 2, &["which node? this machine has 0,1; choose with --node"]);
    told(&answers, "none", 2, &["node 3 is not there; this machine has 0,1,2"]);
    let words =
        ["no: node 1: asked for 240 pages of 2MiB more, the kernel gave ", "hint: ", "hugepagesz=2M hugepages=1:240"];
    told(&answers, "short", 1, &words);
    // Node 0 could serve it and was raised by then.
    told(&answers, "second", 1, &[words[0], "the pool was put back to 0", "hugepagesz=2M hugepages=0:240,1:240"]);
    told(&answers, "room", 1, &["no: node 1 has ", "cannot be had there"]);
    told(&answers, "limited", 1, &["the cgroup of this process leaves 16MiB", "hugetlb.2MB.max"]);
    ["memory", "released", "short", "second", "room", "limited"]
        .iter()
        .for_each(|after| assert_same(&answers, "before", after));
}

#[test]
fn a_node_that_the_cpuset_forbids_is_refused() {
    let guest = Guest { nodes: &[(768, "0-1"), (768, "2-3")], cgroup: Some(("0-1", "0")), ..Guest::default() };
    let init =
        "damocles-worker store hugepage-file-init -c1 -s8MiB --path /mnt/huge/pc1 --mount /mnt/huge --page-size 2MiB";
    let script = worker()
        .files("before", POOLS)
        .step("forbidden", &format!("{init} -n1"))
        .step("all", &format!("{init} -n all"))
        .files("after", POOLS)
        .step("allowed", &format!("{init} -n0"))
        .step("status", "damocles-worker store hugepage-status");
    let Some(answers) = guest::ask("cpuset", When::Slow, &guest, &script) else { return };
    for step in ["forbidden", "all"] {
        told(&answers, step, 2, &["node 1 is not allowed to this process, whose cpuset has the memory of 0 only"]);
    }
    assert_same(&answers, "before", "after");
    told(&answers, "allowed", 0, &["8.0_MiB_0: made, 4 pages of 2MiB, all on node 0"]);
    assert!(answers.said("status").lines().any(|line| line.starts_with("node 1: ") && line.contains("forbidden")));
}

/// Pages of 1 GiB, one on a node at run time and one from the kernel's command line, as `hugepage-persist` would have it.
#[test]
fn pages_of_1_gib_at_boot_and_later() {
    let guest =
        Guest { nodes: &[(4096, "0-1"), (4096, "2-3")], boot: "hugepagesz=1G hugepages=1:1", ..Guest::default() };
    let script = worker()
        .files("before", POOLS)
        .step(
            "init",
            "damocles-worker store hugepage-file-init -n all -c1 -s1GiB --path /mnt/huge_1g/pc1 --mount /mnt/huge_1g \
             --page-size 1GiB",
        )
        .files("after", POOLS)
        .step("verify", "damocles-worker store hugepage-verify")
        .step("unit", "damocles-worker store hugepage-persist")
        .step("release", "damocles-worker store hugepage-release --all")
        .files("end", POOLS);
    let Some(answers) = guest::ask("1-gib", When::Slow, &guest, &script) else { return };
    let pools = |name: &str| [0, 1].map(|node| pool(answers.files(name), node, LARGE));
    assert_eq!(pools("before"), [(0, 0), (1, 1)], "the kernel took the words of its command line");
    told(&answers, "init", 0, &["node 0: raised the pool of 1GiB pages from 0 to 1", "all on node 1"]);
    assert_eq!(pools("after"), [(1, 0), (1, 0)]);
    told(
        &answers,
        "verify",
        0,
        &["1.0_GiB_0: 1 page of 1GiB, all on node 0", "1.0_GiB_0: 1 page of 1GiB, all on node 1"],
    );
    told(&answers, "unit", 0, &["hugepagesz=1G hugepages=0:1,1:1"]);
    answers.said("release");
    assert_same(&answers, "before", "end");
}
