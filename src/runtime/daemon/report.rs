//! What is told of a finished sector, its proof verified once more by this process.

use super::rehearsal;
use crate::{
    runtime::{
        proofs,
        sector::{Record, State},
        stage::SectorPaths,
        worker::PersistentStore,
    },
    units::{SealProof, hex},
};
use serde::Serialize;
use std::{collections::BTreeMap, path::PathBuf};

/// A sector that has ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SectorReport {
    /// `s-t0<miner>-<number>`
    pub name: String,
    pub miner: u64,
    pub number: u64,
    pub proof_type: SealProof,
    /// Hex.
    pub comm_r: Option<String>,
    /// Hex.
    pub comm_d: Option<String>,
    /// Hex; with it and comm_d the data can be unsealed again.
    pub ticket: Option<String>,
    /// Hex.
    pub seed: Option<String>,
    /// Seconds of each stage, in the order of the pipeline when printed for people.
    pub seconds: BTreeMap<String, f64>,
    /// How often each stage was begun; more than once after a crash or a failure.
    pub starts: BTreeMap<String, u32>,
    pub proof_bytes: usize,
    /// Whether this process verified the proof just now.
    pub proof_verified: bool,
    /// Whether the sector is a rehearsal's: its proof was compared with the rehearsed one, and proves nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub rehearsal: bool,
    /// Why it is not verified.
    pub refusal: Option<String>,
    /// The persisted files.
    pub files: Vec<PathBuf>,
}

impl SectorReport {
    /// Reads `record` and verifies its proof. `None`: the record names no sector.
    pub(super) fn of(record: &Record, stores: &[PersistentStore]) -> Option<Self> {
        let sector = record.sector?;
        let paths = SectorPaths::new(sector.id.miner, sector.id.number);
        let verdict = verify(record);
        let store = record.persisted_in.as_ref().and_then(|name| stores.iter().find(|store| store.name == *name));
        let files = store.map(|store| {
            paths
                .persisted(sector.proof_type.sector_size())
                .into_iter()
                .map(|(path, _)| store.path.join(path))
                .collect()
        });
        Some(Self {
            name: paths.name().to_owned(),
            miner: sector.id.miner,
            number: sector.id.number,
            proof_type: sector.proof_type,
            comm_r: record.commitments().map(|(comm_r, _)| hex(&comm_r)),
            comm_d: record.commitments().map(|(_, comm_d)| hex(&comm_d)),
            ticket: record.ticket.map(|ticket| hex(&ticket.ticket.0)),
            seed: record.seed.map(|seed| hex(&seed.seed.0)),
            seconds: record.seconds.clone(),
            starts: record.starts.clone(),
            proof_bytes: record.proof.as_ref().map_or(0, |proof| proof.0.len()),
            proof_verified: verdict.is_ok(),
            rehearsal: rehearsal::verdict(record).is_some(),
            refusal: verdict.err(),
            files: files.unwrap_or_default(),
        })
    }
}

fn verify(record: &Record) -> Result<(), String> {
    if record.state == State::Aborted {
        return Err(format!("aborted: {}", record.abort_reason.as_deref().unwrap_or("no reason known")));
    }
    if let Some(verdict) = rehearsal::verdict(record) {
        return verdict;
    }
    let (Some(claim), Some(proof)) = (record.claim(), &record.proof) else { return Err("no proof".into()) };
    match proofs::verify_seal(&claim, &proof.0) {
        Ok(true) => Ok(()),
        Ok(false) => Err("the proof does not verify".into()),
        Err(error) => Err(error.to_string()),
    }
}
