//! The five sector sizes of the network and the figures that follow from a size alone.

use super::{Bytes, ParseError};
use std::{fmt, str::FromStr};

/// A sector size that has a registered proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SectorSize {
    /// 2 KiB: tests; the whole way takes seconds.
    KiB2,
    /// 8 MiB: tests.
    MiB8,
    /// 512 MiB: development networks.
    MiB512,
    /// 32 GiB: the main network.
    GiB32,
    /// 64 GiB: the main network.
    GiB64,
}

super::serde_as_string!(SectorSize);

impl SectorSize {
    /// Every size, ascending.
    pub const ALL: [Self; 5] = [Self::KiB2, Self::MiB8, Self::MiB512, Self::GiB32, Self::GiB64];

    /// The sector's length; its replica and each SDR layer have the same.
    pub const fn bytes(self) -> Bytes {
        match self {
            Self::KiB2 => Bytes::kib(2),
            Self::MiB8 => Bytes::mib(8),
            Self::MiB512 => Bytes::mib(512),
            Self::GiB32 => Bytes::gib(32),
            Self::GiB64 => Bytes::gib(64),
        }
    }

    /// SDR layers: 11 on the main network, 2 below.
    pub const fn layers(self) -> u32 {
        match self {
            Self::KiB2 | Self::MiB8 | Self::MiB512 => 2,
            Self::GiB32 | Self::GiB64 => 11,
        }
    }

    /// The length of tree-d: a leaf of 32 bytes for each node of the sector, and every row above.
    pub const fn tree_d_bytes(self) -> u64 {
        2 * self.bytes().0 - 32
    }

    /// The size with this length, if there is one.
    pub fn from_bytes(bytes: Bytes) -> Option<Self> {
        Self::ALL.into_iter().find(|size| size.bytes() == bytes)
    }
}

impl fmt::Display for SectorSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes().fmt(f)
    }
}

impl FromStr for SectorSize {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        text.parse()
            .ok()
            .and_then(Self::from_bytes)
            .ok_or_else(|| ParseError::new(text, "a sector size", "2KiB, 8MiB, 512MiB, 32GiB or 64GiB"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_parses_back() {
        for size in SectorSize::ALL {
            assert_eq!(size.to_string().parse::<SectorSize>().unwrap(), size);
        }
        assert_eq!(SectorSize::KiB2.tree_d_bytes(), (64 + 32 + 16 + 8 + 4 + 2 + 1) * 32);
        assert!("16GiB".parse::<SectorSize>().unwrap_err().to_string().contains("64GiB"));
    }
}
