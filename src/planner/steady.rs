//! Little's law: how much is under way at once when so many sectors an hour pass, each taking so long.

/// Things under way at once.
pub fn in_flight(per_hour: f64, minutes: f64) -> f64 {
    per_hour * minutes / 60.0
}

/// The whole number of places that so much takes, at least one.
pub fn places(per_hour: f64, minutes: f64) -> u32 {
    // A hair less than a whole number more is rounding; `as` saturates, so a rate beyond every machine stays beyond it.
    ((in_flight(per_hour, minutes) - 1e-9).ceil() as u32).max(1)
}

/// Sectors an hour of so many places.
pub fn per_hour(places: u32, minutes: f64) -> f64 {
    f64::from(places) * 60.0 / minutes
}

/// Machines that make `needed` when one makes `each`; none where no number does.
pub fn machines(needed: f64, each: f64) -> Option<u32> {
    let count = (needed / each - 1e-9).ceil().max(1.0);
    (each > 0.0 && count <= f64::from(u32::MAX)).then_some(count as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1 PiB in 30 and in 21 days, 32 GiB sectors.
    const LAMBDA: [f64; 2] = [32_768.0 / 720.0, 32_768.0 / 504.0];

    #[test]
    fn what_is_under_way_follows_from_rate_and_duration() {
        for (minutes, expected) in [
            (3.0, [2.28, 3.25]),
            (1.0, [0.76, 1.08]),
            (123.0, [93.30, 133.28]),
            (150.0, [113.78, 162.54]),
            (177.0, [134.26, 191.80]),
            (190.0, [144.12, 205.88]),
            (240.0, [182.04, 260.06]),
            (320.0, [242.73, 346.75]),
            (10.0, [7.59, 10.84]),
            (12.0, [9.10, 13.00]),
            (13.0, [9.86, 14.09]),
            (2.5, [1.90, 2.71]),
            (5.0, [3.79, 5.42]),
            (120.0, [91.02, 130.03]),
            (128.75, [97.66, 139.51]),
            (75.0, [56.89, 81.27]),
            (80.0, [60.68, 86.69]),
            (15.0, [11.38, 16.25]),
            (16.0, [12.14, 17.34]),
            (77.0, [58.41, 83.44]),
        ] {
            for (lambda, expected) in LAMBDA.into_iter().zip(expected) {
                let found = in_flight(lambda, minutes);
                assert!((found - expected).abs() < 0.0051, "{minutes} min at {lambda}: {found}, not {expected}");
            }
        }
    }

    #[test]
    fn machines_are_counted_up() {
        // A procurement of 2020: 4 PC1 in 150 min a machine, 3 C2 in 77 min a machine.
        let (pc1, c2) = (per_hour(4, 150.0), per_hour(3, 77.0));
        assert!((pc1 - 1.6).abs() < 1e-9 && (c2 - 2.338).abs() < 1e-3);
        assert_eq!(LAMBDA.map(|lambda| machines(lambda, pc1).unwrap()), [29, 41]);
        assert_eq!(LAMBDA.map(|lambda| machines(lambda, c2).unwrap()), [20, 28]);
        assert_eq!((machines(1.0, 0.0), machines(0.0, 1.0), machines(10.0, 5.0)), (None, Some(1), Some(2)));
    }
}
