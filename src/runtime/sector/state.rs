//! The states of the sealer pipeline, with the names that operators and managers know.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// What has been done for a sector so far. `PersistanceSubmitted` is the field's spelling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum State {
    /// No sector.
    #[default]
    Empty,
    Allocated,
    DealsAcquired,
    PieceAdded,
    TreeDBuilt,
    TicketAssigned,
    PC1Done,
    PC2Done,
    PCSubmitted,
    PCLanded,
    Persisted,
    PersistanceSubmitted,
    SeedAssigned,
    C1Done,
    C2Done,
    ProofSubmitted,
    Finished,
    Aborted,
}

impl State {
    /// Every state, in the order of a sector's life.
    pub const ALL: [Self; 18] = [
        Self::Empty,
        Self::Allocated,
        Self::DealsAcquired,
        Self::PieceAdded,
        Self::TreeDBuilt,
        Self::TicketAssigned,
        Self::PC1Done,
        Self::PC2Done,
        Self::PCSubmitted,
        Self::PCLanded,
        Self::Persisted,
        Self::PersistanceSubmitted,
        Self::SeedAssigned,
        Self::C1Done,
        Self::C2Done,
        Self::ProofSubmitted,
        Self::Finished,
        Self::Aborted,
    ];
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The variants' names are the wire's names.
        fmt::Debug::fmt(self, f)
    }
}

impl FromStr for State {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|state| state.to_string() == text).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(ToString::to_string).collect();
            format!("{text:?} is not a sector state: one of {}", names.join(", "))
        })
    }
}
