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
        (DealsAcquired, &["add_pieces", "tree_d", "pc1", "pc2"][..]),
        (TreeDBuilt, &["pc1", "pc2"]),
        (TicketAssigned, &["pc1", "pc2"]),
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

/// What the sector has in its store beside the staged file, which is there from add_pieces on.
fn files_made(worker: &Worker) -> Vec<&'static str> {
    let made = |(name, path): &(&'static str, &str)| worker.location().join(path).exists().then_some(*name);
    [
        ("pieces", "staged/s-t01000-1"),
        ("tree", "prepared/s-t01000-1/sc-02-data-tree-d.dat"),
        ("layers", "cache/s-t01000-1/sc-02-data-layer-1.dat"),
        ("replica", "sealed/s-t01000-1"),
        ("c1", "cache/s-t01000-1/c1-output.json"),
    ]
    .iter()
    .filter_map(made)
    .collect()
}

#[test]
fn what_the_undone_stages_made_is_removed_before_they_begin_again_whatever_crashes_in_between() {
    use State::*;
    for (from, to, left) in [
        (PC2Done, Allocated, &[][..]),
        (PC2Done, DealsAcquired, &[]),
        (PC2Done, PieceAdded, &["pieces"]),
        (PC2Done, TreeDBuilt, &["pieces", "tree"]),
        (PC1Done, TicketAssigned, &["pieces", "tree"]),
        (PC2Done, PC1Done, &["pieces", "tree", "layers", "replica"]),
        (C2Done, SeedAssigned, &["pieces", "tree", "layers", "replica"]),
        (C2Done, C1Done, &["pieces", "tree", "layers", "replica", "c1"]),
    ] {
        let bench = Bench::new();
        let mut worker = standing_in(&bench, from);
        worker.resume(Some(to)).unwrap();
        // The daemon is killed between the journal and the removal.
        drop(worker);
        bench.stages.done.lock().unwrap().clear();
        let mut worker = bench.worker(&sealing());
        assert!(worker.record().undone, "{from} to {to}");
        while worker.record().undone {
            assert!(bench.stages.done.lock().unwrap().is_empty(), "{from} to {to}: begun before the removal");
            bench.run(&mut worker, 1);
        }
        assert_eq!(files_made(&worker), left, "{from} to {to}");
        drop(worker);
        let Some(Step::Finished(record)) = bench.run(&mut bench.worker(&sealing()), 1000) else { panic!("{to}") };
        assert_eq!(record.state, Finished);
    }
}

#[test]
fn a_sector_that_an_older_version_sent_back_and_took_on_loses_no_files() {
    let bench = Bench::new();
    let mut worker = standing_in(&bench, State::PC1Done);
    worker.resume(Some(State::TreeDBuilt)).unwrap();
    let ticket = Ticket { ticket: Randomness([8; 32]), epoch: 2 };
    worker.happen(Event::TicketAssigned(ticket)).unwrap();
    assert!(!worker.record().undone);
    assert_eq!(files_made(&worker), ["pieces", "tree", "layers", "replica"]);
}

#[test]
fn a_submission_that_nobody_answered_keeps_its_replica_and_its_proof_is_replaced() {
    let away = |method| ManagerError::Unreachable { method, reason: "cut off".into() };
    let bench = Bench::new();
    bench.script("Venus.SubmitPreCommit", vec![Err(away("Venus.SubmitPreCommit"))]);
    let mut worker = standing_in(&bench, State::PC2Done);
    while !bench.methods().contains(&"Venus.SubmitPreCommit") || worker.busy_with().is_some() {
        worker.step();
    }
    let refusal = worker.resume(Some(State::TreeDBuilt)).unwrap_err();
    assert!(refusal.ends_with("possible: PC2Done, Aborted"), "{refusal}");
    bench.script("Venus.SubmitProof", vec![Err(away("Venus.SubmitProof"))]);
    while !bench.methods().contains(&"Venus.SubmitProof") || worker.busy_with().is_some() {
        bench.run(&mut worker, 1);
    }
    worker.resume(Some(State::SeedAssigned)).unwrap();
    assert!(matches!(bench.run(&mut worker, 1000), Some(Step::Finished(_))));
    let calls = bench.manager.calls.lock().unwrap();
    let reset = |call: &Call| if let Call::SubmitProof { reset, .. } = call { Some(*reset) } else { None };
    assert_eq!(calls.iter().filter_map(reset).collect::<Vec<_>>(), [false, true]);
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

#[test]
fn a_pause_lets_the_check_of_pc2_end_before_it_says_that_nothing_is_left() {
    let bench = Bench::new();
    let mut worker = bench.holding_an_unchecked_pc2("store");
    assert_eq!(worker.held_result(), Some("pc2"));
    while worker.settle().is_some() {}
    assert_eq!((worker.record().state, worker.held_result()), (State::PC2Done, None));
    assert_eq!(bench.stages.done.lock().unwrap()[3..], ["pc2", "c1"], "nothing after it was begun");
}

#[test]
fn a_paused_worker_keeps_its_place_in_the_queue_for_the_check() {
    let bench = Bench::new();
    bench.stages.full.lock().unwrap().insert("c1");
    let mut worker = bench.holding_an_unchecked_pc2("store");
    worker.settle();
    let place = worker.slot;
    assert!(
        place.is_some() && worker.settle().is_some() && worker.slot == place,
        "asked for again it would be the last"
    );
    bench.stages.full.lock().unwrap().clear();
    while worker.settle().is_some() {}
    assert_eq!(worker.record().state, State::PC2Done);
}

#[test]
fn a_result_is_tried_to_be_journaled_at_once_when_time_is_short() {
    let bench = Bench::new();
    let mut worker = bench.worker(&sealing());
    while worker.stage_in_flight() != Some("pc1") {
        bench.run(&mut worker, 1);
    }
    worker.store.break_journal(true);
    assert!(worker.hurry().is_none(), "there is no result yet");
    worker.step();
    assert_eq!(worker.held_result(), Some("PC1Done"));
    assert!(matches!(worker.hurry(), Some(Step::WaitUntil(_))) && worker.held_result().is_some());
    worker.store.break_journal(false);
    assert_eq!((worker.hurry(), worker.held_result()), (Some(Step::Progressed), None));
    assert_eq!(worker.record().state, State::PC1Done, "though its next try was a recover_interval later");
}

#[test]
fn a_sector_that_ends_while_its_thread_has_a_slot_gives_it_back() {
    let bench = Bench::new();
    let unknown = ManagerError::SectorNotFound { method: "Venus.AssignTicket", message: "gone".into() };
    bench.script("Venus.AssignTicket", vec![Err(unknown)]);
    let mut worker = bench.worker(&sealing());
    while worker.record().state != State::Aborted {
        bench.run(&mut worker, 1);
    }
    assert_eq!(*bench.stages.given_up.lock().unwrap(), ["pc1"], "the next sector may be hours away");
}

#[test]
fn a_worker_that_is_dropped_gives_its_slot_back() {
    let bench = Bench::new();
    bench.stages.full.lock().unwrap().insert("pc1");
    let mut worker = bench.worker(&sealing());
    while worker.stage() != Some("pc1") {
        bench.run(&mut worker, 1);
    }
    drop(worker);
    assert_eq!(*bench.stages.given_up.lock().unwrap(), ["pc1"]);
}
