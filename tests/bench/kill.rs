//! A run that is killed, and the runs after it.

use crate::rig::{Rig, err, wait_for};
use nix::sys::signal::{Signal, kill};
use serde_json::Value;
use std::{
    fs,
    path::PathBuf,
    process::{Child, Output},
};

/// More than a test has patience for, unless it is ended.
const LONG: [&str; 4] = ["--stages", "add_pieces,tree_d", "--cores", "1"];

fn samples(rig: &Rig) -> Vec<Value> {
    let Ok(text) = fs::read_to_string(rig.path("profile.toml.bench-state")) else { return Vec::new() };
    serde_json::from_str::<Value>(&text).unwrap()["samples"].as_array().unwrap().clone()
}

fn work_folders(rig: &Rig) -> Vec<String> {
    rig.names().into_iter().filter(|name| name.starts_with("damocles-bench-")).collect()
}

/// A run that has measured add_pieces and is at tree_d.
fn in_the_middle(rig: &Rig, rounds: &str) -> Child {
    let child = rig.start(&[&LONG[..], &["--rounds", rounds]].concat());
    wait_for("the first measurement", || samples(rig).len() == 1);
    child
}

fn go_on(rig: &Rig, rounds: &str) -> Output {
    rig.run(&[&LONG[..], &["--rounds", rounds, "--resume"]].concat())
}

#[test]
fn a_killed_run_loses_only_what_was_running() {
    let rig = Rig::new();
    let mut child = in_the_middle(&rig, "40");
    child.kill().unwrap();
    child.wait().unwrap();
    let (before, folders) = (samples(&rig), work_folders(&rig));
    assert_eq!((before.len(), folders.len()), (1, 1), "killed too late: {before:?}");

    let refused = rig.run(&[&LONG[..], &["--rounds", "40"]].concat());
    assert_eq!(refused.status.code(), Some(2));
    assert!(err(&refused).contains("--resume goes on with it"), "{}", err(&refused));
    let other = go_on(&rig, "41");
    assert!(err(&other).contains("other arguments"), "{}", err(&other));
    assert_eq!(samples(&rig), before);

    let done = go_on(&rig, "40");
    assert_eq!(done.status.code(), Some(0), "{}", err(&done));
    assert!(!err(&done).contains("of 2: add_pieces"), "it was measured: {}", err(&done));
    let profile = fs::read_to_string(rig.path("profile.toml")).unwrap();
    assert!(profile.contains("add_pieces") && profile.contains("tree_d"), "{profile}");
    assert_eq!(rig.names(), ["profile.toml"], "also what the kill left in the temporary folder is gone");
}

#[test]
fn what_a_killed_run_left_goes_with_the_next_one_that_begins_anew() {
    let rig = Rig::new();
    let mut child = in_the_middle(&rig, "40");
    child.kill().unwrap();
    child.wait().unwrap();
    let left: Vec<PathBuf> = work_folders(&rig).iter().map(|name| rig.path(name)).collect();
    assert_eq!(left.len(), 1);
    fs::remove_file(rig.path("profile.toml.bench-state")).unwrap();
    let next = rig.run(&["--stages", "add_pieces", "--cores", "1", "--rounds", "1"]);
    assert_eq!(next.status.code(), Some(0), "{}", err(&next));
    assert!(err(&next).contains("left over from a run that was killed: removed"), "{}", err(&next));
    assert_eq!(rig.names(), ["profile.toml"]);
}

#[test]
fn a_signal_stops_a_run_in_order() {
    let rig = Rig::new();
    let mut child = in_the_middle(&rig, "200");
    kill(nix::unistd::Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(2));
    assert_eq!(samples(&rig).len(), 1);
    let names = rig.names();
    assert!(names.iter().all(|name| !name.starts_with("damocles-worker-tmp-")), "{names:?}");
}
