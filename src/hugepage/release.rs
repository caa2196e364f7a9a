//! `hugepage-release`: what this tool made goes again: files, the pages that it added, folders, the mount. Nothing else does.
//!
//! ```text
//! record knows the folder     its files, by device and inode; the pages added for them; folders and mount made for them
//! record does not know it     files whose name says their length, if it is their length; the pool is left alone
//! ```
//!
//! Decided here, carried out in [`remove`]: the decision is in the record before the first file goes, so that a
//! release that was killed is finished by the next command, whatever that is.

use super::{
    begin::{self, Begun, begin},
    chosen::{self, Choice, Chosen},
    error::{InitError, Mapped, Refusal},
    foretell::{self, Freed},
    init::World,
    look::{self, Facts},
    mounts, pool,
    remove::{self, Removed},
    request::NodeChoice,
    state::{self, Cut, DoomedFile, MadeFolder, MadeMount, Removal, State},
    steps::{self, Step},
    verify::{mapped, refuse_mapped},
};
use crate::{
    sys::{Root, hugetlb, users::FileId},
    units::{Bytes, NodeId},
};
use nix::unistd::{AccessFlags, access, geteuid};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReleaseOrder {
    /// Without a pattern: everything that the record names.
    pub choice: Choice,
    /// Also what somebody has mapped.
    pub force: bool,
}

/// What a release did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Released {
    #[serde(flatten)]
    pub removed: Removed,
    /// What lies there and is not ours, with the reason.
    pub left: Vec<Left>,
    /// Folders of which the record knows nothing: their pages stay in the pool.
    pub unknown: Vec<PathBuf>,
    /// What somebody goes on using, though its name is gone.
    pub still_mapped: Vec<Mapped>,
}

/// A file that is left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Left {
    pub path: PathBuf,
    pub why: &'static str,
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Plan {
    removal: Removal,
    left: Vec<Left>,
    unknown: Vec<PathBuf>,
    still_mapped: Vec<Mapped>,
    /// Pages of each file that goes.
    pages: Vec<(PathBuf, NodeId, Bytes, u64)>,
}

impl Plan {
    fn is_empty(&self) -> bool {
        self.removal == Removal { pid: self.removal.pid, ..Removal::default() }
    }

    /// Pages that come back at once: those of mapped files do not.
    fn freed(&self) -> Freed {
        let is_mapped = |path: &Path| self.still_mapped.iter().any(|file| file.path == path);
        let mut freed = Freed::new();
        for (_, node, page_bytes, pages) in self.pages.iter().filter(|(path, ..)| !is_mapped(path)) {
            *freed.entry((*node, *page_bytes)).or_default() += pages;
        }
        freed
    }
}

/// Takes away what is asked for.
pub fn release(order: &ReleaseOrder, world: &World) -> Result<Released, InitError> {
    begin::check_record(world.root, world.state, None)?;
    let before = state::peek(world.root, world.state)?;
    if before.is_settled() {
        let plan = make_plan(order, world, &before)?;
        if plan.is_empty() {
            return Ok(Released { left: plan.left, unknown: plan.unknown, ..Released::default() });
        }
    }
    let Begun { store, mut state, .. } = begin(world)?;
    let plan = make_plan(order, world, &state)?;
    if let Some(by) = world.stop.asked() {
        return Err(InitError::Stopped(by));
    }
    let mut released =
        Released { left: plan.left, unknown: plan.unknown, still_mapped: plan.still_mapped, ..Released::default() };
    state.removal = Some(plan.removal);
    store.save(&state)?;
    released.removed = remove::finish(world, &mut state, &store)?;
    Ok(released)
}

/// The steps that a release would take now, and what it would leave.
pub fn preview(order: &ReleaseOrder, world: &World) -> Result<(Vec<Step>, Released), InitError> {
    begin::check_record(world.root, world.state, None)?;
    let state = state::peek(world.root, world.state)?;
    begin::note_unfinished(&state, world);
    let plan = make_plan(order, world, &state)?;
    let facts = look::look(world.root)?;
    let own = |node: NodeId, page_bytes: Bytes| {
        let pool = facts.nodes.get(&node).and_then(|node| node.pool(page_bytes));
        pool.map_or(0, |pool| pool.pages.saturating_sub(pool.surplus))
    };
    let pool_file = |node, page_bytes| hugetlb::pool_file(world.root, node, page_bytes);
    let mapped: Vec<_> = plan.still_mapped.iter().map(|file| file.path.clone()).collect();
    let told = foretell::foretell(world.root, &plan.removal, &state, &facts, &plan.freed(), &mapped)?;
    let steps = steps::removal_steps(&told.removal, &told.folders, own, pool_file);
    let removed = Removed { stays: told.stays, ..Removed::default() };
    let Plan { left, unknown, still_mapped, .. } = plan;
    Ok((steps, Released { removed, left, unknown, still_mapped }))
}

fn make_plan(order: &ReleaseOrder, world: &World, state: &State) -> Result<Plan, InitError> {
    let root = world.root;
    let facts = look::look(root)?;
    let chosen = match chosen::chosen(root, &order.choice, &facts, state) {
        // As after a release that took the mount along.
        Err(InitError::Refused(Refusal::NotHugetlbfs { .. })) if is_nothing(root, &order.choice, &facts, state)? => {
            Vec::new()
        }
        chosen => chosen?,
    };
    let mut plan = Plan::default();
    plan.removal.pid = std::process::id();
    for chosen in &chosen {
        files(root, chosen, &mut plan)?;
    }
    plan.removal.cuts = cuts(&chosen);
    let going = chosen.iter().filter_map(|chosen| chosen.known.as_ref());
    plan.removal.folders = going.map(|known| (known.mount.clone(), known.folder.clone())).collect();
    let is_all = order.choice.pattern.is_none() && order.choice.nodes.is_none();
    plan.removal.mounts = mounts_of(&chosen, &plan.removal, state, is_all);
    plan.removal.points = points(&plan.removal.mounts, state, is_all);
    let ids: BTreeMap<_, _> = plan.removal.files.iter().map(|file| (file.path.clone(), file.id)).collect();
    let users = chosen::users_of(root, &ids.values().copied().collect::<Vec<FileId>>())?;
    if order.force {
        plan.still_mapped = mapped(&ids, &users);
    } else {
        refuse_mapped(root, &ids, &users, true)?;
    }
    for made in &plan.removal.mounts {
        mounts::refuse_hidden(root, &facts.mounts, &made.at, &state.mounts, None)?;
    }
    check(root, &plan.removal, &facts)?;
    Ok(plan)
}

/// Whether the folders of a pattern are neither in the record nor hold anything.
fn is_nothing(root: &Root, choice: &Choice, facts: &Facts, state: &State) -> Result<bool, InitError> {
    let Some(pattern) = &choice.pattern else { return Ok(false) };
    let nodes = match &choice.nodes {
        Some(NodeChoice::These(nodes)) => nodes.clone(),
        Some(NodeChoice::All) | None => facts.nodes.keys().copied().collect(),
    };
    for folder in nodes.into_iter().map(|node| pattern.folder(node)) {
        let is_known = state.folders.iter().any(|known| known.folder == folder);
        if is_known || !chosen::items(root, &folder)?.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The files of a folder that go, and those that do not.
fn files(root: &Root, chosen: &Chosen, plan: &mut Plan) -> Result<(), InitError> {
    let items = chosen.items(root)?;
    if chosen.known.is_none() && !items.is_empty() {
        plan.unknown.push(chosen.folder.clone());
    }
    for item in items {
        let is_ours = match &chosen.known {
            Some(_) => item.is_recorded(chosen.known.as_ref()),
            None => item.is_file && item.wanted(None) == Some(item.bytes),
        };
        if is_ours {
            if let Some(place) = &chosen.place {
                let pages = item.allocated.0 / place.page_bytes.0.max(1);
                plan.pages.push((item.path.clone(), chosen.node, place.page_bytes, pages));
            }
            plan.removal.files.push(DoomedFile { path: item.path, id: item.id });
            continue;
        }
        let why = match (&chosen.known, item.wanted(chosen.known.as_ref())) {
            _ if !item.is_file => "it is no file",
            (Some(known), Some(_)) if known.files.iter().any(|file| file.name == item.name) => {
                "it is not the file of this name that the record knows"
            }
            (Some(_), _) => "the record does not know it",
            (None, Some(_)) => "it has not the length that its name says",
            (None, None) => "its name is not one of such files",
        };
        plan.left.push(Left { path: item.path, why });
    }
    Ok(())
}

/// What was added to each pool.
fn cuts(chosen: &[Chosen]) -> Vec<Cut> {
    let mut added: BTreeMap<(NodeId, Bytes), u64> = BTreeMap::new();
    for known in chosen.iter().filter_map(|chosen| chosen.known.as_ref()) {
        *added.entry((known.node, known.page_bytes)).or_default() += known.pages_added;
    }
    let cut = |((node, page_bytes), by)| Cut { node, page_bytes, by, before: None };
    added.into_iter().filter(|(_, by)| *by > 0).map(cut).collect()
}

/// The mounts of ours on which no folder of ours is left.
fn mounts_of(chosen: &[Chosen], removal: &Removal, state: &State, is_all: bool) -> Vec<MadeMount> {
    let is_used = |at: &Path| state.folders.iter().any(|known| known.mount == at && !removal.goes(known));
    let is_meant = |at: &Path| is_all || chosen.iter().any(|chosen| chosen.folder.starts_with(at));
    state.mounts.iter().filter(|mount| is_meant(&mount.at) && !is_used(&mount.at)).cloned().collect()
}

/// The folders that were made for these mounts, and are needed by no other; of earlier boots when all is meant.
fn points(mounts: &[MadeMount], state: &State, is_all: bool) -> Vec<MadeFolder> {
    let stay: Vec<_> = state.mounts.iter().filter(|mount| !mounts.contains(mount)).cloned().collect();
    let is_meant = |point: &Path| is_all || remove::is_needed(point, mounts);
    let goes = |point: &&MadeFolder| is_meant(&point.path) && !remove::is_needed(&point.path, &stay);
    let points: BTreeSet<_> = state.points.iter().filter(goes).cloned().collect();
    points.into_iter().collect()
}

/// What would stand in the way, seen before anything is changed.
fn check(root: &Root, removal: &Removal, facts: &Facts) -> Result<(), InitError> {
    for folder in removal.files.iter().filter_map(|file| file.path.parent()).collect::<BTreeSet<_>>() {
        access(&root.path(folder), AccessFlags::W_OK | AccessFlags::X_OK)
            .map_err(|errno| Refusal::NotWritable { path: folder.to_owned(), errno })?;
    }
    for Cut { node, page_bytes, .. } in &removal.cuts {
        if facts.nodes.get(node).and_then(|node| node.pool(*page_bytes)).is_none() {
            pool::read(root, *node, *page_bytes)?;
        }
        hugetlb::may_change(root, *node, *page_bytes).map_err(|(path, errno)| Refusal::PoolNotWritable {
            node: *node,
            path,
            errno,
        })?;
    }
    match removal.mounts.first() {
        Some(mount) if !geteuid().is_root() => Err(Refusal::MayNotUnmount(mount.at.clone()).into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hugepage::state::{Folder, MadeFile};

    fn known(folder: &str, node: u32, pages_added: u64) -> Folder {
        Folder {
            mount: "/m".into(),
            folder: folder.into(),
            node: NodeId(node),
            page_bytes: Bytes::mib(2),
            pages_added,
            folders_made: Vec::new(),
            files: vec![MadeFile { name: "1".into(), bytes: Bytes(1), id: FileId { device: 1, inode: 1 } }],
        }
    }

    fn chosen(known: &Folder) -> Chosen {
        Chosen { node: known.node, folder: known.folder.clone(), place: None, known: Some(known.clone()) }
    }

    fn state(folders: &[Folder]) -> State {
        let mount = MadeMount { at: "/m".into(), page_bytes: Bytes::mib(2), source: "damocles-worker-x".into() };
        let points = ["/m", "/old/huge"].map(|path| MadeFolder::planned(path.into())).into();
        State { folders: folders.to_vec(), mounts: vec![mount], points, ..State::default() }
    }

    fn removal(folders: &[&Folder]) -> Removal {
        let folders = folders.iter().map(|known| (known.mount.clone(), known.folder.clone())).collect();
        Removal { folders, ..Removal::default() }
    }

    #[test]
    fn pools_are_cut_by_what_was_added_for_these_folders() {
        let (a, b, c) = (known("/m/a", 0, 3), known("/m/b", 0, 4), known("/m/c", 1, 0));
        let cuts = cuts(&[chosen(&a), chosen(&b), chosen(&c)]);
        assert_eq!(cuts, [Cut { node: NodeId(0), page_bytes: Bytes::mib(2), by: 7, before: None }]);
    }

    #[test]
    fn the_mount_goes_with_its_last_folder_and_its_point_with_it() {
        let (a, b) = (known("/m/a", 0, 3), known("/m/b", 0, 4));
        let state = state(&[a.clone(), b.clone()]);
        assert_eq!(mounts_of(&[chosen(&a)], &removal(&[&a]), &state, false), []);
        let last = mounts_of(&[chosen(&a), chosen(&b)], &removal(&[&a, &b]), &state, false);
        assert_eq!(last, state.mounts);
        assert_eq!(points(&last, &state, false), state.points[..1]);
        assert_eq!(points(&last, &state, true), state.points);
        assert_eq!(points(&[], &state, true), state.points[1..], "one is still mounted in");
    }
}
