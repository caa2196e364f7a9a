//! From what was written to what it means: defaults, old forms, per-thread merges, checks across keys.
//!
//! Each function here reports into the log and goes on with a value that lets later checks make sense;
//! what comes out is used only if no problem was reported.

mod locks;
mod manager;
mod processors;
mod sealing;
mod stores;
mod worker;

use super::{
    diagnosis::{Log, Place},
    raw,
    read::At,
    types::{ManagerConfig, Planned, SealingThread, WorkerConfig},
};
use crate::units::{HumanDuration, Prover, Suite};
use std::path::{Component, Path, PathBuf};

/// The configuration, unless it lacks something that has no default.
pub(super) fn config(raw: &raw::Config, log: &mut Log) -> Option<WorkerConfig> {
    let sealing = sealing::common(&raw.sealing, log);
    let worker = worker::worker(&raw.worker, log);
    let metrics = worker::metrics(&raw.metrics, &worker.rpc_server, log);
    let sector_manager = manager::sector_manager(&raw.sector_manager, log);
    let sealing_thread = stores::threads(raw, &sealing, log);
    let attached = stores::attached(raw, log);
    let processors = processors::processors(&raw.processors, log);
    Some(WorkerConfig {
        worker,
        metrics,
        sector_manager: sector_manager?,
        sealing,
        sealing_thread,
        attached,
        processors,
        planned: raw.planned.as_ref().map(|planned| Planned {
            prover: or(&planned.prover, Prover::Own),
            suite: or(&planned.suite, Suite::Stock),
        }),
    })
}

/// What a served manager is told.
pub(super) fn manager_config(raw: &raw::Config, log: &mut Log) -> ManagerConfig {
    manager::manager(raw, log)
}

/// A thread's settings under its `config.toml`.
pub(super) fn overlaid(raw: &raw::ThreadOverlay, base: &SealingThread, log: &mut Log) -> SealingThread {
    stores::overlaid(raw, base, log)
}

/// A value that is a plain copy, or its default.
fn or<T: Copy>(written: &Option<At<T>>, default: T) -> T {
    written.as_ref().map_or(default, |at| at.value)
}

/// Nothing here is meant to take days, and one letter makes months of minutes.
fn doubt_long(place: &Place, interval: HumanDuration, log: &mut Log) {
    if interval > HumanDuration::secs(86_400) {
        let accepted = "if minutes were meant, write m or min: M is months";
        log.warning(place, format!("{interval} is more than a day"), accepted);
    }
}

/// The elements without their places.
fn elements<T: Clone>(list: &raw::List<T>) -> Option<Vec<T>> {
    list.as_ref().map(|at| at.value.iter().map(|item| item.value.clone()).collect())
}

/// A path without `.` and, where it can be told without the disk, `..`: for comparing, not for opening,
/// because a link may make `a/../b` another place than `b`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match (component, normal.components().next_back()) {
            (Component::CurDir, _) | (Component::ParentDir, Some(Component::RootDir)) => {}
            (Component::ParentDir, Some(Component::Normal(_))) => {
                normal.pop();
            }
            _ => normal.push(component),
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::normal;
    use std::path::Path;

    #[test]
    fn the_same_place_has_one_normal_path() {
        for (written, same) in [
            ("./a", "a"),
            ("a/./b//c/", "a/b/c"),
            ("a/../b", "b"),
            ("../a", "../a"),
            ("../../a", "../../a"),
            ("/..//a", "/a"),
            ("/a/b/../../..", "/"),
            (".", ""),
        ] {
            assert_eq!(normal(Path::new(written)), Path::new(same), "{written}");
        }
    }
}
