//! The embedded manager: its answers, what survives a restart, what it refuses.

use crate::{ask, rig::*};
use damocles_worker::{
    runtime::{
        manager::{Answer, Call, Manager, ManagerError, embedded::SectorStatus, wire::*},
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

    let asked = rig.asked.lock().unwrap();
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
