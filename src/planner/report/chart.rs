//! Output against target over the month: a line that must be reached, a line that is expected, and the band around it.

use super::words::{grouped, rate, step, time};
use crate::{
    planner::{
        artefacts::{Order, Played},
        fleet::Role,
    },
    units::Bytes,
};
use serde::Serialize;
use std::fmt::Write;

/// The drawing is so wide and so high; the page stretches it to what there is, and writes the labels beside it.
const SIDE: f64 = 1000.0;

/// The chart.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Chart {
    x: Vec<Tick>,
    y: Vec<Tick>,
    target: String,
    expected: String,
    band: String,
    /// Where the expected line ends, in percent from above.
    end: String,
    days: String,
    made: String,
    wanted: String,
    /// `102 %` of the target.
    part: String,
    is_enough: bool,
    /// Whether it would be, were the line full from the beginning.
    is_enough_when_full: bool,
    /// Whether anything was played through; else the lines are what was measured.
    is_played: bool,
    /// How many days were played through, where the rest goes on like them.
    played_days: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
struct Tick {
    /// In percent.
    at: String,
    /// In the drawing.
    y: String,
    label: String,
}

/// Sectors of all machines together that are done by the end of each day.
struct Course {
    days: f64,
    expected: Vec<f64>,
    /// Of a full line.
    a_day: f64,
    low: f64,
    high: f64,
}

pub(super) fn of(order: &Order, played: &[Option<Played>]) -> Chart {
    let course = course(order, played);
    let sector = order.target.sector_size.bytes().0 as f64;
    let wanted = order.needed * 24.0 * course.days;
    let made = course.expected.last().copied().unwrap_or(0.0);
    let high = made * course.high;
    let top_bytes = wanted.max(high).max(1.0) * sector * 1.05;
    let (unit, unit_bytes) = unit(top_bytes);
    let y_step = step(top_bytes / unit_bytes, 5.0);
    let x_step = step(course.days, 7.0).max(1.0);
    let x = |day: f64| SIDE * day / course.days;
    let y = |sectors: f64| SIDE * (1.0 - (sectors * sector / top_bytes).min(1.0));
    let points = |factor: f64| -> Vec<(f64, f64)> {
        let day = |i: usize| (i as f64).min(course.days);
        course.expected.iter().enumerate().map(|(i, made)| (x(day(i)), y(made * factor))).collect()
    };
    let mut band = points(course.high);
    band.extend(points(course.low).into_iter().rev());
    Chart {
        x: ticks(course.days, x_step, x, |day| format!("{day}")),
        y: ticks(top_bytes / unit_bytes, y_step, |n| y(n * unit_bytes / sector), |n| format!("{} {unit}", number(n))),
        target: path(&[(x(0.0), y(0.0)), (x(course.days), y(wanted))]),
        expected: path(&points(1.0)),
        band: path(&band),
        end: format!("{:.2}", y(made) / SIDE * 100.0),
        days: format!("{}", course.days),
        made: Bytes((made * sector) as u64).human(),
        wanted: Bytes((wanted * sector) as u64).human(),
        part: format!("{} %", rate(100.0 * made / wanted.max(1e-9))),
        is_enough: made >= wanted,
        is_enough_when_full: course.a_day * course.days >= wanted,
        is_played: played.iter().any(Option::is_some),
        played_days: shortest(played).filter(|days| *days < course.days).map(|days| time(days * 1440.0)),
    }
}

fn shortest(played: &[Option<Played>]) -> Option<f64> {
    played.iter().flatten().map(|played| played.forecast.days).min_by(f64::total_cmp)
}

fn course(order: &Order, played: &[Option<Played>]) -> Course {
    let days = order.target.days_per_month;
    let whole = days.ceil() as usize;
    let mut expected = vec![0.0; whole + 1];
    let (mut low, mut middle, mut high) = (0.0, 0.0, 0.0);
    for (one, played) in order.types.iter().zip(played) {
        let machines = f64::from(one.count());
        match played {
            Some(played) => {
                (0..=whole).for_each(|day| expected[day] += played.done_by((day as f64).min(days)) * machines);
                let range = played.forecast.sectors_per_day;
                low += range.low * machines;
                middle += range.expected * machines;
                high += range.high * machines;
            }
            None if one.role == Role::C2 => {}
            None => {
                let a_day = one.sectors_per_hour * 24.0 * machines;
                (0..=whole).for_each(|day| expected[day] += a_day * (day as f64).min(days));
                (low, middle, high) = (low + a_day, middle + a_day, high + a_day);
            }
        }
    }
    let factor = |part: f64| if middle > 0.0 { part / middle } else { 1.0 };
    Course { days, expected, a_day: middle, low: factor(low), high: factor(high) }
}

/// `1,000` and `0.2`.
fn number(number: f64) -> String {
    if number.fract() == 0.0 { grouped(number as i64) } else { number.to_string() }
}

fn unit(bytes: f64) -> (&'static str, f64) {
    let units = [("PiB", 50), ("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let fits =
        units.into_iter().map(|(name, shift)| (name, (1u64 << shift) as f64)).find(|(_, size)| bytes >= 2.0 * size);
    fits.unwrap_or(("B", 1.0))
}

fn ticks(most: f64, step: f64, at: impl Fn(f64) -> f64, label: impl Fn(f64) -> String) -> Vec<Tick> {
    let count = (most / step + 1e-9) as u32;
    let value = |i: u32| (f64::from(i) * step * 1e6).round() / 1e6;
    let tick = |value: f64| {
        let place = at(value);
        Tick { at: format!("{:.2}", place / SIDE * 100.0), y: format!("{place:.1}"), label: label(value) }
    };
    (0..=count).map(|i| tick(value(i))).collect()
}

fn path(points: &[(f64, f64)]) -> String {
    let mut text = String::new();
    for (i, (x, y)) in points.iter().enumerate() {
        let word = if i == 0 { "M" } else { "L" };
        write!(text, "{word}{x:.1} {y:.1}").expect("a String takes everything");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_numbers_and_no_more_than_fit() {
        let found = ticks(30.0, step(30.0, 7.0), |day| day, |day| format!("{day}"));
        assert_eq!(
            found.iter().map(|tick| tick.label.as_str()).collect::<Vec<_>>(),
            ["0", "5", "10", "15", "20", "25", "30"]
        );
        assert_eq!(unit(1.5 * (1u64 << 50) as f64).0, "TiB");
        assert_eq!(unit(10.0), ("B", 1.0));
        assert_eq!(path(&[(0.0, 1.0), (2.0, 3.04)]), "M0.0 1.0L2.0 3.0");
    }
}
