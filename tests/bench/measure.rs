//! Measuring: what is printed, what is in the profile, what is left behind, what is refused.

use crate::rig::{Rig, err, out};
use damocles_worker::{
    profile::{Profile, Stage},
    units::Bytes,
};
use serde_json::Value;
use std::fs;

const DISK: [&str; 6] = ["--disk-size", "4MiB", "--disk-seconds", "0.05", "--disk-depth", "2"];
const BEFORE_C2: &str = "add_pieces,tree_d,pc1,pc2,c1,disk";

#[test]
fn stages_and_disk_become_a_profile_and_nothing_else_is_left() {
    let rig = Rig::new();
    let args = ["--stages", BEFORE_C2, "--cores", "1", "--rounds", "2", "--json"];
    let output = rig.run(&[&args[..], &DISK].concat());
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let answer: Value = serde_json::from_str(&out(&output)).unwrap();
    let measured = answer["measured"].as_array().unwrap();
    let stages: Vec<_> = measured.iter().map(|one| one["stage"].as_str().unwrap()).collect();
    assert_eq!(stages, ["add_pieces", "tree_d", "pc1", "pc2", "c1"]);
    for one in measured {
        assert_eq!((one["seconds"].as_array().unwrap().len(), &one["best"]), (2, &Value::Bool(true)), "{one}");
        assert!(one["sectors_per_hour"].as_f64().unwrap() > 0.0);
    }
    let profile = Profile::parse(&fs::read_to_string(rig.path("profile.toml")).unwrap()).unwrap();
    assert_eq!(profile.rows.iter().map(|row| row.stage).collect::<Vec<_>>(), Stage::ALL[..5]);
    assert!(profile.rows.iter().all(|row| row.source.contains(" 2 tasks of ") && row.source.contains(" bench ")));
    let disk = &profile.disks[0];
    assert!(disk.reads > Bytes(0) && disk.writes_random > Some(Bytes(0)));
    assert_eq!(disk.path.as_deref(), rig.path(".").canonicalize().unwrap().to_str());
    assert_eq!(rig.names(), ["profile.toml"], "no work folder, no state, no temporary files");
}

#[test]
fn a_table_tells_the_best_layout_and_several_run_at_once() {
    let rig = Rig::new();
    let output = rig.run(&["--stages", "pc1", "--rounds", "1", "--out", "p.toml"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let table = out(&output);
    assert!(table.starts_with("| Stage | Layout"), "{table}");
    assert!(table.contains("1 at once, sharing"), "{table}");
    assert_eq!(
        table.lines().filter(|line| line.trim_end().ends_with("* |") || line.contains(" * ")).count(),
        1,
        "{table}"
    );
    assert!(err(&output).contains("plan --profile p.toml uses it"), "{}", err(&output));
}

#[test]
fn pinned_tasks_run_where_cgroups_are_missing_only_if_that_is_allowed() {
    let rig = Rig::new();
    let args = ["--stages", "tree_d", "--layouts", "pinned", "--cores", "1", "--rounds", "1"];
    let output = rig.run(&args);
    match output.status.code() {
        Some(0) => fs::remove_file(rig.path("profile.toml")).unwrap(),
        code => {
            assert_eq!(code, Some(2), "{}", err(&output));
            assert!(err(&output).contains("--allow-unpinned"), "{}", err(&output));
            fs::remove_file(rig.path("profile.toml.bench-state")).unwrap();
        }
    }
    let output = rig.run(&[&args[..], &["--allow-unpinned"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert!(out(&output).contains("1 at once on 1 core, CPUs "), "{}", out(&output));
    assert_eq!(rig.names(), ["profile.toml"]);
}

#[test]
fn a_dry_run_shows_what_would_be_done_and_changes_nothing() {
    let rig = Rig::new();
    let output = rig.run(&["--dry-run", "--sealing-dir", "seal"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let text = out(&output);
    assert!(text.lines().any(|line| line.starts_with("disk ") && line.contains("a file of 1GiB")), "{text}");
    assert!(
        text.contains("c2          1 at once, sharing") && text.contains("3 times, after one that does not count"),
        "{text}"
    );
    assert!(text.contains("2.75 GiB of memory"), "{text}");
    assert!(rig.names().is_empty());
}

#[test]
fn what_cannot_be_measured_is_said_before_anything_is_done() {
    let rig = Rig::new();
    let refused = |args: &[&str], code: i32, expected: &str| {
        let output = rig.run(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", err(&output));
        assert!(err(&output).contains(expected), "{args:?}: {}", err(&output));
        assert!(output.stdout.is_empty());
    };
    refused(&["--stages", "pc1", "--cores", "100000"], 1, "no: pc1 cannot be measured here");
    // 64 GiB of layers for each task: whatever has room for a thousand of them is no machine of this decade.
    refused(&["--stages", "pc9"], 2, "c1, c2 and disk");
    refused(&["--disk-seconds", "0"], 2, "--disk-seconds");
    let output = rig.command(&["--stages", "c2"]).env("FIL_PROOFS_PARAMETER_CACHE", rig.path("none")).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("its proof parameters are not there"), "{}", err(&output));
    fs::write(rig.path("profile.toml"), "mine").unwrap();
    refused(&["--stages", "pc1"], 2, "profile.toml: it is there already");
    assert_eq!(fs::read(rig.path("profile.toml")).unwrap(), b"mine");
    assert_eq!(rig.names(), ["profile.toml"]);
}
