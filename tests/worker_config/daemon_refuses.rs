//! The daemon refuses every broken configuration with the same words and exit code 2, before it starts anything.

use crate::fixtures::Fixture;
use assert_cmd::Command;
use std::time::Duration;

/// Judged, and really started: a start that is refused must leave nothing.
#[test]
fn the_daemon_refuses_every_broken_configuration_with_exit_code_2() {
    for fixture in Fixture::all("broken") {
        refuses(&fixture, &["--check"]);
        refuses(&fixture, &["--sectors", "1"]);
    }
}

fn refuses(fixture: &Fixture, args: &[&str]) {
    let here = tempfile::tempdir().expect("a temporary folder");
    let output = Command::new(env!("CARGO_BIN_EXE_damocles-worker"))
        .args(["daemon", "-c"])
        .arg(&fixture.path)
        .args(args)
        .current_dir(&here)
        .timeout(Duration::from_secs(60))
        .output()
        .expect("the daemon runs");
    let talk = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{} {args:?}: {talk}", fixture.name());
    for expected in fixture.marked("expect") {
        assert!(talk.contains(expected), "{}: expected {expected:?} in\n{talk}", fixture.name());
    }
    assert!(!talk.contains("panicked"), "{}: {talk}", fixture.name());
    assert_eq!(here.path().read_dir().expect("still there").count(), 0, "{} {args:?}: it left files", fixture.name());
}
