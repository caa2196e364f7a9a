//! The durable record of what this tool did here since the machine was booted: by it alone a run is taken back.
//!
//! ```text
//! { version, boot_id, run: what an unfinished run was about to do, folders: […], mounts: […], points: […] }
//! ```
//!
//! One JSON file, replaced whole; beside it a lock that every command holds which changes anything. A record of nothing is no
//! file. The lock's file stays, and with it the folder of the record: whoever waits for it holds that very file open, and were
//! it removed, he and whoever comes after him would hold two locks of one name. After a reboot the pages, the files and the mounts are gone, and so is what was said of them; only folders
//! on lasting file systems, in which something was mounted, are still there (`points`).

use crate::{
    sys::{
        Root,
        durable::{self, DurableError},
        lock::{Lock, LockError},
        root::ReadError,
        stop::Stop,
        users::FileId,
    },
    units::{Bytes, NodeId},
};
use serde::{Deserialize, Serialize};
use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

/// Where the record is unless told otherwise.
pub const DEFAULT: &str = "/var/lib/damocles-worker/hugepage.json";
const VERSION: u32 = 2;

/// The record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    pub version: u32,
    /// The boot that all but `points` belongs to.
    pub boot_id: String,
    /// What an unfinished run is about to do. A finished one has no record of its own.
    pub run: Option<Run>,
    pub folders: Vec<Folder>,
    pub mounts: Vec<MadeMount>,
    /// Folders on lasting file systems that were made to mount something in; outermost first.
    pub points: Vec<MadeFolder>,
    /// What is decided to go and may be half gone: whoever comes next finishes it.
    #[serde(default)]
    pub removal: Option<Removal>,
}

/// A folder with files that were made here: the key is the mount and the folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Folder {
    pub mount: PathBuf,
    pub folder: PathBuf,
    pub node: NodeId,
    pub page_bytes: Bytes,
    /// By how much the node's pool was raised for these files.
    pub pages_added: u64,
    /// Folders on the mount that were made on the way here, outermost first.
    pub folders_made: Vec<MadeFolder>,
    pub files: Vec<MadeFile>,
}

/// A folder that is to be made, or was, by what its name cannot fake.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MadeFolder {
    pub path: PathBuf,
    /// Known before it gets its name; until then whatever bears that is another's.
    pub inode: Option<u64>,
    /// Not known after a reboot, which numbers devices anew.
    pub device: Option<u64>,
    /// When, in nanoseconds since 1970: an inode's number is given again soon. Not known where the file system does not say it.
    #[serde(default)]
    pub born: Option<u64>,
}

impl MadeFolder {
    /// One that is yet to be made.
    pub fn planned(path: PathBuf) -> Self {
        Self { path, inode: None, device: None, born: None }
    }

    /// Whether it is the folder that bears its name now, as far as these two tell.
    pub fn is(&self, found: FileId) -> bool {
        self.inode == Some(found.inode) && self.device.is_none_or(|device| device == found.device)
    }
}

impl Folder {
    /// Of the file system that its files lie on.
    pub fn device(&self) -> Option<u64> {
        self.files.first().map(|file| file.id.device)
    }
}

/// A file that was made, by what its name cannot fake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MadeFile {
    pub name: String,
    pub bytes: Bytes,
    pub id: FileId,
}

/// A hugetlbfs that was mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MadeMount {
    pub at: PathBuf,
    pub page_bytes: Bytes,
    /// What stands as its source in the list of mounts: it tells our mount from another one at the same place.
    pub source: String,
}

/// Everything that an unfinished run may have changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// By chance; part of the names of what it stages and mounts.
    pub id: String,
    pub pid: u32,
    pub mount: Option<MadeMount>,
    /// Folders that are not there yet and are made to mount something in, outermost first.
    pub points: Vec<MadeFolder>,
    pub pools: Vec<Raise>,
    /// Folders in which files are made before they get their names.
    pub stagings: Vec<PathBuf>,
    /// Folders of the files that are not there yet, outermost first.
    pub folders: Vec<MadeFolder>,
    pub files: Vec<RunFile>,
}

/// Everything that a release is about to take away. What it says of folders, mounts and points stays in the record until then.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Removal {
    pub pid: u32,
    pub files: Vec<DoomedFile>,
    /// Folders of ours that go with whatever lies in them.
    pub trees: Vec<PathBuf>,
    pub cuts: Vec<Cut>,
    /// Folders, by mount and folder, of which the record forgets.
    pub folders: Vec<(PathBuf, PathBuf)>,
    pub mounts: Vec<MadeMount>,
    pub points: Vec<MadeFolder>,
}

/// A file that goes, if it still is that file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DoomedFile {
    pub path: PathBuf,
    pub id: FileId,
}

/// A pool that is lowered by what had been added to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cut {
    pub node: NodeId,
    pub page_bytes: Bytes,
    pub by: u64,
    /// Pages of the pool just before, surplus ones not counted; known once the files are gone. By it a second try sees what the
    /// first one did.
    pub before: Option<u64>,
}

/// A pool that is raised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raise {
    pub node: NodeId,
    pub page_bytes: Bytes,
    /// Pages of the pool before, surplus ones not counted.
    pub before: u64,
    pub surplus: u64,
    /// What is written in the end.
    pub target: u64,
    /// Whether the pool may have been changed: said just before it is. Of one that was not, all pages are others'.
    pub is_begun: bool,
    /// Pages of the pool just before it was lowered again, surplus ones not counted. By it a second try sees what the first one did.
    #[serde(default)]
    pub before_undo: Option<u64>,
}

/// A file that is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunFile {
    pub mount: PathBuf,
    pub path: PathBuf,
    pub staged: PathBuf,
    pub node: NodeId,
    pub page_bytes: Bytes,
    pub bytes: Bytes,
    /// Of its mount, where that was there before the run.
    #[serde(default)]
    pub device: Option<u64>,
    /// The file that has the name now and makes way, on `--repair`.
    #[serde(default)]
    pub replaces: Option<FileId>,
    /// Known before it gets its final name.
    pub id: Option<FileId>,
}

/// The record could not be had or kept.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("{}: {source}; run as root, or keep the record elsewhere with --state FILE", path.display())]
    Durable { path: PathBuf, source: DurableError },
    #[error("{0}")]
    Other(#[from] DurableError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("read the record {}: {reason}; what this tool made on this machine is known from it alone: put a good copy in its place, or move it away to begin anew", path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error("stopped by {0} while another hugepage command was at work")]
    Stopped(&'static str),
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl State {
    /// A record of nothing.
    pub fn new(boot_id: String) -> Self {
        Self { version: VERSION, boot_id, ..Self::default() }
    }

    /// Whether there is nothing to record.
    pub fn is_empty(&self) -> bool {
        *self == Self::new(self.boot_id.clone())
    }

    /// Whether nothing is half done.
    pub fn is_settled(&self) -> bool {
        self.run.is_none() && self.removal.is_none()
    }

    /// What is left of it under another boot.
    fn after_reboot(self, boot_id: &str) -> Self {
        if self.boot_id == boot_id {
            return self;
        }
        let of_any_boot = |points: Vec<MadeFolder>| -> Vec<MadeFolder> {
            points.into_iter().map(|point| MadeFolder { device: None, ..point }).collect()
        };
        // Folders of an unfinished run may have been made, and have their names or not: that is still to be taken back.
        let run = self.run.filter(|run| !run.points.is_empty());
        let run = run.map(|run| Run { id: run.id, pid: run.pid, points: of_any_boot(run.points), ..Run::default() });
        Self { points: of_any_boot(self.points), run, ..Self::new(boot_id.to_owned()) }
    }

    /// The record of a folder.
    pub fn folder(&self, mount: &Path, folder: &Path) -> Option<&Folder> {
        self.folders.iter().find(|known| known.mount == mount && known.folder == folder)
    }

    /// Adds what was made in a folder to what is known of it.
    pub fn add(&mut self, made: Folder) {
        let known = self.folders.iter_mut().find(|known| known.mount == made.mount && known.folder == made.folder);
        let Some(known) = known else {
            self.folders.push(made);
            self.folders.sort_by(|a, b| (&a.mount, &a.folder).cmp(&(&b.mount, &b.folder)));
            return;
        };
        // A file that somebody removed by hand and that was made again has the name of its predecessor.
        known.files.retain(|file| made.files.iter().all(|new| new.name != file.name));
        known.files.extend(made.files);
        known.files.sort_by(|a, b| a.name.cmp(&b.name));
        known.pages_added += made.pages_added;
        let new =
            made.folders_made.into_iter().filter(|folder| !known.folders_made.contains(folder)).collect::<Vec<_>>();
        known.folders_made.extend(new);
        known.folders_made.sort();
    }
}

impl RunFile {
    /// Where the file that it replaces waits for the end of the run.
    pub fn aside(&self) -> PathBuf {
        self.staged.with_extension("old")
    }
}

/// Which boot this is.
pub fn boot_id(root: &Root) -> Result<String, ReadError> {
    root.read("/proc/sys/kernel/random/boot_id")
}

/// The record as it is, without a lock: for looking only.
pub fn peek(root: &Root, path: &Path) -> Result<State, StateError> {
    let boot_id = boot_id(root)?;
    let Some(text) = root.read_some(path)? else { return Ok(State::new(boot_id)) };
    let damaged = |reason: String| StateError::Damaged { path: root.path(path), reason };
    let told = serde_json::from_str::<serde_json::Value>(&text).map_err(|error| damaged(error.to_string()))?;
    let is_of_this_boot = told.get("boot_id").is_none_or(|told| *told == boot_id);
    match told.get("version").and_then(serde_json::Value::as_u64) {
        Some(version) if version == u64::from(VERSION) => {}
        // What an older program recorded went with its boot.
        Some(version) if version < u64::from(VERSION) && !is_of_this_boot => return Ok(State::new(boot_id)),
        Some(version) if version < u64::from(VERSION) => {
            return Err(damaged(format!(
                "version {version} was written by an older program, this one knows {VERSION}: release with that program, or reboot"
            )));
        }
        version => {
            let version = version.map_or_else(|| "without a number".to_owned(), |version| version.to_string());
            return Err(damaged(format!("version {version} was written by another program, this one knows {VERSION}")));
        }
    }
    let state: State = serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
    Ok(state.after_reboot(&boot_id))
}

/// The record in the hands of its one writer.
#[derive(Debug)]
pub struct Store {
    root: Root,
    path: PathBuf,
    _lock: Lock,
    /// Other locks that end with this one.
    further: Vec<Lock>,
}

impl Store {
    /// Takes the record for this process alone, waiting for another that has it. `waiting` is called once when there is one.
    pub fn open(root: &Root, path: &Path, stop: &Stop, waiting: impl FnOnce(&Path)) -> Result<Self, StateError> {
        let real = root.path(path);
        let durable = |source| StateError::Durable { path: real.clone(), source };
        let change = |doing, path: &Path| {
            root.effect(doing, path).map_err(|source| durable(DurableError::new(doing, path, source)))
        };
        let missing = missing_folders(&real);
        for folder in &missing {
            let made = change("make folder", folder).and_then(|()| durable::make_folder(folder).map_err(durable));
            made.inspect_err(|_| remove_empty(&missing))?;
        }
        let lock = || {
            let path = lock_path(&real);
            if !path.exists() {
                change("make the lock", &path)?;
            }
            wait(&path, stop, waiting, Lock::take).map_err(|error| match error {
                StateError::Other(source) => durable(source),
                other => other,
            })
        };
        // Without a lock in them, nobody waits there.
        let lock = lock().inspect_err(|_| remove_empty(&missing))?;
        for leftover in durable::leftovers(&real)? {
            change("remove the leftover", &leftover)?;
            durable::remove_leftover(&leftover)?;
        }
        Ok(Self { root: root.clone(), path: path.to_owned(), _lock: lock, further: Vec::new() })
    }

    /// Takes another lock, on a file that is there, until this ends.
    pub fn also_lock(&mut self, file: &Path, stop: &Stop, waiting: impl FnOnce(&Path)) -> Result<(), StateError> {
        self.further.push(wait(file, stop, waiting, Lock::take_existing)?);
        Ok(())
    }

    /// What the record says now.
    pub fn load(&self) -> Result<State, StateError> {
        peek(&self.root, &self.path)
    }

    /// Replaces the record. When this returns, a crash does not bring the old one back.
    pub fn save(&self, state: &State) -> Result<(), StateError> {
        let real = self.root.path(&self.path);
        let failed = |source| StateError::Io { path: real.clone(), source };
        if state.is_empty() {
            if real.exists() {
                self.root.effect("remove the record", &real).map_err(failed)?;
                fs::remove_file(&real).map_err(failed)?;
                durable::sync_folder_of(&real)?;
            }
            return Ok(());
        }
        let mut text = serde_json::to_string_pretty(state).expect("a record has string keys only");
        text.push('\n');
        self.root.effect("save the record", &real).map_err(failed)?;
        Ok(durable::write_atomic(&real, text.as_bytes())?)
    }
}

/// The folders above a path that are not there, outermost first.
fn missing_folders(path: &Path) -> Vec<PathBuf> {
    let missing = path.ancestors().skip(1).take_while(|folder| !folder.is_dir()).map(Path::to_owned);
    let mut missing: Vec<_> = missing.collect();
    missing.reverse();
    missing
}

/// Takes folders away again that were made for nothing; one in which something lies by now stays.
fn remove_empty(folders: &[PathBuf]) {
    for folder in folders.iter().rev() {
        let _ = fs::remove_dir(folder);
    }
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".lock");
    name.into()
}

// Signals are looked at between two tries: whoever waits can still be stopped.
fn wait(
    path: &Path,
    stop: &Stop,
    waiting: impl FnOnce(&Path),
    take: impl Fn(&Path) -> Result<Lock, LockError>,
) -> Result<Lock, StateError> {
    let mut waiting = Some(waiting);
    loop {
        match take(path) {
            Ok(lock) => return Ok(lock),
            Err(LockError::Durable(error)) => return Err(error.into()),
            Err(LockError::Held(_)) => {}
        }
        if let Some(waiting) = waiting.take() {
            waiting(path);
        }
        if let Some(signal) = stop.asked() {
            return Err(StateError::Stopped(signal));
        }
        thread::sleep(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::faults::Faults;

    fn host(boot: &str) -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        let random = dir.path().join("proc/sys/kernel/random");
        fs::create_dir_all(&random).unwrap();
        fs::write(random.join("boot_id"), format!("{boot}\n")).unwrap();
        let root = Root::at(dir.path());
        (dir, root)
    }

    fn open(root: &Root) -> Store {
        Store::open(root, Path::new(DEFAULT), &Stop::default(), |_| panic!("nobody else is there")).unwrap()
    }

    fn made(path: &str, inode: u64) -> MadeFolder {
        MadeFolder { path: path.into(), inode: Some(inode), device: Some(7), born: Some(1) }
    }

    fn folder(name: &str, pages_added: u64, files: &[(&str, u64)]) -> Folder {
        let file = |(name, inode): &(&str, u64)| MadeFile {
            name: (*name).into(),
            bytes: Bytes::gib(1),
            id: FileId { device: 7, inode: *inode },
        };
        Folder {
            mount: "/mnt/huge".into(),
            folder: name.into(),
            node: NodeId(0),
            page_bytes: Bytes::gib(1),
            pages_added,
            folders_made: vec![made(name, 3)],
            files: files.iter().map(file).collect(),
        }
    }

    #[test]
    fn what_was_saved_is_loaded_and_nothing_is_no_file() {
        let (dir, root) = host("a");
        let store = open(&root);
        let mut state = store.load().unwrap();
        assert!(state.is_empty());
        state.add(folder("/mnt/huge/pc1/numa_0", 2, &[("1.0_GiB_0", 5)]));
        state.run = Some(Run { id: "x".into(), ..Run::default() });
        store.save(&state).unwrap();
        assert_eq!(store.load().unwrap(), state);
        store.save(&State::new("a".into())).unwrap();
        assert!(!dir.path().join(DEFAULT.trim_start_matches('/')).exists());
        assert!(store.load().unwrap().is_empty());
    }

    #[test]
    fn files_are_added_to_what_is_known_and_replace_their_namesakes() {
        let mut state = State::new("a".into());
        state.add(folder("/f", 2, &[("0", 5), ("1", 6)]));
        state.add(folder("/e", 1, &[("0", 4)]));
        state.add(folder("/f", 1, &[("1", 8), ("2", 9)]));
        let known = state.folder(Path::new("/mnt/huge"), Path::new("/f")).unwrap();
        assert_eq!(known, &folder("/f", 3, &[("0", 5), ("1", 8), ("2", 9)]));
        assert_eq!(state.folders.len(), 2);
        assert_eq!(state.folder(Path::new("/mnt/other"), Path::new("/f")), None);
    }

    #[test]
    fn a_reboot_leaves_folders_only() {
        let (dir, root) = host("a");
        let store = open(&root);
        let mut state = store.load().unwrap();
        state.add(folder("/f", 2, &[]));
        state.points = vec![made("/mnt/huge", 5)];
        let points = vec![made("/mnt/other", 6), MadeFolder::planned("/mnt/never".into())];
        state.run = Some(Run { points, ..Run::default() });
        store.save(&state).unwrap();
        fs::write(dir.path().join("proc/sys/kernel/random/boot_id"), "b").unwrap();
        let state = store.load().unwrap();
        let [huge, other] =
            [("/mnt/huge", 5), ("/mnt/other", 6)].map(|(path, inode)| MadeFolder { device: None, ..made(path, inode) });
        assert!(huge.is(FileId { device: 99, inode: 5 }) && !huge.is(FileId { device: 7, inode: 6 }));
        // The folders of the unfinished run are still to be taken back, also those that never got their names.
        let run = Run { points: vec![other, MadeFolder::planned("/mnt/never".into())], ..Run::default() };
        assert_eq!(state, State { points: vec![huge], run: Some(run), ..State::new("b".into()) });
    }

    #[test]
    fn a_record_that_cannot_be_understood_is_not_overwritten() {
        let (_dir, root) = host("a");
        let store = open(&root);
        for (text, word) in [("{", "EOF"), ("{\"version\":9}", "another program"), ("{\"version\":2}", "boot_id")] {
            fs::write(root.path(DEFAULT), text).unwrap();
            let error = store.load().unwrap_err().to_string();
            assert!(
                error.contains(word) && error.contains("hugepage.json") && error.contains("move it away"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_record_of_an_older_program_is_void_after_a_reboot_and_refused_before() {
        let (dir, root) = host("a");
        let store = open(&root);
        fs::write(root.path(DEFAULT), "{\"version\":1,\"boot_id\":\"a\",\"folders\":[7]}").unwrap();
        let error = store.load().unwrap_err().to_string();
        assert!(error.contains("release with that program, or reboot"), "{error}");
        fs::write(dir.path().join("proc/sys/kernel/random/boot_id"), "b").unwrap();
        assert_eq!(store.load().unwrap(), State::new("b".into()));
    }

    #[test]
    fn a_second_one_waits_and_can_be_stopped() {
        let (_dir, root) = host("a");
        let held = open(&root);
        let mut said = false;
        let error = Store::open(&root, Path::new(DEFAULT), &Stop::after(1), |_| said = true).unwrap_err();
        assert!(said && matches!(error, StateError::Stopped(_)), "{error}");
        thread::scope(|scope| {
            let second = scope.spawn(|| Store::open(&root, Path::new(DEFAULT), &Stop::default(), |_| {}).map(drop));
            thread::sleep(Duration::from_millis(20));
            assert!(!second.is_finished());
            drop(held);
            second.join().unwrap().unwrap();
        });
    }

    #[test]
    fn a_save_that_fails_leaves_the_old_record() {
        let (_dir, root) = host("a");
        let mut state = State::new("a".into());
        state.add(folder("/f", 2, &[]));
        open(&root).save(&state).unwrap();
        let failing = root.clone().with_faults(&Faults::from(0));
        let store = open(&failing);
        assert!(store.save(&State::new("a".into())).is_err());
        state.points.push(made("/x", 1));
        assert!(store.save(&state).is_err());
        assert_ne!(store.load().unwrap(), state);
        assert_eq!(store.load().unwrap().folders.len(), 1);
    }
}
