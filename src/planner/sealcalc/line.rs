//! The stages of one line at one minute: what runs, what waits, and when something happens next.

use super::{Inputs, Row};
use std::collections::VecDeque;

/// A line between two steps.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// tree_d, pc1, pc2, seed, c2. What waits for the first are free threads.
    stations: [Station; 5],
    threads: u32,
    pub finished: u64,
}

#[derive(Clone, Debug)]
struct Station {
    mins: u32,
    concurrent: u32,
    /// Tasks that end in the same minute, the next first: all last equally long.
    running: VecDeque<Batch>,
    running_count: u32,
    waiting: u32,
}

#[derive(Clone, Copy, Debug)]
struct Batch {
    end: u64,
    tasks: u32,
}

impl Line {
    pub fn new(inputs: &Inputs) -> Self {
        let station = |mins, concurrent, waiting| Station {
            mins,
            concurrent,
            running: VecDeque::new(),
            running_count: 0,
            waiting,
        };
        let Inputs { tree_d, pc1, pc2, c2, seed_mins, sealing_threads } = *inputs;
        let stations = [
            station(tree_d.mins, tree_d.concurrent, sealing_threads),
            station(pc1.mins, pc1.concurrent, 0),
            station(pc2.mins, pc2.concurrent, 0),
            station(seed_mins, u32::MAX, 0),
            station(c2.mins, c2.concurrent, 0),
        ];
        Self { stations, threads: sealing_threads, finished: 0 }
    }

    /// Steps every stage once, in order.
    pub fn step(&mut self, now: u64) {
        let mut passed = 0;
        for station in &mut self.stations {
            station.waiting += passed;
            passed = station.step(now);
        }
        self.finished += u64::from(passed);
        // Its step is over, so it sees them in the next minute.
        self.stations[0].waiting += passed;
    }

    /// The next minute in which a step would change something.
    pub fn next_event(&self, now: u64) -> Option<u64> {
        let ends = self.stations.iter().filter_map(|station| station.running.front()).map(|batch| batch.end);
        let restart = self.stations[0].can_start().then_some(now + 1);
        ends.chain(restart).min()
    }

    /// Whether everything will go on from `now` as it went on from `then`, when the line was `earlier`.
    pub fn repeats(&self, now: u64, earlier: &Self, then: u64) -> bool {
        self.stations.iter().zip(&earlier.stations).all(|(a, b)| a.looks_like(now, b, then))
    }

    pub fn row(&self, now: u64) -> Row {
        let [tree_d, pc1, pc2, seed, c2] = &self.stations;
        Row {
            time_mins: now,
            sealing_threads_running: self.threads - tree_d.waiting,
            tree_d_running: tree_d.running_count,
            pc1_running: pc1.running_count,
            pc2_running: pc2.running_count,
            seed_waiting: seed.running_count,
            c2_running: c2.running_count,
            finished_sectors: self.finished,
        }
    }
}

impl Station {
    /// How many tasks end in this step.
    fn step(&mut self, now: u64) -> u32 {
        let mut ended = 0;
        while let Some(batch) = self.running.front().filter(|batch| batch.end <= now) {
            ended += batch.tasks;
            self.running.pop_front();
        }
        self.running_count -= ended;
        if !self.can_start() {
            return ended;
        }
        if self.mins == 0 {
            return ended + std::mem::take(&mut self.waiting);
        }
        let tasks = self.waiting.min(self.concurrent - self.running_count);
        self.waiting -= tasks;
        self.running_count += tasks;
        self.running.push_back(Batch { end: now + u64::from(self.mins), tasks });
        ended
    }

    fn can_start(&self) -> bool {
        self.waiting > 0 && self.running_count < self.concurrent
    }

    fn looks_like(&self, now: u64, earlier: &Self, then: u64) -> bool {
        let left = |batch: &Batch, since: u64| (batch.end - since, batch.tasks);
        self.waiting == earlier.waiting
            && self.running_count == earlier.running_count
            && self.running.len() == earlier.running.len()
            && self.running.iter().zip(&earlier.running).all(|(a, b)| left(a, now) == left(b, then))
    }
}
