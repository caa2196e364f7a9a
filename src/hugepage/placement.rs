//! Where the pages of a file lie, by the kernel's account, and what is wrong with files that are there.

use super::error::InitError;
use crate::{
    sys::{
        Root,
        mempolicy::{Mapping, PagesError},
        users::FileId,
    },
    units::{Bytes, NodeId},
};
use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// A file that is there and is not what it should be. Nobody but its owner changes it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    pub path: PathBuf,
    pub kind: ProblemKind,
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    WrongSize {
        bytes: Bytes,
        wanted: Bytes,
    },
    /// Parts of it were never allocated: they would be taken from any node when first touched.
    Holes {
        allocated: Bytes,
        bytes: Bytes,
    },
    /// Pages by node.
    Misplaced {
        pages: BTreeMap<NodeId, u64>,
        wanted: NodeId,
    },
    /// A folder, a link, a socket.
    NoFile,
    /// It was made, and is not there any more.
    Missing,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, kind) = (self.path.display(), &self.kind);
        let anew = match kind {
            // A repair refuses what is no file, too.
            ProblemKind::NoFile => "",
            _ => "make it anew with `store hugepage-verify --repair` and the same --path, or ",
        };
        write!(f, "{path}: {kind}; it was left as it is: {anew}remove it if nobody uses it, and run this again")
    }
}

impl fmt::Display for ProblemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongSize { bytes, wanted } => write!(f, "it has {bytes}, it should have {wanted}"),
            Self::Holes { allocated, bytes } => write!(f, "only {allocated} of its {bytes} are allocated"),
            Self::Misplaced { pages, wanted } => {
                let counts = pages.iter().map(|(node, pages)| format!("{pages} on node {node}")).collect::<Vec<_>>();
                write!(f, "its pages lie {}, they should all lie on node {wanted}", counts.join(", "))
            }
            Self::NoFile => write!(f, "it is no file"),
            Self::Missing => write!(f, "it was made here, and is not there any more"),
        }
    }
}

/// The pages of a file by node.
pub fn pages_by_node(root: &Root, path: &Path, page_bytes: Bytes) -> Result<BTreeMap<NodeId, u64>, InitError> {
    let failed = |source| InitError::Pages { path: path.to_owned(), source };
    let file = open(&root.path(path)).map_err(|error| failed(PagesError::Stat(error)))?;
    count(&file, page_bytes).map_err(failed)
}

/// The pages of an open file by node.
pub fn count(file: &File, page_bytes: Bytes) -> Result<BTreeMap<NodeId, u64>, PagesError> {
    let mut counts = BTreeMap::new();
    for node in Mapping::of(file, page_bytes.0)?.nodes()? {
        *counts.entry(node).or_insert(0) += 1;
    }
    Ok(counts)
}

/// What a file is that should have `wanted` bytes on `node`: not there, complete, or wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Missing,
    Complete(FileId),
    Wrong(Problem),
}

/// Looks at a file without changing it.
pub fn judge(root: &Root, path: &Path, wanted: Bytes, node: NodeId, page_bytes: Bytes) -> Result<Found, InitError> {
    let wrong = |kind| Ok(Found::Wrong(Problem { path: path.to_owned(), kind }));
    let stat = match fs::symlink_metadata(root.path(path)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Missing),
        stat => stat.map_err(|error| InitError::Pages { path: path.to_owned(), source: PagesError::Stat(error) })?,
    };
    if !stat.is_file() {
        return wrong(ProblemKind::NoFile);
    }
    let (bytes, allocated) = (Bytes(stat.len()), Bytes(stat.blocks() * 512));
    if bytes != wanted {
        return wrong(ProblemKind::WrongSize { bytes, wanted });
    }
    if allocated < bytes {
        return wrong(ProblemKind::Holes { allocated, bytes });
    }
    let pages = pages_by_node(root, path, page_bytes)?;
    if pages.keys().any(|found| *found != node) {
        return wrong(ProblemKind::Misplaced { pages, wanted: node });
    }
    Ok(Found::Complete(FileId::of(&stat)))
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(nix::libc::O_NOFOLLOW).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::root::tests::tree;

    #[test]
    fn what_is_wrong_with_a_file_is_told_with_what_to_do() {
        let (dir, root) = tree(&[("numa_0/short", "x"), ("numa_0/link", "->short"), ("numa_0/folder/x", "")]);
        fs::write(dir.path().join("numa_0/holes"), "").unwrap();
        File::options().write(true).open(dir.path().join("numa_0/holes")).unwrap().set_len(8192).unwrap();
        let judge =
            |name: &str| judge(&root, &Path::new("/numa_0").join(name), Bytes(8192), NodeId(0), Bytes(4096)).unwrap();
        let told = |name: &str| match judge(name) {
            Found::Wrong(problem) => problem.to_string(),
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(judge("gone"), Found::Missing);
        assert!(told("short").starts_with("/numa_0/short: it has 1B, it should have 8KiB; it was left as it is"));
        assert!(told("holes").contains("only 0B of its 8KiB are allocated"));
        assert!(told("holes").contains("`store hugepage-verify --repair`") && !told("link").contains("--repair"));
        assert!(told("link").contains("it is no file") && told("folder").contains("it is no file"));
    }

    #[test]
    fn pages_on_another_node_are_counted_by_node() {
        let pages = BTreeMap::from([(NodeId(0), 3), (NodeId(1), 1)]);
        let kind = ProblemKind::Misplaced { pages, wanted: NodeId(0) };
        let text = Problem { path: "/f".into(), kind }.to_string();
        assert!(text.contains("its pages lie 3 on node 0, 1 on node 1, they should all lie on node 0"), "{text}");
    }
}
