//! A manager and its chain, written for the simulation: slow, forgetful, sometimes wrong, and a witness of what it is told.
//!
//! ```text
//! submit ─┬─ heard ─ carried out ─ answered        late, if it must be
//!         ├─ never heard                           "cut off"
//!         ├─ heard, carried out                    "cut off": the answer was lost
//!         ├─ heard twice                           a repeated request
//!         ├─ "cut off", and carried out later      a request that wandered about
//!         └─ refused, or answered with something else
//! ```
//!
//! It accepts one submission for a message, verifies what it is given by its own arithmetic (`hands::seal_of`,
//! `hands::proof_of`), and looks at the persisted files. What should never be asked of a manager is a finding.

use crate::{
    deals,
    hands::{proof_of, replica_of, seal_of},
    time::Timeline,
    watch::Watch,
};
use damocles_worker::{
    runtime::{
        manager::{Answer, Call, CallTicket, ManagerError, SectorManager, wire::*},
        stage::SectorPaths,
    },
    units::SealProof,
};
use rand::{Rng, rngs::StdRng};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

pub const MINER: u64 = 1000;
/// A ticket that is older is not given again.
const TICKET_AGE: Duration = Duration::from_secs(1800);
/// From a landed pre-commit to its seed.
const SEED_DELAY: Duration = Duration::from_secs(90);

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Lands,
    Fails,
    FailsForGood,
    Ends,
}

#[derive(Clone, Debug)]
struct Message {
    content: Vec<u8>,
    due: Instant,
    fate: Fate,
}

#[derive(Debug, Default)]
struct Sector {
    deals: Option<Vec<SectorPiece>>,
    ticket: Option<(Ticket, Instant)>,
    tickets: Vec<Ticket>,
    pre_commit: Option<Message>,
    persisted: bool,
    proof: Option<Message>,
    /// Put away, or given up with a reason.
    end: Option<Result<(), String>>,
}

/// The manager as workers see it.
pub struct Chain {
    timeline: Arc<Timeline>,
    watch: Arc<Mutex<Watch>>,
    stores: PathBuf,
    inner: Mutex<Inner>,
}

struct Inner {
    rng: StdRng,
    troubled: bool,
    /// It answers nobody before this moment.
    away: Option<Instant>,
    sectors: BTreeMap<u64, Sector>,
    open: BTreeMap<u64, (Instant, Result<Answer, ManagerError>)>,
    wandering: Vec<(Instant, Call)>,
    calls: u64,
}

impl Chain {
    pub fn new(timeline: Arc<Timeline>, watch: Arc<Mutex<Watch>>, stores: &Path, rng: StdRng) -> Arc<Self> {
        let inner = Inner {
            rng,
            troubled: true,
            away: None,
            sectors: BTreeMap::new(),
            open: BTreeMap::new(),
            wandering: Vec::new(),
            calls: 0,
        };
        Arc::new(Self { timeline, watch, stores: stores.to_owned(), inner: Mutex::new(inner) })
    }

    /// From now on everything is heard, carried out and answered.
    pub fn calm_down(&self) {
        let mut inner = self.inner.lock().unwrap();
        inner.troubled = false;
        inner.away = None;
    }

    /// Nobody is answered for this long.
    pub fn go_away(&self, time: Duration) {
        self.inner.lock().unwrap().away = Some(self.timeline.now() + time);
    }

    /// Whether nobody is answered at this moment.
    pub fn is_away(&self) -> bool {
        self.inner.lock().unwrap().away.is_some_and(|until| self.timeline.now() < until)
    }

    /// Whoever asked is gone; what wanders about may still arrive.
    pub fn cut_off(&self) {
        self.inner.lock().unwrap().open.clear();
    }

    /// An operator gives a sector up.
    pub fn give_up(&self, number: u64) {
        let mut inner = self.inner.lock().unwrap();
        inner.sectors.entry(number).or_default().end.get_or_insert(Err("given up by an operator".into()));
    }

    /// Requests that wandered about arrive.
    pub fn tick(&self) {
        let now = self.timeline.now();
        let mut inner = self.inner.lock().unwrap();
        let (arrived, wandering) = inner.wandering.drain(..).partition(|(when, _)| *when <= now);
        inner.wandering = wandering;
        let arrived: Vec<(Instant, Call)> = arrived;
        for (_, call) in arrived {
            let _ = self.carry_out(&mut inner, call);
        }
    }

    /// Whether this sector's proof has landed and its files are where they belong.
    pub fn is_sealed(&self, number: u64) -> bool {
        let inner = self.inner.lock().unwrap();
        let landed = |message: &Option<Message>| message.as_ref().is_some_and(|it| it.fate == Fate::Lands);
        let sealed = |sector: &Sector| landed(&sector.pre_commit) && landed(&sector.proof) && sector.persisted;
        inner.sectors.get(&number).is_some_and(sealed)
    }

    fn find(&self, what: String) {
        self.watch.lock().unwrap().find(format!("manager: {what}"));
    }

    fn carry_out(&self, inner: &mut Inner, call: Call) -> Result<Answer, ManagerError> {
        let (now, method) = (self.timeline.now(), call.method());
        if let Call::AllocateSector(_) = call {
            return Ok(Answer::AllocateSector(self.allocate(inner)));
        }
        let Some(id) = sector_of(&call) else { return Ok(Answer::Done) };
        let troubled = inner.troubled;
        let trouble = |rng: &mut StdRng, share: f64| troubled && rng.gen_bool(share);
        let rng = &mut inner.rng;
        let known = inner.sectors.get_mut(&id.number);
        let unknown = || ManagerError::SectorNotFound { method, message: format!("no sector {}", id.number) };
        let sector = known.ok_or_else(unknown)?;
        let ended = sector.end.is_some();
        if ended && matches!(call, Call::ReportFinalized(_) | Call::ReportAborted { .. }) && rng.r#gen() {
            return Err(unknown());
        }
        Ok(match call {
            Call::AcquireDeals(..) => {
                if sector.deals.is_none() && rng.gen_bool(0.6) {
                    let deals = deals::random(id.number, rng, troubled);
                    if deals[0].piece.size > 2048 {
                        return Ok(Answer::AcquireDeals(Some(deals)));
                    }
                    sector.deals = Some(deals);
                }
                Answer::AcquireDeals(sector.deals.clone())
            }
            Call::AssignTicket(_) => {
                let stale = |(_, given): &(Ticket, Instant)| now - *given > TICKET_AGE;
                if sector.ticket.as_ref().is_none_or(stale) {
                    let ticket = Ticket { ticket: Randomness(rng.r#gen()), epoch: 1000 + sector.tickets.len() as i64 };
                    sector.ticket = Some((ticket, now));
                    sector.tickets.push(ticket);
                }
                Answer::AssignTicket(sector.ticket.expect("just given").0)
            }
            Call::SubmitPreCommit { info, reset, .. } => {
                if !sector.tickets.contains(&info.ticket) {
                    self.find(format!("sector {id:?} is pre-committed with a ticket that was never given"));
                }
                if info.comm_r != seal_of(id, &info.ticket.ticket.0) {
                    self.find(format!("sector {id:?} is pre-committed with a comm_r that is not its own"));
                }
                let sealed = self.watch.lock().unwrap().data_of(id.number);
                if sealed.is_some_and(|data| info.comm_d != deals::comm_d_of(&data)) {
                    self.find(format!("sector {id:?} is pre-committed with a comm_d that is not that of its deals"));
                }
                let content = [info.comm_r, info.comm_d, info.ticket.ticket.0].concat();
                let fate = fate(rng, troubled);
                let landing = now + Duration::from_secs(rng.gen_range(5..90));
                let reject = trouble(rng, 0.002);
                Answer::SubmitPreCommit(self.submit(
                    "pre-commit",
                    &mut sector.pre_commit,
                    Message { content, due: landing, fate },
                    (reset, false),
                    reject,
                ))
            }
            Call::PollPreCommitState(_) => Answer::PollPreCommitState(state_of(&sector.pre_commit, &sector.end, now)),
            Call::StoreReserveSpace { candidates, .. } => {
                let chosen = &candidates[rng.gen_range(0..candidates.len())];
                let name = if trouble(rng, 0.02) { "elsewhere".to_owned() } else { chosen.clone() };
                let store = StoreBasicInfo { name, path: "/of/the/manager".into(), meta: None };
                Answer::StoreReserveSpace((!trouble(rng, 0.1)).then_some(store))
            }
            Call::SubmitPersistedEx { instance, .. } => {
                let found = self.files_of(id, &instance, &sector.tickets);
                if let Err(what) = &found {
                    self.find(format!("sector {id:?} is said to be persisted in {instance}: {what}"));
                }
                sector.persisted |= found.is_ok();
                Answer::SubmitPersistedEx(found.is_ok() && !trouble(rng, 0.01))
            }
            Call::WaitSeed(..) => Answer::WaitSeed(seed_of(id, sector, now)),
            Call::SubmitProof { proof, reset, .. } => {
                let pre_commit =
                    sector.pre_commit.as_ref().filter(|it| it.fate == Fate::Lands && now >= it.due + SEED_DELAY);
                match pre_commit {
                    None => self.find(format!("sector {id:?}: a proof comes before its seed")),
                    Some(pre_commit) => {
                        let comm_r: [u8; 32] = pre_commit.content[..32].try_into().expect("32 bytes");
                        if !proof.proof.0.starts_with(&proof_of(&comm_r, &seed_at(id))) {
                            self.find(format!("sector {id:?}: its proof does not verify"));
                        }
                    }
                }
                if !sector.persisted {
                    self.find(format!("sector {id:?}: a proof comes before its files"));
                }
                let message = Message {
                    content: proof.proof.0,
                    due: now + Duration::from_secs(rng.gen_range(5..90)),
                    fate: fate(rng, troubled),
                };
                let reject = trouble(rng, 0.002);
                let again = self.watch.lock().unwrap().proves_again(id.number);
                Answer::SubmitProof(self.submit("proof", &mut sector.proof, message, (reset, again), reject))
            }
            Call::PollProofState(_) => Answer::PollProofState(state_of(&sector.proof, &sector.end, now)),
            Call::ReportState(..) => {
                if trouble(rng, 0.0005) {
                    sector.end.get_or_insert(Err("given up by an operator".into()));
                }
                let abort_reason = sector.end.as_ref().and_then(|end| end.as_ref().err().cloned());
                Answer::ReportState(SectorState { id, finalized: sector.end.is_some(), abort_reason })
            }
            Call::ReportFinalized(_) => {
                let landed = sector.proof.as_ref().is_some_and(|it| it.fate == Fate::Lands && now >= it.due);
                if !landed || !sector.persisted {
                    self.find(format!("sector {id:?} is finalized without a landed proof and its files"));
                }
                sector.end.get_or_insert(Ok(()));
                Answer::Done
            }
            Call::ReportAborted { reason, .. } => {
                if reason.is_empty() {
                    self.find(format!("sector {id:?} is aborted without a reason"));
                }
                sector.end.get_or_insert(Err(reason));
                Answer::Done
            }
            _ => Answer::Done,
        })
    }

    fn allocate(&self, inner: &mut Inner) -> Option<AllocatedSector> {
        if inner.troubled && inner.rng.gen_bool(0.1) {
            return None;
        }
        let number = inner.sectors.len() as u64 + 1;
        inner.sectors.insert(number, Sector::default());
        let proof_type = SealProof::from_number(5).expect("2 KiB");
        Some(AllocatedSector { id: SectorId { miner: MINER, number }, proof_type })
    }

    /// One submission for a message; the same again is known as such, another one only after the first has failed, or
    /// (`again`) when an operator had it made again: it replaces a message that has not landed.
    fn submit(
        &self,
        what: &str,
        message: &mut Option<Message>,
        new: Message,
        (reset, again): (bool, bool),
        reject: bool,
    ) -> SubmitResp {
        let now = self.timeline.now();
        let failed = |it: &Message| matches!(it.fate, Fate::Fails) && now >= it.due;
        let answer = |res| SubmitResp { res, desc: Some(format!("{what}, says the simulated manager")) };
        match message {
            None if reject => answer(SubmitResult::Rejected),
            None => {
                if reset && !again {
                    self.find(format!("a {what} is to replace one that there never was"));
                }
                *message = Some(new);
                answer(SubmitResult::Accepted)
            }
            Some(old) if failed(old) && reset => {
                // A second failure of the same message would only be more of the same.
                *old = Message { fate: Fate::Lands, ..new };
                answer(SubmitResult::Accepted)
            }
            Some(old) if old.content == new.content => answer(SubmitResult::DuplicateSubmit),
            Some(old) if again && reset && now >= old.due => answer(SubmitResult::DuplicateSubmit),
            Some(old) if again && reset => {
                *old = Message { due: old.due.max(new.due), ..new };
                answer(SubmitResult::Accepted)
            }
            // An older proof that wandered about.
            Some(_) if again && !reset => answer(SubmitResult::MismatchedSubmission),
            Some(_) => {
                self.find(format!("two different submissions of one {what}"));
                answer(SubmitResult::MismatchedSubmission)
            }
        }
    }

    /// Whether a store has the sector's files with the right bytes.
    fn files_of(&self, id: SectorId, store: &str, tickets: &[Ticket]) -> Result<(), String> {
        let paths = SectorPaths::new(id.miner, id.number);
        let sealed = self.stores.join(store).join(paths.sealed());
        let bytes = fs::read(&sealed).map_err(|error| format!("{}: {error}", sealed.display()))?;
        if !tickets.iter().any(|ticket| bytes == replica_of(paths.name(), &ticket.ticket.0).as_bytes()) {
            return Err(format!("the replica is not its own: {:?}", String::from_utf8_lossy(&bytes)));
        }
        Ok(())
    }
}

fn sector_of(call: &Call) -> Option<SectorId> {
    Some(match call {
        Call::AcquireDeals(id, _)
        | Call::AssignTicket(id)
        | Call::PollPreCommitState(id)
        | Call::WaitSeed(id, _)
        | Call::PollProofState(id)
        | Call::ReportState(id, _)
        | Call::ReportFinalized(id) => *id,
        Call::SubmitPreCommit { sector, .. } => sector.id,
        Call::StoreReserveSpace { sector, .. }
        | Call::SubmitPersistedEx { sector, .. }
        | Call::SubmitProof { sector, .. }
        | Call::ReportAborted { sector, .. } => *sector,
        _ => return None,
    })
}

fn fate(rng: &mut StdRng, troubled: bool) -> Fate {
    match rng.gen_range(0..100) {
        0..12 if troubled => Fate::Fails,
        12 if troubled => Fate::FailsForGood,
        13 if troubled => Fate::Ends,
        _ => Fate::Lands,
    }
}

fn state_of(message: &Option<Message>, end: &Option<Result<(), String>>, now: Instant) -> PollStateResp {
    let state = match (message, end) {
        (_, Some(Err(_))) => OnChainState::ShouldAbort,
        (None, _) => OnChainState::NotFound,
        (Some(it), _) if now + Duration::from_secs(20) < it.due => OnChainState::Pending,
        (Some(it), _) if now < it.due => OnChainState::Packed,
        (Some(it), _) => match it.fate {
            Fate::Lands => OnChainState::Landed,
            Fate::Fails => OnChainState::Failed,
            Fate::FailsForGood => OnChainState::PermFailed,
            Fate::Ends => OnChainState::ShouldAbort,
        },
    };
    PollStateResp { state, desc: Some("says the simulated chain".into()) }
}

fn seed_at(id: SectorId) -> [u8; 32] {
    seal_of(id, b"the seed")
}

fn seed_of(id: SectorId, sector: &Sector, now: Instant) -> WaitSeedResp {
    let Some(pre_commit) = &sector.pre_commit else {
        return WaitSeedResp { should_wait: false, delay: 0, seed: None };
    };
    let due = pre_commit.due + SEED_DELAY;
    if now < due {
        return WaitSeedResp { should_wait: true, delay: (due - now).as_secs() + 1, seed: None };
    }
    let seed = Seed { seed: Randomness(seed_at(id)), epoch: 5000 };
    WaitSeedResp { should_wait: false, delay: 0, seed: Some(seed) }
}

impl SectorManager for Chain {
    fn submit(&self, call: Call) -> CallTicket {
        let now = self.timeline.now();
        let mut inner = self.inner.lock().unwrap();
        inner.calls += 1;
        let ticket = inner.calls;
        let method = call.method();
        let cut_off = || Err(ManagerError::Unreachable { method, reason: "cut off".into() });
        let away = inner.away.is_some_and(|until| now < until);
        let dice = if inner.troubled { inner.rng.gen_range(0..1000) } else { 999 };
        let slow = if inner.troubled && inner.rng.gen_bool(0.05) { 600_000 } else { 2_000 };
        let due = now + Duration::from_millis(inner.rng.gen_range(1..slow));
        let reply = match dice {
            _ if away => cut_off(),
            0..20 => cut_off(),
            20..40 => {
                let _ = self.carry_out(&mut inner, call);
                cut_off()
            }
            40..60 => {
                let _ = self.carry_out(&mut inner, call.clone());
                self.carry_out(&mut inner, call)
            }
            60..75 => {
                let arrives = due + Duration::from_secs(inner.rng.gen_range(0..600));
                inner.wandering.push((arrives, call));
                cut_off()
            }
            75..85 => Err(ManagerError::Refused { method, code: 1, message: "not now".into() }),
            85..90 => Ok(Answer::StoreBasicInfo(None)),
            _ => self.carry_out(&mut inner, call),
        };
        inner.open.insert(ticket, (due, reply));
        CallTicket(ticket)
    }

    fn poll(&self, ticket: CallTicket) -> Option<Result<Answer, ManagerError>> {
        let now = self.timeline.now();
        let mut inner = self.inner.lock().unwrap();
        let due = inner.open.get(&ticket.0).expect("a ticket that was given and not answered").0;
        (due <= now).then(|| inner.open.remove(&ticket.0).expect("just seen").1)
    }
}
