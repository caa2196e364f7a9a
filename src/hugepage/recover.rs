//! The way back: what a run may have changed is taken back by its record alone.
//!
//! ```text
//! error, signal   the run itself, with what it knows        ┐
//! kill -9         the next run, with what was written down  ┴─► undo(record)
//! ```
//!
//! Each part may be done already, half done, or never begun, so every step looks first, and all of it may be repeated. A step
//! that fails does not keep the others from being tried; what could not be taken back is told, and the record stays.
//! What another mount hides is neither gone nor to be had: then nothing is done, and the record stays.
//! A pool is a number, to which others may have added: it is lowered only where the run began to raise it, and what it had
//! just before is written down first.
//!
//! A mount that others use by now (a file of theirs, a shell that stands in it) is theirs to leave: it stays, and is from
//! then on a mount that this tool made, instead of one that keeps every further run from beginning. Pages that others use
//! stay likewise, in the record with a folder that they were added for, so that a later release can take them.

use super::{
    error::InitError,
    folders, mounts, pool, remove,
    state::{Folder, MadeMount, Raise, Run, State, Store},
};
use crate::sys::{Root, hugetlbfs, mount};
use serde::Serialize;
use std::collections::BTreeMap;

/// What was taken back, and what could not be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Undone {
    /// The run it was of.
    pub run: String,
    pub pid: u32,
    /// Files that had got their final name.
    pub files_removed: u64,
    pub pages_returned: u64,
    #[serde(skip)]
    pub left: Vec<String>,
    /// What others use by now.
    pub stays: Vec<String>,
    #[serde(skip)]
    mount: Option<MadeMount>,
    /// Pools that could not be lowered by all that was added, with what stays.
    #[serde(skip)]
    pages: Vec<(Raise, u64)>,
}

/// Takes back whatever a run changed: files, folders, mount, pools, in this order, since each holds the next.
pub fn undo(root: &Root, state: &mut State, store: &Store) -> Undone {
    let Some(run) = state.run.clone() else { return Undone::default() };
    let mut undone = Undone { run: run.id.clone(), pid: run.pid, ..Undone::default() };
    undone.look_for_hidden(root, &run, &state.mounts);
    if !undone.left.is_empty() {
        return undone;
    }
    undone.files(root, &run);
    undone.folders(root, &run);
    undone.mount(root, &run);
    let raises = undone.look_at_pools(root, state, store);
    undone.pools(root, &raises);
    undone
}

impl Undone {
    /// What the record says afterwards: nothing of the run, but a mount and pages of it that stay.
    pub fn settle(&self, state: &mut State, run: &Run) {
        state.run = None;
        for (raise, stay) in &self.pages {
            if let Some(folder) = folder_of(run, raise) {
                state.add(Folder { pages_added: *stay, ..folder });
            }
        }
        if let Some(mount) = &self.mount {
            state.mounts.push(mount.clone());
            state.points.extend(run.points.iter().cloned());
        }
    }

    fn note<T>(&mut self, result: Result<T, impl Into<InitError>>) -> Option<T> {
        result.map_err(|error| self.left.push(error.into().to_string())).ok()
    }

    /// What another mount hides cannot be taken back, and is not gone.
    fn look_for_hidden(&mut self, root: &Root, run: &Run, made: &[MadeMount]) {
        let Some(mounts) = self.note(mount::mounts(root)) else { return };
        let ours: Vec<MadeMount> = run.mount.iter().chain(made).cloned().collect();
        let at: BTreeMap<_, _> = run.files.iter().map(|file| (file.mount.as_path(), file.device)).collect();
        for (at, device) in at {
            self.note(mounts::refuse_hidden(root, &mounts, at, &ours, device));
        }
    }

    fn files(&mut self, root: &Root, run: &Run) {
        // A file without an identity never got its name.
        for (file, id) in run.files.iter().filter_map(|file| Some((file, file.id?))) {
            let removed = self.note(hugetlbfs::remove_this(root, &file.path, id));
            self.files_removed += u64::from(removed == Some(true));
        }
        for file in &run.files {
            if let Some(old) = file.replaces {
                self.note(hugetlbfs::put_back(root, &file.aside(), &file.path, old));
            }
        }
        // What could not be put back lies there.
        if self.left.is_empty() {
            for staging in &run.stagings {
                self.note(hugetlbfs::remove_tree(root, staging));
            }
        }
    }

    fn folders(&mut self, root: &Root, run: &Run) {
        for folder in run.folders.iter().rev() {
            // Somebody else's files may lie in it by now.
            if self.note(folders::remove_made(root, folder)) == Some(false) {
                self.stays.push(remove::folder_stays(&folder.path));
            }
        }
    }

    fn mount(&mut self, root: &Root, run: &Run) {
        if let Some(made) = &run.mount
            && let Some(mounts) = self.note(mount::mounts(root))
            && mounts::with_source(&mounts, &made.at, &made.source).is_some()
            && let Err(error) = hugetlbfs::unmount(root, &made.at)
        {
            self.stays.push(error.to_string());
            self.mount = Some(made.clone());
            return;
        }
        self.note(folders::remove_passing(root, &run.points, &folders::of_points(run)));
        for point in run.points.iter().rev() {
            if self.note(folders::remove_made(root, point)) == Some(false) {
                self.stays.push(remove::point_stays(&point.path));
            }
        }
    }

    /// Writes down what each pool has that the run began to raise, where that was not done. Gives those that may be lowered.
    fn look_at_pools(&mut self, root: &Root, state: &mut State, store: &Store) -> Vec<Raise> {
        let Some(run) = &mut state.run else { return Vec::new() };
        let mut is_new = false;
        for raise in run.pools.iter_mut().filter(|raise| raise.is_begun && raise.before_undo.is_none()) {
            let Some(pool) = self.note(pool::read(root, raise.node, raise.page_bytes)) else { continue };
            raise.before_undo = Some(pool::own(&pool));
            is_new = true;
        }
        let raises = run.pools.clone();
        match !is_new || self.note(store.save(state)).is_some() {
            true => raises,
            false => Vec::new(),
        }
    }

    fn pools(&mut self, root: &Root, raises: &[Raise]) {
        for raise in raises.iter().rev() {
            let Some(lowered) = self.note(pool::lower(root, raise)) else { continue };
            self.pages_returned += lowered.taken;
            if lowered.stay > 0 {
                self.stays.push(remove::pages_stay(raise.node, raise.page_bytes, lowered.stay));
                self.pages.push((raise.clone(), lowered.stay));
            }
        }
    }
}

/// A folder that a pool was raised for, with nothing in it.
fn folder_of(run: &Run, raise: &Raise) -> Option<Folder> {
    let file = run.files.iter().find(|file| (file.node, file.page_bytes) == (raise.node, raise.page_bytes))?;
    Some(Folder {
        mount: file.mount.clone(),
        folder: file.path.parent()?.to_owned(),
        node: file.node,
        page_bytes: file.page_bytes,
        pages_added: 0,
        folders_made: Vec::new(),
        files: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        hugepage::state::RunFile,
        units::{Bytes, NodeId},
    };

    #[test]
    fn pages_that_stay_are_kept_with_a_folder_that_they_were_added_for() {
        let raise = |node| Raise {
            node: NodeId(node),
            page_bytes: Bytes::gib(1),
            before: 3,
            surplus: 0,
            target: 9,
            is_begun: true,
            before_undo: None,
        };
        let file = |node: u32| RunFile {
            mount: "/m".into(),
            path: format!("/m/numa_{node}/1.0_GiB_0").into(),
            staged: "/m/.staging/x".into(),
            node: NodeId(node),
            page_bytes: Bytes::gib(1),
            bytes: Bytes::gib(1),
            device: None,
            replaces: None,
            id: None,
        };
        let run = Run { pools: vec![raise(0), raise(1)], files: vec![file(0), file(1)], ..Run::default() };
        let undone = Undone { pages: vec![(raise(1), 4)], ..Undone::default() };
        let mut state = State { run: Some(run.clone()), ..State::default() };
        undone.settle(&mut state, &run);
        let kept: Vec<_> = state.folders.iter().map(|kept| (kept.folder.to_str().unwrap(), kept.pages_added)).collect();
        assert_eq!((state.run, kept), (None, vec![("/m/numa_1", 4)]));
        // What the folder had already is not forgotten.
        let mut state = State { folders: state.folders, run: Some(run.clone()), ..State::default() };
        undone.settle(&mut state, &run);
        assert_eq!(state.folders[0].pages_added, 8);
    }
}
