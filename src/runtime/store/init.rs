//! Prepares stores before a daemon needs them: sealing stores, and persistent ones.
//!
//! ```text
//! locations ─ look ─► all absent or empty? ─┬─ no: every refusal, and nothing is made
//!                                           └─ plans ─ make ─► folders, for a sealing store its journal and lock too
//! ```
//!
//! A daemon makes its sealing stores by itself. Preparing them shows what is wrong with a disk, a path or its rights before
//! a configuration depends on it, and never takes a folder that holds anything: it may be a sector of somebody.

use super::{FOLDERS, Store, StoreError};
use crate::{sys::durable, worker_config::Sealing};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// What a new file system has in it by itself.
const OF_THE_FILE_SYSTEM: &str = "lost+found";

/// What a store is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `[[sealing_thread]]`
    Sealing,
    /// `[[attached]]`
    Persistent,
}

/// A store that may be made, and what that takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorePlan {
    /// Absolute.
    pub location: PathBuf,
    /// Every folder, the store's own first.
    pub folders: Vec<PathBuf>,
}

/// A location that is not taken, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub location: PathBuf,
    pub why: String,
}

/// Looks at every location; with one refusal nothing is to be made.
pub fn look(kind: Kind, locations: &[PathBuf]) -> Result<Vec<StorePlan>, Vec<Refusal>> {
    let (mut plans, mut refusals): (Vec<StorePlan>, Vec<Refusal>) = (Vec::new(), Vec::new());
    for location in locations {
        match look_at(location) {
            Err(why) => refusals.push(Refusal { location: location.clone(), why }),
            Ok(absolute) if plans.iter().any(|plan| plan.location == absolute) => {
                refusals.push(Refusal { location: location.clone(), why: "it is named twice".into() });
            }
            Ok(location) => {
                let below = folders_of(kind).iter().map(|name| location.join(name));
                let folders = [location.clone()].into_iter().chain(below).collect();
                plans.push(StorePlan { location, folders });
            }
        }
    }
    if refusals.is_empty() { Ok(plans) } else { Err(refusals) }
}

fn folders_of(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Sealing => &FOLDERS,
        Kind::Persistent => &["sealed", "cache"],
    }
}

/// The absolute path of a location that may be taken.
fn look_at(location: &Path) -> Result<PathBuf, String> {
    let absolute = std::path::absolute(location).map_err(|error| error.to_string())?;
    let entries = match fs::read_dir(&absolute) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(absolute),
        Err(error) => return Err(error.to_string()),
    };
    if absolute.join("journal").exists() {
        return Err("it is a sealing store already; a daemon takes it as it is".into());
    }
    for entry in entries {
        let name = entry.map_err(|error| error.to_string())?.file_name();
        if name != OF_THE_FILE_SYSTEM {
            return Err(format!("it is not empty: there is {}", name.display()));
        }
    }
    // One folder in two spellings is one store.
    fs::canonicalize(&absolute).map_err(|error| error.to_string())
}

/// Makes a store that `look` has found no fault with.
pub fn make(kind: Kind, plan: &StorePlan) -> Result<(), StoreError> {
    match kind {
        Kind::Sealing => Store::open(&plan.location, &Sealing::default()).map(drop),
        Kind::Persistent => plan.folders.iter().try_for_each(|folder| Ok(durable::make_folder(folder)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_sealing_store_is_what_a_daemon_opens_and_is_not_made_twice() {
        let dir = tempfile::tempdir().unwrap();
        let location = dir.path().join("a/b");
        let plans = look(Kind::Sealing, std::slice::from_ref(&location)).unwrap();
        assert!(!location.exists(), "looking changes nothing");
        make(Kind::Sealing, &plans[0]).unwrap();
        assert_eq!(names(&location), ["cache", "journal", "prepared", "sealed", "staged", "store.lock"]);
        let (store, notes) = Store::open(&location, &Sealing::default()).unwrap();
        assert!(store.record().sector.is_none() && notes.is_empty());
        let refusals = look(Kind::Sealing, &[location]).unwrap_err();
        assert_eq!(refusals[0].why, "it is a sealing store already; a daemon takes it as it is");
    }

    #[test]
    fn every_location_is_looked_at_before_one_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir(path("taken")).unwrap();
        fs::write(path("taken/s-t01000-1"), "a sector").unwrap();
        fs::write(path("file"), "").unwrap();
        let refusals = look(Kind::Persistent, &[path("new"), path("taken"), path("file"), path("new")]).unwrap_err();
        let whys: Vec<_> = refusals.iter().map(|refusal| refusal.why.as_str()).collect();
        assert_eq!(whys.len(), 3);
        assert_eq!(whys[0], "it is not empty: there is s-t01000-1");
        assert!(whys[1].contains("Not a directory") && whys[2] == "it is named twice", "{whys:?}");
        assert!(!path("new").exists());
    }

    #[test]
    fn a_new_file_system_counts_as_empty() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("lost+found")).unwrap();
        let plans = look(Kind::Persistent, &[dir.path().to_owned()]).unwrap();
        make(Kind::Persistent, &plans[0]).unwrap();
        assert_eq!(names(dir.path()), ["cache", "lost+found", "sealed"]);
    }
}
