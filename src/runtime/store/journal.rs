//! The journal of a store: events as checksummed lines, and a snapshot that lets it be cut.
//!
//! A line is `CRC32 JSON\n`, CRC in hex over the JSON's bytes. Events carry consecutive numbers; the
//! snapshot carries the number of the last event in it, so that a crash between "snapshot renamed" and
//! "journal cut" repeats nothing.

use crate::{
    runtime::sector::{self, Event, Impossible, Record},
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
        let mut journal = Self { root: root.to_owned(), file, seq };
        let (record, whole) = journal.replay(&path, &bytes, record, sealing)?;
        let mut notes = Vec::new();
        if whole < bytes.len() {
            notes.push(format!("{}: dropped {} bytes of a torn last line", path.display(), bytes.len() - whole));
            journal.file.set_len(whole as u64).map_err(io("cutting"))?;
            journal.file.sync_all().map_err(io("syncing"))?;
        }
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
                Err(_) if last => return Ok((record, at)),
                Err(what) => return Err(damaged(number, what)),
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
        let before = self.file.metadata().map_err(self.io("looking at"))?.len();
        let written = self.file.write_all(&seal_line(&entry)).and_then(|()| self.file.sync_data());
        if let Err(source) = written {
            // Half a line in the middle of the file would damage it for good once another follows.
            let _ = self.file.set_len(before);
            return Err(self.io("writing")(source).into());
        }
        self.seq += 1;
        Ok(())
    }

    /// Replaces snapshot and journal by a snapshot alone.
    pub(super) fn compact(&mut self, record: &Record) -> Result<(), JournalError> {
        let line = seal_line(&Snapshot { seq: self.seq, record: record.clone() });
        durable::write_atomic(&self.root.join("snapshot"), &line)?;
        self.file.set_len(0).and_then(|()| self.file.sync_all()).map_err(self.io("cutting"))?;
        Ok(())
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
    let snapshot: Snapshot =
        unseal_line(&bytes).map_err(|what| JournalError::Damaged { path: path.to_owned(), line: 1, what })?;
    Ok((snapshot.seq, snapshot.record))
}

fn seal_line<T: Serialize>(value: &T) -> Vec<u8> {
    let json = serde_json::to_string(value).expect("records and events are plain data");
    format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())).into_bytes()
}

fn unseal_line<T: DeserializeOwned>(line: &[u8]) -> Result<T, String> {
    let text = std::str::from_utf8(line).map_err(|_| "not text".to_owned())?;
    let text = text.strip_suffix('\n').ok_or("the line does not end")?;
    let (crc, json) = text.split_once(' ').ok_or("no checksum")?;
    let expected = u32::from_str_radix(crc, 16).map_err(|_| format!("{crc:?} is not a checksum"))?;
    if crc32fast::hash(json.as_bytes()) != expected {
        return Err("the checksum does not match".into());
    }
    serde_json::from_str(json).map_err(|e| format!("not an entry of this version: {e}"))
}
