//! pc1 and pc2, and what must be swept before either is asked again.
//!
//! | after a crash in | what may be torn | before the stage is asked again |
//! | --- | --- | --- |
//! | pc1 | nothing that has its final name: layers are renamed, the sealed file is copied anew | nothing: finished layers are kept |
//! | pc2 | tree-c, tree-r-last, p_aux, t_aux, and the sealed file, which is encoded in place | `clean_before_pc2_again`, `remake_sealed` |

use super::{
    ProofsError,
    convert::{self, library_pieces, registered},
    ensure_parent_cache,
    error::InStage,
    guard, own,
    prover::{Pc1Options, Pc1Prover},
};
use crate::{
    runtime::{
        sdr::progress::{Unwatched, Watch},
        stage::{Opaque, Pc1Task, Pc2Output, Pc2Task, TREE_D},
    },
    sys::durable::{self, AtomicFile},
    units::{SectorSize, hex},
};
use filecoin_proofs_api::{
    SectorId,
    seal::{self, SealPreCommitPhase1Output},
};
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

const PC1: &str = "pc1";
const PC2: &str = "pc2";
/// What the layers in a cache folder belong to.
const LAYERS_OF: &str = ".layers_of";
const LAYER: &[&str] = &["sc-02-data-layer-"];
/// Everything that pc2 writes into the cache folder, whatever its numbering.
const PC2_FILES: &[&str] = &["sc-02-data-tree-c", "sc-02-data-tree-r-last", "p_aux", "t_aux"];

/// Copies staged to sealed and computes the layers, with the prover that this process's variables choose. Safe to
/// repeat: finished layers of the same replica are kept.
pub fn pc1(task: &Pc1Task) -> Result<Opaque, ProofsError> {
    pc1_with(task, &Pc1Options::from_env()?, &Unwatched)
}

/// The same as chosen, with somebody who looks at it and may stop it (our own prover only).
pub fn pc1_with(task: &Pc1Task, options: &Pc1Options, watch: &dyn Watch) -> Result<Opaque, ProofsError> {
    let size = task.registered_proof.sector_size();
    check_length(PC1, &task.in_path, size.bytes().0, "run add_pieces again")?;
    // Without it the library would build tree-d here, under its final name.
    check_length(PC1, &task.cache_path.join(TREE_D), size.tree_d_bytes(), "run tree_d again")?;
    let parents = ensure_parent_cache(task.registered_proof)?;
    keep_only_layers_of(task)?;
    make_file(&task.out_path)?;
    let output = match options.prover {
        Pc1Prover::Own => own::phase1(task, parents, options, watch)?,
        Pc1Prover::Stock => stock_phase1(task)?,
    };
    convert::opaque(PC1, "pc1's answer", &output)
}

fn stock_phase1(task: &Pc1Task) -> Result<SealPreCommitPhase1Output, ProofsError> {
    let pieces = library_pieces(&task.piece_infos);
    let output = guard::call(PC1, &task.cache_path, "check free space in the store, and the pieces", || {
        seal::seal_pre_commit_phase1(
            registered(task.registered_proof),
            &task.cache_path,
            &task.in_path,
            &task.out_path,
            task.prover_id,
            SectorId::from(task.sector_id),
            task.ticket,
            &pieces,
        )
    })?;
    // The library renames layers without syncing them; what is reported done must survive a power cut.
    sync_all(PC1, &task.cache_path, LAYER)?;
    durable::sync_file(&task.out_path).in_stage(PC1)?;
    Ok(output)
}

/// Builds tree-c, encodes the sealed file in place and builds tree-r-last. **Not** safe to repeat on its
/// own: it refuses a cache folder in which pc2 has worked before.
pub fn pc2(task: &Pc2Task) -> Result<Pc2Output, ProofsError> {
    let phase1: SealPreCommitPhase1Output = convert::read(PC2, "pc1's answer", &task.pc1out)?;
    let proof = convert::from_registered(phase1.registered_proof);
    check_length(PC2, &task.sealed_file, proof.sector_size().bytes().0, "make the sealed file again from staged")?;
    if let Some(path) = files(PC2, &task.cache_dir, PC2_FILES)?.pop() {
        let what = "is left from an interrupted pc2, which the library would take for finished".into();
        let hint = "clean_before_pc2_again and remake_sealed come first";
        return Err(ProofsError::File { stage: PC2, path, what, hint });
    }
    let output =
        guard::call(PC2, &task.cache_dir, "check free space in the store, and that the layers are there", || {
            seal::seal_pre_commit_phase2(phase1, &task.cache_dir, &task.sealed_file)
        })?;
    sync_all(PC2, &task.cache_dir, PC2_FILES)?;
    durable::sync_file(&task.sealed_file).in_stage(PC2)?;
    Ok(Pc2Output { registered_proof: proof, comm_r: output.comm_r, comm_d: output.comm_d })
}

/// Removes what an interrupted pc2 may have left half written; layers and tree-d stay.
pub fn clean_before_pc2_again(cache_dir: &Path) -> Result<(), ProofsError> {
    remove_all(PC2, cache_dir, PC2_FILES)
}

/// Makes the sealed file what it was after pc1: the staged bytes. The old file stays until the new one is
/// whole.
pub fn remake_sealed(staged: &Path, sealed: &Path, size: SectorSize) -> Result<(), ProofsError> {
    check_length(PC2, staged, size.bytes().0, "run add_pieces again")?;
    durable::remove_leftovers(sealed).in_stage(PC2)?;
    let mut target = AtomicFile::create(sealed).in_stage(PC2)?;
    let copy = File::open(staged).and_then(|mut source| io::copy(&mut source, target.file()));
    copy.map_err(|e| ProofsError::io(PC2, staged, "copying to sealed", e))?;
    target.commit().in_stage(PC2)
}

/// The library takes any layer of the right length for this replica's. A cache folder in which another
/// ticket was worked on would give a sector that cannot be proven, so the folder says whose layers it has.
fn keep_only_layers_of(task: &Pc1Task) -> Result<(), ProofsError> {
    let marker = task.cache_path.join(LAYERS_OF);
    let replica = replica_name(task);
    if fs::read_to_string(&marker).is_ok_and(|found| found == replica) {
        return Ok(());
    }
    remove_all(PC1, &task.cache_path, LAYER)?;
    durable::write_atomic(&marker, replica.as_bytes()).in_stage(PC1)
}

/// A digest of all that a replica's labels depend on.
fn replica_name(task: &Pc1Task) -> String {
    let parts = (task.registered_proof, task.prover_id, task.sector_id, task.ticket, &task.piece_infos);
    let text = serde_json::to_vec(&parts).expect("numbers and names always serialise");
    hex(&Sha256::digest(text))
}

/// The library wants the sealed file to exist before it copies into it.
fn make_file(path: &Path) -> Result<(), ProofsError> {
    let open = File::options().create(true).truncate(false).write(true).open(path);
    open.map(drop).map_err(|e| ProofsError::io(PC1, path, "creating", e))
}

fn check_length(stage: &'static str, path: &Path, expected: u64, hint: &'static str) -> Result<(), ProofsError> {
    let what = match fs::metadata(path) {
        Ok(meta) if meta.len() == expected => return Ok(()),
        Ok(meta) => format!("{} bytes long, {expected} expected", meta.len()),
        Err(error) => error.to_string(),
    };
    Err(ProofsError::File { stage, path: path.to_owned(), what, hint })
}

/// The files of the folder whose name starts with one of `prefixes`, sorted.
fn files(stage: &'static str, folder: &Path, prefixes: &[&str]) -> Result<Vec<PathBuf>, ProofsError> {
    let failed = |e| ProofsError::io(stage, folder, "listing", e);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if prefixes.iter().any(|prefix| name.as_encoded_bytes().starts_with(prefix.as_bytes())) {
            found.push(folder.join(name));
        }
    }
    found.sort();
    Ok(found)
}

fn remove_all(stage: &'static str, folder: &Path, prefixes: &[&str]) -> Result<(), ProofsError> {
    for path in files(stage, folder, prefixes)? {
        durable::remove_if_there(&path).in_stage(stage)?;
    }
    durable::sync_folder(folder).in_stage(stage)
}

fn sync_all(stage: &'static str, folder: &Path, prefixes: &[&str]) -> Result<(), ProofsError> {
    for path in files(stage, folder, prefixes)? {
        durable::sync_file(&path).in_stage(stage)?;
    }
    durable::sync_folder(folder).in_stage(stage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleaning_before_pc2_leaves_layers_and_tree_d_whatever_the_numbering() {
        let folder = tempfile::tempdir().unwrap();
        let kept = [".pc2_running", "sc-02-data-layer-1.dat", "sc-02-data-layer-11.dat", TREE_D];
        let swept =
            ["p_aux", "sc-02-data-tree-c-15.dat", "sc-02-data-tree-c.dat", "sc-02-data-tree-r-last-0.dat", "t_aux"];
        for name in kept.iter().chain(&swept) {
            fs::write(folder.path().join(name), b"x").unwrap();
        }
        clean_before_pc2_again(folder.path()).unwrap();
        let mut left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        assert_eq!(left, kept);
        clean_before_pc2_again(folder.path()).unwrap();
    }

    #[test]
    fn the_sealed_file_is_made_again_from_a_whole_staged_file_only() {
        let folder = tempfile::tempdir().unwrap();
        let (staged, sealed) = (folder.path().join("staged"), folder.path().join("sealed"));
        fs::write(&sealed, [9; 2048]).unwrap();
        fs::write(&staged, [1; 2000]).unwrap();
        let error = remake_sealed(&staged, &sealed, SectorSize::KiB2).unwrap_err().to_string();
        assert!(error.contains("2000 bytes long, 2048 expected; run add_pieces again"), "{error}");
        assert_eq!(fs::read(&sealed).unwrap(), [9; 2048]);
        fs::write(&staged, [1; 2048]).unwrap();
        remake_sealed(&staged, &sealed, SectorSize::KiB2).unwrap();
        assert_eq!(fs::read(&sealed).unwrap(), [1; 2048]);
    }
}
