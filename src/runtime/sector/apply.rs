//! The only place where a record changes. Who else wants a change makes an event.

use super::{Event, Failure, Level, Record, State};
use crate::{
    runtime::{manager::wire::B64Bytes, stage::Stage},
    worker_config::Sealing,
};

/// An event that the state it met does not allow: our own mistake, or a journal that is not ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event {event} cannot follow state {state}")]
pub struct Impossible {
    pub event: &'static str,
    pub state: State,
}

/// The record after `event`. `sealing` sets how often and how late a temporary failure is tried again.
pub fn apply(record: Record, event: Event, sealing: &Sealing) -> Result<Record, Impossible> {
    let before = record.state;
    let impossible = Impossible { event: event.name(), state: before };
    let durable = event.is_durable();
    let next = match event {
        Event::SetBack { to } => super::back::set_back(record, to),
        Event::UndoneRemoved => super::back::undone_removed(record),
        Event::Submitting => submitting(record),
        event => transition(record, event, sealing).map(|next| Record {
            // Nothing is done before the removal but giving the sector up. Older versions removed nothing, and went on.
            undone: next.undone && !durable,
            pre_commit_landed: next.state == State::PCLanded || next.pre_commit_landed && next.state != State::PC2Done,
            ..next
        }),
    };
    let mut next = next.ok_or(impossible)?;
    if durable && next.state != before {
        // Progress: earlier failures of the sector count no more.
        next.retries = 0;
        next.hold = None;
        next.paused = None;
    }
    Ok(next)
}

fn transition(mut record: Record, event: Event, sealing: &Sealing) -> Option<Record> {
    use State::*;
    let state = match (record.state, event) {
        (Empty, Event::Allocated { sector, chain }) => {
            (record.sector, record.chain) = (Some(sector), chain);
            Allocated
        }
        (Allocated, Event::DealsAcquired) => DealsAcquired,
        (Allocated, Event::DealsTaken { deals }) => with(&mut record.deals, deals, DealsAcquired),
        (state, Event::StageStarted { stage }) if state != Empty => {
            record.pc2_dirty |= stage == Stage::Pc2;
            *record.starts.entry(stage.to_string()).or_default() += 1;
            state
        }
        (DealsAcquired, Event::PiecesAdded { pieces, seconds }) => {
            record.pieces = pieces;
            took(&mut record, "add_pieces", seconds);
            PieceAdded
        }
        (PieceAdded, Event::TreeDBuilt { seconds }) => {
            took(&mut record, "tree_d", seconds);
            TreeDBuilt
        }
        (TreeDBuilt | TicketAssigned, Event::TicketAssigned(ticket)) => {
            record.ticket = Some(ticket);
            TicketAssigned
        }
        (TicketAssigned, Event::Pc1Done { output, seconds }) => {
            record.pc1 = Some(output);
            took(&mut record, "pc1", seconds);
            PC1Done
        }
        (PC1Done, Event::ReplicaRestored) => {
            record.pc2_dirty = false;
            PC1Done
        }
        (PC1Done, Event::Pc2Done { output, seconds }) => {
            (record.pc2_dirty, record.pc2) = (false, Some(output));
            took(&mut record, "pc2", seconds);
            PC2Done
        }
        (PC2Done, Event::PreCommitSubmitted) => {
            (record.reset, record.pre_commit_sent) = (false, true);
            PCSubmitted
        }
        (PCSubmitted, Event::PreCommitFailed { .. }) => {
            record.reset = true;
            PC2Done
        }
        (PCSubmitted, Event::PreCommitLanded) => PCLanded,
        (PCLanded, Event::SpaceReserved(store)) => {
            record.reserved = Some(store);
            PCLanded
        }
        (PCLanded, Event::Persisted { store, seconds }) => {
            record.persisted_in = Some(store);
            took(&mut record, "transfer", seconds);
            Persisted
        }
        (Persisted, Event::PersistenceSubmitted) => PersistanceSubmitted,
        (PersistanceSubmitted, Event::SeedAssigned(seed)) => {
            record.seed = Some(seed);
            SeedAssigned
        }
        (SeedAssigned, Event::C1Done { digest, seconds }) => {
            record.c1_digest = Some(digest);
            took(&mut record, "c1", seconds);
            C1Done
        }
        (C1Done, Event::C1Lost { .. }) => with(&mut record.c1_digest, None, SeedAssigned),
        (C1Done, Event::C2Done { proof, seconds }) => {
            prove(&mut record, proof);
            took(&mut record, "c2", seconds);
            C2Done
        }
        (C2Done, Event::ProofSubmitted) => {
            (record.reset, record.proof_sent) = (false, true);
            ProofSubmitted
        }
        (ProofSubmitted, Event::ProofFailed { .. }) => {
            record.reset = true;
            C2Done
        }
        (ProofSubmitted, Event::ProofLanded) => Finished,
        (state, Event::Aborted { reason }) if state != Empty && state != Finished => {
            record.abort_reason = Some(reason);
            Aborted
        }
        (Finished | Aborted, Event::Dropped) => return Some(Record::default()),
        (state, Event::Held { until }) => {
            (record.retries, record.hold) = (0, Some(until));
            state
        }
        (state, Event::Failed { failure, now }) => {
            fail(&mut record, failure, now, sealing);
            state
        }
        (state, Event::Resumed) => {
            (record.retries, record.hold, record.paused) = (0, None, None);
            state
        }
        _ => return None,
    };
    record.state = state;
    Some(record)
}

/// From here on the chain may have seen what the record has to submit.
fn submitting(mut record: Record) -> Option<Record> {
    let sent = match record.state {
        State::PC2Done => &mut record.pre_commit_sent,
        State::C2Done => &mut record.proof_sent,
        _ => return None,
    };
    *sent = true;
    Some(record)
}

/// No two proofs are the same: one that was sent before is replaced.
fn prove(record: &mut Record, proof: B64Bytes) {
    record.reset |= record.proof_sent;
    record.proof = Some(proof);
}

/// `state`, with one field of the record changed.
fn with<T>(field: &mut T, value: T, state: State) -> State {
    *field = value;
    state
}

fn took(record: &mut Record, stage: &str, seconds: f64) {
    record.seconds.insert(stage.to_owned(), seconds);
}

fn fail(record: &mut Record, failure: Failure, now: std::time::SystemTime, sealing: &Sealing) {
    // A store that failed once may be full or gone: the manager is asked again.
    record.reserved = None;
    if failure.level != Level::Temporary {
        record.paused = Some(failure);
    } else if record.retries >= sealing.max_retries {
        let reason = format!("{} (tried {} times)", failure.reason, record.retries + 1);
        record.paused = Some(Failure::permanent(reason));
    } else {
        record.retries += 1;
        record.hold = Some(now + sealing.recover_interval.0);
    }
}
