//! Where a child is, and what it is given: environment, temporary folder, CPUs.

use crate::rig::{Rig, run, stranger, tell};
use damocles_worker::{
    runtime::stage::Stage::{self, *},
    sys::{Root, cgroup::Cpusets},
};
use std::fs;

/// A stranger that answers every request with what the shell makes of `$WHAT`.
fn mirror(stage: Stage, what: &str) -> String {
    let script = format!(
        r#"echo "{stage} processor ready"
while read -r line; do
    id=${{line#*:}}; id=${{id%%,*}}
    echo "{{\"id\":$id,\"err_msg\":\"{what}\",\"output\":null}}"
done"#
    );
    stranger(stage, &script)
}

fn seen(rig: &Rig, processors: &str) -> String {
    let pool = rig.pool(processors);
    run(&pool, rig.tree_d("a")).unwrap_err().reason
}

#[test]
fn a_child_has_its_own_variables_over_the_daemons() {
    let rig = Rig::new();
    let table = mirror(TreeD, "$MINE $PATH");
    let inherited = seen(&rig, &format!("{table}envs = {{ MINE = \"1\" }}\n"));
    assert_eq!(inherited, format!("1 {}", std::env::var("PATH").unwrap()));
    let over = seen(&rig, &format!("{table}envs = {{ PATH = \"/bin\" }}\n"));
    assert_eq!(over, " /bin");
}

#[test]
fn without_inheritance_a_child_has_only_what_it_is_given() {
    let rig = Rig::new();
    // Any variable of ours will do that no shell sets by itself.
    let own = ["PATH", "PWD", "OLDPWD", "SHLVL", "IFS", "OPTIND", "TMPDIR"];
    let is_plain = |name: &str| name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    let mut names = std::env::vars().map(|(name, _)| name);
    let name =
        names.find(|name| is_plain(name) && name.len() > 2 && !name.starts_with("PS") && !own.contains(&name.as_str()));
    let name = name.expect("a test has an environment");
    let table = mirror(TreeD, &format!("$MINE ${{{name}-unset}}"));
    let table = format!("{table}envs = {{ MINE = \"1\" }}\n");
    assert_ne!(seen(&rig, &table), "1 unset", "{name}");
    assert_eq!(seen(&rig, &format!("{table}inherit_envs = false\n")), "1 unset", "{name}");
}

#[test]
fn every_child_has_a_temporary_folder_of_its_own_and_gpus_share_locks() {
    let rig = Rig::new();
    let what = "$TMPDIR $(readlink $TMPDIR/bellman.gpu.lock)";
    let tables: String = ["0", "1", "0"]
        .map(|gpu| format!("{}envs = {{ CUDA_VISIBLE_DEVICES = \"{gpu}\" }}\nconcurrent = 1\n", mirror(TreeD, what)))
        .concat();
    let pool = rig.pool(&tables);
    let slots: Vec<_> = (0..3).map(|_| crate::rig::begin(&pool, rig.tree_d("a"))).collect();
    let seen: Vec<_> = slots.into_iter().map(|slot| crate::rig::end(&pool, slot).unwrap_err().reason).collect();
    let (folders, locks): (Vec<_>, Vec<_>) = seen.iter().map(|line| line.split_once(' ').unwrap()).unzip();
    let scratch = rig.scratch();
    let expected = [0, 1, 2].map(|n| scratch.join(format!("tree_d-{n}")).to_string_lossy().into_owned());
    assert_eq!(folders, expected);
    assert_eq!(locks[0], locks[2]);
    assert!(locks[0].ends_with("/bellman.gpu-0.lock") && locks[1].ends_with("/bellman.gpu-1.lock"), "{locks:?}");
}

#[test]
fn a_temporary_folder_that_the_operator_chose_is_used_as_it_is() {
    let rig = Rig::new();
    let own = rig.path("own");
    fs::create_dir(&own).unwrap();
    fs::write(own.join("kept"), "x").unwrap();
    let table = format!("{}envs = {{ TMPDIR = {own:?} }}\n", mirror(TreeD, "$TMPDIR"));
    assert_eq!(seen(&rig, &table), own.to_string_lossy());
    assert!(own.join("kept").exists());
}

#[test]
fn the_variables_of_the_field_are_set_for_its_processors() {
    let mut rig = Rig::new();
    rig.allow_unpinned = true;
    let table = mirror(TreeD, "$VC_CG_NAME $VC_CG_CPUSET $VENUS_WORKER_NUMA_PREFERRED");
    let table = format!("{table}cgroup.cpuset = \"0\"\ncgroup.group_name = \"damocles-test\"\nnuma_preferred = 0\n");
    let group = format!("damocles-test/sub-tree_d-{}-0", std::process::id());
    assert_eq!(seen(&rig, &table), format!("{group} 0 0"));
    let _ = Cpusets::find(&Root::at("/")).map(|cpusets| cpusets.remove("damocles-test"));
}

/// On the hierarchy of this host, whichever it is; the guests of tests/vm show both versions and two nodes.
#[test]
fn a_cpuset_holds_for_the_live_child_and_goes_with_it() {
    let group = "damocles-test-place";
    let can = Cpusets::find(&Root::at("/")).and_then(|cpusets| cpusets.check_writable(group).map(|()| cpusets));
    let cpusets = match can {
        Ok(cpusets) if nix::unistd::geteuid().is_root() => cpusets,
        Ok(_) => return tell("skipped a live child's cpuset: not root"),
        Err(error) => return tell(&format!("skipped a live child's cpuset: {error}")),
    };
    let rig = Rig::new();
    let table = format!("{}cgroup.cpuset = \"0\"\ncgroup.group_name = \"{group}\"\n", mirror(TreeD, ""));
    let pool = rig.pool(&table);
    let status = fs::read_to_string(format!("/proc/{}/status", rig.pid("tree_d-0"))).unwrap();
    assert!(status.contains("Cpus_allowed_list:\t0\n"), "{status}");
    let cgroup = fs::read_to_string(format!("/proc/{}/cgroup", rig.pid("tree_d-0"))).unwrap();
    let name = format!("{group}/sub-tree_d-{}-0", std::process::id());
    assert!(cgroup.contains(&name), "{cgroup}");
    assert!(cpusets.path(&name).exists());
    drop(pool);
    assert!(!cpusets.path(&name).exists());
    cpusets.remove(group).unwrap();
}

#[test]
fn a_cpu_or_node_that_cannot_be_had_is_refused_or_passed_over_when_it_may_be() {
    let mut rig = Rig::new();
    for (key, said) in [
        ("cgroup.cpuset = \"900\"\ncgroup.group_name = \"damocles-test-refused\"\n", "cgroup"),
        ("numa_preferred = 900\n", "node 900"),
    ] {
        let table = format!("{}{key}", mirror(TreeD, "ran"));
        rig.allow_unpinned = false;
        let refusal = rig.refusal(&table);
        assert!(refusal.starts_with("processors.tree_d[0]: ") && refusal.contains(said), "{refusal}");
        rig.allow_unpinned = true;
        assert_eq!(seen(&rig, &table), "ran");
    }
    let _ = Cpusets::find(&Root::at("/")).map(|cpusets| cpusets.remove("damocles-test-refused"));
}
