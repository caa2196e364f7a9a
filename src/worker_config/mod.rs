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

/// Reads the `config.toml` in a thread's store, whose keys go before those that `thread` has in the main file.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn parse_overlay(text: &str, thread: &SealingThread) -> Result<(SealingThread, Vec<Diagnosis>), Problems> {
    let mut log = Log::default();
    let overlaid = tree::parse(text, &mut log)
        .and_then(|root| raw::ThreadOverlay::read(&root, &mut log))
        .map(|raw| lower::overlaid(&raw, thread, &mut log));
    let (problems, warnings) = log.into_sorted();
    match overlaid {
        Some(overlaid) if problems.is_empty() => Ok((overlaid, warnings)),
        _ => Err(Problems { problems, warnings }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::SectorSize;

    fn thread() -> SealingThread {
        let sealing = Sealing { allowed_miners: vec![7], max_retries: 9, ..Sealing::default() };
        SealingThread { location: "/store".into(), plan: Plan::Sealer, sealing }
    }

    #[test]
    fn an_overlay_changes_what_it_names_and_nothing_else() {
        let text = "location = \"/elsewhere\"\nsealing.allowed_sizes = [\"32GiB\"]\nsealing.max_retries = 1\n";
        let (overlaid, warnings) = parse_overlay(text, &thread()).unwrap();
        let base = thread();
        let sealing = Sealing { allowed_sizes: vec![SectorSize::GiB32], max_retries: 1, ..base.sealing.clone() };
        assert_eq!(overlaid, SealingThread { sealing, ..base });
        let told: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        assert!(told.len() == 1 && told[0].contains("a thread keeps the store"), "{told:?}");
        assert_eq!(parse_overlay("", &thread()).unwrap().0, thread());
    }

    #[test]
    fn every_problem_of_an_overlay_is_told_with_its_key() {
        let text = "plan = \"snapup\"\nsealing.max_retries = \"many\"\nsealing.seal_intervall = \"1s\"\n";
        let problems = parse_overlay(text, &thread()).unwrap_err();
        let told: Vec<_> = problems.problems.iter().map(ToString::to_string).collect();
        assert!(
            told.len() == 2 && told[0].starts_with("plan: ") && told[1].starts_with("sealing.max_retries"),
            "{told:?}"
        );
        assert!(problems.warnings[0].to_string().contains("did you mean seal_interval?"));
        assert!(parse_overlay("sealing = [", &thread()).is_err());
    }
}
