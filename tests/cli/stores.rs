//! `store sealing-init` and `store file-init`: made, told, refused.

use std::{fs, path::Path};

fn store(dir: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let output = crate::worker().current_dir(dir).arg("store").args(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn stores_are_made_where_nothing_is_and_refused_where_something_is() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let (code, out, err) = store(&root, &["sealing-init", "-l", "s1", "s 2"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert_eq!(out, format!("{0}/s1: made\n{0}/s 2: made\n", root.display()));
    assert!(root.join("s 2/journal").is_file() && root.join("s1/staged").is_dir());
    fs::write(root.join("notes"), "mine").unwrap();
    let (code, out, err) = store(&root, &["file-init", "--loc", "new", ".", "--json"]);
    assert_eq!(code, Some(1));
    let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&answer["done"], answer["refused"][0]["location"].as_str()), (&false.into(), Some(".")));
    assert!(err.starts_with("no: .: it is not empty: there is "), "{err}");
    assert!(!root.join("new").exists(), "none is made");
}

#[test]
fn a_dry_run_says_the_steps_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let (code, out, _) = store(&root, &["file-init", "-l", "p", "--dry-run"]);
    let root = root.display();
    assert_eq!((code, out), (Some(0), format!("mkdir -p {root}/p {root}/p/sealed {root}/p/cache\n")));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    let (code, _, err) = store(dir.path(), &["sealing-init"]);
    assert_eq!(code, Some(2), "{err}");
}

#[test]
fn a_folder_that_cannot_be_made_is_a_failure_with_its_path() {
    let dir = tempfile::tempdir().unwrap();
    let (code, _, err) = store(dir.path(), &["file-init", "-l", "/proc/no/such/place"]);
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("make the store /proc/no/such/place"), "{err}");
}
