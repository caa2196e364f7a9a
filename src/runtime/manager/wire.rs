//! The manager's types as JSON: PascalCase objects, base64 byte strings, numbers for enums.
//!
//! Both managers and the sector's record use these. Fields that a peer adds are ignored.

use crate::units::{SealProof, seal_proof_as_number};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::collections::BTreeMap;

/// A sector: its miner and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SectorId {
    pub miner: u64,
    pub number: u64,
}

/// 32 random bytes. JSON: standard base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Randomness(pub [u8; 32]);

impl Serialize for Randomness {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(self.0))
    }
}

impl<'de> Deserialize<'de> for Randomness {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = decode(&String::deserialize(deserializer)?)?;
        let found = bytes.len();
        bytes.try_into().map(Self).map_err(|_| D::Error::custom(format!("randomness has 32 bytes, found {found}")))
    }
}

/// Bytes of any length. JSON: standard base64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct B64Bytes(pub Vec<u8>);

impl Serialize for B64Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for B64Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        decode(&String::deserialize(deserializer)?).map(Self)
    }
}

fn decode<E: Error>(text: &str) -> Result<Vec<u8>, E> {
    STANDARD.decode(text).map_err(|e| E::custom(format!("not base64: {e}")))
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AllocateSectorSpec {
    pub allowed_miners: Option<Vec<u64>>,
    #[serde(default, with = "proof_numbers")]
    pub allowed_proof_types: Option<Vec<SealProof>>,
}

mod proof_numbers {
    use super::*;

    pub fn serialize<S: Serializer>(proofs: &Option<Vec<SealProof>>, serializer: S) -> Result<S::Ok, S::Error> {
        proofs.as_ref().map(|proofs| proofs.iter().map(|p| p.number()).collect::<Vec<_>>()).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<SealProof>>, D::Error> {
        let numbers = Option::<Vec<i64>>::deserialize(deserializer)?;
        let proof = |n| {
            SealProof::from_number(n).ok_or_else(|| D::Error::custom(format!("{n} is not a registered seal proof")))
        };
        numbers.map(|numbers| numbers.into_iter().map(proof).collect()).transpose()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllocatedSector {
    #[serde(rename = "ID")]
    pub id: SectorId,
    #[serde(rename = "ProofType", with = "seal_proof_as_number")]
    pub proof_type: SealProof,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AcquireDealsSpec {
    pub max_deals: Option<usize>,
    pub min_used_space: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SectorPiece {
    pub piece: PieceInfoV2,
    pub deal_info: DealInfoV2,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PieceInfoV2 {
    #[serde(rename = "Size")]
    pub size: u64,
    #[serde(rename = "PieceCID")]
    pub piece_cid: CidJson,
}

/// A CID as JSON: `{"/": "baga…"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CidJson {
    #[serde(rename = "/")]
    pub cid: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DealInfoV2 {
    #[serde(rename = "DealID")]
    pub deal_id: u64,
    #[serde(rename = "AllocationID")]
    pub allocation_id: u64,
    #[serde(rename = "PayloadSize")]
    pub payload_size: u64,
    #[serde(rename = "IsBuiltinMarket")]
    pub is_builtin_market: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Ticket {
    pub ticket: Randomness,
    pub epoch: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Seed {
    pub seed: Randomness,
    pub epoch: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PreCommitOnChainInfo {
    pub comm_r: [u8; 32],
    pub comm_d: [u8; 32],
    pub ticket: Ticket,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ProofOnChainInfo {
    pub proof: B64Bytes,
}

/// An enum that is a number on the wire; an unknown number is an error.
macro_rules! numbered {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $number:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($variant = $number),+ }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_u64(*self as u64)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                match u64::deserialize(deserializer)? {
                    $($number => Ok(Self::$variant),)+
                    other => Err(D::Error::custom(format!(concat!("{} is no ", stringify!($name)), other))),
                }
            }
        }
    };
}

numbered! {
    /// What became of a submission.
    SubmitResult { Accepted = 1, DuplicateSubmit = 2, MismatchedSubmission = 3, Rejected = 4, FilesMissed = 5 }
}
numbered! {
    /// Where a message stands on the chain.
    OnChainState { Pending = 1, Packed = 2, Landed = 3, NotFound = 4, Failed = 5, PermFailed = 6, ShouldAbort = 7 }
}

/// The answer to SubmitPreCommit and SubmitProof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SubmitResp {
    pub res: SubmitResult,
    pub desc: Option<String>,
}

/// The answer to PollPreCommitState and PollProofState.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PollStateResp {
    pub state: OnChainState,
    pub desc: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StoreBasicInfo {
    pub name: String,
    pub path: String,
    pub meta: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct WaitSeedResp {
    pub should_wait: bool,
    /// Seconds.
    pub delay: u64,
    pub seed: Option<Seed>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ReportStateReq {
    pub worker: WorkerIdentifier,
    pub state_change: SectorStateChange,
    pub failure: Option<SectorFailure>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct WorkerIdentifier {
    pub instance: String,
    pub location: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SectorStateChange {
    pub prev: String,
    pub next: String,
    pub event: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SectorFailure {
    pub level: String,
    pub desc: String,
}

/// The answer to ReportState. Written with its id in both spellings: managers of the field write `Id` here and `ID`
/// everywhere else, workers read the one or the other, and both ignore what they do not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "SectorStateJson", try_from = "SectorStateJson")]
pub struct SectorState {
    pub id: SectorId,
    /// The sector has ended, one way or the other.
    pub finalized: bool,
    /// The field's managers write an empty text where there is none.
    pub abort_reason: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SectorStateJson {
    #[serde(rename = "ID")]
    id: Option<SectorId>,
    #[serde(rename = "Id")]
    also_id: Option<SectorId>,
    finalized: bool,
    abort_reason: Option<String>,
}

impl From<SectorState> for SectorStateJson {
    fn from(SectorState { id, finalized, abort_reason }: SectorState) -> Self {
        Self { id: Some(id), also_id: Some(id), finalized, abort_reason }
    }
}

impl TryFrom<SectorStateJson> for SectorState {
    type Error = &'static str;

    fn try_from(json: SectorStateJson) -> Result<Self, &'static str> {
        let id = json.id.or(json.also_id).ok_or("missing field `ID`")?;
        let abort_reason = json.abort_reason.filter(|reason| !reason.is_empty());
        Ok(Self { id, finalized: json.finalized, abort_reason })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct WorkerInfo {
    pub name: String,
    /// `ip:port` of the worker's RPC.
    pub dest: String,
    pub version: String,
    pub summary: WorkerInfoSummary,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct WorkerInfoSummary {
    pub threads: usize,
    pub empty: usize,
    pub paused: usize,
    pub running: usize,
    pub waiting: usize,
    pub errors: usize,
}
