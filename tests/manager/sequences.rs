//! The embedded manager under random sequences of calls, restarts and clock steps: what must always hold.

use crate::{ask, rig::*};
use damocles_worker::runtime::manager::{
    Answer, Call, Manager, ManagerError,
    embedded::{Embedded, SectorStatus, SectorSummary},
    wire::*,
};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// One thing that happens; the first number chooses among the sectors that there are.
#[derive(Clone, Debug)]
enum Step {
    Allocate,
    AssignTicket(usize),
    PreCommit(usize, u8, bool),
    PutFiles(usize),
    SubmitPersisted(usize, bool),
    WaitSeed(usize),
    SubmitProof(usize, &'static [u8]),
    Poll(usize),
    Reserve(usize, u64),
    Report(usize),
    Finalize(usize),
    Abort(usize),
    PassEpochs(u64),
    ClockBack(u64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let proof = prop_oneof![Just(GOOD_PROOF), Just(&b"forged"[..]), Just(PUZZLING_PROOF)];
    let i = || 0usize..3;
    prop_oneof![
        1 => Just(Step::Allocate),
        3 => i().prop_map(Step::AssignTicket),
        3 => (i(), 1u8..3, prop::bool::weighted(0.9)).prop_map(|(i, comm_r, right)| Step::PreCommit(i, comm_r, right)),
        2 => i().prop_map(Step::PutFiles),
        3 => (i(), any::<bool>()).prop_map(|(i, right)| Step::SubmitPersisted(i, right)),
        2 => i().prop_map(Step::WaitSeed),
        4 => (i(), proof).prop_map(|(i, bytes)| Step::SubmitProof(i, bytes)),
        2 => i().prop_map(Step::Poll),
        2 => (i(), 0u64..10_000).prop_map(|(i, bytes)| Step::Reserve(i, bytes)),
        1 => i().prop_map(Step::Report),
        1 => i().prop_map(Step::Finalize),
        1 => prop::bool::weighted(0.2).prop_flat_map(move |_| i()).prop_map(Step::Abort),
        3 => (1u64..160).prop_map(Step::PassEpochs),
        1 => (1u64..100_000).prop_map(Step::ClockBack),
        1 => Just(Step::Restart),
    ]
}

/// What was answered before, to hold later answers against.
#[derive(Default)]
struct Memory {
    sectors: Vec<SectorId>,
    tickets: BTreeMap<u64, Ticket>,
    seeds: BTreeMap<u64, Seed>,
    accepted: BTreeMap<u64, Vec<u8>>,
    head: i64,
}

/// The answer that a repetition must have.
fn repeated(answer: Result<Answer, ManagerError>) -> Result<Answer, ManagerError> {
    let again = |resp: SubmitResp| match resp.res {
        SubmitResult::Accepted => SubmitResp { res: SubmitResult::DuplicateSubmit, ..resp },
        _ => resp,
    };
    answer.map(|answer| match answer {
        Answer::SubmitPreCommit(resp) => Answer::SubmitPreCommit(again(resp)),
        Answer::SubmitProof(resp) => Answer::SubmitProof(again(resp)),
        other => other,
    })
}

async fn twice(manager: &Embedded, call: Call) -> Result<Answer, ManagerError> {
    let answer = manager.call(call.clone()).await;
    assert_eq!(manager.call(call.clone()).await, repeated(answer.clone()), "{call:?} was repeated");
    answer
}

async fn take(step: Step, rig: &Rig, mut manager: Embedded, memory: &mut Memory) -> Embedded {
    let id = |i: usize| memory.sectors[i % memory.sectors.len()];
    match step {
        Step::Allocate => {
            let sector = allocate(&manager).await;
            assert!(!memory.sectors.contains(&sector), "{sector:?} was handed out twice");
            memory.sectors.push(sector);
        }
        Step::AssignTicket(i) => {
            let id = id(i);
            match twice(&manager, Call::AssignTicket(id)).await {
                Ok(Answer::AssignTicket(ticket)) => {
                    assert_eq!(*memory.tickets.entry(id.number).or_insert(ticket), ticket)
                }
                Err(ManagerError::Refused { .. }) => assert!(!memory.tickets.contains_key(&id.number)),
                other => panic!("{other:?}"),
            }
        }
        Step::PreCommit(i, comm_r, right) => {
            let id = id(i);
            let wrong = Ticket { ticket: Randomness([0; 32]), epoch: 0 };
            let ticket = memory.tickets.get(&id.number).copied().filter(|_| right);
            let answer = twice(&manager, pre_commit(id, comm_r, ticket.unwrap_or(wrong))).await;
            let Ok(Answer::SubmitPreCommit(resp)) = answer else { panic!("{answer:?}") };
            assert!(ticket.is_some() || resp.res == SubmitResult::Rejected, "{resp:?}");
        }
        Step::PutFiles(i) => rig.persist("one", id(i)),
        Step::SubmitPersisted(i, right) => {
            let id = id(i);
            let there = rig.files(id).iter().all(|(file, _)| rig.folder.path().join("one").join(file).exists());
            let answer = twice(&manager, persisted(id, if right { "one" } else { "two" })).await;
            assert_eq!(answer, Ok(Answer::SubmitPersistedEx(right && there)));
        }
        Step::WaitSeed(i) => {
            let id = id(i);
            let WaitSeedResp { should_wait, delay, seed } =
                ask!(manager, Call::WaitSeed(id, PROOF_TYPE), Answer::WaitSeed);
            assert_eq!(should_wait, delay > 0);
            assert!(!should_wait || seed.is_none());
            if let Some(seed) = seed {
                assert!(seed.epoch <= manager.head().await.unwrap());
                assert_eq!(*memory.seeds.entry(id.number).or_insert(seed), seed);
            } else {
                assert!(!memory.seeds.contains_key(&id.number));
            }
        }
        Step::SubmitProof(i, bytes) => {
            let id = id(i);
            if let Ok(Answer::SubmitProof(SubmitResp { res: SubmitResult::Accepted, .. })) =
                twice(&manager, proof(id, bytes)).await
            {
                assert!(memory.accepted.insert(id.number, bytes.to_vec()).is_none(), "accepted twice");
            }
        }
        Step::Poll(i) => {
            twice(&manager, Call::PollPreCommitState(id(i))).await.unwrap();
            twice(&manager, Call::PollProofState(id(i))).await.unwrap();
        }
        Step::Reserve(i, bytes) => {
            let _ = twice(&manager, reserve(id(i), bytes, &["one", "two"])).await;
        }
        Step::Report(i) => {
            twice(&manager, Call::ReportState(id(i), report("PC1Done"))).await.unwrap();
        }
        Step::Finalize(i) => {
            let finalized = twice(&manager, Call::ReportFinalized(id(i))).await.is_ok();
            assert!(!finalized || memory.accepted.contains_key(&id(i).number), "finalized without a proof");
        }
        Step::Abort(i) => {
            let _ = twice(&manager, Call::ReportAborted { sector: id(i), reason: "no".into() }).await;
        }
        Step::PassEpochs(epochs) => rig.pass_epochs(epochs),
        Step::ClockBack(seconds) => rig.step_clock_back(Duration::from_secs(seconds)),
        Step::Restart => {
            let before = manager.sectors().await.unwrap();
            drop(manager);
            manager = rig.open().await;
            assert_eq!(manager.sectors().await.unwrap(), before);
        }
    }
    manager
}

async fn check(rig: &Rig, manager: &Embedded, memory: &mut Memory) {
    let head = manager.head().await.unwrap();
    assert!(head >= memory.head, "the head went back from {} to {head}", memory.head);
    memory.head = head;
    let sectors = manager.sectors().await.unwrap();
    let numbers: BTreeSet<_> = sectors.iter().map(|sector| sector.number).collect();
    assert_eq!(numbers.len(), memory.sectors.len());
    sectors.iter().for_each(|sector| check_proof(rig, sector, memory));
}

/// A kept proof is one that was accepted, and the verifier was asked about it and this very sector.
fn check_proof(rig: &Rig, sector: &SectorSummary, memory: &Memory) {
    assert_eq!(sector.proof.as_ref(), memory.accepted.get(&sector.number));
    assert_eq!(sector.verified, sector.proof.is_some());
    assert!(sector.status != SectorStatus::Finalized || sector.verified);
    let Some(proof) = &sector.proof else { return };
    assert_eq!(proof, GOOD_PROOF);
    let asked = rig.asked.lock().unwrap();
    assert!(asked.iter().any(|(claim, bytes)| {
        bytes == proof
            && claim.sector_id == sector.number
            && Some(claim.comm_r) == sector.comm_r
            && Some(claim.ticket) == memory.tickets.get(&sector.number).map(|it| it.ticket.0)
            && memory.seeds.get(&sector.number).is_none_or(|seed| claim.seed == seed.seed.0)
    }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_sequence_of_calls_keeps_the_managers_promises(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let rig = Rig::new();
            let mut memory = Memory::default();
            let mut manager = take(Step::Allocate, &rig, rig.open().await, &mut memory).await;
            for step in steps {
                manager = take(step, &rig, manager, &mut memory).await;
                check(&rig, &manager, &mut memory).await;
            }
        });
    }
}
