//! What is to be produced, in sectors an hour.

use super::PlanError;
use crate::units::{Rate, SectorSize};

/// What is to be produced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    pub rate: Rate,
    pub sector_size: SectorSize,
    /// Productive days in a month, for rates per month.
    pub days_per_month: f64,
}

impl Target {
    /// The target in sectors an hour.
    ///
    /// # Errors
    /// A month of a length that no month has.
    pub fn sectors_per_hour(&self) -> Result<f64, PlanError> {
        let days = self.days_per_month;
        if !(days > 0.0 && days <= 31.0) {
            return Err(PlanError::Month(days));
        }
        Ok(self.rate.bytes_per_hour(days) / self.sector_size.bytes().0 as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Targets of the field: rate, days, sector size, sectors an hour, GiB an hour, TiB a day.
    #[test]
    fn targets_become_sectors_an_hour() {
        for (rate, days, size, sectors, gib, tib) in [
            ("1PiB/month", 30.0, "32GiB", 45.5111, 1456.36, 34.133),
            ("1PiB/month", 21.0, "32GiB", 65.0159, 2080.51, 48.762),
            ("1PiB/month", 30.0, "64GiB", 22.7556, 1456.36, 34.133),
            ("1PiB/month", 21.0, "64GiB", 32.5079, 2080.51, 48.762),
            ("1PB/month", 30.0, "32GiB", 40.4220, 1293.50, 30.316),
            ("1PB/month", 21.0, "32GiB", 57.7457, 1847.86, 43.309),
        ] {
            let target =
                Target { rate: rate.parse().unwrap(), sector_size: size.parse().unwrap(), days_per_month: days };
            let found = target.sectors_per_hour().unwrap();
            let found_gib = found * target.sector_size.bytes().0 as f64 / (1u64 << 30) as f64;
            assert!((found - sectors).abs() < 1e-4, "{rate} {days} {size}: {found}");
            assert!((found_gib - gib).abs() < 0.01, "{rate} {days} {size}: {found_gib}");
            assert!((found_gib * 24.0 / 1024.0 - tib).abs() < 1e-3, "{rate} {days} {size}");
        }
    }
}
