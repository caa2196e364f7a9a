//! tree_d: the binary tree over the staged bytes, `sc-02-data-tree-d.dat`.
//!
//! The library's `DiskStore` gives the file its full length before the first hash is written, and pc1 and
//! pc2 later take any file of that name for finished. So it is built in a folder of its own beside the
//! target, synced, and only then renamed.

use super::{ProofsError, error::InStage, guard};
use crate::{
    runtime::stage::{TREE_D, TreeDTask},
    sys::durable,
    units::SectorSize,
};
use filecoin_proofs::{DefaultPieceHasher, StoreConfig};
use std::{
    fs,
    path::{Path, PathBuf},
};
use storage_proofs_core::{
    Data,
    cache_key::CacheKey,
    merkle::{BinaryMerkleTree, create_base_merkle_tree},
    util::NODE_SIZE,
};

const STAGE: &str = "tree_d";

/// Builds tree-d of the staged file in the cache folder. Safe to repeat: a finished tree is kept.
pub fn tree_d(task: &TreeDTask) -> Result<(), ProofsError> {
    let size = task.registered_proof.sector_size();
    let target = task.cache_dir.join(TREE_D);
    fs::create_dir_all(&task.cache_dir).map_err(|e| ProofsError::io(STAGE, &task.cache_dir, "creating folder", e))?;
    durable::remove_leftovers(&target).in_stage(STAGE)?;
    if length(&target)? == Some(size.tree_d_bytes()) {
        return Ok(());
    }
    check_staged(&task.staged_file, size)?;
    let folder = durable::temp_folder_for(&target).in_stage(STAGE)?;
    build(&task.staged_file, folder.path(), size)?;
    durable::publish(&folder.path().join(TREE_D), &target).in_stage(STAGE)
}

fn check_staged(staged: &Path, size: SectorSize) -> Result<(), ProofsError> {
    let found = length(staged)?;
    if found == Some(size.bytes().0) {
        return Ok(());
    }
    let what = match found {
        None => "missing".to_owned(),
        Some(n) => format!("{n} bytes long, a {size} sector has {}", size.bytes().0),
    };
    let hint = "run add_pieces again";
    Err(ProofsError::File { stage: STAGE, path: staged.to_owned(), what, hint })
}

fn build(staged: &Path, folder: &Path, size: SectorSize) -> Result<(), ProofsError> {
    let leaves = size.bytes().0 as usize / NODE_SIZE;
    let config = StoreConfig::new(folder, CacheKey::CommDTree.to_string(), 0);
    guard::call(STAGE, staged, "check free space and that the staged file can be read and written", || {
        // The library's mapping of a file: 64 GiB are never in memory at once.
        let mut data = Data::from_path(PathBuf::from(staged));
        data.ensure_data()?;
        create_base_merkle_tree::<BinaryMerkleTree<DefaultPieceHasher>>(Some(config), leaves, data.as_ref())?;
        Ok(())
    })
}

/// A file's length, links followed; none when there is no such file.
fn length(path: &Path) -> Result<Option<u64>, ProofsError> {
    match fs::metadata(path) {
        Ok(meta) => Ok(Some(meta.len())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ProofsError::io(STAGE, path, "looking at", error)),
    }
}
