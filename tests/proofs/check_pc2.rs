//! What `verify_after_pc2` relies on: c1, with whatever seed, tells files that can be proven from those that cannot. Needs no
//! parameters: vanilla proofs are verified without keys.

use crate::seal::{MINER, NUMBER, Sector, TICKET};
use damocles_worker::{
    runtime::{
        proofs::{self, ProofsError},
        stage::*,
    },
    units::SectorSize,
};
use std::{
    fs,
    path::{Path, PathBuf},
};

fn check(sector: &Sector, pc2out: &Pc2Output, seed: [u8; 32]) -> Result<(), ProofsError> {
    let task = C1Task {
        cache_dir: sector.cache(),
        sealed_file: sector.path("sealed"),
        prover_id: prover_id(MINER),
        sector_id: NUMBER,
        ticket: TICKET,
        seed,
        pc2out: pc2out.clone(),
        piece_infos: sector.pieces.clone(),
    };
    proofs::c1(&task).map(drop)
}

/// One bit of every node: whatever is challenged is hit.
fn damage(path: &Path) -> Vec<u8> {
    let whole = fs::read(path).unwrap();
    let mut damaged = whole.clone();
    damaged.iter_mut().step_by(32).for_each(|byte| *byte ^= 1);
    fs::write(path, damaged).unwrap();
    whole
}

#[test]
fn what_pc2_left_is_proven_and_damaged_files_or_another_answer_are_not() {
    let mut sector = Sector::new(SectorSize::KiB2);
    sector.prepare(vec![]);
    let pc1out = proofs::pc1(&sector.pc1_task()).unwrap();
    let pc2out = proofs::pc2(&sector.pc2_task(pc1out)).unwrap();
    for seed in [[0; 32], [1; 32], [255; 32]] {
        check(&sector, &pc2out, seed).unwrap();
    }
    let in_cache = |name: &str| sector.cache().join(name);
    let files: [PathBuf; 4] = [
        sector.path("sealed"),
        in_cache("sc-02-data-layer-1.dat"),
        in_cache("sc-02-data-layer-2.dat"),
        in_cache("sc-02-data-tree-c.dat"),
    ];
    for file in files {
        let whole = damage(&file);
        let error = check(&sector, &pc2out, [3; 32]).expect_err(&file.display().to_string());
        assert!(error.to_string().contains("c1"), "{error}");
        fs::write(&file, whole).unwrap();
        check(&sector, &pc2out, [3; 32]).unwrap();
    }
    for (comm_r, comm_d) in [([7; 32], pc2out.comm_d), (pc2out.comm_r, [7; 32])] {
        assert!(check(&sector, &Pc2Output { comm_r, comm_d, ..pc2out.clone() }, [3; 32]).is_err());
    }
}
