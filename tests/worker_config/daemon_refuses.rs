//! The daemon refuses every broken configuration with the same words and exit code 2, before it starts anything.

use crate::fixtures::Fixture;
use assert_cmd::Command;

#[test]
fn the_daemon_refuses_every_broken_configuration_with_exit_code_2() {
    for fixture in Fixture::all("broken") {
        let here = tempfile::tempdir().expect("a temporary folder");
        let output = Command::new(env!("CARGO_BIN_EXE_damocles-worker"))
            .args(["daemon", "--check", "-c"])
            .arg(&fixture.path)
            .current_dir(&here)
            .output()
            .expect("the daemon runs");
        let talk = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{}: {talk}", fixture.name());
        for expected in fixture.marked("expect") {
            assert!(talk.contains(expected), "{}: expected {expected:?} in\n{talk}", fixture.name());
        }
        assert!(!talk.contains("panicked"), "{}: {talk}", fixture.name());
        assert_eq!(here.path().read_dir().expect("still there").count(), 0, "{}: it left files", fixture.name());
    }
}
