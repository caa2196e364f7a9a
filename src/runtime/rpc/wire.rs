//! The shapes of the worker's RPC, with the names that the field's tools know. Fields of ours come after theirs.

use crate::runtime::control::{Doing, Told};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Every thread.
pub const LIST: &str = "VenusWorker.WorkerList";
/// The worker's version.
pub const VERSION: &str = "VenusWorker.WorkerVersion";
/// Pause a thread.
pub const PAUSE: &str = "VenusWorker.WorkerPause";
/// Let a thread go on.
pub const RESUME: &str = "VenusWorker.WorkerResume";
/// Known, and refused.
pub const SET_ENV: &str = "VenusWorker.WorkerSetEnv";
/// Known, and refused.
pub const REMOVE_ENV: &str = "VenusWorker.WorkerRemoveEnv";

/// One sealing thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerInfo {
    pub location: PathBuf,
    pub plan: String,
    /// The sector's name; null without one.
    pub job_id: Option<String>,
    /// What pause and resume call the thread.
    pub index: usize,
    pub thread_state: ThreadState,
    /// The sector's state.
    pub job_state: String,
    /// The stage that is worked on or queued for.
    pub job_stage: Option<String>,
    pub last_error: Option<String>,
}

/// What a thread does, and for how many seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state")]
pub enum ThreadState {
    Idle,
    Paused { elapsed: u64 },
    Running { elapsed: u64, proc: String },
    Waiting { elapsed: u64 },
}

impl From<Told> for WorkerInfo {
    fn from(told: Told) -> Self {
        let elapsed = told.elapsed.as_secs();
        Self {
            location: told.location,
            plan: told.plan,
            job_id: told.view.sector,
            index: told.index,
            thread_state: match told.view.doing {
                Doing::Idle => ThreadState::Idle,
                Doing::Paused => ThreadState::Paused { elapsed },
                Doing::Running(proc) => ThreadState::Running { elapsed, proc: proc.to_owned() },
                Doing::Waiting => ThreadState::Waiting { elapsed },
            },
            job_state: told.view.state.to_string(),
            job_stage: told.view.stage.map(str::to_owned),
            last_error: told.view.last_error,
        }
    }
}

impl ThreadState {
    /// Its name on the wire.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Idle => "Idle",
            Self::Paused { .. } => "Paused",
            Self::Running { .. } => "Running",
            Self::Waiting { .. } => "Waiting",
        }
    }

    /// For how many seconds; none for what has not begun.
    pub fn elapsed(&self) -> Option<u64> {
        match self {
            Self::Idle => None,
            Self::Paused { elapsed } | Self::Running { elapsed, .. } | Self::Waiting { elapsed } => Some(*elapsed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{control::View, sector::State};
    use std::time::Duration;

    #[test]
    fn a_thread_is_told_in_the_fields_own_bytes() {
        let view = View {
            doing: Doing::Running("pc1"),
            sector: Some("s-t01000-7".into()),
            state: State::TicketAssigned,
            stage: Some("pc1"),
            last_error: None,
        };
        let told = Told {
            index: 2,
            location: "/s".into(),
            plan: "sealer".into(),
            view,
            elapsed: Duration::from_millis(61_900),
        };
        assert_eq!(
            serde_json::to_string(&WorkerInfo::from(told)).unwrap(),
            r#"{"location":"/s","plan":"sealer","job_id":"s-t01000-7","index":2,"thread_state":{"state":"Running","elapsed":61,"proc":"pc1"},"job_state":"TicketAssigned","job_stage":"pc1","last_error":null}"#
        );
        let json = |state: &ThreadState| serde_json::to_string(state).unwrap();
        assert_eq!(json(&ThreadState::Idle), r#"{"state":"Idle"}"#);
        assert_eq!(json(&ThreadState::Paused { elapsed: 3 }), r#"{"state":"Paused","elapsed":3}"#);
    }
}
