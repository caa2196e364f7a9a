//! From runs to a forecast: the expected output and its band, where sectors wait, the bottleneck, what one more would bring.

use super::{
    bounds::{Bound, bounds, cycle_ms, station_name},
    chance::Chance,
    engine::{Tally, run},
    line::{Line, MINUTE, Question, SimulationError, sector_size},
};
use crate::units::{Bytes, SectorSize};
use serde::Serialize;

const DAY: f64 = 24.0 * 60.0 * MINUTE;

/// Runs behind the band.
const RUNS: u64 = 40;

/// Of the settled days in each of them.
const BAND_DAYS: f64 = 5.0;

/// Settled days in which one more of something is tried.
const OUTLOOK_DAYS: f64 = 10.0;

/// A gain below this is none.
const GAIN_MIN: f64 = 0.005;

/// What to expect.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Forecast {
    pub days: f64,
    pub seed: u64,
    pub sector_size: SectorSize,
    /// Once the line has filled.
    pub sectors_per_day: Range,
    pub bytes_per_day: Bytes,
    /// In all the days, the filling included.
    pub sectors_in_days: u64,
    /// When the first sector is done.
    pub first_minutes: Option<f64>,
    /// What filling the line costs: so much later everything is done than if it had begun full.
    pub ramp_up_minutes: f64,
    /// From the first byte to the landed proof, queues included.
    pub minutes_per_sector: f64,
    pub bottleneck: String,
    pub stages: Vec<StageUse>,
    pub locks: Vec<Lock>,
    /// GPUs, and the cores that stages without a cpuset share.
    pub shared: Vec<Lock>,
    /// The tightest first.
    pub bounds: Vec<Bound>,
    /// The most rewarding first; without what brings nothing.
    pub one_more: Vec<OneMore>,
    /// Sectors done on each day.
    pub by_day: Vec<u32>,
    pub notes: Vec<String>,
}

/// 5 %, expected, 95 %.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Range {
    pub low: f64,
    pub expected: f64,
    pub high: f64,
}

/// A stage while the line is full.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StageUse {
    pub stage: &'static str,
    /// How long a task takes, without queueing.
    pub task_minutes: f64,
    /// The most at once, and how many it is on average.
    pub at_once_max: u32,
    pub at_once: f64,
    /// Their quotient.
    pub busy: f64,
    /// How long a sector waits for it.
    pub wait_minutes: f64,
    /// How many wait on average.
    pub queue: f64,
}

/// Something that is shared, and how much of it is in use.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Lock {
    pub name: String,
    pub busy: f64,
}

/// What one more of something would bring.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OneMore {
    pub what: String,
    pub sectors_per_day: f64,
    pub gain: f64,
}

/// Plays a configuration through `days` days.
///
/// # Errors
/// The days make no sense, the profile lacks a stage, or a processor would not start.
pub fn forecast(question: &Question, days: f64, seed: u64) -> Result<Forecast, SimulationError> {
    if !(days > 0.0 && days <= 3650.0) {
        return Err(SimulationError::Days { days });
    }
    let line = Line::of(question)?;
    Ok(of_line(&line, sector_size(question.config).0, days, seed))
}

/// Sectors a day that are expected once the line has filled: the forecast's figure without all around it.
///
/// # Errors
/// As `forecast`.
pub fn expected_per_day(question: &Question, days: f64, seed: u64) -> Result<f64, SimulationError> {
    let line = Line::of(question)?;
    let settled_ms = settled_ms(&line, &bounds(&line)).min(days * DAY / 2.0);
    Ok(rate(&run(&line, days * DAY, settled_ms, Some(Chance::new(seed, 0).expected()))) * DAY)
}

fn of_line(line: &Line, sector_size: SectorSize, days: f64, seed: u64) -> Forecast {
    let bounds = bounds(line);
    let settled_ms = settled_ms(line, &bounds).min(days * DAY / 2.0);
    let tally = run(line, days * DAY, settled_ms, Some(Chance::new(seed, 0).expected()));
    let rate = rate(&tally);
    let band = band(line, settled_ms, days, seed);
    let expected = rate * DAY;
    let one_more = one_more(line, &tally, settled_ms, days, seed);
    Forecast {
        days,
        seed,
        sector_size,
        sectors_per_day: Range { low: band.0.min(expected), expected, high: band.1.max(expected) },
        bytes_per_day: Bytes((expected * sector_size.bytes().0 as f64) as u64),
        sectors_in_days: tally.finished.len() as u64,
        first_minutes: tally.finished.first().map(|ms| ms / MINUTE),
        ramp_up_minutes: if rate > 0.0 {
            (days * DAY - tally.finished.len() as f64 / rate).max(0.0) / MINUTE
        } else {
            0.0
        },
        minutes_per_sector: if rate > 0.0 { line.threads.len() as f64 / rate / MINUTE } else { 0.0 },
        bottleneck: bottleneck(&bounds, &one_more, expected),
        stages: stages(line, &tally),
        locks: shares(&line.locks, &tally.lock_held, &tally),
        shared: shares(&line.pools, &tally.pool_used, &tally),
        bounds,
        one_more,
        by_day: by_day(&tally, days),
        notes: line.notes.clone(),
    }
}

/// When the line has filled: twice a sector's whole way, queues included.
fn settled_ms(line: &Line, bounds: &[Bound]) -> f64 {
    let queues = bounds.first().map_or(0.0, |bound| line.threads.len() as f64 * DAY / bound.sectors_per_day);
    2.0 * cycle_ms(line).max(queues)
}

/// Sectors a millisecond, while it was counted.
fn rate(tally: &Tally) -> f64 {
    let counted = tally.finished.iter().filter(|at| **at > tally.counted_from_ms).count();
    counted as f64 / (tally.until_ms - tally.counted_from_ms)
}

/// 5 and 95 % of the sectors a day of runs with their own luck.
fn band(line: &Line, settled_ms: f64, days: f64, seed: u64) -> (f64, f64) {
    let until = (settled_ms + BAND_DAYS * DAY).min(days * DAY);
    let of_run = |i| rate(&run(line, until, settled_ms, Some(Chance::new(seed, i)))) * DAY;
    let mut rates: Vec<f64> = (1..=RUNS).map(of_run).collect();
    rates.sort_by(f64::total_cmp);
    (percentile(&rates, 0.05), percentile(&rates, 0.95))
}

/// Between two of the sorted values, in proportion.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (below, part) = (place.floor() as usize, place.fract());
    sorted[below] + part * (sorted[(below + 1).min(sorted.len() - 1)] - sorted[below])
}

fn stages(line: &Line, tally: &Tally) -> Vec<StageUse> {
    let counted = tally.until_ms - tally.counted_from_ms;
    let of_station = |(i, seen): (usize, &super::engine::StationTally)| {
        let width = line.width(i);
        let at_once = seen.running / counted;
        let per_start = |sum: f64| if seen.started > 0 { sum / seen.started as f64 / MINUTE } else { 0.0 };
        StageUse {
            stage: line.stations[i].name,
            task_minutes: per_start(seen.running),
            at_once_max: width,
            at_once,
            busy: if width > 0 { at_once / f64::from(width) } else { 0.0 },
            wait_minutes: per_start(seen.waiting),
            queue: seen.waiting / counted,
        }
    };
    tally.stations.iter().enumerate().map(of_station).collect()
}

fn shares<T: Copy + Into<f64>>(what: &[(String, T)], used: &[f64], tally: &Tally) -> Vec<Lock> {
    let counted = tally.until_ms - tally.counted_from_ms;
    let share = |((name, capacity), used): (&(String, T), &f64)| Lock {
        name: name.clone(),
        busy: used / counted / (*capacity).into(),
    };
    what.iter().zip(used).map(share).collect()
}

fn by_day(tally: &Tally, days: f64) -> Vec<u32> {
    let mut by_day = vec![0; days.ceil() as usize];
    for at in &tally.finished {
        let day = ((at / DAY) as usize).min(by_day.len() - 1);
        by_day[day] += 1;
    }
    by_day
}

/// The tightest bound if that is what is reached; else the stages get into each other's way, and what helps most is named.
fn bottleneck(bounds: &[Bound], one_more: &[OneMore], expected: f64) -> String {
    let tightest = bounds.first().filter(|bound| expected >= 0.9 * bound.sectors_per_day);
    let helps = one_more.first().filter(|more| more.gain > 0.0).map(|more| more.what.clone());
    let otherwise = || bounds.first().map(|bound| bound.what.clone()).unwrap_or_default();
    tightest.map(|bound| bound.what.clone()).or(helps).unwrap_or_else(otherwise)
}

fn one_more(line: &Line, tally: &Tally, settled_ms: f64, days: f64, seed: u64) -> Vec<OneMore> {
    let until = (settled_ms + OUTLOOK_DAYS * DAY).min(days * DAY);
    let expected_of = |line: &Line| rate(&run(line, until, settled_ms, Some(Chance::new(seed, 0).expected()))) * DAY;
    let expected = expected_of(line);
    if expected <= 0.0 {
        // Too short to see anything end: nothing to compare with.
        return Vec::new();
    }
    let mut options = vec![("sealing thread".to_owned(), with_thread(line))];
    for station in 0..line.stations.len() {
        options.push((format!("{} at once", station_name(line, station)), with_slot(line, station)));
    }
    options.extend(busiest_gpu(line, tally).map(|gpu| {
        let name = format!("GPU, with processors and a lock of its own as {} has them", line.pools[gpu].0);
        (name, with_gpu(line, gpu))
    }));
    let mut found: Vec<OneMore> = options
        .into_iter()
        .map(|(what, line)| {
            let sectors_per_day = expected_of(&line);
            OneMore { what, sectors_per_day, gain: sectors_per_day / expected - 1.0 }
        })
        .filter(|more| more.gain >= GAIN_MIN)
        .collect();
    found.sort_by(|a, b| b.gain.total_cmp(&a.gain));
    found
}

fn with_thread(line: &Line) -> Line {
    let mut line = line.clone();
    line.threads.extend(line.threads.last().copied());
    line
}

/// One more task of a station at once, on cores of its own but on the GPUs and under the locks that are there.
fn with_slot(line: &Line, station: usize) -> Line {
    let mut line = line.clone();
    let station = &mut line.stations[station];
    station.limit = station.limit.map(|limit| limit + 1);
    if let Some(concurrent) = station.servers.first_mut().and_then(|server| server.concurrent.as_mut()) {
        *concurrent += 1;
    }
    line
}

fn busiest_gpu(line: &Line, tally: &Tally) -> Option<usize> {
    let busy = |pool: &usize| tally.pool_used[*pool] / line.pools[*pool].1;
    (1..line.pools.len()).max_by(|a, b| busy(a).total_cmp(&busy(b)))
}

/// One more GPU with what this one has.
fn with_gpu(line: &Line, gpu: usize) -> Line {
    let mut line = line.clone();
    let pool = line.pools.len();
    line.pools.push(("one more GPU".to_owned(), 1.0));
    let mut locks: Vec<Option<usize>> = vec![None; line.locks.len()];
    for station in &mut line.stations {
        let servers: Vec<_> =
            station.servers.iter().filter(|server| server.pool.is_some_and(|(p, _)| p == gpu)).cloned().collect();
        station.limit = station.limit.map(|limit| limit + servers.len() as u32);
        for mut server in servers {
            server.pool = Some((pool, 1.0));
            for lock in &mut server.locks {
                let count = line.locks.len();
                *lock = *locks[*lock].get_or_insert_with(|| {
                    line.locks.push(line.locks[*lock].clone());
                    count
                });
            }
            station.servers.push(server);
        }
    }
    line
}
