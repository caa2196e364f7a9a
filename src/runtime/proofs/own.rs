//! pc1 with our own label engine, and the library's answer made of what it leaves.
//!
//! ```text
//! tree-d ─► comm_d = comm_d of the pieces? ─► replica id ─► runtime::sdr: layers ─┬─► the library's phase 1 output
//! staged ─────────────────────── copied meanwhile ─────────────────► sealed ──────┘
//! ```

use super::{
    ProofsError,
    convert::{library_pieces, registered},
    error::InStage,
    guard,
    prover::{self, Logged, Pc1Options},
};
use crate::{
    runtime::{
        sdr::{
            Job, SdrError,
            memory::Place,
            progress::{Progress, Watch},
        },
        stage::{Commitment, Pc1Task, TREE_D},
    },
    sys::durable,
    units::SectorSize,
};
use filecoin_proofs::{
    StoreConfig,
    constants::{
        DefaultTreeHasher, LAYERS, SectorShape2KiB, SectorShape8MiB, SectorShape32GiB, SectorShape64GiB,
        SectorShape512MiB,
    },
    pieces::verify_pieces,
};
use filecoin_proofs_api::seal::{Labels, SealPreCommitPhase1Output};
use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};
use storage_proofs_core::{cache_key::CacheKey, util::NODE_SIZE};
use storage_proofs_porep::stacked;

const PC1: &str = "pc1";
/// What is copied between two looks at whether it shall go on.
const COPY_BYTES: u64 = 64 << 20;

/// Makes the sealed file and the layers. What must be there before is checked by the caller.
pub(super) fn phase1(
    task: &Pc1Task,
    parents: PathBuf,
    options: &Pc1Options,
    watch: &dyn Watch,
) -> Result<SealPreCommitPhase1Output, ProofsError> {
    let comm_d = checked_comm_d(task)?;
    let config = registered(task.registered_proof).as_v1_config();
    let replica_id: [u8; 32] = stacked::generate_replica_id::<DefaultTreeHasher, _>(
        &task.prover_id,
        task.sector_id,
        &task.ticket,
        comm_d,
        &config.porep_id,
    )
    .into();
    let size = task.registered_proof.sector_size();
    let nodes = nodes(size);
    let job = Job { replica_id, layers: layers(size), nodes, parents, folder: task.cache_path.clone() };
    while_copying(task, watch, |watch| {
        let logged = Logged::new(watch, task.sector_id);
        prover::engine(options).make_layers(&job, &logged)
    })?;
    Ok(output(task, comm_d, job.layers))
}

fn nodes(size: SectorSize) -> usize {
    size.bytes().0 as usize / NODE_SIZE
}

/// How many layers sectors of this size have, asked of the library.
fn layers(size: SectorSize) -> u32 {
    let layers = LAYERS.read().unwrap_or_else(std::sync::PoisonError::into_inner);
    *layers.get(&size.bytes().0).expect("the library knows every sector size of ours") as u32
}

/// The root of tree-d, if it is what the pieces say.
fn checked_comm_d(task: &Pc1Task) -> Result<Commitment, ProofsError> {
    let path = task.cache_path.join(TREE_D);
    let mut comm_d = [0; 32];
    let end = task.registered_proof.sector_size().tree_d_bytes() - comm_d.len() as u64;
    let read = File::open(&path).and_then(|file| file.read_exact_at(&mut comm_d, end));
    read.map_err(|e| ProofsError::io(PC1, &path, "reading", e))?;
    let pieces = library_pieces(&task.piece_infos);
    let size = registered(task.registered_proof).as_v1_config().sector_size;
    let hint = "run add_pieces and tree_d again";
    if guard::call(PC1, &path, hint, || verify_pieces(&comm_d, &pieces, size))? {
        Ok(comm_d)
    } else {
        let what = "pieces and comm_d do not match".into();
        Err(ProofsError::File { stage: PC1, path, what, hint })
    }
}

/// Copies staged to sealed beside `work`; each is stopped when the other fails.
fn while_copying<T>(
    task: &Pc1Task,
    watch: &dyn Watch,
    work: impl FnOnce(&dyn Watch) -> Result<T, SdrError>,
) -> Result<T, ProofsError> {
    let (copied_badly, give_up) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let copy = scope.spawn(|| {
            let copied = copy(&task.in_path, &task.out_path, &|| give_up.load(Ordering::Relaxed) || watch.stopped());
            copied_badly.store(copied.is_err(), Ordering::Relaxed);
            copied
        });
        let worked = work(&Both { watch, also: &copied_badly });
        give_up.store(worked.is_err(), Ordering::Relaxed);
        let copied = copy.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let worked = worked.map_err(|source| ProofsError::Layers { stage: PC1, source });
        // Of two failures the one that was there first: a stopped task is the consequence of the other.
        match (copied?, worked) {
            (Copied::GivenUp, Ok(_)) => Err(ProofsError::Layers { stage: PC1, source: SdrError::Stopped }),
            (_, worked) => worked,
        }
    })
}

/// How a copy ended.
enum Copied {
    Whole,
    GivenUp,
}

/// Copies in parts, each of which is on the disk before the next: whoever wants to stop waits for one of them.
fn copy(from: &Path, to: &Path, stopped: &dyn Fn() -> bool) -> Result<Copied, ProofsError> {
    let failed = |e| ProofsError::io(PC1, to, "copying staged to", e);
    let mut source = File::open(from).map_err(failed)?;
    let mut target = File::create(to).map_err(failed)?;
    loop {
        if stopped() {
            return Ok(Copied::GivenUp);
        }
        let part = io::copy(&mut Read::by_ref(&mut source).take(COPY_BYTES), &mut target).map_err(failed)?;
        if part == 0 {
            break;
        }
        target.sync_data().map_err(failed)?;
    }
    durable::sync_file(to).in_stage(PC1)?;
    Ok(Copied::Whole)
}

/// A watch that also stops for a reason of ours.
struct Both<'a> {
    watch: &'a dyn Watch,
    also: &'a AtomicBool,
}

impl Watch for Both<'_> {
    fn memory(&self, places: &[Place]) {
        self.watch.memory(places);
    }
    fn progress(&self, progress: &Progress) {
        self.watch.progress(progress);
    }
    fn stopped(&self) -> bool {
        self.also.load(Ordering::Relaxed) || self.watch.stopped()
    }
}

/// What the library would answer.
fn output(task: &Pc1Task, comm_d: Commitment, layers: u32) -> SealPreCommitPhase1Output {
    let size = task.registered_proof.sector_size();
    let store =
        |id: String, nodes| StoreConfig { path: task.cache_path.clone(), id, size: Some(nodes), rows_to_discard: 0 };
    let stores = (1..=layers as usize).map(|layer| store(CacheKey::label_layer(layer), nodes(size))).collect();
    SealPreCommitPhase1Output {
        registered_proof: registered(task.registered_proof),
        labels: labels(size, stores),
        config: store(CacheKey::CommDTree.to_string(), 2 * nodes(size) - 1),
        comm_d,
    }
}

fn labels(size: SectorSize, stores: Vec<StoreConfig>) -> Labels {
    match size {
        SectorSize::KiB2 => Labels::StackedDrg2KiBV1(stacked::Labels::<SectorShape2KiB>::new(stores)),
        SectorSize::MiB8 => Labels::StackedDrg8MiBV1(stacked::Labels::<SectorShape8MiB>::new(stores)),
        SectorSize::MiB512 => Labels::StackedDrg512MiBV1(stacked::Labels::<SectorShape512MiB>::new(stores)),
        SectorSize::GiB32 => Labels::StackedDrg32GiBV1(stacked::Labels::<SectorShape32GiB>::new(stores)),
        SectorSize::GiB64 => Labels::StackedDrg64GiBV1(stacked::Labels::<SectorShape64GiB>::new(stores)),
    }
}
