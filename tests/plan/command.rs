//! The command: streams, exit codes, files.

use assert_cmd::Command;
use damocles_worker::worker_config;
use serde_json::Value;
use std::{fs, process::Output};

fn plan(args: &[&str]) -> Output {
    Command::cargo_bin("damocles-worker-util").unwrap().arg("plan").args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A machine.json of eight cores.
fn machine_file() -> tempfile::NamedTempFile {
    let machine = crate::machine("pack:1 [numa(memory=64GB)] core:8 pu:1");
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), serde_json::to_string_pretty(&machine).unwrap()).unwrap();
    file
}

#[test]
fn the_file_goes_to_stdout_and_the_forecast_to_stderr() {
    let file = machine_file();
    let output = plan(&["--target", "100KiB/hour", "--machine", file.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0));
    assert!(worker_config::parse(text(&output.stdout)).unwrap().warnings.is_empty());
    let forecast = text(&output.stderr);
    for word in ["needed:     50.00 sectors/h", "expected:   ", "bottleneck: ", "built-in stage times"] {
        assert!(forecast.contains(word), "{forecast}");
    }
}

#[test]
fn the_managers_folder_is_the_one_that_is_named() {
    let file = machine_file();
    for (args, path) in [(&[][..], "path = \"./manager\""), (&["--manager-dir", "/srv/m"], "path = \"/srv/m\"")] {
        let machine = ["--target", "100KiB/hour", "--machine", file.path().to_str().unwrap()];
        let output = plan(&[&machine[..], args].concat());
        assert!(text(&output.stdout).lines().any(|line| line == path), "{}", text(&output.stdout));
    }
}

#[test]
fn this_machine_is_planned_when_none_is_named() {
    let output = plan(&["--target", "2KiB/day"]);
    // A machine too small for one C2 task answers 1; nothing else may happen.
    match output.status.code() {
        Some(0) => assert!(worker_config::parse(text(&output.stdout)).is_ok()),
        code => assert_eq!(code, Some(1), "{}", text(&output.stderr)),
    }
}

#[test]
fn json_holds_the_file_and_the_forecast() {
    let file = machine_file();
    let machine = file.path().to_str().unwrap();
    let output = plan(&["--target", "100KiB/hour", "--machine", machine, "--json"]);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&answer["feasible"], &answer["hostname"]), (&true.into(), &"worker-1".into()));
    assert!(worker_config::parse(answer["worker_toml"].as_str().unwrap()).is_ok());
    assert_eq!(answer["stages"].as_array().unwrap().len(), 6);
    assert!(answer["limits"]["c2"].as_u64().unwrap() >= 1);

    let output = plan(&["--target", "1TiB/hour", "--machine", machine, "--count", "1", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&answer["feasible"], &answer["bottleneck"]), (&false.into(), &"cores".into()));
}

#[test]
fn a_target_out_of_reach_is_exit_1() {
    let file = machine_file();
    let one = ["--target", "1GiB/hour", "--machine", file.path().to_str().unwrap(), "--count", "1"];
    let output = plan(&one);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), ""));
    let talk = text(&output.stderr);
    assert!(talk.contains("no: plan 1GiB/hour") && talk.contains("this machine could do"), "{talk}");
    // What it says would do does.
    let count = talk.split("(--count ").nth(1).unwrap().split(')').next().unwrap();
    let enough = plan(&[&one[..5], &[count]].concat());
    assert_eq!(enough.status.code(), Some(0));
    assert!(text(&enough.stderr).contains(&format!("machines:   {count}, each with this file")));
    let fewer = (count.parse::<u32>().unwrap() - 1).to_string();
    assert_eq!(plan(&[&one[..5], &[fewer.as_str()]].concat()).status.code(), Some(1));
}

#[test]
fn what_cannot_be_planned_is_exit_2() {
    let file = machine_file();
    let machine = file.path().to_str().unwrap();
    let broken = tempfile::NamedTempFile::new().unwrap();
    fs::write(broken.path(), "{\n  \"version\": 1,\n}").unwrap();
    let broken = broken.path().to_str().unwrap();
    let zero = tempfile::NamedTempFile::new().unwrap();
    let row = "version = 1\n[[stage]]\nstage = \"pc1\"\nsector_size = \"2KiB\"\nminutes = 0\nsource = \"here\"";
    fs::write(zero.path(), row).unwrap();
    let zero = zero.path().to_str().unwrap();
    for (args, expected) in [
        (vec!["--target", "1TiB/day", "--sector-size", "32GiB", "--machine", machine], "tells no L3 cache"),
        (vec!["--target", "1PiB/fortnight"], "is not a rate"),
        (vec!["--target", "-1TiB/day"], "unexpected argument"),
        (vec!["--target", "1KiB/day", "--machine", "2x epyc-7624 2TiB"], "did you mean epyc-7642"),
        (vec!["--target", "1KiB/day", "--machine", machine, "--utilisation", "1.5"], "utilisation of 1.5"),
        (vec!["--target", "1KiB/day", "--machine", machine, "--count", "0"], "--count 0"),
        (vec!["--target", "1KiB/day", "--machine", machine, "--ghz", "0"], "clock of 0"),
        (vec!["--target", "1KiB/day", "--machine", machine, "--layout", "mixed"], "exclusive or shared"),
        (vec!["--target", "1KiB/day", "--machine", machine, "--c2", "remote"], "remote=PROGRAM"),
        (vec!["--target", "1KiB/day", "--machine", machine, "--prover", "lotus"], "is not a prover"),
        (vec!["--target", "1KiB/day", "--machine", machine, "--profile", zero], "minutes is 0, a time is more than 0"),
        (vec!["--target", "1TiB"], "is not a rate"),
        (vec!["--target", "1TiB/day", "--sector-size", "1GiB"], "is not a sector size"),
        (vec!["--target", "1KiB/day", "--machine", "/nonexistent/machine.json"], "/nonexistent/machine.json"),
        (vec!["--target", "1KiB/day", "--machine", broken], "line 3"),
        (vec!["--target", "1KiB/day", "--machine", machine, "--attached", "persist"], "NAME=PATH"),
        (vec!["--target", "1KiB/day", "--machine", machine, "--manager", "embeded"], "sector_manager.rpc_client.addr"),
        (vec!["--target", "1KiB/day", "--machine", machine, "--days-per-month", "0"], "days a month"),
        (vec![], "--target"),
    ] {
        let output = plan(&args);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), ""), "{args:?}");
        assert!(text(&output.stderr).contains(expected), "{args:?}: {}", text(&output.stderr));
    }
}
