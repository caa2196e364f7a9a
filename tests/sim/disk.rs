//! Disks that are full in the middle of a line, lose the end of one, or lie.
//!
//! A full disk is the kernel's own: no file of this process may grow beyond a length for the duration of one step, so that a
//! write stops where the limit says, half way in a line if need be. The limit is the whole process's: lives run one after the
//! other, and a program that lives many starts a process for them.

use nix::sys::{
    resource::{Resource, getrlimit, setrlimit},
    signal::{SigSet, Signal},
};
use rand::{Rng, rngs::StdRng};
use std::{fs, path::Path};

/// A folder for one life, in memory where there is such a place: a sync costs nothing there.
pub fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.or_else(|_| tempfile::tempdir()).unwrap()
}

/// How long files may be while the disk is full: nothing can be written, or the journal's next line in part.
pub fn limit(journal: &Path, rng: &mut StdRng) -> u64 {
    let length = fs::metadata(journal).map_or(0, |meta| meta.len());
    if rng.gen_bool(0.3) { 0 } else { length + rng.gen_range(0..150) }
}

/// Does something while no file may be longer than `limit`.
pub fn within<T>(limit: Option<u64>, act: impl FnOnce() -> T) -> T {
    let Some(limit) = limit else { return act() };
    // Without this the kernel would end the process; with it the write fails.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGXFSZ);
    signals.thread_block().unwrap();
    let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
    setrlimit(Resource::RLIMIT_FSIZE, limit, hard).unwrap();
    let restore = Restore(hard);
    let done = act();
    drop(restore);
    done
}

/// Also when a worker dies in the middle.
struct Restore(u64);

impl Drop for Restore {
    fn drop(&mut self) {
        setrlimit(Resource::RLIMIT_FSIZE, self.0, self.0).unwrap();
    }
}

/// The last line of a journal did not reach the disk whole: its end is missing, or is zeros. Says whether there was one.
pub fn tear(journal: &Path, rng: &mut StdRng) -> bool {
    let mut bytes = fs::read(journal).unwrap_or_default();
    let Some(end) = bytes.len().checked_sub(1) else { return false };
    let begin = bytes[..end].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let cut = rng.gen_range(begin..=end);
    if rng.r#gen() {
        bytes.truncate(cut);
    } else {
        bytes[cut..].fill(0);
    }
    fs::write(journal, bytes).unwrap();
    true
}

/// A file somewhere below a folder is gone.
pub fn lose(folder: &Path, name: &str) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        // Most of the time there is none.
        let _ = fs::remove_file(entry.path().join(name));
    }
}

/// A disk that said that it had these lines, and has not.
pub fn forget_lines(journal: &Path, count: usize) {
    let text = fs::read_to_string(journal).unwrap_or_default();
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    fs::write(journal, lines[..lines.len().saturating_sub(count)].concat()).unwrap();
}

/// A bit flips in a file of a sector's own; one that is not there, or belongs to all sectors, is spared.
pub fn flip(file: &Path) {
    let own = fs::symlink_metadata(file).is_ok_and(|meta| meta.is_file());
    if own && let Ok(text) = fs::read_to_string(file) {
        fs::write(file, text + " with a flipped bit").unwrap();
    }
}
