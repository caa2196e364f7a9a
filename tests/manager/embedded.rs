//! The embedded manager: its answers, what survives a restart, what it refuses.

use crate::{ask, rig::*};
use damocles_worker::{
    runtime::{
        manager::{
            Answer, Call, Manager, ManagerError, SectorManager,
            bridge::Bridge,
            embedded::{SectorStatus, check},
            wire::*,
        },
        stage::prover_id,
    },
    units::{SealProof, SectorSize},
};
use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

fn wait_for_seed(seconds: u64) -> WaitSeedResp {
    WaitSeedResp { should_wait: true, delay: seconds, seed: None }
}

#[tokio::test]
async fn a_sector_goes_the_whole_way() {
    let rig = Rig::new();
    let manager = rig.open().await;

    let id = allocate(&manager).await;
    assert_eq!(id, SectorId { miner: MINER, number: 1 });
    let deals = Call::AcquireDeals(id, AcquireDealsSpec::default());
    assert_eq!(ask!(manager, deals, Answer::AcquireDeals), None);
    let ticket = ask!(manager, Call::AssignTicket(id), Answer::AssignTicket);
    assert_eq!(ticket.epoch, manager.head().await.unwrap() - 900);

    assert_eq!(ask!(manager, pre_commit(id, 1, ticket), Answer::SubmitPreCommit).res, SubmitResult::Accepted);
    for state in [OnChainState::Pending, OnChainState::Packed, OnChainState::Landed] {
        assert_eq!(ask!(manager, Call::PollPreCommitState(id), Answer::PollPreCommitState).state, state);
        rig.pass_epochs(1);
    }
    let store = ask!(manager, reserve(id, 4096, &["one", "two"]), Answer::StoreReserveSpace).unwrap();
    rig.persist(&store.name, id);
    assert!(ask!(manager, persisted(id, &store.name), Answer::SubmitPersistedEx));

    let seed = || Call::WaitSeed(id, PROOF_TYPE);
    assert_eq!(ask!(manager, seed(), Answer::WaitSeed), wait_for_seed(149 * 30));
    rig.pass_epochs(149);
    let WaitSeedResp { should_wait: false, delay: 0, seed: Some(seed) } = ask!(manager, seed(), Answer::WaitSeed)
    else {
        panic!("no seed");
    };
    assert_eq!(seed.epoch, manager.head().await.unwrap());

    assert_eq!(ask!(manager, proof(id, GOOD_PROOF), Answer::SubmitProof).res, SubmitResult::Accepted);
    for state in [OnChainState::Pending, OnChainState::Packed, OnChainState::Landed] {
        assert_eq!(ask!(manager, Call::PollProofState(id), Answer::PollProofState).state, state);
        rig.pass_epochs(1);
    }
    assert_eq!(manager.call(Call::ReportFinalized(id)).await, Ok(Answer::Done));
    let state = ask!(manager, Call::ReportState(id, report("Finished")), Answer::ReportState);
    assert_eq!(state, SectorState { id, finalized: true, abort_reason: None });

    let asked = rig.asked.lock().unwrap().clone();
    let [(claim, bytes)] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!((claim.comm_r, claim.comm_d, claim.sector_id), ([1; 32], [2; 32], id.number));
    assert_eq!((claim.ticket, claim.seed, claim.prover_id), (ticket.ticket.0, seed.seed.0, prover_id(MINER)));
    assert_eq!(bytes, GOOD_PROOF);

    let [sector] = &manager.sectors().await.unwrap()[..] else { panic!("one sector") };
    assert_eq!((sector.status, sector.verified), (SectorStatus::Finalized, true));
    assert_eq!((sector.ticket_epoch, sector.seed_epoch), (Some(ticket.epoch), Some(seed.epoch)));
    assert_eq!((sector.proof.as_deref(), sector.instance.as_deref()), (Some(GOOD_PROOF), Some(&*store.name)));
    assert_eq!(sector.report, Some(report("Finished")));
}

#[tokio::test]
async fn what_was_answered_once_is_answered_again_after_a_restart() {
    let rig = Rig::new();
    let manager = rig.open().await;
    let id = ready_for_proof(&rig, &manager).await;
    let ticket = ask!(manager, Call::AssignTicket(id), Answer::AssignTicket);
    let seed = ask!(manager, Call::WaitSeed(id, PROOF_TYPE), Answer::WaitSeed);
    let store = ask!(manager, reserve(id, 4096, &["one", "two"]), Answer::StoreReserveSpace);
    ask!(manager, proof(id, GOOD_PROOF), Answer::SubmitProof);
    let before = manager.sectors().await.unwrap();
    drop(manager);

    let manager = rig.open().await;
    assert_eq!(manager.sectors().await.unwrap(), before);
    assert_eq!(ask!(manager, Call::AssignTicket(id), Answer::AssignTicket), ticket);
    assert_eq!(ask!(manager, Call::WaitSeed(id, PROOF_TYPE), Answer::WaitSeed), seed);
    assert_eq!(ask!(manager, reserve(id, 4096, &["one", "two"]), Answer::StoreReserveSpace), store);
    for call in [pre_commit(id, 1, ticket), proof(id, GOOD_PROOF)] {
        let (Answer::SubmitPreCommit(again) | Answer::SubmitProof(again)) = manager.call(call).await.unwrap() else {
            panic!("a submission's answer");
        };
        assert_eq!(again.res, SubmitResult::DuplicateSubmit);
    }
    assert_eq!(allocate(&manager).await.number, id.number + 1);
}

#[tokio::test]
async fn a_ticket_stays_the_first_one_while_the_chain_goes_on() {
    let rig = Rig::new();
    let manager = rig.open().await;
    let (first, second) = (allocate(&manager).await, allocate(&manager).await);
    let ticket = ask!(manager, Call::AssignTicket(first), Answer::AssignTicket);
    rig.pass_epochs(10);
    assert_eq!(ask!(manager, Call::AssignTicket(first), Answer::AssignTicket), ticket);
    let later = ask!(manager, Call::AssignTicket(second), Answer::AssignTicket);
    assert_eq!(later.epoch, ticket.epoch + 10);
    assert_ne!(later.ticket, ticket.ticket);
}

#[tokio::test]
async fn the_head_never_goes_back() {
    let mut rig = Rig::new();
    let manager = rig.open().await;
    rig.pass_epochs(100);
    let head = manager.head().await.unwrap();
    rig.step_clock_back(EPOCH * 50);
    assert_eq!(manager.head().await.unwrap(), head);
    rig.pass_epochs(1);
    assert_eq!(manager.head().await.unwrap(), head + 1);
    drop(manager);

    rig.step_clock_back(EPOCH * 1000);
    rig.options.epoch = Duration::from_millis(100);
    let manager = rig.open().await;
    assert_eq!(manager.head().await.unwrap(), head + 1);
    rig.pass(Duration::from_millis(250));
    assert_eq!(manager.head().await.unwrap(), head + 3);
}

#[tokio::test]
async fn a_wait_for_the_seed_below_a_second_is_told_as_one() {
    let mut rig = Rig::new();
    rig.options.epoch = Duration::from_millis(5);
    let manager = rig.open().await;
    let id = allocate(&manager).await;
    let nothing_to_wait_for = WaitSeedResp { should_wait: false, delay: 0, seed: None };
    assert_eq!(ask!(manager, Call::WaitSeed(id, PROOF_TYPE), Answer::WaitSeed), nothing_to_wait_for);
    let ticket = ask!(manager, Call::AssignTicket(id), Answer::AssignTicket);
    ask!(manager, pre_commit(id, 1, ticket), Answer::SubmitPreCommit);
    assert_eq!(ask!(manager, Call::WaitSeed(id, PROOF_TYPE), Answer::WaitSeed), wait_for_seed(1));
}

#[tokio::test]
async fn only_sectors_that_a_worker_allows_are_handed_out() {
    let rig = Rig::new();
    let manager = rig.open().await;
    let spec = |miners: &[u64], proof_types: &[SealProof]| {
        Call::AllocateSector(AllocateSectorSpec {
            allowed_miners: Some(miners.to_vec()),
            allowed_proof_types: Some(proof_types.to_vec()),
        })
    };
    let other = SealProof::v1_1(SectorSize::GiB32);
    assert_eq!(ask!(manager, spec(&[MINER + 1], &[]), Answer::AllocateSector), None);
    assert_eq!(ask!(manager, spec(&[], &[other]), Answer::AllocateSector), None);
    assert_eq!(ask!(manager, spec(&[MINER + 1], &[PROOF_TYPE]), Answer::AllocateSector), None);
    assert!(manager.sectors().await.unwrap().is_empty());
    let sector = ask!(manager, spec(&[1, MINER], &[other, PROOF_TYPE]), Answer::AllocateSector);
    assert_eq!(sector.unwrap().proof_type, PROOF_TYPE);
    assert!(ask!(manager, spec(&[], &[]), Answer::AllocateSector).is_some());
}

#[tokio::test]
async fn every_call_about_a_sector_that_was_never_handed_out_says_so() {
    let rig = Rig::new();
    let manager = rig.open().await;
    let known = allocate(&manager).await;
    let ticket = Ticket { ticket: Randomness([0; 32]), epoch: 0 };
    for id in [
        SectorId { number: known.number + 1, ..known },
        SectorId { miner: MINER + 1, ..known },
        SectorId { miner: u64::MAX, number: u64::MAX },
    ] {
        for call in [
            Call::AcquireDeals(id, AcquireDealsSpec::default()),
            Call::AssignTicket(id),
            pre_commit(id, 1, ticket),
            Call::PollPreCommitState(id),
            reserve(id, 1, &[]),
            persisted(id, "one"),
            Call::WaitSeed(id, PROOF_TYPE),
            proof(id, GOOD_PROOF),
            Call::PollProofState(id),
            Call::ReportState(id, report("PC1Done")),
            Call::ReportFinalized(id),
            Call::ReportAborted { sector: id, reason: "no".into() },
        ] {
            let error = refusal(&manager, call.clone()).await;
            assert!(matches!(error, ManagerError::SectorNotFound { .. }), "{call:?}: {error}");
        }
    }
}

fn told(resp: SubmitResp) -> (SubmitResult, String) {
    (resp.res, resp.desc.unwrap_or_default())
}

#[tokio::test]
async fn a_pre_commit_needs_the_assigned_ticket_and_is_never_replaced() {
    let rig = Rig::new();
    let manager = rig.open().await;
    let id = allocate(&manager).await;
    let wrong = Ticket { ticket: Randomness([9; 32]), epoch: 3 };
    let (res, desc) = told(ask!(manager, pre_commit(id, 1, wrong), Answer::SubmitPreCommit));
    assert_eq!((res, &*desc), (SubmitResult::Rejected, "no ticket was assigned to the sector"));

    let ticket = ask!(manager, Call::AssignTicket(id), Answer::AssignTicket);
    let (res, desc) = told(ask!(manager, pre_commit(id, 1, wrong), Answer::SubmitPreCommit));
    assert_eq!(res, SubmitResult::Rejected);
    assert!(desc.starts_with("the ticket is not the one that was assigned"), "{desc}");
    let sector = AllocatedSector { id, proof_type: SealProof::v1_1(SectorSize::MiB8) };
    let info = PreCommitOnChainInfo { comm_r: [1; 32], comm_d: [2; 32], ticket };
    let call = Call::SubmitPreCommit { sector, info: info.clone(), reset: false };
    assert_eq!(ask!(manager, call, Answer::SubmitPreCommit).res, SubmitResult::Rejected);
    let state = ask!(manager, Call::PollPreCommitState(id), Answer::PollPreCommitState);
    assert_eq!(state.state, OnChainState::NotFound);

    assert_eq!(ask!(manager, pre_commit(id, 1, ticket), Answer::SubmitPreCommit).res, SubmitResult::Accepted);
    assert_eq!(ask!(manager, pre_commit(id, 1, ticket), Answer::SubmitPreCommit).res, SubmitResult::DuplicateSubmit);
    let mismatched = SubmitResult::MismatchedSubmission;
    assert_eq!(ask!(manager, pre_commit(id, 5, ticket), Answer::SubmitPreCommit).res, mismatched);
    // A reset replaces a message that failed. This chain fails none.
    let sector = AllocatedSector { id, proof_type: PROOF_TYPE };
    let info = PreCommitOnChainInfo { comm_r: [5; 32], ..info };
    let call = Call::SubmitPreCommit { sector, info, reset: true };
    assert_eq!(ask!(manager, call, Answer::SubmitPreCommit).res, mismatched);
    assert_eq!(manager.sectors().await.unwrap()[0].comm_r, Some([1; 32]));
}

#[tokio::test]
async fn a_proof_that_does_not_verify_is_never_kept() {
    let rig = Rig::new();
    let manager = rig.open().await;
    let id = ready_for_proof(&rig, &manager).await;
    for _ in 0..2 {
        let (res, desc) = told(ask!(manager, proof(id, b"forged"), Answer::SubmitProof));
        assert_eq!((res, &*desc), (SubmitResult::Rejected, "the proof does not verify"));
    }
    let sector = manager.sectors().await.unwrap().remove(0);
    assert_eq!((sector.status, sector.verified, sector.proof), (SectorStatus::PreCommitted, false, None));
    let error = refusal(&manager, Call::ReportFinalized(id)).await;
    assert_eq!(
        error.to_string(),
        "Venus.ReportFinalized: the manager refused: no proof of the sector was accepted (code 1)"
    );
    assert_eq!(ask!(manager, proof(id, GOOD_PROOF), Answer::SubmitProof).res, SubmitResult::Accepted);
    assert_eq!(ask!(manager, proof(id, b"forged"), Answer::SubmitProof).res, SubmitResult::MismatchedSubmission);
    // One that is to replace it is looked at, and does so only when it verifies.
    let again = |bytes: &[u8]| match proof(id, bytes) {
        Call::SubmitProof { sector, proof, .. } => Call::SubmitProof { sector, proof, reset: true },
        other => other,
    };
    let (res, desc) = told(ask!(manager, again(b"forged"), Answer::SubmitProof));
    assert_eq!((res, &*desc), (SubmitResult::Rejected, "the proof does not verify"));
    assert_eq!(ask!(manager, again(GOOD_PROOF), Answer::SubmitProof).res, SubmitResult::DuplicateSubmit);
}

#[tokio::test]
async fn a_proof_that_could_not_be_verified_is_refused_for_now() {
    let rig = Rig::new();
    let manager = rig.open().await;
    let id = ready_for_proof(&rig, &manager).await;
    for (bytes, reason) in [(PUZZLING_PROOF, "no verifying key"), (DEADLY_PROOF, "the verifier fell over")] {
        let error = refusal(&manager, proof(id, bytes)).await;
        assert!(matches!(&error, ManagerError::Refused { message, .. } if message.contains(reason)), "{error}");
    }
    assert!(!manager.sectors().await.unwrap()[0].verified);
    assert_eq!(ask!(manager, proof(id, GOOD_PROOF), Answer::SubmitProof).res, SubmitResult::Accepted);
}

#[tokio::test]
async fn a_proof_waits_for_pre_commit_files_and_seed() {
    let rig = Rig::new();
    let manager = rig.open().await;
    let id = allocate(&manager).await;
    let submit = || proof(id, GOOD_PROOF);
    let (res, desc) = told(ask!(manager, submit(), Answer::SubmitProof));
    assert_eq!((res, &*desc), (SubmitResult::Rejected, "no pre-commit was submitted"));

    let ticket = ask!(manager, Call::AssignTicket(id), Answer::AssignTicket);
    ask!(manager, pre_commit(id, 1, ticket), Answer::SubmitPreCommit);
    rig.pass_epochs(151);
    assert_eq!(ask!(manager, submit(), Answer::SubmitProof).res, SubmitResult::FilesMissed);
    assert!(!ask!(manager, persisted(id, "one"), Answer::SubmitPersistedEx));
    let (res, desc) = told(ask!(manager, submit(), Answer::SubmitProof));
    assert_eq!(res, SubmitResult::FilesMissed);
    assert!(desc.contains("No such file"), "{desc}");

    rig.persist("one", id);
    assert!(ask!(manager, persisted(id, "one"), Answer::SubmitPersistedEx));
    let (res, desc) = told(ask!(manager, submit(), Answer::SubmitProof));
    assert_eq!(res, SubmitResult::Rejected);
    assert!(desc.contains("is not there yet"), "{desc}");
    assert!(rig.asked.lock().unwrap().is_empty());

    rig.pass_epochs(1);
    assert_eq!(ask!(manager, submit(), Answer::SubmitProof).res, SubmitResult::Accepted);
}

#[tokio::test]
async fn persisted_files_are_looked_at_one_by_one() {
    let rig = Rig::new();
    let manager = rig.open().await;
    let id = allocate(&manager).await;
    for (file, length) in rig.files(id) {
        rig.persist("one", id);
        assert!(ask!(manager, persisted(id, "one"), Answer::SubmitPersistedEx));
        let path = rig.folder.path().join("one").join(&file);
        fs::remove_file(&path).unwrap();
        assert!(!ask!(manager, persisted(id, "one"), Answer::SubmitPersistedEx), "{} is missing", file.display());
        let refusal = manager.sectors().await.unwrap()[0].persist_refusal.clone().unwrap();
        assert!(refusal.contains(file.to_str().unwrap()), "{refusal}");
        // What has no known length only has to be something.
        let wrong = if length == 100 { 0 } else { length - 1 };
        if !file.to_str().unwrap().contains("tree-r-last") || wrong == 0 {
            fs::write(&path, vec![7; wrong as usize]).unwrap();
            assert!(!ask!(manager, persisted(id, "one"), Answer::SubmitPersistedEx), "{} is short", file.display());
        }
    }
    rig.persist("one", id);
    assert!(!ask!(manager, persisted(id, "two"), Answer::SubmitPersistedEx), "they are in another store");
    assert!(!ask!(manager, persisted(id, "three"), Answer::SubmitPersistedEx), "there is no such store");
    let error =
        refusal(&manager, Call::SubmitPersistedEx { sector: id, instance: "one".into(), is_upgrade: true }).await;
    assert!(error.to_string().contains("not supported in this version"), "{error}");
}

#[tokio::test]
async fn room_is_reserved_once_per_sector_and_counted() {
    let mut rig = Rig::new();
    rig.options.attached[1].readonly = true;
    let manager = rig.open().await;
    let (first, second) = (allocate(&manager).await, allocate(&manager).await);
    let store = |name: &str| {
        let path = rig.folder.path().join(name).to_str().unwrap().to_owned();
        let meta = [("damocles.chain".to_owned(), manager.chain_id())].into();
        Some(StoreBasicInfo { name: name.into(), path, meta: Some(meta) })
    };
    let free = {
        let space = nix::sys::statvfs::statvfs(rig.folder.path()).unwrap();
        space.blocks_available() * space.fragment_size()
    };
    let most = free / 3 * 2;

    assert_eq!(ask!(manager, reserve(first, most, &["two"]), Answer::StoreReserveSpace), None, "it is readonly");
    assert_eq!(ask!(manager, reserve(first, most, &["three"]), Answer::StoreReserveSpace), None);
    assert_eq!(ask!(manager, reserve(first, u64::MAX, &["one"]), Answer::StoreReserveSpace), None);
    for _ in 0..2 {
        assert_eq!(ask!(manager, reserve(first, most, &["one"]), Answer::StoreReserveSpace), store("one"));
    }
    assert_eq!(ask!(manager, reserve(second, most, &["one"]), Answer::StoreReserveSpace), None, "first has it");
    manager.call(Call::ReportAborted { sector: first, reason: "make room".into() }).await.unwrap();
    assert_eq!(ask!(manager, reserve(second, most, &["one"]), Answer::StoreReserveSpace), store("one"));
}

#[tokio::test]
async fn attached_stores_are_known_by_name() {
    let rig = Rig::new();
    let manager = rig.open().await;
    let ask_for = |name: &str| Call::StoreBasicInfo { instance: name.into() };
    let one = ask!(manager, ask_for("one"), Answer::StoreBasicInfo).unwrap();
    assert_eq!(one.path, rig.folder.path().join("one").to_str().unwrap());
    assert_eq!(ask!(manager, ask_for("three"), Answer::StoreBasicInfo), None);
}

#[tokio::test]
async fn an_aborted_sector_stays_aborted_with_its_first_reason() {
    let rig = Rig::new();
    let manager = rig.open().await;
    let id = ready_for_proof(&rig, &manager).await;
    let abort = |reason: &str| Call::ReportAborted { sector: id, reason: reason.into() };
    assert_eq!(manager.call(abort("disk lost")).await, Ok(Answer::Done));
    assert_eq!(manager.call(abort("something else")).await, Ok(Answer::Done));
    let state = ask!(manager, Call::ReportState(id, report("Aborted")), Answer::ReportState);
    assert_eq!(state, SectorState { id, finalized: true, abort_reason: Some("disk lost".into()) });
    let (res, desc) = told(ask!(manager, proof(id, GOOD_PROOF), Answer::SubmitProof));
    assert_eq!((res, &*desc), (SubmitResult::Rejected, "the sector was aborted: disk lost"));
    let polled = ask!(manager, Call::PollPreCommitState(id), Answer::PollPreCommitState);
    assert_eq!(polled.state, OnChainState::ShouldAbort);
    assert!(matches!(refusal(&manager, Call::ReportFinalized(id)).await, ManagerError::Refused { .. }));
    assert_eq!(manager.sectors().await.unwrap()[0].status, SectorStatus::Aborted);
}

#[tokio::test]
async fn a_finalized_sector_cannot_be_aborted() {
    let rig = Rig::new();
    let manager = rig.open().await;
    let id = ready_for_proof(&rig, &manager).await;
    ask!(manager, proof(id, GOOD_PROOF), Answer::SubmitProof);
    for _ in 0..2 {
        assert_eq!(manager.call(Call::ReportFinalized(id)).await, Ok(Answer::Done));
    }
    let error = refusal(&manager, Call::ReportAborted { sector: id, reason: "late".into() }).await;
    assert!(error.to_string().contains("the sector is finalized"), "{error}");
}

#[tokio::test]
async fn a_workers_latest_ping_is_kept() {
    let rig = Rig::new();
    let manager = rig.open().await;
    let ping = |threads| WorkerInfo {
        name: "w".into(),
        dest: "127.0.0.1:17890".into(),
        version: "0.1.0".into(),
        summary: WorkerInfoSummary { threads, ..Default::default() },
    };
    manager.call(Call::WorkerPing(ping(1))).await.unwrap();
    rig.pass_epochs(1);
    manager.call(Call::WorkerPing(ping(2))).await.unwrap();
    drop(manager);
    let workers = rig.open().await.workers().await.unwrap();
    assert_eq!(workers, [(ping(2), rig.now())]);
}

#[tokio::test]
async fn the_folder_is_private_and_owned_by_one_at_a_time() {
    let rig = Rig::new();
    let manager = rig.open().await;
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&rig.options.path), 0o700);
    allocate(&manager).await;
    for entry in fs::read_dir(&rig.options.path).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    let error = rig.try_open().await.err().expect("it is in use").to_string();
    assert!(error.contains(&format!("is in use by another process (pid {})", std::process::id())), "{error}");
    drop(manager);
    rig.open().await;
}

async fn tamper(rig: &Rig, sql: &str) {
    use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};
    let file = rig.options.path.join("manager.db");
    let mut connection = SqliteConnectOptions::new().filename(file).create_if_missing(true).connect().await.unwrap();
    sqlx::query(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_database_that_is_not_ours_newer_or_damaged_is_refused() {
    for (sql, reason) in [
        ("UPDATE schema_version SET version = 2", "its tables have version 2, this program knows 1"),
        ("DROP TABLE schema_version", "it holds the tables of another program"),
        ("UPDATE chain SET secret = x'00'", "the chain's secret cannot be read: it has 1 bytes, not 32"),
        ("UPDATE chain SET epoch_ms = 0", "the chain cannot be read"),
    ] {
        let rig = Rig::new();
        allocate(&rig.open().await).await;
        tamper(&rig, sql).await;
        let error = rig.try_open().await.err().expect("it is refused").to_string();
        assert!(error.contains(reason) && error.contains("manager.db"), "{error}");
    }
    let rig = Rig::new();
    fs::create_dir(&rig.options.path).unwrap();
    fs::write(rig.options.path.join("manager.db"), "this is no database, it only has the name of one").unwrap();
    assert!(rig.try_open().await.err().expect("it is refused").to_string().contains("not a database"));
}

#[tokio::test]
async fn a_damaged_sector_is_an_error_of_its_own_call_only() {
    let rig = Rig::new();
    let manager = rig.open().await;
    let (first, second) = (allocate(&manager).await, allocate(&manager).await);
    drop(manager);
    tamper(&rig, "UPDATE sectors SET ticket = x'00', ticket_epoch = 0 WHERE number = 1").await;
    let manager = rig.open().await;
    let error = refusal(&manager, Call::AssignTicket(first)).await;
    assert!(
        matches!(&error, ManagerError::Unreachable { reason, .. } if reason.contains("ticket of sector 1")),
        "{error}"
    );
    ask!(manager, Call::AssignTicket(second), Answer::AssignTicket);
}

#[tokio::test]
async fn other_options_hold_for_new_sectors_only() {
    let mut rig = Rig::new();
    let manager = rig.open().await;
    let old = allocate(&manager).await;
    drop(manager);
    rig.options.miner = 2000;
    rig.options.proof_type = SealProof::v1_1(SectorSize::MiB8);
    let manager = rig.open().await;
    let new = ask!(manager, any_sector(), Answer::AllocateSector).unwrap();
    assert_eq!((new.id, new.proof_type), (SectorId { miner: 2000, number: 2 }, rig.options.proof_type));
    let ticket = ask!(manager, Call::AssignTicket(old), Answer::AssignTicket);
    assert_eq!(ask!(manager, pre_commit(old, 1, ticket), Answer::SubmitPreCommit).res, SubmitResult::Accepted);
    let error = refusal(&manager, Call::WaitSeed(old, rig.options.proof_type)).await;
    assert!(error.to_string().contains("the sector has proof type StackedDrg2KiBV1_1"), "{error}");
}

#[tokio::test]
async fn options_that_cannot_work_are_refused() {
    let refused = |change: &dyn Fn(&mut Rig), reason: &'static str| {
        let mut rig = Rig::new();
        change(&mut rig);
        async move {
            let error = check(&rig.options).expect_err(reason).to_string();
            assert!(error.contains(reason), "{error}");
            assert_eq!(rig.try_open().await.err().expect(reason).to_string(), error, "checked before and when opened");
            assert!(!rig.options.path.exists(), "nothing is made for options that are refused");
        }
    };
    for number in [10, 15] {
        let proof_type = SealProof::from_number(number).unwrap();
        refused(&|rig| rig.options.proof_type = proof_type, "not supported in this version").await;
    }
    refused(&|rig| rig.options.miner = 1 << 63, "is no actor id").await;
    refused(&|rig| rig.options.epoch = Duration::ZERO, "it must be 1ms to 1day").await;
    refused(&|rig| rig.options.epoch = Duration::from_secs(86_401), "it must be 1ms to 1day").await;
    refused(&|rig| rig.options.attached[0].path = "persist".into(), "its path is not absolute").await;
    refused(&|rig| rig.options.attached[0].name = "two".into(), "another store has the same name").await;
}

#[tokio::test]
async fn options_that_work_are_accepted_and_nothing_is_made() {
    let rig = Rig::new();
    check(&rig.options).unwrap();
    assert!(!rig.options.path.exists());
}

#[tokio::test]
async fn a_chain_goes_by_the_same_id_for_its_life_and_never_by_its_secret() {
    let rig = Rig::new();
    let manager = rig.open().await;
    let id = manager.chain_id();
    assert!(id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    drop(manager);
    let database = fs::read(rig.options.path.join("manager.db")).unwrap();
    let raw: Vec<u8> = (0..64).step_by(2).map(|at| u8::from_str_radix(&id[at..at + 2], 16).unwrap()).collect();
    assert!(!database.windows(32).any(|bytes| bytes == raw), "what the database keeps is not the id");
    let mut again = rig;
    again.options.miner = 2000;
    again.options.epoch = Duration::from_secs(1);
    assert_eq!(again.open().await.chain_id(), id, "settings do not make another chain");
    assert_ne!(Rig::new().open().await.chain_id(), id);
}

#[tokio::test]
async fn a_call_that_is_cut_off_midway_leaves_the_manager_usable() {
    let rig = Rig::new();
    let manager = rig.open().await;
    let mut numbers = std::collections::BTreeSet::new();
    for polls in 0..40 {
        let mut call = std::pin::pin!(manager.call(any_sector()));
        for _ in 0..polls {
            tokio::select! {
                biased;
                _ = &mut call => break,
                () = tokio::task::yield_now() => {}
            }
        }
    }
    for sector in manager.sectors().await.unwrap() {
        assert!(numbers.insert(sector.number));
    }
    assert!(numbers.insert(allocate(&manager).await.number));
}

#[tokio::test]
async fn calls_at_the_same_time_do_not_share_a_number_or_a_ticket() {
    let rig = Rig::new();
    let manager = std::sync::Arc::new(rig.open().await);
    let bridge = Bridge::new(manager.clone(), tokio::runtime::Handle::current());
    let tickets: Vec<_> = (0..20).map(|_| bridge.submit(any_sector())).collect();
    let mut numbers = std::collections::BTreeSet::new();
    for ticket in tickets {
        let answer = loop {
            match bridge.poll(ticket) {
                Some(answer) => break answer,
                None => tokio::task::yield_now().await,
            }
        };
        let Ok(Answer::AllocateSector(Some(sector))) = answer else { panic!("{answer:?}") };
        numbers.insert(sector.id.number);
    }
    assert_eq!(numbers, (1..=20).collect());
}
