//! Folders that get their names when the record knows them: one that somebody else makes meanwhile is never taken for ours.
//!
//! ```text
//! missing: /mnt/huge/pc1, /mnt/huge/pc1/numa_0      a chain: the outermost takes along what lies in it
//!
//! make        /mnt/huge/.damocles-init-…-staging/folder-0/numa_0      under a name that is ours by chance
//! record      device and inode of each
//! publish     folder-0 ─► /mnt/huge/pc1                               in one step, if that name is free
//! ```

use super::{
    error::InitError,
    remove,
    state::{MadeFolder, Run},
};
use crate::sys::{
    Root,
    hugetlbfs::{self, FileError},
};
use std::path::{Path, PathBuf};

/// Folders one in the other, none of which is there yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    pub outermost: PathBuf,
    /// What the outermost one is called while they are made.
    pub passing: PathBuf,
}

/// The chains of the folders that files lie in. Their passing names are in the folder that the run stages its files in.
pub fn of_files(run: &Run) -> Vec<Chain> {
    let passing = |number: usize, outermost: &Path| {
        let near = run.stagings.iter().filter(|staging| staging.parent().is_some_and(|at| outermost.starts_with(at)));
        let staging = near.max_by_key(|staging| staging.components().count())?;
        Some(staging.join(format!("folder-{number}")))
    };
    chains(&run.folders, passing)
}

/// The chain of the folders that are made to mount something in.
pub fn of_points(run: &Run) -> Vec<Chain> {
    chains(&run.points, |_, outermost| Some(outermost.parent()?.join(format!(".damocles-init-{}-points", run.id))))
}

/// Sorted by name, a folder stands behind the one that it lies in.
fn chains(folders: &[MadeFolder], passing: impl Fn(usize, &Path) -> Option<PathBuf>) -> Vec<Chain> {
    let mut chains: Vec<Chain> = Vec::new();
    for folder in folders {
        if chains.iter().any(|chain| folder.path.starts_with(&chain.outermost)) {
            continue;
        }
        if let Some(passing) = passing(chains.len(), &folder.path) {
            chains.push(Chain { outermost: folder.path.clone(), passing });
        }
    }
    chains
}

/// What a folder is called while it is made.
fn passing(folder: &Path, chains: &[Chain]) -> Option<PathBuf> {
    let mut found = chains.iter().filter_map(|chain| Some((chain, folder.strip_prefix(&chain.outermost).ok()?)));
    // Not joined with nothing: that would only add a slash.
    found.next().map(|(chain, rest)| match rest.as_os_str().is_empty() {
        true => chain.passing.clone(),
        false => chain.passing.join(rest),
    })
}

/// Makes folders under their passing names and notes what they are.
pub fn make(root: &Root, folders: &mut [MadeFolder], chains: &[Chain]) -> Result<(), FileError> {
    for folder in folders {
        let Some(passing) = passing(&folder.path, chains) else { continue };
        hugetlbfs::make_folder(root, &passing)?;
        let id = hugetlbfs::identify(root, &passing)?;
        (folder.inode, folder.device) = (id.map(|id| id.inode), id.map(|id| id.device));
        folder.born = hugetlbfs::born(root, &passing);
    }
    Ok(())
}

/// Gives them their names, which must be free.
pub fn publish(root: &Root, chains: &[Chain]) -> Result<(), FileError> {
    chains.iter().try_for_each(|chain| hugetlbfs::publish_folder(root, &chain.passing, &chain.outermost))
}

/// Removes those that never got their names.
pub fn remove_passing(root: &Root, folders: &[MadeFolder], chains: &[Chain]) -> Result<(), FileError> {
    for passing in folders.iter().rev().filter_map(|folder| passing(&folder.path, chains)) {
        if hugetlbfs::identify(root, &passing)?.is_some() {
            hugetlbfs::remove_folder(root, &passing)?;
        }
    }
    Ok(())
}

/// Removes a folder if it is the one that was made, and empty. Nothing else of its name is touched. Says whether it is gone.
pub fn remove_made(root: &Root, folder: &MadeFolder) -> Result<bool, InitError> {
    Ok(!remove::is_there(root, folder)? || hugetlbfs::remove_folder(root, &folder.path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(paths: &[&str]) -> Vec<MadeFolder> {
        paths.iter().map(|path| MadeFolder::planned(path.into())).collect()
    }

    fn run(root: &Root) -> Run {
        std::fs::create_dir_all(root.path("/m/.staging")).unwrap();
        let folders = planned(&["/m/a", "/m/a/numa_0", "/m/a/numa_1", "/m/ab", "/m/ab/numa_0"]);
        Run { id: "x".into(), stagings: vec!["/m/.staging".into()], folders, ..Run::default() }
    }

    #[test]
    fn a_chain_gets_its_names_at_once_and_each_folder_is_known_by_then() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::at(dir.path());
        let mut run = run(&root);
        let chains = of_files(&run);
        let names: Vec<_> =
            chains.iter().map(|chain| (chain.outermost.to_str().unwrap(), chain.passing.to_str().unwrap())).collect();
        assert_eq!(names, [("/m/a", "/m/.staging/folder-0"), ("/m/ab", "/m/.staging/folder-1")]);
        make(&root, &mut run.folders, &chains).unwrap();
        assert!(!root.path("/m/a").exists());
        publish(&root, &chains).unwrap();
        assert!(run.folders.iter().all(|folder| remove::is_there(&root, folder).unwrap()));
        assert!(run.folders.iter().rev().all(|folder| remove_made(&root, folder).unwrap()));
        assert!(!root.path("/m/a").exists() && !root.path("/m/ab").exists());
    }

    #[test]
    fn a_folder_that_somebody_else_made_meanwhile_stays_his() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::at(dir.path());
        let mut run = run(&root);
        let chains = of_files(&run);
        make(&root, &mut run.folders, &chains).unwrap();
        std::fs::create_dir_all(root.path("/m/ab/numa_0")).unwrap();
        let error = publish(&root, &chains).unwrap_err();
        assert_eq!(error.source.kind(), std::io::ErrorKind::AlreadyExists);
        assert!(run.folders.iter().rev().all(|folder| remove_made(&root, folder).unwrap()));
        remove_passing(&root, &run.folders, &chains).unwrap();
        assert!(!root.path("/m/a").exists() && root.path("/m/ab/numa_0").exists(), "ours is gone, his is there");
        assert_eq!(std::fs::read_dir(root.path("/m/.staging")).unwrap().count(), 0);
    }

    #[test]
    fn folders_to_mount_in_are_made_beside_the_outermost() {
        let run = Run { id: "x".into(), points: planned(&["/mnt", "/mnt/huge"]), ..Run::default() };
        let chain = Chain { outermost: "/mnt".into(), passing: "/.damocles-init-x-points".into() };
        assert_eq!(of_points(&run), std::slice::from_ref(&chain));
        assert_eq!(passing(Path::new("/mnt/huge"), &[chain]), Some("/.damocles-init-x-points/huge".into()));
    }
}
