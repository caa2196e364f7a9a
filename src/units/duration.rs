//! A span of time as operators write it: `30s`, `5min`, `1h 30m`.

use super::ParseError;
use std::{fmt, str::FromStr, time::Duration};

/// A duration that parses and prints in human form (`30s`, `5m`, `1h 30m`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HumanDuration(pub Duration);

super::serde_as_string!(HumanDuration);

impl HumanDuration {
    /// `n` whole seconds.
    pub const fn secs(n: u64) -> Self {
        Self(Duration::from_secs(n))
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Whole seconds below an hour stay seconds: `180s`, as the field's documents write it.
        if self.0.subsec_nanos() == 0 && self.0.as_secs() < 3600 {
            return write!(f, "{}s", self.0.as_secs());
        }
        humantime::format_duration(self.0).fmt(f)
    }
}

impl FromStr for HumanDuration {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        humantime::parse_duration(text.trim())
            .map(Self)
            .map_err(|_| ParseError::new(text, "a duration", "a number with a unit, such as 30s, 5min or 1h 30m"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_of_the_field_parse() {
        for (text, secs) in [("30s", 30), ("180s", 180), ("5min", 300), ("2m", 120), ("1h 30m", 5400), ("1 hour", 3600)]
        {
            assert_eq!(text.parse::<HumanDuration>().unwrap(), HumanDuration::secs(secs), "{text}");
        }
        assert_eq!(HumanDuration::secs(180).to_string(), "180s");
    }

    #[test]
    fn a_number_without_a_unit_is_refused() {
        for text in ["30", "", "s", "-3s", "5 parsecs"] {
            let error = text.parse::<HumanDuration>().unwrap_err().to_string();
            assert!(error.contains("is not a duration") && error.contains("5min"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn printed_durations_parse_back(secs in 0u64..10_000_000_000, nanos in 0u32..1_000_000_000) {
            let duration = HumanDuration(Duration::new(secs, nanos));
            prop_assert_eq!(duration.to_string().parse::<HumanDuration>().unwrap(), duration);
        }
    }
}
