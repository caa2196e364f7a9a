//! Hugepage files as room for layers: looked at, locked while they are used, given back as they are.
//!
//! ```text
//! folders by node ─ look ─► files: length, node of every page ─► own node first, then the nearest
//!                                                                   └─ hold: lock ─► still this file? ─► nobody else's? ─► map
//! ```
//!
//! A file is locked with `flock` from before it is mapped until after it is unmapped, so two tasks never have the same one,
//! whatever processes they are in; the kernel lets go when a process is killed. Provers that know no such lock (the field's
//! fork maps whatever lies in its folders) are seen in /proc/*/maps, and their files are left to them.
//!
//! The number in a folder's name is a claim. Where a file's pages lie is asked of the kernel, and that counts: whatever lies
//! on several nodes, has holes or is on no hugetlbfs is not taken.

use super::{Labels, Pattern, Place, nodes::Nodes};
use crate::{
    runtime::sdr::{label::Label, mapping::InFile},
    sys::{
        Root, hugetlbfs,
        lock::{Lock, LockError},
        mempolicy::Mapping,
        users::{self, FileId},
    },
    units::{Bytes, CpuList, NodeId},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// The words and the name under which the field's fork told of loaded files: whoever looks for them finds them.
const FIELD: &str = "storage_proofs_porep::stacked::vanilla::memory_handling::numa_mem_pool";
/// How long another process may take to choose its files.
const TURN_MOST: Duration = Duration::from_secs(1);
const TURN_EVERY: Duration = Duration::from_millis(20);

/// A file that can be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    pub path: PathBuf,
    pub bytes: Bytes,
    /// Where all its pages lie.
    pub node: NodeId,
    id: FileId,
}

/// The files below a pattern.
pub struct Pool {
    pattern: Pattern,
    /// What tells the nodes of this machine.
    root: Root,
    /// The page size of the hugetlbfs that a file lies on; none where it lies on another file system.
    page_of: fn(&Path) -> Option<Bytes>,
    /// What was said already: it is looked again before each task.
    said: Mutex<BTreeSet<String>>,
}

/// What a task got of the pool.
pub struct Got {
    pub files: Vec<PoolFile>,
    /// How many there are, for whoever got too few.
    pub why: String,
}

/// A file that a task has. Unmapped first, unlocked then.
pub struct PoolFile {
    labels: InFile,
    place: Place,
    _lock: Lock,
}

impl PoolFile {
    /// Where it lies.
    pub fn place(&self) -> Place {
        self.place
    }
}

impl Labels for PoolFile {
    fn labels(&self) -> &[Label] {
        self.labels.labels()
    }
    fn labels_mut(&mut self) -> &mut [Label] {
        self.labels.labels_mut()
    }
}

fn page_of(path: &Path) -> Option<Bytes> {
    let found = hugetlbfs::look(&Root::at("/"), path);
    found.map_err(|error| tracing::debug!(%error, "no file system")).ok().flatten().map(|fs| fs.page_bytes)
}

impl Pool {
    /// The pool of a pattern.
    pub fn new(pattern: Pattern) -> Self {
        Self { pattern, root: Root::at("/"), page_of, said: Mutex::default() }
    }

    /// Looks at all files and tells of them, and of what is missing for tasks on these CPUs.
    pub fn announce(&self, near: &CpuList) -> Vec<Loaded> {
        let nodes = Nodes::here(&self.root);
        let loaded = {
            let _turn = self.turn(&nodes);
            self.look(&nodes, None)
        };
        loaded.iter().for_each(|file| tracing::trace!(target: FIELD, "loaded memory file: {}", file.path.display()));
        let of_node = |node: NodeId| loaded.iter().filter(move |file| file.node == node);
        let with_files: Vec<_> = nodes.all().filter(|node| of_node(*node).next().is_some()).collect();
        let counts: Vec<_> =
            with_files.iter().map(|node| format!("numa_id: {node}, loaded: {}", of_node(*node).count())).collect();
        tracing::trace!(target: FIELD, "number of loaded memory files: {}", counts.join("; "));
        if loaded.is_empty() {
            tracing::warn!(
                "pc1: no hugepage file can be used below {}: tasks will take anonymous memory; make files with \
                 `damocles-worker store hugepage-file-init`",
                self.pattern
            );
            return loaded;
        }
        let texts: Vec<_> = with_files.iter().map(|node| format!("node {node}: {}", by_size(of_node(*node)))).collect();
        tracing::info!("pc1: hugepage files: {}", texts.join("; "));
        for node in nodes.near(near) {
            if !sizes(of_node(node)).values().any(|count| *count >= 2) {
                tracing::warn!(
                    "pc1: node {node}, whose CPUs hash here, has {} of its own below {}: a task needs two",
                    by_size(of_node(node)),
                    self.pattern
                );
            }
        }
        loaded
    }

    /// Up to `count` files of so many labels, near to these CPUs where there are some.
    pub fn take(&self, labels: usize, count: usize, near: &CpuList) -> Got {
        let bytes = Bytes((labels * size_of::<Label>()) as u64);
        let nodes = Nodes::here(&self.root);
        let near = nodes.near(near);
        let order = nodes.in_order(&near);
        let _turn = self.turn(&nodes);
        let mut candidates = self.look(&nodes, Some(bytes));
        candidates.sort_by_key(|file| order.iter().position(|node| *node == file.node));
        let (mut files, mut in_use) = (Vec::new(), 0);
        for candidate in &candidates {
            if files.len() == count {
                break;
            }
            match self.hold(candidate, labels, &near) {
                Ok(Some(file)) => files.push(file),
                Ok(None) => in_use += 1,
                Err(error) => self.say(format!("{}: not taken: {error}", candidate.path.display())),
            }
        }
        let far = files.iter().filter_map(|file| if let Place::Far(node) = file.place { Some(node) } else { None });
        for node in far.collect::<BTreeSet<_>>() {
            tracing::warn!(
                "pc1: the hugepage files of {bytes} on node {} are in use: taking those of node {node}, the nearest that \
                 has some; every access goes to that node",
                near.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
            );
        }
        let why = format!(
            "below {} are {} of {bytes} that can be used, {in_use} of them in use",
            self.pattern,
            files_in_words(candidates.len())
        );
        Got { files, why }
    }

    /// The files of all nodes that can be used, of this length alone where one is given.
    fn look(&self, nodes: &Nodes, length: Option<Bytes>) -> Vec<Loaded> {
        let mut found = Vec::new();
        for node in nodes.all() {
            let folder = self.pattern.folder(node);
            let mut paths: Vec<PathBuf> = match fs::read_dir(&folder) {
                Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    self.say(format!("reading {}: {error}", folder.display()));
                    continue;
                }
            };
            paths.sort();
            for path in paths {
                match self.look_at(&path, length) {
                    Ok(Some(file)) => {
                        if file.node != node {
                            self.say(format!(
                                "{} is in the folder of node {node} and its pages lie on node {}: taken as one of that node; \
                                 make it anew with `damocles-worker store hugepage-verify --repair`",
                                path.display(),
                                file.node
                            ));
                        }
                        found.push(file);
                    }
                    Ok(None) => {}
                    Err(why) => self.say(format!("{}: not taken: {why}", path.display())),
                }
            }
        }
        found
    }

    /// What a file is; none where it is no file, or of another length.
    fn look_at(&self, path: &Path, length: Option<Bytes>) -> Result<Option<Loaded>, String> {
        let stat = fs::symlink_metadata(path).map_err(|error| error.to_string())?;
        if !stat.is_file() || length.is_some_and(|length| length.0 != stat.len()) {
            return Ok(None);
        }
        let page = (self.page_of)(path).ok_or("it lies on no hugetlbfs")?;
        let file = open(path).map_err(|error| format!("open to read and write: {error}"))?;
        let mapping = Mapping::of(&file, page.0).map_err(|error| error.to_string())?;
        let mut nodes = mapping.nodes().map_err(|error| error.to_string())?;
        nodes.sort();
        nodes.dedup();
        match nodes[..] {
            [node] => Ok(Some(Loaded { path: path.into(), bytes: Bytes(stat.len()), node, id: FileId::of(&stat) })),
            _ => {
                let list: Vec<_> = nodes.iter().map(ToString::to_string).collect();
                Err(format!(
                    "its pages lie on nodes {}; make it anew with `damocles-worker store hugepage-verify --repair`",
                    list.join(" and ")
                ))
            }
        }
    }

    /// Locks and maps a file; none where somebody else has it.
    fn hold(&self, file: &Loaded, labels: usize, near: &[NodeId]) -> Result<Option<PoolFile>, io::Error> {
        let mut lock = match Lock::take_file(open(&file.path)?, &file.path) {
            Ok(lock) => lock,
            Err(LockError::Held(_)) => return Ok(None),
            Err(LockError::Durable(error)) => return Err(io::Error::other(error)),
        };
        // By now the name may be another file's: one that was made anew.
        if FileId::of(&lock.file().metadata()?) != file.id {
            return Ok(None);
        }
        match users::writers(&Root::at("/"), &[file.id]) {
            Ok(found) => {
                if let Some(process) = found.of(file.id).first() {
                    self.say(format!(
                        "{}: left to {} ({}), which has it mapped and takes no lock",
                        file.path.display(),
                        process.name,
                        process.pid
                    ));
                    return Ok(None);
                }
            }
            Err(error) => tracing::debug!(%error, "who else has hugepage files mapped is not known"),
        }
        let labels = InFile::map(lock.file(), labels)?;
        let place = if near.contains(&file.node) { Place::Near(file.node) } else { Place::Far(file.node) };
        Ok(Some(PoolFile { labels, place, _lock: lock }))
    }

    /// The right to look and choose: two tasks that want two files each shall not end with one each. No more than a
    /// courtesy, which ends after a while: the lock of each file is what counts.
    fn turn(&self, nodes: &Nodes) -> Vec<Lock> {
        let until = Instant::now() + TURN_MOST;
        let mut turn = Vec::new();
        for folder in nodes.all().map(|node| self.pattern.folder(node)) {
            loop {
                match Lock::take_existing(&folder) {
                    Err(LockError::Held(_)) if Instant::now() < until => thread::sleep(TURN_EVERY),
                    locked => {
                        turn.extend(locked.ok());
                        break;
                    }
                }
            }
        }
        turn
    }

    /// A warning, once.
    fn say(&self, text: String) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if !said.contains(&text) {
            tracing::warn!("pc1: hugepage files: {text}");
            said.insert(text);
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

fn sizes<'a>(files: impl Iterator<Item = &'a Loaded>) -> BTreeMap<Bytes, usize> {
    files.fold(BTreeMap::new(), |mut sizes, file| {
        *sizes.entry(file.bytes).or_default() += 1;
        sizes
    })
}

/// `2 files of 32GiB, 1 file of 8MiB`
fn by_size<'a>(files: impl Iterator<Item = &'a Loaded>) -> String {
    let sizes = sizes(files);
    let each: Vec<_> =
        sizes.iter().rev().map(|(bytes, count)| format!("{} of {bytes}", files_in_words(*count))).collect();
    if each.is_empty() { "no files".into() } else { each.join(", ") }
}

fn files_in_words(count: usize) -> String {
    if count == 1 { "1 file".into() } else { format!("{count} files") }
}

#[cfg(test)]
mod tests;
