//! A production target: so many bytes per hour, day, week or month (`1PiB/month`).

use super::{Bytes, ParseError};
use std::{fmt, str::FromStr};

/// The span a rate is counted over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Period {
    /// 3,600 s.
    Hour,
    /// 24 hours.
    Day,
    /// 7 days.
    Week,
    /// As many days as the caller counts productive: 30 unless the operator says otherwise.
    Month,
}

/// A size per period. `1PiB/month` means nothing until a month has a length, so hours take one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How much.
    pub bytes: Bytes,
    /// Per what.
    pub period: Period,
}

super::serde_as_string!(Rate);

impl Period {
    fn name(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }

    /// The period's length in hours, with a month of `days_per_month` days.
    pub fn hours(self, days_per_month: f64) -> f64 {
        match self {
            Self::Hour => 1.0,
            Self::Day => 24.0,
            Self::Week => 168.0,
            Self::Month => 24.0 * days_per_month,
        }
    }
}

impl Rate {
    /// Bytes per hour, with a month of `days_per_month` days.
    pub fn bytes_per_hour(self, days_per_month: f64) -> f64 {
        self.bytes.0 as f64 / self.period.hours(days_per_month)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.bytes, self.period.name())
    }
}

impl FromStr for Rate {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let refuse =
            || ParseError::new(text, "a rate", "a size per hour, day, week or month, such as 1PiB/month or 2TiB/day");
        let (size, period) = text.split_once('/').ok_or_else(refuse)?;
        let bytes: Bytes = size.parse().map_err(|_| refuse())?;
        let period = match period.trim().to_ascii_lowercase().as_str() {
            "hour" | "h" => Period::Hour,
            "day" | "d" => Period::Day,
            "week" | "w" => Period::Week,
            "month" | "mon" => Period::Month,
            _ => return Err(refuse()),
        };
        if bytes.0 == 0 {
            return Err(refuse());
        }
        Ok(Self { bytes, period })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pib_a_month_is_45_5_sectors_an_hour() {
        let rate: Rate = "1PiB/month".parse().unwrap();
        assert_eq!(rate.to_string(), "1PiB/month");
        let sectors = |days| rate.bytes_per_hour(days) / Bytes::gib(32).0 as f64;
        assert!((sectors(30.0) - 45.5111).abs() < 1e-4);
        assert!((sectors(21.0) - 65.0159).abs() < 1e-4);
    }

    #[test]
    fn what_is_not_a_rate_is_refused() {
        for text in ["1PiB", "1PiB/fortnight", "/day", "0/day", "x/day"] {
            let error = text.parse::<Rate>().unwrap_err().to_string();
            assert!(error.contains("is not a rate") && error.contains("1PiB/month"), "{error}");
        }
    }
}
