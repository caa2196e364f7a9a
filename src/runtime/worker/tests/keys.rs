//! Each key of `[sealing]` does what its documents say.

use super::*;
use crate::units::{HumanDuration, SectorSize};

fn seconds(seconds: u64) -> HumanDuration {
    HumanDuration::secs(seconds)
}

/// The lengths, in seconds, of the next `count` waits; the clock is moved over each.
fn waits(bench: &Bench, worker: &mut Worker, count: usize) -> Vec<u64> {
    let mut waits = Vec::new();
    for _ in 0..1000 {
        if waits.len() == count {
            return waits;
        }
        if let Step::WaitUntil(until) = worker.step() {
            let mut now = bench.clock.0.lock().unwrap();
            waits.push(until.duration_since(*now).unwrap().as_secs());
            *now = until;
        }
    }
    panic!("only {waits:?} in 1000 steps");
}

#[test]
fn max_retries_counts_tries_after_the_first_and_recover_interval_lies_between() {
    let bench = Bench::new();
    bench.stages.refusals.lock().unwrap().insert("pc1", 9);
    let settings = Sealing { max_retries: 2, recover_interval: seconds(7), ..sealing() };
    let mut worker = bench.worker(&settings);
    assert_eq!(waits(&bench, &mut worker, 2), [7, 7]);
    let Some(Step::Paused(failure)) = bench.run(&mut worker, 100) else { panic!("not paused") };
    assert!(failure.reason.ends_with("(tried 3 times)"), "{failure}");
    assert_eq!(worker.last_error(), Some("temporary failure: pc1: no"));
}

#[test]
fn without_retries_the_first_failure_pauses() {
    let bench = Bench::new();
    bench.stages.refusals.lock().unwrap().insert("pc1", 1);
    let mut worker = bench.worker(&Sealing { max_retries: 0, ..sealing() });
    assert!(matches!(bench.run(&mut worker, 1000), Some(Step::Paused(_))));
    assert_eq!(worker.record().starts["pc1"], 1);
}

#[test]
fn a_thread_asks_request_task_max_retries_times_and_then_rests_for_seal_interval() {
    let bench = Bench::new();
    bench.script("Venus.AllocateSector", vec![Ok(Answer::AllocateSector(None)); 7]);
    let settings =
        Sealing { request_task_max_retries: 3, recover_interval: seconds(5), seal_interval: seconds(100), ..sealing() };
    let mut worker = bench.worker(&settings);
    assert_eq!(waits(&bench, &mut worker, 7), [5, 5, 100, 5, 5, 100, 5]);
    assert!(matches!(bench.run(&mut worker, 1000), Some(Step::Finished(_))), "and takes a sector when there is one");
}

#[test]
fn what_is_slow_is_polled_every_rpc_polling_interval() {
    let bench = Bench::new();
    let state = |state| Ok(Answer::PollPreCommitState(PollStateResp { state, desc: None }));
    let answers = vec![state(OnChainState::Landed), state(OnChainState::Packed), state(OnChainState::Pending)];
    bench.script("Venus.PollPreCommitState", answers);
    let mut worker = bench.worker(&Sealing { rpc_polling_interval: seconds(180), ..sealing() });
    assert_eq!(waits(&bench, &mut worker, 2), [180, 180]);
    assert!(matches!(bench.run(&mut worker, 1000), Some(Step::Finished(_))));
}

#[test]
fn the_manager_is_asked_for_allowed_miners_and_sizes_alone() {
    let bench = Bench::new();
    let settings = Sealing { allowed_miners: vec![1000, 7], allowed_sizes: vec![SectorSize::KiB2], ..sealing() };
    assert!(matches!(bench.run(&mut bench.worker(&settings), 1000), Some(Step::Finished(_))));
    let calls = bench.manager.calls.lock().unwrap();
    let Some(Call::AllocateSector(spec)) = calls.first() else { panic!("{calls:?}") };
    assert_eq!(spec.allowed_miners.as_deref(), Some(&[1000, 7][..]));
    let proofs = spec.allowed_proof_types.as_deref().unwrap();
    assert!(!proofs.is_empty() && proofs.iter().all(|proof| proof.sector_size() == SectorSize::KiB2), "{proofs:?}");
}

#[test]
fn a_sector_of_another_miner_or_size_is_given_back() {
    let refusals = [
        (Sealing { allowed_miners: vec![7], ..sealing() }, "allocated for miner 1000, which allowed_miners excludes"),
        (Sealing { allowed_sizes: vec![SectorSize::GiB32], ..sealing() }, "which was not asked for"),
    ];
    for (settings, reason) in refusals {
        let bench = Bench::new();
        let Some(Step::Finished(record)) = bench.run(&mut bench.worker(&settings), 1000) else { panic!("{reason}") };
        assert!(record.state == State::Aborted && record.abort_reason.unwrap().contains(reason), "{reason}");
        assert!(bench.stages.done.lock().unwrap().is_empty(), "nothing was sealed");
    }
}

#[test]
fn with_ignore_proof_check_nobody_waits_for_the_proof_to_land() {
    let bench = Bench::new();
    let settings = Sealing { ignore_proof_check: true, ..sealing() };
    assert!(matches!(bench.run(&mut bench.worker(&settings), 1000), Some(Step::Finished(_))));
    let methods = bench.methods();
    assert!(methods.contains(&"Venus.SubmitProof") && !methods.contains(&"Venus.PollProofState"), "{methods:?}");
}
