//! Files filled with the pages of a node, by threads of that node.
//!
//! ```text
//! node 0   thread ─ pinned, bound ─┬─► fault in ranges, while there are more threads than files
//!          thread ─ pinned, bound ─┤
//!          thread ─ pinned, bound ─┴─► allocate whole files, range by range: this decides and reports
//! node 1   …
//! ```
//!
//! The kernel works on a file in `fallocate` for one thread at a time, so parallel ranges of one file gain nothing by it
//! (measured: 11.6 GiB/s by one thread and by two, 21 GiB/s in two files). Where there are fewer files than threads,
//! pages are faulted in first, which the kernel does for many threads at once; `fallocate` then finds them. What could not
//! be faulted in is no error there: `fallocate` says what is wrong.
//!
//! The policy is each thread's own: `fallocate` follows nothing else.

use super::error::InitError;
use crate::{
    sys::{
        Root, hugetlbfs,
        mempolicy::{Window, bind_this_thread},
        pin,
        stop::Stop,
    },
    units::{Bytes, CpuList, NodeId},
};
use std::{
    collections::BTreeMap,
    fs::File,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

/// What a thread does between two looks at whether it should stop.
const RANGE: Bytes = Bytes::mib(64);
/// More threads than this only wait for the memory of a node.
const THREADS_MAX: usize = 16;

/// A file to fill.
#[derive(Debug)]
pub struct Job {
    pub file: File,
    pub path: PathBuf,
    pub bytes: Bytes,
    pub page_bytes: Bytes,
    pub node: NodeId,
}

/// How files are to be filled.
pub struct How<'a> {
    /// The CPUs of each node. A node of memory alone has none, and its threads run anywhere.
    pub cpus: &'a BTreeMap<NodeId, CpuList>,
    pub threads: Option<usize>,
    pub stop: &'a Stop,
    /// Called with bytes that have just been done.
    pub told: &'a (dyn Fn(u64) + Sync),
}

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    job: usize,
    offset: u64,
    bytes: u64,
}

/// The ranges of files, the first of each file before the second of any: threads side by side then work in several files.
fn ranges(sizes: &[(Bytes, Bytes)]) -> Vec<Range> {
    let mut all = Vec::new();
    for (job, (bytes, page_bytes)) in sizes.iter().enumerate() {
        let step = (RANGE.0 / page_bytes.0).max(1) * page_bytes.0;
        let starts = (0..bytes.0.div_ceil(step)).map(|n| n * step);
        all.extend(starts.map(|offset| Range { job, offset, bytes: step.min(bytes.0 - offset) }));
    }
    all.sort_by_key(|range| (range.offset, range.job));
    all
}

/// Fills every file. When it fails, the files hold some of their pages.
pub fn fill(root: &Root, jobs: Vec<Job>, how: &How) -> Result<(), InitError> {
    let mut nodes: BTreeMap<NodeId, Vec<Job>> = BTreeMap::new();
    for job in jobs {
        nodes.entry(job.node).or_default().push(job);
    }
    let failed = Failed::default();
    thread::scope(|scope| {
        for (node, jobs) in nodes {
            let crew = Arc::new(Crew::new(node, jobs, how, &failed));
            for _ in 0..crew.threads {
                let crew = crew.clone();
                scope.spawn(move || crew.work(root));
            }
        }
    });
    failed.into_result()
}

/// The first failure of any thread, which ends the work of all.
#[derive(Default)]
struct Failed {
    is_set: AtomicBool,
    first: Mutex<Option<InitError>>,
}

impl Failed {
    fn set(&self, error: InitError) {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.is_set.store(true, Ordering::Release);
    }

    fn into_result(self) -> Result<(), InitError> {
        self.first.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }
}

/// The threads of one node and what they share.
struct Crew<'a> {
    node: NodeId,
    cpus: CpuList,
    jobs: Vec<Job>,
    ranges: Vec<Range>,
    /// Whether a range has been told as done.
    told: Vec<AtomicBool>,
    next_range: AtomicUsize,
    next_job: AtomicUsize,
    threads: usize,
    /// A mapping of each file, where there are more threads than files.
    windows: Vec<Window>,
    how: &'a How<'a>,
    failed: &'a Failed,
}

impl<'a> Crew<'a> {
    fn new(node: NodeId, jobs: Vec<Job>, how: &'a How<'a>, failed: &'a Failed) -> Self {
        let sizes: Vec<_> = jobs.iter().map(|job| (job.bytes, job.page_bytes)).collect();
        let ranges = ranges(&sizes);
        let told = ranges.iter().map(|_| AtomicBool::new(false)).collect();
        let (next_range, next_job) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let cpus = usable(how, node);
        let threads = how.threads.unwrap_or_else(|| default_threads(&cpus)).clamp(1, ranges.len().max(1));
        let windows = if jobs.len() < threads { windows(&jobs) } else { Vec::new() };
        Self { node, cpus, jobs, ranges, told, next_range, next_job, threads, windows, how, failed }
    }

    fn work(&self, root: &Root) {
        let done = self.settle().and_then(|()| {
            self.fault_in()?;
            self.allocate(root)
        });
        if let Err(error) = done {
            self.failed.set(error);
        }
    }

    /// Where the thread runs and where its pages come from.
    fn settle(&self) -> Result<(), InitError> {
        if !self.cpus.is_empty() {
            // Only speed hangs on it: the policy decides where pages come from.
            let _ = pin::pin_this_thread(&self.cpus);
        }
        Ok(bind_this_thread(&[self.node])?)
    }

    fn fault_in(&self) -> Result<(), InitError> {
        if self.windows.is_empty() {
            return Ok(());
        }
        while let Some((index, range)) = take(&self.next_range, &self.ranges) {
            self.check()?;
            if self.windows[range.job].populate(range.offset, range.bytes).is_err() {
                return Ok(());
            }
            self.tell(index);
        }
        Ok(())
    }

    fn allocate(&self, root: &Root) -> Result<(), InitError> {
        while let Some((number, job)) = take(&self.next_job, &self.jobs) {
            for (index, range) in self.ranges.iter().enumerate().filter(|(_, range)| range.job == number) {
                self.check()?;
                hugetlbfs::allocate(root, &job.file, &job.path, range.offset, range.bytes)?;
                self.tell(index);
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), InitError> {
        if let Some(by) = self.how.stop.asked() {
            return Err(InitError::Stopped(by));
        }
        // Another thread's failure has been kept; this one only ends.
        if self.failed.is_set.load(Ordering::Acquire) { Err(InitError::Stopped("a failure")) } else { Ok(()) }
    }

    fn tell(&self, index: usize) {
        if !self.told[index].swap(true, Ordering::Relaxed) {
            (self.how.told)(self.ranges[index].bytes);
        }
    }
}

/// The CPUs of the node that this process may use.
fn usable(how: &How, node: NodeId) -> CpuList {
    let all = pin::cpus_of_this_thread().unwrap_or_default();
    how.cpus.get(&node).map(|cpus| cpus.and(&all)).unwrap_or_default()
}

fn default_threads(cpus: &CpuList) -> usize {
    let cpus = match cpus.len() {
        0 => thread::available_parallelism().map_or(1, usize::from),
        cpus => cpus,
    };
    cpus.min(THREADS_MAX)
}

/// A mapping of each file; none when any cannot be had, since they only save time.
fn windows(jobs: &[Job]) -> Vec<Window> {
    jobs.iter().map(|job| Window::of(&job.file, job.bytes.0)).collect::<Result<_, _>>().unwrap_or_default()
}

fn take<'a, T>(next: &AtomicUsize, items: &'a [T]) -> Option<(usize, &'a T)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    items.get(index).map(|item| (index, item))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::atomic::AtomicU64;

    fn jobs(folder: &std::path::Path, files: usize, bytes: Bytes) -> Vec<Job> {
        let job = |n: usize| {
            let path = folder.join(n.to_string());
            let file = File::create_new(&path).unwrap();
            // Readable too: pages are faulted in through a mapping.
            drop(file);
            let file = File::options().read(true).write(true).open(&path).unwrap();
            file.set_len(bytes.0).unwrap();
            Job { file, path, bytes, page_bytes: Bytes(4096), node: NodeId(0) }
        };
        (0..files).map(job).collect()
    }

    // Any file system that knows fallocate will do to see the threads share their work.
    fn filled(files: usize, threads: usize, stop: &Stop) -> (Result<(), InitError>, u64, u64) {
        let Ok(folder) = tempfile::tempdir_in("/dev/shm") else { return (Ok(()), 0, 0) };
        let jobs = jobs(folder.path(), files, Bytes::kib(200));
        let cpus = BTreeMap::new();
        let told = AtomicU64::new(0);
        let tell = |bytes| {
            told.fetch_add(bytes, Ordering::Relaxed);
        };
        let result = fill(&Root::at("/"), jobs, &How { cpus: &cpus, threads: Some(threads), stop, told: &tell });
        let allocated = |n: usize| {
            use std::os::unix::fs::MetadataExt;
            std::fs::metadata(folder.path().join(n.to_string())).unwrap().blocks() * 512
        };
        (result, (0..files).map(allocated).sum(), told.into_inner())
    }

    #[test]
    fn every_file_is_filled_and_every_byte_told_once() {
        for (files, threads) in [(1, 1), (1, 4), (3, 2), (4, 9)] {
            let (result, allocated, told) = filled(files, threads, &Stop::default());
            result.unwrap();
            assert_eq!((allocated, told), (files as u64 * 200 * 1024, files as u64 * 200 * 1024), "{files} {threads}");
        }
    }

    #[test]
    fn a_stop_ends_the_work_between_two_ranges() {
        let (result, _, told) = filled(3, 2, &Stop::after(1));
        assert!(matches!(result, Err(InitError::Stopped("a test"))), "{result:?}");
        assert!(told < 3 * 200 * 1024);
    }

    proptest! {
        #[test]
        fn ranges_cover_every_file_once(sizes in prop::collection::vec((1u64..300, 20u32..31), 1..6)) {
            let sizes: Vec<_> = sizes.iter().map(|(pages, shift)| (Bytes(pages << shift), Bytes(1 << shift))).collect();
            let ranges = ranges(&sizes);
            for (job, (bytes, page)) in sizes.iter().enumerate() {
                let mut end = 0;
                for range in ranges.iter().filter(|range| range.job == job) {
                    prop_assert_eq!(range.offset, end);
                    prop_assert!(range.bytes > 0 && range.bytes.is_multiple_of(page.0));
                    end += range.bytes;
                }
                prop_assert_eq!(end, bytes.0);
            }
        }
    }
}
