//! CONTRACT what each stage of sealing takes: minutes or work, cores, memory, GPU, disk traffic, room on disk.
//!
//! ```text
//! shipped rows (data/*.toml) ─┐
//!                             ├─► Profile ── lookup(Question) ─► Cost   one stage, as one machine would do it
//! a user's measurements ──────┘             (each field from the most fitting row that has it; the user's first)
//! ```
//!
//! A *row* says for whom it holds (stage, sector size, prover, suite, CPU, GPU) and as many figures as its source
//! gives; so a measurement of nothing but minutes leaves the memory figures of the shipped rows in force. Every row
//! has a source and a band: figures that cannot be traced or trusted without limit are not in here.
//!
//! Beside it stands the `catalogue` of processors and GPUs: the clock that PC1's model needs, and machines by name.
//! Pure: units and data, no files, no clock.

pub mod catalogue;
mod lookup;
mod names;
mod parse;
mod row;
mod shipped;

pub use crate::units::Suite;
pub use lookup::{Cost, Question, Time};
pub use parse::ProfileError;
pub use row::{Band, DiskSpeed, GpuKey, Row, Stage, Wait, WaitName};

use serde::{Deserialize, Serialize};

/// The version of the contract that this program writes and reads.
pub const VERSION: u32 = 1;

/// Everything that is known about what stages take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// `VERSION`.
    pub version: u32,
    /// Rows that go before the others whatever their fit: a user's measurements.
    #[serde(default, rename = "stage", skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<Row>,
    /// Pauses in which no core works: for the chain and its messages.
    #[serde(default, rename = "wait", skip_serializing_if = "Vec::is_empty")]
    pub waits: Vec<Wait>,
    /// How fast disks are that stages read from and write to.
    #[serde(default, rename = "disk", skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<DiskSpeed>,
    /// How many of `rows` are a user's: the first ones. Not written: what is written is all the writer's own.
    #[serde(skip)]
    pub(crate) own_rows: usize,
}

impl Profile {
    /// A profile of these rows alone, all of them its user's.
    pub fn of(rows: Vec<Row>, disks: Vec<DiskSpeed>) -> Self {
        Self { version: VERSION, own_rows: rows.len(), rows, waits: Vec::new(), disks }
    }
}
