//! `config.toml` in a store while the daemon runs: between sectors, and never in the middle of one.

use crate::rig::{Daemon, Rig, said};
use std::fs;

fn give_up(daemon: &Daemon) {
    let output = daemon.worker(&["resume", "0", "--state", "Aborted"]);
    assert!(output.status.success(), "{}", said(&output));
}

fn until_paused_with(daemon: &mut Daemon, sector: &str) {
    daemon.until(sector, |daemon| daemon.list()[0]["job_id"] == sector);
    daemon.until_thread(0, "PC1Done", "Paused");
}

#[test]
fn a_store_s_own_settings_come_break_change_and_go_between_sectors() {
    let rig = Rig::failing();
    let file = rig.path("sealing/0/config.toml");
    let mut daemon = rig.start();
    until_paused_with(&mut daemon, "s-t01000-1");

    // Broken: told when the sector is over, and the next one is sealed as before.
    fs::write(&file, "sealing.allowed_sizes = [\"8MiB\"\n").unwrap();
    assert!(daemon.worker(&["resume", "0"]).status.success());
    until_paused_with(&mut daemon, "s-t01000-1");
    assert!(!daemon.log().contains("settings stay as they are"), "in the middle of a sector: {}", daemon.log());
    give_up(&daemon);
    until_paused_with(&mut daemon, "s-t01000-2");
    assert!(daemon.log().contains("the settings stay as they are: "), "{}", daemon.log());

    // Taken: from the next sector on, of which there is none of that size.
    fs::write(&file, "sealing.allowed_sizes = [\"8MiB\"]\n").unwrap();
    assert!(daemon.worker(&["resume", "0"]).status.success());
    until_paused_with(&mut daemon, "s-t01000-2");
    assert!(!daemon.log().contains("settings taken"), "in the middle of a sector: {}", daemon.log());
    give_up(&daemon);
    daemon.until("the settings to be taken", |daemon| daemon.log().contains("settings taken, from the next sector on"));
    daemon.until_thread(0, "Empty", "Waiting");

    // Gone: the main file's again.
    fs::remove_file(&file).unwrap();
    until_paused_with(&mut daemon, "s-t01000-3");
    assert!(daemon.log().contains("back to the settings of the main file"), "{}", daemon.log());
}

#[test]
fn a_start_takes_the_settings_and_refuses_broken_ones() {
    let rig = Rig::failing();
    fs::create_dir_all(rig.path("sealing/0")).unwrap();
    let file = rig.path("sealing/0/config.toml");
    fs::write(&file, "plan = \"snapup\"").unwrap();
    for args in [&["daemon", "-c", "worker.toml", "--check"][..], &["daemon", "-c", "worker.toml"]] {
        let output = rig.run(args);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains("config.toml: plan: found \"snapup\""), "{}", said(&output));
    }
    fs::write(&file, "sealing.allowed_sizes = [\"8MiB\"]").unwrap();
    let mut daemon = rig.start();
    daemon.until_thread(0, "Empty", "Waiting");
    assert!(!rig.journal(0).contains("Allocated"), "{}", rig.journal(0));
}
