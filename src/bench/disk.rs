//! How fast a sealing location's disk is: sequential in large blocks, random in 4 KiB, reading and writing, past the page
//! cache, by as many threads at once as there are requests in flight.
//!
//! PC1 writes layers and reads their parents, PC2 reads all layers: a stage is as slow as its disk lets it be.

use super::BenchError;
use crate::{
    sys::direct::{self, Block, Direct},
    units::Bytes,
};
use serde::{Deserialize, Serialize};
use std::{
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Of sequential access; layers are written and read in such pieces.
const LARGE: u64 = 1 << 20;
/// Of random access.
const SMALL: u64 = 4096;

/// A location to measure.
#[derive(Clone, Debug, PartialEq)]
pub struct Disk {
    pub location: PathBuf,
    /// The size of the file that is measured with.
    pub bytes: Bytes,
    /// The duration of each of the four measurements; the first writes the whole file, however long that takes.
    pub seconds: f64,
    /// Requests in flight.
    pub depth: u32,
}

/// What was found, in bytes a second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DiskSample {
    pub location: PathBuf,
    /// The page cache was passed by; without that, reads may have come from memory.
    pub direct: bool,
    pub depth: u32,
    pub bytes: Bytes,
    pub reads: Bytes,
    pub writes: Bytes,
    pub reads_random: Bytes,
    pub writes_random: Bytes,
}

impl Disk {
    /// About how long it takes.
    pub fn minutes(&self) -> f64 {
        4.0 * self.seconds / 60.0
    }
}

/// Measures with a file in `folder`, which lies on the location's file system.
pub fn measure(disk: &Disk, folder: &Path, say: &mut dyn FnMut(&str)) -> Result<DiskSample, BenchError> {
    let failed = |error: io::Error| BenchError::Host {
        what: "measure the disk of a sealing location",
        why: format!(
            "{}: {error}; is there room for {}, and may this user write there",
            folder.display(),
            disk.bytes.human()
        ),
    };
    let file = Direct::create(folder).map_err(failed)?;
    if !file.is_direct() {
        say(&format!(
            "{}: its file system has no direct access: the page cache is asked to forget, and reads may still come from it",
            folder.display()
        ));
    }
    let meter = Meter { file: &file, blocks: disk.bytes.0 / LARGE, depth: disk.depth, seconds: disk.seconds };
    let writes = meter.sequential(true).map_err(failed)?;
    file.settle().map_err(failed)?;
    let reads = meter.sequential(false).map_err(failed)?;
    file.settle().map_err(failed)?;
    let reads_random = meter.random(false).map_err(failed)?;
    let writes_random = meter.random(true).map_err(failed)?;
    Ok(DiskSample {
        location: disk.location.clone(),
        direct: file.is_direct(),
        depth: disk.depth,
        bytes: disk.bytes,
        reads,
        writes,
        reads_random,
        writes_random,
    })
}

struct Meter<'f> {
    file: &'f Direct,
    /// Large ones.
    blocks: u64,
    depth: u32,
    seconds: f64,
}

impl Meter<'_> {
    /// Block after block; writing goes through the whole file once, whatever the time.
    fn sequential(&self, is_write: bool) -> io::Result<Bytes> {
        let next = AtomicU64::new(0);
        self.all(
            LARGE,
            |_, until| {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let goes_on = if is_write { at < self.blocks } else { Instant::now() < until };
                goes_on.then(|| (at % self.blocks) * LARGE)
            },
            is_write,
        )
    }

    fn random(&self, is_write: bool) -> io::Result<Bytes> {
        let places = self.blocks * (LARGE / SMALL);
        self.all(
            SMALL,
            |state, until| {
                *state = direct::next(*state);
                (Instant::now() < until).then(|| (*state % places) * SMALL)
            },
            is_write,
        )
    }

    /// Every thread asks `place` where to go on, until it says that it is over.
    fn all(
        &self,
        length: u64,
        place: impl Fn(&mut u64, Instant) -> Option<u64> + Sync,
        is_write: bool,
    ) -> io::Result<Bytes> {
        let began = Instant::now();
        let until = began + Duration::from_secs_f64(self.seconds);
        let moved = AtomicU64::new(0);
        thread::scope(|scope| {
            let work = |thread: u32| {
                let (place, moved) = (&place, &moved);
                scope.spawn(move || -> io::Result<()> {
                    let mut state = u64::from(thread) + 1;
                    let mut block = Block::filled(length as usize, state);
                    while let Some(offset) = place(&mut state, until) {
                        if is_write {
                            self.file.write_at(block.bytes(), offset)?;
                        } else {
                            self.file.read_at(block.bytes(), offset)?;
                        }
                        moved.fetch_add(length, Ordering::Relaxed);
                    }
                    Ok(())
                })
            };
            let threads: Vec<_> = (0..self.depth).map(work).collect();
            let ended = |thread: thread::ScopedJoinHandle<'_, io::Result<()>>| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            threads.into_iter().try_for_each(ended)
        })?;
        if is_write {
            self.file.settle()?;
        }
        Ok(Bytes((moved.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64()) as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_shows_four_speeds_and_nothing_stays_on_it() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk { location: folder.path().into(), bytes: Bytes::mib(8), seconds: 0.05, depth: 4 };
        let sample = measure(&disk, folder.path(), &mut |_| ()).unwrap();
        let speeds = [sample.reads, sample.writes, sample.reads_random, sample.writes_random];
        assert!(speeds.iter().all(|speed| speed.0 > 0), "{sample:?}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let gone = Disk { location: "/nonexistent-folder".into(), ..disk };
        let error = measure(&gone, &gone.location, &mut |_| ()).unwrap_err().to_string();
        assert!(error.contains("/nonexistent-folder: ") && error.contains("room for 8 MiB"), "{error}");
    }
}
