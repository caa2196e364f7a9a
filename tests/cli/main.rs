//! The command line as a neighbour in a pipe: exit codes, streams, help, completions, manual pages.
//!
//! What a single command answers is tested with that command; here is what holds for all of them, and for
//! the scripts behind `make`, and the commands that make stores.

mod scripts;
mod stores;

use assert_cmd::Command;
use std::process::Stdio;

const BINARIES: [&str; 2] = [env!("CARGO_BIN_EXE_damocles-worker"), env!("CARGO_BIN_EXE_damocles-worker-util")];

fn worker() -> Command {
    Command::new(BINARIES[0])
}

fn util() -> Command {
    Command::new(BINARIES[1])
}

/// The commands that `--help` of a binary lists.
fn subcommands(binary: &str) -> Vec<String> {
    let help = Command::new(binary).arg("--help").output().expect("the binary runs");
    let help = String::from_utf8(help.stdout).expect("help is text");
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| line.starts_with("  "));
    // Deeper lines continue an explanation.
    let names = listed.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn help_is_an_answer_on_stdout_with_exit_0() {
    for binary in BINARIES {
        let names = subcommands(binary);
        assert!(names.len() >= 4, "{binary}: {names:?}");
        for name in names {
            let output = Command::new(binary).args([&name, "--help"]).output().expect("the binary runs");
            assert_eq!(output.status.code(), Some(0), "{name}");
            assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{name}");
        }
    }
}

#[test]
fn a_usage_error_is_talk_on_stderr_with_exit_2() {
    for arguments in [vec![], vec!["no-such-command"], vec!["completions", "no-such-shell"], vec!["man"]] {
        for binary in BINARIES {
            let output = Command::new(binary).args(&arguments).output().expect("the binary runs");
            assert_eq!(output.status.code(), Some(2), "{arguments:?}");
            assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?}");
        }
    }
}

#[test]
fn the_binaries_say_their_version() {
    let version = env!("CARGO_PKG_VERSION");
    worker().arg("--version").assert().success().stdout(format!("damocles-worker {version}\n"));
    util().arg("--version").assert().success().stdout(format!("damocles-worker-util {version}\n"));
}

#[test]
fn bash_accepts_the_completion_script() {
    for binary in BINARIES {
        let script = Command::new(binary).args(["completions", "bash"]).assert().success().get_output().stdout.clone();
        // -n: read, do not run.
        Command::new("bash").arg("-n").write_stdin(script).assert().success().stderr("");
    }
}

#[test]
fn manual_pages_are_written_for_every_command() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    worker().arg("man").arg(dir.path()).assert().success().stdout("");
    util().arg("man").arg(dir.path()).assert().success().stdout("");
    for (binary, name) in BINARIES.iter().zip(["damocles-worker", "damocles-worker-util"]) {
        for command in subcommands(binary) {
            let page = dir.path().join(format!("{name}-{command}.1"));
            assert!(page.is_file(), "{}", page.display());
        }
    }
}

#[test]
fn manual_pages_that_cannot_be_written_end_with_exit_2_and_the_folder_named() {
    let output = worker().args(["man", "/proc/no-such-folder"]).output().expect("the binary runs");
    assert_eq!(output.status.code(), Some(2));
    let talk = String::from_utf8(output.stderr).expect("talk is text");
    assert!(talk.starts_with("error: man: making the folder /proc/no-such-folder"), "{talk}");
}

#[test]
fn a_reader_that_went_away_is_no_failure() {
    let mut child = std::process::Command::new(BINARIES[0])
        .args(["completions", "zsh"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    // Whether the child has written or not, nobody will read it.
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("the child ends");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}
