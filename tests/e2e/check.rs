//! `daemon --check`, and starts that are refused before anything changes.

use crate::bench::{Bench, UTIL, WORKER, said};
use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
};

#[test]
fn what_plan_writes_the_daemon_accepts_from_a_pipe() {
    let plan = Command::new(UTIL).args(["plan", "--target", "1MiB/day", "--sector-size", "2KiB"]).output().unwrap();
    assert!(plan.status.success(), "{}", said(&plan));
    let dir = tempfile::tempdir().unwrap();
    let mut check = Command::new(WORKER);
    check.args(["daemon", "-c", "/dev/stdin", "--check"]).current_dir(dir.path());
    let mut child = check.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&plan.stdout).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "/dev/stdin: accepted\n");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "a check changes nothing");
}

#[test]
fn a_check_may_be_made_for_another_machine() {
    let bench = Bench::new("StackedDrg2KiBV1_1");
    let machine = Command::new(UTIL).args(["hwinfo", "--json"]).output().unwrap();
    fs::write(bench.path("machine.json"), &machine.stdout).unwrap();
    let config = fs::read_to_string(bench.path("worker.toml")).unwrap();
    fs::write(bench.path("worker.toml"), config + "\n[[processors.pc1]]\ncgroup.cpuset = \"9000-9003\"\n").unwrap();
    let output = bench.run(&["--check", "--machine", "machine.json"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    let talk = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(talk.contains("processors.pc1[0].cgroup.cpuset = \"9000-9003\": cpus 9000-9003 do not exist"), "{talk}");
}

#[test]
fn placement_that_cannot_be_applied_is_refused_unless_it_may_be_lost() {
    let bench = Bench::new("StackedDrg2KiBV1_1");
    let config = fs::read_to_string(bench.path("worker.toml")).unwrap();
    let tables = "\n[[processors.pc2]]\nnuma_preferred = 900\n[[processors.c2]]\ncgroup.cpuset = \"5000\"\n";
    fs::write(bench.path("worker.toml"), config + tables).unwrap();
    let problems =
        ["processors.pc2[0].numa_preferred = 900: machine ", "processors.c2[0].cgroup.cpuset = \"5000\": cpus 5000 "];
    for args in [&["--check"][..], &["--sectors", "1"]] {
        let refused = bench.run(args);
        assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
        assert!(problems.iter().all(|problem| said(&refused).contains(problem)), "{}", said(&refused));
    }
    let passed = bench.run(&["--check", "--allow-unpinned"]);
    assert!(passed.status.success(), "{}", said(&passed));
    assert!(said(&passed).contains("passed over: --allow-unpinned"), "{}", said(&passed));
}

#[test]
fn hugepages_that_pc1_must_have_are_looked_for_before_the_first_sector() {
    let bench = Bench::new("StackedDrg2KiBV1_1").without_keys();
    let refused = |vars: &[(&str, &str)], args: &[&str], why: &str| {
        let output = bench.daemon(args).envs(vars.iter().copied()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains(why), "{}", said(&output));
    };
    let required = ("DAMOCLES_PC1_REQUIRE_HUGEPAGES", "1");
    for args in [&["--check"][..], &["--sectors", "1"]] {
        refused(&[required], args, "neither HUGEPAGE_FILES_PATH nor HUGEPAGE_FILES_PATH_PATTERN says where they are");
        refused(&[("DAMOCLES_PC1_PROVER", "fastest")], args, "own or stock");
    }
    fs::create_dir(bench.path("huge")).unwrap();
    let here = ("HUGEPAGE_FILES_PATH", bench.path("huge").to_str().unwrap().to_owned());
    let why = "hugepages are required, and no file below ";
    refused(&[required, (here.0, &here.1)], &["--sectors", "1"], why);
    assert_eq!(bench.starts("add_pieces"), 0);
    // A pc1 of its own has variables of its own.
    let config = fs::read_to_string(bench.path("worker.toml")).unwrap();
    fs::write(
        bench.path("worker.toml"),
        config + "\n[[processors.pc1]]\nenvs = { DAMOCLES_PC1_REQUIRE_HUGEPAGES = \"0\" }\n",
    )
    .unwrap();
    let passed = bench.daemon(&["--check"]).env(required.0, required.1).output().unwrap();
    assert!(passed.status.success(), "{}", said(&passed));
}

#[test]
fn deals_that_nobody_can_give_are_told_before_the_start() {
    let bench = Bench::new("StackedDrg2KiBV1_1");
    let config = fs::read_to_string(bench.path("worker.toml")).unwrap();
    let with = |pieces: &str| {
        let config = config.replace("[sealing]", "[sealing]\nenable_deals = true");
        fs::write(bench.path("worker.toml"), config.replace("path = \"./manager\"", pieces)).unwrap();
        let output = bench.run(&["--json", "--check"]);
        let verdict: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), verdict)
    };
    let (code, verdict) = with("path = \"./manager\"");
    assert_eq!(code, Some(0));
    assert!(
        verdict["warnings"].to_string().contains("has no deals without sector_manager.embedded.pieces"),
        "{verdict}"
    );
    let (code, verdict) = with("pieces = \"./nowhere\"");
    assert_eq!(code, Some(2));
    assert!(verdict["problems"][0].as_str().unwrap().contains("\"./nowhere\": is no folder"), "{verdict}");
}

#[test]
fn a_refused_start_leaves_nothing_behind() {
    let bench = Bench::new("StackedDrg2KiBV1_1");
    let config = fs::read_to_string(bench.path("worker.toml")).unwrap();
    fs::write(bench.path("worker.toml"), config + "\n[[processors.c2]]\nbin = \"/nonexistent/outsourced\"\n").unwrap();
    let output = bench.run(&[]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    let problem = "processors.c2[0].bin: \"/nonexistent/outsourced\" is no program that can be executed";
    assert!(said(&output).contains(problem), "{}", said(&output));
    let names: Vec<_> = fs::read_dir(bench.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["worker.toml"]);
}

#[test]
fn what_the_embedded_manager_would_refuse_the_check_refuses_first() {
    for (found, written, said_of_it) in [
        ("StackedDrg2KiBV1_1", "StackedDrg2KiBV1_1_Feat_SyntheticPoRep", "not supported in this version"),
        ("5ms", "2days", "epoch"),
    ] {
        let bench = Bench::new("StackedDrg2KiBV1_1");
        let config = fs::read_to_string(bench.path("worker.toml")).unwrap().replace(found, written);
        fs::write(bench.path("worker.toml"), config).unwrap();
        for args in [&["--check"][..], &["--sectors", "1"]] {
            let output = bench.run(args);
            assert_eq!(output.status.code(), Some(2), "{}", said(&output));
            assert!(said(&output).contains(said_of_it), "{}", said(&output));
        }
        assert_eq!(fs::read_dir(bench.path("")).unwrap().count(), 1, "only worker.toml is there");
    }
}

#[test]
fn a_crash_on_purpose_is_refused_with_a_real_manager() {
    let bench = Bench::new("StackedDrg2KiBV1_1");
    let config = fs::read_to_string(bench.path("worker.toml")).unwrap();
    fs::write(bench.path("worker.toml"), config.replace("\"embedded\"", "\"http://127.0.0.1:1\"")).unwrap();
    let output = bench.run(&["--check", "--crash-at", "after:PC1Done"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("--crash-at kills the daemon on purpose"), "{}", said(&output));
}

#[test]
fn a_config_that_cannot_be_read_is_named() {
    let output = Command::new(WORKER).args(["daemon", "-c", "/nonexistent/worker.toml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("read the configuration /nonexistent/worker.toml"), "{}", said(&output));
}
