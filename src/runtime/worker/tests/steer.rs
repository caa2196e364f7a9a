//! Pauses, ways back and new settings, between two steps of a worker.

use super::*;

/// A worker that stands in `state` with nothing on its way.
fn standing_in(bench: &Bench, state: State) -> Worker {
    let mut worker = bench.worker(&sealing());
    while worker.record().state != state || worker.busy_with().is_some() {
        bench.run(&mut worker, 1);
    }
    worker
}

#[test]
fn a_pause_keeps_the_result_of_the_stage_in_flight_and_begins_nothing() {
    let bench = Bench::new();
    let mut worker = bench.worker(&sealing());
    while worker.stage_in_flight() != Some("pc1") {
        bench.run(&mut worker, 1);
    }
    assert!(worker.resume(Some(State::Allocated)).unwrap_err().contains("pc1 is still being worked on"));
    while worker.settle().is_some() {}
    assert_eq!((worker.record().state, worker.busy_with()), (State::PC1Done, None));
    assert_eq!(bench.stages.done.lock().unwrap().last(), Some(&"pc1"), "nothing after it was begun");
    worker.resume(None).unwrap();
    assert!(matches!(bench.run(&mut worker, 1000), Some(Step::Finished(_))));
}

#[test]
fn a_paused_worker_leaves_the_queue() {
    let bench = Bench::new();
    bench.stages.full.lock().unwrap().insert("pc1");
    let mut worker = bench.worker(&sealing());
    while worker.stage() != Some("pc1") {
        bench.run(&mut worker, 1);
    }
    while worker.settle().is_some() {}
    assert_eq!(worker.stage(), None);
}

#[test]
fn a_sector_that_is_sent_back_does_again_what_comes_after() {
    use State::*;
    for (to, again) in [
        (DealsAcquired, &["add_pieces", "tree_d", "pc1", "restore_replica", "pc2"][..]),
        (TreeDBuilt, &["pc1", "restore_replica", "pc2"]),
        (TicketAssigned, &["pc1", "restore_replica", "pc2"]),
        (PC1Done, &["restore_replica", "pc2"]),
    ] {
        let bench = Bench::new();
        let mut worker = standing_in(&bench, PC2Done);
        worker.resume(Some(to)).unwrap();
        drop(worker);
        bench.stages.done.lock().unwrap().clear();
        let mut worker = bench.worker(&sealing());
        assert_eq!(worker.record().state, to, "the way back is in the journal");
        assert!(matches!(bench.run(&mut worker, 1000), Some(Step::Finished(_))), "{to}");
        assert_eq!(bench.stages.done.lock().unwrap()[..again.len()], *again, "{to}");
    }
}

#[test]
fn from_every_state_back_to_every_legal_one_a_sector_still_finishes() {
    for from in State::ALL.into_iter().filter(|state| !matches!(state, State::Empty | State::Aborted)) {
        let legal = crate::runtime::sector::legal(standing_in(&Bench::new(), from).record());
        assert!(!legal.is_empty());
        for to in legal {
            let bench = Bench::new();
            let mut worker = standing_in(&bench, from);
            worker.resume(Some(to)).unwrap();
            let Some(Step::Finished(record)) = bench.run(&mut worker, 1000) else { panic!("{from} back to {to}") };
            let wanted = if to == State::Aborted { State::Aborted } else { State::Finished };
            assert_eq!(record.state, wanted, "{from} back to {to}");
        }
    }
}

#[test]
fn a_submission_that_is_sent_again_replaces_the_first() {
    let bench = Bench::new();
    let mut worker = standing_in(&bench, State::ProofSubmitted);
    worker.resume(Some(State::C2Done)).unwrap();
    assert!(matches!(bench.run(&mut worker, 1000), Some(Step::Finished(_))));
    let calls = bench.manager.calls.lock().unwrap();
    let reset = |call: &Call| if let Call::SubmitProof { reset, .. } = call { Some(*reset) } else { None };
    assert_eq!(calls.iter().filter_map(reset).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn what_is_not_legal_changes_nothing_and_names_what_is() {
    let bench = Bench::new();
    let mut worker = standing_in(&bench, State::PCSubmitted);
    for state in [State::PC1Done, State::Finished, State::Empty] {
        let refusal = worker.resume(Some(state)).unwrap_err();
        assert!(refusal.ends_with("possible: PC2Done, PCSubmitted, Aborted"), "{refusal}");
    }
    assert_eq!(worker.record().state, State::PCSubmitted);
    let mut empty = bench.worker_in("other");
    assert!(empty.resume(Some(State::Allocated)).unwrap_err().contains("there is no sector"));
    empty.resume(None).unwrap();
}

#[test]
fn a_sector_that_is_given_up_is_reported_and_dropped() {
    let bench = Bench::new();
    let mut worker = standing_in(&bench, State::PC1Done);
    worker.resume(Some(State::Aborted)).unwrap();
    let Some(Step::Finished(record)) = bench.run(&mut worker, 100) else { panic!("not dropped") };
    assert_eq!(record.abort_reason.as_deref(), Some("given up by an operator"));
    assert!(bench.methods().contains(&"Venus.ReportAborted"));
}

#[test]
#[should_panic(expected = "settings do not change in the middle of a sector")]
fn settings_do_not_change_in_the_middle_of_a_sector() {
    let bench = Bench::new();
    let mut worker = standing_in(&bench, State::PC1Done);
    worker.set_sealing(sealing());
}

#[test]
fn settings_change_between_two_sectors() {
    let bench = Bench::new();
    let mut worker = bench.worker(&sealing());
    assert!(worker.between_sectors());
    worker.set_sealing(Sealing { ignore_proof_check: true, ..sealing() });
    assert!(matches!(bench.run(&mut worker, 1000), Some(Step::Finished(_))));
    assert!(!bench.methods().contains(&"Venus.PollProofState"));
    while !worker.between_sectors() {
        worker.step();
    }
}

#[test]
fn an_order_that_a_full_disk_refused_does_not_happen_later() {
    let bench = Bench::new();
    let mut worker = standing_in(&bench, State::PC1Done);
    worker.store.break_journal(true);
    for to in [State::Allocated, State::Aborted] {
        assert!(worker.resume(Some(to)).is_err(), "{to}");
    }
    worker.store.break_journal(false);
    let Some(Step::Finished(record)) = bench.run(&mut worker, 1000) else { panic!("it goes on from where it was") };
    assert_eq!(record.state, State::Finished);
    assert_eq!(bench.stages.done.lock().unwrap().iter().filter(|stage| **stage == "pc1").count(), 1);
}
