//! `hwinfo --svg` as an operator types it.

use assert_cmd::Command;
use std::fs;

fn hwinfo(flags: &[&str]) -> Command {
    let mut command = Command::cargo_bin("damocles-worker-util").unwrap();
    command.arg("hwinfo").args(flags);
    command
}

#[test]
fn this_machine_is_drawn_into_a_file_and_to_stdout() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("machine.svg");
    hwinfo(&["--svg", file.to_str().unwrap()]).assert().success().stdout("");
    let picture = fs::read_to_string(&file).unwrap();
    crate::document::read(&picture).assert_nested_and_apart();
    hwinfo(&["--svg", "-"]).assert().success().stdout(picture);
}

#[test]
fn a_file_that_cannot_be_written_is_named_and_nothing_is_left() {
    let error = hwinfo(&["--svg", "/nonexistent-folder/machine.svg"]).assert().code(2).get_output().stderr.clone();
    let error = String::from_utf8(error).unwrap();
    assert!(error.contains("/nonexistent-folder/machine.svg") && error.contains("create the folder"), "{error}");
}

#[test]
fn a_picture_and_json_at_once_are_refused() {
    hwinfo(&["--svg", "-", "--json"]).assert().code(2);
}
