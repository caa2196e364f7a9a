//! Stops in order, and owners that exclude each other.

use crate::bench::{Bench, said};
use nix::sys::signal::Signal;
use std::fs;

/// A sector that waits for its seed for as long as the test lasts.
fn waiting() -> Bench {
    let bench = Bench::new("StackedDrg2KiBV1_1");
    let config = fs::read_to_string(bench.path("worker.toml")).unwrap();
    fs::write(bench.path("worker.toml"), config.replace("epoch = \"5ms\"", "epoch = \"1s\"")).unwrap();
    bench
}

#[test]
fn ctrl_c_stops_in_order_and_the_next_start_goes_on() {
    let bench = waiting();
    let mut daemon = bench.start(&["--sectors", "1"]);
    daemon.wait_for("\"event\":\"PreCommitSubmitted\"");
    daemon.signal(Signal::SIGINT);
    assert_eq!(daemon.wait(), Some(1), "the sector that was asked for is not finished");
    let log = fs::read_to_string(bench.path("daemon.log")).unwrap();
    assert!(log.contains("stopped in order"), "{log}");
    let mut daemon = bench.start(&[]);
    daemon.wait_for("\"event\":\"PersistenceSubmitted\"");
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait(), Some(0), "nothing was asked for: an orderly stop is success");
    for stage in ["add_pieces", "tree_d", "pc1", "pc2", "transfer"] {
        assert_eq!(bench.starts(stage), 1, "{stage}");
    }
}

#[test]
fn a_second_daemon_on_the_same_store_is_refused() {
    let bench = waiting();
    let mut daemon = bench.start(&[]);
    daemon.wait_for("\"event\":{\"Allocated\"");
    let config = fs::read_to_string(bench.path("worker.toml")).unwrap();
    fs::write(bench.path("worker.toml"), config.replace("./manager", "./manager2")).unwrap();
    let output = bench.run(&[]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("another process owns it"), "{}", said(&output));
}

#[test]
fn a_damaged_journal_stops_the_start_with_its_place() {
    let bench = waiting();
    let mut daemon = bench.start(&[]);
    daemon.wait_for("\"event\":\"DealsAcquired\"");
    daemon.kill();
    let path = bench.path("sealing/0/journal");
    let mut bytes = fs::read(&path).unwrap();
    bytes[12] ^= 1;
    fs::write(&path, bytes).unwrap();
    let output = bench.run(&[]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("journal, line 1: the checksum does not match"), "{}", said(&output));
}

#[test]
fn a_sector_of_a_removed_manager_pauses_and_is_not_given_up() {
    let bench = waiting();
    let mut daemon = bench.start(&[]);
    daemon.wait_for("\"event\":\"PersistenceSubmitted\"");
    daemon.kill();
    fs::remove_dir_all(bench.path("manager")).unwrap();
    let output = bench.run(&["--sectors", "1"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("sector s-t01000-1 was allocated by simulated chain"), "{}", said(&output));
    assert!(bench.path("sealing/0/sealed/s-t01000-1").exists(), "nothing is dropped");
}

#[test]
fn a_stop_does_not_wait_for_a_long_stage_beyond_its_grace() {
    let bench = Bench::new("StackedDrg8MiBV1_1").without_keys();
    let mut daemon = bench.start(&["--grace", "10ms"]);
    daemon.wait_for_start("pc1", 1);
    daemon.signal(Signal::SIGINT);
    assert_eq!(daemon.wait(), Some(0));
    let log = fs::read_to_string(bench.path("daemon.log")).unwrap();
    assert!(log.contains("it will be done again"), "{log}");
}
