//! Why a run made nothing: refused, wrong files in the way, too few pages, failed, stopped.
//!
//! The exit code hangs on it: 1 where the machine or the files say no, 2 where the question could not be worked on.

use super::{
    placement::{Problem, ProblemKind},
    pool::Shortfall,
    state::StateError,
};
use crate::{
    sys::{
        host::HostError,
        hugetlb_limit::Limit,
        hugetlbfs::FileError,
        mempolicy::{PagesError, PolicyError},
        root::WriteError,
        users::Process,
    },
    units::{Bytes, NodeId},
};
use nix::errno::Errno;
use serde_json::{Value, json};
use std::{collections::BTreeSet, path::PathBuf};

/// `0,2`
pub(super) fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(",")
}

fn or_none(text: String) -> String {
    if text.is_empty() { "none".to_owned() } else { text }
}

/// What cannot be worked on as it was asked. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(
        "the pattern {0} has no $NUMA_NODE_INDEX in it, by which PC1 knows the node of a file; put it where the node's number belongs"
    )]
    NoPlaceholder(String),
    #[error(
        "{0} has one of * ? [ in it, by which PC1 would find the files of other processors too; name the folder without them"
    )]
    Wildcard(String),
    #[error("{}: write an absolute path without `..`", .0.display())]
    NotAbsolute(PathBuf),
    #[error("the path {0:?} is not UTF-8, which a configuration of PC1 could not name; choose another")]
    NotUtf8(PathBuf),
    #[error("files of {size} cannot be made of {page} pages; the next sizes that can are {}", sizes(*below, *above))]
    NotAMultiple { size: Bytes, page: Bytes, below: Option<Bytes>, above: Option<Bytes> },
    #[error("that is more than 2^64 pages; ask for fewer files (--num) or smaller ones (--size)")]
    TooMuch,
    #[error("which node? this machine has {}; choose with --node, as in --node 0 or --node all", list(.0))]
    WhichNode(BTreeSet<NodeId>),
    #[error("node {node} is not there; this machine has {}", list(there))]
    NoNode { node: NodeId, there: BTreeSet<NodeId> },
    #[error("node {node} has no memory of its own, only CPUs; choose among {}", list(there))]
    NoMemory { node: NodeId, there: BTreeSet<NodeId> },
    #[error(
        "node {node} has memory and no CPUs: PC1 takes files of the node that it runs on and would never find these; choose among {}",
        list(there)
    )]
    MemoryOnly { node: NodeId, there: BTreeSet<NodeId> },
    #[error(
        "node {node} is not allowed to this process, whose cpuset has the memory of {allowed} only; run it outside that cpuset, or add the node to cpuset.mems"
    )]
    NotAllowed { node: NodeId, allowed: String },
    #[error("this kernel has no pages of {page}; it has {}", or_none(list(has)))]
    NoPageSize { page: Bytes, has: Vec<Bytes> },
    #[error("{} is on a hugetlbfs of {found} pages, mounted at {}; asked for are {wanted} pages: choose another path, or leave out --page-size", folder.display(), mount.display())]
    WrongPageSize { folder: PathBuf, mount: PathBuf, found: Bytes, wanted: Bytes },
    #[error("{} is not on a hugetlbfs but on {filesystem}, mounted at {}; {}", folder.display(), mount.display(), hugetlbfs_hint(there, *may_mount))]
    NotHugetlbfs {
        folder: PathBuf,
        mount: PathBuf,
        filesystem: String,
        there: Vec<(PathBuf, Option<Bytes>)>,
        /// Whether the command has --mount.
        may_mount: bool,
    },
    #[error("{} goes through the symbolic link {}{}; give the path without links, which is also what PC1 should be given", folder.display(), link.display(), leads(to.as_ref()))]
    Symlink { folder: PathBuf, link: PathBuf, to: Option<PathBuf> },
    #[error("{} is in the way: it is no folder; move it away, or choose another path", .0.display())]
    NoFolder(PathBuf),
    #[error("the hugetlbfs at {at} is mounted read-only; make it writable with mount -o remount,rw {at}, or choose another path", at = .0.display())]
    ReadOnlyMount(PathBuf),
    #[error("{} is hidden behind another mount; unmount that first", .0.display())]
    Hidden(PathBuf),
    #[error("mount a hugetlbfs at {}: none of the folders that are asked for lies in it; name one that they lie in, or leave out --mount", .0.display())]
    MountElsewhere(PathBuf),
    #[error("mount a hugetlbfs at {}: {filesystem} is mounted there already; unmount that, or choose another folder", at.display())]
    MountTaken { at: PathBuf, filesystem: String },
    #[error("mount a hugetlbfs at {}: the folder is not empty, and what lies in it would be hidden; empty it, or choose another folder", .0.display())]
    MountHides(PathBuf),
    #[error("mount a hugetlbfs at {}: it lies in the hugetlbfs at {}, which will do: leave out --mount", at.display(), inside.display())]
    MountInside { at: PathBuf, inside: PathBuf },
    #[error("mount a hugetlbfs at {}: say which pages with --page-size; this kernel has {}", at.display(), or_none(list(has)))]
    MountWithoutSize { at: PathBuf, has: Vec<Bytes> },
    #[error("change the pool of node {node}, {}: {}", path.display(), pool_hint(*errno))]
    PoolNotWritable { node: NodeId, path: PathBuf, errno: Errno },
    #[error("write in {}: {}; run as root, or as the owner of that folder", path.display(), errno.desc())]
    NotWritable { path: PathBuf, errno: Errno },
    #[error("mount a hugetlbfs: only root may; run as root")]
    MayNotMount,
    #[error("{} is asked for twice; give each processor a folder of its own", .0.display())]
    Twice(PathBuf),
    #[error("run {run} of process {pid} was killed and left something behind, by the record {}", record.display())]
    Unfinished { run: String, pid: u32, record: PathBuf },
    #[error("{0}")]
    Config(String),
    #[error("ask who has the files mapped: {}; run as root on the host{}", unasked(by), force(*may_force))]
    Unasked { by: Vec<Process>, may_force: bool },
    #[error("{} is in use by somebody whom /proc does not show{}{}", path.display(), unshown(by), force(*may_force))]
    UsedByUnasked { path: PathBuf, by: Vec<Process>, may_force: bool },
    #[error("there are no hugepage files in {}; make them with `store hugepage-file-init`", .0.display())]
    NoFiles(PathBuf),
    #[error("the record {} names no files of this boot; say which are meant with --path or --path-pattern", .0.display())]
    NothingKnown(PathBuf),
    #[error("the record {} names no files on node {}; it has some on node {}: choose with --node", record.display(), list(nodes), list(has))]
    NothingOnNodes { record: PathBuf, nodes: BTreeSet<NodeId>, has: BTreeSet<NodeId> },
    #[error("the record {} would lie on a hugetlbfs, which takes no such file and is gone at the next boot; choose a --state on another file system", .0.display())]
    RecordOnHugetlbfs(PathBuf),
    #[error("the hugetlbfs at {} is not mounted any more, and its files are gone; make them anew with `store hugepage-file-init`", .0.display())]
    MountGone(PathBuf),
    #[error("{}: only root may unmount it; run as root", .0.display())]
    MayNotUnmount(PathBuf),
}

/// `damocles-worker (71), qemu (99)`; of many the first ones.
pub fn processes(processes: &[Process]) -> String {
    const SHOWN: usize = 8;
    let shown = processes.iter().take(SHOWN).map(|process| format!("{} ({})", process.name, process.pid));
    let more = processes.len().saturating_sub(SHOWN);
    let more = (more > 0).then(|| format!("{more} more"));
    shown.chain(more).collect::<Vec<_>>().join(", ")
}

fn unasked(by: &[Process]) -> String {
    match by.is_empty() {
        true => "the kernel does not say whether anybody has".to_owned(),
        false => format!("{} did not let us look, and any of them may", processes(by)),
    }
}

fn unshown(by: &[Process]) -> String {
    if by.is_empty() { ", as in another container".to_owned() } else { format!("; it may be one of {}", processes(by)) }
}

/// A file that is in use.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Mapped {
    pub path: PathBuf,
    pub by: Vec<Process>,
}

fn force(may_force: bool) -> &'static str {
    if may_force { ", or say --force" } else { "" }
}

fn mapped(files: &[Mapped]) -> String {
    let line = |file: &Mapped| format!("{} is mapped by {}", file.path.display(), processes(&file.by));
    files.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn sizes(below: Option<Bytes>, above: Option<Bytes>) -> String {
    below.into_iter().chain(above).map(|size| size.to_string()).collect::<Vec<_>>().join(" or ")
}

fn leads(to: Option<&PathBuf>) -> String {
    to.map_or_else(|| ", which leads nowhere".to_owned(), |to| format!(", which leads to {}", to.display()))
}

fn hugetlbfs_hint(there: &[(PathBuf, Option<Bytes>)], may_mount: bool) -> String {
    if there.is_empty() {
        let hint = if may_mount { ": mount one with --mount DIR --page-size SIZE" } else { "" };
        return format!("none is mounted here{hint}");
    }
    let mount = |(path, page): &(PathBuf, Option<Bytes>)| {
        format!("{} ({} pages)", path.display(), page.map_or_else(|| "unknown".to_owned(), |page| page.to_string()))
    };
    let mounts: Vec<_> = there.iter().map(mount).collect();
    let hint = if may_mount { "; or mount another with --mount DIR --page-size SIZE" } else { "" };
    format!("there is {}{hint}", mounts.join(", "))
}

fn pool_hint(errno: Errno) -> String {
    match errno {
        Errno::EROFS => "/sys is mounted read-only, as in a container; run it on the host".to_owned(),
        Errno::EACCES | Errno::EPERM => "permission denied; run as root".to_owned(),
        errno => errno.desc().to_owned(),
    }
}

fn lines(problems: &[Problem]) -> String {
    let line = |problem: &Problem| format!("{}: {}", problem.path.display(), problem.kind);
    problems.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Why a run made nothing, or what it could not take back.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Files that are there and are not what they should be.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Problems(Vec<Problem>),
    #[error(transparent)]
    Short(Box<Shortfall>),
    #[error("{bytes} of {page} pages are asked for, and the cgroup of this process leaves {} ({}: {} of {} are used); raise that limit or run outside the cgroup", limit.left(), limit.path.display(), limit.used_bytes, limit.limit_bytes)]
    CgroupLimit { bytes: Bytes, page: Bytes, limit: Limit },
    #[error("{bytes} are asked for, and the hugetlbfs at {} may take {left} more: it is mounted with a limit (size=); remount it with a higher one", mount.display())]
    MountLimit { bytes: Bytes, mount: PathBuf, left: Bytes },
    #[error("node {node} has {} of memory, of which hugepage pools hold {}: {} of {page} more cannot be had there; ask for fewer or smaller files, or give back pages of other pools of that node", memory.human(), held.human(), super::pool::pages(*asked))]
    NoRoom { node: NodeId, asked: u64, page: Bytes, memory: Bytes, held: Bytes },
    /// Although there were enough a moment before.
    #[error("the pages of node {node} ran out while {} was filled: another program took some; run it again", path.display())]
    Taken { node: NodeId, path: PathBuf },
    /// The kernel gave pages of another node to a thread that was bound to this one.
    #[error("{}: {kind}, although a thread filled it that may take memory of that node alone; run it again, and should that be the same, `store hugepage-status` shows what each node has free", path.display())]
    Misplaced { path: PathBuf, kind: ProblemKind },
    #[error("stopped by {0}")]
    Stopped(&'static str),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error("look where the pages of {} lie: {source}", path.display())]
    Pages { path: PathBuf, source: PagesError },
    #[error("{}\nhint: nothing was changed; stop them first{}", mapped(files), force(*may_force))]
    Mapped { files: Vec<Mapped>, may_force: bool },
    /// Files that are wrong in a way that making them anew does not mend.
    #[error("{}\nhint: nothing was changed; move away what is no file", lines(.0))]
    Unrepairable(Vec<Problem>),
    #[error("what was begun to be removed could not be removed, which the next run will try again: {}", .0.join("; "))]
    NotRemoved(Vec<String>),
    /// Others began to use what was made before it could be taken back.
    #[error("{cause}\nwhat others use by now stays: {}", what.join("; "))]
    Stays { cause: Box<InitError>, what: Vec<String> },
    /// The way back met obstacles of its own.
    #[error("{cause}\nand could not be taken back, which the next run will try again: {}", left.join("; "))]
    NotUndone { cause: Box<InitError>, left: Vec<String> },
}

impl InitError {
    /// Whether the machine or the files said no; otherwise the question could not be worked on.
    pub fn is_answer(&self) -> bool {
        match self {
            Self::NotUndone { cause, .. } | Self::Stays { cause, .. } => cause.is_answer(),
            Self::Problems(_)
            | Self::Short(_)
            | Self::NoRoom { .. }
            | Self::CgroupLimit { .. }
            | Self::MountLimit { .. }
            | Self::Taken { .. }
            | Self::Mapped { .. }
            | Self::Unrepairable(_)
            | Self::Refused(Refusal::UsedByUnasked { .. }) => true,
            _ => false,
        }
    }
}

impl InitError {
    /// The figures of what falls short.
    pub fn figures(&self) -> Option<Value> {
        match self {
            Self::Short(short) => serde_json::to_value(short).ok(),
            Self::NoRoom { node, asked, page, memory, held } => Some(json!({
                "node": node, "page_bytes": page, "asked": asked, "granted": 0, "memory_bytes": memory, "held_bytes": held,
            })),
            Self::CgroupLimit { bytes, page, limit } => Some(json!({
                "page_bytes": page, "asked_bytes": bytes, "left_bytes": limit.left(), "limit_bytes": limit.limit_bytes,
                "used_bytes": limit.used_bytes, "limit": limit.path,
            })),
            Self::MountLimit { bytes, mount, left } => {
                Some(json!({ "mount": mount, "asked_bytes": bytes, "left_bytes": left }))
            }
            Self::Taken { node, path } => Some(json!({ "node": node, "path": path })),
            Self::NotUndone { cause, .. } | Self::Stays { cause, .. } => cause.figures(),
            _ => None,
        }
    }
}

impl From<crate::sys::root::ReadError> for InitError {
    fn from(error: crate::sys::root::ReadError) -> Self {
        Self::Host(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_falls_short_says_by_how_much() {
        let no_room = || InitError::NoRoom {
            node: NodeId(1),
            asked: 9,
            page: Bytes::gib(1),
            memory: Bytes::gib(8),
            held: Bytes::gib(2),
        };
        let limit = || Limit { path: "/l".into(), limit_bytes: Bytes(9), used_bytes: Bytes(5) };
        let limited = || InitError::CgroupLimit { bytes: Bytes(8), page: Bytes::mib(2), limit: limit() };
        let mount = || InitError::MountLimit { bytes: Bytes(8), mount: "/m".into(), left: Bytes(4) };
        let told = no_room().figures().unwrap();
        assert_eq!((told["asked"].as_u64(), told["memory_bytes"].as_u64()), (Some(9), Some(8 << 30)));
        assert_eq!(limited().figures().unwrap()["left_bytes"], 4);
        assert_eq!(mount().figures().unwrap()["left_bytes"], 4);
        let cause = Box::new(no_room());
        assert_eq!(InitError::Stays { cause, what: vec![] }.figures(), Some(told));
        assert_eq!(InitError::Stopped("a test").figures(), None);
    }

    #[test]
    fn refusals_of_paths_and_mounts_say_what_to_do() {
        let path = || PathBuf::from("/x");
        let filesystem = "tmpfs".to_owned();
        for (refusal, hint) in [
            (Refusal::TooMuch, "; ask for fewer files (--num)"),
            (Refusal::NoFolder(path()), "; move it away"),
            (Refusal::ReadOnlyMount(path()), "; make it writable with mount -o remount,rw /x"),
            (Refusal::MountElsewhere(path()), "; name one that they lie in"),
            (Refusal::MountTaken { at: path(), filesystem }, "; unmount that"),
            (Refusal::MountHides(path()), "; empty it"),
            (Refusal::Twice(path()), "; give each processor"),
            (Refusal::Hidden(path()), "; unmount that first"),
            (Refusal::RecordOnHugetlbfs(path()), "; choose a --state"),
        ] {
            assert!(refusal.to_string().contains(hint), "{refusal}");
        }
        let kind = ProblemKind::NoFile;
        assert!(InitError::Misplaced { path: path(), kind }.to_string().contains("; run it again"));
        let [page, memory, held] = [Bytes::gib(1); 3];
        let no_room = InitError::NoRoom { node: NodeId(0), asked: 2, page, memory, held };
        assert!(no_room.to_string().contains("; ask for fewer"), "{no_room}");
    }

    #[test]
    fn an_answer_stays_one_whatever_became_of_the_way_back() {
        let stays = |cause| InitError::Stays { cause: Box::new(cause), what: vec!["a mount".into()] };
        let left = |cause| InitError::NotUndone { cause: Box::new(cause), left: vec!["a file".into()] };
        let no = || InitError::Taken { node: NodeId(0), path: "/mnt/x".into() };
        assert!(stays(no()).is_answer() && left(no()).is_answer() && left(stays(no())).is_answer());
        let could_not = || InitError::Stopped("a test");
        assert!(!stays(could_not()).is_answer() && !left(stays(could_not())).is_answer());
    }
}
