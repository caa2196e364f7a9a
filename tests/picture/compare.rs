//! `hwinfo diff` as an operator types it, and for random machines.

use crate::machines::{any_machine, documented_machine};
use assert_cmd::Command;
use damocles_worker::{
    hwinfo,
    machine::Machine,
    units::{Bytes, CpuList},
};
use proptest::prelude::*;
use std::{fs, path::Path};

/// The command on two files; what it printed and how it ended.
fn compare(folder: &Path, a: &str, b: &str, flags: &[&str]) -> (i32, String) {
    let files = [folder.join("a.json"), folder.join("b.json")];
    fs::write(&files[0], a).unwrap();
    fs::write(&files[1], b).unwrap();
    let mut command = Command::cargo_bin("damocles-worker-util").unwrap();
    let output = command.args(["hwinfo", "diff"]).args(files).args(flags).output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (output.status.code().unwrap(), text.replace(folder.to_str().unwrap(), ""))
}

#[test]
fn machines_that_differ_by_nature_only_are_alike() {
    let folder = tempfile::tempdir().unwrap();
    let other = documented_machine().replace("\"documented\"", "\"second\"");
    insta::assert_snapshot!(compare(folder.path(), &documented_machine(), &other, &[]).1, @r"
    A: /a.json (documented)
    B: /b.json (second)
    The machines are alike (passed over, for they differ by nature: 1 place; see --all)
    ");
    assert_eq!(compare(folder.path(), &documented_machine(), &other, &[]).0, 0);
    assert_eq!(compare(folder.path(), &documented_machine(), &other, &["--all"]).0, 1);
}

#[test]
fn another_cache_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let other = documented_machine().replacen(
        "\"os_index\":3,\"size_bytes\":16777216",
        "\"os_index\":3,\"size_bytes\":33554432",
        1,
    );
    let (code, text) = compare(folder.path(), &documented_machine(), &other, &[]);
    assert_eq!(code, 1);
    insta::assert_snapshot!(text, @r"
    A: /a.json (documented)
    B: /b.json (documented)
                               A        B
     Package #0, L3 #3, size   16 MiB   32 MiB
    The machines differ in 1 place
    ");
    let (code, json) = compare(folder.path(), &documented_machine(), &other, &["--json"]);
    let answer: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &answer["same"]), (1, &serde_json::json!(false)));
    assert_eq!(answer["differences"][0]["b_value"], 33_554_432);
}

#[test]
fn what_is_no_machine_cannot_be_compared() {
    let folder = tempfile::tempdir().unwrap();
    let (code, text) = compare(folder.path(), &documented_machine(), "{}", &[]);
    assert!(code == 2 && text.contains("read /b.json") && text.contains("hwinfo --json"), "{text}");
    let mut command = Command::cargo_bin("damocles-worker-util").unwrap();
    command.args(["hwinfo", "diff", "/nonexistent.json", "/nonexistent.json"]).assert().code(2);
    let mut command = Command::cargo_bin("damocles-worker-util").unwrap();
    command.args(["hwinfo", "diff", "only-one.json"]).assert().code(2);
}

/// One change, somewhere; what was done, or nothing where the machine has no such place.
fn change(machine: &mut Machine, which: u32) -> bool {
    let part = machine.topology.parts.first_mut();
    match which % 6 {
        0 => part.map(|part| part.model = Some("another model".to_owned())).is_some(),
        1 => part.map(|part| part.size_bytes = Some(Bytes(12_345))).is_some(),
        2 => machine.topology.parts.pop().is_some_and(|part| !part.cpus().is_empty()),
        3 => {
            machine.offline_cpus = machine.offline_cpus.or(&CpuList::from_iter([60_000]));
            true
        }
        4 => machine.topology.cores.pop().is_some(),
        _ => machine.topology.nodes.pop().is_some(),
    }
}

proptest! {
    #[test]
    fn a_machine_is_like_itself_and_a_change_is_found(machine in any_machine(), which: u32) {
        prop_assert!(hwinfo::diff(&machine, &machine, true).differences.is_empty());
        let mut other = machine.clone();
        if change(&mut other, which) {
            let there = hwinfo::diff(&machine, &other, false).differences;
            let back = hwinfo::diff(&other, &machine, false).differences;
            prop_assert!(!there.is_empty());
            prop_assert_eq!(there.len(), back.len());
            prop_assert!(there.iter().all(|found| found.a != found.b), "{:?}", there);
        }
    }
}

#[test]
fn any_source_can_be_compared_and_flags_without_a_meaning_are_refused() {
    let util = || Command::cargo_bin("damocles-worker-util").unwrap();
    let lines = ["pack:1 [numa(memory=64GB)] core:4 pu:1", "pack:1 [numa(memory=64GB)] core:4 pu:2"];
    let output = util().args(["hwinfo", "diff"]).args(lines).assert().code(1).get_output().stdout.clone();
    let text = String::from_utf8(output).unwrap();
    assert!(text.contains(" SMT ") && text.contains("CPUs 0/1 2/3 4/5 6/7"), "{text}");
    util().args(["hwinfo", "diff", lines[0], lines[0]]).assert().success();
    util().args(["hwinfo", "diff", lines[0], lines[0], "--from", lines[0]]).assert().code(2);
    util().args(["hwinfo", "--svg", "-", "diff", lines[0], lines[0]]).assert().code(2);
}
