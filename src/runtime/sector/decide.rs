//! What to do next for a record. Reads only; performs nothing.

use super::{Failure, Record, State};
use crate::{
    runtime::manager::{Call, wire::*},
    units::SealProof,
    worker_config::Sealing,
};
use std::time::SystemTime;

/// The next thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Ask the manager.
    Call(Call),
    /// Nothing to ask: the thread takes no deals.
    SkipDeals,
    AddPieces,
    BuildTreeD,
    /// Ask for the ticket, once there is room for pc1: a ticket ages while it waits.
    TakeTicket(Call),
    Pc1,
    /// Undo what an interrupted pc2 left, before pc2 is started again.
    RestoreReplica,
    Pc2,
    /// Remove what the stages made that an operator undid.
    RemoveUndone,
    /// Write down that a message is about to be submitted.
    NoteSubmission,
    /// Copy the sector's files into the reserved store.
    Persist(StoreBasicInfo),
    C1,
    C2,
    /// Do not wait for the proof's message: the operator said so.
    SkipProofCheck,
    /// Nothing before this moment.
    Wait(SystemTime),
    /// Nothing until an operator resumes.
    Paused(Failure),
}

/// The persistent stores a worker may offer, by name.
pub type Candidates<'a> = &'a [String];

/// What a record asks for at `now`. `candidates` are the names of the writable persistent stores.
///
/// # Errors
/// A record that lacks what its state promises: a bug or a foreign journal.
pub fn decide(record: &Record, sealing: &Sealing, candidates: Candidates, now: SystemTime) -> Result<Action, Failure> {
    if let Some(failure) = &record.paused {
        return Ok(Action::Paused(failure.clone()));
    }
    if let Some(until) = record.hold.filter(|until| *until > now) {
        return Ok(Action::Wait(until));
    }
    if record.state == State::Empty {
        return Ok(Action::Call(Call::AllocateSector(allocation(sealing))));
    }
    let sector = record.sector.ok_or_else(|| missing(record, "the sector"))?;
    next_step(record, sector, sealing, candidates)
}

fn next_step(
    record: &Record,
    sector: AllocatedSector,
    sealing: &Sealing,
    candidates: Candidates,
) -> Result<Action, Failure> {
    let id = sector.id;
    if record.undone {
        return Ok(Action::RemoveUndone);
    }
    Ok(match record.state {
        State::Empty => unreachable!("decide handles Empty"),
        State::Allocated if sealing.enable_deals => Action::Call(Call::AcquireDeals(id, wanted_deals(sealing))),
        State::Allocated => Action::SkipDeals,
        State::DealsAcquired => Action::AddPieces,
        State::PieceAdded => Action::BuildTreeD,
        State::TreeDBuilt => Action::TakeTicket(Call::AssignTicket(id)),
        State::TicketAssigned => Action::Pc1,
        State::PC1Done if record.pc2_dirty => Action::RestoreReplica,
        State::PC1Done => Action::Pc2,
        State::PC2Done if !record.pre_commit_sent => Action::NoteSubmission,
        State::PC2Done => Action::Call(submit_pre_commit(record, sector)?),
        State::PCSubmitted => Action::Call(Call::PollPreCommitState(id)),
        State::PCLanded => match &record.reserved {
            Some(store) => Action::Persist(store.clone()),
            None => Action::Call(reserve(sector, candidates)),
        },
        State::Persisted => {
            let instance = record.persisted_in.clone().ok_or_else(|| missing(record, "the persistent store"))?;
            Action::Call(Call::SubmitPersistedEx { sector: id, instance, is_upgrade: false })
        }
        State::PersistanceSubmitted => Action::Call(Call::WaitSeed(id, sector.proof_type)),
        State::SeedAssigned => Action::C1,
        State::C1Done => Action::C2,
        State::C2Done if !record.proof_sent => Action::NoteSubmission,
        State::C2Done => {
            let proof = record.proof.clone().ok_or_else(|| missing(record, "the proof"))?;
            Action::Call(Call::SubmitProof { sector: id, proof: ProofOnChainInfo { proof }, reset: record.reset })
        }
        State::ProofSubmitted if sealing.ignore_proof_check => Action::SkipProofCheck,
        State::ProofSubmitted => Action::Call(Call::PollProofState(id)),
        State::Finished => Action::Call(Call::ReportFinalized(id)),
        State::Aborted => {
            let reason = record.abort_reason.clone().unwrap_or_default();
            Action::Call(Call::ReportAborted { sector: id, reason })
        }
    })
}

/// Proof types are named one by one: this version seals interactive sectors only, and a manager must not
/// hand out others.
fn allocation(sealing: &Sealing) -> AllocateSectorSpec {
    AllocateSectorSpec {
        allowed_miners: Some(sealing.allowed_miners.clone()),
        allowed_proof_types: Some(SealProof::all().filter(|proof| may_seal(*proof, sealing)).collect()),
    }
}

/// Settings beyond what this machine can count ask for as much as it can.
fn wanted_deals(sealing: &Sealing) -> AcquireDealsSpec {
    let count = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    AcquireDealsSpec {
        max_deals: sealing.max_deals.map(|most| count(most.into())),
        min_used_space: sealing.min_deal_space.map(|least| count(least.0)),
    }
}

fn may_seal(proof: SealProof, sealing: &Sealing) -> bool {
    !proof.is_synthetic()
        && !proof.is_non_interactive()
        && (sealing.allowed_sizes.is_empty() || sealing.allowed_sizes.contains(&proof.sector_size()))
}

/// Why a sector that a manager handed out is not one that was asked for.
pub fn unasked(sector: AllocatedSector, sealing: &Sealing) -> Option<String> {
    let miners = &sealing.allowed_miners;
    if !miners.is_empty() && !miners.contains(&sector.id.miner) {
        return Some(format!("allocated for miner {}, which allowed_miners excludes", sector.id.miner));
    }
    let proof = sector.proof_type;
    (!may_seal(proof, sealing)).then(|| format!("allocated with proof type {proof}, which was not asked for"))
}

fn submit_pre_commit(record: &Record, sector: AllocatedSector) -> Result<Call, Failure> {
    let ticket = record.ticket.ok_or_else(|| missing(record, "the ticket"))?;
    let (comm_r, comm_d) = record.commitments().ok_or_else(|| missing(record, "the commitments"))?;
    let info = PreCommitOnChainInfo { comm_r, comm_d, ticket };
    Ok(Call::SubmitPreCommit { sector, info, reset: record.reset })
}

/// Small sectors carry trees that are large beside them: the field reserves twice their size.
fn reserve(sector: AllocatedSector, candidates: Candidates) -> Call {
    let bytes = sector.proof_type.sector_size().bytes().0;
    let size = if bytes < 32 << 30 { 2 * bytes } else { bytes + bytes / 50 };
    Call::StoreReserveSpace { sector: sector.id, size, candidates: candidates.to_vec() }
}

fn missing(record: &Record, what: &str) -> Failure {
    Failure::critical(format!("the record in state {} lacks {what}: the journal is damaged", record.state))
}
