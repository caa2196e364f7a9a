//! All layers of one sector: what is finished is kept, what is missing is hashed, each layer is written while the next
//! one is hashed.
//!
//! ```text
//! hash     │ layer 1 │ layer 2        │ layer 3        │
//! write              │ layer 1 ────┤  │ layer 2 ────┤  │ layer 3 ────┤
//! memory A   current │ previous       │ current        │
//! memory B           │ current        │ previous       │ (written)
//! ```
//!
//! The layer that is being written is the one that the next is made from, so both only read it, and two buffers are
//! enough. Whatever fails, the hashing is stopped and waited for, and a file that was not finished is removed.

use super::{
    error::SdrError,
    files::{self, LayerFile, Ledger, layer_path},
    label::Label,
    mapping::ParentFile,
    memory::{self, Buffers, Labels},
    progress::{Progress, Watch},
    seats::{self, Running, Seat, Seats, Work},
};
use crate::units::CpuList;
use std::{
    path::PathBuf,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// How often progress is told and the wish to stop is asked for.
const TICK: Duration = Duration::from_millis(200);
/// Parents that are read from the disk ahead of the hashing: about ten seconds of it.
const READ_AHEAD_NODES: usize = 16 << 20;

/// A sector's layers, as they are wanted.
#[derive(Clone, Debug)]
pub struct Job {
    pub replica_id: [u8; 32],
    /// How many layers.
    pub layers: u32,
    /// Nodes of a layer: a power of two.
    pub nodes: usize,
    /// The parent cache of the sector's graph, known to be right.
    pub parents: PathBuf,
    /// Where the layers go.
    pub folder: PathBuf,
}

/// Which layers were there, and which were made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Made {
    pub kept: Vec<u32>,
    pub computed: Vec<u32>,
}

/// Makes layers. One for a process, so that its sectors know of each other's cores.
pub struct Engine {
    seats: Seats,
    buffers: Box<dyn Buffers>,
}

impl Engine {
    /// An engine that hashes at these seats, in this memory.
    pub fn new(seats: Seats, buffers: Box<dyn Buffers>) -> Self {
        Self { seats, buffers }
    }

    /// Makes the layers that are missing. Blocks until all are on the disk.
    ///
    /// # Panics
    ///
    /// When the number of nodes is not a power of two.
    pub fn make_layers(&self, job: &Job, watch: &dyn Watch) -> Result<Made, SdrError> {
        let mut ledger = Ledger::open(&job.folder, &job.replica_id, job.nodes);
        let mut stop = || if watch.stopped() { Err(SdrError::Stopped) } else { Ok(()) };
        let mut made = Made::default();
        for layer in 1..=job.layers {
            let list = if ledger.holds(layer, &mut stop)? { &mut made.kept } else { &mut made.computed };
            list.push(layer);
        }
        if made.computed.is_empty() {
            return Ok(made);
        }
        let parents = Arc::new(ParentFile::open(&job.parents, job.nodes)?);
        let seat = self.seats.take();
        let memory = self.buffers.take(job.nodes, &seat.near(), &mut stop)?;
        tracing::info!(
            kernel = self.seats.kernel().name(),
            cpu = seat.cpu().map_or("any".into(), |cpu| cpu.to_string()),
            memory = memory::shown(&memory.places),
            kept = made.kept.len(),
            missing = made.computed.len(),
            "pc1: hashing layers"
        );
        watch.memory(&memory.places);
        let run = Run { job, seat: &seat, parents, watch, missing: &made.computed };
        let computed = on_cpus(&seat.others(), || run.all(&mut ledger, memory.layers));
        computed.map(|()| made)
    }
}

/// Runs `work` on a thread of its own that keeps to these CPUs: the caller's thread stays as it is.
fn on_cpus<T: Send>(cpus: &CpuList, work: impl FnOnce() -> T + Send) -> T {
    let place = move || {
        seats::pin(cpus);
        work()
    };
    thread::scope(|scope| scope.spawn(place).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// A layer that is hashed and not yet written.
struct Unwritten {
    layer: u32,
    file: LayerFile,
    labels: Arc<Box<dyn Labels>>,
}

struct Run<'a> {
    job: &'a Job,
    seat: &'a Seat,
    parents: Arc<ParentFile>,
    watch: &'a dyn Watch,
    missing: &'a [u32],
}

impl Run<'_> {
    fn all(&self, ledger: &mut Ledger, mut memory: Vec<Box<dyn Labels>>) -> Result<(), SdrError> {
        let mut previous: Option<(u32, Arc<Box<dyn Labels>>)> = None;
        let mut unwritten: Option<Unwritten> = None;
        for &layer in self.missing {
            if previous.as_ref().is_some_and(|(there, _)| there + 1 != layer) {
                // What is not the layer before is of no more use, once it is on the disk.
                self.write(unwritten.take(), ledger, None)?;
                memory.extend(previous.take().map(|(_, labels)| alone(labels)));
            }
            if layer > 1 && previous.is_none() {
                let labels = memory.pop().expect("two buffers, none in use");
                previous = Some((layer - 1, Arc::new(self.load(layer - 1, labels, ledger)?)));
            }
            let file = LayerFile::reserve(&self.job.folder, layer, self.job.nodes)?;
            let current = memory.pop().expect("two buffers, at most one in use");
            let mut going = self.start(layer, previous.as_ref().map(|(_, labels)| labels.clone()), current);
            self.write(unwritten.take(), ledger, Some(&mut going))?;
            let labels = Arc::new(self.finish(going)?);
            memory.extend(previous.take().map(|(_, labels)| alone(labels)));
            previous = Some((layer, labels.clone()));
            unwritten = Some(Unwritten { layer, file, labels });
        }
        self.write(unwritten, ledger, None)
    }

    fn start(&self, layer: u32, previous: Option<Arc<Box<dyn Labels>>>, current: Box<dyn Labels>) -> Going {
        let replica = Label::from_bytes(&self.job.replica_id);
        let running = self.seat.start(Work { replica, layer, parents: self.parents.clone(), previous, current });
        let to_do = self.missing.iter().filter(|missing| **missing > layer).count() as u32;
        self.parents.will_need(0..READ_AHEAD_NODES);
        Going { running, layer, to_do, since: Instant::now(), told: Instant::now() }
    }

    /// Waits until the layer is hashed.
    fn finish(&self, mut going: Going) -> Result<Box<dyn Labels>, SdrError> {
        loop {
            if let Some(finished) = going.running.wait(TICK)? {
                assert!(finished.complete, "only a stop ends a layer early, and a stop does not wait");
                self.tell(&going, self.job.nodes);
                return Ok(finished.current);
            }
            self.tick(&mut going)?;
        }
    }

    /// Writes a layer, if there is one, beside the hashing of the next, if there is one.
    fn write(
        &self,
        unwritten: Option<Unwritten>,
        ledger: &mut Ledger,
        mut going: Option<&mut Going>,
    ) -> Result<(), SdrError> {
        let Some(Unwritten { layer, file, labels }) = unwritten else { return Ok(()) };
        let checksum = file.write(labels.labels(), &mut || match &mut going {
            Some(going) => self.tick(going),
            None => self.stop(),
        })?;
        ledger.add(layer, checksum)
    }

    /// Reads a finished layer, by the thread that will hash from it: its pages come near to that core.
    fn load(&self, layer: u32, mut labels: Box<dyn Labels>, ledger: &Ledger) -> Result<Box<dyn Labels>, SdrError> {
        let path = layer_path(&self.job.folder, layer);
        let near = self.seat.near();
        let read = on_cpus(&near, || files::read(&path, labels.labels_mut(), &mut || self.stop()))?;
        if Some(read) != ledger.checksum(layer) {
            let changed = std::io::Error::other("it changed while pc1 ran");
            return Err(crate::sys::durable::DurableError::new("reading again", &path, changed).into());
        }
        Ok(labels)
    }

    fn stop(&self) -> Result<(), SdrError> {
        if self.watch.stopped() { Err(SdrError::Stopped) } else { Ok(()) }
    }

    fn tick(&self, going: &mut Going) -> Result<(), SdrError> {
        if going.told.elapsed() >= TICK {
            going.told = Instant::now();
            let done = going.running.done();
            self.tell(going, done);
            self.parents.will_need(done..done + READ_AHEAD_NODES);
        }
        self.stop()
    }

    fn tell(&self, going: &Going, done: usize) {
        let (layers, nodes) = (self.job.layers, self.job.nodes);
        self.watch.progress(&Progress::new(going.layer, layers, done, nodes, going.since.elapsed(), going.to_do));
    }
}

/// A layer that is being hashed.
struct Going {
    running: Running,
    layer: u32,
    /// Layers after it that are not there yet.
    to_do: u32,
    since: Instant,
    told: Instant,
}

/// The memory of a layer that nobody needs any more.
fn alone(labels: Arc<Box<dyn Labels>>) -> Box<dyn Labels> {
    Arc::try_unwrap(labels).ok().expect("it is written, and what was made from it is finished")
}

#[cfg(test)]
mod tests;
