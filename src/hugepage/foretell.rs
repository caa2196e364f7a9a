//! What a release would do, and what would stay, without doing it: `hugepage-release --dry-run`.
//!
//! ```text
//! [`remove`]      files ─► pools ─► folders ─► mounts, their folders       each looks at what the one before left
//! here            the same order, with a list of what would be gone by then instead
//! ```
//!
//! Whoever holds a folder open, or with --force a file without having it mapped, is not seen before the kernel refuses.

use super::{
    error::InitError,
    look::Facts,
    mounts, pool, remove,
    state::{Cut, MadeMount, Removal, State},
};
use crate::{
    sys::{Root, hugetlbfs, memory::Pool},
    units::{Bytes, NodeId},
};
use nix::errno::Errno;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

/// Pages that come back to each pool when the files are gone.
pub type Freed = BTreeMap<(NodeId, Bytes), u64>;

/// What would go and what would stay.
#[derive(Debug, Default)]
pub struct Foretold {
    /// As it would be carried out.
    pub removal: Removal,
    /// Folders that would go, outermost first.
    pub folders: Vec<PathBuf>,
    /// What others use, in the words of the release itself.
    pub stays: Vec<String>,
}

/// Looks ahead.
pub fn foretell(
    root: &Root,
    removal: &Removal,
    state: &State,
    facts: &Facts,
    freed: &Freed,
    mapped: &[PathBuf],
) -> Result<Foretold, InitError> {
    let mut told = Foretold { removal: removal.clone(), ..Foretold::default() };
    let mut gone: BTreeSet<PathBuf> = removal.files.iter().map(|file| file.path.clone()).collect();
    told.removal.cuts.clear();
    let mut pools = pools_then(facts, freed);
    for cut in &removal.cuts {
        let reserved = facts.reserved.get(&cut.page_bytes).copied().unwrap_or(0);
        let by = taken(&mut pools, cut, reserved);
        told.removal.cuts.push(Cut { by, ..cut.clone() });
        if by < cut.by {
            told.stays.push(remove::pages_stay(cut.node, cut.page_bytes, cut.by - by));
        }
    }
    told.folders(root, removal, state, &mut gone)?;
    told.mounts(root, removal, state, facts, &mut gone, mapped)?;
    Ok(told)
}

/// Every pool as it is when the files are gone.
type Pools = BTreeMap<(NodeId, Bytes), Pool>;

fn pools_then(facts: &Facts, freed: &Freed) -> Pools {
    let then = |node: NodeId, pool: &Pool| {
        let key = (node, pool.page_bytes);
        let free = pool.free.saturating_add(freed.get(&key).copied().unwrap_or(0)).min(pool.pages);
        (key, Pool { free, ..*pool })
    };
    let nodes = facts.nodes.iter();
    nodes.flat_map(|(id, node)| node.pools.iter().map(move |pool| then(*id, pool))).collect()
}

/// By how much a pool can be lowered then. What one cut takes is not there any more for the promises of the next one.
fn taken(pools: &mut Pools, cut: &Cut, reserved: u64) -> u64 {
    let others = pools.iter().filter(|((node, page_bytes), _)| *node != cut.node && *page_bytes == cut.page_bytes);
    let elsewhere = others.map(|(_, pool)| pool.free).fold(0, u64::saturating_add);
    let Some(pool) = pools.get_mut(&(cut.node, cut.page_bytes)) else { return 0 };
    let size = pool::lowered(pool, cut.by, pool::kept_here(reserved, elsewhere), 0);
    let by = pool.pages.saturating_sub(pool.surplus).saturating_sub(size);
    pool.pages = pool.pages.saturating_sub(by);
    pool.free = pool.free.saturating_sub(by);
    by
}

/// Whether nothing would lie in a folder.
fn is_empty_then(root: &Root, folder: &Path, gone: &BTreeSet<PathBuf>) -> Result<bool, InitError> {
    let real = root.path(folder);
    let failed = |source| hugetlbfs::FileError { doing: "list", path: real.clone(), source };
    for entry in fs::read_dir(&real).map_err(failed)? {
        if !gone.contains(&folder.join(entry.map_err(failed)?.file_name())) {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Foretold {
    fn folders(
        &mut self,
        root: &Root,
        removal: &Removal,
        state: &State,
        gone: &mut BTreeSet<PathBuf>,
    ) -> Result<(), InitError> {
        let is_heir = |folder: &Path| {
            let mut stay = state.folders.iter().filter(|known| !removal.goes(known) && !known.files.is_empty());
            stay.any(|known| known.folder.starts_with(folder))
        };
        for folder in removal.folders_made(state).into_iter().rev() {
            if !remove::is_there(root, &folder)? || is_heir(&folder.path) {
                continue;
            }
            let folder = folder.path;
            if is_empty_then(root, &folder, gone)? {
                gone.insert(folder.clone());
                self.folders.insert(0, folder);
            } else {
                self.stays.push(remove::folder_stays(&folder));
            }
        }
        Ok(())
    }

    fn mounts(
        &mut self,
        root: &Root,
        removal: &Removal,
        state: &State,
        facts: &Facts,
        gone: &mut BTreeSet<PathBuf>,
        mapped: &[PathBuf],
    ) -> Result<(), InitError> {
        let mut left = state.mounts.clone();
        self.removal.mounts.clear();
        for made in &removal.mounts {
            if mounts::with_source(&facts.mounts, &made.at, &made.source).is_some() {
                if let Some(why) = in_the_way(root, made, gone, mapped)? {
                    self.stays.push(hugetlbfs::unmount_failed(root, &made.at, why).to_string());
                    continue;
                }
                self.removal.mounts.push(made.clone());
            }
            left.retain(|known| known != made);
        }
        self.removal.points.clear();
        for point in removal.points.iter().rev() {
            // What is seen in it now lies on the mount that would be gone: it was mounted in an empty folder.
            let is_mounted_in = self.removal.mounts.iter().any(|made| made.at == point.path);
            if remove::is_needed(&point.path, &left) || !(is_mounted_in || remove::is_there(root, point)?) {
                continue;
            }
            if is_mounted_in || is_empty_then(root, &point.path, gone)? {
                gone.insert(point.path.clone());
                self.removal.points.insert(0, point.clone());
            } else {
                self.stays.push(remove::point_stays(&point.path));
            }
        }
        Ok(())
    }
}

fn in_the_way(
    root: &Root,
    made: &MadeMount,
    gone: &BTreeSet<PathBuf>,
    mapped: &[PathBuf],
) -> Result<Option<io::Error>, InitError> {
    if !is_empty_then(root, &made.at, gone)? {
        return Ok(Some(hugetlbfs::files_in_it()));
    }
    let is_mapped = mapped.iter().any(|path| path.starts_with(&made.at));
    Ok(is_mapped.then(|| Errno::EBUSY.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{hugepage::look::Node, sys::root::tests::tree};

    #[test]
    fn a_pool_is_lowered_by_what_is_free_when_the_files_are_gone() {
        let then = |freed, reserved| taken(&mut pools(&[(10, 0)], freed), &cut(0, 8), reserved);
        assert_eq!([then(8, 0), then(5, 0), then(8, 3)], [8, 5, 5]);
        assert_eq!(then(99, 0), 8, "no more than was added");
    }

    #[test]
    fn a_promise_is_kept_by_the_nodes_together() {
        // 5 are promised, and node 1 has 7 free ones.
        let mut pools = pools(&[(10, 10), (7, 7)], 0);
        assert_eq!(taken(&mut pools, &cut(0, 8), 5), 8, "node 1 can keep the promise");
        assert_eq!(taken(&mut pools, &cut(1, 7), 5), 4, "3 of it, node 0 has 2 left");
    }

    fn cut(node: u32, by: u64) -> Cut {
        Cut { node: NodeId(node), page_bytes: Bytes::mib(2), by, before: None }
    }

    /// Pages and free ones of each node, of which the first gets some back.
    fn pools(nodes: &[(u64, u64)], freed: u64) -> Pools {
        let pool =
            |(pages, free): &(u64, u64)| Pool { page_bytes: Bytes::mib(2), pages: *pages, free: *free, surplus: 0 };
        let node = |nodes| Node { pools: vec![pool(nodes)], ..Node::default() };
        let nodes = nodes.iter().enumerate().map(|(id, pages)| (NodeId(id as u32), node(pages))).collect();
        let facts = Facts { nodes, ..Facts::default() };
        pools_then(&facts, &Freed::from([((NodeId(0), Bytes::mib(2)), freed)]))
    }

    #[test]
    fn a_folder_is_empty_when_all_that_lies_in_it_would_be_gone() {
        let (_dir, root) = tree(&[("m/a/ours", ""), ("m/b/ours", ""), ("m/b/theirs", "")]);
        let gone: BTreeSet<PathBuf> = ["/m/a/ours", "/m/b/ours", "/m/a"].map(PathBuf::from).into();
        let is_empty = |folder: &str| is_empty_then(&root, Path::new(folder), &gone).unwrap();
        assert!(is_empty("/m/a") && !is_empty("/m/b") && !is_empty("/m"));
    }
}
