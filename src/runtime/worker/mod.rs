//! One sealing thread's loop body: decide, perform, apply, journal.
//!
//! `Worker::step` is one turn. Work that takes time (a stage, a manager's answer) is submitted in one turn and
//! polled in later ones, so a step never waits and a stop is prompt. The worker owns its store; it knows
//! managers and executors by their traits only.
//!
//! Order around a crash: the intent is journaled (`StageStarted`), the work performed, the result journaled.
//! What lies between is done again, and `manager/mod.rs` says why that is safe for each call.

mod answers;
mod checked;
mod deals;
mod steer;
mod tasks;

use super::{
    manager::{Answer, Call, CallTicket, ManagerError, SectorManager, wire::*},
    metrics,
    pieces::PieceSource,
    processor::{End, Executor, Output, Slot, Task},
    sector::{Action, Event, Failure, Level, Record, State, decide, unasked},
    stage::Stage,
    store::{Store, StoreError},
};
use crate::{units::SectorSize, worker_config::Sealing};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tracing::{info, warn};

/// What time it is, as an argument.
pub trait Clock: Send + Sync {
    /// The time of day as this process counts it: see `SteadyTime`.
    fn now(&self) -> SystemTime;
}

/// The time of day when a process began, and from there on only what really passes. An administrator or NTP that sets
/// the host's clock back by a day must not make sectors wait for a day, and one that sets it forward cut no wait short.
#[derive(Clone, Copy, Debug)]
pub struct SteadyTime {
    began: SystemTime,
    at: Instant,
}

impl SteadyTime {
    /// A process that begins at `began`, which is `at` on the clock that is never set.
    pub fn new(began: SystemTime, at: Instant) -> Self {
        Self { began, at }
    }

    /// The time of day at `now`.
    pub fn at(&self, now: Instant) -> SystemTime {
        self.began + now.saturating_duration_since(self.at)
    }
}

/// Places where a crash can be made to happen. The shipped daemon does nothing there.
pub trait Hooks: Send + Sync {
    /// `event` is about to be journaled and would lead to `state`.
    fn before_journal(&self, _event: &Event, _state: State) {}
    /// `event` has been journaled and has led to `state`.
    fn after_journal(&self, _event: &Event, _state: State) {}
}

/// No crashes.
pub struct NoHooks;
impl Hooks for NoHooks {}

/// A persistent store as this host reaches it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersistentStore {
    /// The name shared with the manager.
    pub name: String,
    /// Where it is mounted here, absolute.
    pub path: PathBuf,
    pub readonly: bool,
}

/// What all workers of a daemon share.
#[derive(Clone)]
pub struct Parts {
    pub manager: Arc<dyn SectorManager>,
    pub executor: Arc<dyn Executor>,
    /// Where the pieces of deals are.
    pub pieces: Arc<dyn PieceSource>,
    pub clock: Arc<dyn Clock>,
    pub hooks: Arc<dyn Hooks>,
    /// The simulated chain that sectors are allocated on; none with a real manager.
    pub chain: Option<String>,
    /// The name that the manager knows this worker by.
    pub instance: String,
    pub stores: Arc<Vec<PersistentStore>>,
    pub static_tree_d: Arc<BTreeMap<SectorSize, PathBuf>>,
}

/// The end of a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Something changed; step again.
    Progressed,
    /// Nothing to do before this moment.
    WaitUntil(SystemTime),
    /// An answer is outstanding, of this stage or method.
    WaitFor(&'static str),
    /// An operator has to look.
    Paused(Failure),
    /// A sector has been finished (or aborted: see its state) and dropped; this was its record.
    Finished(Box<Record>),
}

/// A sealing thread without its thread.
pub struct Worker {
    store: Store,
    sealing: Sealing,
    parts: Parts,
    pending: Option<Pending>,
    /// A place in a stage's queue, or a granted slot in which nothing runs yet.
    slot: Option<(Slot, Stage)>,
    /// The ticket was asked for since the slot was granted.
    ticket_fresh: bool,
    report: Option<CallTicket>,
    /// pc2's answer, which is to be checked before it counts: from its end to that of its check.
    unchecked: Option<checked::Unchecked>,
    /// A result that could not be journaled yet, and when that is tried again.
    unjournaled: Option<(Event, SystemTime)>,
    asks: u32,
    /// The last failure since the sector's last progress, for whoever asks.
    last_error: Option<String>,
}

enum Pending {
    Call(CallTicket, Call),
    /// The task and, for a transfer, the store that it brings the files to.
    Stage(Slot, Stage, Option<String>),
}

impl Worker {
    /// A worker that goes on where the store's record stands.
    pub fn new(store: Store, sealing: Sealing, parts: Parts) -> Self {
        Self {
            store,
            sealing,
            parts,
            pending: None,
            slot: None,
            ticket_fresh: false,
            report: None,
            unchecked: None,
            unjournaled: None,
            asks: 0,
            last_error: None,
        }
    }

    /// The record as it stands.
    pub fn record(&self) -> &Record {
        self.store.record()
    }

    /// The store's folder.
    pub fn location(&self) -> &std::path::Path {
        self.store.root()
    }

    /// How long it is until `until`, which a step has named.
    pub fn left(&self, until: SystemTime) -> Duration {
        until.duration_since(self.parts.clock.now()).unwrap_or_default()
    }

    /// The persistent stores that sectors go to.
    pub fn stores(&self) -> &[PersistentStore] {
        &self.parts.stores
    }

    /// The stage that is being worked on, if one is.
    pub fn stage_in_flight(&self) -> Option<&'static str> {
        match self.pending {
            Some(Pending::Stage(_, stage, _)) => Some(stage.name()),
            _ => None,
        }
    }

    /// One turn.
    pub fn step(&mut self) -> Step {
        self.turn().or_else(|error| self.stumble(error)).unwrap_or_else(|error| {
            // Even a failure could not be noted: our own mistake, and nothing to go on with.
            Step::Paused(Failure::critical(error.to_string()))
        })
    }

    /// The store failed: tried again like any temporary failure, and a result that was only not journaled stays
    /// in memory meanwhile. A full disk must not cost a stage.
    fn stumble(&mut self, error: StoreError) -> Result<Step, StoreError> {
        if let Some((event, until)) = &self.unjournaled {
            warn!(
                sector = self.sector_name(),
                event = event.name(),
                "not journaled yet, kept and tried again: {error}"
            );
            return Ok(Step::WaitUntil(*until));
        }
        self.fail(if error.may_pass() {
            Failure::temporary(error.to_string())
        } else {
            Failure::critical(error.to_string())
        })
    }

    fn turn(&mut self) -> Result<Step, StoreError> {
        if let Some((event, until)) = self.unjournaled.take() {
            if until > self.parts.clock.now() {
                self.unjournaled = Some((event, until));
                return Ok(Step::WaitUntil(until));
            }
            return self.happen_and_report(event);
        }
        if let Some(ticket) = self.report {
            let Some(answer) = self.parts.manager.poll(ticket) else { return Ok(Step::WaitFor("report")) };
            self.report = None;
            return self.reported(answer);
        }
        match self.pending.take() {
            None => self.act(),
            Some(Pending::Call(ticket, call)) => match self.parts.manager.poll(ticket) {
                None => {
                    let method = call.method();
                    self.pending = Some(Pending::Call(ticket, call));
                    Ok(Step::WaitFor(method))
                }
                Some(answer) => self.answered(call, answer),
            },
            Some(Pending::Stage(slot, stage, target)) => match self.parts.executor.poll(slot) {
                Some(end) => self.ended(stage, end, target),
                None => {
                    self.pending = Some(Pending::Stage(slot, stage, target));
                    Ok(Step::WaitFor(stage.name()))
                }
            },
        }
    }

    /// Decides and begins the next thing.
    fn act(&mut self) -> Result<Step, StoreError> {
        if let Some(failure) = self.foreign_chain() {
            return Ok(Step::Paused(failure));
        }
        if let Some(step) = self.check_pc2()? {
            return Ok(step);
        }
        let record = self.record();
        if record.state == State::PC1Done && !record.pc2_dirty && !record.undone && self.store.pc2_marked() {
            // The store comes from another program that was killed inside pc2.
            self.happen(Event::StageStarted { stage: Stage::Pc2 })?;
        }
        let now = self.parts.clock.now();
        let candidates: Vec<_> =
            self.parts.stores.iter().filter(|store| !store.readonly).map(|store| store.name.clone()).collect();
        let action = match decide(self.record(), &self.sealing, &candidates, now) {
            Ok(action) => action,
            Err(failure) => return self.fail(failure),
        };
        match action {
            Action::Wait(until) => Ok(Step::WaitUntil(until)),
            Action::Paused(failure) => Ok(Step::Paused(failure)),
            Action::Call(call) => Ok(self.ask(call)),
            Action::TakeTicket(call) => {
                Ok(if self.has_slot(Stage::Pc1) { self.ask(call) } else { Step::WaitFor("pc1") })
            }
            Action::RemoveUndone => {
                self.store.remove_undone()?;
                self.happen(Event::UndoneRemoved)
            }
            Action::NoteSubmission => self.happen(Event::Submitting),
            Action::SkipDeals => self.happen_and_report(Event::DealsAcquired),
            Action::SkipProofCheck => self.happen_and_report(Event::ProofLanded),
            action => self.begin_stage(action),
        }
    }

    fn ask(&mut self, call: Call) -> Step {
        self.pending = Some(Pending::Call(self.parts.manager.submit(call.clone()), call));
        Step::Progressed
    }

    /// A sector of another simulated chain would be unknown to this one, and given up. It is not lost, only in
    /// the wrong company.
    fn foreign_chain(&self) -> Option<Failure> {
        let (record, here) = (self.record(), &self.parts.chain);
        if record.sector.is_none() || record.chain == *here {
            return None;
        }
        let name = |chain: &Option<String>| {
            chain.as_deref().map_or("a real manager".into(), |id| format!("simulated chain {id}"))
        };
        Some(Failure::critical(format!(
            "sector {} was allocated by {}, and this daemon runs with {}: start it with the manager that the sector belongs to \
             (sector_manager.embedded.path), or move the store {} away",
            self.sector_name(),
            name(&record.chain),
            name(here),
            self.store.root().display()
        )))
    }

    /// Whether this worker holds a slot of `stage`; queues for one if it does not.
    fn has_slot(&mut self, stage: Stage) -> bool {
        match self.slot {
            Some((slot, held)) if held == stage => self.parts.executor.granted(slot),
            _ => {
                self.give_up_slot();
                let slot = self.parts.executor.queue(stage);
                self.slot = Some((slot, stage));
                self.parts.executor.granted(slot)
            }
        }
    }

    fn give_up_slot(&mut self) {
        if let Some((slot, _)) = self.slot.take() {
            self.parts.executor.give_up(slot);
        }
        self.ticket_fresh = false;
    }

    /// Waits for a slot, prepares the stage's files, journals the intent, and hands the task over.
    fn begin_stage(&mut self, action: Action) -> Result<Step, StoreError> {
        if let Action::BuildTreeD = action
            && let Some(linked) = self.link_static_tree_d()?
        {
            return match linked {
                Ok(()) => self.happen_and_report(Event::TreeDBuilt { seconds: 0.0 }),
                Err(reason) => self.fail(Failure::permanent(reason)),
            };
        }
        let stage = tasks::stage_of(&action);
        if !self.has_slot(stage) {
            return Ok(Step::WaitFor(stage.name()));
        }
        if let (Action::Pc1, false, Some(id)) = (&action, self.ticket_fresh, self.record().id()) {
            // It may have expired while this worker queued or was down.
            return Ok(self.ask(Call::AssignTicket(id)));
        }
        let target = if let Action::Persist(store) = &action { Some(store.name.clone()) } else { None };
        let task = match tasks::build(action, &self.store, &self.parts)? {
            Ok(task) => task,
            Err(tasks::NoTask::Because(failure)) => return self.fail(failure),
            Err(tasks::NoTask::Instead(event)) => return self.happen_and_report(event),
        };
        self.happen(Event::StageStarted { stage })?;
        info!(sector = self.sector_name(), %stage, "started");
        self.ticket_fresh = false;
        Ok(self.start(task, stage, target))
    }

    /// Hands `task` over in the slot that was granted for it.
    fn start(&mut self, task: Task, stage: Stage, target: Option<String>) -> Step {
        let (slot, _) = self.slot.expect("it was granted");
        // What is said while the stage runs names its sector, whoever says it.
        let span = tracing::info_span!("stage", sector = self.sector_name(), %stage);
        span.in_scope(|| self.parts.executor.start(slot, task));
        (self.slot, self.pending) = (None, Some(Pending::Stage(slot, stage, target)));
        Step::Progressed
    }

    /// A stage came back.
    fn ended(&mut self, stage: Stage, (result, ran): End, target: Option<String>) -> Result<Step, StoreError> {
        let counted = if self.unchecked.is_some() { checked::NAME } else { stage.name() };
        metrics::stage_ended(counted, result.is_ok(), ran);
        if let Some(unchecked) = self.unchecked.take() {
            return self.checked(unchecked, result);
        }
        match result {
            Err(error) if error.permanent => self.fail(Failure::permanent(error.to_string())),
            Err(error) => self.fail(Failure::temporary(error.to_string())),
            Ok(Output::Pc2(output)) if self.sealing.verify_after_pc2 => {
                self.unchecked = Some(checked::Unchecked { output, seconds: ran.as_secs_f64() });
                Ok(Step::Progressed)
            }
            Ok(output) => {
                if let Output::AddPieces(found) = &output
                    && let Err(failure) = deals::compare(self.record(), found, &*self.parts.pieces)
                {
                    return self.fail(failure);
                }
                let event = self.event_of(output, ran.as_secs_f64(), target)?;
                let unmark = matches!(event, Event::Pc2Done { .. } | Event::ReplicaRestored);
                self.happen_and_report(event)?;
                if unmark {
                    // After the journal: a marker that stays is cleaned up, one that is missing would hide a torn replica.
                    self.store.unmark_pc2()?;
                }
                Ok(Step::Progressed)
            }
        }
    }

    /// A call came back.
    fn answered(&mut self, call: Call, answer: Result<Answer, ManagerError>) -> Result<Step, StoreError> {
        if let Call::AllocateSector(_) = call {
            return self.allocated(answer);
        }
        let answer = match answer {
            Ok(answer) => answer,
            // The sector is over, and a manager that was told before a crash has put it away already.
            Err(ManagerError::SectorNotFound { .. })
                if matches!(self.record().state, State::Finished | State::Aborted) =>
            {
                return self.drop_sector();
            }
            Err(error @ ManagerError::SectorNotFound { .. }) => {
                return self.happen_and_report(Event::Aborted { reason: error.to_string() });
            }
            Err(error @ ManagerError::Unreachable { .. }) => {
                // A manager that is away for hours is no failure of the sector: asked until it is back.
                warn!(sector = self.sector_name(), %error, "asked again later");
                self.give_up_slot();
                let until = self.parts.clock.now() + self.sealing.recover_interval.0;
                return self.happen(Event::Held { until });
            }
            Err(error) => return self.fail(Failure::temporary(error.to_string())),
        };
        let meaning = match (answer, self.record().sector) {
            (Answer::AcquireDeals(deals), Some(sector)) => deals::meaning(deals, sector, &self.sealing),
            (answer, _) => answers::read(&call, answer),
        };
        match meaning {
            answers::Meaning::Event(Event::TicketAssigned(ticket)) => {
                self.ticket_fresh = true;
                if self.record().ticket == Some(ticket) {
                    return Ok(Step::Progressed);
                }
                self.happen_and_report(Event::TicketAssigned(ticket))
            }
            answers::Meaning::Event(event) => {
                let rest = answers::rest_after(&event);
                self.happen_and_report(event)?;
                match rest {
                    Some(rest) => self.happen(Event::Held { until: self.parts.clock.now() + rest }),
                    None => Ok(Step::Progressed),
                }
            }
            answers::Meaning::PollAgain => {
                let until = self.parts.clock.now() + self.sealing.rpc_polling_interval.0;
                self.happen(Event::Held { until })
            }
            answers::Meaning::WaitFor(delay) => {
                let until = self.parts.clock.now() + delay;
                self.happen(Event::Held { until })
            }
            answers::Meaning::Dropped => self.drop_sector(),
            answers::Meaning::Failed(failure) => self.fail(failure),
        }
    }

    /// Takes a sector, or rests: briefly a few times, then for `seal_interval`.
    fn allocated(&mut self, answer: Result<Answer, ManagerError>) -> Result<Step, StoreError> {
        let sector = match answer {
            Ok(Answer::AllocateSector(sector)) => sector,
            Ok(other) => {
                warn!(?other, "the manager answered something else than was asked");
                None
            }
            Err(error) => {
                warn!(%error, "no sector allocated");
                None
            }
        };
        match sector {
            Some(sector) => {
                self.asks = 0;
                self.happen_and_report(Event::Allocated { sector, chain: self.parts.chain.clone() })?;
                match unasked(sector, &self.sealing) {
                    Some(reason) => self.happen_and_report(Event::Aborted { reason }),
                    None => Ok(Step::Progressed),
                }
            }
            None => {
                self.asks += 1;
                let tired = self.asks >= self.sealing.request_task_max_retries.max(1);
                let pause = if tired { self.sealing.seal_interval } else { self.sealing.recover_interval };
                self.asks = if tired { 0 } else { self.asks };
                let until = self.parts.clock.now() + pause.0;
                self.happen(Event::Held { until })
            }
        }
    }

    /// Removes a finished or aborted sector's files and its record.
    fn drop_sector(&mut self) -> Result<Step, StoreError> {
        let record = self.record().clone();
        self.store.drop_files()?;
        self.happen(Event::Dropped)?;
        metrics::sector_ended(record.state);
        self.last_error = None;
        Ok(Step::Finished(Box::new(record)))
    }

    fn fail(&mut self, failure: Failure) -> Result<Step, StoreError> {
        self.give_up_slot();
        if failure.level == Level::Abort {
            self.last_error = Some(failure.to_string());
            return self.happen_and_report(Event::Aborted { reason: failure.reason });
        }
        warn!(sector = self.sector_name(), state = %self.record().state, "{failure}");
        let (prev, now) = (self.record().state, self.parts.clock.now());
        let told = SectorFailure { level: failure.level.to_string(), desc: failure.reason.clone() };
        self.last_error = Some(failure.to_string());
        let level = failure.level;
        self.happen(Event::Failed { failure, now })?;
        // Tried too often, a temporary failure has become a permanent one.
        metrics::failed(self.record().paused.as_ref().map_or(level, |paused| paused.level), prev);
        self.submit_report(prev, "Failed", Some(told));
        Ok(Step::Progressed)
    }

    fn happen(&mut self, event: Event) -> Result<Step, StoreError> {
        let before = self.record().state;
        if event.is_durable() {
            let ahead = super::sector::apply(self.record().clone(), event.clone(), &self.sealing);
            let state = ahead.map_or(self.record().state, |record| record.state);
            self.parts.hooks.before_journal(&event, state);
            self.store.apply(event.clone(), &self.sealing)?;
            self.parts.hooks.after_journal(&event, state);
            self.happened(&event, before);
        } else {
            self.store.apply(event, &self.sealing)?;
        }
        Ok(Step::Progressed)
    }

    /// What follows from a durable event besides the record: it is counted, and nothing is kept that belongs to what was.
    fn happened(&mut self, event: &Event, before: State) {
        if self.record().state != State::PC1Done {
            self.unchecked = None;
        }
        match event {
            Event::Persisted { .. } => metrics::transferred(self.store.persisted_bytes()),
            Event::Aborted { .. } => {
                metrics::failed(Level::Abort, before);
                self.give_up_slot();
            }
            Event::SetBack { .. } => self.give_up_slot(),
            _ => {}
        }
    }

    /// Makes a durable event happen and tells the manager of the new state.
    fn happen_and_report(&mut self, event: Event) -> Result<Step, StoreError> {
        let (prev, name) = (self.record().state, event.name());
        if let Event::Aborted { reason }
        | Event::PreCommitFailed { reason }
        | Event::ProofFailed { reason }
        | Event::C1Lost { reason } = &event
        {
            warn!(sector = self.sector_name(), event = name, reason);
        }
        if let Err(error) = self.happen(event.clone()) {
            if error.may_pass() {
                self.unjournaled = Some((event, self.parts.clock.now() + self.sealing.recover_interval.0));
            }
            return Err(error);
        }
        if self.record().state != prev {
            self.last_error = None;
            info!(sector = self.sector_name(), state = %self.record().state, "reached");
        }
        self.submit_report(prev, name, None);
        Ok(Step::Progressed)
    }

    fn submit_report(&mut self, prev: State, event: &str, failure: Option<SectorFailure>) {
        let Some(id) = self.record().id() else { return };
        let worker = WorkerIdentifier {
            instance: self.parts.instance.clone(),
            location: self.store.root().to_string_lossy().into_owned(),
        };
        let state_change =
            SectorStateChange { prev: prev.to_string(), next: self.record().state.to_string(), event: event.into() };
        let request = ReportStateReq { worker, state_change, failure };
        self.report = Some(self.parts.manager.submit(Call::ReportState(id, request)));
    }

    /// The manager may answer a report with "this sector is over".
    fn reported(&mut self, answer: Result<Answer, ManagerError>) -> Result<Step, StoreError> {
        match answer {
            Ok(Answer::ReportState(state)) if state.finalized => {
                if !matches!(self.record().state, State::Empty | State::Finished | State::Aborted) {
                    let reason = state.abort_reason.unwrap_or_else(|| "finalized by the manager".into());
                    return self.happen(Event::Aborted { reason });
                }
            }
            Ok(_) => {}
            Err(error) => warn!(sector = self.sector_name(), %error, "state not reported"),
        }
        Ok(Step::Progressed)
    }

    fn sector_name(&self) -> String {
        self.store.paths().map_or_else(|| "-".into(), |paths| paths.name().to_owned())
    }

    /// `None`: no static file for this sector's size, or the sector is not empty.
    fn link_static_tree_d(&self) -> Result<Option<Result<(), String>>, StoreError> {
        if !self.record().deals.is_empty() {
            return Ok(None);
        }
        let size = self.record().sector.map(|sector| sector.proof_type.sector_size());
        let Some((size, file)) = size.and_then(|size| Some((size, self.parts.static_tree_d.get(&size)?))) else {
            return Ok(None);
        };
        self.store.link_static_tree_d(file, size).map(Some)
    }

    fn event_of(&self, output: Output, seconds: f64, target: Option<String>) -> Result<Event, StoreError> {
        Ok(match output {
            Output::AddPieces(pieces) => Event::PiecesAdded { pieces, seconds },
            Output::TreeD => Event::TreeDBuilt { seconds },
            Output::Pc1(output) => Event::Pc1Done { output, seconds },
            Output::RestoreReplica => Event::ReplicaRestored,
            Output::Pc2(output) => Event::Pc2Done { output, seconds },
            Output::C1(output) => Event::C1Done { digest: self.store.keep_c1(&output)?, seconds },
            Output::C2(output) => Event::C2Done { proof: B64Bytes(output.proof), seconds },
            Output::Transfer => Event::Persisted { store: target.expect("a transfer starts with its target"), seconds },
        })
    }
}

/// Also where a thread panics: a slot that nobody gives back would stay taken until the daemon's end. One in which a task
/// runs is free when that has ended.
impl Drop for Worker {
    fn drop(&mut self) {
        self.give_up_slot();
    }
}

#[cfg(test)]
pub(crate) mod tests;
