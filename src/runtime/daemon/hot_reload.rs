//! `config.toml` in the store of a sealing thread: settings that change between two sectors, without a restart.
//!
//! The file holds what a `[[sealing_thread]]` holds and goes before it. It is looked at whenever the thread stands between
//! two sectors, and read only if its bytes have changed. A file that is broken keeps the settings as they are, and is told
//! once; a file that is gone leaves the thread with those of the main file.

use crate::{
    runtime::metrics,
    worker_config::{self, Sealing, SealingThread},
};
use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};
use tracing::{info, warn};

/// No settings are as long.
const BYTES_MAX: u64 = 1 << 20;

/// The file of one thread, as it was seen last.
pub(super) struct HotReload {
    path: PathBuf,
    /// What the main file says.
    base: SealingThread,
    seen: Seen,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Nothing,
    Text(Vec<u8>),
    Unreadable(String),
}

impl HotReload {
    /// The file of `thread`, and the settings at the start: unlike later, a broken file is an error, because there are
    /// no settings before it that could be kept.
    pub(super) fn begin(thread: &SealingThread) -> Result<(Self, Sealing), String> {
        let mut hot = Self { path: path_of(&thread.location), base: thread.clone(), seen: Seen::Nothing };
        hot.seen = read(&hot.path);
        let (sealing, notes) = settings(&hot.path, &hot.seen, thread)?;
        notes.iter().for_each(|note| warn!("{note}"));
        if hot.seen != Seen::Nothing {
            info!(file = %hot.path.display(), "settings of this store taken");
        }
        Ok((hot, sealing))
    }

    /// New settings, if the file has changed since it was seen last and can be used.
    pub(super) fn look(&mut self) -> Option<Sealing> {
        let seen = read(&self.path);
        if seen == self.seen {
            return None;
        }
        self.seen = seen;
        let file = self.path.display();
        match settings(&self.path, &self.seen, &self.base) {
            Ok((sealing, notes)) => {
                notes.iter().for_each(|note| warn!("{note}"));
                let gone = self.seen == Seen::Nothing;
                metrics::reloaded(if gone { "removed" } else { "taken" });
                let what = if gone { "gone: back to the settings of the main file" } else { "settings taken" };
                info!(%file, "{what}, from the next sector on");
                Some(sealing)
            }
            Err(why) => {
                metrics::reloaded("broken");
                warn!("the settings stay as they are: {why}");
                None
            }
        }
    }

    /// For tests of threads: nothing there, and defaults.
    #[cfg(test)]
    pub(super) fn none(location: &Path) -> Self {
        let sealing = crate::runtime::store::tests::sealing();
        let base = SealingThread { location: location.to_owned(), plan: Default::default(), sealing };
        Self { path: path_of(location), base, seen: Seen::Nothing }
    }
}

/// Judges the file of a thread without taking it: what is wrong, and what its writer should know.
pub(super) fn judge(thread: &SealingThread) -> Result<Vec<String>, String> {
    let path = path_of(&thread.location);
    settings(&path, &read(&path), thread).map(|(_, notes)| notes)
}

fn path_of(location: &Path) -> PathBuf {
    location.join("config.toml")
}

fn read(path: &Path) -> Seen {
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take(BYTES_MAX + 1).read_to_end(&mut text));
    match read {
        Ok(_) if text.len() as u64 > BYTES_MAX => Seen::Unreadable(format!("longer than {BYTES_MAX} bytes")),
        Ok(_) => Seen::Text(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Seen::Nothing,
        Err(error) => Seen::Unreadable(error.to_string()),
    }
}

/// What the file makes of a thread's settings, and its warnings.
fn settings(path: &Path, seen: &Seen, thread: &SealingThread) -> Result<(Sealing, Vec<String>), String> {
    let refuse = |why: &str| format!("{}: {}", path.display(), why.replace('\n', "; "));
    let text = match seen {
        Seen::Nothing => return Ok((thread.sealing.clone(), Vec::new())),
        Seen::Unreadable(why) => return Err(refuse(why)),
        Seen::Text(text) => std::str::from_utf8(text).map_err(|_| refuse("is not UTF-8"))?,
    };
    let (overlaid, warnings) =
        worker_config::parse_overlay(text, thread).map_err(|problems| refuse(&problems.to_string()))?;
    Ok((overlaid.sealing, warnings.iter().map(|warning| refuse(&warning.to_string())).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn thread(dir: &Path) -> SealingThread {
        let sealing = Sealing { max_retries: 7, ..Sealing::default() };
        SealingThread { location: dir.to_owned(), plan: Default::default(), sealing }
    }

    #[test]
    fn a_file_that_comes_changes_breaks_and_goes_is_told_once_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.toml");
        let (mut hot, sealing) = HotReload::begin(&thread(dir.path())).unwrap();
        assert_eq!(sealing.max_retries, 7);
        assert!(hot.look().is_none(), "nothing there, nothing new");
        fs::write(&file, "sealing.max_retries = 1").unwrap();
        assert_eq!(hot.look().unwrap().max_retries, 1);
        assert!(hot.look().is_none(), "taken already");
        fs::write(&file, "sealing.max_retries = ").unwrap();
        assert!(hot.look().is_none() && hot.look().is_none(), "broken: what was taken stays");
        fs::write(&file, "sealing.allowed_miners = [5]").unwrap();
        let sealing = hot.look().unwrap();
        assert_eq!(
            (sealing.max_retries, &sealing.allowed_miners[..]),
            (7, &[5][..]),
            "what it does not say is the main file's"
        );
        fs::remove_file(&file).unwrap();
        assert_eq!(hot.look().unwrap(), thread(dir.path()).sealing);
    }

    #[test]
    fn a_start_takes_the_file_and_refuses_a_broken_one_with_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.toml");
        fs::write(&file, "sealing.max_retries = 2").unwrap();
        assert_eq!(HotReload::begin(&thread(dir.path())).map(|(_, sealing)| sealing.max_retries), Ok(2));
        for broken in ["plan = \"rebuild\"", "sealing.max_retries = -1", "x = ["] {
            fs::write(&file, broken).unwrap();
            let told = judge(&thread(dir.path())).unwrap_err();
            assert!(told.starts_with(&file.display().to_string()) && !told.contains('\n'), "{told}");
            assert_eq!(HotReload::begin(&thread(dir.path())).map(drop), Err(told));
        }
        fs::write(&file, "sealing.max_retry = 2").unwrap();
        assert!(judge(&thread(dir.path())).unwrap()[0].contains("did you mean max_retries?"));
    }
}
