//! Judges a cpuset before a processor gets it: what it is on this machine, and what the prover would do with it.
//!
//! ```text
//! machine + cpuset ─► set (groups, nodes, siblings, what cannot be used) ┐
//!                     pc1_units (what the prover forms)                  ├─► judge ─► Verdict
//!                                        suggest (nearest good sets) ◄───┴──────────► report
//!                     config: a Verdict per processor, and the overlaps between them
//! ```
//!
//! A finding that *fails* ends the processor or a task; a *slow* one lets it run slower than it should, and
//! nobody says so; both make a set not good. *Advice* does not. Whatever is suggested has been judged good by
//! the same function first. Pure: facts come as a `Machine`.

mod config;
mod judge;
mod report;
mod set;
mod suggest;
mod words;

pub use config::{ConfigVerdict, Overlap, ProcessorVerdict, judge_config};
pub use judge::{Finding, OtherProver, Pc1Facts, Severity, Verdict, judge, judge_alone};
pub use report::{write_config, write_suggestions, write_verdict};
pub use set::{NodeShare, SetFacts};
pub use suggest::{Nearest, Suggestion, suggest};

use crate::{machine::pc1_units::Prover, worker_config::StageName};

/// What a cpuset is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Absent: a helper that runs beside the stages.
    pub stage: Option<StageName>,
    /// Whether PC1 runs multi-core, so that its tasks are bound to units.
    pub multicore: bool,
    pub prover: Prover,
    /// Helper threads of a PC1 task, each with a core of its own.
    pub producers: usize,
    /// Tasks at once; absent: not asked.
    pub concurrent: Option<usize>,
    /// Sets are meant to hold all SMT siblings of their cores, not one CPU per core.
    pub smt: bool,
}

impl Question {
    /// PC1 with the prover's own default of producers.
    pub fn pc1(prover: Prover) -> Self {
        Self {
            stage: Some(StageName::Pc1),
            multicore: true,
            prover,
            producers: prover.default_producers(),
            concurrent: None,
            smt: false,
        }
    }

    /// Whether its tasks are bound to units.
    pub fn forms_units(&self) -> bool {
        self.stage == Some(StageName::Pc1) && self.multicore
    }

    /// The stage's name.
    pub fn stage_name(&self) -> &'static str {
        self.stage.map_or("sealing_daemons", StageName::name)
    }
}
