//! How fast `store hugepage-file-init` fills files with pages, against one thread that calls `fallocate`, on the same pages.
//!
//! ```text
//! cargo bench --profile dev --bench hugepage        needs root, and 1 GiB of memory that can be had in 2 MiB pages
//! ```
//!
//! Rounds take turns and the fastest of each kind are compared: whatever else the machine does only ever adds. A first round is
//! not counted: a virtual machine gets its memory when it touches it for the first time. What bounds both is how fast
//! pages can be zeroed, so that is measured beside it: each CPU zeroes memory of its own, of which the kernel's own way of doing
//! it, page by page, reaches a part. Exit code 1 when two CPUs or more do not gain what is promised.

use damocles_worker::{
    hugepage::{Order, Pattern, Target, World, init, init::Talk},
    sys::{Root, hugetlb, hugetlbfs, lock::Lock, mempolicy, stop::Stop},
    units::{Bytes, NodeId},
};
use std::{
    fs,
    io::{self, Write},
    path::Path,
    process::ExitCode,
    thread,
    time::Instant,
};

const ROUNDS: usize = 9;
const TOTAL: Bytes = Bytes::gib(1);
const PAGE: Bytes = Bytes::mib(2);
const NODE: NodeId = NodeId(0);
/// 1.8 is promised; one program differs from itself by some percent on a machine with other work.
const RATIO_MIN: f64 = 1.7;
/// The tests of hugepages on this host take turns by it, so this does too.
const LOCK: &str = "/tmp/damocles-hugepage-tests.lock";

fn main() -> ExitCode {
    let root = Root::at("/");
    let mut out = io::stdout();
    if hugetlb::may_change(&root, NODE, PAGE).is_err() {
        let _ = writeln!(out, "the pool of {PAGE} pages cannot be changed here: root and a writable /sys are needed");
        return ExitCode::from(2);
    }
    let _lock = Lock::wait(Path::new(LOCK)).expect("a lock in /tmp can be had");
    let folder =
        tempfile::Builder::new().prefix("damocles-huge-").tempdir_in("/tmp").expect("a folder in /tmp can be made");
    let bench = Bench::new(&root, folder.path());
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    let ratio = bench.compare(cpus, &mut out);
    ExitCode::from(u8::from(cpus > 1 && ratio < RATIO_MIN))
}

/// A pool that holds what is filled, and a mount; both go with this value.
struct Bench<'a> {
    root: &'a Root,
    folder: &'a Path,
    pages_before: u64,
}

impl<'a> Bench<'a> {
    fn new(root: &'a Root, folder: &'a Path) -> Self {
        let pages_before = pool(root);
        // From here on whatever fails puts the pool back.
        let bench = Self { root, folder, pages_before };
        hugetlb::set_pool(root, NODE, PAGE, pages_before + TOTAL.0 / PAGE.0).expect("it was seen to be writable");
        let at = folder.join("huge");
        fs::create_dir(&at).expect("the folder is new");
        hugetlbfs::mount_at(root, &at, PAGE, "none").expect("root may mount");
        assert_eq!(pool(root), pages_before + TOTAL.0 / PAGE.0, "the kernel has no {TOTAL} in pages of {PAGE}");
        bench
    }

    fn compare(&self, cpus: usize, out: &mut dyn Write) -> f64 {
        let (mut one, mut several, mut single) = (0f64, 0f64, 0f64);
        for round in 0..=ROUNDS {
            let rates = (self.one_thread(), self.init(cpus.max(2) as u64), self.init(1));
            if round > 0 {
                (one, several, single) = (one.max(rates.0), several.max(rates.1), single.max(rates.2));
            }
        }
        let (zero_one, zero_all) = (zeroing(1), zeroing(cpus));
        let mut line = |what: &str, rate: f64| {
            let _ = writeln!(out, "{what:<52} {rate:>8.2} GiB/s {:>6.2}", rate / one);
        };
        line("one thread, fallocate of one file", one);
        line(&format!("init, {} files, {cpus} threads", cpus.max(2)), several);
        line(&format!("init, one file, {cpus} threads"), single);
        line("a program zeroes its own memory, 1 thread", zero_one);
        line(&format!("a program zeroes its own memory, {cpus} threads"), zero_all);
        several.min(single) / one
    }

    /// What a person with a shell would do, under the same policy.
    fn one_thread(&self) -> f64 {
        let path = self.folder.join("huge/one");
        let file = hugetlbfs::create(self.root, &path, TOTAL).expect("the mount is writable");
        let began = thread::scope(|scope| {
            let fill = scope.spawn(|| {
                mempolicy::bind_this_thread(&[NODE]).expect("the node is there");
                let began = Instant::now();
                hugetlbfs::allocate(self.root, &file, &path, 0, TOTAL.0).expect("the pool has the pages");
                began.elapsed()
            });
            fill.join().expect("the thread does not panic")
        });
        fs::remove_file(path).expect("it was made above");
        rate(TOTAL, began.as_secs_f64())
    }

    fn init(&self, files: u64) -> f64 {
        let folder = Pattern::of_path(&self.folder.join("huge/pc1")).expect("an absolute path").folder(NODE);
        let file_bytes = Bytes(TOTAL.0 / files / PAGE.0 * PAGE.0);
        let target = Target { node: NODE, folder, files, file_bytes };
        let order = Order { targets: vec![target], ..Order::default() };
        let (stop, state) = (Stop::default(), self.folder.join("record/hugepage.json"));
        let talk = |_: Talk| {};
        let report = init(&order, &World { root: self.root, state: &state, stop: &stop, talk: &talk })
            .unwrap_or_else(|error| panic!("{error}"));
        fs::remove_dir_all(self.folder.join("huge/pc1")).expect("it was made above");
        fs::remove_dir_all(self.folder.join("record")).expect("it was made above");
        rate(Bytes(file_bytes.0 * files), report.seconds_filling)
    }
}

impl Drop for Bench<'_> {
    fn drop(&mut self) {
        let at = self.folder.join("huge");
        let _ =
            fs::read_dir(&at).map(|entries| entries.flatten().for_each(|entry| drop(fs::remove_dir_all(entry.path()))));
        let _ = hugetlbfs::unmount(self.root, &at);
        let _ = hugetlb::set_pool(self.root, NODE, PAGE, self.pages_before);
    }
}

fn pool(root: &Root) -> u64 {
    hugetlb::pool(root, NODE, PAGE).ok().flatten().map_or(0, |pool| pool.pages)
}

/// How fast so many threads zero memory that they have already, 256 MiB each, all together.
fn zeroing(threads: usize) -> f64 {
    const EACH: Bytes = Bytes::mib(256);
    let zero = || {
        let mut memory = vec![1u8; EACH.0 as usize];
        let mut fastest = f64::MAX;
        for round in 0..ROUNDS {
            let began = Instant::now();
            memory.fill(0);
            // What nobody looks at need not be written.
            std::hint::black_box(&mut memory);
            if round > 0 {
                fastest = fastest.min(began.elapsed().as_secs_f64());
            }
        }
        rate(EACH, fastest)
    };
    thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(zero)).collect();
        all.into_iter().map(|thread| thread.join().expect("the thread does not panic")).sum()
    })
}

fn rate(bytes: Bytes, seconds: f64) -> f64 {
    bytes.0 as f64 / f64::from(1 << 30) / seconds
}
