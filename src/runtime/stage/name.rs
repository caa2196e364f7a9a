//! The stages that executors do, by name.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A stage of work on a sector. Prints the name that is on the wire, in the configuration and in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    AddPieces,
    TreeD,
    Pc1,
    /// Inside the daemon only: undo an interrupted pc2.
    RestoreReplica,
    Pc2,
    Transfer,
    /// Inside the daemon only.
    C1,
    C2,
}

impl Stage {
    /// Every stage, in the order of a sector's life.
    pub const ALL: [Self; 8] =
        [Self::AddPieces, Self::TreeD, Self::Pc1, Self::RestoreReplica, Self::Pc2, Self::Transfer, Self::C1, Self::C2];

    /// The stages that an external processor may do.
    pub const EXTERNAL: [Self; 6] = [Self::AddPieces, Self::TreeD, Self::Pc1, Self::Pc2, Self::C2, Self::Transfer];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AddPieces => "add_pieces",
            Self::TreeD => "tree_d",
            Self::Pc1 => "pc1",
            Self::RestoreReplica => "restore_replica",
            Self::Pc2 => "pc2",
            Self::Transfer => "transfer",
            Self::C1 => "c1",
            Self::C2 => "c2",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Stage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let list = || Self::ALL.map(Self::name).join(", ");
        Self::ALL
            .into_iter()
            .find(|stage| stage.name() == text)
            .ok_or_else(|| format!("{text:?} is not a stage; accepted: {}", list()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_has_one_name_everywhere() {
        for stage in Stage::ALL {
            assert_eq!(stage.name().parse(), Ok(stage));
            assert_eq!(serde_json::to_string(&stage).unwrap(), format!("{:?}", stage.name()));
        }
        assert!("pc9".parse::<Stage>().unwrap_err().contains("restore_replica"));
    }
}
