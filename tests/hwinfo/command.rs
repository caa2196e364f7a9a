//! The command on the machine that runs the test.

use assert_cmd::Command;
use damocles_worker::machine;
use std::process::{Command as Process, Stdio};

fn hwinfo() -> Command {
    let mut command = Command::cargo_bin("damocles-worker-util").unwrap();
    command.arg("hwinfo");
    command
}

fn stdout(command: &mut Command) -> String {
    String::from_utf8(command.assert().success().get_output().stdout.clone()).unwrap()
}

#[test]
fn this_machine_is_shown() {
    let text = stdout(&mut hwinfo());
    assert!(text.starts_with("CPU topology:\nMachine ("), "{text}");
    assert!(text.contains("NUMANode (#") && text.contains("PU #"), "{text}");
}

#[test]
fn json_is_the_machine_contract() {
    let machine = machine::parse(&stdout(hwinfo().arg("--json"))).unwrap();
    let allowed = std::fs::read_to_string("/proc/self/status").unwrap();
    let allowed = allowed.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim().to_owned();
    // The kernel's own list for this process; a task may be bound to fewer CPUs than its cgroup allows.
    assert!(allowed.parse::<damocles_worker::units::CpuList>().unwrap().minus(&machine.allowed_cpus).is_empty());
    assert!(machine.memory_bytes().0 > 0);
}

#[test]
fn the_same_machine_prints_the_same_bytes() {
    // Free memory and free space are another at every look.
    let lasting = |command: &mut Command| {
        let text = stdout(command);
        text.lines().filter(|line| !line.contains("free_bytes")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(lasting(hwinfo().arg("--json")), lasting(hwinfo().arg("--json")));
    // A user's ptree settings change nothing.
    let tree = |command: &mut Command| stdout(command).split("\n\n").next().unwrap().to_owned();
    assert_eq!(tree(&mut hwinfo()), tree(hwinfo().env("PTREE_INDENT", "8").env("PTREE_CHARACTERS", "ascii")));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child = Process::new(assert_cmd::cargo::cargo_bin("damocles-worker-util"))
        .args(["hwinfo", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn an_unknown_flag_is_a_usage_error() {
    hwinfo().arg("--nonsense").assert().code(2);
}
