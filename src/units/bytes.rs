//! A number of bytes: `32GiB`, `512 MiB`, `1PB`, `2048`.

use super::ParseError;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A number of bytes. Prints the largest binary unit that divides it exactly (`32GiB`, `1500KiB`, `7B`);
/// serialised as a plain number, because contracts between programs carry bytes, not prose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(pub u64);

const BINARY: [(&str, u32); 6] = [("EiB", 60), ("PiB", 50), ("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];

impl Bytes {
    /// `n` kibibytes.
    pub const fn kib(n: u64) -> Self {
        Self(n << 10)
    }
    /// `n` mebibytes.
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }
    /// `n` gibibytes.
    pub const fn gib(n: u64) -> Self {
        Self(n << 30)
    }
    /// `n` tebibytes.
    pub const fn tib(n: u64) -> Self {
        Self(n << 40)
    }

    /// For people: two decimals at most in the unit that fits (`251.57 GiB`, `16 MiB`).
    pub fn human(self) -> String {
        let Some((unit, shift)) = BINARY.iter().find(|(_, shift)| self.0 >> shift > 0) else {
            return format!("{} B", self.0);
        };
        let text = format!("{:.2}", self.0 as f64 / (1u64 << shift) as f64);
        format!("{} {unit}", text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match BINARY.iter().find(|(_, shift)| self.0 != 0 && self.0.is_multiple_of(1 << shift)) {
            Some((unit, shift)) => f.pad(&format!("{}{unit}", self.0 >> shift)),
            None => f.pad(&format!("{}B", self.0)),
        }
    }
}

impl FromStr for Bytes {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let refuse = || ParseError::new(text, "a size", "a number with a unit, such as 32GiB, 512MiB, 1.5TiB or 2048");
        // bytesize goes through f64, which loses bytes beyond 2^53: whole numbers are multiplied exactly here.
        let trimmed = text.trim();
        let split = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
        let (digits, unit) = trimmed.split_at(split);
        if !digits.is_empty() && !unit.starts_with('.') {
            let count: u64 = digits.parse().map_err(|_| refuse())?;
            let factor = match unit.trim() {
                "" => 1,
                unit => unit.parse::<bytesize::Unit>().map_err(|_| refuse())? * 1u64,
            };
            return count.checked_mul(factor).map(Self).ok_or_else(refuse);
        }
        if !trimmed.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(refuse());
        }
        let size: bytesize::ByteSize = trimmed.parse().map_err(|_| refuse())?;
        Ok(Self(size.as_u64()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_of_the_field_parse() {
        for (text, bytes) in [
            ("2KiB", 2048),
            ("32GiB", 32 << 30),
            ("32 GiB", 32 << 30),
            ("32gib", 32 << 30),
            ("1PiB", 1 << 50),
            ("1PB", 1_000_000_000_000_000),
            ("1.5TiB", 3 << 39),
            ("2048", 2048),
            ("0", 0),
        ] {
            assert_eq!(text.parse::<Bytes>().unwrap(), Bytes(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_size_is_refused_with_what_is_accepted() {
        for text in ["", "GiB", "-1GiB", "1XB", "99999999999999999999", "17EiB99", "1e400GiB", "nan"] {
            let error = text.parse::<Bytes>().unwrap_err().to_string();
            assert!(error.contains("is not a size") && error.contains("32GiB"), "{error}");
        }
    }

    #[test]
    fn people_see_two_decimals() {
        assert_eq!(Bytes(270_119_186_432).human(), "251.57 GiB");
        assert_eq!(Bytes::mib(16).human(), "16 MiB");
        assert_eq!(Bytes(12).human(), "12 B");
    }

    proptest! {
        #[test]
        fn printed_sizes_parse_back(bytes: u64) {
            let size = Bytes(bytes);
            prop_assert_eq!(size.to_string().parse::<Bytes>().unwrap(), size);
        }
    }
}
