//! The slow twin of `planner::sealcalc`: every stage of every minute, one after the other, as the rule is written.
//!
//! The benchmark compares with it too.

use damocles_worker::planner::sealcalc::{Inputs, Row};

struct Stage {
    mins: u64,
    concurrent: u64,
    /// Start minute and number of tasks.
    running: Vec<(u64, u64)>,
    waiting: u64,
}

impl Stage {
    fn new(mins: u32, concurrent: u64) -> Self {
        Self { mins: mins.into(), concurrent, running: Vec::new(), waiting: 0 }
    }

    fn running_count(&self) -> u64 {
        self.running.iter().map(|(_, tasks)| tasks).sum()
    }

    fn finish(&mut self, now: u64) -> u64 {
        let before = self.running_count();
        let mins = self.mins;
        self.running.retain(|(start, _)| now - start != mins);
        before - self.running_count()
    }

    fn start(&mut self, now: u64) -> u64 {
        let tasks = self.waiting.min(self.concurrent - self.running_count());
        if tasks > 0 {
            self.running.push((now, tasks));
            self.waiting -= tasks;
        }
        tasks
    }

    /// Finishes, then starts; what takes no minutes is finished in the same breath, until nothing moves.
    fn step(&mut self, now: u64) -> u64 {
        let mut finished = self.finish(now);
        while self.start(now) > 0 && self.mins == 0 {
            finished += self.finish(now);
        }
        finished
    }
}

/// The rows of `minutes` minutes, one for every `step`.
pub fn rows(inputs: &Inputs, minutes: u64, step: u64) -> Vec<Row> {
    let mut stages = [
        Stage::new(inputs.tree_d.mins, inputs.tree_d.concurrent.into()),
        Stage::new(inputs.pc1.mins, inputs.pc1.concurrent.into()),
        Stage::new(inputs.pc2.mins, inputs.pc2.concurrent.into()),
        Stage::new(inputs.seed_mins, u64::MAX),
        Stage::new(inputs.c2.mins, inputs.c2.concurrent.into()),
    ];
    stages[0].waiting = inputs.sealing_threads.into();
    let mut finished_sectors = 0;
    let mut rows = Vec::new();
    for now in 0..minutes {
        let mut passed = 0;
        for stage in &mut stages {
            stage.waiting += passed;
            passed = stage.step(now);
        }
        stages[0].waiting += passed;
        finished_sectors += passed;
        if now % step == 0 {
            let running = |i: usize| stages[i].running_count() as u32;
            rows.push(Row {
                time_mins: now,
                sealing_threads_running: inputs.sealing_threads - stages[0].waiting as u32,
                tree_d_running: running(0),
                pc1_running: running(1),
                pc2_running: running(2),
                seed_waiting: running(3),
                c2_running: running(4),
                finished_sectors,
            });
        }
    }
    rows
}
