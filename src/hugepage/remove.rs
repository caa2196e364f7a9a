//! What is decided to go, carried out: by the record alone, as often as it takes.
//!
//! ```text
//! record says Removal ─► files ─► record the pools ─► cut them ─► folders ─► mounts, their folders ─► record without it
//!                           └─────────── killed anywhere: the next command begins here again ───────────┘
//! ```
//!
//! A file goes only if it is that very file, so a second try cannot hit a new one. A pool is a number, which cannot tell by itself
//! whether it was lowered before: what it had just before is therefore written down first.
//!
//! What others use by now (pages, a mount with their files in it) stays, is told, and stays in the record, so that a later release
//! can take it.

use super::{
    error::InitError,
    init::World,
    mounts, pool,
    state::{Cut, Folder, MadeFolder, MadeMount, Removal, State, Store},
};
use crate::{
    sys::{Root, hugetlbfs, mount},
    units::{Bytes, NodeId},
};
use serde::Serialize;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// What went, and what could not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Removed {
    pub files: Vec<PathBuf>,
    pub pools: Vec<CutReport>,
    pub folders: Vec<PathBuf>,
    pub unmounted: Vec<PathBuf>,
    /// What others use by now.
    pub stays: Vec<String>,
}

/// A pool that was lowered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CutReport {
    pub node: NodeId,
    pub page_bytes: Bytes,
    pub before: u64,
    pub after: u64,
    /// Pages that somebody uses, and that stay therefore.
    pub stay: u64,
}

impl CutReport {
    /// Whether it is the pool of this node and size.
    pub fn is_of(&self, node: NodeId, page_bytes: Bytes) -> bool {
        (self.node, self.page_bytes) == (node, page_bytes)
    }
}

impl Removed {
    /// Pages that the pools have fewer now.
    pub fn pages(&self) -> u64 {
        self.pools.iter().map(|pool| pool.before.saturating_sub(pool.after)).sum()
    }
}

/// Carries out what the record says is to go; without such a word there is nothing to do.
pub fn finish(world: &World, state: &mut State, store: &Store) -> Result<Removed, InitError> {
    let mut removed = Removed::default();
    let Some(removal) = state.removal.clone() else { return Ok(removed) };
    look_for_hidden(world.root, &removal, state)?;
    files(world.root, &removal, &mut removed)?;
    look_at_pools(world.root, state, store)?;
    let cuts = state.removal.as_ref().map(|removal| removal.cuts.clone()).unwrap_or_default();
    for cut in &cuts {
        removed.pools.push(lower(world.root, cut)?);
    }
    let mut after = forget(state, &removal, &removed);
    for cut in removed.pools.iter().filter(|cut| cut.stay > 0) {
        removed.stays.push(pages_stay(cut.node, cut.page_bytes, cut.stay));
    }
    folders(world.root, state, &removal, &mut after, &mut removed)?;
    unmount(world.root, &removal, &mut after, &mut removed)?;
    store.save(&after)?;
    *state = after;
    Ok(removed)
}

/// What another mount hides is neither gone nor to be had: nothing of it may be forgotten.
fn look_for_hidden(root: &Root, removal: &Removal, state: &State) -> Result<(), InitError> {
    let mounts = mount::mounts(root)?;
    let of_folders = removal.folders.iter().map(|(mount, _)| mount.as_path());
    let of_trees = removal.trees.iter().filter_map(|tree| tree.parent());
    let of_mounts = removal.mounts.iter().map(|made| made.at.as_path());
    let at: BTreeSet<_> = of_folders.chain(of_trees).chain(of_mounts).collect();
    let device = |at: &Path| removal.files.iter().find(|file| file.path.starts_with(at)).map(|file| file.id.device);
    let hidden =
        at.into_iter().filter_map(|at| mounts::refuse_hidden(root, &mounts, at, &state.mounts, device(at)).err());
    let hidden: Vec<_> = hidden.map(|refusal| refusal.to_string()).collect();
    if hidden.is_empty() { Ok(()) } else { Err(InitError::NotRemoved(hidden)) }
}

fn files(root: &Root, removal: &Removal, removed: &mut Removed) -> Result<(), InitError> {
    let mut left = Vec::new();
    for file in &removal.files {
        match hugetlbfs::remove_this(root, &file.path, file.id) {
            Ok(true) => removed.files.push(file.path.clone()),
            Ok(false) => {}
            Err(error) => left.push(error.to_string()),
        }
    }
    for tree in &removal.trees {
        left.extend(hugetlbfs::remove_tree(root, tree).err().map(|error| error.to_string()));
    }
    // The pages of a file that is still there are in use: the pools are not touched before all are gone.
    if left.is_empty() { Ok(()) } else { Err(InitError::NotRemoved(left)) }
}

/// Writes down what each pool has before it is lowered, where that was not done.
fn look_at_pools(root: &Root, state: &mut State, store: &Store) -> Result<(), InitError> {
    let Some(removal) = &mut state.removal else { return Ok(()) };
    let mut is_new = false;
    for cut in removal.cuts.iter_mut().filter(|cut| cut.before.is_none()) {
        let pool = pool::read(root, cut.node, cut.page_bytes)?;
        cut.before = Some(pool.pages.saturating_sub(pool.surplus));
        is_new = true;
    }
    if is_new { Ok(store.save(state)?) } else { Ok(()) }
}

fn lower(root: &Root, cut: &Cut) -> Result<CutReport, InitError> {
    let now = pool::own(&pool::read(root, cut.node, cut.page_bytes)?);
    let before = cut.before.unwrap_or(now);
    // What an earlier try took.
    let by = cut.by.saturating_sub(before.saturating_sub(now));
    let taken = if by > 0 { pool::take(root, cut.node, cut.page_bytes, by, 0)? } else { 0 };
    let stay = by.saturating_sub(taken);
    Ok(CutReport { node: cut.node, page_bytes: cut.page_bytes, before, after: now.saturating_sub(taken), stay })
}

/// The record without what goes. Pages that stay are kept in it with a folder that they were added for; those that a repair
/// could not give back, with any folder of that pool.
fn forget(state: &State, removal: &Removal, removed: &Removed) -> State {
    let mut after = State { removal: None, ..state.clone() };
    let mut stay: Vec<_> = removed.pools.iter().map(|cut| (cut.node, cut.page_bytes, cut.stay)).collect();
    after.folders.clear();
    for folder in &state.folders {
        if !removal.goes(folder) {
            after.folders.push(folder.clone());
            continue;
        }
        let key = (folder.node, folder.page_bytes);
        let Some((.., rest)) = stay.iter_mut().find(|(node, page_bytes, _)| (*node, *page_bytes) == key) else {
            continue;
        };
        let pages_added = folder.pages_added.min(*rest);
        *rest -= pages_added;
        if pages_added > 0 {
            let nothing = Folder { files: Vec::new(), folders_made: Vec::new(), ..folder.clone() };
            after.folders.push(Folder { pages_added, ..nothing });
        }
    }
    for (node, page_bytes, rest) in stay.into_iter().filter(|(.., rest)| *rest > 0) {
        let heir = after.folders.iter_mut().find(|known| (known.node, known.page_bytes) == (node, page_bytes));
        heir.into_iter().for_each(|heir| heir.pages_added += rest);
    }
    after
}

impl Removal {
    /// Whether the record of this folder ends.
    pub fn goes(&self, folder: &Folder) -> bool {
        self.folders.iter().any(|(mount, path)| *mount == folder.mount && *path == folder.folder)
    }

    /// The folders that were made for those that go, outermost first.
    pub fn folders_made(&self, state: &State) -> Vec<MadeFolder> {
        let going = state.folders.iter().filter(|folder| self.goes(folder));
        let mut made: Vec<_> = going.flat_map(|folder| folder.folders_made.clone()).collect();
        made.sort();
        made.dedup();
        made
    }
}

fn folders(
    root: &Root,
    state: &State,
    removal: &Removal,
    after: &mut State,
    removed: &mut Removed,
) -> Result<(), InitError> {
    for folder in removal.folders_made(state).into_iter().rev() {
        if !is_there(root, &folder)? {
            continue;
        }
        // Another folder of ours below it will take it along.
        let heirs = after.folders.iter_mut().filter(|known| known.folder.starts_with(&folder.path));
        let mut is_inherited = false;
        for heir in heirs.filter(|heir| !heir.files.is_empty()) {
            is_inherited = true;
            if !heir.folders_made.contains(&folder) {
                heir.folders_made.push(folder.clone());
                heir.folders_made.sort();
            }
        }
        if is_inherited {
            continue;
        }
        match hugetlbfs::remove_folder(root, &folder.path)? {
            true => removed.folders.push(folder.path),
            false => removed.stays.push(folder_stays(&folder.path)),
        }
    }
    Ok(())
}

fn unmount(root: &Root, removal: &Removal, after: &mut State, removed: &mut Removed) -> Result<(), InitError> {
    let mounts = mount::mounts(root)?;
    for made in &removal.mounts {
        if mounts::with_source(&mounts, &made.at, &made.source).is_some() {
            if let Err(error) = hugetlbfs::unmount(root, &made.at) {
                removed.stays.push(error.to_string());
                continue;
            }
            removed.unmounted.push(made.at.clone());
        }
        after.mounts.retain(|known| known != made);
    }
    let mounts = mount::mounts(root)?;
    for point in removal.points.iter().rev() {
        if is_needed(&point.path, &after.mounts) {
            continue;
        }
        let is_there = is_there(root, point)?;
        if !is_there && mounts.iter().any(|mount| Path::new(&mount.path) == point.path) {
            // What somebody mounted in it hides which folder it is.
            removed.stays.push(point_stays(&point.path));
            continue;
        }
        after.points.retain(|known| known != point);
        match is_there {
            true if hugetlbfs::remove_folder(root, &point.path)? => removed.folders.push(point.path.clone()),
            true => removed.stays.push(point_stays(&point.path)),
            false => {}
        }
    }
    Ok(())
}

/// Whether a folder is still the one that was made: another's of that name is his.
pub fn is_there(root: &Root, made: &MadeFolder) -> Result<bool, InitError> {
    let Some(found) = hugetlbfs::identify(root, &made.path)? else { return Ok(false) };
    Ok(made.is(found) && made.born == hugetlbfs::born(root, &made.path))
}

/// Pages of ours that somebody uses.
pub fn pages_stay(node: NodeId, page_bytes: Bytes, stay: u64) -> String {
    format!("{} of {page_bytes} on node {node}, which are in use", pool::pages(stay))
}

/// A folder of ours that others use.
pub fn folder_stays(folder: &Path) -> String {
    format!("the folder {}, in which others' files lie", folder.display())
}

/// A folder to mount in that others use.
pub fn point_stays(point: &Path) -> String {
    format!("the folder {}, which is not empty", point.display())
}

/// Whether something of ours is mounted at or below a folder.
pub fn is_needed(point: &Path, mounts: &[MadeMount]) -> bool {
    mounts.iter().any(|mount| mount.at.starts_with(point))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str, node: u32, pages_added: u64) -> Folder {
        Folder {
            mount: "/m".into(),
            folder: name.into(),
            node: NodeId(node),
            page_bytes: Bytes::gib(1),
            pages_added,
            folders_made: ["/m/a", name].map(|path| MadeFolder::planned(path.into())).into(),
            files: Vec::new(),
        }
    }

    fn state() -> State {
        let folders = vec![folder("/m/a/numa_0", 0, 4), folder("/m/a/numa_1", 1, 2), folder("/m/b/numa_0", 0, 3)];
        State { folders, ..State::default() }
    }

    fn removal(names: &[&str]) -> Removal {
        let folders = names.iter().map(|name| ("/m".into(), (*name).into())).collect();
        Removal { folders, ..Removal::default() }
    }

    fn stays(node: u32, stay: u64) -> CutReport {
        CutReport { node: NodeId(node), page_bytes: Bytes::gib(1), before: 9, after: 5, stay }
    }

    #[test]
    fn what_stays_is_kept_with_the_folders_it_was_added_for() {
        let removal = removal(&["/m/a/numa_0", "/m/b/numa_0"]);
        let removed = Removed { pools: vec![stays(0, 5)], ..Removed::default() };
        let after = forget(&state(), &removal, &removed);
        let left = after.folders.iter().map(|folder| (folder.folder.to_str().unwrap(), folder.pages_added));
        assert_eq!(left.collect::<Vec<_>>(), [("/m/a/numa_0", 4), ("/m/a/numa_1", 2), ("/m/b/numa_0", 1)]);
        let after = forget(&state(), &removal, &Removed { pools: vec![stays(0, 0)], ..Removed::default() });
        assert_eq!(after.folders, [folder("/m/a/numa_1", 1, 2)]);
    }

    #[test]
    fn what_a_repair_could_not_give_back_is_kept_with_a_folder_that_stays() {
        let removed = Removed { pools: vec![stays(1, 3)], ..Removed::default() };
        let after = forget(&state(), &removal(&[]), &removed);
        let left: Vec<_> = after.folders.iter().map(|folder| folder.pages_added).collect();
        assert_eq!(left, [4, 5, 3]);
    }

    #[test]
    fn folders_that_were_made_for_several_are_named_once_outermost_first() {
        let made = removal(&["/m/a/numa_1", "/m/a/numa_0"]).folders_made(&state());
        let made: Vec<_> = made.iter().map(|made| made.path.as_path()).collect();
        assert_eq!(made, [Path::new("/m/a"), Path::new("/m/a/numa_0"), Path::new("/m/a/numa_1")]);
        assert!(removal(&[]).folders_made(&state()).is_empty());
    }
}
