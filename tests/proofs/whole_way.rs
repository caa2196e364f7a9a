//! 2 KiB from pieces to a proof that verifies, and back to the bytes that went in.

use crate::seal::{MINER, NUMBER, Sector, TICKET};
use damocles_worker::{
    runtime::{proofs, stage::*},
    units::SectorSize,
};
use std::{fs, io::Write};

/// Bytes that look like nothing in particular.
fn payload(length: usize) -> Vec<u8> {
    (0..length as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn sealed_with_data() -> (Sector, Vec<u8>, Pc2Output, Opaque) {
    let mut sector = Sector::new(SectorSize::KiB2);
    let data = payload(2000);
    fs::write(sector.path("piece"), &data).unwrap();
    let piece_file = PieceFile::Local(sector.path("piece"));
    sector.prepare(vec![PieceToAdd { piece_file, payload_size: 2000, piece_size: 2032 }]);
    let pc1out = proofs::pc1(&sector.pc1_task()).unwrap();
    let pc2out = proofs::pc2(&sector.pc2_task(pc1out)).unwrap();
    let c1out = sector.c1(pc2out.clone());
    (sector, data, pc2out, c1out)
}

#[test]
fn a_sector_with_data_is_proven_and_its_data_comes_back() {
    let (sector, data, pc2out, c1out) = sealed_with_data();
    assert_eq!(
        sector.cache_files().iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect::<Vec<_>>(),
        [
            (".layers_of", 64),
            (".sdr_layers", sector.cache_files()[1].1),
            ("p_aux", 64),
            ("sc-02-data-layer-1.dat", 2048),
            ("sc-02-data-layer-2.dat", 2048),
            ("sc-02-data-tree-c.dat", 2336),
            ("sc-02-data-tree-d.dat", 4064),
            ("sc-02-data-tree-r-last.dat", 32),
            ("t_aux", sector.cache_files().last().unwrap().1),
        ]
    );

    let unseal = proofs::UnsealTask {
        registered_proof: sector.proof,
        prover_id: prover_id(MINER),
        sector_id: NUMBER,
        comm_d: pc2out.comm_d,
        ticket: TICKET,
        sealed_file: sector.path("sealed"),
        unsealed_output: sector.path("unsealed"),
    };
    assert_eq!(proofs::unseal_whole(&unseal).unwrap(), 2032);
    let unsealed = fs::read(sector.path("unsealed")).unwrap();
    assert_eq!(unsealed[..2000], data);
    assert_eq!(unsealed[2000..], [0; 32]);
    let part = proofs::UnsealTask { unsealed_output: sector.path("part"), ..unseal.clone() };
    assert_eq!(proofs::unseal_range(&part, 1016, 127).unwrap(), 127);
    assert_eq!(fs::read(sector.path("part")).unwrap(), data[1016..1143]);
    assert!(proofs::unseal_range(&part, 1016, 1017).unwrap_err().to_string().contains("inside the sector"));

    let task = C2Task { c1out, prover_id: prover_id(MINER), sector_id: NUMBER, miner_id: MINER };
    let proof = match proofs::c2(&task) {
        Ok(output) => output.proof,
        Err(error) if error.to_string().contains(".params: missing") => {
            let _ = writeln!(std::io::stderr(), "SKIPPED: c2 and verify_seal at 2 KiB: {error}");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let claim = sector.claim(&pc2out);
    assert!(proofs::verify_seal(&claim, &proof).unwrap());
    for at in [0, 50, proof.len() - 1] {
        let mut flipped = proof.clone();
        flipped[at] ^= 1;
        assert!(!proofs::verify_seal(&claim, &flipped).unwrap(), "byte {at} flipped");
    }
    assert!(!proofs::verify_seal(&claim, &proof[1..]).unwrap());
    assert!(!proofs::verify_seal(&claim, &[]).unwrap());
    assert!(!proofs::verify_seal(&SealClaim { sector_id: NUMBER + 1, ..claim }, &proof).unwrap());
}

#[test]
fn the_answers_are_the_librarys_own_json() {
    use filecoin_proofs_api::seal::{SealCommitPhase1Output, SealPreCommitPhase1Output, SealPreCommitPhase2Output};
    let mut sector = Sector::new(SectorSize::KiB2);
    sector.prepare(vec![]);
    let pc1out = proofs::pc1(&sector.pc1_task()).unwrap();
    let read: SealPreCommitPhase1Output = pc1out.read().unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), pc1out.as_json());
    let pc2out = proofs::pc2(&sector.pc2_task(pc1out)).unwrap();
    let text = serde_json::to_string(&pc2out).unwrap();
    let read: SealPreCommitPhase2Output = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), text);
    let c1out = sector.c1(pc2out);
    let read: SealCommitPhase1Output = c1out.read().unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), c1out.as_json());
}

#[test]
fn c1_on_a_damaged_cache_is_an_error_that_names_the_folder() {
    let (sector, _, pc2out, _) = sealed_with_data();
    fs::write(sector.cache().join("t_aux"), b"torn").unwrap();
    let task = C1Task {
        cache_dir: sector.cache(),
        sealed_file: sector.path("sealed"),
        prover_id: prover_id(MINER),
        sector_id: NUMBER,
        ticket: TICKET,
        seed: [1; 32],
        pc2out,
        piece_infos: sector.pieces.clone(),
    };
    let error = proofs::c1(&task).unwrap_err().to_string();
    assert!(error.starts_with(&format!("c1: {}: the proofs library", sector.cache().display())), "{error}");
}
