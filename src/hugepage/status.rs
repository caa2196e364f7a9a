//! `hugepage-status`: pools, mounts, files with the nodes of their pages, who has them mapped, and what the record says.
//!
//! Looks only, and asks of nobody's file but those that bear a name of ours where their pages lie: to ask, a file is mapped, and
//! in a file that somebody is just making, that might allocate pages for him.

use super::{
    chosen::{self, Choice, Item},
    error::InitError,
    look::{self, Facts},
    mounts,
    placement::{self, Found},
    state::{self, Folder, Removal, State},
};
use crate::{
    sys::{
        Root, hugetlbfs,
        users::{FileId, Process, Users},
    },
    units::{Bytes, NodeId},
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// So deep folders are looked for on a mount.
const DEPTH_MAX: usize = 16;

/// Everything that can be seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    pub nodes: Vec<NodeStatus>,
    pub mounts: Vec<MountStatus>,
    pub folders: Vec<FolderStatus>,
    /// Processes that did not let us look what they have mapped.
    pub unasked: Vec<Process>,
    pub record: RecordStatus,
}

/// A node and its pools.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeStatus {
    pub node: NodeId,
    pub cpus: String,
    pub memory_bytes: Bytes,
    /// Whether this process may have its memory.
    pub is_allowed: bool,
    pub pools: Vec<PoolStatus>,
}

/// A pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PoolStatus {
    pub page_bytes: Bytes,
    pub pages: u64,
    pub free: u64,
    pub surplus: u64,
    /// By the record.
    pub added_by_this_tool: u64,
}

/// A hugetlbfs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MountStatus {
    pub at: PathBuf,
    pub page_bytes: Option<Bytes>,
    pub source: String,
    pub is_read_only: bool,
    /// What a limit of the mount leaves.
    pub left_bytes: Option<Bytes>,
    pub made_by_this_tool: bool,
}

/// A folder with files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FolderStatus {
    pub folder: PathBuf,
    pub mount: PathBuf,
    /// By the record, the pattern, or the number in its name.
    pub node: Option<NodeId>,
    pub is_recorded: bool,
    pub pages_added: u64,
    pub files: Vec<FileStatus>,
    /// Files of the record that are not there any more.
    pub missing: Vec<PathBuf>,
    /// What lies there under other names.
    pub others: Vec<PathBuf>,
    /// Why it cannot be seen, where another mount hides it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden: Option<String>,
}

/// A file with a name of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FileStatus {
    pub path: PathBuf,
    pub bytes: Bytes,
    pub allocated_bytes: Bytes,
    /// Pages by node, where all are allocated.
    pub pages: BTreeMap<NodeId, u64>,
    /// What is wrong with it, or why that could not be told.
    pub problem: Option<String>,
    pub made_by_this_tool: bool,
    pub mapped_by: Vec<Process>,
    #[serde(skip)]
    id: Option<FileId>,
}

/// What the record says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RecordStatus {
    pub path: PathBuf,
    pub folders: usize,
    pub mounts: Vec<PathBuf>,
    /// Folders that were made to mount something in.
    pub points: Vec<PathBuf>,
    /// A run that is at work, or was killed.
    pub unfinished_run: Option<u32>,
    pub unfinished_removal: Option<u32>,
    /// Why it could not be read.
    pub problem: Option<String>,
}

/// Looks at everything, or at the folders of a pattern.
pub fn status(choice: &Choice, root: &Root, record: &Path) -> Result<Status, InitError> {
    let facts = look::look(root)?;
    let (state, problem) = match state::peek(root, record) {
        Ok(state) => (state, None),
        // Pools and files can be shown without it.
        Err(error) => (State::default(), Some(error.to_string())),
    };
    chosen::check_nodes(choice, &facts, &state)?;
    let mut status = Status {
        nodes: facts.nodes.keys().map(|node| node_status(*node, &facts, &state)).collect(),
        mounts: mounts_status(root, &facts, &state),
        record: RecordStatus { problem, ..record_status(record, &state) },
        ..Status::default()
    };
    status.folders = match choice.pattern {
        Some(_) => chosen_folders(root, choice, &facts, &state)?,
        None => every_folder(root, &facts, &state, choice)?,
    };
    let ids: Vec<_> = status.folders.iter().flat_map(|folder| &folder.files).filter_map(|file| file.id).collect();
    let users = chosen::users_of(root, &ids)?;
    status.name_users(&users);
    Ok(status)
}

impl Status {
    fn name_users(&mut self, users: &Users) {
        for file in self.folders.iter_mut().flat_map(|folder| &mut folder.files) {
            file.mapped_by = file.id.map(|id| users.of(id).into_iter().cloned().collect()).unwrap_or_default();
        }
        self.unasked = users.unread.clone();
    }
}

fn node_status(id: NodeId, facts: &Facts, state: &State) -> NodeStatus {
    let node = facts.nodes.get(&id).cloned().unwrap_or_default();
    let added = |page_bytes: Bytes| {
        let of_pool = state.folders.iter().filter(|known| known.node == id && known.page_bytes == page_bytes);
        of_pool.map(|known| known.pages_added).sum()
    };
    let pools = node.pools.iter().map(|pool| PoolStatus {
        page_bytes: pool.page_bytes,
        pages: pool.pages,
        free: pool.free,
        surplus: pool.surplus,
        added_by_this_tool: added(pool.page_bytes),
    });
    NodeStatus {
        node: id,
        cpus: node.cpus.to_string(),
        memory_bytes: node.memory,
        is_allowed: facts.allowed.contains(&id),
        pools: pools.collect(),
    }
}

fn mounts_status(root: &Root, facts: &Facts, state: &State) -> Vec<MountStatus> {
    let status = |mount: &crate::sys::mount::Mounted| {
        let at = PathBuf::from(&mount.path);
        let is_ours = |made: &state::MadeMount| made.at == at && made.source == mount.source;
        MountStatus {
            page_bytes: mount.page_bytes(),
            source: mount.source.clone(),
            is_read_only: mount.read_only,
            left_bytes: hugetlbfs::look(root, &at).ok().flatten().and_then(|found| found.left),
            made_by_this_tool: state.mounts.iter().any(is_ours),
            at,
        }
    };
    mounts::hugetlbfs(&facts.mounts).map(status).collect()
}

fn record_status(path: &Path, state: &State) -> RecordStatus {
    RecordStatus {
        path: path.to_owned(),
        folders: state.folders.len(),
        mounts: state.mounts.iter().map(|mount| mount.at.clone()).collect(),
        points: state.points.iter().map(|point| point.path.clone()).collect(),
        unfinished_run: state.run.as_ref().map(|run| run.pid),
        unfinished_removal: state.removal.as_ref().map(|Removal { pid, .. }| *pid),
        problem: None,
    }
}

fn chosen_folders(root: &Root, choice: &Choice, facts: &Facts, state: &State) -> Result<Vec<FolderStatus>, InitError> {
    let mut folders = Vec::new();
    for chosen in chosen::chosen(root, choice, facts, state)? {
        let place = chosen.place.as_ref().map(|place| (place.mount.as_path(), place.page_bytes));
        let items = chosen.items(root)?;
        folders.push(folder_status(root, &chosen.folder, Some(chosen.node), place, chosen.known.as_ref(), items)?);
    }
    Ok(folders)
}

/// Every folder with files on any hugetlbfs, and those of the record.
fn every_folder(root: &Root, facts: &Facts, state: &State, choice: &Choice) -> Result<Vec<FolderStatus>, InitError> {
    let mut found: BTreeSet<PathBuf> = state.folders.iter().map(|known| known.folder.clone()).collect();
    for mount in mounts::hugetlbfs(&facts.mounts) {
        walk(root, Path::new(&mount.path), DEPTH_MAX, &mut found);
    }
    let mut folders = Vec::new();
    for folder in found {
        let known = state.folders.iter().find(|known| known.folder == folder);
        let hidden = known.and_then(|known| hidden(root, facts, state, known));
        let place = mounts::found(&facts.mounts, &folder).ok().filter(|_| hidden.is_none());
        let place = place.as_ref().map(|place| (place.mount.as_path(), place.page_bytes));
        let items = if place.is_some() { chosen::items(root, &folder)? } else { Vec::new() };
        let node = known.map(|known| known.node).or_else(|| node_of_name(&folder));
        let is_meant = match (&choice.nodes, node) {
            (Some(super::request::NodeChoice::These(nodes)), Some(node)) => nodes.contains(&node),
            _ => true,
        };
        if is_meant {
            let mut status = folder_status(root, &folder, node, place, known, items)?;
            if hidden.is_some() {
                (status.missing, status.hidden) = (Vec::new(), hidden);
            }
            folders.push(status);
        }
    }
    Ok(folders)
}

fn hidden(root: &Root, facts: &Facts, state: &State, known: &Folder) -> Option<String> {
    let seen = mounts::refuse_hidden(root, &facts.mounts, &known.mount, &state.mounts, known.device());
    seen.err().map(|hidden| hidden.to_string())
}

/// Folders that hold files. What cannot be listed holds nothing that we could show.
fn walk(root: &Root, folder: &Path, depth: usize, found: &mut BTreeSet<PathBuf>) {
    let device = |path: &Path| fs::symlink_metadata(root.path(path)).map(|stat| stat.dev()).ok();
    let own = device(folder);
    for item in chosen::items(root, folder).unwrap_or_default() {
        if item.is_file {
            found.insert(folder.to_owned());
        } else if depth > 0 && item.path.is_dir() && device(&item.path) == own {
            walk(root, &item.path, depth - 1, found);
        }
    }
}

/// `…/numa_1`: what PC1 takes for the node.
fn node_of_name(folder: &Path) -> Option<NodeId> {
    let name = folder.file_name()?.to_str()?;
    let digits = name.trim_start_matches(|c: char| !c.is_ascii_digit());
    digits.parse().ok().map(NodeId)
}

fn folder_status(
    root: &Root,
    folder: &Path,
    node: Option<NodeId>,
    place: Option<(&Path, Bytes)>,
    known: Option<&Folder>,
    items: Vec<Item>,
) -> Result<FolderStatus, InitError> {
    let mount = place.map(|(mount, _)| mount).or(known.map(|known| known.mount.as_path()));
    let mut status = FolderStatus {
        folder: folder.to_owned(),
        mount: mount.map(Path::to_owned).unwrap_or_default(),
        node,
        is_recorded: known.is_some(),
        pages_added: known.map_or(0, |known| known.pages_added),
        ..FolderStatus::default()
    };
    let recorded = known.iter().flat_map(|known| &known.files);
    let missing = recorded.filter(|file| items.iter().all(|item| item.name != file.name));
    status.missing = missing.map(|file| folder.join(&file.name)).collect();
    for item in items {
        match (item.wanted(known), place) {
            (Some(wanted), Some((_, page_bytes))) if item.is_file => {
                status.files.push(file_status(root, &item, wanted, node, page_bytes, known));
            }
            _ => status.others.push(item.path),
        }
    }
    Ok(status)
}

fn file_status(
    root: &Root,
    item: &Item,
    wanted: Bytes,
    node: Option<NodeId>,
    page_bytes: Bytes,
    known: Option<&Folder>,
) -> FileStatus {
    let mut status = FileStatus {
        path: item.path.clone(),
        bytes: item.bytes,
        allocated_bytes: item.allocated,
        made_by_this_tool: item.is_recorded(known),
        id: Some(item.id),
        ..FileStatus::default()
    };
    if item.allocated >= item.bytes && item.bytes.0 > 0 {
        match placement::pages_by_node(root, &item.path, page_bytes) {
            Ok(pages) => status.pages = pages,
            Err(error) => status.problem = Some(error.to_string()),
        }
    }
    // Without a node any one will do, as long as it is one.
    let node = node.or_else(|| status.pages.keys().next().copied()).unwrap_or(NodeId(0));
    if status.problem.is_none() {
        status.problem = match placement::judge(root, &item.path, wanted, node, page_bytes) {
            Ok(Found::Wrong(problem)) => Some(problem.kind.to_string()),
            Ok(Found::Missing) => Some("it is gone by now".to_owned()),
            Ok(Found::Complete(_)) => None,
            Err(error) => Some(error.to_string()),
        };
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_in_a_folders_name_is_its_node() {
        for (name, node) in [("/m/numa_1", Some(1)), ("/m/node12", Some(12)), ("/m/7", Some(7)), ("/m/1a", None)] {
            assert_eq!(node_of_name(Path::new(name)), node.map(NodeId), "{name}");
        }
        assert_eq!(node_of_name(Path::new("/m/pc1_2_x")), None);
    }
}
