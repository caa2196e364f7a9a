//! CONTRACT damocles-worker.toml: what `plan` writes is what `daemon` loads.
//!
//! ```text
//! text ─► tree (values with lines) ─► raw (as written, old forms too) ─► lower (defaults, merges, checks) ─► types
//!                    read, values (typed reads that collect every problem)                render ◄──────────┘
//! ```
//!
//! `parse` never stops at the first problem: an operator gets all of them, each with its key path, what
//! was found and what is accepted. `types` holds no `Option` that has a default.

mod addr;
mod defaults;
mod diagnosis;
mod lower;
mod raw;
mod read;
mod render;
mod secret;
mod suggest;
mod tree;
mod types;
mod values;

pub use addr::{AddrError, ManagerUrl};
pub use diagnosis::{Diagnosis, Problems};
pub use render::render;
pub use types::*;

use diagnosis::Log;

/// A configuration that loaded, and what its writer should know about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// Every default filled in, every thread's settings merged.
    pub config: WorkerConfig,
    /// Accepted, but old, unknown, without effect or unlikely to be meant.
    pub warnings: Vec<Diagnosis>,
}

/// A served manager's configuration, and what its writer should know about it.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedManager {
    pub config: ManagerConfig,
    pub warnings: Vec<Diagnosis>,
}

/// Reads what `damocles-worker manager` is told: a file of its own, or the damocles-worker.toml of a daemon.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn parse_manager(text: &str) -> Result<LoadedManager, Problems> {
    let mut log = Log::default();
    let config = tree::parse(text, &mut log).map(|root| {
        let raw = raw::Config::read_manager(&root, &mut log);
        lower::manager_config(&raw, &mut log)
    });
    let (problems, warnings) = log.into_sorted();
    match config {
        Some(config) if problems.is_empty() => Ok(LoadedManager { config, warnings }),
        _ => Err(Problems { problems, warnings }),
    }
}

/// Reads a whole damocles-worker.toml.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn parse(text: &str) -> Result<Loaded, Problems> {
    let mut log = Log::default();
    let config = tree::parse(text, &mut log).and_then(|root| {
        let raw = raw::Config::read(&root, &mut log);
        lower::config(&raw, &mut log)
    });
    let (problems, warnings) = log.into_sorted();
    match config {
        Some(config) if problems.is_empty() => Ok(Loaded { config, warnings }),
        _ => Err(Problems { problems, warnings }),
    }
}
