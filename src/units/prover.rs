//! Whose proofs library does the work: how it binds PC1 threads, and how fast it is, depend on it.

use super::ParseError;
use std::{fmt, str::FromStr};

/// Whose binding of PC1 threads to cores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Prover {
    /// rust-fil-proofs since its pull request 1633.
    #[default]
    Stock,
    /// The fork of rust-fil-proofs that damocles-worker links.
    StockDamocles,
    /// This project's runtime.
    Own,
}

super::serde_as_string!(Prover);

impl Prover {
    /// Every prover, in the order of the help.
    pub const ALL: [Self; 3] = [Self::Stock, Self::StockDamocles, Self::Own];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stock => "stock",
            Self::StockDamocles => "stock-damocles",
            Self::Own => "own",
        }
    }

    /// The producers of a task where nobody says otherwise: the default of `FIL_PROOFS_MULTICORE_SDR_PRODUCERS`
    /// for the stock ones; ours hashes a sector with one core.
    pub const fn default_producers(self) -> usize {
        match self {
            Self::Stock | Self::StockDamocles => 3,
            Self::Own => 0,
        }
    }

    /// With fewer a task never ends: the stock library's hashing thread waits for nodes that nobody prepares.
    pub const fn least_producers(self) -> usize {
        match self {
            Self::Stock | Self::StockDamocles => 1,
            Self::Own => 0,
        }
    }
}

impl fmt::Display for Prover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Prover {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let names = || Self::ALL.map(Self::name).join(", ");
        Self::ALL
            .into_iter()
            .find(|prover| prover.name() == text)
            .ok_or_else(|| ParseError::new(text, "a prover", names()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prover_parses_back_and_a_stranger_is_refused() {
        for prover in Prover::ALL {
            assert_eq!(prover.to_string().parse::<Prover>().unwrap(), prover);
        }
        assert!("damocles".parse::<Prover>().unwrap_err().to_string().contains("stock-damocles"));
    }
}
