//! Plays a line through time, from event to event. Nothing here knows configurations or machines.
//!
//! ```text
//! thread: ► add_pieces ► tree_d ► pc1 ► pc2 ► message ► transfer ► seed ► c1 ► c2 ► message ► (again)
//!             each station: queue ─ limit, stagger, a server with room, all its locks ─► works ─► next
//! ```
//!
//! Queues are first come first served. Where stations wait for the same lock, the one whose first sector has waited
//! longest goes first, so neither starves. A server is chosen by how little it has to do.
//!
//! Tasks in a pool (shared cores, a GPU) slow each other down when together they want more than there is. All of a
//! pool slow down alike, so its time is one clock that runs slower, and the next to end is known without looking at
//! each: a task ends when the pool's clock has come so far as the task is long.

use super::{
    chance::{Chance, mean, quarter},
    line::{Duration, Line, Wait},
    trace::{Part, Span},
};
use crate::profile::Band;
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

/// What a run has seen. Counted from `counted_from_ms` on, except for `finished`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// When each sector ended, in milliseconds from the start.
    pub finished: Vec<f64>,
    pub counted_from_ms: f64,
    pub until_ms: f64,
    pub stations: Vec<StationTally>,
    /// Holders of each lock, times milliseconds.
    pub lock_held: Vec<f64>,
    /// The used part of each pool, times milliseconds.
    pub pool_used: Vec<f64>,
}

/// Of one station.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StationTally {
    pub started: u64,
    /// Tasks that run, times milliseconds.
    pub running: f64,
    /// Sectors that wait, times milliseconds.
    pub waiting: f64,
    /// The most that ran at once, from the very start.
    pub most: u32,
}

/// Plays `line` for `until_ms`, and counts from `counted_from_ms` on. Without `chance` everything takes as long as
/// is expected.
pub fn run(line: &Line, until_ms: f64, counted_from_ms: f64, chance: Option<Chance>) -> Tally {
    let mut engine = Engine::new(line, counted_from_ms, chance);
    engine.play(until_ms);
    engine.close()
}

/// Plays `line` for `until_ms` and keeps what each thread did when.
pub(super) fn spans(line: &Line, until_ms: f64, chance: Option<Chance>) -> Vec<Span> {
    let mut engine = Engine { spans: Some(Vec::new()), ..Engine::new(line, 0.0, chance) };
    engine.play(until_ms);
    let working = |thread: &u32| engine.threads[*thread as usize].works;
    let unfinished: Vec<u32> = (0..line.threads.len() as u32).filter(working).collect();
    unfinished.into_iter().for_each(|thread| engine.note_task(thread));
    engine.spans.take().unwrap_or_default()
}

/// Where a sector goes on when something ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A thread's task in its station, or its wait, is over.
    Over(u32),
    /// A station's stagger has passed.
    Wake(u8),
}

/// What a measurement of a few tasks does not see moves all tasks of a stage as much: the rest of the daemon, the page
/// cache, a warmer day, neighbours. tests/forecast compares a run with it.
const UNSEEN: Band = Band { low: 0.92, high: 1.08 };

fn wider(band: Band, least: Band) -> Band {
    Band { low: band.low.min(least.low), high: band.high.max(least.high) }
}

/// Times are never negative, so their bits order as they do.
type At = u64;

struct Engine<'l> {
    line: &'l Line,
    now: f64,
    counted_from: f64,
    chance: Option<Chance>,
    /// One for each server of each station, and one for each wait.
    levels: Vec<Vec<Level>>,
    wait_levels: Vec<Level>,
    /// The first wait before each station; one more for the end.
    wait_before: Vec<Option<usize>>,
    events: BinaryHeap<Reverse<(At, u32, Event)>>,
    sequence: u32,
    threads: Vec<Thread>,
    stations: Vec<StationState>,
    /// Stations that a station's end may let go on, itself included, as bits.
    affected: Vec<u16>,
    /// Stations whose end lets only themselves go on, as bits.
    alone: u16,
    locks_held: Vec<u32>,
    lock_since: Vec<f64>,
    pools: Vec<Pool>,
    tally: Tally,
    /// What was done when, where that is asked for.
    spans: Option<Vec<Span>>,
}

/// A duration as this run draws it.
#[derive(Clone, Copy)]
struct Level {
    ms: f64,
    task: Band,
}

#[derive(Clone, Copy, Default)]
struct Thread {
    station: u8,
    server: u32,
    arrived: f64,
    waits: bool,
    works: bool,
    began: f64,
    landed: f64,
}

#[derive(Default)]
struct StationState {
    queue: VecDeque<u32>,
    running: u32,
    at_server: Vec<u32>,
    last_start: f64,
    wakes_at: f64,
    since: f64,
}

struct Pool {
    capacity: f64,
    demand: f64,
    clock: f64,
    since: f64,
    tasks: BinaryHeap<Reverse<(At, u32, u32)>>,
}

impl Pool {
    fn speed(&self) -> f64 {
        if self.demand > self.capacity { self.capacity / self.demand } else { 1.0 }
    }

    fn advance(&mut self, now: f64) -> f64 {
        let passed = now - self.since;
        self.clock += passed * self.speed();
        self.since = now;
        passed * self.demand.min(self.capacity)
    }

    fn next(&self, now: f64) -> Option<f64> {
        let Reverse((end, ..)) = self.tasks.peek()?;
        let clock = self.clock + (now - self.since) * self.speed();
        Some(now + (f64::from_bits(*end) - clock).max(0.0) / self.speed())
    }
}

impl<'l> Engine<'l> {
    fn new(line: &'l Line, counted_from: f64, mut chance: Option<Chance>) -> Self {
        let mut level = |duration: Duration, unseen: Band| {
            let (whole, task) = match duration.measured {
                true => (wider(quarter(duration.band), unseen), duration.band),
                false => (duration.band, quarter(duration.band)),
            };
            let factor = chance.as_mut().map_or(1.0, |chance| chance.level(whole));
            // Tasks differ around the duration: on average they take it.
            Level { ms: duration.ms * factor / mean(task), task }
        };
        let mut levels: Vec<Vec<Level>> = Vec::new();
        for station in &line.stations {
            // Processors of one stage are alike: what is not known of one is not known of all.
            let first = station.servers.first().map(|server| (server.duration.ms, level(server.duration, UNSEEN)));
            let scale = first.map_or(1.0, |(ms, level)| if ms > 0.0 { level.ms / ms } else { 1.0 });
            let task = first.map_or(Band::EXACT, |(_, level)| level.task);
            levels.push(station.servers.iter().map(|server| Level { ms: server.duration.ms * scale, task }).collect());
        }
        let wait_levels = line
            .waits
            .iter()
            .map(|(_, wait)| match wait {
                Wait::Message(duration) | Wait::LastMessage(duration) => level(*duration, Band::EXACT),
                Wait::Seed { ms } => Level { ms: *ms, task: Band::EXACT },
            })
            .collect();
        let affected = affected(line);
        let wait_before =
            (0..=line.stations.len()).map(|at| line.waits.iter().position(|(before, _)| *before == at)).collect();
        let stations = line.stations.iter().map(|station| StationState {
            at_server: vec![0; station.servers.len()],
            last_start: f64::NEG_INFINITY,
            ..StationState::default()
        });
        let pool = |(_, capacity): &(String, f64)| Pool {
            capacity: *capacity,
            demand: 0.0,
            clock: 0.0,
            since: 0.0,
            tasks: BinaryHeap::new(),
        };
        Self {
            line,
            now: 0.0,
            counted_from,
            chance,
            levels,
            wait_levels,
            wait_before,
            events: BinaryHeap::new(),
            sequence: 0,
            threads: vec![Thread::default(); line.threads.len()],
            stations: stations.collect(),
            alone: affected.iter().enumerate().filter(|(i, bits)| **bits == 1 << i).fold(0, |all, (i, _)| all | 1 << i),
            affected,
            locks_held: vec![0; line.locks.len()],
            lock_since: vec![0.0; line.locks.len()],
            pools: line.pools.iter().map(pool).collect(),
            tally: Tally {
                counted_from_ms: counted_from,
                stations: vec![StationTally::default(); line.stations.len()],
                lock_held: vec![0.0; line.locks.len()],
                pool_used: vec![0.0; line.pools.len()],
                ..Tally::default()
            },
            spans: None,
        }
    }

    fn play(&mut self, until_ms: f64) {
        for thread in 0..self.line.threads.len() {
            self.enter(thread as u32, 0);
        }
        self.dispatch_all();
        while let Some((at, event)) = self.next().filter(|(at, _)| *at <= until_ms) {
            self.now = at;
            self.happen(event);
        }
        self.now = until_ms;
    }

    /// The task that a thread is at, from its beginning until now.
    fn note_task(&mut self, thread: u32) {
        let Thread { station, began, .. } = self.threads[thread as usize];
        let to_ms = self.now;
        if let Some(spans) = &mut self.spans {
            spans.push(Span { thread, part: Part::Station(station.into()), from_ms: began, to_ms });
        }
    }

    /// The next thing to happen, taken out of its heap.
    fn next(&mut self) -> Option<(f64, Event)> {
        let timed = self.events.peek().map(|Reverse((at, ..))| f64::from_bits(*at));
        let pooled = self.pools.iter().enumerate().filter_map(|(i, pool)| Some((pool.next(self.now)?, i)));
        let pooled = pooled.min_by(|a, b| a.0.total_cmp(&b.0));
        match (timed, pooled) {
            (Some(timed), Some((at, _))) if timed <= at => self.pop(),
            (Some(_), None) => self.pop(),
            (_, Some((at, pool))) => {
                let Reverse((_, _, thread)) = self.pools[pool].tasks.pop()?;
                Some((at, Event::Over(thread)))
            }
            (None, None) => None,
        }
    }

    fn pop(&mut self) -> Option<(f64, Event)> {
        self.events.pop().map(|Reverse((at, _, event))| (f64::from_bits(at), event))
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Wake(station) => self.dispatch(1 << station),
            Event::Over(thread) => {
                let state = self.threads[thread as usize];
                if state.waits {
                    self.threads[thread as usize].waits = false;
                    self.after_wait(thread, state.station);
                    return;
                }
                let ended = state.station;
                self.end_task(thread, ended as usize);
                let arrived_at = self.go_on(thread, ended + 1);
                self.dispatch(self.affected[ended as usize] | arrived_at);
            }
        }
    }

    /// The wait before `station` is over.
    fn after_wait(&mut self, thread: u32, station: u8) {
        let arrived_at = match station as usize == self.line.stations.len() {
            true => self.finish(thread),
            false => {
                self.enter(thread, station);
                1 << station
            }
        };
        self.dispatch(arrived_at);
    }

    /// To `station`, or to the wait before it. The stations at which somebody arrived, as bits.
    fn go_on(&mut self, thread: u32, station: u8) -> u16 {
        self.threads[thread as usize].station = station;
        if let Some(wait) = self.wait_before[station as usize] {
            let until = self.wait_ends(thread, wait);
            self.threads[thread as usize].waits = true;
            if let Some(spans) = &mut self.spans {
                spans.push(Span { thread, part: Part::Wait(wait), from_ms: self.now, to_ms: until });
            }
            self.schedule(until, Event::Over(thread));
            return 0;
        }
        if station as usize == self.line.stations.len() {
            return self.finish(thread);
        }
        self.enter(thread, station);
        1 << station
    }

    fn wait_ends(&mut self, thread: u32, wait: usize) -> f64 {
        let level = self.wait_levels[wait];
        let ms = level.ms * self.draw(level.task);
        let poll = self.line.threads[thread as usize];
        // Seen by the first poll after it landed; polls begin when the message is sent.
        let seen = |ms: f64| if poll > 0.0 && poll < f64::INFINITY { (ms / poll).ceil() * poll } else { ms };
        match self.line.waits[wait].1 {
            Wait::Message(_) => {
                self.threads[thread as usize].landed = self.now + ms;
                self.now + seen(ms)
            }
            Wait::LastMessage(_) => self.now + seen(ms),
            Wait::Seed { .. } => (self.threads[thread as usize].landed + ms).max(self.now),
        }
    }

    /// A sector has ended: its thread begins the next one.
    fn finish(&mut self, thread: u32) -> u16 {
        self.tally.finished.push(self.now);
        if self.line.turnaround_ms > 0.0 {
            self.threads[thread as usize] = Thread { waits: true, ..Thread::default() };
            self.schedule(self.now + self.line.turnaround_ms, Event::Over(thread));
            return 0;
        }
        self.enter(thread, 0);
        1
    }

    fn enter(&mut self, thread: u32, station: u8) {
        let state = &mut self.threads[thread as usize];
        (state.station, state.arrived) = (station, self.now);
        self.count(station as usize);
        self.stations[station as usize].queue.push_back(thread);
    }

    fn dispatch_all(&mut self) {
        self.dispatch(u16::MAX >> (16 - self.line.stations.len()));
    }

    /// Starts whatever can start at these stations; where locks are shared, whoever has waited longest first.
    fn dispatch(&mut self, stations: u16) {
        let mut alone = stations & self.alone;
        while alone != 0 {
            let station = alone.trailing_zeros() as usize;
            alone &= alone - 1;
            while !self.stations[station].queue.is_empty() && self.start_first(station) {}
        }
        self.dispatch_in_turns(stations & !self.alone);
    }

    fn dispatch_in_turns(&mut self, mut stations: u16) {
        while stations != 0 {
            let longest = (0..self.stations.len())
                .filter(|station| stations & (1 << station) != 0)
                .filter_map(|station| {
                    let first = self.stations[station].queue.front()?;
                    Some((self.threads[*first as usize].arrived, station))
                })
                .min_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
            let Some((_, station)) = longest else { return };
            if !self.start_first(station) {
                stations &= !(1 << station);
            }
        }
    }

    /// Starts the first of a station's queue if all that it needs is free.
    fn start_first(&mut self, station: usize) -> bool {
        let plan = &self.line.stations[station];
        let state = &self.stations[station];
        if plan.limit.is_some_and(|limit| state.running >= limit) {
            return false;
        }
        let Some(server) = self.free_server(station) else { return false };
        let may_at = state.last_start + plan.stagger_ms;
        if may_at > self.now {
            if state.wakes_at != may_at {
                self.stations[station].wakes_at = may_at;
                self.schedule(may_at, Event::Wake(station as u8));
            }
            return false;
        }
        self.start(station, server);
        true
    }

    /// The least loaded server with room whose locks are free.
    fn free_server(&self, station: usize) -> Option<usize> {
        let servers = self.line.stations[station].servers.iter().zip(&self.stations[station].at_server);
        let free = servers.enumerate().filter(|(_, (server, running))| {
            server.concurrent.is_none_or(|most| **running < most)
                && server.locks.iter().all(|lock| self.locks_held[*lock] < self.line.locks[*lock].1)
        });
        free.min_by_key(|(_, (_, running))| **running).map(|(i, _)| i)
    }

    fn start(&mut self, station: usize, server: usize) {
        self.count(station);
        let state = &mut self.stations[station];
        let thread = state.queue.pop_front().expect("its first was looked at");
        state.running += 1;
        state.at_server[server] += 1;
        state.last_start = self.now;
        let tally = &mut self.tally.stations[station];
        tally.started += u64::from(self.now >= self.counted_from);
        tally.most = tally.most.max(state.running);
        let working = &mut self.threads[thread as usize];
        (working.server, working.works, working.began) = (server as u32, true, self.now);
        let plan = &self.line.stations[station].servers[server];
        for lock in &plan.locks {
            self.count_lock(*lock);
            self.locks_held[*lock] += 1;
        }
        let level = self.levels[station][server];
        let ms = level.ms * self.draw(level.task);
        match plan.pool {
            None => self.schedule(self.now + ms, Event::Over(thread)),
            Some((pool, demand)) => {
                self.advance(pool);
                self.sequence += 1;
                let pool = &mut self.pools[pool];
                pool.demand += demand;
                pool.tasks.push(Reverse(((pool.clock + ms).to_bits(), self.sequence, thread)));
            }
        }
    }

    fn end_task(&mut self, thread: u32, station: usize) {
        self.count(station);
        self.note_task(thread);
        self.threads[thread as usize].works = false;
        let server = self.threads[thread as usize].server as usize;
        let state = &mut self.stations[station];
        state.running -= 1;
        state.at_server[server] -= 1;
        let plan = &self.line.stations[station].servers[server];
        for lock in &plan.locks {
            self.count_lock(*lock);
            self.locks_held[*lock] -= 1;
        }
        if let Some((pool, demand)) = plan.pool {
            self.advance(pool);
            let pool = &mut self.pools[pool];
            pool.demand -= demand;
            if pool.tasks.is_empty() {
                // Sums of fractions leave dust, and the clock may begin anew.
                (pool.demand, pool.clock) = (0.0, 0.0);
            }
        }
    }

    fn draw(&mut self, band: Band) -> f64 {
        self.chance.as_mut().map_or(1.0, |chance| chance.factor(band))
    }

    fn schedule(&mut self, at: f64, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((at.to_bits(), self.sequence, event)));
    }

    fn counted_since(&self, since: f64) -> f64 {
        (self.now - since.max(self.counted_from)).max(0.0)
    }

    fn count(&mut self, station: usize) {
        let passed = self.counted_since(self.stations[station].since);
        let (state, tally) = (&mut self.stations[station], &mut self.tally.stations[station]);
        tally.running += passed * f64::from(state.running);
        tally.waiting += passed * state.queue.len() as f64;
        state.since = self.now;
    }

    fn count_lock(&mut self, lock: usize) {
        self.tally.lock_held[lock] += self.counted_since(self.lock_since[lock]) * f64::from(self.locks_held[lock]);
        self.lock_since[lock] = self.now;
    }

    fn advance(&mut self, pool: usize) {
        let counted = self.counted_since(self.pools[pool].since);
        let state = &mut self.pools[pool];
        self.tally.pool_used[pool] += counted * state.demand.min(state.capacity);
        state.advance(self.now);
    }

    fn close(mut self) -> Tally {
        (0..self.stations.len()).for_each(|station| self.count(station));
        (0..self.locks_held.len()).for_each(|lock| self.count_lock(lock));
        (0..self.pools.len()).for_each(|pool| self.advance(pool));
        self.tally.until_ms = self.now;
        self.tally
    }
}

/// Stations that share a lock wait for each other.
fn affected(line: &Line) -> Vec<u16> {
    let locks = |station: usize| line.stations[station].servers.iter().flat_map(|server| &server.locks);
    let count = line.stations.len();
    let shares = |a: usize, b: usize| a == b || locks(a).any(|lock| locks(b).any(|other| other == lock));
    (0..count).map(|a| (0..count).filter(|b| shares(a, *b)).fold(0, |bits, b| bits | 1 << b)).collect()
}
