//! Bad input, as an operator types it: a clear message, exit 2 or 1, nothing on stdout.

use assert_cmd::Command;
use std::{fs, process::Output};

fn run(args: &[&str]) -> Output {
    Command::cargo_bin("damocles-worker-util").unwrap().arg("plan").args(args).output().unwrap()
}

/// Exit code and words, with stdout empty.
fn refused(args: &[&str], code: i32, words: &str) {
    let output = run(args);
    let talk = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(code), 0), "{args:?}: {talk}");
    assert!(talk.contains(words), "{args:?}: {talk}");
}

const ADDR: [&str; 2] = ["--manager", "/ip4/10.0.0.1/tcp/1789"];
const MACHINE: [&str; 2] = ["--machine", "2x epyc-7642 2TiB 2x rtx3080"];

fn large<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["--target", "1PiB/month", "--sector-size", "32GiB"][..], &ADDR[..], &MACHINE[..], more].concat()
}

#[test]
fn rates_that_are_none() {
    for rate in ["-1TiB/day", "1PiB/fortnight", "0/day", "1PiB", "lots/month", "1PiB/month/day", "1PiB / -3 days"] {
        refused(&[&format!("--target={rate}")], 2, "is not a rate");
    }
    refused(&["--target", "-1TiB/day"], 2, "unexpected argument");
}

#[test]
fn machines_without_l3_caches() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("machine.json");
    let machine = crate::machine("pack:2 [numa(memory=1TB)] core:8 pu:1");
    fs::write(&path, serde_json::to_string(&machine).unwrap()).unwrap();
    let args = ["--target", "1TiB/day", "--sector-size", "32GiB", "--machine", path.to_str().unwrap()];
    refused(&[&args[..], &ADDR[..]].concat(), 2, "tells no L3 cache on a NUMA node with memory");
}

#[test]
fn profiles_with_times_of_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("profile.toml");
    for (minutes, words) in
        [("0", "minutes is 0, a time is more than 0"), ("-3", "minutes is -3"), ("nan", "minutes is NaN")]
    {
        let row = "version = 1\n[[stage]]\nstage = \"pc1\"\nsector_size = \"32GiB\"\nsource = \"here\"\nminutes = ";
        fs::write(&path, format!("{row}{minutes}\n")).unwrap();
        refused(&large(&["--profile", path.to_str().unwrap()]), 2, words);
    }
}

#[test]
fn sectors_of_64_gib_on_32_gib_of_memory() {
    let args = ["--target", "1TiB/month", "--sector-size", "64GiB", "--machine", "1x epyc-7543 32GiB 1x rtx3090"];
    let args = [&args[..], &ADDR[..]].concat();
    refused(&args, 1, "more of memory would do");
    let mut json = args;
    json.push("--json");
    let output = run(&json);
    assert_eq!(output.status.code(), Some(1));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(answer["change_by"]["memory"].as_str().is_some() || answer["change_by"]["memory"].is_number(), "{answer}");
}

#[test]
fn locks_in_a_circle() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("worker.toml");
    let text = crate::fixtures::text("plan-b.toml");
    let circle = text.replacen("locks = [\"gpu1\"]", "locks = [\"gpu1\", \"gpu2\"]", 1);
    let circle = circle.replacen("locks = [\"gpu2\"]", "locks = [\"gpu2\", \"gpu1\"]", 1);
    assert_ne!(circle, text);
    fs::write(&path, circle).unwrap();
    let (path, machine) = (path.to_str().unwrap(), MACHINE);
    refused(&[&["simulate", path][..], &machine[..]].concat(), 2, "locks are taken in a circle, gpu1 → gpu2 → gpu1");
    // To judge it is the question of verify: there the circle is the answer.
    let output = run(&[&["verify", path][..], &machine[..]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("[lock-cycle]"));
}

#[test]
fn flags_that_small_sectors_cannot_have() {
    for (flag, value) in [
        ("--hugepages", Some("/mnt/huge")),
        ("--pc1", Some("2")),
        ("--layout", Some("shared")),
        ("--suite", Some("supra")),
        ("--static-tree-d", Some("/t")),
        ("--c2", Some("remote=/bin/proxy")),
        ("--overcommit", None),
        ("--optimise", None),
    ] {
        let args = ["--target", "1MiB/day", "--machine", "1x epyc-7543 64GiB", flag];
        let args: Vec<&str> = args.into_iter().chain(value).collect();
        refused(&args, 2, &format!("plan 2KiB sectors with {flag}"));
    }
}

#[test]
fn deals_with_a_ready_tree_and_targets_out_of_reach() {
    refused(&large(&["--deals", "--static-tree-d", "/t"]), 2, "cannot be used with");
    refused(&large(&["--count", "2"]), 1, "such machines would do (--count ");
}

#[test]
fn a_planned_file_is_judged_and_played_for_the_prover_it_was_planned_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("worker.toml");
    let planned = run(&large(&["--prover", "stock-damocles", "--suite", "supra", "--static-tree-d", "/srv/t"]));
    assert_eq!(planned.status.code(), Some(0), "{}", String::from_utf8_lossy(&planned.stderr));
    fs::write(&path, &planned.stdout).unwrap();
    let path = path.to_str().unwrap();
    let verdict = run(&[&["verify", path][..], &MACHINE[..]].concat());
    let text = String::from_utf8_lossy(&verdict.stdout);
    assert!(text.starts_with("good for 32GiB sectors and the stock-damocles prover"), "{text}");
    let output = |more: &[&str]| {
        let output = run(&[&["simulate", path, "--days", "5"][..], &MACHINE[..], more].concat());
        String::from_utf8(output.stdout).unwrap().lines().next().unwrap().to_owned()
    };
    assert_eq!(output(&[]), output(&["--prover", "stock-damocles", "--suite", "supra"]));
    assert_ne!(output(&[]), output(&["--suite", "stock"]));
}

#[test]
fn the_summary_tells_the_forecast_of_the_very_file() {
    let planned = run(&large(&["--optimise", "--utilisation", "1"]));
    let talk = String::from_utf8_lossy(&planned.stderr);
    for word in [
        "forecast:   ",
        "ramp-up:    first sector after",
        "busy:       pc1 ",
        "in the way: ",
        "optimum:    ",
        "verified:   good",
    ] {
        assert!(talk.contains(word), "{word}: {talk}");
    }
    let json = run(&large(&["--json"]));
    let answer: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert!(answer["forecast"]["sectors_per_day"]["low"].is_number() && answer["findings"].is_array(), "{answer}");
    assert_eq!(answer["forecast"]["stages"].as_array().unwrap().len(), 7);
}

#[test]
fn folders_that_the_verifier_refuses_are_an_answer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("machine.json");
    let mut machine = crate::machines::user_2();
    let disks = machine.disks.as_mut().unwrap();
    disks[0].mounts.as_mut().unwrap()[0].read_only = true;
    disks[1].mounts.as_mut().unwrap()[0].total_bytes = Some(damocles_worker::units::Bytes::gib(1));
    fs::write(&path, serde_json::to_string(&machine).unwrap()).unwrap();
    let machine = ["--machine", path.to_str().unwrap()];
    let large =
        [&["--target", "1TiB/month", "--sector-size", "32GiB", "--sealing-dir", "/mnt/nvme0/a"][..], &ADDR, &machine];
    refused(&large.concat(), 1, "/mnt/nvme0 is mounted read-only");
    let small = [&["--target", "1GiB/hour", "--sector-size", "512MiB", "--sealing-dir", "/mnt/nvme1/a"][..], &machine];
    refused(&small.concat(), 1, "[no-room]");
}
