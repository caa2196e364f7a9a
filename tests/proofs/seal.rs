//! One sector in a temporary store, taken through the stages by the functions a worker calls.

use damocles_worker::{
    runtime::{pieces::Fetch, proofs, stage::*},
    units::{SealProof, SectorSize},
};
use std::{fs, path::PathBuf};

pub const MINER: u64 = 1000;
pub const NUMBER: u64 = 7;
/// Not random, so that a failure repeats; the top byte is small because these are field elements.
pub const TICKET: [u8; 32] = [5; 32];
pub const SEED: [u8; 32] = [9; 32];

/// A sector on its way.
pub struct Sector {
    pub store: tempfile::TempDir,
    pub proof: SealProof,
    pub pieces: Vec<PieceInfo>,
}

impl Sector {
    pub fn new(size: SectorSize) -> Self {
        let store = tempfile::tempdir().unwrap();
        fs::create_dir(store.path().join("cache")).unwrap();
        Self { store, proof: SealProof::v1_1(size), pieces: vec![] }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.store.path().join(name)
    }
    pub fn cache(&self) -> PathBuf {
        self.path("cache")
    }

    /// add_pieces and tree_d.
    pub fn prepare(&mut self, pieces: Vec<PieceToAdd>) {
        let staged_filepath = self.path("staged");
        let task = AddPiecesTask { seal_proof_type: self.proof, pieces, staged_filepath };
        self.pieces = proofs::add_pieces(&task, &Fetch::default()).unwrap();
        proofs::tree_d(&self.tree_d_task()).unwrap();
    }

    pub fn tree_d_task(&self) -> TreeDTask {
        TreeDTask { registered_proof: self.proof, staged_file: self.path("staged"), cache_dir: self.cache() }
    }

    pub fn pc1_task(&self) -> Pc1Task {
        Pc1Task {
            registered_proof: self.proof,
            cache_path: self.cache(),
            in_path: self.path("staged"),
            out_path: self.path("sealed"),
            prover_id: prover_id(MINER),
            sector_id: NUMBER,
            ticket: TICKET,
            piece_infos: self.pieces.clone(),
        }
    }

    pub fn pc2_task(&self, pc1out: Opaque) -> Pc2Task {
        Pc2Task { pc1out, cache_dir: self.cache(), sealed_file: self.path("sealed") }
    }

    pub fn c1(&self, pc2out: Pc2Output) -> Opaque {
        let task = C1Task {
            cache_dir: self.cache(),
            sealed_file: self.path("sealed"),
            prover_id: prover_id(MINER),
            sector_id: NUMBER,
            ticket: TICKET,
            seed: SEED,
            pc2out,
            piece_infos: self.pieces.clone(),
        };
        proofs::c1(&task).unwrap()
    }

    pub fn claim(&self, pc2out: &Pc2Output) -> SealClaim {
        SealClaim {
            registered_proof: self.proof,
            comm_r: pc2out.comm_r,
            comm_d: pc2out.comm_d,
            prover_id: prover_id(MINER),
            sector_id: NUMBER,
            ticket: TICKET,
            seed: SEED,
        }
    }

    /// Name and length of every file in the cache folder.
    pub fn cache_files(&self) -> Vec<(String, u64)> {
        let entry = |e: fs::DirEntry| (e.file_name().into_string().unwrap(), e.metadata().unwrap().len());
        let mut files: Vec<_> = fs::read_dir(self.cache()).unwrap().map(|e| entry(e.unwrap())).collect();
        files.sort();
        files
    }
}
