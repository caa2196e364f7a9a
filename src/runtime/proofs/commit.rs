//! c1 (vanilla proofs), c2 (the Groth16 proof) and the verdict on a proof.

use super::{
    ProofsError,
    convert::{self, library_pieces, registered},
    guard,
};
use crate::runtime::stage::{C1Task, C2Output, C2Task, Opaque, SealClaim};
use filecoin_proofs_api::{
    RegisteredSealProof, SectorId,
    seal::{self, SealCommitPhase1Output, SealPreCommitPhase2Output},
};
use std::{io, path::PathBuf};

const C1: &str = "c1";
const C2: &str = "c2";
const VERIFY: &str = "verify_seal";
const GET_PARAMETERS: &str = "run damocles-worker params status, then params fetch (or params generate)";

/// The vanilla proofs for the challenges that follow from the seed. Reads only; safe to repeat.
pub fn c1(task: &C1Task) -> Result<Opaque, ProofsError> {
    let pre_commit = SealPreCommitPhase2Output {
        registered_proof: registered(task.pc2out.registered_proof),
        comm_r: task.pc2out.comm_r,
        comm_d: task.pc2out.comm_d,
    };
    let pieces = library_pieces(&task.piece_infos);
    let hint = "the sealed file and its cache must be the ones pc2 left; if they are damaged the sector starts again";
    let output = guard::call(C1, &task.cache_dir, hint, || {
        seal::seal_commit_phase1(
            &task.cache_dir,
            &task.sealed_file,
            task.prover_id,
            SectorId::from(task.sector_id),
            task.ticket,
            task.seed,
            pre_commit,
            &pieces,
        )
    })?;
    convert::opaque(C1, "c1's answer", &output)
}

/// The proof. Needs the parameters and the verifying key; reads only; safe to repeat.
pub fn c2(task: &C2Task) -> Result<C2Output, ProofsError> {
    let phase1: SealCommitPhase1Output = convert::read(C2, "c1's answer", &task.c1out)?;
    let params = key_path(C2, phase1.registered_proof, RegisteredSealProof::cache_params_path)?;
    // The library derives a missing verifying key itself and writes it under its final name at once.
    key_path(C2, phase1.registered_proof, RegisteredSealProof::cache_verifying_key_path)?;
    let output = guard::call(C2, &params, GET_PARAMETERS, || {
        seal::seal_commit_phase2(phase1, task.prover_id, SectorId::from(task.sector_id))
    })?;
    Ok(C2Output { proof: output.proof })
}

/// Whether `proof` proves `claim`. Bytes that are no proof at all are a no, not an error; an error means
/// that no verdict was possible.
pub fn verify_seal(claim: &SealClaim, proof: &[u8]) -> Result<bool, ProofsError> {
    let kind = registered(claim.registered_proof);
    let key = key_path(VERIFY, kind, RegisteredSealProof::cache_verifying_key_path)?;
    guard::call(VERIFY, &key, "check the commitments of the claim", || {
        let verdict = seal::verify_seal(
            kind,
            claim.comm_r,
            claim.comm_d,
            claim.prover_id,
            SectorId::from(claim.sector_id),
            claim.ticket,
            claim.seed,
            proof,
        );
        verdict.or_else(|error| if is_no_proof(proof, &error) { Ok(false) } else { Err(error) })
    })
}

/// Points that are not on the curve, or the wrong number of bytes. A damaged verifying key does not look
/// like this: the library then tries to derive it again and fails with `AlreadyExists`.
fn is_no_proof(proof: &[u8], error: &anyhow::Error) -> bool {
    let data = |e: &io::Error| matches!(e.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof);
    proof.is_empty() || error.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(data))
}

/// The path of a key file, which must be there.
fn key_path(
    stage: &'static str,
    kind: RegisteredSealProof,
    path: impl Fn(RegisteredSealProof) -> anyhow::Result<PathBuf>,
) -> Result<PathBuf, ProofsError> {
    let path = guard::call(stage, &PathBuf::from("parameters"), GET_PARAMETERS, || path(kind))?;
    if path.is_file() {
        return Ok(path);
    }
    Err(ProofsError::File { stage, path, what: "missing".into(), hint: GET_PARAMETERS })
}
