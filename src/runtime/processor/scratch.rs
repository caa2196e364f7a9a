//! The children's temporary folders: one each, emptied when a child ends, swept after a daemon that was killed.
//!
//! ```text
//! TMPDIR/damocles-worker-tmp-XXXXXX/ one daemon; `lock` is held while it lives, and says what the folder is
//!   lock
//!   pc2-0/                           TMPDIR of this child
//!     bellman.gpu.lock ─► TMPDIR/bellman.gpu-0.lock      who shares a GPU shares its lock, across daemons
//!   pc2-0.lock                       held while the child, or anything it started, lives
//!   pc1-0.numbers                    what a pc1 of ours tells the daemon (`pc1_numbers`)
//! ```
//!
//! The proofs library keeps one GPU at a time in the hands of one process by a lock file in the temporary folder. One
//! folder for all would let two GPUs wait for each other; a folder for each would let two processes meet on one GPU. So
//! each child has its own folder, and in it the lock is a link to the one of its GPUs (`CUDA_VISIBLE_DEVICES`).
//!
//! What always holds: a folder is removed only when nobody can be writing in it. The children of a killed daemon are
//! killed by the kernel; whoever survives (a program that a child started) still holds the lock, is found by it, ended,
//! and waited for. A start that cannot end it is refused: it may be writing into a sector that this daemon would go on with.

use crate::sys::{
    Root,
    lock::{Lock, LockError},
    process,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, geteuid},
};
use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, symlink},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

const PREFIX: &str = "damocles-worker-tmp-";
/// A folder that has no lock yet: it gets its name when it has, since an unlocked one of that name is anybody's to sweep.
const UNBORN: &str = ".damocles-worker-new-";
/// So often another start may sweep the folder of this one before its lock is held: each needs a start at that moment.
const BIRTHS: usize = 16;
/// What the lock file of a daemon's folder says: a folder of that name may be somebody's own.
const MARK: &str = "the temporary files of a damocles-worker daemon\n";
/// The lock files of the proofs library.
const GPU_LOCKS: [&str; 2] = ["bellman.gpu", "bellman.priority"];
/// How long a killed process may take to disappear.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there are no temporary folders.
#[derive(Debug, thiserror::Error)]
pub enum ScratchError {
    #[error("{doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(
        "{}: held by {pids}, left over from a daemon that has ended, and it cannot be killed; it may still be writing: end it by hand",
        path.display()
    )]
    Haunted { path: PathBuf, pids: String },
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ScratchError {
    let path = path.to_owned();
    move |source| ScratchError::Io { doing, path, source }
}

impl ScratchError {
    /// Whether a folder that was being made is in the hands of another start's sweep, or gone with it.
    fn is_swept(&self) -> bool {
        match self {
            Self::Lock(LockError::Held(_)) => true,
            Self::Lock(LockError::Durable(error)) => error.kind() == io::ErrorKind::NotFound,
            Self::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
            Self::Haunted { .. } => false,
        }
    }
}

/// The folder of one daemon. It goes with this value.
#[derive(Debug)]
pub struct Scratch {
    base: PathBuf,
    folder: PathBuf,
    _lock: Lock,
}

impl Scratch {
    /// Makes the daemon's folder in `base`, after sweeping those of daemons that have ended. Also returned: what was swept.
    pub fn open(base: &Path) -> Result<(Self, Vec<String>), ScratchError> {
        let base = base.canonicalize().map_err(io_error("looking at the temporary folder", base))?;
        let notes = sweep(&base)?;
        let mut births = 1;
        loop {
            match Self::make(&base) {
                Err(error) if births < BIRTHS && error.is_swept() => births += 1,
                made => return made.map(|made| (made, notes)),
            }
        }
    }

    fn make(base: &Path) -> Result<Self, ScratchError> {
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        let making = tempfile::Builder::new().prefix(UNBORN).permissions(private).tempdir_in(base);
        let making = making.map_err(io_error("making a temporary folder in", base))?.keep();
        let mut lock = Lock::take(&making.join("lock"))?;
        lock.file().write_all(MARK.as_bytes()).map_err(io_error("writing", &making.join("lock")))?;
        let mark = making.to_string_lossy().rsplit('-').next().unwrap_or_default().to_owned();
        let folder = base.join(format!("{PREFIX}{mark}"));
        fs::rename(&making, &folder).map_err(io_error("naming", &folder))?;
        Ok(Self { base: base.to_owned(), folder, _lock: lock })
    }

    /// An empty temporary folder for the child `name`. `gpus` are those it can see; absent: all.
    pub fn folder(&self, name: &str, gpus: Option<&str>) -> Result<PathBuf, ScratchError> {
        let folder = self.folder.join(name);
        self.clear(name)?;
        fs::DirBuilder::new().mode(0o700).create(&folder).map_err(io_error("making", &folder))?;
        for lock in GPU_LOCKS {
            let link = folder.join(format!("{lock}.lock"));
            let target = match gpus {
                None => self.base.join(format!("{lock}.lock")),
                Some(gpus) => self.base.join(format!("{lock}-{}.lock", plain(gpus))),
            };
            symlink(&target, &link).map_err(io_error("linking", &link))?;
        }
        Ok(folder)
    }

    /// The lock file of the child `name`.
    pub fn lock(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.lock"))
    }

    /// Where the child `name` may tell the daemon of its work. Not in its temporary folder, which an operator may choose.
    pub fn numbers(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.numbers"))
    }

    /// Ends whatever an ended child left running, and removes the files it left; says how many bytes those were.
    pub fn clear(&self, name: &str) -> Result<u64, ScratchError> {
        let killed = exorcise(&self.lock(name))?;
        if !killed.is_empty() {
            tracing::warn!("{name}: its child had left processes running: {} killed", list(&killed));
        }
        let numbers = self.numbers(name);
        match fs::remove_file(&numbers) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("removing", &numbers)(error)),
            _ => remove(&self.folder.join(name)),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.folder) {
            tracing::warn!("temporary files stay until the next start: {error}");
        }
    }
}

/// A name for files: `0,1` and `GPU-1f2e…` as they are, whatever else is no letter, digit, comma or dash as `_`.
fn plain(gpus: &str) -> String {
    gpus.trim().chars().map(|c| if c.is_ascii_alphanumeric() || ",-".contains(c) { c } else { '_' }).collect()
}

/// Removes the folders of daemons that have ended, once nobody can be writing in them.
fn sweep(base: &Path) -> Result<Vec<String>, ScratchError> {
    let mut notes = Vec::new();
    let entries = fs::read_dir(base).map_err(io_error("reading", base))?;
    for folder in entries.flatten().map(|entry| entry.path()) {
        let is_named = |prefix: &str| folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix));
        if is_named(UNBORN) {
            sweep_unborn(&folder);
            continue;
        }
        if !is_named(PREFIX) || !is_ours(&folder) {
            continue;
        }
        // Held: its daemon lives. Gone: its daemon ends, or another start sweeps, at this moment.
        let Ok(_lock) = Lock::take_existing(&folder.join("lock")) else { continue };
        let killed = exorcise_all(&folder)?;
        let bytes = remove(&folder)?;
        notes.push(format!(
            "{}: left over from a daemon that has ended: {bytes} bytes removed{}",
            folder.display(),
            if killed.is_empty() { String::new() } else { format!(", processes {killed} killed") }
        ));
    }
    Ok(notes)
}

/// Removes the folder of a start that was killed before it had its lock, and nothing but what such a start makes: nothing
/// depends on whether it can be.
fn sweep_unborn(folder: &Path) {
    let lock = folder.join("lock");
    if !is_own(folder) || fs::read(&lock).is_ok_and(|text| !MARK.as_bytes().starts_with(&text)) {
        return;
    }
    let held = Lock::take_existing(&lock);
    if !matches!(held, Err(LockError::Held(_))) {
        // A folder with anything else in it stays.
        let only_lock = fs::read_dir(folder).is_ok_and(|entries| entries.flatten().all(|e| e.file_name() == "lock"));
        if only_lock && (held.is_err() || fs::remove_file(&lock).is_ok()) {
            let _ = fs::remove_dir(folder);
        }
    }
}

fn is_own(folder: &Path) -> bool {
    fs::symlink_metadata(folder).is_ok_and(|meta| meta.is_dir() && meta.uid() == geteuid().as_raw())
}

fn is_ours(folder: &Path) -> bool {
    is_own(folder) && fs::read(folder.join("lock")).is_ok_and(|text| text == MARK.as_bytes())
}

/// Ends whoever holds the lock of a child in `folder`; says whom.
fn exorcise_all(folder: &Path) -> Result<String, ScratchError> {
    let mut killed = Vec::new();
    let entries = fs::read_dir(folder).map_err(io_error("reading", folder))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(".lock")) {
            killed.extend(exorcise(&path)?);
        }
    }
    Ok(if killed.is_empty() { String::new() } else { list(&killed) })
}

/// Ends whoever holds this lock, and waits until nobody does; says whom.
fn exorcise(lock: &Path) -> Result<Vec<u32>, ScratchError> {
    let mut killed = Vec::new();
    let until = Instant::now() + PATIENCE;
    while lock.exists() && matches!(Lock::take(lock), Err(LockError::Held(_))) {
        let mut holders = process::holders(&Root::at("/"), lock);
        holders.retain(|pid| *pid != std::process::id());
        if Instant::now() > until {
            return Err(ScratchError::Haunted { path: lock.to_owned(), pids: list(&holders) });
        }
        for pid in &holders {
            // Gone already is as good.
            let _ = kill(Pid::from_raw(*pid as i32), Signal::SIGKILL);
        }
        killed.extend(holders);
        thread::sleep(Duration::from_millis(20));
    }
    killed.sort_unstable();
    killed.dedup();
    Ok(killed)
}

fn list(pids: &[u32]) -> String {
    match pids {
        [] => "a process of another user".into(),
        pids => pids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}

/// Removes a folder and says how many bytes of files it held; one that is not there held none.
fn remove(folder: &Path) -> Result<u64, ScratchError> {
    let bytes = bytes_in(folder);
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("removing", folder)(error)),
        _ => Ok(bytes),
    }
}

fn bytes_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => bytes_in(&entry.path()),
            Ok(meta) if meta.is_file() => meta.len(),
            _ => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn dead_daemon(base: &Path) -> PathBuf {
        let dead = base.join("damocles-worker-tmp-dead");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join("lock"), MARK).unwrap();
        dead
    }

    #[test]
    fn who_shares_a_gpu_shares_its_lock_and_nobody_else_does() {
        let base = tempfile::tempdir().unwrap();
        let (scratch, _) = Scratch::open(base.path()).unwrap();
        let (other, _) = Scratch::open(base.path()).unwrap();
        let target = |folder: PathBuf| fs::read_link(folder.join("bellman.gpu.lock")).unwrap();
        let pc2 = target(scratch.folder("pc2-0", Some("0")).unwrap());
        assert_eq!(pc2, base.path().canonicalize().unwrap().join("bellman.gpu-0.lock"));
        assert_eq!(target(scratch.folder("c2-0", Some("0")).unwrap()), pc2);
        assert_eq!(target(other.folder("c2-0", Some(" 0")).unwrap()), pc2);
        assert_ne!(target(scratch.folder("pc2-1", Some("1")).unwrap()), pc2);
        let all = target(scratch.folder("pc2-2", None).unwrap());
        assert_eq!(all.file_name().unwrap(), "bellman.gpu.lock", "where every program of this host looks");
        fs::File::create(scratch.folder("pc2-2", None).unwrap().join("bellman.gpu.lock")).unwrap();
        assert!(all.exists(), "a lock that is made is made there");
        assert_eq!(plain("../x /0"), "___x__0");
    }

    #[test]
    fn a_childs_folder_is_empty_each_time_and_goes_with_the_daemon() {
        let base = tempfile::tempdir().unwrap();
        let (scratch, notes) = Scratch::open(base.path()).unwrap();
        assert!(notes.is_empty());
        let folder = scratch.folder("pc2-0", None).unwrap();
        fs::write(folder.join("sealed"), [0; 77]).unwrap();
        fs::write(scratch.numbers("pc2-0"), "of a life that has ended").unwrap();
        assert_eq!(scratch.clear("pc2-0").unwrap(), 77);
        assert!(!scratch.numbers("pc2-0").exists());
        assert_eq!(names(&scratch.folder("pc2-0", None).unwrap()), ["bellman.gpu.lock", "bellman.priority.lock"]);
        drop(scratch);
        assert!(names(base.path()).is_empty());
    }

    #[test]
    fn a_living_daemons_folder_stays_and_a_dead_ones_is_swept() {
        let base = tempfile::tempdir().unwrap();
        let (living, _) = Scratch::open(base.path()).unwrap();
        living.folder("pc2-0", None).unwrap();
        let dead = dead_daemon(base.path());
        fs::create_dir_all(dead.join("c2-0")).unwrap();
        let stranger = base.path().join("damocles-worker-tmp-of-mine");
        fs::create_dir(&stranger).unwrap();
        fs::write(stranger.join("lock"), "a door's").unwrap();
        fs::write(dead.join("c2-0/big"), [0; 1234]).unwrap();
        fs::write(dead.join("c2-0.lock"), "1").unwrap();
        let (_second, notes) = Scratch::open(base.path()).unwrap();
        assert!(
            notes.len() == 1 && notes[0].contains("damocles-worker-tmp-dead") && notes[0].contains("1283 bytes"),
            "{notes:?}"
        );
        assert!(!dead.exists() && living.lock("x").parent().unwrap().join("pc2-0").exists());
        assert!(stranger.join("lock").exists(), "a folder that only bears the name");
    }

    #[test]
    fn a_start_that_was_killed_before_its_lock_was_held_leaves_nothing() {
        let base = tempfile::tempdir().unwrap();
        let unborn = |name: &str, lock: Option<&str>| {
            let folder = base.path().join(format!("{UNBORN}{name}"));
            fs::create_dir(&folder).unwrap();
            if let Some(text) = lock {
                fs::write(folder.join("lock"), text).unwrap();
            }
            folder
        };
        let gone = [unborn("a", None), unborn("b", Some("")), unborn("c", Some(MARK)), unborn("d", Some(&MARK[..9]))];
        let held = unborn("e", Some(MARK));
        let _held = Lock::take(&held.join("lock")).unwrap();
        let (strangers, full) = (unborn("f", Some("a door's")), unborn("g", Some("")));
        fs::write(full.join("letter"), "dear").unwrap();
        let _scratch = Scratch::open(base.path()).unwrap();
        assert!(gone.iter().all(|folder| !folder.exists()), "{:?}", names(base.path()));
        assert!(held.join("lock").exists() && strangers.join("lock").exists() && full.join("letter").exists());
    }

    #[test]
    fn starts_at_one_moment_do_not_sweep_each_other_away() {
        let base = tempfile::tempdir().unwrap();
        let open = || (0..50).for_each(|_| drop(Scratch::open(base.path()).unwrap()));
        thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(open))));
        assert!(names(base.path()).is_empty());
    }

    #[test]
    fn whoever_outlived_its_daemon_is_ended_before_its_folder_goes() {
        let base = tempfile::tempdir().unwrap();
        let dead = dead_daemon(&base.path().canonicalize().unwrap());
        let lock = dead.join("pc2-0.lock");
        let mut held = Lock::take(&lock).unwrap();
        // It has the lock as an heir has: the lock belongs to the open file, and ends when the last one closes that.
        let heir = held.file().try_clone().unwrap();
        let mut orphan = Command::new("/bin/sleep").arg("600").stdin(Stdio::from(heir)).spawn().unwrap();
        nix::unistd::close(std::os::fd::AsRawFd::as_raw_fd(held.file())).unwrap();
        std::mem::forget(held);
        let reaper = thread::spawn(move || orphan.wait().unwrap());
        let (_scratch, notes) = Scratch::open(base.path()).unwrap();
        assert!(notes[0].contains("killed"), "{notes:?}");
        assert_eq!(process::ending(reaper.join().unwrap()), "was killed by SIGKILL");
    }
}
