//! What the embedded manager knows of one sector, and the rules by which that changes. Pure.
//!
//! ```text
//! Allocated ─► TicketAssigned ─► PreCommitted ─► Proven ─► Finalized
//!      └───────────────┴───────────────┴────────────┴─────► Aborted
//! ```
//!
//! What always holds: what was answered once is answered again. A first ticket stays the ticket, accepted
//! content is never replaced, and an ended sector changes no more.

use super::chain::{Beacon, Chain, seed_epoch};
use crate::{
    runtime::{
        manager::wire::*,
        stage::{SealClaim, prover_id},
    },
    units::SealProof,
};

/// One sector.
#[derive(Clone, Debug, PartialEq)]
pub struct Sector {
    pub id: SectorId,
    pub proof_type: SealProof,
    pub ticket: Option<Ticket>,
    pub pre_commit: Option<PreCommit>,
    pub reservation: Option<Reservation>,
    pub persisted: Option<Persisted>,
    pub proof: Option<Proof>,
    pub end: Option<End>,
    /// The worker's latest report.
    pub report: Option<ReportStateReq>,
}

/// An accepted pre-commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreCommit {
    pub comm_r: [u8; 32],
    pub comm_d: [u8; 32],
    /// The epoch at which it was sent.
    pub sent: i64,
}

/// Room that is kept for a sector's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    pub store: String,
    pub bytes: u64,
}

/// What the latest look at the sector's persisted files found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Persisted {
    /// They are all in this store, with the right lengths.
    In(String),
    /// They are not, for this reason.
    Refused(String),
}

/// A proof that was verified and accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    pub bytes: Vec<u8>,
    /// The epoch at which it was sent.
    pub sent: i64,
}

/// How a sector ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Finalized,
    Aborted(String),
}

/// A call that cannot be carried out, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

/// What a submitted proof calls for.
#[derive(Clone, Debug, PartialEq)]
pub enum ProofVerdict {
    /// The answer is known without looking at the proof.
    Answer(SubmitResp),
    /// The proof has to be verified against this.
    Verify(SealClaim),
}

impl Sector {
    /// A sector that was just handed out.
    pub fn new(id: SectorId, proof_type: SealProof) -> Self {
        Self {
            id,
            proof_type,
            ticket: None,
            pre_commit: None,
            reservation: None,
            persisted: None,
            proof: None,
            end: None,
            report: None,
        }
    }

    /// The sector's ticket: drawn at the first ask, the same ever after.
    pub fn assign_ticket(&mut self, chain: &Chain, beacon: &Beacon) -> Result<Ticket, Refusal> {
        if self.ticket.is_none() {
            self.refuse_if_ended()?;
        }
        Ok(*self.ticket.get_or_insert_with(|| beacon.ticket(self.id.miner, chain.ticket_epoch())))
    }

    /// Accepts a pre-commit. The simulated chain fails no message, so there is never one to replace.
    pub fn submit_pre_commit(
        &mut self,
        proof_type: SealProof,
        info: &PreCommitOnChainInfo,
        chain: &Chain,
    ) -> SubmitResp {
        if proof_type != self.proof_type {
            return rejected(format!("the sector has proof type {}, not {proof_type}", self.proof_type));
        }
        let Some(ticket) = self.ticket else {
            return rejected("no ticket was assigned to the sector");
        };
        if info.ticket != ticket {
            let told = "the ticket is not the one that was assigned";
            return rejected(format!("{told}: epoch {}, assigned epoch {}", info.ticket.epoch, ticket.epoch));
        }
        match self.pre_commit {
            Some(PreCommit { comm_r, comm_d, .. }) if (comm_r, comm_d) == (info.comm_r, info.comm_d) => duplicate(),
            Some(_) => mismatched("another comm_r or comm_d was pre-committed, and that message has not failed"),
            None => {
                if let Err(Refusal(reason)) = self.refuse_if_ended() {
                    return rejected(reason);
                }
                let PreCommitOnChainInfo { comm_r, comm_d, .. } = *info;
                self.pre_commit = Some(PreCommit { comm_r, comm_d, sent: chain.head() });
                accepted()
            }
        }
    }

    /// Where the pre-commit stands on the chain.
    pub fn pre_commit_state(&self, chain: &Chain) -> PollStateResp {
        self.message_state(self.pre_commit.map(|it| it.sent), "pre-commit", chain)
    }

    /// Where the proof stands on the chain.
    pub fn proof_state(&self, chain: &Chain) -> PollStateResp {
        self.message_state(self.proof.as_ref().map(|it| it.sent), "proof", chain)
    }

    fn message_state(&self, sent: Option<i64>, what: &str, chain: &Chain) -> PollStateResp {
        match (&self.end, sent) {
            (Some(End::Aborted(reason)), _) => {
                PollStateResp { state: OnChainState::ShouldAbort, desc: Some(aborted(reason)) }
            }
            (_, None) => {
                PollStateResp { state: OnChainState::NotFound, desc: Some(format!("no {what} was submitted")) }
            }
            (_, Some(sent)) => PollStateResp { state: chain.message_state(sent), desc: None },
        }
    }

    /// The seed, or how long until it is there. Without a pre-commit there is nothing to wait for.
    pub fn wait_seed(&self, proof_type: SealProof, chain: &Chain, beacon: &Beacon) -> Result<WaitSeedResp, Refusal> {
        if proof_type != self.proof_type {
            return Err(Refusal(format!("the sector has proof type {}, not {proof_type}", self.proof_type)));
        }
        let Some(pre_commit) = self.pre_commit else {
            return Ok(WaitSeedResp { should_wait: false, delay: 0, seed: None });
        };
        let epoch = seed_epoch(pre_commit.sent);
        Ok(match chain.seconds_until(epoch) {
            Some(delay) => WaitSeedResp { should_wait: true, delay, seed: None },
            None => WaitSeedResp { should_wait: false, delay: 0, seed: Some(beacon.seed(self.id.miner, epoch)) },
        })
    }

    /// Keeps what a look at the persisted files found, and answers it. Once a proof stands on the files'
    /// ground, a later look changes nothing.
    pub fn submit_persisted(&mut self, store: &str, found: Result<(), String>) -> bool {
        let complete = found.is_ok();
        if self.proof.is_none() && self.end.is_none() {
            self.persisted = Some(match found {
                Ok(()) => Persisted::In(store.to_owned()),
                Err(reason) => Persisted::Refused(reason),
            });
        }
        complete
    }

    /// What a submitted proof calls for.
    pub fn examine_proof(&self, proof: &[u8], reset: bool, chain: &Chain, beacon: &Beacon) -> ProofVerdict {
        match self.claim(proof, reset, chain, beacon) {
            Ok(claim) => ProofVerdict::Verify(claim),
            Err(answer) => ProofVerdict::Answer(answer),
        }
    }

    fn claim(&self, proof: &[u8], reset: bool, chain: &Chain, beacon: &Beacon) -> Result<SealClaim, SubmitResp> {
        match &self.proof {
            Some(accepted) if accepted.bytes == proof => return Err(duplicate()),
            Some(_) if !reset => {
                return Err(mismatched("another proof was accepted, and that message has not failed"));
            }
            // One that replaces it is looked at as the first was.
            Some(_) | None => self.refuse_if_ended().map_err(|Refusal(reason)| rejected(reason))?,
        }
        let (Some(ticket), Some(pre_commit)) = (self.ticket, self.pre_commit) else {
            return Err(rejected("no pre-commit was submitted"));
        };
        match &self.persisted {
            Some(Persisted::In(_)) => {}
            Some(Persisted::Refused(reason)) => return Err(files_missed(reason)),
            None => return Err(files_missed("the sector's files were not reported as persisted")),
        }
        let epoch = seed_epoch(pre_commit.sent);
        if chain.head() < epoch {
            return Err(rejected(format!("the seed of epoch {epoch} is not there yet: the head is {}", chain.head())));
        }
        Ok(SealClaim {
            registered_proof: self.proof_type,
            comm_r: pre_commit.comm_r,
            comm_d: pre_commit.comm_d,
            prover_id: prover_id(self.id.miner),
            sector_id: self.id.number,
            ticket: ticket.ticket.0,
            seed: beacon.seed(self.id.miner, epoch).seed.0,
        })
    }

    /// Keeps a proof that the verifier said yes to.
    pub fn accept_proof(&mut self, proof: Vec<u8>, chain: &Chain) -> SubmitResp {
        self.proof = Some(Proof { bytes: proof, sent: chain.head() });
        accepted()
    }

    /// Keeps the worker's report and tells it whether the sector has ended.
    pub fn report_state(&mut self, report: ReportStateReq) -> SectorState {
        self.report = Some(report);
        let abort_reason = match &self.end {
            Some(End::Aborted(reason)) => Some(reason.clone()),
            Some(End::Finalized) | None => None,
        };
        SectorState { id: self.id, finalized: self.end.is_some(), abort_reason }
    }

    /// Ends the sector as sealed; only with an accepted proof.
    pub fn finalize(&mut self) -> Result<(), Refusal> {
        match (&self.end, &self.proof) {
            (Some(End::Finalized), _) => Ok(()),
            (Some(End::Aborted(reason)), _) => Err(Refusal(aborted(reason))),
            (None, None) => Err(Refusal("no proof of the sector was accepted".into())),
            (None, Some(_)) => {
                self.end = Some(End::Finalized);
                Ok(())
            }
        }
    }

    /// Ends the sector as given up. The first reason stays.
    pub fn abort(&mut self, reason: String) -> Result<(), Refusal> {
        match self.end {
            Some(End::Finalized) => Err(Refusal("the sector is finalized".into())),
            Some(End::Aborted(_)) => Ok(()),
            None => {
                self.end = Some(End::Aborted(reason));
                Ok(())
            }
        }
    }

    /// Refuses a change of a sector that has ended.
    pub fn refuse_if_ended(&self) -> Result<(), Refusal> {
        match &self.end {
            None => Ok(()),
            Some(End::Finalized) => Err(Refusal("the sector is finalized".into())),
            Some(End::Aborted(reason)) => Err(Refusal(aborted(reason))),
        }
    }
}

/// Whether a miner and a proof type are among those that a worker allows; none or an empty list allows all.
pub fn allows(spec: &AllocateSectorSpec, miner: u64, proof_type: SealProof) -> bool {
    fn among<T: PartialEq>(allowed: &Option<Vec<T>>, one: T) -> bool {
        allowed.as_ref().is_none_or(|allowed| allowed.is_empty() || allowed.contains(&one))
    }
    among(&spec.allowed_miners, miner) && among(&spec.allowed_proof_types, proof_type)
}

fn accepted() -> SubmitResp {
    SubmitResp { res: SubmitResult::Accepted, desc: None }
}

fn duplicate() -> SubmitResp {
    SubmitResp { res: SubmitResult::DuplicateSubmit, desc: None }
}

fn mismatched(desc: impl Into<String>) -> SubmitResp {
    SubmitResp { res: SubmitResult::MismatchedSubmission, desc: Some(desc.into()) }
}

/// The answer to a submission that can never be accepted.
pub fn rejected(desc: impl Into<String>) -> SubmitResp {
    SubmitResp { res: SubmitResult::Rejected, desc: Some(desc.into()) }
}

fn files_missed(desc: impl Into<String>) -> SubmitResp {
    SubmitResp { res: SubmitResult::FilesMissed, desc: Some(desc.into()) }
}

fn aborted(reason: &str) -> String {
    format!("the sector was aborted: {reason}")
}
