//! The time that a line of a log begins with, or has somewhere: `2020-07-19 02:35:20`, `2026-11-28T08:42:38.123456Z`,
//! `2022-07-24T14:29:16.206698598+08:00`.

/// Seconds since 1970, in the log's own zone where it tells none; and the date. None where the line has no time.
pub fn stamp(line: &str) -> Option<(f64, &str)> {
    let bytes = line.as_bytes();
    let last = bytes.len().checked_sub(19)?;
    (0..=last).find_map(|at| read_at(line, at))
}

fn read_at(line: &str, at: usize) -> Option<(f64, &str)> {
    let bytes = &line.as_bytes()[at..];
    let shape = b"0000-00-00 00:00:00";
    let fits = shape.iter().zip(bytes).all(|(wanted, found)| match wanted {
        b'0' => found.is_ascii_digit(),
        b' ' => matches!(found, b' ' | b'T'),
        other => other == found,
    });
    // A longer number is none of ours.
    let is_inside = at > 0 && line.as_bytes()[at - 1].is_ascii_digit();
    if !fits || is_inside {
        return None;
    }
    let number = |from: usize, to: usize| -> u64 {
        bytes[from..to].iter().fold(0, |all, digit| all * 10 + u64::from(digit - b'0'))
    };
    let (year, month, day) = (number(0, 4), number(5, 7), number(8, 10));
    let (hour, minute, second) = (number(11, 13), number(14, 16), number(17, 19));
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let whole = days(year as i64, month as i64, day as i64) * 86_400 + (hour * 3600 + minute * 60 + second) as i64;
    let (fraction, rest) = fraction(&bytes[19..]);
    Some((whole as f64 + fraction - zone(rest), &line[at..at + 10]))
}

/// `.123`, and what follows.
fn fraction(bytes: &[u8]) -> (f64, &[u8]) {
    let Some(digits) = bytes.strip_prefix(b".") else { return (0.0, bytes) };
    let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let value = digits[..count].iter().rev().fold(0.0, |all, digit| (all + f64::from(digit - b'0')) / 10.0);
    (value, &digits[count..])
}

/// `+08:00`, `-0500` in seconds; anything else is no zone.
fn zone(bytes: &[u8]) -> f64 {
    let sign = match bytes.first() {
        Some(b'+') => 1.0,
        Some(b'-') => -1.0,
        _ => return 0.0,
    };
    let digits: Vec<u8> = bytes[1..].iter().copied().filter(|byte| *byte != b':').take(4).collect();
    if digits.len() < 4 || !digits.iter().all(u8::is_ascii_digit) {
        return 0.0;
    }
    let two = |at: usize| f64::from(digits[at] - b'0') * 10.0 + f64::from(digits[at + 1] - b'0');
    sign * (two(0) * 3600.0 + two(2) * 60.0)
}

/// Days since 1970 of a date of the Gregorian calendar (Howard Hinnant's algorithm for days from a civil date).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_of_all_logs_are_read() {
        let of = |line| stamp(line).map(|(seconds, date)| (seconds, date.to_owned()));
        let benchy =
            "a.log:12:thread_id: ThreadId(1) 2020-07-19 02:35:20 INFO [filecoin_proofs::api::seal_pledge] x: start";
        assert_eq!(of(benchy), Some((1_595_126_120.0, "2020-07-19".into())));
        assert_eq!(of("2026-11-28T08:42:38.250Z  INFO started"), Some((1_795_855_358.25, "2026-11-28".into())));
        let zoned = of("2022-07-24T14:29:16.5+08:00 DEBUG").unwrap().0;
        assert_eq!(zoned, of("2022-07-24T06:29:16.5Z").unwrap().0);
        assert_eq!(of("1970-01-01 00:00:00"), Some((0.0, "1970-01-01".into())));
        for none in ["", "2020-07-19", "12020-07-19 02:35:20", "2020-13-19 02:35:20", "2020-07-19 25:35:20", "no time"]
        {
            assert_eq!(of(none), None, "{none}");
        }
        assert!(of("ä 2020-07-19 02:35:20 ü").is_some());
    }

    proptest! {
        #[test]
        fn a_later_time_has_more_seconds(a in 0u32..4_000_000_000, b in 0u32..4_000_000_000) {
            let text = |seconds: u32| {
                let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds.into());
                humantime::format_rfc3339_seconds(time).to_string()
            };
            let (line_a, line_b) = (text(a), text(b));
            prop_assert_eq!(stamp(&line_a).unwrap().0, f64::from(a));
            prop_assert_eq!(stamp(&line_b).unwrap().0, f64::from(b));
        }

        #[test]
        fn no_text_is_too_strange(text in "\\PC*") {
            stamp(&text);
        }
    }
}
