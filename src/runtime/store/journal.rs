//! The journal of a store: events as checksummed lines, and a snapshot that lets it be cut.
//!
//! A line is `CRC32 JSON\n`, CRC in hex over the JSON's bytes. Events carry consecutive numbers; the
//! snapshot carries the number of the last event in it, so that a crash between "snapshot renamed" and
//! "journal cut" repeats nothing.

use crate::{
    runtime::{
        metrics,
        sector::{self, Event, Impossible, Record},
    },
    sys::durable::{self, DurableError},
    worker_config::Sealing,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// An open journal, positioned at its end.
#[derive(Debug)]
pub(super) struct Journal {
    root: PathBuf,
    file: fs::File,
    seq: u64,
    /// Where the last whole line ends.
    end: u64,
    /// A write failed: something may stand behind `end`.
    ragged: bool,
}

/// Why a journal cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error(transparent)]
    Durable(#[from] DurableError),
    #[error(
        "{path}, line {line}: {what}; the sector's history is damaged: restore the file from a backup, or move the store's \
         folder away to seal a new sector in its place"
    )]
    Damaged { path: PathBuf, line: usize, what: String },
    #[error("{path}, line {line}: {source}; written by another version of this program?")]
    Impossible {
        path: PathBuf,
        line: usize,
        #[source]
        source: Impossible,
    },
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    seq: u64,
    at_ms: u64,
    event: Event,
}

#[derive(Debug, Serialize, Deserialize)]
struct Snapshot {
    seq: u64,
    record: Record,
}

impl Journal {
    /// Opens the journal in `root` and replays it. The texts tell what was repaired.
    pub(super) fn open(root: &Path, sealing: &Sealing) -> Result<(Self, Record, Vec<String>), JournalError> {
        durable::remove_leftovers(&root.join("snapshot"))?;
        let (seq, record) = read_snapshot(&root.join("snapshot"))?;
        let path = root.join("journal");
        let io = |doing| {
            let path = &path;
            move |source| DurableError::new(doing, path, source)
        };
        let file = fs::OpenOptions::new().create(true).append(true).open(&path).map_err(io("opening"))?;
        let bytes = fs::read(&path).map_err(io("reading"))?;
        let mut journal = Self { root: root.to_owned(), file, seq, end: 0, ragged: false };
        let (record, whole) = journal.replay(&path, &bytes, record, sealing)?;
        let mut notes = Vec::new();
        if whole < bytes.len() {
            notes.push(format!("{}: dropped {} bytes of a torn last line", path.display(), bytes.len() - whole));
            journal.file.set_len(whole as u64).map_err(io("cutting"))?;
            journal.file.sync_all().map_err(io("syncing"))?;
        }
        journal.end = whole as u64;
        durable::sync_folder(root)?;
        Ok((journal, record, notes))
    }

    /// Applies every line; returns the record and the length of what was whole. Only the last line may be torn.
    fn replay(
        &mut self,
        path: &Path,
        bytes: &[u8],
        mut record: Record,
        sealing: &Sealing,
    ) -> Result<(Record, usize), JournalError> {
        let damaged = |line, what: String| JournalError::Damaged { path: path.to_owned(), line, what };
        let mut at = 0;
        for (index, line) in bytes.split_inclusive(|b| *b == b'\n').enumerate() {
            let number = index + 1;
            let last = at + line.len() == bytes.len();
            let entry: Entry = match unseal_line(line) {
                Ok(entry) => entry,
                // Only what a crash can do to a last line: its end or some of its blocks never reached the disk.
                Err(Unreadable::Torn(_)) if last => return Ok((record, at)),
                Err(Unreadable::Torn(what) | Unreadable::Foreign(what)) => return Err(damaged(number, what)),
            };
            at += line.len();
            if entry.seq <= self.seq {
                continue;
            }
            if entry.seq != self.seq + 1 {
                return Err(damaged(number, format!("event {} follows event {}", entry.seq, self.seq)));
            }
            record = sector::apply(record, entry.event, sealing).map_err(|source| JournalError::Impossible {
                path: path.to_owned(),
                line: number,
                source,
            })?;
            self.seq = entry.seq;
        }
        Ok((record, at))
    }

    /// Writes `event` and waits until the disk has it.
    pub(super) fn append(&mut self, event: &Event) -> Result<(), JournalError> {
        let at_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let entry = Entry { seq: self.seq + 1, at_ms, event: event.clone() };
        if self.ragged {
            // Half a line in the middle of the file would damage it for good once another follows.
            self.file.set_len(self.end).map_err(self.io("cutting"))?;
        }
        self.ragged = true;
        let line = seal_line(&entry);
        self.file.write_all(&line).and_then(|()| self.file.sync_data()).map_err(self.io("writing"))?;
        self.ragged = false;
        metrics::journaled();
        self.end += line.len() as u64;
        self.seq += 1;
        Ok(())
    }

    /// Replaces snapshot and journal by a snapshot alone.
    pub(super) fn compact(&mut self, record: &Record) -> Result<(), JournalError> {
        let line = seal_line(&Snapshot { seq: self.seq, record: record.clone() });
        durable::write_atomic(&self.root.join("snapshot"), &line)?;
        self.file.set_len(0).map_err(self.io("cutting"))?;
        (self.end, self.ragged) = (0, false);
        self.file.sync_all().map_err(self.io("cutting"))?;
        metrics::snapshot_written();
        Ok(())
    }

    /// Reopens the file so that it cannot be written, or so that it can.
    #[cfg(test)]
    pub(super) fn break_writes(&mut self, broken: bool) {
        let path = self.root.join("journal");
        self.file = fs::OpenOptions::new().read(broken).append(!broken).open(path).expect("the journal is there");
    }

    fn io(&self, doing: &'static str) -> impl Fn(io::Error) -> DurableError + use<> {
        let path = self.root.join("journal");
        move |source| DurableError::new(doing, &path, source)
    }
}

fn read_snapshot(path: &Path) -> Result<(u64, Record), JournalError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok((0, Record::default())),
        Err(source) => return Err(DurableError::new("reading", path, source).into()),
    };
    let damaged = |unreadable| {
        let (Unreadable::Torn(what) | Unreadable::Foreign(what)) = unreadable;
        JournalError::Damaged { path: path.to_owned(), line: 1, what }
    };
    let snapshot: Snapshot = unseal_line(&bytes).map_err(damaged)?;
    Ok((snapshot.seq, snapshot.record))
}

fn seal_line<T: Serialize>(value: &T) -> Vec<u8> {
    let json = serde_json::to_string(value).expect("records and events are plain data");
    format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())).into_bytes()
}

/// Why a line is no entry.
enum Unreadable {
    /// It does not end, or its checksum does not match.
    Torn(String),
    /// It is what was written, by a version that knows more or other events.
    Foreign(String),
}

fn unseal_line<T: DeserializeOwned>(line: &[u8]) -> Result<T, Unreadable> {
    let torn = |what: &str| Unreadable::Torn(what.to_owned());
    let text = std::str::from_utf8(line).map_err(|_| torn("not text"))?;
    let text = text.strip_suffix('\n').ok_or_else(|| torn("the line does not end"))?;
    let (crc, json) = text.split_once(' ').ok_or_else(|| torn("no checksum"))?;
    let expected = u32::from_str_radix(crc, 16).map_err(|_| torn("no checksum"))?;
    if crc32fast::hash(json.as_bytes()) != expected {
        return Err(torn("the checksum does not match"));
    }
    serde_json::from_str(json).map_err(|e| Unreadable::Foreign(format!("not an entry of this version: {e}")))
}
