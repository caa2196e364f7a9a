//! `worker list`, `info`, `pause` and `resume` against a daemon.

use crate::rig::{Rig, rehearsing, said};
use std::net::TcpListener;

fn intents(journal: &str, stage: &str) -> usize {
    journal.matches(&format!(r#"{{"StageStarted":{{"stage":"{stage}"}}}}"#)).count()
}

#[test]
fn a_pause_lets_the_stage_end_and_begins_nothing_until_it_is_resumed() {
    let stages = [rehearsing("pc1", "sleep=2s"), rehearsing("pc2", "sleep=600s")].concat();
    let rig = Rig::new(&["", "sealing.allowed_sizes = [\"8MiB\"]"], &stages);
    let mut daemon = rig.start();
    daemon.until("pc1 to begin", |_| intents(&rig.journal(0), "pc1") == 1);
    let paused = daemon.worker(&["pause", "0"]);
    assert_eq!(String::from_utf8_lossy(&paused.stdout), "thread 0: paused\n", "{}", said(&paused));
    let thread = daemon.list().remove(0);
    assert_eq!((&thread["thread_state"]["state"], &thread["job_stage"]), (&"Paused".into(), &"pc1".into()), "{thread}");
    assert!(thread["job_id"] == "s-t01000-1" && thread["plan"] == "sealer", "{thread}");
    daemon.until("pc1's result", |_| rig.journal(0).contains("\"Pc1Done\""));
    daemon.until_thread(0, "PC1Done", "Paused");
    assert_eq!(intents(&rig.journal(0), "pc2"), 0, "nothing new is begun");
    assert_ne!(daemon.list()[1]["thread_state"]["state"], "Paused", "the other thread was not paused");
    let not_paused = daemon.worker(&["resume", "1"]);
    assert_eq!(not_paused.status.code(), Some(1));
    assert!(said(&not_paused).contains("thread 1: it is not paused"), "{}", said(&not_paused));
    let resumed = daemon.worker(&["resume", "--all", "--json"]);
    assert!(resumed.status.success(), "{}", said(&resumed));
    let outcomes: serde_json::Value = serde_json::from_slice(&resumed.stdout).unwrap();
    assert_eq!(outcomes, serde_json::json!([{"index": 0, "done": true, "reason": null}]));
    daemon.until_thread(0, "PC1Done", "Running");
    assert_eq!(daemon.list()[0]["thread_state"]["proc"], "pc2");
    assert_eq!(intents(&rig.journal(0), "pc1"), 1, "what was done is not done again");
}

#[test]
fn a_thread_that_paused_on_a_failure_is_told_and_tries_again_when_resumed() {
    let rig = Rig::failing();
    let mut daemon = rig.start();
    daemon.until_thread(0, "PC1Done", "Paused");
    let thread = daemon.list().remove(0);
    assert!(thread["last_error"].as_str().unwrap().contains("pc2: "), "{thread}");
    let info = daemon.worker(&["info"]);
    assert!(
        said(&info).contains("threads  1: 1 Paused") && said(&info).contains("error    thread 0"),
        "{}",
        said(&info)
    );
    assert!(daemon.log().contains("damocles-worker worker resume 0"), "{}", daemon.log());
    let tries = intents(&rig.journal(0), "pc2");
    assert!(daemon.worker(&["resume", "0"]).status.success());
    daemon.until("pc2 to be tried again", |_| intents(&rig.journal(0), "pc2") == tries + 1);
    daemon.until_thread(0, "PC1Done", "Paused");
    let restored = rig.journal(0).matches("ReplicaRestored").count();
    assert_eq!(restored, tries, "before each further try the replica is made again");
}

#[test]
fn a_sector_is_sent_back_where_that_is_legal_and_nowhere_else() {
    let rig = Rig::failing();
    let mut daemon = rig.start();
    daemon.until_thread(0, "PC1Done", "Paused");
    let refused = daemon.worker(&["resume", "0", "--state", "C2Done"]);
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    let possible = "possible: Allocated, DealsAcquired, PieceAdded, TreeDBuilt, TicketAssigned, PC1Done, Aborted";
    assert!(said(&refused).contains(possible), "{}", said(&refused));
    assert_eq!(daemon.list()[0]["thread_state"]["state"], "Paused", "a refusal changes nothing");
    let typo = daemon.worker(&["resume", "0", "--state", "PC9Done"]);
    assert_eq!(typo.status.code(), Some(2));
    assert!(said(&typo).contains("is not a sector state"), "{}", said(&typo));
    let resumed = daemon.worker(&["resume", "0", "--state", "TreeDBuilt"]);
    assert!(resumed.status.success(), "{}", said(&resumed));
    daemon.until("pc1 to be done again", |_| intents(&rig.journal(0), "pc1") == 2);
    daemon.until_thread(0, "PC1Done", "Paused");
    let given_up = daemon.worker(&["resume", "0", "--state", "Aborted"]);
    assert!(given_up.status.success(), "{}", said(&given_up));
    daemon.until("the next sector", |daemon| daemon.list()[0]["job_id"] == "s-t01000-2");
    assert!(daemon.log().contains("given up by an operator"), "{}", daemon.log());
}

#[test]
fn a_restart_takes_a_sector_that_was_sent_back_from_where_it_was_sent() {
    let rig = Rig::failing();
    let mut daemon = rig.start();
    daemon.until_thread(0, "PC1Done", "Paused");
    // The thread is stopped at its next failure; what was journaled before is a way back.
    assert!(daemon.worker(&["resume", "0", "--state", "DealsAcquired"]).status.success());
    daemon.until_thread(0, "PC1Done", "Paused");
    drop(daemon);
    let journal = rig.journal(0);
    assert!(journal.contains(r#"{"SetBack":{"to":"DealsAcquired"}}"#), "{journal}");
    let mut daemon = rig.start();
    daemon.until_thread(0, "PC1Done", "Paused");
    assert_eq!(intents(&rig.journal(0), "add_pieces"), 2, "once before it was sent back, once after");
}

#[test]
fn a_daemon_that_is_not_there_is_no_answer() {
    let rig = Rig::failing();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    for args in [&["list"][..], &["info"], &["pause", "0"], &["resume", "--all"]] {
        let output = rig.run(&[&["worker"], args, &["--addr", &free]].concat());
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains(&format!("no worker answers at {free}: ")), "{}", said(&output));
    }
    let output = rig.run(&["worker", "list", "-c", "worker.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("rpc_server.port = 0"), "{}", said(&output));
}
