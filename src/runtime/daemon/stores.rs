//! The persistent stores as this host reaches them: those that are named and those that are found, and whether the
//! manager knows them.

use super::{DaemonError, Options};
use crate::{
    runtime::{
        manager::{
            Answer, Call, Manager,
            embedded::{AttachedStore, META_CHAIN, is_rehearsal},
            remote::Remote,
            wire::StoreBasicInfo,
        },
        store::scan::{self, Found},
        worker::PersistentStore,
    },
    worker_config::Attached,
};
use std::{fs, path::PathBuf};
use tokio::runtime::Runtime;
use tracing::{debug, info};

/// The named stores, then those found below `scan`, with absolute paths; each place once. Where the manager is ours a
/// missing folder is made; with a real one it may be a disk that is not mounted, and writing beneath its mount point
/// would fill the wrong disk. `miner`: the only one whose sectors come here, where that is known.
pub(super) fn attach(
    named: &[Attached],
    scan: &[PathBuf],
    ours: bool,
    miner: Option<u64>,
) -> Result<Vec<PersistentStore>, DaemonError> {
    let mut stores = Vec::new();
    for attached in named {
        let location = &attached.location;
        let refuse = |what: String| DaemonError::Attached(format!("attached store {}: {what}", location.display()));
        if ours {
            fs::create_dir_all(location).map_err(|e| refuse(format!("make the folder: {e}")))?;
        }
        let path = fs::canonicalize(location)
            .map_err(|e| refuse(format!("{e}: mount the disk, or make the folder if it is meant to be empty")))?;
        let name = attached.name.clone().unwrap_or_else(|| path.to_string_lossy().into_owned());
        stores.push(PersistentStore { name, path, readonly: attached.readonly });
    }
    let found = scan::scan(scan).map_err(|error| DaemonError::Attached(error.to_string()))?;
    for store in added(&stores, found, miner)? {
        info!(name = store.name, path = %store.path.display(), readonly = store.readonly, "persistent store found");
        stores.push(store);
    }
    if !stores.iter().any(|store| !store.readonly) {
        let what = "no store takes new sectors: every one is read-only, or none was found; add an [[attached]]";
        return Err(DaemonError::Attached(what.into()));
    }
    Ok(stores)
}

/// What was found and is not named already. A place that is named is what its `[[attached]]` says.
fn added(
    named: &[PersistentStore],
    found: Vec<Found>,
    miner: Option<u64>,
) -> Result<Vec<PersistentStore>, DaemonError> {
    let mut added = Vec::new();
    for store in found.into_iter().filter(|store| named.iter().all(|named| named.path != store.path)) {
        if let Some(named) = named.iter().find(|named| named.name == store.name) {
            return Err(DaemonError::Attached(format!(
                "the store found at {} has the name {:?} of the attached store {}: give one of them another name",
                store.path.display(),
                store.name,
                named.path.display()
            )));
        }
        let readonly = store.readonly || miner.is_some_and(|miner| !store.takes(miner));
        added.push(PersistentStore { name: store.name, path: store.path, readonly });
    }
    Ok(added)
}

/// The stores as the embedded manager wants them.
pub(super) fn for_manager(stores: &[PersistentStore]) -> Vec<AttachedStore> {
    let attached = |store: &PersistentStore| AttachedStore {
        name: store.name.clone(),
        path: store.path.clone(),
        readonly: store.readonly,
    };
    stores.iter().map(attached).collect()
}

/// The manager must know every attached store by name, or finished sectors would have nowhere to go. Says which
/// simulated chain the manager is, if it is one.
pub(super) fn known(
    runtime: &Runtime,
    manager: &Remote,
    stores: &[PersistentStore],
    options: &Options,
) -> Result<Option<String>, DaemonError> {
    let mut chain = None;
    for store in stores {
        let call = Call::StoreBasicInfo { instance: store.name.clone() };
        match runtime.block_on(manager.call(call)) {
            Ok(Answer::StoreBasicInfo(Some(StoreBasicInfo { path, meta, .. }))) => {
                debug!(store = store.name, manager_path = path, "known to the manager");
                chain = chain.or(meta.and_then(|mut meta| meta.remove(META_CHAIN)));
            }
            Ok(_) => {
                let what = format!(
                    "the manager knows no store of the name {:?}: add it there, or correct [[attached]]",
                    store.name
                );
                return Err(DaemonError::Attached(what));
            }
            Err(error) => return Err(DaemonError::Manager(error.to_string())),
        }
    }
    match (options.rehearsal.is_some(), chain.as_deref().is_some_and(is_rehearsal)) {
        (true, false) => Err(DaemonError::Manager(
            "this is a rehearsal, and the manager is a real one: it is asked for nothing".into(),
        )),
        (false, true) => Err(DaemonError::Manager(
            "the manager is a rehearsal's, which accepts no real proof: start damocles-worker manager without --rehearse"
                .into(),
        )),
        _ => Ok(chain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::store::scan::DESCRIPTION;
    use std::path::Path;

    fn named(name: &str, location: PathBuf, readonly: bool) -> Attached {
        Attached { name: Some(name.into()), location, readonly }
    }

    fn describe(root: &Path, folder: &str, text: &str) {
        fs::create_dir_all(root.join(folder)).unwrap();
        fs::write(root.join(folder).join(DESCRIPTION), text).unwrap();
    }

    #[test]
    fn found_stores_join_the_named_ones_and_a_named_place_is_what_its_table_says() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        describe(&root, "disks/a", r#"{"Name": "a"}"#);
        describe(&root, "disks/b", r#"{"Name": "b", "DenyMiners": [1000]}"#);
        let attached = [named("mine", root.join("disks/a"), true)];
        let stores = |miner| attach(&attached, &[root.join("disks/*")], false, miner).map_err(|e| e.to_string());
        let summary: Vec<_> = stores(Some(1)).unwrap().into_iter().map(|store| (store.name, store.readonly)).collect();
        assert_eq!(summary, [("mine".to_owned(), true), ("b".to_owned(), false)]);
        assert!(stores(Some(1000)).unwrap_err().contains("no store takes new sectors"));
        assert!(!stores(None).unwrap()[1].readonly, "whose sectors may go where is then the manager's to say");
    }

    #[test]
    fn a_name_is_given_once() {
        let dir = tempfile::tempdir().unwrap();
        describe(dir.path(), "b", r#"{"Name": "a"}"#);
        let error = attach(&[named("a", dir.path().join("a"), false)], &[dir.path().join("b")], true, None)
            .unwrap_err()
            .to_string();
        assert!(error.contains("has the name \"a\" of the attached store"), "{error}");
    }

    #[test]
    fn a_folder_that_is_not_there_is_made_for_our_own_manager_only() {
        let dir = tempfile::tempdir().unwrap();
        let attached = [named("a", dir.path().join("a"), false)];
        assert!(attach(&attached, &[], false, None).unwrap_err().to_string().contains("mount the disk"));
        attach(&attached, &[], true, None).unwrap();
        assert!(dir.path().join("a").is_dir());
    }
}
