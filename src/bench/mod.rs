//! Measures what stages take on this machine, and how fast its disks are, into a profile that `plan` reads; or reads what
//! logs tell of it.
//!
//! ```text
//! Machine ─ layout ─► layouts ─┐                     ┌─ sample  minutes, output an hour, the best ─┐
//!                              ├─ order ─► steps ─► run                                            ├─► rows ─► profile
//! profile (memory, room) ──────┘                     └─ disk    sequential and random ─────────────┘
//!                                            logs ─ import ─► tasks ─► table ───────────────────────┘
//! ```
//!
//! Stages run as the daemon runs them: by its executor, in processors placed as it places them, as many at once as a
//! layout says. A task that runs beside others of its kind takes longer than one alone, so a figure is only worth
//! something with the layout that it was had in; the best layout's figure goes into the profile.
//!
//! What always holds: memory and room are checked before a stage runs; whatever a run makes lies in one locked folder a
//! location (`work`), which goes with the run or with the next one; a run that was killed loses no finished measurement
//! (`state`).

pub mod disk;
pub mod import;
pub mod layout;
pub mod order;
mod rows;
pub mod run;
pub mod sample;
mod sector;
pub mod state;
mod work;

pub use rows::{Origin, disk_row, import_rows, profile, stage_rows};

use crate::{profile::Stage, runtime, sys::durable::DurableError, units::Bytes};
use std::path::PathBuf;

/// Why a measurement was not made.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    #[error(transparent)]
    Durable(#[from] DurableError),
    #[error("{}: another run works in there", .0.display())]
    Busy(PathBuf),
    #[error("{stage}: {reason}")]
    Stage { stage: Stage, reason: String },
    #[error("start the processors of {stage}: {source}")]
    Start {
        stage: Stage,
        #[source]
        source: runtime::daemon::DaemonError,
    },
    #[error(
        "{stage}, {layout}: takes {} of memory and {} are available; end what else runs, or leave the stage out with --stages",
        .need.human(), .free.human()
    )]
    Memory { stage: Stage, layout: String, need: Bytes, free: Bytes },
    #[error("{what}: {why}")]
    Host { what: &'static str, why: String },
    #[error("stopped by {0}: what was measured is kept, --resume goes on")]
    Stopped(&'static str),
    #[error(
        "{}: a run that was not finished left this; --resume goes on with it, or remove the file to begin anew",
        .0.display()
    )]
    Unfinished(PathBuf),
    #[error(
        "{}: it was begun with other arguments or on another machine ({why}); repeat those, or remove the file to begin anew",
        path.display()
    )]
    OtherRun { path: PathBuf, why: String },
}

/// Who looks on while a run goes. Nothing has to be done with what it hears.
pub trait Watch {
    /// Something to say once.
    fn say(&mut self, text: &str);
    /// So many of so many measurements are done; now comes `what`, which may take `minutes`.
    fn begin(&mut self, done: usize, of: usize, what: &str, minutes: f64);
    /// Tasks of this measurement that have ended, of all.
    fn tasks(&mut self, ended: u32, of: u32);
}
