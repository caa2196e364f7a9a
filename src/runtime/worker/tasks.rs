//! Turns a decided action into a stage's task, with the files prepared that the stage expects to find.

use super::{Parts, PersistentStore, deals};
use crate::runtime::{
    manager::wire::{AllocatedSector, Ticket},
    processor::{RestoreReplicaTask, Task},
    sector::{Action, Event, Failure, Record},
    stage::*,
    store::{Store, StoreError},
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Why there is no task.
pub(super) enum NoTask {
    /// Something is wrong.
    Because(Failure),
    /// Something else happens first.
    Instead(Event),
}

/// The stage that does `action`.
pub(super) fn stage_of(action: &Action) -> Stage {
    match action {
        Action::AddPieces => Stage::AddPieces,
        Action::BuildTreeD => Stage::TreeD,
        Action::Pc1 => Stage::Pc1,
        Action::RestoreReplica => Stage::RestoreReplica,
        Action::Pc2 => Stage::Pc2,
        Action::Persist(_) => Stage::Transfer,
        Action::C1 => Stage::C1,
        Action::C2 => Stage::C2,
        other => unreachable!("{other:?} is not a stage"),
    }
}

/// The task of `action` on the sector in `store`.
pub(super) fn build(action: Action, store: &Store, parts: &Parts) -> Result<Result<Task, NoTask>, StoreError> {
    let (record, root) = (store.record(), store.root());
    let (Some(sector), Some(paths)) = (record.sector, store.paths()) else {
        return Ok(Err(lacking(record, "the sector")));
    };
    let (staged, sealed, cache) = (root.join(paths.staged()), root.join(paths.sealed()), root.join(paths.cache()));
    let proof = sector.proof_type;
    Ok(Ok(match action {
        Action::AddPieces => match deals::to_add(record, &*parts.pieces) {
            Ok(pieces) => Task::AddPieces(AddPiecesTask { seal_proof_type: proof, pieces, staged_filepath: staged }),
            Err(failure) => return Ok(Err(NoTask::Because(failure))),
        },
        Action::BuildTreeD => {
            Task::TreeD(TreeDTask { registered_proof: proof, staged_file: staged, cache_dir: store.prepare_tree_d()? })
        }
        Action::Pc1 => {
            let Some(ticket) = record.ticket else { return Ok(Err(lacking(record, "the ticket"))) };
            store.prepare_pc1()?;
            Task::Pc1(pc1(record, sector, ticket, Files { staged, sealed, cache }))
        }
        Action::RestoreReplica => Task::RestoreReplica(RestoreReplicaTask {
            registered_proof: proof,
            staged_file: staged,
            sealed_file: sealed,
            cache_dir: cache,
        }),
        Action::Pc2 => {
            let Some(pc1out) = record.pc1.clone() else { return Ok(Err(lacking(record, "pc1's answer"))) };
            store.mark_pc2()?;
            Task::Pc2(Pc2Task { pc1out, cache_dir: cache, sealed_file: sealed })
        }
        Action::Persist(target) => match parts.stores.iter().find(|store| store.name == target.name) {
            Some(local) if local.readonly => {
                let reason = format!(
                    "the manager reserved space in store {:?}, which is read-only here: let the manager offer another one",
                    target.name
                );
                return Ok(Err(NoTask::Because(Failure::permanent(reason))));
            }
            Some(local) => Task::Transfer(transfer(&paths, root, local, proof.sector_size())),
            None => {
                let reason = format!(
                    "the manager reserved space in store {:?}, which is not attached here: add it to [[attached]]",
                    target.name
                );
                return Ok(Err(NoTask::Because(Failure::permanent(reason))));
            }
        },
        Action::C1 => match (record.ticket, record.seed, record.pc2.clone()) {
            (Some(ticket), Some(seed), Some(pc2out)) => {
                Task::C1(c1(record, sector, (ticket, seed.seed.0, pc2out), Files { staged, sealed, cache }))
            }
            _ => return Ok(Err(lacking(record, "ticket, seed or pc2's answer"))),
        },
        Action::C2 => match store.read_c1(record.c1_digest.as_deref().unwrap_or_default())? {
            Err(reason) => return Ok(Err(NoTask::Instead(Event::C1Lost { reason }))),
            Ok(c1out) => Task::C2(C2Task {
                c1out,
                prover_id: prover_id(sector.id.miner),
                sector_id: sector.id.number,
                miner_id: sector.id.miner,
            }),
        },
        other => unreachable!("{other:?} is not a stage"),
    }))
}

struct Files {
    staged: PathBuf,
    sealed: PathBuf,
    cache: PathBuf,
}

fn pc1(record: &Record, sector: AllocatedSector, ticket: Ticket, files: Files) -> Pc1Task {
    Pc1Task {
        registered_proof: sector.proof_type,
        cache_path: files.cache,
        in_path: files.staged,
        out_path: files.sealed,
        prover_id: prover_id(sector.id.miner),
        sector_id: sector.id.number,
        ticket: ticket.ticket.0,
        piece_infos: record.pieces.clone(),
    }
}

/// c1 with a seed of our own: whether what pc2 answered can be proven with what it left. `None` without a ticket.
pub(super) fn check_pc2(store: &Store, seed: [u8; 32], pc2out: Pc2Output) -> Option<Task> {
    let (record, root, paths) = (store.record(), store.root(), store.paths()?);
    let (staged, sealed, cache) = (root.join(paths.staged()), root.join(paths.sealed()), root.join(paths.cache()));
    Some(Task::C1(c1(record, record.sector?, (record.ticket?, seed, pc2out), Files { staged, sealed, cache })))
}

fn c1(record: &Record, sector: AllocatedSector, known: (Ticket, [u8; 32], Pc2Output), files: Files) -> C1Task {
    let (ticket, seed, pc2out) = known;
    C1Task {
        cache_dir: files.cache,
        sealed_file: files.sealed,
        prover_id: prover_id(sector.id.miner),
        sector_id: sector.id.number,
        ticket: ticket.ticket.0,
        seed,
        pc2out,
        piece_infos: record.pieces.clone(),
    }
}

fn lacking(record: &Record, what: &str) -> NoTask {
    NoTask::Because(Failure::critical(format!(
        "the record in state {} lacks {what}: the journal is damaged",
        record.state
    )))
}

fn transfer(paths: &SectorPaths, root: &Path, to: &PersistentStore, size: crate::units::SectorSize) -> TransferTask {
    let route = |relative: &Path| TransferRoute {
        src: TransferItem { store_name: None, uri: root.join(relative) },
        dest: TransferItem { store_name: Some(to.name.clone()), uri: to.path.join(relative) },
        opt: None,
    };
    let info = TransferStoreInfo { name: to.name.clone(), meta: None };
    TransferTask {
        stores: BTreeMap::from([(to.name.clone(), info)]),
        routes: paths.persisted(size).iter().map(|(path, _)| route(path)).collect(),
    }
}
