//! The way back: a sealed sector's data, decoded from the replica.

use super::{
    ProofsError,
    convert::{self, registered},
    ensure_parent_cache,
    error::InStage,
    guard,
};
use crate::{
    runtime::stage::Commitment,
    sys::durable::{self, AtomicFile},
    units::SealProof,
};
use filecoin_proofs_api::{SectorId, UnpaddedByteIndex, UnpaddedBytesAmount, seal::get_unsealed_range};
use std::path::PathBuf;

const STAGE: &str = "unseal";

/// A sealed sector and where its data goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsealTask {
    pub registered_proof: SealProof,
    pub prover_id: [u8; 32],
    pub sector_id: u64,
    pub comm_d: Commitment,
    pub ticket: [u8; 32],
    pub sealed_file: PathBuf,
    pub unsealed_output: PathBuf,
}

/// Writes the whole sector's data, without bit padding, and returns its length.
pub fn unseal_whole(task: &UnsealTask) -> Result<u64, ProofsError> {
    unseal_range(task, 0, convert::unpadded(task.registered_proof.sector_size()))
}

/// Writes `bytes` of data from byte `offset` (both without bit padding) and returns how many were written.
///
/// The library computes all labels again, so this takes as long as pc1, and maps the whole sector.
pub fn unseal_range(task: &UnsealTask, offset: u64, bytes: u64) -> Result<u64, ProofsError> {
    check_range(task, offset, bytes)?;
    ensure_parent_cache(task.registered_proof)?;
    let target = &task.unsealed_output;
    durable::remove_leftovers(target).in_stage(STAGE)?;
    let output = AtomicFile::create(target).in_stage(STAGE)?;
    // The labels of the way back go here, not over the layers of a sector that is still being sealed.
    let labels = durable::temp_folder_for(target).in_stage(STAGE)?;
    let hint = "check free space beside the output, and that sealed file, ticket and comm_d belong together";
    guard::call(STAGE, &task.sealed_file, hint, || {
        get_unsealed_range(
            registered(task.registered_proof),
            labels.path(),
            task.sealed_file.as_path(),
            output.temp_path(),
            task.prover_id,
            SectorId::from(task.sector_id),
            task.comm_d,
            task.ticket,
            UnpaddedByteIndex(offset),
            UnpaddedBytesAmount(bytes),
        )
    })?;
    // The library drops its write buffer without looking whether the last bytes could be written.
    let written = output.temp_path().metadata().map_err(|e| ProofsError::io(STAGE, target, "looking at", e))?.len();
    if written != bytes {
        let what = format!("{written} of {bytes} bytes were written");
        return Err(ProofsError::File { stage: STAGE, path: target.clone(), what, hint });
    }
    output.commit().in_stage(STAGE)?;
    Ok(written)
}

fn check_range(task: &UnsealTask, offset: u64, bytes: u64) -> Result<(), ProofsError> {
    let whole = convert::unpadded(task.registered_proof.sector_size());
    if bytes > 0 && offset.checked_add(bytes).is_some_and(|end| end <= whole) {
        return Ok(());
    }
    let what = format!("{bytes} bytes from byte {offset} of a sector that has {whole}");
    Err(ProofsError::Input { stage: STAGE, what, hint: "ask for a range inside the sector" })
}
