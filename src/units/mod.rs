//! The nouns every room shares: sizes, cpu lists, node ids, durations, rates, sector sizes, proof types, piece CIDs, provers, suites.
//!
//! Each parses from what an operator types, prints in one canonical form, and that form parses back to
//! the same value. Nothing here knows a file, a clock or another room.

mod bytes;
mod cpu_list;
mod duration;
mod piece_cid;
mod prover;
mod rate;
mod seal_proof;
mod sector_size;
mod suite;

pub use bytes::Bytes;
pub use cpu_list::CpuList;
pub use duration::HumanDuration;
pub use piece_cid::PieceCid;
pub use prover::Prover;
pub use rate::{Period, Rate};
pub use seal_proof::{SealProof, as_number as seal_proof_as_number};
pub use sector_size::SectorSize;
pub use suite::Suite;

use serde::{Deserialize, Serialize};
use std::fmt;

/// A NUMA node by its OS index, as in `/sys/devices/system/node/nodeN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub u32);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Bytes in lower-case hexadecimal, as digests and commitments are written.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A text that is not the value it should be: what was found and what is accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not {what}: {accepted}")]
pub struct ParseError {
    /// The text as it was given.
    pub found: String,
    /// The kind of value that was expected, with its article ("a size").
    pub what: &'static str,
    /// What would be accepted, in words and examples.
    pub accepted: String,
}

impl ParseError {
    pub(crate) fn new(found: &str, what: &'static str, accepted: impl Into<String>) -> Self {
        Self { found: found.to_owned(), what, accepted: accepted.into() }
    }
}

/// Serialises a unit as the string it prints, and reads it back with `FromStr`.
macro_rules! serde_as_string {
    ($type:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use serde_as_string;

#[cfg(test)]
mod tests {
    #[test]
    fn bytes_in_hexadecimal_have_two_digits_each() {
        assert_eq!(super::hex(&[0, 0x0a, 0xff]), "000aff");
    }
}
