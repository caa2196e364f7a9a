//! A worker against a manager and an executor that answer at once, with a crash at every step in turn. Lives from a seed, with
//! everything that can go wrong at once, are in `tests/sim`.

mod counted;
mod deals;
mod keys;
mod steer;

use super::*;
use crate::runtime::{
    processor::{StageError, Task},
    stage::{AddPiecesTask, C2Output, Opaque, Pc2Output, PieceFile, PieceInfo, layout::zero_commitment},
    store::tests::sealing,
};
use crate::units::{PieceCid, SealProof};
use std::{
    collections::{HashMap, HashSet},
    fs,
    path::Path,
    sync::Mutex,
    time::Duration,
};

/// Time that moves only when a worker waits.
struct TestClock(Mutex<SystemTime>);

impl Clock for TestClock {
    fn now(&self) -> SystemTime {
        *self.0.lock().unwrap()
    }
}

/// Answers every call as a willing manager would, except where `script` says otherwise (once each).
#[derive(Default)]
struct Manager {
    answers: Mutex<HashMap<u64, Result<Answer, ManagerError>>>,
    script: Mutex<HashMap<&'static str, Vec<Result<Answer, ManagerError>>>>,
    calls: Mutex<Vec<Call>>,
    panics: Mutex<Option<&'static str>>,
}

fn willing(call: &Call) -> Answer {
    let accepted = SubmitResp { res: SubmitResult::Accepted, desc: None };
    let landed = PollStateResp { state: OnChainState::Landed, desc: None };
    let id = SectorId { miner: 1000, number: 1 };
    match call {
        Call::AllocateSector(_) => {
            Answer::AllocateSector(Some(AllocatedSector { id, proof_type: SealProof::from_number(5).unwrap() }))
        }
        Call::AcquireDeals(..) => Answer::AcquireDeals(Some(vec![deals::deal(1, 512)])),
        Call::AssignTicket(_) => Answer::AssignTicket(Ticket { ticket: Randomness([7; 32]), epoch: 1 }),
        Call::SubmitPreCommit { .. } => Answer::SubmitPreCommit(accepted),
        Call::PollPreCommitState(_) => Answer::PollPreCommitState(landed),
        Call::StoreReserveSpace { candidates, .. } => Answer::StoreReserveSpace(Some(StoreBasicInfo {
            name: candidates[0].clone(),
            path: "/elsewhere".into(),
            meta: None,
        })),
        Call::SubmitPersistedEx { .. } => Answer::SubmitPersistedEx(true),
        Call::WaitSeed(..) => Answer::WaitSeed(WaitSeedResp {
            should_wait: false,
            delay: 0,
            seed: Some(Seed { seed: Randomness([9; 32]), epoch: 160 }),
        }),
        Call::SubmitProof { .. } => Answer::SubmitProof(accepted),
        Call::PollProofState(_) => Answer::PollProofState(landed),
        Call::ReportState(id, _) => Answer::ReportState(SectorState { id: *id, finalized: false, abort_reason: None }),
        _ => Answer::Done,
    }
}

impl SectorManager for Manager {
    fn submit(&self, call: Call) -> CallTicket {
        assert_ne!(Some(call.method()), *self.panics.lock().unwrap(), "asked to panic");
        let mut calls = self.calls.lock().unwrap();
        let scripted = self.script.lock().unwrap().get_mut(call.method()).and_then(Vec::pop);
        let ticket = calls.len() as u64;
        self.answers.lock().unwrap().insert(ticket, scripted.unwrap_or_else(|| Ok(willing(&call))));
        calls.push(call);
        CallTicket(ticket)
    }

    fn poll(&self, ticket: CallTicket) -> Option<Result<Answer, ManagerError>> {
        Some(self.answers.lock().unwrap().remove(&ticket.0).expect("polled once"))
    }
}

/// Answers every task, and does to the files what the real stage would, as far as the store looks at them.
#[derive(Default)]
struct Stages {
    queued: Mutex<HashMap<Slot, &'static str>>,
    full: Mutex<HashSet<&'static str>>,
    ended: Mutex<HashMap<Slot, Result<Output, StageError>>>,
    refusals: Mutex<HashMap<&'static str, u32>>,
    done: Mutex<Vec<&'static str>>,
    given_up: Mutex<Vec<&'static str>>,
}

fn perform(task: &Task) -> Output {
    let commitment = [3; 32];
    match task {
        Task::AddPieces(task) => {
            fs::write(&task.staged_filepath, "unsealed").unwrap();
            Output::AddPieces(if task.pieces.is_empty() {
                vec![PieceInfo { commitment, size: 2032 }]
            } else {
                added(task)
            })
        }
        Task::TreeD(task) => {
            fs::write(task.cache_dir.join("sc-02-data-tree-d.dat"), "tree").unwrap();
            Output::TreeD
        }
        Task::Pc1(task) => {
            fs::write(task.cache_path.join("sc-02-data-layer-1.dat"), "labels").unwrap();
            fs::copy(&task.in_path, &task.out_path).unwrap();
            Output::Pc1(Opaque::new(&"labels").unwrap())
        }
        Task::RestoreReplica(_) => Output::RestoreReplica,
        Task::Pc2(task) => {
            assert!(task.cache_dir.join(".pc2_running").exists(), "pc2 runs under its marker");
            Output::Pc2(Pc2Output {
                registered_proof: SealProof::from_number(5).unwrap(),
                comm_r: [1; 32],
                comm_d: [2; 32],
            })
        }
        Task::C1(_) => Output::C1(Opaque::new(&"vanilla").unwrap()),
        Task::C2(_) => Output::C2(C2Output { proof: vec![5; 192] }),
        Task::Transfer(_) => Output::Transfer,
    }
}

/// The pieces of a task, if every file holds the piece of its name.
fn added(task: &AddPiecesTask) -> Vec<PieceInfo> {
    let info = |piece: &crate::runtime::stage::PieceToAdd| {
        let size = piece.piece_size;
        let commitment = match &piece.piece_file {
            PieceFile::Local(path) => path.to_str().unwrap().parse::<PieceCid>().unwrap().0,
            PieceFile::Pledge => zero_commitment(size / 127 * 128),
            PieceFile::Url(url) => panic!("{url}"),
        };
        PieceInfo { commitment, size }
    };
    task.pieces.iter().map(info).collect()
}

/// Pieces lie in files of their names; not at all, or with another's content, as the test says.
#[derive(Default)]
struct Found {
    missing: Mutex<bool>,
    other: Mutex<Option<PieceCid>>,
}

impl PieceSource for Found {
    fn find(&self, cid: PieceCid, _payload: u64) -> Result<PieceFile, String> {
        if *self.missing.lock().unwrap() {
            return Err("it is nowhere".into());
        }
        Ok(PieceFile::Local(self.other.lock().unwrap().unwrap_or(cid).to_string().into()))
    }
}

impl Executor for Stages {
    fn queue(&self, stage: Stage) -> Slot {
        let mut queued = self.queued.lock().unwrap();
        let slot = Slot(queued.len() as u64);
        queued.insert(slot, stage.name());
        slot
    }

    fn granted(&self, slot: Slot) -> bool {
        !self.full.lock().unwrap().contains(self.queued.lock().unwrap()[&slot])
    }

    fn start(&self, slot: Slot, task: Task) {
        let (stage, name) = (task.stage(), task.stage().name());
        let refused = self.refusals.lock().unwrap().get_mut(name).filter(|left| **left > 0).map(|left| *left -= 1);
        let result = match refused {
            Some(()) => Err(StageError { stage, reason: "no".into(), permanent: false }),
            None => {
                self.done.lock().unwrap().push(name);
                Ok(perform(&task))
            }
        };
        self.ended.lock().unwrap().insert(slot, result);
    }

    fn poll(&self, slot: Slot) -> Option<End> {
        self.ended.lock().unwrap().remove(&slot).map(|result| (result, Duration::from_secs(1)))
    }

    fn give_up(&self, slot: Slot) {
        self.given_up.lock().unwrap().push(self.queued.lock().unwrap()[&slot]);
    }
}

impl Worker {
    /// The disk has room again.
    pub(crate) fn mend_journal(&mut self) {
        self.store.break_journal(false);
    }
}

pub(crate) struct Bench {
    dir: tempfile::TempDir,
    manager: Arc<Manager>,
    stages: Arc<Stages>,
    pieces: Arc<Found>,
    clock: Arc<TestClock>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            manager: Arc::default(),
            stages: Arc::default(),
            pieces: Arc::default(),
            clock: Arc::new(TestClock(Mutex::new(SystemTime::UNIX_EPOCH))),
        }
    }

    fn worker(&self, sealing: &Sealing) -> Worker {
        self.worker_on("store", sealing)
    }

    pub(crate) fn worker_in(&self, store: &str) -> Worker {
        self.worker_on(store, &sealing())
    }

    /// Every ask of this method panics.
    pub(crate) fn panic_at(&self, method: &'static str) {
        *self.manager.panics.lock().unwrap() = Some(method);
    }

    /// The manager finds no sector's files sound: its thread pauses.
    pub(crate) fn refuse_persisted_files(&self) {
        self.script("Venus.SubmitPersistedEx", vec![Ok(Answer::SubmitPersistedEx(false)); 1000]);
    }

    /// The manager has no sector for anybody.
    pub(crate) fn nothing_to_seal(&self) {
        self.script("Venus.AllocateSector", vec![Ok(Answer::AllocateSector(None)); 1000]);
    }

    /// How often the manager was asked this.
    pub(crate) fn asks(&self, method: &str) -> usize {
        self.manager.calls.lock().unwrap().iter().filter(|call| call.method() == method).count()
    }

    /// Which slots were given back unused.
    pub(crate) fn given_up(&self) -> Vec<&'static str> {
        self.stages.given_up.lock().unwrap().clone()
    }

    /// A worker whose pc1 has ended and could not be journaled; the next try is a `recover_interval` away.
    pub(crate) fn holding_a_result(&self, store: &str) -> Worker {
        let mut worker = self.worker_in(store);
        while worker.stage_in_flight() != Some("pc1") {
            self.run(&mut worker, 1);
        }
        worker.store.break_journal(true);
        worker.step();
        assert_eq!(worker.held_result(), Some("PC1Done"));
        worker
    }

    /// A worker whose pc2 has answered, and whose check (`verify_after_pc2`) has not begun.
    pub(crate) fn holding_an_unchecked_pc2(&self, store: &str) -> Worker {
        let mut worker = self.worker_on(store, &Sealing { verify_after_pc2: true, ..sealing() });
        while worker.unchecked.is_none() {
            self.run(&mut worker, 1);
        }
        worker
    }

    fn worker_on(&self, store: &str, sealing: &Sealing) -> Worker {
        let path = self.dir.path().join("persist");
        let parts = Parts {
            manager: self.manager.clone(),
            executor: self.stages.clone(),
            pieces: self.pieces.clone(),
            clock: self.clock.clone(),
            hooks: Arc::new(NoHooks),
            chain: Some("chain-1".into()),
            instance: "test".into(),
            stores: Arc::new(vec![PersistentStore { name: "persist".into(), path, readonly: false }]),
            static_tree_d: Arc::default(),
        };
        let (store, _) = Store::open(&self.dir.path().join(store), sealing).unwrap();
        Worker::new(store, sealing.clone(), parts)
    }

    /// Steps until a sector ends or the worker pauses; waiting moves the clock.
    fn run(&self, worker: &mut Worker, limit: usize) -> Option<Step> {
        for _ in 0..limit {
            match worker.step() {
                Step::WaitUntil(until) => *self.clock.0.lock().unwrap() = until,
                step @ (Step::Finished(_) | Step::Paused(_)) => return Some(step),
                Step::Progressed | Step::WaitFor(_) => {}
            }
        }
        None
    }

    fn methods(&self) -> Vec<&'static str> {
        self.manager.calls.lock().unwrap().iter().map(Call::method).filter(|m| *m != "Venus.ReportState").collect()
    }

    fn script(&self, method: &'static str, answers: Vec<Result<Answer, ManagerError>>) {
        self.manager.script.lock().unwrap().insert(method, answers);
    }
}

const STAGES: [&str; 7] = ["add_pieces", "tree_d", "pc1", "pc2", "transfer", "c1", "c2"];

#[test]
fn a_sector_goes_through_every_stage_and_call_once() {
    let bench = Bench::new();
    let Some(Step::Finished(record)) = bench.run(&mut bench.worker(&sealing()), 1000) else { panic!("not finished") };
    assert_eq!(record.state, State::Finished);
    assert_eq!(*bench.stages.done.lock().unwrap(), STAGES);
    assert_eq!(
        bench.methods(),
        [
            "Venus.AllocateSector",
            "Venus.AssignTicket",
            "Venus.SubmitPreCommit",
            "Venus.PollPreCommitState",
            "Venus.StoreReserveSpace",
            "Venus.SubmitPersistedEx",
            "Venus.WaitSeed",
            "Venus.SubmitProof",
            "Venus.PollProofState",
            "Venus.ReportFinalized",
        ]
    );
    assert!(fs::read_dir(bench.dir.path().join("store/cache")).unwrap().next().is_none(), "local files are dropped");
}

#[test]
fn a_crash_after_any_step_repeats_no_stage_that_was_journaled_as_done() {
    let mut crashed_at = 0;
    for steps in 0.. {
        let bench = Bench::new();
        let mut first = bench.worker(&sealing());
        if bench.run(&mut first, steps).is_some() {
            break;
        }
        let journaled: Vec<_> = first.record().seconds.keys().cloned().collect();
        drop(first);
        bench.stages.done.lock().unwrap().clear();
        let ended = bench.run(&mut bench.worker(&sealing()), 1000);
        let Some(Step::Finished(record)) = ended else { panic!("crash after {steps} steps: {ended:?}") };
        assert_eq!(record.state, State::Finished, "crash after {steps} steps");
        let repeated = bench.stages.done.lock().unwrap();
        assert!(
            journaled.iter().all(|stage| !repeated.contains(&stage.as_str())),
            "{steps}: {journaled:?} {repeated:?}"
        );
        crashed_at = steps;
    }
    assert!(crashed_at > 40, "a sector takes many steps: {crashed_at}");
}

#[test]
fn a_crash_inside_pc2_restores_the_replica_before_pc2_runs_again() {
    let bench = Bench::new();
    let mut worker = bench.worker(&sealing());
    while worker.stage_in_flight() != Some("pc2") {
        bench.run(&mut worker, 1);
    }
    drop(worker);
    bench.stages.done.lock().unwrap().clear();
    bench.run(&mut bench.worker(&sealing()), 1000);
    assert_eq!(bench.stages.done.lock().unwrap()[..2], ["restore_replica", "pc2"]);
}

#[test]
fn a_marker_that_another_program_left_counts_as_a_crash_inside_pc2() {
    let bench = Bench::new();
    let mut worker = bench.worker(&sealing());
    while worker.record().state != State::PC1Done {
        bench.run(&mut worker, 1);
    }
    drop(worker);
    fs::write(bench.dir.path().join("store/cache/s-t01000-1/.pc2_running"), "").unwrap();
    bench.stages.done.lock().unwrap().clear();
    bench.run(&mut bench.worker(&sealing()), 1000);
    assert_eq!(bench.stages.done.lock().unwrap()[..2], ["restore_replica", "pc2"]);
}

#[test]
fn a_temporary_failure_is_tried_again_and_then_pauses() {
    let bench = Bench::new();
    bench.stages.refusals.lock().unwrap().insert("pc1", 2);
    assert!(matches!(bench.run(&mut bench.worker(&sealing()), 1000), Some(Step::Finished(_))), "two of two retries");

    let bench = Bench::new();
    bench.stages.refusals.lock().unwrap().insert("pc1", 3);
    let mut worker = bench.worker(&sealing());
    let Some(Step::Paused(failure)) = bench.run(&mut worker, 1000) else { panic!("not paused") };
    assert_eq!(failure.level, Level::Permanent);
    assert_eq!(failure.reason, "pc1: no (tried 3 times)");
    drop(worker);
    assert!(matches!(bench.run(&mut bench.worker(&sealing()), 1000), Some(Step::Finished(_))), "a restart tries again");
}

#[test]
fn an_unknown_sector_is_aborted_dropped_and_the_next_one_begun() {
    let bench = Bench::new();
    let unknown = ManagerError::SectorNotFound { method: "Venus.AssignTicket", message: "gone".into() };
    bench.script("Venus.AssignTicket", vec![Err(unknown)]);
    let mut worker = bench.worker(&sealing());
    let Some(Step::Finished(record)) = bench.run(&mut worker, 1000) else { panic!("not dropped") };
    assert_eq!(record.state, State::Aborted);
    assert!(bench.methods().contains(&"Venus.ReportAborted"));
    assert_eq!(worker.record(), &Record::default());
}

#[test]
fn a_finished_sector_that_the_manager_has_put_away_is_dropped_as_finished() {
    let bench = Bench::new();
    let unknown = ManagerError::SectorNotFound { method: "Venus.ReportFinalized", message: "put away".into() };
    bench.script("Venus.ReportFinalized", vec![Err(unknown)]);
    let Some(Step::Finished(record)) = bench.run(&mut bench.worker(&sealing()), 1000) else { panic!("not dropped") };
    assert_eq!(record.state, State::Finished);
}

#[test]
fn a_failed_message_is_sent_again_with_reset() {
    let bench = Bench::new();
    let failed = PollStateResp { state: OnChainState::Failed, desc: Some("out of gas".into()) };
    bench.script("Venus.PollPreCommitState", vec![Ok(Answer::PollPreCommitState(failed))]);
    assert!(matches!(bench.run(&mut bench.worker(&sealing()), 1000), Some(Step::Finished(_))));
    let calls = bench.manager.calls.lock().unwrap();
    let resets: Vec<_> = calls
        .iter()
        .filter_map(|call| match call {
            Call::SubmitPreCommit { reset, .. } => Some(*reset),
            _ => None,
        })
        .collect();
    assert_eq!(resets, [false, true]);
}

#[test]
fn a_manager_that_finalizes_a_sector_ends_it() {
    let bench = Bench::new();
    let id = SectorId { miner: 1000, number: 1 };
    let over = SectorState { id, finalized: true, abort_reason: Some("operator".into()) };
    bench.script("Venus.ReportState", vec![Ok(Answer::ReportState(over))]);
    let Some(Step::Finished(record)) = bench.run(&mut bench.worker(&sealing()), 1000) else { panic!("not ended") };
    assert_eq!((record.state, record.abort_reason.as_deref()), (State::Aborted, Some("operator")));
}

#[test]
fn a_lost_c1_answer_is_made_again() {
    let bench = Bench::new();
    let mut worker = bench.worker(&sealing());
    while worker.record().state != State::C1Done {
        bench.run(&mut worker, 1);
    }
    fs::remove_file(Path::new(worker.location()).join("cache/s-t01000-1/c1-output.json")).unwrap();
    let Some(Step::Finished(record)) = bench.run(&mut worker, 1000) else { panic!("not finished") };
    assert_eq!(record.starts["c1"], 2);
}

#[test]
fn a_store_that_is_not_attached_pauses_with_its_name() {
    let bench = Bench::new();
    let other = StoreBasicInfo { name: "other".into(), path: "/o".into(), meta: None };
    bench.script("Venus.StoreReserveSpace", vec![Ok(Answer::StoreReserveSpace(Some(other)))]);
    let Some(Step::Paused(failure)) = bench.run(&mut bench.worker(&sealing()), 1000) else { panic!("not paused") };
    assert!(failure.reason.contains("\"other\""), "{failure}");
}

#[test]
fn a_result_that_cannot_be_journaled_is_kept_and_journaled_later() {
    let bench = Bench::new();
    let mut worker = bench.worker(&sealing());
    while worker.stage_in_flight() != Some("pc1") {
        bench.run(&mut worker, 1);
    }
    worker.store.break_journal(true);
    for _ in 0..50 {
        match worker.step() {
            Step::WaitUntil(until) => *bench.clock.0.lock().unwrap() = until,
            step => assert!(matches!(step, Step::Progressed | Step::WaitFor(_)), "{step:?}"),
        }
    }
    assert_eq!(worker.record().state, State::TicketAssigned);
    worker.store.break_journal(false);
    let Some(Step::Finished(record)) = bench.run(&mut worker, 1000) else { panic!("not finished") };
    assert_eq!(record.starts["pc1"], 1, "the hours of pc1 were not lost to a full disk");
}

#[test]
fn a_stage_whose_files_cannot_be_prepared_is_tried_as_often_as_any_failure_and_then_pauses() {
    let bench = Bench::new();
    let mut worker = bench.worker(&sealing());
    while worker.record().state != State::SeedAssigned {
        bench.run(&mut worker, 1);
    }
    fs::create_dir(worker.location().join("cache/s-t01000-1/c1-output.json")).unwrap();
    let Some(Step::Paused(failure)) = bench.run(&mut worker, 1000) else { panic!("not paused") };
    assert!(failure.reason.contains("c1-output.json") && failure.reason.contains("tried 3 times"), "{failure}");
    assert_eq!(worker.record().starts["c1"], 3);
}

#[test]
fn the_ticket_is_asked_for_when_there_is_room_for_pc1_and_renewed_when_pc1_starts_over() {
    let bench = Bench::new();
    bench.stages.full.lock().unwrap().insert("pc1");
    let mut worker = bench.worker(&sealing());
    assert_eq!(bench.run(&mut worker, 300), None);
    assert_eq!(worker.record().state, State::TreeDBuilt, "no ticket while pc1 is full");
    bench.stages.full.lock().unwrap().clear();
    while worker.stage_in_flight() != Some("pc1") {
        bench.run(&mut worker, 1);
    }
    drop(worker);
    let renewed = Ticket { ticket: Randomness([8; 32]), epoch: 3000 };
    bench.script("Venus.AssignTicket", vec![Ok(Answer::AssignTicket(renewed))]);
    let Some(Step::Finished(record)) = bench.run(&mut bench.worker(&sealing()), 1000) else { panic!("not finished") };
    assert_eq!(record.ticket, Some(renewed));
}

#[test]
fn a_sector_of_another_chain_pauses_instead_of_being_given_up() {
    let bench = Bench::new();
    let mut worker = bench.worker(&sealing());
    while worker.record().state != State::PC1Done {
        bench.run(&mut worker, 1);
    }
    drop(worker);
    let mut worker = bench.worker(&sealing());
    worker.parts.chain = Some("chain-2".into());
    let Some(Step::Paused(failure)) = bench.run(&mut worker, 10) else { panic!("not paused") };
    assert!(failure.reason.contains("simulated chain chain-1") && failure.reason.contains("chain-2"), "{failure}");
    drop(worker);
    assert!(
        matches!(bench.run(&mut bench.worker(&sealing()), 1000), Some(Step::Finished(_))),
        "with its own it goes on"
    );
}

#[test]
fn a_sector_that_was_not_asked_for_is_given_back() {
    let bench = Bench::new();
    let id = SectorId { miner: 1000, number: 1 };
    let synthetic = AllocatedSector { id, proof_type: SealProof::from_number(10).unwrap() };
    bench.script("Venus.AllocateSector", vec![Ok(Answer::AllocateSector(Some(synthetic)))]);
    let Some(Step::Finished(record)) = bench.run(&mut bench.worker(&sealing()), 1000) else { panic!("not dropped") };
    assert!(record.abort_reason.is_some_and(|reason| reason.contains("SyntheticPoRep, which was not asked for")));
    assert!(bench.stages.done.lock().unwrap().is_empty());
}

#[test]
fn a_manager_that_is_away_costs_no_retries() {
    let bench = Bench::new();
    let away = || ManagerError::Unreachable { method: "Venus.PollProofState", reason: "refused".into() };
    bench.script("Venus.PollProofState", (0..20).map(|_| Err(away())).collect());
    assert!(matches!(bench.run(&mut bench.worker(&sealing()), 2000), Some(Step::Finished(_))));
}

#[test]
fn a_store_that_failed_a_transfer_is_not_insisted_on() {
    let bench = Bench::new();
    bench.stages.refusals.lock().unwrap().insert("transfer", 1);
    assert!(matches!(bench.run(&mut bench.worker(&sealing()), 1000), Some(Step::Finished(_))));
    assert_eq!(bench.methods().iter().filter(|method| **method == "Venus.StoreReserveSpace").count(), 2);
}
