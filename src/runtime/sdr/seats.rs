//! Seats: the threads that hash, each on a core of its own, with one sector each or, where that is wanted, two.
//!
//! ```text
//! task ─ take() ─► Seat ─ start(Work) ─►│ core 3: advance, advance, … │─► Finished ─► task
//! task ─ take() ─► Seat ─ start(Work) ─►│ (second sector: side by side)│─► Finished ─► task
//! ```
//!
//! Work owns its memory while it is hashed: the layer in the making alone, the layer before together with whoever
//! writes it to the disk. A core is taken by a lock file too, so that processes whose CPUs overlap do not meet on it. A
//! task that finds no free core floats over all of them; that is said.

use super::{
    cores::{self, Core},
    kernel::{Kernel, Strand},
    label::Label,
    mapping::ParentFile,
    memory::Labels,
};
use crate::{
    sys::{Root, lock::Lock},
    units::CpuList,
};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};
use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    thread,
};

/// Nodes between two looks at the stop flag and at new work: a few milliseconds.
const SPAN_NODES: usize = 4096;

/// A layer to hash.
pub struct Work {
    pub replica: Label,
    pub layer: u32,
    pub parents: Arc<ParentFile>,
    pub previous: Option<Arc<Box<dyn Labels>>>,
    pub current: Box<dyn Labels>,
}

/// Work that came back.
pub struct Finished {
    pub current: Box<dyn Labels>,
    /// Whether every node has its label.
    pub complete: bool,
}

/// Work at a seat. Dropped early, it is stopped and waited for, so that its memory is free.
pub struct Running {
    shared: Arc<Shared>,
    back: Receiver<Finished>,
    is_back: bool,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    done: AtomicUsize,
}

struct Item {
    work: Work,
    next: usize,
    shared: Arc<Shared>,
    back: Sender<Finished>,
}

impl Running {
    /// Nodes that have their label.
    pub fn done(&self) -> usize {
        self.shared.done.load(Ordering::Relaxed)
    }

    /// The work, when it is done; nothing yet, after waiting this long. An error is the end of the thread.
    pub fn wait(&mut self, at_most: std::time::Duration) -> Result<Option<Finished>, super::SdrError> {
        match self.back.recv_timeout(at_most) {
            Ok(finished) => {
                self.is_back = true;
                Ok(Some(finished))
            }
            Err(mpsc::RecvTimeoutError::Timeout) => Ok(None),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(super::SdrError::Died),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.is_back {
            self.shared.stop.store(true, Ordering::Relaxed);
            let _ = self.back.recv();
        }
    }
}

/// The seats of this process.
#[derive(Clone)]
pub struct Seats(Arc<Plan>);

struct Plan {
    kernel: Kernel,
    allowed: CpuList,
    cores: Vec<Core>,
    sectors_per_core: usize,
    /// Where cores are locked against other processes; none in tests.
    locks: Option<PathBuf>,
    taken: Mutex<Vec<Taken>>,
}

/// A core with a thread.
struct Taken {
    cpu: Option<u32>,
    sectors: usize,
    inbox: Sender<Item>,
    _lock: Option<Lock>,
}

/// One sector's place at a core.
pub struct Seat {
    seats: Seats,
    cpu: Option<u32>,
    inbox: Sender<Item>,
}

impl Seats {
    /// The seats on the CPUs that this process may use.
    pub fn here(kernel: Kernel, sectors_per_core: usize, locks: Option<PathBuf>) -> Self {
        let allowed = allowed();
        let cores = cores::cores(&Root::at("/"), &allowed);
        if let Some(what) = cores::judge(&allowed, &cores) {
            tracing::warn!("pc1: {what}");
        }
        Self::on(kernel, allowed, cores, sectors_per_core, locks)
    }

    /// The seats on these cores.
    pub fn on(
        kernel: Kernel,
        allowed: CpuList,
        cores: Vec<Core>,
        sectors_per_core: usize,
        locks: Option<PathBuf>,
    ) -> Self {
        let sectors_per_core = sectors_per_core.max(1);
        Self(Arc::new(Plan { kernel, allowed, cores, sectors_per_core, locks, taken: Mutex::default() }))
    }

    /// The CPUs that this process may use.
    pub fn cpus(&self) -> &CpuList {
        &self.0.allowed
    }

    /// The kernel that hashes here.
    pub fn kernel(&self) -> Kernel {
        self.0.kernel
    }

    /// A place for one sector: a free core, else half of one where that is allowed, else none of its own.
    pub fn take(&self) -> Seat {
        let mut taken = self.taken();
        let seat = |cpu, inbox: &Sender<Item>| Seat { seats: self.clone(), cpu, inbox: inbox.clone() };
        for core in &self.0.cores {
            if taken.iter().any(|taken| taken.cpu == Some(core.cpu)) {
                continue;
            }
            let Some(lock) = self.lock(core.cpu) else { continue };
            let inbox = self.start(Some(core.cpu));
            taken.push(Taken { cpu: Some(core.cpu), sectors: 1, inbox: inbox.clone(), _lock: lock });
            return seat(Some(core.cpu), &inbox);
        }
        let shared = taken.iter_mut().filter(|taken| taken.cpu.is_some() && taken.sectors < self.0.sectors_per_core);
        if let Some(half) = shared.min_by_key(|taken| taken.sectors) {
            half.sectors += 1;
            return seat(half.cpu, &half.inbox);
        }
        tracing::warn!(
            cpus = %self.0.allowed,
            cores = self.0.cores.len(),
            "pc1: every core of the cpuset hashes a sector; this one floats over them and slows the others down: \
             lower `concurrent` or add cores"
        );
        seat(None, &self.start(None))
    }

    /// The lock of a core; none where another process has it, and none needed where there is no folder to lock in.
    fn lock(&self, cpu: u32) -> Option<Option<Lock>> {
        let Some(folder) = &self.0.locks else { return Some(None) };
        match Lock::take(&folder.join(format!("pc1-core-{cpu}.lock"))) {
            Ok(lock) => Some(Some(lock)),
            Err(crate::sys::lock::LockError::Held(_)) => None,
            Err(error) => {
                tracing::debug!(%error, "cores are not locked against other processes");
                Some(None)
            }
        }
    }

    fn start(&self, cpu: Option<u32>) -> Sender<Item> {
        let (inbox, items) = mpsc::channel();
        let kernel = self.0.kernel;
        thread::spawn(move || {
            if let Some(cpu) = cpu {
                pin(&[cpu].into_iter().collect());
            }
            serve(kernel, &items);
        });
        inbox
    }

    fn taken(&self) -> MutexGuard<'_, Vec<Taken>> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// The CPU that hashes; none for a seat that floats.
    pub fn cpu(&self) -> Option<u32> {
        self.cpu
    }

    /// Where it hashes: its CPU, or all that it floats over.
    pub fn near(&self) -> CpuList {
        self.cpu.map_or_else(|| self.seats.0.allowed.clone(), |cpu| [cpu].into_iter().collect())
    }

    /// The CPUs for everything but hashing: those of cores that do not hash, if there are any.
    pub fn others(&self) -> CpuList {
        let taken: Vec<u32> = self.seats.taken().iter().filter_map(|taken| taken.cpu).collect();
        let hashing = self.seats.0.cores.iter().filter(|core| taken.contains(&core.cpu));
        let hashing: CpuList = hashing.flat_map(|core| core.threads.iter().collect::<Vec<_>>()).collect();
        let rest = self.seats.0.allowed.minus(&hashing);
        if rest.is_empty() { self.seats.0.allowed.clone() } else { rest }
    }

    /// Hands work to the core.
    pub fn start(&self, work: Work) -> Running {
        let shared = Arc::new(Shared::default());
        let (back, receiver) = mpsc::channel();
        let item = Item { work, next: 0, shared: shared.clone(), back };
        // If the thread is gone, its end of `back` is too, and `wait` says so.
        let _ = self.inbox.send(item);
        Running { shared, back: receiver, is_back: false }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some(cpu) = self.cpu else { return };
        let mut taken = self.seats.taken();
        if let Some(at) = taken.iter().position(|taken| taken.cpu == Some(cpu)) {
            taken[at].sectors -= 1;
            if taken[at].sectors == 0 {
                taken.swap_remove(at);
            }
        }
    }
}

/// Hashes what comes until nobody can send any more.
fn serve(kernel: Kernel, inbox: &Receiver<Item>) {
    let mut items: Vec<Item> = Vec::new();
    loop {
        if items.is_empty() {
            let Ok(item) = inbox.recv() else { return };
            items.push(item);
        }
        items.extend(inbox.try_iter());
        for pair in items.chunks_mut(2) {
            match pair {
                [one, other] => {
                    kernel.advance_pair(&mut one.strand(), &mut other.strand(), SPAN_NODES);
                    one.count(SPAN_NODES);
                    other.count(SPAN_NODES);
                }
                alone => alone.iter_mut().for_each(|one| {
                    kernel.advance(&mut one.strand(), SPAN_NODES);
                    one.count(SPAN_NODES);
                }),
            }
        }
        let (ended, going): (Vec<_>, Vec<_>) = items.into_iter().partition(Item::has_ended);
        ended.into_iter().for_each(Item::send_back);
        items = going;
    }
}

impl Item {
    fn strand(&mut self) -> Strand<'_> {
        let previous = self.work.previous.as_ref().map(|labels| labels.labels());
        let (rows, current) = (self.work.parents.rows(), self.work.current.labels_mut());
        let mut strand = Strand::new(self.work.replica, self.work.layer, rows, previous, current);
        strand.skip(self.next);
        strand
    }

    fn count(&mut self, nodes: usize) {
        self.next = (self.next + nodes).min(self.work.current.labels().len());
        self.shared.done.store(self.next, Ordering::Relaxed);
    }

    fn is_complete(&self) -> bool {
        self.next == self.work.current.labels().len()
    }

    fn has_ended(&self) -> bool {
        self.is_complete() || self.shared.stop.load(Ordering::Relaxed)
    }

    fn send_back(self) {
        let complete = self.is_complete();
        let Work { previous, current, .. } = self.work;
        // Before the receiver may count who else holds it.
        drop(previous);
        let _ = self.back.send(Finished { current, complete });
    }
}

/// The CPUs that the calling thread may use.
pub fn allowed() -> CpuList {
    let set = sched_getaffinity(Pid::from_raw(0)).unwrap_or_default();
    (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).map(|cpu| cpu as u32).collect()
}

/// Lets the calling thread run on these CPUs only. Where the kernel does not want that, it runs where it may.
pub fn pin(cpus: &CpuList) {
    let mut set = CpuSet::new();
    let pinned =
        cpus.iter().try_for_each(|cpu| set.set(cpu as usize)).and_then(|()| sched_setaffinity(Pid::from_raw(0), &set));
    if let Err(errno) = pinned {
        tracing::warn!(%cpus, %errno, "pc1: a thread could not be pinned; it floats over the cpuset");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seats(cores: u32, sectors_per_core: usize, locks: Option<PathBuf>) -> Seats {
        // Numbers of CPUs that are not there: pinning fails, and hashing goes on.
        let core = |cpu| Core { cpu, threads: [cpu].into_iter().collect(), group: CpuList::default() };
        let allowed = (1000..1000 + cores).collect();
        Seats::on(Kernel::Portable, allowed, (1000..1000 + cores).map(core).collect(), sectors_per_core, locks)
    }

    #[test]
    fn every_sector_gets_a_core_then_half_of_one_then_none() {
        let seats = seats(2, 2, None);
        let taken: Vec<Seat> = (0..5).map(|_| seats.take()).collect();
        let cpus: Vec<_> = taken.iter().map(Seat::cpu).collect();
        assert_eq!(cpus, [Some(1000), Some(1001), Some(1000), Some(1001), None]);
        assert_eq!(taken[0].others().to_string(), "1000-1001", "no core is left for anything else");
        drop(taken);
        let one = seats.take();
        assert_eq!((one.cpu(), one.others().to_string()), (Some(1000), "1001".into()));
    }

    #[test]
    fn a_core_that_another_process_hashes_on_is_left_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let locks = || Some(folder.path().to_owned());
        let (ours, theirs) = (seats(2, 1, locks()), seats(2, 1, locks()));
        let first = ours.take();
        assert_eq!(first.cpu(), Some(1000));
        assert_eq!(theirs.take().cpu(), Some(1001));
        drop(first);
        assert_eq!(theirs.take().cpu(), Some(1000));
    }

    #[test]
    fn this_thread_is_allowed_somewhere() {
        assert!(!allowed().is_empty());
    }
}
