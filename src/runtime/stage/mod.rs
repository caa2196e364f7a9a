//! What a stage is asked and what it answers, with the field names of the processors' wire.
//!
//! A task is one JSON object, complete in itself: a child on the other side of a pipe and the daemon's
//! own executor read the same values. What only the proofs library understands (labels, vanilla
//! proofs) passes through as `Opaque` JSON and is never taken apart here. Pure: no files, no clock.

pub mod layout;
mod name;
mod opaque;
mod paths;

pub use name::Stage;
pub use opaque::Opaque;
pub use paths::{PC2_RUNNING, SectorPaths, TREE_D};

use crate::units::SealProof;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::PathBuf};

/// A 32-byte commitment. JSON: an array of 32 numbers.
pub type Commitment = [u8; 32];

/// A piece inside a sector: its commitment and its size before bit padding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PieceInfo {
    pub commitment: Commitment,
    /// Unpadded bytes: 127/128 of the padded piece.
    pub size: u64,
}

/// Where a piece's bytes come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PieceFile {
    /// Zeros.
    Pledge,
    Url(String),
    Local(PathBuf),
}

/// A piece to add.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PieceToAdd {
    pub piece_file: PieceFile,
    pub payload_size: u64,
    pub piece_size: u64,
}

/// add_pieces: write the staged file. No pieces: one piece of zeros that fills the sector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddPiecesTask {
    pub seal_proof_type: SealProof,
    pub pieces: Vec<PieceToAdd>,
    pub staged_filepath: PathBuf,
}

/// tree_d: build `sc-02-data-tree-d.dat` of the staged file in `cache_dir`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeDTask {
    pub registered_proof: SealProof,
    pub staged_file: PathBuf,
    pub cache_dir: PathBuf,
}

/// pc1: copy staged to sealed and compute the SDR layers into `cache_path`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pc1Task {
    pub registered_proof: SealProof,
    pub cache_path: PathBuf,
    pub in_path: PathBuf,
    pub out_path: PathBuf,
    pub prover_id: [u8; 32],
    pub sector_id: u64,
    pub ticket: [u8; 32],
    pub piece_infos: Vec<PieceInfo>,
}

/// pc2: tree-c, the replica in `sealed_file` (in place), tree-r-last, p_aux, t_aux.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pc2Task {
    /// pc1's answer.
    pub pc1out: Opaque,
    pub cache_dir: PathBuf,
    pub sealed_file: PathBuf,
}

/// pc2's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pc2Output {
    pub registered_proof: SealProof,
    pub comm_r: Commitment,
    pub comm_d: Commitment,
}

/// c1: vanilla proofs for the challenges that follow from `seed`. Done inside the daemon, never sent to a child.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct C1Task {
    pub cache_dir: PathBuf,
    pub sealed_file: PathBuf,
    pub prover_id: [u8; 32],
    pub sector_id: u64,
    pub ticket: [u8; 32],
    pub seed: [u8; 32],
    pub pc2out: Pc2Output,
    pub piece_infos: Vec<PieceInfo>,
}

/// c2: the Groth16 proof.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct C2Task {
    /// c1's answer.
    pub c1out: Opaque,
    pub prover_id: [u8; 32],
    pub sector_id: u64,
    pub miner_id: u64,
}

/// c2's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct C2Output {
    pub proof: Vec<u8>,
}

/// A file or folder in a store, by the store's name and a path relative to its root (or an absolute one).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferItem {
    pub store_name: Option<String>,
    pub uri: PathBuf,
}

/// How one route is carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferOption {
    pub is_dir: bool,
    pub allow_link: bool,
}

/// One thing to copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferRoute {
    pub src: TransferItem,
    pub dest: TransferItem,
    pub opt: Option<TransferOption>,
}

/// A store's description on the transfer wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferStoreInfo {
    pub name: String,
    pub meta: Option<BTreeMap<String, String>>,
}

/// transfer: copy finished files into a persistent store, each verified and renamed into place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferTask {
    pub stores: BTreeMap<String, TransferStoreInfo>,
    pub routes: Vec<TransferRoute>,
}

/// What a verifier needs to know of a sector, besides the proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealClaim {
    pub registered_proof: SealProof,
    pub comm_r: Commitment,
    pub comm_d: Commitment,
    pub prover_id: [u8; 32],
    pub sector_id: u64,
    pub ticket: [u8; 32],
    pub seed: [u8; 32],
}

/// The 32 bytes that stand for a miner in every proof: the payload of its ID address (LEB128), padded with zeros.
pub fn prover_id(miner: u64) -> [u8; 32] {
    let mut id = [0; 32];
    let (mut rest, mut at) = (miner, 0);
    loop {
        let low = (rest & 0x7f) as u8;
        rest >>= 7;
        id[at] = if rest == 0 { low } else { low | 0x80 };
        if rest == 0 {
            return id;
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prover_id_is_the_id_address_payload() {
        assert_eq!(prover_id(10_000)[..3], [144, 78, 0]);
        assert_eq!(prover_id(0)[..2], [0, 0]);
        assert_eq!(prover_id(u64::MAX)[9], 1);
    }

    #[test]
    fn tasks_have_the_wires_field_names() {
        let line = r#"{"seal_proof_type":"StackedDrg2KiBV1_1","pieces":[],"staged_filepath":"/s/staged"}"#;
        let task: AddPiecesTask = serde_json::from_str(line).unwrap();
        assert_eq!(serde_json::to_string(&task).unwrap(), line);
    }

    #[test]
    fn every_kind_of_piece_has_the_wires_form() {
        let pieces = [
            r#"{"piece_file":{"local":"/p/baga.car"},"payload_size":100,"piece_size":127}"#,
            r#"{"piece_file":"pledge","payload_size":127,"piece_size":127}"#,
            r#"{"piece_file":{"url":"http://m:1789/piecestore/baga"},"payload_size":200,"piece_size":254}"#,
        ];
        let line = format!(
            r#"{{"seal_proof_type":"StackedDrg2KiBV1_1","pieces":[{}],"staged_filepath":"/s/staged"}}"#,
            pieces.join(",")
        );
        let task: AddPiecesTask = serde_json::from_str(&line).unwrap();
        assert_eq!(task.pieces[0].piece_file, PieceFile::Local("/p/baga.car".into()));
        assert_eq!(serde_json::to_string(&task).unwrap(), line);
    }
}
