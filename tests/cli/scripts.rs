//! The scripts behind `make`, run on a copy of the project in which every program they call is a stub.
//!
//! A stub writes its name and arguments to `calls` and then does what the test says; so a test sees what a
//! script would have done to a machine.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};
use tempfile::TempDir;

/// A copy of the scripts among stubs.
struct Stage {
    folder: TempDir,
}

impl Stage {
    fn new() -> Self {
        let stage = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        fs::create_dir_all(stage.at("scripts")).expect("a folder");
        for script in ["run", "setup"] {
            let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(script);
            executable(&stage.at("scripts").join(script), &fs::read_to_string(from).expect("the script is there"));
        }
        fs::write(stage.at("Cargo.toml"), "[package]\nrust-version = \"1.88\"\n").expect("a file");
        stage
    }

    /// For `scripts/run`: a machine that has everything, programs that agree to everything.
    fn with_programs() -> Self {
        let stage = Self::new();
        stage.stub("scripts/setup", "");
        stage.stub("bin/cargo", "");
        stage.stub("target/debug/damocles-worker", "");
        stage.stub("target/debug/damocles-worker-util", "[ \"$1\" != plan ] || echo planned");
        stage
    }

    /// For `scripts/setup`: root on a Debian that has everything but what `missing` names, and Rust `rust`.
    fn with_debian(missing: &str, rust: &str) -> Self {
        let stage = Self::new();
        stage.stub("bin/id", "echo 0");
        stage.stub(
            "bin/dpkg-query",
            &format!("case ' {missing} ' in *\" $4 \"*) exit 1 ;; *) printf installed ;; esac"),
        );
        stage.stub("bin/apt-get", "");
        stage.stub("bin/apt-cache", "printf '%s:\\n  Installed: (none)\\n  Candidate: 2.9.0-1\\n' \"$2\"");
        stage.stub("bin/rustc", &format!("echo 'rustc {rust} (a date)'"));
        stage.stub("bin/cargo", &format!("echo 'cargo {rust} (a date)'"));
        stage
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn stub(&self, path: &str, body: &str) {
        let (path, calls) = (self.at(path), self.at("calls"));
        fs::create_dir_all(path.parent().expect("inside the folder")).expect("a folder");
        executable(&path, &format!("#!/bin/sh\necho \"$(basename \"$0\") $*\" >>'{}'\n{body}\n", calls.display()));
    }

    fn run(&self, script: &str, variables: &[(&str, &str)]) -> Output {
        let path = format!("{}:/usr/bin:/bin", self.at("bin").display());
        Command::new(self.at("scripts").join(script))
            .env_clear()
            .env("PATH", path)
            .envs(variables.iter().copied())
            .output()
            .expect("the script runs")
    }

    /// The calls so far whose line contains `part`.
    fn calls(&self, part: &str) -> Vec<String> {
        let calls = fs::read_to_string(self.at("calls")).unwrap_or_default();
        calls.lines().filter(|line| line.contains(part)).map(str::to_owned).collect()
    }
}

// Written by a child: a program that this process had open for writing could not be started ("text file
// busy") while a child forked by another test still holds the same descriptor.
fn executable(path: &Path, text: &str) {
    let written = Command::new("/bin/sh")
        .args(["-c", "printf '%s' \"$2\" >\"$1\" && chmod 755 \"$1\"", "sh"])
        .arg(path)
        .arg(text)
        .status()
        .expect("sh runs");
    assert!(written.success());
}

fn talk(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_run_plans_asks_for_parameters_and_seals_one_sector() {
    let stage = Stage::with_programs();
    let output = stage.run("run", &[]);
    assert_eq!(output.status.code(), Some(0), "{}", talk(&output));
    assert_eq!(fs::read_to_string(stage.at("run/worker.toml")).expect("planned"), "planned\n");
    assert_eq!(
        stage.calls("damocles-worker "),
        ["damocles-worker params status --sector-size 2KiB", "damocles-worker daemon -c worker.toml --sectors 1"]
    );
}

#[test]
fn the_plan_of_a_run_means_the_same_wherever_a_daemon_is_started() {
    let stage = Stage::with_programs();
    assert!(stage.run("run", &[]).status.success());
    let calls = stage.calls(" plan ");
    let [plan] = calls.as_slice() else { panic!("{calls:?}") };
    let run = stage.at("run").canonicalize().expect("it was made");
    for flag in ["--manager-dir ", "--sealing-dir ", "--attached persist="] {
        assert!(plan.contains(&format!("{flag}{}/", run.display())), "{flag}: {plan}");
    }
}

#[test]
fn the_exit_code_of_a_run_is_the_daemons() {
    let stage = Stage::with_programs();
    stage.stub("target/debug/damocles-worker", "[ \"$1\" != daemon ] || exit 7");
    assert_eq!(stage.run("run", &[]).status.code(), Some(7));
}

#[test]
fn a_plan_that_failed_leaves_no_worker_toml_and_starts_no_daemon() {
    let stage = Stage::with_programs();
    stage.stub("target/debug/damocles-worker-util", "[ \"$1\" != plan ] || { echo half; exit 1; }");
    assert_eq!(stage.run("run", &[]).status.code(), Some(1));
    assert!(!stage.at("run/worker.toml").exists());
    assert!(stage.calls("daemon").is_empty());
}

#[test]
fn a_plan_that_is_there_is_kept_unless_a_new_one_is_asked_for() {
    let stage = Stage::with_programs();
    fs::create_dir_all(stage.at("run")).expect("a folder");
    fs::write(stage.at("run/worker.toml"), "mine\n").expect("a file");
    assert!(stage.run("run", &[]).status.success());
    assert_eq!(fs::read_to_string(stage.at("run/worker.toml")).expect("kept"), "mine\n");
    assert!(stage.run("run", &[("PLAN", "new")]).status.success());
    assert_eq!(fs::read_to_string(stage.at("run/worker.toml")).expect("planned"), "planned\n");
    assert_eq!(fs::read_to_string(stage.at("run/worker.toml.old")).expect("kept"), "mine\n");
}

#[test]
fn parameters_are_fetched_when_missing_and_generated_when_they_cannot_be_fetched() {
    let stage = Stage::with_programs();
    stage.stub("target/debug/damocles-worker", "[ \"$2\" != status ] || exit 1");
    assert!(stage.run("run", &[]).status.success());
    assert!(stage.calls("params generate").is_empty());
    stage.stub("target/debug/damocles-worker", "case $2 in status | fetch) exit 1 ;; esac");
    assert!(stage.run("run", &[]).status.success());
    assert_eq!(stage.calls("params generate").len(), 1);
}

#[test]
fn a_machine_that_has_everything_is_left_alone() {
    let stage = Stage::with_debian("", "1.88.0");
    let output = stage.run("setup", &[]);
    assert_eq!(output.status.code(), Some(0), "{}", talk(&output));
    assert!(stage.calls("apt-get").is_empty());
}

#[test]
fn what_is_missing_is_installed_without_questions_and_without_an_update_that_is_not_needed() {
    let stage = Stage::with_debian("pci.ids make", "1.96.0");
    assert!(stage.run("setup", &[]).status.success());
    assert_eq!(stage.calls("apt-get"), ["apt-get install --yes --no-install-recommends pci.ids make"]);
}

#[test]
fn an_index_that_knows_only_an_old_rust_is_updated_and_a_rust_that_stays_old_is_an_error() {
    let stage = Stage::with_debian("", "1.85.0");
    stage.stub("bin/apt-cache", "printf '%s:\\n  Candidate: 1.85.0+dfsg3-1\\n' \"$2\"");
    let output = stage.run("setup", &[]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        stage.calls("apt-get"),
        ["apt-get update", "apt-get install --yes --no-install-recommends rustc-web cargo-web"]
    );
    assert!(talk(&output).contains("Rust 1.88 or newer is needed; found rustc 1.85.0"), "{}", talk(&output));
}

#[test]
fn an_installation_that_fails_is_tried_again_with_a_fresh_index() {
    let stage = Stage::with_debian("pci.ids", "1.96.0");
    let once = format!("[ \"$1\" = update ] && touch '{0}'; [ -e '{0}' ]", stage.at("updated").display());
    stage.stub("bin/apt-get", &once);
    assert!(stage.run("setup", &[]).status.success());
    assert_eq!(stage.calls("apt-get install").len(), 2);
}

#[test]
fn without_root_it_asks_sudo_and_check_changes_nothing() {
    let stage = Stage::with_debian("pci.ids", "1.96.0");
    stage.stub("bin/id", "echo 1000");
    stage.stub("bin/sudo", "exec \"$@\"");
    assert!(stage.run("setup", &[]).status.success());
    assert_eq!(stage.calls("sudo").len(), 1);

    let stage = Stage::with_debian("pci.ids", "1.96.0");
    let check = Command::new(stage.at("scripts/setup"))
        .arg("--check")
        .env("PATH", format!("{}:/usr/bin:/bin", stage.at("bin").display()))
        .output()
        .expect("the script runs");
    assert_eq!(check.status.code(), Some(1));
    assert!(stage.calls("apt-get").is_empty());
}
