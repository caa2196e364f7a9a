//! `damocles-worker params` as a process: answers, exit codes, and a generation that is killed.

use assert_cmd::Command;
use std::{
    fs,
    path::Path,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

fn params(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::cargo_bin("damocles-worker").unwrap();
    command.env("FIL_PROOFS_PARAMETER_CACHE", folder).arg("params").args(args);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn status_of_an_empty_folder_is_missing_and_exit_1() {
    let folder = tempfile::tempdir().unwrap();
    let output = params(folder.path(), &["status", "--sector-size", "2KiB"]).assert().code(1).get_output().clone();
    assert!(text(&output.stdout).contains(": missing\n"), "{}", text(&output.stdout));
    assert!(text(&output.stderr).contains("hint: run params fetch --sector-size 2KiB"), "{}", text(&output.stderr));

    let output = params(folder.path(), &["status", "--sector-size", "32GiB", "--json"]).assert().code(1);
    let report: serde_json::Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
    assert_eq!(report["kind"], "missing");
    assert_eq!(report["files"].as_array().unwrap().len(), 2);
}

#[test]
fn what_cannot_be_is_exit_2_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    for (args, said) in [
        (&["generate", "--sector-size", "32GiB"][..], "run params fetch --sector-size 32GiB"),
        (&["generate", "--sector-size", "16GiB"], "2KiB, 8MiB, 512MiB, 32GiB or 64GiB"),
        (&["fetch", "--sector-size", "2KiB", "--gateway", "no-address"], "fetching v28-stacked"),
    ] {
        let output = params(folder.path(), args).assert().code(2).get_output().clone();
        assert!(text(&output.stderr).contains(said), "{args:?}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty());
    }
}

/// The processes whose arguments or environment name `folder`.
fn processes_of(folder: &Path) -> Vec<String> {
    let needle = folder.to_str().unwrap();
    let mention = |pid: &str| {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        String::from_utf8_lossy(&environ).contains(needle)
    };
    let pids = fs::read_dir("/proc").unwrap().filter_map(|e| e.unwrap().file_name().into_string().ok());
    pids.filter(|pid| pid.parse::<u32>().is_ok() && mention(pid)).collect()
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < Duration::from_secs(30), "waited for {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_killed_generation_leaves_no_child_and_nothing_that_is_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let generate = || {
        std::process::Command::new(env!("CARGO_BIN_EXE_damocles-worker"))
            .args(["params", "generate", "--sector-size", "2KiB"])
            .env("FIL_PROOFS_PARAMETER_CACHE", folder.path())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let names = || -> Vec<String> {
        fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    };
    let temps = || names().into_iter().filter(|name| name.contains(".tmp-")).collect::<Vec<_>>();

    let mut first = generate();
    until("parent and child", || processes_of(folder.path()).len() == 2);
    params(folder.path(), &["generate", "--sector-size", "2KiB"]).assert().code(2);
    first.kill().unwrap();
    first.wait().unwrap();
    until("the child's end", || processes_of(folder.path()).is_empty());
    let left = temps();
    assert_eq!(left.len(), 1);
    assert!(names().iter().all(|name| name.contains(".tmp-") || name.ends_with(".lock")), "{:?}", names());
    params(folder.path(), &["status", "--sector-size", "2KiB"]).assert().code(1);

    let mut second = generate();
    until("the sweep", || !temps().is_empty() && temps() != left);
    second.kill().unwrap();
    second.wait().unwrap();
    until("the child's end", || processes_of(folder.path()).is_empty());
}
