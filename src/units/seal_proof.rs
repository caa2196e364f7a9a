//! The registered seal proofs: a number on the manager's wire, a name on the processors'.

use super::{ParseError, SectorSize};
use std::{fmt, str::FromStr};

/// A registered seal proof type. Prints and parses the proofs library's name
/// (`StackedDrg2KiBV1_1`); `number` is what chain and manager call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SealProof {
    version: Version,
    size: SectorSize,
}

super::serde_as_string!(SealProof);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Version {
    V1,
    V1_1,
    V1_1Synthetic,
    V1_2NonInteractive,
}

const VERSIONS: [(Version, &str); 4] = [
    (Version::V1, "V1"),
    (Version::V1_1, "V1_1"),
    (Version::V1_1Synthetic, "V1_1_Feat_SyntheticPoRep"),
    (Version::V1_2NonInteractive, "V1_2_Feat_NonInteractivePoRep"),
];

impl SealProof {
    /// The proof that new sectors of this size use today: interactive PoRep, version 1.1.
    pub const fn v1_1(size: SectorSize) -> Self {
        Self { version: Version::V1_1, size }
    }

    /// All twenty, in the order of their numbers.
    pub fn all() -> impl Iterator<Item = Self> {
        VERSIONS.into_iter().flat_map(|(version, _)| SectorSize::ALL.map(|size| Self { version, size }))
    }

    /// The proof's number on the chain and on the manager's wire, 0 to 19.
    pub fn number(self) -> i64 {
        Self::all().position(|proof| proof == self).expect("all() lists every proof") as i64
    }

    /// The proof with this number.
    pub fn from_number(number: i64) -> Option<Self> {
        Self::all().nth(usize::try_from(number).ok()?)
    }

    /// The size of the sectors it proves.
    pub fn sector_size(self) -> SectorSize {
        self.size
    }

    /// Whether it is one of the synthetic PoRep types.
    pub fn is_synthetic(self) -> bool {
        self.version == Version::V1_1Synthetic
    }

    /// Whether it is one of the non-interactive PoRep types.
    pub fn is_non_interactive(self) -> bool {
        self.version == Version::V1_2NonInteractive
    }
}

impl fmt::Display for SealProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = VERSIONS[self.version as usize].1;
        write!(f, "StackedDrg{}{version}", self.size)
    }
}

impl FromStr for SealProof {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::all().find(|proof| proof.to_string() == text).ok_or_else(|| {
            ParseError::new(
                text,
                "a seal proof type",
                "a registered name such as StackedDrg2KiBV1_1 or StackedDrg32GiBV1_1",
            )
        })
    }
}

/// For `#[serde(with = …)]`: the proof as its number, the manager's form.
pub mod as_number {
    use super::SealProof;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes the number.
    pub fn serialize<S: Serializer>(proof: &SealProof, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(proof.number())
    }

    /// Reads the number; one that is not registered is an error.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SealProof, D::Error> {
        let number = i64::deserialize(deserializer)?;
        SealProof::from_number(number)
            .ok_or_else(|| D::Error::custom(format!("{number} is not a registered seal proof (0 to 19)")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_the_networks() {
        for (number, name) in [
            (0, "StackedDrg2KiBV1"),
            (5, "StackedDrg2KiBV1_1"),
            (8, "StackedDrg32GiBV1_1"),
            (10, "StackedDrg2KiBV1_1_Feat_SyntheticPoRep"),
            (19, "StackedDrg64GiBV1_2_Feat_NonInteractivePoRep"),
        ] {
            let proof = SealProof::from_number(number).unwrap();
            assert_eq!(proof.to_string(), name);
            assert_eq!(name.parse::<SealProof>().unwrap().number(), number);
        }
        assert_eq!(SealProof::from_number(20), None);
        assert_eq!(SealProof::from_number(-1), None);
    }
}
