//! Figures as people say them.

/// `1 machine`, `3 machines`.
pub(super) fn count(number: u32, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// A number of sectors: as many digits as say something.
pub(super) fn rate(number: f64) -> String {
    match number.abs() {
        n if n >= 100.0 => grouped(number.round() as i64),
        n if n >= 10.0 => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

/// `12,345`.
pub(super) fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if number < 0 { format!("-{text}") } else { text }
}

/// Minutes.
pub(super) fn time(minutes: f64) -> String {
    match minutes {
        m if m <= 0.0 => "0".to_owned(),
        m if m < 1.0 => format!("{:.1} s", m * 60.0),
        m if m < 120.0 => format!("{m:.1} min"),
        m if m < 48.0 * 60.0 => format!("{:.1} h", m / 60.0),
        m => format!("{:.1} d", m / 1440.0),
    }
}

/// A part of one.
pub(super) fn share(part: f64) -> String {
    format!("{:.0} %", part * 100.0)
}

/// The class that colours a stage.
pub(super) fn class(stage: &str) -> &'static str {
    match stage {
        "add_pieces" => "addpieces",
        "tree_d" => "treed",
        "pc1" => "pc1",
        "pc2" => "pc2",
        "transfer" => "transfer",
        "c1" => "c1",
        "c2" => "c2",
        _ => "shared",
    }
}

/// A round step that cuts `span` into at most `most` pieces.
pub(super) fn step(span: f64, most: f64) -> f64 {
    let raw = (span / most).max(1e-9);
    let power = 10f64.powf(raw.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    let fits = steps.into_iter().map(|factor| factor * power).find(|step| *step >= raw * (1.0 - 1e-9));
    fits.unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_and_say_what_matters() {
        assert_eq!([rate(0.5), rate(12.34), rate(1092.4)], ["0.50", "12.3", "1,092"]);
        assert_eq!([grouped(0), grouped(-1_234_567)], ["0", "-1,234,567"]);
        assert_eq!(
            [time(0.0), time(0.5), time(90.0), time(180.0), time(4320.0)],
            ["0", "30.0 s", "90.0 min", "3.0 h", "3.0 d"]
        );
        assert_eq!([step(30.0, 6.0), step(1.0, 5.0), step(7.3, 5.0)], [5.0, 0.2, 2.0]);
    }
}
