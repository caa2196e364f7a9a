//! The moments that are counted, as functions, so that whoever counts names no metric.

use super::table::*;
use crate::runtime::{
    control::{Board, Doing},
    manager::ManagerError,
    rpc::wire,
    sector::{Level, State},
    stage::Stage,
};
use ::metrics::{counter, gauge, histogram};
use std::time::{Duration, Instant};

/// A task of a stage, or what is counted beside the stages, ended after `ran`.
pub fn stage_ended(stage: &'static str, well: bool, ran: Duration) {
    let outcome = if well { "ok" } else { "failed" };
    histogram!(STAGE_DURATION, "stage" => stage, "outcome" => outcome).record(ran.as_secs_f64());
}

/// A task got its slot after it had waited.
pub fn queue_waited(stage: Stage, waited: Duration) {
    histogram!(QUEUE_WAIT, "stage" => stage.name()).record(waited.as_secs_f64());
}

/// A failure of this consequence, met in this state of a sector.
pub fn failed(level: Level, state: State) {
    counter!(FAILURES, "level" => level.to_string()).increment(1);
    if level == Level::Temporary {
        counter!(RETRIES, "state" => state.to_string()).increment(1);
    }
}

/// A child fell and will be started again.
pub fn child_restarts(role: &'static str, index: usize) {
    counter!(CHILD_RESTARTS, "stage" => role, "child" => index.to_string()).increment(1);
}

/// So many bytes of a sector lie in a persistent store.
pub fn transferred(bytes: u64) {
    counter!(TRANSFERRED).increment(bytes);
}

/// A sector has ended in this state.
pub fn sector_ended(state: State) {
    let result = if state == State::Finished { "finished" } else { "aborted" };
    counter!(SECTORS, "result" => result).increment(1);
}

/// The manager was called, and this came of it.
pub fn manager_called<T>(method: &'static str, answer: &Result<T, ManagerError>, took: Duration) {
    let outcome = match answer {
        Ok(_) => "ok",
        Err(ManagerError::SectorNotFound { .. }) => "not_found",
        Err(ManagerError::Refused { .. }) => "refused",
        Err(ManagerError::Unreachable { .. }) => "unreachable",
    };
    counter!(MANAGER_CALLS, "method" => method, "outcome" => outcome).increment(1);
    histogram!(MANAGER_CALL_DURATION, "method" => method).record(took.as_secs_f64());
}

/// An event is in a journal.
pub fn journaled() {
    counter!(JOURNAL_WRITES, "kind" => "event").increment(1);
}

/// A journal was cut and a snapshot written.
pub fn snapshot_written() {
    counter!(JOURNAL_WRITES, "kind" => "snapshot").increment(1);
}

/// The `config.toml` of a store was looked at because it had changed.
pub fn reloaded(outcome: &'static str) {
    counter!(RELOADS, "outcome" => outcome).increment(1);
}

/// Somebody called the worker's RPC. Names that are no methods count together: a stranger chooses them.
pub fn rpc_call(method: &str, well: bool) {
    const METHODS: [&str; 6] = [wire::LIST, wire::VERSION, wire::PAUSE, wire::RESUME, wire::SET_ENV, wire::REMOVE_ENV];
    let method = METHODS.into_iter().find(|known| *known == method).unwrap_or("other");
    counter!(RPC_CALLS, "method" => method, "outcome" => if well { "ok" } else { "error" }).increment(1);
}

/// What is read off at the moment of asking.
pub(super) fn snapshot(board: &Board) {
    gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    let threads = board.list(Instant::now());
    for state in ["idle", "running", "waiting", "paused"] {
        let name = |doing: &Doing| match doing {
            Doing::Idle => "idle",
            Doing::Running(_) => "running",
            Doing::Waiting => "waiting",
            Doing::Paused => "paused",
        };
        let count = threads.iter().filter(|thread| name(&thread.view.doing) == state).count();
        gauge!(THREADS, "state" => state).set(count as f64);
    }
}

/// Counters that alerts are made of begin at 0 and not with their first event, which would be no increase.
pub(super) fn begin() {
    for result in ["finished", "aborted"] {
        counter!(SECTORS, "result" => result).increment(0);
    }
    for level in [Level::Temporary, Level::Permanent, Level::Critical, Level::Abort] {
        counter!(FAILURES, "level" => level.to_string()).increment(0);
    }
    for kind in ["event", "snapshot"] {
        counter!(JOURNAL_WRITES, "kind" => kind).increment(0);
    }
    counter!(TRANSFERRED).increment(0);
}
