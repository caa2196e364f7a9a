//! Whose code computes the stages that a GPU can do: how fast they are, and what they hold, depends on it.

use super::ParseError;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Which code computes the stages that a GPU can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Suite {
    /// bellperson and neptune.
    #[default]
    Stock,
    /// Supranational's.
    Supra,
}

impl Suite {
    /// Every suite, in the order of the help.
    pub const ALL: [Self; 2] = [Self::Stock, Self::Supra];

    /// The name in a profile and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stock => "stock",
            Self::Supra => "supra",
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Suite {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let known = Self::ALL.into_iter().find(|suite| suite.name() == text);
        known.ok_or_else(|| ParseError::new(text, "a suite of proofs code", "stock or supra"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suite_parses_back_and_a_stranger_is_refused() {
        for suite in Suite::ALL {
            assert_eq!(suite.to_string().parse::<Suite>().unwrap(), suite);
        }
        assert!("cuda".parse::<Suite>().unwrap_err().to_string().contains("stock or supra"));
    }
}
