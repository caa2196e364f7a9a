//! Distrusts a worker.toml: every rule that a plan must keep on a machine, checked from scratch.
//!
//! ```text
//! worker.toml ─┐                ┌─ cpusets   there, switched on, allowed, of one node, shared only in turns
//! machine ─────┼─► Case ─ each ─┼─ pc1       units for all tasks; `units` plays the prover through once more
//! profile ─────┘    processor   ├─ memory    of each node, and of the machine with everything at its limit at once
//!                   with facts  ├─ disks     room for every sector in flight
//!                               ├─ locks, limits, gpus, envs, balance
//!                               ▼
//!                            Report: findings with severity, key path, numbers, what to do
//! ```
//!
//! Nothing here comes from the part that places plans: a mistake there must not be repeated here. That is why even
//! the arithmetic of PC1 units is written down a second time.
//!
//! An *error* is what does not start, destroys work, or silently runs at a fraction of its speed. A *warning* works and
//! should be different; *advice* is worth knowing.

mod balance;
mod case;
mod cpusets;
mod disks;
mod envs;
mod gpus;
mod limits;
mod locks;
mod memory;
mod pc1;
mod units;

pub use disks::StoreRoom;
pub use locks::circle;
pub use memory::{MemoryLine, MemorySum, NodeSum};
pub use units::{Arithmetic, units};

use crate::{
    machine::Machine,
    profile::{Profile, Suite},
    units::{Prover, SectorSize},
    worker_config::{Diagnosis, WorkerConfig},
};
use case::Case;
use serde::Serialize;

/// What is to be judged.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub config: &'a WorkerConfig,
    /// What the loader said of the file.
    pub warnings: &'a [Diagnosis],
    pub machine: &'a Machine,
    pub profile: &'a Profile,
    pub prover: Prover,
    pub suite: Suite,
    pub ghz: Option<f64>,
    /// Memory that does not suffice is a warning.
    pub overcommit: bool,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Error,
    Warning,
    Advice,
}

/// One thing that is wrong, or could be better.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub severity: Severity,
    /// A word for programs.
    pub code: &'static str,
    /// The key path; empty for what is nobody's key.
    pub path: String,
    /// What was found, with its numbers.
    pub found: String,
    /// What to do.
    pub advice: String,
}

/// The verdict.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Whether no finding is an error.
    pub good: bool,
    pub sector_size: SectorSize,
    pub prover: Prover,
    /// The gravest first, then in the order of the checks.
    pub findings: Vec<Finding>,
    /// What each PC1 processor's tasks are bound to.
    pub pc1: Vec<Pc1Sum>,
    pub memory: MemorySum,
    pub stores: Vec<StoreRoom>,
}

/// A PC1 processor's units.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pc1Sum {
    pub path: String,
    pub tasks: u32,
    /// The CPUs of each unit, the hashing one first.
    pub units: Vec<Vec<u32>>,
}

impl Report {
    /// How many findings are of this severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }
}

/// Judges a configuration on a machine.
pub fn verify(question: &Question) -> Report {
    let case = Case::of(question);
    let (memory, of_memory) = memory::check(&case);
    let (stores, of_disks) = disks::check(&case);
    let checks = [
        told(question),
        cpusets::check(&case),
        pc1::check(&case),
        of_memory,
        of_disks,
        locks::check(&case),
        limits::check(&case),
        gpus::check(&case),
        envs::check(&case),
        balance::check(&case),
    ];
    let mut findings: Vec<Finding> = checks.into_iter().flatten().collect();
    findings.sort_by_key(|finding| finding.severity);
    Report {
        good: findings.iter().all(|finding| finding.severity != Severity::Error),
        sector_size: case.sector_size,
        prover: question.prover,
        findings,
        pc1: pc1::sums(&case),
        memory,
        stores,
    }
}

/// What the loader has found is found.
fn told(question: &Question) -> Vec<Finding> {
    let of = |warning: &Diagnosis| Finding {
        severity: Severity::Warning,
        code: "loader",
        path: warning.path.clone(),
        found: warning.found.clone(),
        advice: warning.accepted.clone(),
    };
    question.warnings.iter().map(of).collect()
}

fn finding(
    severity: Severity,
    code: &'static str,
    path: impl Into<String>,
    found: impl Into<String>,
    advice: impl Into<String>,
) -> Finding {
    Finding { severity, code, path: path.into(), found: found.into(), advice: advice.into() }
}

/// `1 core`, `3 cores`.
fn count(number: impl TryInto<u64>, noun: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    let plural = if number == 1 {
        ""
    } else if noun.ends_with('s') {
        "es"
    } else {
        "s"
    };
    format!("{number} {noun}{plural}")
}
