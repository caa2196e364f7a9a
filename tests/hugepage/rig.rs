//! This machine, lent to one test at a time, and given back as it was.
//!
//! Several checkouts may run their tests at once, so the lock is a file of the host. What a killed test left is the next one's
//! to complain about, not to clean up: pools that are not as they were found are put back by whoever changed them.

use damocles_worker::sys::{Root, mount};
use nix::fcntl::{Flock, FlockArg};
use std::{
    collections::BTreeMap,
    fmt::Debug,
    fs::{self, File, OpenOptions},
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Output},
};

pub const WORKER: &str = env!("CARGO_BIN_EXE_damocles-worker");
const LOCK: &str = "/tmp/damocles-hugepage-tests.lock";
const NODE: &str = "/sys/devices/system/node/node0/hugepages";
/// The page size that every x86 has, in the kernel's writing.
pub const SMALL: &str = "2048";
pub const LARGE: &str = "1048576";

/// The machine.
pub struct Rig {
    folder: tempfile::TempDir,
    pools: BTreeMap<String, u64>,
    _lock: Flock<File>,
}

/// What must be as it was.
#[derive(Clone, PartialEq, Eq)]
pub struct Snapshot {
    counters: BTreeMap<String, u64>,
    mounts: Vec<String>,
    files: Vec<String>,
    record: Option<String>,
}

impl Snapshot {
    /// The files whose path has this in it.
    pub fn files(&self, part: &str) -> Vec<String> {
        self.files.iter().filter(|file| file.contains(part)).cloned().collect()
    }

    /// The counter whose path ends like this.
    pub fn counter(&self, end: &str) -> u64 {
        *self.counters.iter().find(|(path, _)| path.ends_with(end)).unwrap().1
    }
}

// Line by line: whoever reads it looks for the one that differs.
impl Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.counters).entries(&self.mounts).entries(&self.files).finish()?;
        write!(f, "\nrecord: {:?}", self.record)
    }
}

impl Rig {
    /// The machine, when its pools may be changed here; `None` after saying why not.
    pub fn take(test: &str) -> Option<Self> {
        let pool = format!("{NODE}/hugepages-{SMALL}kB/nr_hugepages");
        if !nix::unistd::geteuid().is_root()
            || nix::unistd::access(pool.as_str(), nix::unistd::AccessFlags::W_OK).is_err()
        {
            skip(test, "needs root and a writable /sys with 2 MiB pages");
            return None;
        }
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(LOCK).unwrap();
        let _lock = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno).unwrap();
        // Not in a folder of another file system than the root's: the paths of messages are then short and without links.
        let folder = tempfile::Builder::new().prefix("damocles-huge-").tempdir_in("/tmp").unwrap();
        Some(Self { folder, pools: pools(), _lock })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn state(&self) -> PathBuf {
        self.path("record/hugepage.json")
    }

    /// `store hugepage-file-init` with a record of its own.
    pub fn command(&self, args: &[&str]) -> Command {
        self.store("file-init", args)
    }

    /// `store hugepage-NAME` with a record of its own, unless the arguments name another.
    pub fn store(&self, name: &str, args: &[&str]) -> Command {
        let mut command = Command::new(WORKER);
        command.args(["store", &format!("hugepage-{name}")]);
        if !args.contains(&"--state") {
            command.arg("--state").arg(self.state());
        }
        // `@` is this rig's folder.
        command.args(args.iter().map(|arg| arg.replace('@', &self.folder.path().display().to_string())));
        command
    }

    pub fn run(&self, args: &[&str]) -> Answer {
        Answer::of(self.command(args).output().unwrap())
    }

    pub fn ask(&self, name: &str, args: &[&str]) -> Answer {
        Answer::of(self.store(name, args).output().unwrap())
    }

    /// A hugetlbfs of our own at `@/NAME`.
    pub fn mount(&self, name: &str, options: &str) -> PathBuf {
        let at = self.path(name);
        fs::create_dir_all(&at).unwrap();
        nix::mount::mount(Some("none"), &at, Some("hugetlbfs"), nix::mount::MsFlags::empty(), Some(options)).unwrap();
        at
    }

    /// Everything that a run which makes nothing must not change.
    pub fn snapshot(&self) -> Snapshot {
        let mut files = Vec::new();
        walk(self.folder.path(), &mut files);
        // The lock's file and the folder of the record stay: whoever removes a lock's file breaks the lock.
        let is_ours = |file: &String| !file.contains("/record");
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        Snapshot {
            counters: counters(),
            mounts: mounts.lines().map(str::to_owned).collect(),
            files: files.into_iter().filter(is_ours).collect(),
            record: fs::read_to_string(self.state()).ok(),
        }
    }

    /// Removes all that lies in the folder, mounts first, and puts the pools back: between two rounds of a test.
    pub fn clear(&self) {
        let mounts = mount::mounts(&Root::at("/")).unwrap();
        let ours = mounts.iter().map(|mount| PathBuf::from(&mount.path));
        for path in ours.filter(|path| path.starts_with(self.folder.path())).collect::<Vec<_>>().into_iter().rev() {
            // Pages go with the last mount of their files; a mount that something still has open says so.
            nix::mount::umount(&path).unwrap_or_else(|errno| talk(&format!("umount {}: {errno}", path.display())));
        }
        for entry in fs::read_dir(self.folder.path()).into_iter().flatten().flatten() {
            let _ = fs::remove_dir_all(entry.path()).or_else(|_| fs::remove_file(entry.path()));
        }
        for (path, pages) in &self.pools {
            fs::write(path, pages.to_string()).unwrap();
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.clear();
        let now = pools();
        if !std::thread::panicking() {
            assert_eq!(now, self.pools, "the pools are as they were found");
        }
    }
}

/// What a program said and how it ended.
#[derive(Debug)]
pub struct Answer {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Answer {
    pub fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }

    /// Ended with this code, an empty stdout, and a stderr that has all these words.
    #[track_caller]
    pub fn refused(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        assert_eq!(self.out, "", "{self:#?}");
        words.iter().for_each(|word| assert!(self.err.contains(word), "{word}: {self:#?}"));
        self
    }
}

/// Nobody's user, who may look at everything and change nothing.
pub fn as_nobody(command: &mut Command) -> &mut Command {
    command.uid(65_534).gid(65_534)
}

pub fn skip(test: &str, why: &str) {
    talk(&format!("skipped {test}: {why}"));
}

fn talk(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A number of a pool of node 0: `counter(SMALL, "free")`.
pub fn counter(kib: &str, name: &str) -> u64 {
    number(&format!("{NODE}/hugepages-{kib}kB/{name}_hugepages"))
}

fn number(path: &str) -> u64 {
    fs::read_to_string(path).unwrap().trim().parse().unwrap()
}

pub fn pool_file(kib: &str) -> String {
    format!("{NODE}/hugepages-{kib}kB/nr_hugepages")
}

fn pools() -> BTreeMap<String, u64> {
    counters().into_iter().filter(|(path, _)| path.starts_with(NODE) && path.ends_with("/nr_hugepages")).collect()
}

fn counters() -> BTreeMap<String, u64> {
    let mut counters = BTreeMap::new();
    for folder in [NODE, "/sys/kernel/mm/hugepages"] {
        for pool in fs::read_dir(folder).unwrap() {
            for file in fs::read_dir(pool.unwrap().path()).unwrap() {
                let path = file.unwrap().path().display().to_string();
                if ["nr_hugepages", "free_hugepages", "surplus_hugepages", "resv_hugepages"]
                    .iter()
                    .any(|name| path.ends_with(name))
                {
                    counters.insert(path.clone(), number(&path));
                }
            }
        }
    }
    counters
}

fn walk(folder: &Path, found: &mut Vec<String>) {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let stat = fs::symlink_metadata(&path).unwrap();
        let (inode, bytes, blocks) = (stat.ino(), if stat.is_dir() { 0 } else { stat.len() }, stat.blocks());
        found.push(format!("{} inode {inode} {bytes} bytes {blocks} blocks mode {:o}", path.display(), stat.mode()));
        if stat.is_dir() {
            walk(&path, found);
        }
    }
}
