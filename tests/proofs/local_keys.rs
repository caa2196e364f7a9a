//! The daemon and locally generated keys: their proofs are valid nowhere else, so a remote manager does not get them
//! unless told otherwise.

use damocles_worker::{
    runtime::proofs::params::{Manifest, generate},
    units::SectorSize,
};
use std::{
    fs,
    path::Path,
    process::{Command, Output},
};
use tempfile::TempDir;

const REMOTE: &str = "http://127.0.0.1:1";

/// A worker.toml with this manager, beside an empty cache folder for keys.
fn host(manager: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for folder in ["params", "persist"] {
        fs::create_dir(dir.path().join(folder)).unwrap();
    }
    let config = format!(
        "[sector_manager]\nrpc_client.addr = \"{manager}\"\n[[sealing_thread]]\nlocation = \"./sealing\"\n\
         [[attached]]\nname = \"persist\"\nlocation = \"./persist\"\n"
    );
    fs::write(dir.path().join("worker.toml"), config).unwrap();
    dir
}

/// Has `generate` make, mark and publish 2 KiB keys, with a child that writes a few bytes instead of working for
/// minutes.
fn generate_keys(folder: &Path) {
    let manifest = Manifest::published();
    let writes = |file: &str| format!("echo {file} > \"$FIL_PROOFS_PARAMETER_CACHE/{file}\"");
    let files = manifest.files(SectorSize::KiB2, false);
    let script = files.iter().map(|file| writes(&file.name)).collect::<Vec<_>>().join(" && ");
    let child = ["sh", "-c", &script].map(Into::into).to_vec();
    let request = generate::Request { folder: folder.to_owned(), size: SectorSize::KiB2, child };
    assert_eq!(generate::generate(&request, &manifest, &mut |_| ()).unwrap(), generate::Outcome::Generated);
}

fn daemon(host: &TempDir, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_damocles-worker"))
        .args(["daemon", "-c", "worker.toml"])
        .args(args)
        .current_dir(host.path())
        .env("FIL_PROOFS_PARAMETER_CACHE", host.path().join("params"))
        .output()
        .unwrap()
}

fn talk(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_remote_manager_with_local_keys_is_refused_before_anything_is_made() {
    let host = host(REMOTE);
    generate_keys(&host.path().join("params"));
    for args in [&["--check"][..], &[]] {
        let output = daemon(&host, args);
        assert_eq!(output.status.code(), Some(2), "{}", talk(&output));
        let said = talk(&output);
        assert!(said.contains("error: ") && said.contains("proof parameters of 2KiB were generated"), "{said}");
        assert!(said.contains("fetch the published ones") && said.contains("--allow-local-params"), "{said}");
        assert!(!host.path().join("sealing").exists());
    }
}

#[test]
fn a_remote_manager_with_local_keys_is_accepted_when_told() {
    let host = host(REMOTE);
    generate_keys(&host.path().join("params"));
    let output = daemon(&host, &["--check", "--allow-local-params"]);
    assert_eq!(output.status.code(), Some(0), "{}", talk(&output));
}

#[test]
fn a_key_that_lost_its_stamp_is_still_known_as_local_by_its_marker() {
    let host = host(REMOTE);
    generate_keys(&host.path().join("params"));
    // As after a copy to another host: both files and their markers, no stamp.
    for entry in fs::read_dir(host.path().join("params")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "checked") {
            fs::remove_file(path).unwrap();
        }
    }
    assert_eq!(daemon(&host, &["--check"]).status.code(), Some(2));
}

#[test]
fn the_embedded_manager_takes_local_keys_and_a_remote_one_is_not_refused_for_keys_that_are_not_there() {
    let embedded = host("embedded");
    generate_keys(&embedded.path().join("params"));
    let output = daemon(&embedded, &["--check"]);
    assert_eq!(output.status.code(), Some(0), "{}", talk(&output));
    assert!(!talk(&output).contains("proof parameters"), "{}", talk(&output));
    let output = daemon(&host(REMOTE), &["--check"]);
    assert_eq!(output.status.code(), Some(0), "{}", talk(&output));
}
