//! What no luck can exceed: the rates that Little's law allows each part of a line.
//!
//! A station with room for N tasks of T minutes passes N/T sectors a minute at most, N threads whose sectors take T
//! from end to end finish N/T, and whatever several stations share (a lock, a GPU, cores) is there once for all of them.

use super::line::{Line, MINUTE, Server, Wait};
use serde::Serialize;

/// The most that a part lets pass.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bound {
    pub what: String,
    pub sectors_per_day: f64,
}

/// The name of the bound that sealing threads set.
pub const THREADS: &str = "sealing threads";

const DAY_MS: f64 = 86_400_000.0;

/// Every bound that is finite, the tightest first.
pub fn bounds(line: &Line) -> Vec<Bound> {
    let mut bounds = vec![(THREADS.to_owned(), line.threads.len() as f64 / cycle_ms(line))];
    for (i, station) in line.stations.iter().enumerate() {
        bounds.push((station_name(line, i), station_rate(line, i)));
        if station.stagger_ms > 0.0 {
            bounds.push((format!("limitation.staggered.{}", station.name), 1.0 / station.stagger_ms));
        }
    }
    bounds.push(("shared cores".to_owned(), shared(line, 0..1)));
    bounds.push(("GPUs".to_owned(), shared(line, 1..line.pools.len())));
    bounds.push(("locks".to_owned(), locks(line)));
    let mut bounds: Vec<Bound> = bounds
        .into_iter()
        .filter(|(_, rate)| rate.is_finite())
        .map(|(what, rate)| Bound { what, sectors_per_day: rate * DAY_MS })
        .collect();
    bounds.sort_by(|a, b| a.sectors_per_day.total_cmp(&b.sectors_per_day));
    bounds
}

/// A sector's way without any queue, in minutes.
pub fn cycle_minutes(line: &Line) -> f64 {
    cycle_ms(line) / MINUTE
}

/// The same in milliseconds.
pub(super) fn cycle_ms(line: &Line) -> f64 {
    let fastest = |station: usize| fold_min(line.stations[station].servers.iter().map(|server| server.duration.ms));
    let mut total = line.turnaround_ms;
    // The seed's time runs from the landing; what happens meanwhile costs nothing.
    let mut since_landing: Option<(f64, f64)> = None;
    for station in 0..=line.stations.len() {
        for (_, wait) in line.waits.iter().filter(|(before, _)| *before == station) {
            match wait {
                Wait::Message(duration) => {
                    since_landing = Some((total + duration.ms, 0.0));
                    total += duration.ms;
                }
                Wait::Seed { ms } => total = total.max(since_landing.map_or(total, |(landed, _)| landed) + ms),
                Wait::LastMessage(duration) => total += duration.ms,
            }
        }
        if station < line.stations.len() {
            total += fastest(station);
        }
    }
    total
}

/// A station's name, with its GPUs if it works on nothing else.
pub(super) fn station_name(line: &Line, station: usize) -> String {
    let station = &line.stations[station];
    let mut gpus: Vec<usize> = station.servers.iter().filter_map(gpu_pool).collect();
    gpus.sort_unstable();
    gpus.dedup();
    if gpus.is_empty() || station.servers.iter().any(|server| gpu_pool(server).is_none()) {
        return station.name.to_owned();
    }
    let names: Vec<_> = gpus.into_iter().map(|pool| line.pools[pool].0.as_str()).collect();
    format!("{} on {}", station.name, names.join(" and "))
}

fn gpu_pool(server: &Server) -> Option<usize> {
    server.pool.map(|(pool, _)| pool).filter(|pool| *pool > 0)
}

/// The fastest servers first, up to the limit.
fn station_rate(line: &Line, station: usize) -> f64 {
    let mut servers: Vec<&Server> = line.stations[station].servers.iter().collect();
    servers.sort_by(|a, b| a.duration.ms.total_cmp(&b.duration.ms));
    let mut room = line.width(station);
    let mut rate = 0.0;
    for server in servers {
        let tasks = server.concurrent.unwrap_or(room).min(room);
        room -= tasks;
        rate += f64::from(tasks) / server.duration.ms;
    }
    rate
}

/// The stations that work in these pools only.
fn shared(line: &Line, pools: std::ops::Range<usize>) -> f64 {
    let capacity: f64 = line.pools[pools.clone()].iter().map(|(_, capacity)| capacity).sum();
    let part = |server: &Server| match server.pool {
        Some((pool, demand)) if pools.contains(&pool) => demand * server.duration.ms,
        _ => 0.0,
    };
    capacity / used(line, part)
}

fn locks(line: &Line) -> f64 {
    let capacity: u32 = line.locks.iter().map(|(_, holders)| holders).sum();
    let part = |server: &Server| if server.locks.is_empty() { 0.0 } else { server.duration.ms };
    f64::from(capacity) / used(line, part)
}

/// What a sector uses up at least, over all stations.
fn used(line: &Line, part: impl Fn(&Server) -> f64) -> f64 {
    line.stations.iter().map(|station| fold_min(station.servers.iter().map(&part))).sum()
}

fn fold_min(values: impl Iterator<Item = f64>) -> f64 {
    let least = values.fold(f64::INFINITY, f64::min);
    if least.is_finite() { least } else { 0.0 }
}
