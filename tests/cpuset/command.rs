//! The command: exit codes, streams, JSON.

use crate::{synthetic, verdicts::DOCUMENTED};
use assert_cmd::Command;
use damocles_worker::machine::Machine;
use std::path::PathBuf;

/// The documents' machine as a file.
struct File {
    _dir: tempfile::TempDir,
    machine: PathBuf,
}

fn file() -> File {
    let dir = tempfile::tempdir().unwrap();
    let machine = dir.path().join("machine.json");
    std::fs::write(&machine, serde_json::to_string(&synthetic(DOCUMENTED)).unwrap()).unwrap();
    File { _dir: dir, machine }
}

/// Exit code, stdout, stderr.
fn cpuset(file: &File, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::cargo_bin("damocles-worker-util").unwrap();
    let output =
        command.args(["hwinfo", "cpuset"]).args(arguments).arg("--machine").arg(&file.machine).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_exit_code_is_the_verdict() {
    let file = file();
    let (code, out, err) = cpuset(&file, &["0-6"]);
    assert_eq!((code, err.as_str()), (1, ""));
    assert!(out.starts_with("not good: the stock prover panics: 7 cores in 2 L3 caches (4 + 3)"), "{out}");
    let (code, out, _) = cpuset(&file, &["0-7"]);
    assert_eq!(code, 0);
    assert!(out.starts_with("good: 8 cores in 2 whole L3 caches"), "{out}");
    assert_eq!(cpuset(&file, &["--suggest", "2"]).0, 0);
    assert_eq!(cpuset(&file, &["--suggest", "999"]).0, 1);
}

#[test]
fn what_cannot_be_told_is_exit_2_and_says_why() {
    let file = file();
    for (arguments, reason) in [
        (vec!["0-"], "is not a cpu list"),
        (vec![""], "it names no CPU"),
        (vec![], "required"),
        (vec!["0-7", "--stage", "pc3"], "is not a stage"),
        (vec!["0-7", "--prover", "x"], "stock-damocles"),
        (vec!["0-7", "--suggest", "2"], "cannot be used with"),
        (vec!["--suggest", "2", "--stage", "pc2"], "only pc1 is bound to units"),
        (vec!["-c", "/nonexistent.toml"], "/nonexistent.toml"),
    ] {
        let (code, out, err) = cpuset(&file, &arguments);
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}");
        assert!(err.contains(reason), "{arguments:?}: {err}");
    }
}

#[test]
fn json_is_the_verdict_as_data() {
    let file = file();
    let json = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_str(&cpuset(&file, &[arguments, &["--json"]].concat()).1).unwrap()
    };
    let verdict = json(&["0-6", "--concurrent", "2"]);
    assert_eq!(verdict["good"], false);
    assert_eq!(verdict["findings"][0]["code"], "panic");
    // One unit would not do for two tasks.
    assert_eq!(verdict["nearest"]["smaller"], serde_json::Value::Null);
    assert_eq!(verdict["nearest"]["larger"]["cpuset"], "0-7");
    assert_eq!(verdict["pc1"]["floating"], 2);
    assert_eq!(json(&["--suggest", "2"])[0]["cpuset"], "0-7");
}

#[test]
fn a_configuration_is_judged_from_its_file() {
    let file = file();
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/worker_config/fixtures/good/48-cores-4-gpus.toml");
    let (code, out, _) = cpuset(&file, &["-c", config, "--prover", "stock-damocles"]);
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("processors.pc1[0] 0-7\n  good: 8 cores in 2 whole L3 caches"), "{out}");
    // The second PC1 set does not begin at CPU 0.
    let (code, out, _) = cpuset(&file, &["-c", config]);
    assert_eq!(code, 1);
    assert!(out.contains("not good: 0 of 2 units, every task runs unbound"), "{out}");
}

#[test]
fn this_machine_is_judged_without_a_file() {
    let mut command = Command::cargo_bin("damocles-worker-util").unwrap();
    let output = command.args(["hwinfo", "cpuset", "0", "--stage", "pc2"]).output().unwrap();
    assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
}

#[test]
fn hwinfo_alone_still_shows_the_machine() {
    let file = file();
    let mut command = Command::cargo_bin("damocles-worker-util").unwrap();
    let output = command.arg("hwinfo").arg("--machine").arg(&file.machine).output().unwrap();
    assert!(output.stdout.starts_with(b"CPU topology:\nMachine (503.14 GiB)"), "{output:?}");
}

fn file_of(machine: &Machine) -> File {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("machine.json");
    std::fs::write(&path, serde_json::to_string(machine).unwrap()).unwrap();
    File { _dir: dir, machine: path }
}

#[test]
fn a_machine_whose_cores_share_an_l2_is_judged_by_it() {
    let shared = synthetic("pack:1 l3:2 l2:2 core:2 pu:1");
    let file = file_of(&shared);
    let (code, out, err) = cpuset(&file, &["0-7", "--producers", "1"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.starts_with("good: 8 cores in 4 whole L2 caches (2 + 2 + 2 + 2) give 4 units of 2 cores"), "{out}");
    assert!(out.contains("\nL2 L#3     2 of 2 cores: 6-7\n"), "{out}");
    let (code, out, _) = cpuset(&file, &["0-4", "--producers", "1", "--json"]);
    let verdict: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &verdict["pc1"]["group_kind"]), (1, &"l2".into()));
    assert_eq!(
        verdict["findings"][0]["text"],
        "the stock prover panics: 5 cores in 3 L2 caches (2 + 2 + 1) do not divide evenly, 2 cores over"
    );
    // A file of an older release counts them and does not tell which cores share one.
    let older = file_of(&Machine { l2_groups: None, ..shared });
    let (code, out, err) = cpuset(&older, &["0-7"]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("its 8 cores share 4 L2 caches") && err.contains("write it again"), "{err}");
    assert_eq!(cpuset(&older, &["0-7", "--prover", "own"]).0, 0, "our own binds by L3");
}

#[test]
fn the_machine_and_json_are_asked_for_before_and_after_the_subcommand() {
    let file = file();
    let machine = file.machine.to_str().unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::cargo_bin("damocles-worker-util").unwrap().args(arguments).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let expected = run(&["hwinfo", "cpuset", "0-7", "--from", machine, "--json"]);
    assert!(expected.0 == 0 && expected.1.starts_with('{'), "{expected:?}");
    assert_eq!(run(&["hwinfo", "--from", machine, "--json", "cpuset", "0-7"]), expected);
    assert_eq!(run(&["hwinfo", "--machine", machine, "cpuset", "0-7", "--json"]), expected);
    assert_eq!(run(&["hwinfo", "--json", "cpuset", "--machine", machine, "0-7"]), expected);
}

#[test]
fn numbers_that_make_no_question_are_usage_errors() {
    let file = file();
    for (arguments, reason) in [
        (vec!["--suggest", "0"], "invalid value '0' for '--suggest <N>': a number of tasks is from 1 to 8192"),
        (vec!["0-7", "--concurrent", "0"], "invalid value '0' for '--concurrent <N>': a number of tasks is from 1"),
        (vec!["0-7", "--concurrent", "many"], "a number of tasks is from 1 to 8192"),
        (vec!["0-7", "--producers", "8192"], "a number of producers is from 0 to 8191, since a unit has one core more"),
        (vec!["0-7", "--producers", "18446744073709551615"], "a number of producers is from 0 to 8191"),
        (vec!["0-7", "--producers=-1"], "a number of producers is from 0 to 8191"),
    ] {
        let (code, out, err) = cpuset(&file, &arguments);
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}");
        assert!(err.contains(reason), "{arguments:?}: {err}");
    }
    // The largest that mean something are answered.
    assert_eq!(cpuset(&file, &["0-7", "--producers", "8191"]).0, 1);
    assert_eq!(cpuset(&file, &["--suggest", "8192"]).0, 1);
}

#[test]
fn json_and_text_use_the_same_words() {
    let file = file();
    for (set, word) in [("0-6", "fails"), ("0-63", "advice"), ("0-2", "slow")] {
        let (_, text, _) = cpuset(&file, &[set, "--prover", "stock-damocles", "--producers", "3"]);
        let json = cpuset(&file, &[set, "--prover", "stock-damocles", "--producers", "3", "--json"]).1;
        let verdict: serde_json::Value = serde_json::from_str(&json).unwrap();
        let findings = verdict["findings"].as_array().unwrap();
        assert_eq!(findings[0]["severity"], word, "{json}");
        for finding in findings.iter().filter(|finding| finding["text"] != verdict["sentence"]) {
            let line = format!("{}: {}", finding["severity"].as_str().unwrap(), finding["text"].as_str().unwrap());
            assert!(text.lines().any(|shown| shown == line), "{line} not in {text}");
        }
    }
}

#[test]
fn what_only_shows_a_machine_is_refused_beside_a_verdict() {
    let (code, _, err) = cpuset(&file(), &["0-7"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let mut command = Command::cargo_bin("damocles-worker-util").unwrap();
    let output = command.args(["hwinfo", "--full", "cpuset", "0-7"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot be said with cpuset"));
}
