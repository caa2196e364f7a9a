//! Processors' children where the configuration wants them, seen on live children: cgroups of both versions, CPU lists,
//! memory nodes and policies; what cannot be applied refuses the start.
//!
//! ```text
//! damocles-worker daemon ─ launch ─► child    /proc/PID: Cpus_allowed_list, Mems_allowed_list, numa_maps, cgroup
//! ```
//!
//! The children rehearse: it is their place that is looked at, not their proofs.

use crate::{
    guest::{self, Guest, When},
    script::{Answers, Script},
};
use std::collections::BTreeMap;

/// A worker.toml whose pc1 sleeps; `tables` come last.
fn config(tables: &str) -> String {
    format!(
        r#"
[sector_manager]
rpc_client.addr = "embedded"
[sector_manager.embedded]
path = "/tmp/manager"
epoch = "100ms"
[[sealing_thread]]
location = "/tmp/sealing"
[[attached]]
location = "/tmp/persist"
{tables}"#
    )
}

/// A table whose child rehearses; further keys may follow.
fn rehearsing(stage: &str) -> String {
    // An emulated processor takes its time to load a program.
    format!(
        "[[processors.{stage}]]\nargs = [\"processor\", \"{stage}\", \"--rehearse\", \"sleep=600s\"]\nstable_wait = \"100s\"\n"
    )
}

/// Two pc1 on a node each, a pc2 with a node alone, a c2 with nothing.
fn placed() -> String {
    [
        rehearsing("pc1") + "cgroup.cpuset = \"0-1\"\nnuma_preferred = 0\n",
        rehearsing("pc1") + "cgroup.cpuset = \"2-3\"\nnuma_preferred = 1\ncgroup.group_name = \"rack/a\"\n",
        rehearsing("tree_d") + "cgroup.cpuset = \"3\"\n",
        rehearsing("pc2") + "numa_preferred = 1\n",
        rehearsing("c2"),
    ]
    .concat()
}

/// Shell that later steps use. `begin CONFIG COUNT` starts a daemon and waits until so many children are ready.
const TOOLS: &str = r#"
begin() {
    damocles-worker daemon -c $1 --grace 10ms $3 >/tmp/out 2>/tmp/log & echo $! >/tmp/daemon
    for i in $(seq 1000); do
        [ "$(grep -c ' ready processor=' /tmp/log)" = $2 ] && return 0
        kill -0 $(cat /tmp/daemon) 2>/dev/null || { cat /tmp/log >&2; return 1; }
        sleep 0.1
    done
    cat /tmp/log >&2; return 1
}
gone() { for i in $(seq 600); do [ -d /proc/$1 ] || return 0; sleep 0.1; done; return 1; }
groups() { find /sys/fs/cgroup -name 'sub-*' | wc -l; }
"#;

/// One line for each child: name, CPUs, mems, policy, cgroup.
const LOOK: &str = r#". /tools
for lock in /tmp/damocles-worker-tmp-*/*-*.lock; do
    pid=$(cat $lock); name=$(basename $lock .lock)
    for task in /proc/$pid/task/*; do
        cpus=$(sed -n 's/Cpus_allowed_list:\t//p' $task/status); mems=$(sed -n 's/Mems_allowed_list:\t//p' $task/status)
        policy=$(sed -n '1s/[^ ]* \([^ ]*\).*/\1/p' /proc/$pid/numa_maps)
        group=$(sed -n 's/.*\/sub-[a-z0-9_]*-[0-9]*-/sub-/p' /proc/$pid/cgroup | head -n 1)
        echo "$name $cpus $mems $policy ${group:-none}"
    done
done"#;

/// What the children are, however many threads each has by now.
fn children(answers: &Answers, step: &str) -> BTreeMap<String, Vec<String>> {
    let mut children: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in answers.said(step).lines() {
        let (name, place) = line.split_once(' ').unwrap();
        children.entry(name.to_owned()).or_default().push(place.to_owned());
    }
    children.values_mut().for_each(|places| places.dedup());
    children
}

/// `mount` makes the hierarchy, `limited` a group that has CPU 0 only. In the fast suite only what needs few starts.
fn story(name: &str, when: When, mount: &str, limited: &str) {
    let guest = Guest { nodes: &[(768, "0-1"), (768, "2-3")], ..Guest::default() };
    // A c2 of its own, or the daemon would ask for keys that the guest has not.
    let alone = |tables: &str| config(&(rehearsing("c2") + &rehearsing("pc1") + tables));
    let mut script = Script::new()
        .program("damocles-worker")
        .file("/tools", TOOLS)
        .file("/placed.toml", config(&placed()))
        .file("/cpus.toml", alone("cgroup.cpuset = \"2-9\"\n"))
        .file("/node.toml", alone("numa_preferred = 7\n"))
        .file("/limited.toml", alone("cgroup.cpuset = \"2-3\"\ncgroup.group_name = \"limited\"\n"))
        .step("unmounted", "damocles-worker daemon -c /limited.toml --check")
        .step("mount", mount)
        .step("check", "damocles-worker daemon -c /placed.toml --check")
        .step("begin", ". /tools; begin /placed.toml 5; groups")
        .step("look", LOOK)
        .step(
            "stop",
            ". /tools; kill -TERM $(cat /tmp/daemon); gone $(cat /tmp/daemon); ls -d /tmp/damocles-worker-tmp-*; groups",
        )
        .step("cpus", "damocles-worker daemon -c /cpus.toml --check; damocles-worker daemon -c /cpus.toml")
        .step(
            "limited",
            &format!("{limited}; damocles-worker daemon -c /limited.toml; code=$?; . /tools; groups; exit $code"),
        );
    if when == When::Slow {
        script = script.step("again", ". /tools; begin /placed.toml 5; children=$(cat /tmp/damocles-worker-tmp-*/*-*.lock | tr '\\n' ' '); kill -KILL $(cat /tmp/daemon); \
                        for pid in $(for lock in /tmp/damocles-worker-tmp-*/*-*.lock; do cat $lock; echo; done); do gone $pid || exit 1; done; groups")
        .step("swept", ". /tools; begin /placed.toml 5; grep -c 'cgroups of daemons that have ended removed' /tmp/log; ls -d /tmp/damocles-worker-tmp-* | wc -l; groups; \
                        kill -TERM $(cat /tmp/daemon); gone $(cat /tmp/daemon)")
        .step("node", "damocles-worker daemon -c /node.toml")
        .step("unpinned", ". /tools; begin /cpus.toml 2 --allow-unpinned; kill -TERM $(cat /tmp/daemon); gone $(cat /tmp/daemon); cat /tmp/log")
        .step("foreign", FOREIGN);
    }
    let Some(answers) = guest::ask(name, when, &guest, &script) else { return };
    let unmounted = answers.step("unmounted");
    assert_eq!(unmounted.code, 2, "{unmounted:?}");
    assert!(unmounted.err.contains("neither a v1 cpuset hierarchy nor a v2 one"), "{unmounted:?}");
    assert_eq!(answers.said("mount"), "");
    assert_eq!(answers.said("check"), "/placed.toml: accepted\n");
    assert_eq!(answers.said("begin"), "3\n", "a group for each child with a cpuset");
    assert_places(&children(&answers, "look"));
    assert_eq!(answers.step("stop").out, "0\n", "nothing stays: {:?}", answers.step("stop"));
    refused(&answers, "cpus", "processors.pc1[0].cgroup.cpuset = \"2-9\": cpus 4-9 do not exist");
    // What no look at the host shows: only the kernel knows when it is asked.
    refused(&answers, "limited", "processors.pc1[0]: cgroup");
    assert_eq!(answers.step("limited").out, "0\n", "what was made for it is gone");
    if when == When::Slow {
        assert_eq!(answers.said("again"), "3\n", "children die with a killed daemon, their groups stay");
        assert_eq!(answers.said("swept"), "2\n1\n3\n", "the next start sweeps both groups, and the temporary folder");
        refused(
            &answers,
            "node",
            "processors.pc1[0].numa_preferred = 7: machine guest has no such NUMA node; it has 0, 1",
        );
        let log = answers.said("unpinned");
        let passed_over = ["runs without its cgroup (--allow-unpinned)", "runs unpinned (--allow-unpinned)"];
        assert!(passed_over.iter().all(|words| log.contains(words)), "{log}");
        assert_foreign(&answers);
    }
}

fn assert_places(children: &BTreeMap<String, Vec<String>>) {
    let expected = [
        ("c2-0", "0-3 0-1 default none"),
        ("pc1-0", "0-1 0 prefer:0 sub-0"),
        ("pc1-1", "2-3 1 prefer:1 sub-1"),
        ("pc2-0", "0-3 0-1 prefer:1 none"),
        ("tree_d-0", "3 0-1 default sub-0"),
    ];
    let expected = expected.map(|(name, place)| (name.to_owned(), vec![place.to_owned()]));
    assert_eq!(children, &BTreeMap::from(expected));
}

fn refused(answers: &Answers, step: &str, said: &str) {
    let step = answers.step(step);
    assert_eq!(step.code, 2, "{step:?}");
    assert!(step.err.contains(said), "{said}: {step:?}");
}

/// Another daemon's child: nobody has placed it, its environment says where it is to be.
const FOREIGN: &str = r#"
mkfifo /tmp/in; (until [ -e /tmp/seen ]; do sleep 0.1; done >/tmp/in) &
VC_CG_NAME=other/sub-tree_d-1-0 VC_CG_CPUSET=1 VENUS_WORKER_NUMA_PREFERRED=0 damocles-worker processor tree_d </tmp/in >/tmp/said 2>/tmp/err &
pid=$!
for i in $(seq 300); do [ -s /tmp/said ] && break; sleep 0.1; done
cat /tmp/said /tmp/err
sed -n 's/\(Cpus\|Mems\)_allowed_list:\t//p' /proc/$pid/status
find /sys/fs/cgroup -name 'sub-tree_d-1-0' | wc -l
touch /tmp/seen; wait $pid; echo $?
find /sys/fs/cgroup -name 'sub-tree_d-1-0' | wc -l
VC_CG_NAME=other/sub-tree_d-1-1 VC_CG_CPUSET=9 damocles-worker processor tree_d </dev/null; echo $?"#;

fn assert_foreign(answers: &Answers) {
    let step = answers.step("foreign");
    assert_eq!(step.out, "tree_d processor ready\n1\n0\n1\n0\n0\n2\n", "{step:?}");
    assert!(step.err.contains("place this processor"), "{step:?}");
}

const V2: &str = "mount -t cgroup2 cgroup /sys/fs/cgroup";
const V2_LIMITED: &str = "mkdir /sys/fs/cgroup/limited; echo 0 >/sys/fs/cgroup/limited/cpuset.cpus";

#[test]
fn children_are_where_they_should_be_in_cgroups_of_version_2() {
    story("placement", When::Always, V2, V2_LIMITED);
}

#[test]
fn killed_daemons_other_daemons_and_refusals_in_cgroups_of_version_2() {
    story("placement-v2", When::Slow, V2, V2_LIMITED);
}

/// Hybrid, as many hosts are: version 2 is mounted too and does not have the controller.
#[test]
fn children_are_where_they_should_be_in_cgroups_of_version_1() {
    let mount = "mount -t tmpfs cgroup /sys/fs/cgroup; mkdir /sys/fs/cgroup/cpuset /sys/fs/cgroup/unified; \
                 mount -t cgroup -o cpuset cpuset /sys/fs/cgroup/cpuset; mount -t cgroup2 cgroup /sys/fs/cgroup/unified";
    let limited = "cd /sys/fs/cgroup/cpuset; mkdir limited; echo 0 >limited/cpuset.cpus; echo 0 >limited/cpuset.mems";
    story("placement-v1", When::Slow, mount, limited);
}
