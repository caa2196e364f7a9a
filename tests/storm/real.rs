//! The storm with real proofs: 24 sectors of 2 KiB, children for every stage, c2 one at a time.

use crate::{
    rig::{Rig, Sector},
    weather::{Storm, tell},
};
use damocles_worker::{
    runtime::{
        proofs,
        stage::{SealClaim, prover_id},
    },
    units::HumanDuration,
};
use std::time::Duration;

/// From sending a pre-commit to the epoch of its seed on the simulated chain.
const SEED_AFTER: i64 = 152;

#[test]
fn every_sector_of_a_stormy_daemon_is_proven() {
    let Ok(stormy) = std::env::var("DAMOCLES_STORM") else {
        tell(
            "skipped the storm with real proofs: an hour; DAMOCLES_STORM=10min cargo test --test storm (make test-slow)",
        );
        return;
    };
    let stormy = stormy.parse::<HumanDuration>().unwrap_or_else(|error| panic!("DAMOCLES_STORM: {error}")).0;
    let sectors = std::env::var("DAMOCLES_STORM_SECTORS").ok().map_or(24, |text| text.parse().unwrap());
    let mut rig = Rig::new(8, |_| String::new());
    let storm =
        Storm { stormy, gap_max: Duration::from_secs(20), daemon_in: 5, bound: Duration::from_secs(75 * 60), sectors };
    let damage = storm.rage(&mut rig, &|left| vec!["--sectors".into(), left.to_string()]);
    assert_eq!(rig.wait(), Some(0), "a daemon that has done what it was asked for");
    let secret = rig.secret();
    let finished: Vec<_> = rig.sectors().into_iter().filter(|sector| sector.finalized).collect();
    assert!(finished.len() >= sectors);
    for sector in &finished {
        assert_eq!(
            proofs::verify_seal(&claim(sector, &secret), &sector.proof).map_err(|error| error.to_string()),
            Ok(true),
            "{sector:?}"
        );
    }
    let aborted: Vec<_> = rig.sectors().into_iter().filter_map(|sector| sector.abort_reason).collect();
    assert!(aborted.is_empty(), "{aborted:?}");
    rig.is_clean();
    tell(&format!("{} proofs verify; {damage:?}", finished.len()));
}

/// What a sector's proof has to prove, from the manager's table alone; the seed is computed here a second time.
fn claim(sector: &Sector, secret: &[u8]) -> SealClaim {
    let bytes = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).unwrap();
    let seed = blake2b_simd::Params::new()
        .hash_length(32)
        .key(secret)
        .personal(b"porep seed")
        .to_state()
        .update(&(sector.miner as u64).to_le_bytes())
        .update(&(sector.pre_commit_sent + SEED_AFTER).to_le_bytes())
        .finalize();
    SealClaim {
        registered_proof: "StackedDrg2KiBV1_1".parse().unwrap(),
        comm_r: bytes(&sector.comm_r),
        comm_d: bytes(&sector.comm_d),
        prover_id: prover_id(sector.miner as u64),
        sector_id: sector.number as u64,
        ticket: bytes(&sector.ticket),
        seed: bytes(seed.as_bytes()),
    }
}
