//! A sector that stages are measured on: its files in the work folder, the task of each stage, the way back before a stage
//! is measured again.
//!
//! What a stage answered is written beside the files, so that a run that was killed goes on with the sectors it had made.

use super::BenchError;
use crate::{
    profile::Stage,
    runtime::{
        daemon,
        pieces::Fetch,
        processor::{Output, RestoreReplicaTask, Task},
        stage::*,
    },
    sys::durable::{self, DurableError},
    units::SealProof,
};
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

const DONE: &str = "done.json";
const MINER: u64 = 1000;
/// Any bytes do: nothing here reaches a chain.
const TICKET: [u8; 32] = [7; 32];
const SEED: [u8; 32] = [9; 32];

/// A sector and how far it is.
#[derive(Debug)]
pub struct Sector {
    folder: PathBuf,
    number: u64,
    proof: SealProof,
    done: Done,
}

/// The answers so far.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Done {
    pieces: Option<Vec<PieceInfo>>,
    tree_d: bool,
    pc1: Option<Opaque>,
    /// The sealed file may be encoded, in part or whole.
    pc2_begun: bool,
    pc2: Option<Pc2Output>,
    c1: Option<Opaque>,
}

impl Sector {
    /// The sector of this number in `work`, as far as it was made there.
    pub fn open(work: &Path, number: u64, proof: SealProof) -> Result<Self, BenchError> {
        let folder = work.join(format!("sector-{number}"));
        durable::make_folder(&folder)?;
        durable::remove_leftovers(&folder.join(DONE))?;
        let done = match fs::read(folder.join(DONE)) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Done::default(),
            Err(error) => return Err(DurableError::new("reading", &folder.join(DONE), error).into()),
        };
        Ok(Self { folder, number, proof, done })
    }

    /// Whether it is ready for `stage`: everything before it is done.
    pub fn is_ready_for(&self, stage: Stage) -> bool {
        match stage {
            Stage::AddPieces => true,
            Stage::TreeD => self.done.pieces.is_some(),
            Stage::Pc1 => self.done.tree_d,
            Stage::Pc2 => self.done.pc1.is_some(),
            Stage::C1 => self.done.pc2.is_some(),
            Stage::C2 => self.done.c1.is_some(),
        }
    }

    /// The first stage that it lacks before it is ready for `stage`.
    pub fn lacks(&self, stage: Stage) -> Option<Stage> {
        let next = Stage::ALL.into_iter().filter(|before| *before < stage);
        next.into_iter().find(|before| {
            let after = Stage::ALL.into_iter().find(|after| after > before).unwrap_or(stage);
            !self.is_ready_for(after)
        })
    }

    /// Takes back what `stage` and all after it made, and makes ready what it expects to find.
    pub fn reset(&mut self, stage: Stage) -> Result<(), BenchError> {
        let paths = self.paths();
        match stage {
            Stage::AddPieces => {
                self.remove(&["staged", "prepared", "cache", "sealed"])?;
                self.done = Done::default();
            }
            Stage::TreeD => {
                self.remove(&["prepared", "cache", "sealed"])?;
                durable::make_folder(&paths.prepared)?;
                self.done = Done { pieces: self.done.pieces.take(), ..Done::default() };
            }
            Stage::Pc1 => {
                self.remove(&["cache", "sealed"])?;
                durable::make_folder(&paths.cache)?;
                let tree_d = paths.cache.join(TREE_D);
                fs::File::create(&paths.sealed).map_err(|e| DurableError::new("creating", &paths.sealed, e))?;
                fs::hard_link(paths.prepared.join(TREE_D), &tree_d)
                    .map_err(|e| DurableError::new("linking", &tree_d, e))?;
                self.done = Done { pieces: self.done.pieces.take(), tree_d: true, ..Done::default() };
            }
            Stage::Pc2 => {
                if self.done.pc2_begun {
                    let task = RestoreReplicaTask {
                        registered_proof: self.proof,
                        staged_file: paths.staged,
                        sealed_file: paths.sealed,
                        cache_dir: paths.cache,
                    };
                    let restored = daemon::perform(Task::RestoreReplica(task), &Fetch::default());
                    restored.map_err(|flaw| BenchError::Stage { stage, reason: flaw.reason })?;
                }
                (self.done.pc2, self.done.c1, self.done.pc2_begun) = (None, None, true);
            }
            // They read only.
            Stage::C1 | Stage::C2 => {}
        }
        self.save()
    }

    /// The task of a stage that it is ready for.
    pub fn task(&self, stage: Stage) -> Option<Task> {
        let paths = self.paths();
        let (prover_id, sector_id) = (prover_id(MINER), self.number);
        Some(match stage {
            Stage::AddPieces => Task::AddPieces(AddPiecesTask {
                seal_proof_type: self.proof,
                pieces: Vec::new(),
                staged_filepath: paths.staged,
            }),
            Stage::TreeD => Task::TreeD(TreeDTask {
                registered_proof: self.proof,
                staged_file: paths.staged,
                cache_dir: paths.prepared,
            }),
            Stage::Pc1 => Task::Pc1(Pc1Task {
                registered_proof: self.proof,
                cache_path: paths.cache,
                in_path: paths.staged,
                out_path: paths.sealed,
                prover_id,
                sector_id,
                ticket: TICKET,
                piece_infos: self.done.pieces.clone()?,
            }),
            Stage::Pc2 => {
                Task::Pc2(Pc2Task { pc1out: self.done.pc1.clone()?, cache_dir: paths.cache, sealed_file: paths.sealed })
            }
            Stage::C1 => Task::C1(C1Task {
                cache_dir: paths.cache,
                sealed_file: paths.sealed,
                prover_id,
                sector_id,
                ticket: TICKET,
                seed: SEED,
                pc2out: self.done.pc2.clone()?,
                piece_infos: self.done.pieces.clone()?,
            }),
            Stage::C2 => Task::C2(C2Task { c1out: self.done.c1.clone()?, prover_id, sector_id, miner_id: MINER }),
        })
    }

    /// Keeps a stage's answer.
    pub fn keep(&mut self, output: Output) -> Result<(), BenchError> {
        match output {
            Output::AddPieces(pieces) => self.done.pieces = Some(pieces),
            Output::TreeD => self.done.tree_d = true,
            Output::Pc1(answer) => self.done.pc1 = Some(answer),
            Output::Pc2(answer) => self.done.pc2 = Some(answer),
            Output::C1(answer) => self.done.c1 = Some(answer),
            Output::C2(_) | Output::RestoreReplica | Output::Transfer => return Ok(()),
        }
        self.save()
    }

    fn save(&self) -> Result<(), BenchError> {
        let json = serde_json::to_vec(&self.done).expect("answers are plain data");
        Ok(durable::write_atomic(&self.folder.join(DONE), &json)?)
    }

    fn paths(&self) -> Paths {
        let at = |name: &str| self.folder.join(name);
        Paths { staged: at("staged"), prepared: at("prepared"), cache: at("cache"), sealed: at("sealed") }
    }

    fn remove(&self, names: &[&str]) -> Result<(), BenchError> {
        for path in names.iter().map(|name| self.folder.join(name)) {
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            if let Err(error) = removed
                && error.kind() != io::ErrorKind::NotFound
            {
                return Err(DurableError::new("removing", &path, error).into());
            }
        }
        Ok(())
    }
}

struct Paths {
    staged: PathBuf,
    prepared: PathBuf,
    cache: PathBuf,
    sealed: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::SectorSize;

    fn perform(sector: &mut Sector, stage: Stage) {
        sector.reset(stage).unwrap();
        let output =
            daemon::perform(sector.task(stage).unwrap(), &Fetch::default()).unwrap_or_else(|flaw| panic!("{flaw:?}"));
        sector.keep(output).unwrap();
    }

    #[test]
    fn every_stage_before_c2_can_be_done_twice_and_a_later_run_goes_on() {
        let work = tempfile::tempdir().unwrap();
        let open = || Sector::open(work.path(), 3, SealProof::v1_1(SectorSize::KiB2)).unwrap();
        let mut sector = open();
        assert_eq!(sector.lacks(Stage::C2), Some(Stage::AddPieces));
        for stage in [Stage::AddPieces, Stage::TreeD, Stage::Pc1, Stage::Pc2, Stage::C1] {
            assert_eq!(sector.lacks(Stage::C2), Some(stage));
            perform(&mut sector, stage);
            perform(&mut sector, stage);
            sector = open();
        }
        assert_eq!(sector.lacks(Stage::C2), None);
        assert!(sector.task(Stage::C2).is_some());
        // Back to the middle: what came after is no longer believed.
        perform(&mut sector, Stage::Pc1);
        assert_eq!((sector.lacks(Stage::C2), sector.task(Stage::C1)), (Some(Stage::Pc2), None));
        perform(&mut sector, Stage::Pc2);
        assert!(sector.is_ready_for(Stage::C1));
    }
}
