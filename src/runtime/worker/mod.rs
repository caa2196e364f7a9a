//! One sealing thread's loop body: decide, perform, apply, journal.
//!
//! `Worker::step` is one turn. Work that takes time (a stage, a manager's answer) is submitted in one turn and
//! polled in later ones, so a step never waits and a stop is prompt. The worker owns its store; it knows
//! managers and executors by their traits only.
//!
//! Order around a crash: the intent is journaled (`StageStarted`), the work performed, the result journaled.
//! What lies between is done again, and `manager/mod.rs` says why that is safe for each call.

mod answers;
mod tasks;

use super::{
    manager::{Call, CallTicket, ManagerError, SectorManager, wire::*},
    processor::{Executor, Output, StageError, Task, TaskState, TaskTicket},
    sector::{Action, Event, Failure, Record, State, decide},
    store::{Store, StoreError},
};
use crate::{units::SectorSize, worker_config::Sealing};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tracing::{info, warn};

/// What time it is, as an argument.
pub trait Clock: Send + Sync {
    /// The wall clock.
    fn now(&self) -> SystemTime;
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
    pub clock: Arc<dyn Clock>,
    pub hooks: Arc<dyn Hooks>,
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
    report: Option<CallTicket>,
    asks: u32,
}

enum Pending {
    Call(CallTicket, Call),
    Stage(TaskTicket, &'static str),
}

impl Worker {
    /// A worker that goes on where the store's record stands.
    pub fn new(store: Store, sealing: Sealing, parts: Parts) -> Self {
        Self { store, sealing, parts, pending: None, report: None, asks: 0 }
    }

    /// The record as it stands.
    pub fn record(&self) -> &Record {
        self.store.record()
    }

    /// The store's folder.
    pub fn location(&self) -> &std::path::Path {
        self.store.root()
    }

    /// The persistent stores that sectors go to.
    pub fn stores(&self) -> &[PersistentStore] {
        &self.parts.stores
    }

    /// The stage that is being worked on, if one is.
    pub fn stage_in_flight(&self) -> Option<&'static str> {
        match self.pending {
            Some(Pending::Stage(_, stage)) => Some(stage),
            _ => None,
        }
    }

    /// One turn. A failure of the store itself pauses the worker: without a journal nothing may go on.
    pub fn step(&mut self) -> Step {
        self.turn().unwrap_or_else(|error| Step::Paused(Failure::critical(error.to_string())))
    }

    fn turn(&mut self) -> Result<Step, StoreError> {
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
            Some(Pending::Stage(ticket, stage)) => match self.parts.executor.poll(ticket) {
                TaskState::Ended(result, ran) => self.ended(result, ran),
                TaskState::Queued | TaskState::Running => {
                    self.pending = Some(Pending::Stage(ticket, stage));
                    Ok(Step::WaitFor(stage))
                }
            },
        }
    }

    /// Decides and begins the next thing.
    fn act(&mut self) -> Result<Step, StoreError> {
        if self.record().state == State::PC1Done && !self.record().pc2_dirty && self.store.pc2_marked() {
            // The store comes from another program that was killed inside pc2.
            self.happen(Event::StageStarted { stage: "pc2".into() })?;
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
            Action::Call(call) | Action::Report(call) => {
                self.pending = Some(Pending::Call(self.parts.manager.submit(call.clone()), call));
                Ok(Step::Progressed)
            }
            Action::SkipDeals => self.happen_and_report(Event::DealsAcquired),
            Action::SkipProofCheck => self.happen_and_report(Event::ProofLanded),
            action => self.begin_stage(action),
        }
    }

    /// Prepares the files of a stage, journals the intent, and hands the task over.
    fn begin_stage(&mut self, action: Action) -> Result<Step, StoreError> {
        if let Action::BuildTreeD = action
            && let Some(linked) = self.link_static_tree_d()?
        {
            return match linked {
                Ok(()) => self.happen_and_report(Event::TreeDBuilt { seconds: 0.0 }),
                Err(reason) => self.fail(Failure::permanent(reason)),
            };
        }
        let task = match self.build_task(action)? {
            Ok(task) => task,
            Err(tasks::NoTask::Because(failure)) => return self.fail(failure),
            Err(tasks::NoTask::Instead(event)) => return self.happen_and_report(event),
        };
        let stage = task.stage();
        self.happen(Event::StageStarted { stage: stage.into() })?;
        info!(sector = self.sector_name(), stage, "started");
        self.pending = Some(Pending::Stage(self.parts.executor.submit(task), stage));
        Ok(Step::Progressed)
    }

    /// A stage came back.
    fn ended(&mut self, result: Result<Output, StageError>, ran: Duration) -> Result<Step, StoreError> {
        match result {
            Err(error) => self.fail(Failure::temporary(error.to_string())),
            Ok(output) => {
                let event = self.event_of(output, ran.as_secs_f64())?;
                if matches!(event, Event::Pc2Done { .. } | Event::ReplicaRestored) {
                    self.happen_and_report(event)?;
                    // After the journal: a marker that stays is cleaned up, one that is missing would hide a torn replica.
                    self.store.unmark_pc2()?;
                    return Ok(Step::Progressed);
                }
                self.happen_and_report(event)
            }
        }
    }

    /// A call came back.
    fn answered(
        &mut self,
        call: Call,
        answer: Result<super::manager::Answer, ManagerError>,
    ) -> Result<Step, StoreError> {
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
            Err(error) => return self.fail(Failure::temporary(error.to_string())),
        };
        match answers::read(&call, answer) {
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
    fn allocated(&mut self, answer: Result<super::manager::Answer, ManagerError>) -> Result<Step, StoreError> {
        let sector = match answer {
            Ok(super::manager::Answer::AllocateSector(sector)) => sector,
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
                self.happen_and_report(Event::Allocated(sector))
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
        Ok(Step::Finished(Box::new(record)))
    }

    fn fail(&mut self, failure: Failure) -> Result<Step, StoreError> {
        if failure.level == super::sector::Level::Abort {
            return self.happen_and_report(Event::Aborted { reason: failure.reason });
        }
        warn!(sector = self.sector_name(), state = %self.record().state, "{failure}");
        let (prev, now) = (self.record().state, self.parts.clock.now());
        let told = SectorFailure { level: failure.level.to_string(), desc: failure.reason.clone() };
        self.happen(Event::Failed { failure, now })?;
        self.submit_report(prev, "Failed", Some(told));
        Ok(Step::Progressed)
    }

    fn happen(&mut self, event: Event) -> Result<Step, StoreError> {
        if event.is_durable() {
            let ahead = super::sector::apply(self.record().clone(), event.clone(), &self.sealing);
            let state = ahead.map_or(self.record().state, |record| record.state);
            self.parts.hooks.before_journal(&event, state);
            self.store.apply(event.clone(), &self.sealing)?;
            self.parts.hooks.after_journal(&event, state);
        } else {
            self.store.apply(event, &self.sealing)?;
        }
        Ok(Step::Progressed)
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
        self.happen(event)?;
        if self.record().state != prev {
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
    fn reported(&mut self, answer: Result<super::manager::Answer, ManagerError>) -> Result<Step, StoreError> {
        match answer {
            Ok(super::manager::Answer::ReportState(state)) if state.finalized => {
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

    /// `None`: no static file for this sector's size.
    fn link_static_tree_d(&self) -> Result<Option<Result<(), String>>, StoreError> {
        let size = self.record().sector.map(|sector| sector.proof_type.sector_size());
        let Some((size, file)) = size.and_then(|size| Some((size, self.parts.static_tree_d.get(&size)?))) else {
            return Ok(None);
        };
        self.store.link_static_tree_d(file, size).map(Some)
    }

    fn build_task(&self, action: Action) -> Result<Result<Task, tasks::NoTask>, StoreError> {
        tasks::build(action, &self.store, &self.parts.stores)
    }

    fn event_of(&self, output: Output, seconds: f64) -> Result<Event, StoreError> {
        Ok(match output {
            Output::AddPieces(pieces) => Event::PiecesAdded { pieces, seconds },
            Output::TreeD => Event::TreeDBuilt { seconds },
            Output::Pc1(output) => Event::Pc1Done { output, seconds },
            Output::RestoreReplica => Event::ReplicaRestored,
            Output::Pc2(output) => Event::Pc2Done { output, seconds },
            Output::C1(output) => Event::C1Done { digest: self.store.keep_c1(&output)?, seconds },
            Output::C2(output) => Event::C2Done { proof: B64Bytes(output.proof), seconds },
            Output::Transfer => Event::Persisted { seconds },
        })
    }
}

#[cfg(test)]
mod tests;
