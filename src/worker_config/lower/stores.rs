//! `[[sealing_thread]]` and `[[attached]]`: the folders a worker seals in and persists to, each used once.

use super::{normal, sealing};
use crate::worker_config::{
    diagnosis::{Log, Place},
    raw,
    types::{Attached, Sealing, SealingThread},
};
use std::{collections::HashMap, path::PathBuf};

pub(super) fn threads(raw: &raw::Config, common: &Sealing, log: &mut Log) -> Vec<SealingThread> {
    let place =
        Place { path: "sealing_thread".to_owned(), line: raw.sealing_thread.as_ref().and_then(|at| at.place.line) };
    let written = raw.sealing_thread.as_ref().map_or(&[][..], |at| &at.value);
    if !raw.has_sealing_thread {
        log.problem(&place, "missing", "write one [[sealing_thread]] for each store to seal in");
    } else if raw.sealing_thread.is_some() && written.is_empty() {
        log.problem(&place, "found none", "write one [[sealing_thread]] for each store to seal in");
    }
    let mut seen = HashMap::new();
    let mut threads = Vec::new();
    for thread in written {
        let sealing = sealing::over(common, &thread.sealing, log);
        let Some(location) = &thread.location else { continue };
        if let Some(first) = seen.insert(normal(&location.value), thread.place.path.clone()) {
            let found = format!("{:?} is already the store of {first}", location.value);
            log.problem(&location.place, found, "give each sealing thread a store of its own");
        }
        let plan = thread.plan.as_ref().map(|at| at.value).unwrap_or_default();
        threads.push(SealingThread { location: location.value.clone(), plan, sealing });
    }
    threads
}

/// What a thread's `config.toml` makes of its settings.
pub(super) fn overlaid(raw: &raw::ThreadOverlay, base: &SealingThread, log: &mut Log) -> SealingThread {
    if let Some(place) = &raw.location {
        let accepted = "it has no effect: a thread keeps the store that the main file gives it; remove this key";
        log.warning(place, "the location of a store in its own file", accepted);
    }
    SealingThread {
        location: base.location.clone(),
        plan: raw.plan.as_ref().map_or(base.plan, |at| at.value),
        sealing: sealing::over(&base.sealing, &raw.sealing, log),
    }
}

pub(super) fn attached(raw: &raw::Config, log: &mut Log) -> Vec<Attached> {
    let attached = named(raw, log);
    let written: Vec<&raw::Attached> = raw.attached.iter().chain(&raw.remote_store).collect();
    check_writable(raw, &written, log);
    attached
}

/// The stores that are named, each once.
pub(super) fn named(raw: &raw::Config, log: &mut Log) -> Vec<Attached> {
    for old in &raw.remote_store {
        log.warning(&old.place, "old form", "write [[attached]] with the same keys");
    }
    let written: Vec<&raw::Attached> = raw.attached.iter().chain(&raw.remote_store).collect();
    check_unique(raw, &written, log);
    let attached = written.iter().filter_map(|store| {
        Some(Attached {
            name: store.name.as_ref().map(|at| at.value.0.clone()),
            location: store.location.as_ref()?.value.clone(),
            readonly: super::or(&store.readonly, false),
        })
    });
    attached.collect()
}

/// A sector that cannot be persisted would hold its disk for ever, so this is told before hours of work.
fn check_writable(raw: &raw::Config, written: &[&raw::Attached], log: &mut Log) {
    let place = Place { path: "attached".to_owned(), line: None };
    if raw.worker.has_scan_persist_stores {
        return;
    }
    if !raw.has_attached {
        log.problem(&place, "missing", "write an [[attached]] with the location that finished sectors go to");
    } else if !written.is_empty() && written.iter().all(|store| super::or(&store.readonly, false)) {
        let accepted = "finished sectors have nowhere to go: add one without readonly = true";
        log.problem(&place, "every store is read-only", accepted);
    }
}

/// Names and locations, each once; a store that has no name goes by its location.
fn check_unique(raw: &raw::Config, written: &[&raw::Attached], log: &mut Log) {
    let threads = raw.sealing_thread.as_ref().map_or(&[][..], |at| &at.value);
    let mut locations: HashMap<PathBuf, String> = threads
        .iter()
        .filter_map(|thread| Some((normal(&thread.location.as_ref()?.value), thread.place.path.clone())))
        .collect();
    let mut names: HashMap<String, String> = HashMap::new();
    for store in written {
        if let Some(location) = &store.location
            && let Some(first) = locations.insert(normal(&location.value), store.place.path.clone())
        {
            let found = format!("{:?} is already the location of {first}", location.value);
            log.problem(&location.place, found, "give each store a location of its own");
        }
        if let Some(name) = &store.name
            && let Some(first) = names.insert(name.value.0.clone(), store.place.path.clone())
        {
            let found = format!("{:?} is already the name of {first}", name.value.0);
            log.problem(&name.place, found, "give each store a name of its own");
        }
    }
    for location in written.iter().filter(|store| store.name.is_none()).filter_map(|store| store.location.as_ref()) {
        if let Some(first) = location.value.to_str().and_then(|path| names.get(path)) {
            let found = format!("{:?} is already the name of {first}", location.value);
            log.problem(&location.place, found, "a store without a name goes by its path: give it a name of its own");
        }
    }
}
