//! Which folders a command is about, and what lies in them.
//!
//! ```text
//! a pattern      its folder for each node        ─┐
//! nothing        every folder of the record      ─┴─► Chosen: folder, node, mount, what the record says ─► items
//! ```

use super::{
    error::{InitError, Refusal},
    look::Facts,
    mounts::{self, Place},
    request::{self, NodeChoice, Pattern},
    state::{Folder, State},
};
use crate::{
    sys::{
        Root,
        hugetlbfs::FileError,
        users::{self, FileId, Users},
    },
    units::{Bytes, NodeId},
};
use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

/// What was said on the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// Without it, every folder of the record.
    pub pattern: Option<Pattern>,
    pub nodes: Option<NodeChoice>,
}

/// A folder that is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    pub node: NodeId,
    pub folder: PathBuf,
    /// Nothing where the hugetlbfs of a recorded folder is not mounted any more.
    pub place: Option<Place>,
    pub known: Option<Folder>,
}

/// Something that lies in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub path: PathBuf,
    pub name: String,
    pub is_file: bool,
    pub bytes: Bytes,
    pub allocated: Bytes,
    pub id: FileId,
}

impl Item {
    /// The length that a file of this name should have; nothing where the name is not one of ours.
    pub fn wanted(&self, known: Option<&Folder>) -> Option<Bytes> {
        let recorded = known.and_then(|known| known.files.iter().find(|file| file.name == self.name));
        recorded.map(|file| file.bytes).or_else(|| request::bytes_of_name(&self.name, self.bytes))
    }

    /// Whether the record says that this very file was made here.
    pub fn is_recorded(&self, known: Option<&Folder>) -> bool {
        known.is_some_and(|known| known.files.iter().any(|file| file.name == self.name && file.id == self.id))
    }
}

/// Finds the folders that are meant. What is meant and cannot hold such files is refused; what is not there is left out, unless
/// the record knows it.
pub fn chosen(root: &Root, choice: &Choice, facts: &Facts, state: &State) -> Result<Vec<Chosen>, InitError> {
    check_nodes(choice, facts, state)?;
    match &choice.pattern {
        Some(pattern) => of_pattern(root, pattern, choice.nodes.as_ref(), facts, state),
        None => of_record(root, choice.nodes.as_ref(), facts, state),
    }
}

/// That every node that was named is there, or was when the record was written.
pub fn check_nodes(choice: &Choice, facts: &Facts, state: &State) -> Result<(), Refusal> {
    let Some(NodeChoice::These(nodes)) = &choice.nodes else { return Ok(()) };
    let is_known = |node: &NodeId| state.folders.iter().any(|known| known.node == *node);
    match nodes.iter().find(|node| !facts.nodes.contains_key(node) && !is_known(node)) {
        Some(node) => Err(Refusal::NoNode { node: *node, there: facts.with_memory() }),
        None => Ok(()),
    }
}

/// Why nothing was found that is meant: the folders hold nothing, or the record names nothing, or nothing of these nodes.
pub fn nothing(choice: &Choice, state: &State, record: &Path) -> Refusal {
    let record = record.to_owned();
    match (&choice.pattern, &choice.nodes) {
        (Some(pattern), _) => Refusal::NoFiles(pattern.shown()),
        (None, Some(NodeChoice::These(nodes))) if !state.folders.is_empty() => {
            let has = state.folders.iter().map(|known| known.node).collect();
            Refusal::NothingOnNodes { record, nodes: nodes.clone(), has }
        }
        (None, _) => Refusal::NothingKnown(record),
    }
}

fn of_record(root: &Root, nodes: Option<&NodeChoice>, facts: &Facts, state: &State) -> Result<Vec<Chosen>, InitError> {
    let is_meant = |folder: &&Folder| match nodes {
        Some(NodeChoice::These(nodes)) => nodes.contains(&folder.node),
        Some(NodeChoice::All) | None => true,
    };
    let known = state.folders.iter().filter(is_meant);
    let chosen = |known: &Folder| {
        let place = place_of_known(root, facts, state, known)?;
        Ok(Chosen { node: known.node, folder: known.folder.clone(), place, known: Some(known.clone()) })
    };
    known.map(chosen).collect()
}

/// The mount of a recorded folder, if it is still that. One that is hidden is not gone, and is refused.
fn place_of_known(root: &Root, facts: &Facts, state: &State, known: &Folder) -> Result<Option<Place>, Refusal> {
    mounts::refuse_hidden(root, &facts.mounts, &known.mount, &state.mounts, known.device())?;
    let is_plain = mounts::missing_folders(root, &known.folder).is_ok();
    let is_that = |place: &Place| is_plain && place.mount == known.mount && place.page_bytes == known.page_bytes;
    Ok(mounts::found(&facts.mounts, &known.folder).ok().filter(is_that))
}

fn of_pattern(
    root: &Root,
    pattern: &Pattern,
    nodes: Option<&NodeChoice>,
    facts: &Facts,
    state: &State,
) -> Result<Vec<Chosen>, InitError> {
    let nodes = match nodes {
        Some(NodeChoice::These(nodes)) => nodes.clone(),
        Some(NodeChoice::All) | None => facts.nodes.keys().copied().collect::<BTreeSet<_>>(),
    };
    let mut all = Vec::new();
    for node in &nodes {
        let folder = pattern.folder(*node);
        let (there, missing) = mounts::missing_folders(root, &folder)?;
        let known = state.folders.iter().find(|known| known.folder == folder);
        if !missing.is_empty() && known.is_none() {
            continue;
        }
        let place = match known {
            Some(known) => place_of_known(root, facts, state, known)?,
            None => Some(mounts::found(&facts.mounts, &folder)?),
        };
        if let Some(place) = &place {
            mounts::check_on_mount(root, &there, place)?;
        }
        all.push(Chosen { node: *node, folder, place, known: known.cloned() });
    }
    // Where nothing is there, the place itself may be wrong.
    if let (true, Some(node)) = (all.is_empty(), nodes.first()) {
        mounts::found(&facts.mounts, &pattern.folder(*node))?;
    }
    Ok(all)
}

/// What lies in a folder, files of ours in the order of their sizes and numbers.
pub fn items(root: &Root, folder: &Path) -> Result<Vec<Item>, InitError> {
    let real = root.path(folder);
    let failed = |source| FileError { doing: "list", path: real.clone(), source };
    let entries = match fs::read_dir(&real) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut items = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        // Not followed where it is a link; what is gone by now is not there.
        let Ok(stat) = entry.metadata() else { continue };
        let name = entry.file_name().to_string_lossy().into_owned();
        use std::os::unix::fs::MetadataExt;
        items.push(Item {
            path: folder.join(entry.file_name()),
            name,
            is_file: stat.is_file(),
            bytes: Bytes(stat.len()),
            allocated: Bytes(stat.blocks() * 512),
            id: FileId::of(&stat),
        });
    }
    items.sort_by(|a, b| (request::parse_name(&a.name), &a.name).cmp(&(request::parse_name(&b.name), &b.name)));
    Ok(items)
}

impl Chosen {
    /// What lies in it; nothing where its mount is gone.
    pub fn items(&self, root: &Root) -> Result<Vec<Item>, InitError> {
        if self.place.is_some() { items(root, &self.folder) } else { Ok(Vec::new()) }
    }
}

/// Who has files mapped.
pub fn users_of(root: &Root, files: &[FileId]) -> Result<Users, InitError> {
    if files.is_empty() {
        return Ok(Users::default());
    }
    Ok(users::users(root, files)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::root::tests::tree;

    #[test]
    fn files_come_in_the_order_of_their_numbers_and_links_are_not_followed() {
        let (_dir, root) = tree(&[
            ("f/8.0_MiB_10", ""),
            ("f/8.0_MiB_9", ""),
            ("f/16.0_MiB_0", ""),
            ("f/else", "xyz"),
            ("f/link", "->else"),
        ]);
        let items = items(&root, Path::new("/f")).unwrap();
        let names: Vec<_> = items.iter().map(|item| (item.name.as_str(), item.is_file)).collect();
        let files = [("else", true), ("link", false), ("8.0_MiB_9", true), ("8.0_MiB_10", true), ("16.0_MiB_0", true)];
        assert_eq!(names, files);
        assert_eq!((items[0].wanted(None), items[2].wanted(None)), (None, Some(Bytes::mib(8))));
        assert!(super::items(&root, Path::new("/gone")).unwrap().is_empty());
    }

    #[test]
    fn nodes_that_nobody_knows_are_refused_and_nothing_on_a_node_is_not_nothing_at_all() {
        let node = |gib| crate::hugepage::look::Node { memory: Bytes::gib(gib), ..Default::default() };
        let nodes = [(NodeId(0), node(8)), (NodeId(1), node(8))].into();
        let facts = Facts { nodes, ..Facts::default() };
        let of = |node| Choice { pattern: None, nodes: Some(NodeChoice::These([NodeId(node)].into())) };
        let folder = Folder {
            mount: "/m".into(),
            folder: "/m/numa_0".into(),
            node: NodeId(0),
            page_bytes: Bytes::mib(2),
            pages_added: 0,
            folders_made: vec![],
            files: vec![],
        };
        let state = State { folders: vec![folder], ..State::default() };
        let refused = check_nodes(&of(5), &facts, &state).unwrap_err();
        assert_eq!(refused.to_string(), "node 5 is not there; this machine has 0,1");
        check_nodes(&of(1), &facts, &state).unwrap();
        // It went since: what was made on it can still be meant.
        check_nodes(&of(0), &Facts::default(), &state).unwrap();
        let told = nothing(&of(1), &state, Path::new("/r")).to_string();
        assert_eq!(told, "the record /r names no files on node 1; it has some on node 0: choose with --node");
        let told = nothing(&of(1), &State::default(), Path::new("/r")).to_string();
        assert!(told.contains("/r names no files of this boot"), "{told}");
    }

    #[test]
    fn the_record_knows_a_file_by_its_identity_and_its_length() {
        let id = FileId { device: 1, inode: 2 };
        let item = Item {
            path: "/f/8.0_MiB_0".into(),
            name: "8.0_MiB_0".into(),
            is_file: true,
            bytes: Bytes(5),
            allocated: Bytes(0),
            id,
        };
        let file = crate::hugepage::state::MadeFile { name: "8.0_MiB_0".into(), bytes: Bytes::mib(7), id };
        let mut known = Folder {
            mount: "/".into(),
            folder: "/f".into(),
            node: NodeId(0),
            page_bytes: Bytes::mib(1),
            pages_added: 0,
            folders_made: vec![],
            files: vec![file],
        };
        assert_eq!((item.wanted(Some(&known)), item.is_recorded(Some(&known))), (Some(Bytes::mib(7)), true));
        known.files[0].id.inode = 3;
        assert!(!item.is_recorded(Some(&known)) && !item.is_recorded(None));
    }
}
