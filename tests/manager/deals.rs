//! The embedded manager's deals: given once, the same after a restart, given back by an aborted sector, held to in comm_d.

use crate::{ask, rig::*};
use damocles_worker::{
    runtime::{
        manager::{Answer, Call, Manager, embedded::Embedded, wire::*},
        proofs,
        stage::{PieceInfo, layout::unpadded},
    },
    units::PieceCid,
};
use std::{fs, path::PathBuf};

fn rig_with(files: &[(&str, usize)]) -> Rig {
    let mut rig = Rig::new();
    let folder = rig.folder.path().join("pieces");
    fs::create_dir(&folder).unwrap();
    for (name, bytes) in files {
        let content: Vec<u8> = (0..*bytes).map(|i| (i * 7) as u8 ^ name.as_bytes()[0]).collect();
        fs::write(folder.join(name), content).unwrap();
    }
    rig.options.pieces = Some(folder);
    rig
}

async fn deals(manager: &Embedded, id: SectorId, spec: AcquireDealsSpec) -> Option<Vec<SectorPiece>> {
    ask!(manager, Call::AcquireDeals(id, spec), Answer::AcquireDeals)
}

/// Number and padded size of each piece.
fn told(pieces: &Option<Vec<SectorPiece>>) -> Vec<(u64, u64)> {
    pieces.iter().flatten().map(|piece| (piece.deal_info.deal_id, piece.piece.size)).collect()
}

fn cid(piece: &SectorPiece) -> PieceCid {
    piece.piece.piece_cid.cid.parse().unwrap()
}

#[tokio::test]
async fn a_piece_is_one_sectors_and_comes_back_when_that_is_aborted() {
    let rig = rig_with(&[("a", 1000), ("b", 100)]);
    let manager = rig.open().await;
    let [first, second, third] = [allocate(&manager).await, allocate(&manager).await, allocate(&manager).await];
    let given = deals(&manager, first, AcquireDealsSpec::default()).await;
    assert_eq!(told(&given), [(1, 1024), (2, 128), (0, 128), (0, 256), (0, 512)], "the largest first, filled up");
    assert_eq!(given.as_ref().unwrap()[0].deal_info.payload_size, 1000);
    assert_eq!(told(&deals(&manager, second, AcquireDealsSpec::default()).await), [], "none are left");
    assert_eq!(deals(&manager, first, AcquireDealsSpec::default()).await, given, "asked again");
    drop(manager);

    let manager = rig.open().await;
    let piece = given.as_ref().unwrap()[1].clone();
    assert!(manager.piece(cid(&piece)).is_some_and(|path| path.ends_with("pieces/b")), "known without a new question");
    assert_eq!(manager.piece(PieceCid([9; 32])), None);
    assert_eq!(deals(&manager, first, AcquireDealsSpec::default()).await, given, "after a restart");
    let abort = Call::ReportAborted { sector: first, reason: "test".into() };
    assert_eq!(manager.call(abort).await, Ok(Answer::Done));
    assert_eq!(deals(&manager, third, AcquireDealsSpec::default()).await, given, "given back");
    let refused = refusal(&manager, Call::AcquireDeals(first, AcquireDealsSpec::default())).await;
    assert!(refused.to_string().contains("the sector was aborted"), "{refused}");
}

#[tokio::test]
async fn files_that_come_later_are_offered_and_those_that_go_are_not() {
    let rig = rig_with(&[("gone", 100)]);
    let manager = rig.open().await;
    let folder = rig.options.pieces.clone().unwrap();
    let [first, second] = [allocate(&manager).await, allocate(&manager).await];
    let least = AcquireDealsSpec { max_deals: None, min_used_space: Some(256) };
    assert_eq!(told(&deals(&manager, first, least).await), [], "too little for what the worker demands");
    fs::remove_file(folder.join("gone")).unwrap();
    fs::write(folder.join("later"), [5; 1016]).unwrap();
    fs::write(folder.join(".on-its-way"), [5; 100]).unwrap();
    fs::write(folder.join("too-large"), [5; 4000]).unwrap();
    let most = AcquireDealsSpec { max_deals: Some(1), min_used_space: None };
    assert_eq!(told(&deals(&manager, first, most).await)[0].1, 1024);
    assert_eq!(told(&deals(&manager, second, AcquireDealsSpec::default()).await), []);
}

#[tokio::test]
async fn a_pre_commit_must_have_the_comm_d_of_the_deals() {
    let rig = rig_with(&[("a", 1000)]);
    let manager = rig.open().await;
    let id = allocate(&manager).await;
    let given = deals(&manager, id, AcquireDealsSpec::default()).await.unwrap();
    let ticket = ask!(manager, Call::AssignTicket(id), Answer::AssignTicket);
    let response = ask!(manager, pre_commit(id, 1, ticket), Answer::SubmitPreCommit);
    assert_eq!(response.res, SubmitResult::Rejected);
    assert!(response.desc.unwrap().contains("comm_d is not that of the sector's deals"));
    let pieces: Vec<_> =
        given.iter().map(|piece| PieceInfo { commitment: cid(piece).0, size: unpadded(piece.piece.size) }).collect();
    let info = PreCommitOnChainInfo { comm_r: [1; 32], comm_d: proofs::comm_d(PROOF_TYPE, &pieces).unwrap(), ticket };
    let sector = AllocatedSector { id, proof_type: PROOF_TYPE };
    let right = Call::SubmitPreCommit { sector, info, reset: false };
    assert_eq!(ask!(manager, right, Answer::SubmitPreCommit).res, SubmitResult::Accepted);
}

#[tokio::test]
async fn without_a_folder_there_are_no_deals_and_a_missing_folder_is_told() {
    let mut rig = Rig::new();
    let manager = rig.open().await;
    let id = allocate(&manager).await;
    assert_eq!(deals(&manager, id, AcquireDealsSpec::default()).await, None);
    drop(manager);
    rig.options.pieces = Some(PathBuf::from("/nonexistent/pieces"));
    let error = rig.try_open().await.err().expect("it is refused").to_string();
    assert!(error.contains("read the folder of pieces /nonexistent/pieces"), "{error}");
}
