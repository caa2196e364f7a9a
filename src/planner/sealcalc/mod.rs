//! A pipeline of fixed minutes, played through on the minute grid: how many tasks of each stage run at each minute,
//! and how many sectors are finished. What `damocles-worker-util sealcalc` of the field calculates, to the number.
//!
//! ```text
//!  threads ─► tree_d ─► pc1 ─► pc2 ─► seed ─► c2 ─► finished
//!     ▲       n at once  n      n      all    n        │
//!     └───────── a thread that is free again ──────────┘   one minute later
//! ```
//!
//! In each minute the stages step in this order. A step first finishes what started so many minutes ago, then
//! starts as many as wait and have room. What a step finishes may start downstream in the same minute; a thread
//! that c2 gives back is seen by tree_d, whose step is over, in the next. A stage of no minutes holds nothing up:
//! whatever waits passes in the step in which it comes, if the stage runs anything at all.
//!
//! Between two minutes in which something ends or starts nothing changes, so only those are calculated (`line`).
//! And since nothing is left to chance, a line that was in the same state before goes the same way again: from then
//! on the course is one lap, over and over, and years cost no more than weeks (`Course`).

mod line;

use line::Line;
use serde::Serialize;

/// The length and the width of each stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Inputs {
    pub tree_d: Stage,
    pub pc1: Stage,
    pub pc2: Stage,
    pub c2: Stage,
    /// Minutes between the end of pc2 and the start of c2; as many sectors wait as come.
    pub seed_mins: u32,
    /// Sectors under way at once.
    pub sealing_threads: u32,
}

/// One stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Stage {
    pub mins: u32,
    pub concurrent: u32,
}

/// What is going on in one minute, after all stages have stepped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Row {
    pub time_mins: u64,
    pub sealing_threads_running: u32,
    pub tree_d_running: u32,
    pub pc1_running: u32,
    pub pc2_running: u32,
    pub seed_waiting: u32,
    pub c2_running: u32,
    pub finished_sectors: u64,
}

/// Minutes in a day.
pub const DAY: u64 = 24 * 60;

/// Everything that happens in the given time: the rows at which something changes, and from where they repeat.
#[derive(Clone, Debug)]
pub struct Course {
    /// Never empty; the first is of minute 0.
    changes: Vec<Row>,
    lap: Option<Lap>,
    minutes: u64,
}

/// From `changes[from]` on the course repeats.
#[derive(Clone, Copy, Debug)]
struct Lap {
    from: usize,
    minutes: u64,
    finished: u64,
}

/// The course in short, taken where it has settled.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Sectors finished in the whole time.
    pub finished_sectors: u64,
    /// Sectors per day once the course repeats; without that, in the second half of the time.
    pub sectors_per_day: f64,
    /// How full each is, from 0 to 1, over the same time. Nothing for what has no room at all.
    pub busy: Busy,
}

/// Shares of the room that is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Busy {
    pub sealing_threads: Option<f64>,
    pub tree_d: Option<f64>,
    pub pc1: Option<f64>,
    pub pc2: Option<f64>,
    pub c2: Option<f64>,
}

impl Busy {
    /// The fullest, with its name.
    pub fn fullest(&self) -> Option<(&'static str, f64)> {
        let all = [
            ("sealing_threads", self.sealing_threads),
            ("tree_d", self.tree_d),
            ("pc1", self.pc1),
            ("pc2", self.pc2),
            ("c2", self.c2),
        ];
        let known = all.into_iter().filter_map(|(name, share)| Some((name, share?)));
        // A stage says more than the threads, which are full of what waits for it: of equals the last wins.
        known.max_by(|a, b| a.1.total_cmp(&b.1))
    }
}

impl Course {
    /// Plays `inputs` through `minutes` minutes, of which the last is `minutes - 1`.
    pub fn of(inputs: &Inputs, minutes: u64) -> Self {
        let mut line = Line::new(inputs);
        line.step(0);
        let mut changes = vec![line.row(0)];
        // Brent: compare with a remembered state, and remember a later one after 1, 2, 4, 8 … events.
        let mut remembered = (0, line.clone(), 0);
        let (mut reach, mut walked) = (1u64, 0u64);
        let mut now = 0;
        while let Some(next) = line.next_event(now).filter(|next| *next < minutes) {
            now = next;
            line.step(now);
            let (from, earlier, then) = &remembered;
            if line.repeats(now, earlier, *then) {
                let lap = Lap { from: *from, minutes: now - then, finished: line.finished - earlier.finished };
                return Self { changes, lap: Some(lap), minutes };
            }
            changes.push(line.row(now));
            walked += 1;
            if walked == reach {
                remembered = (changes.len() - 1, line.clone(), now);
                (reach, walked) = (reach * 2, 0);
            }
        }
        Self { changes, lap: None, minutes }
    }

    /// What is going on in this minute.
    pub fn at(&self, minute: u64) -> Row {
        let (folded, laps, lap_finished) = match self.lap {
            Some(lap) if minute >= self.changes[lap.from].time_mins => {
                let start = self.changes[lap.from].time_mins;
                let since = minute - start;
                (start + since % lap.minutes, since / lap.minutes, lap.finished)
            }
            _ => (minute, 0, 0),
        };
        let after = self.changes.partition_point(|change| change.time_mins <= folded);
        let row = self.changes[after - 1];
        Row { time_mins: minute, finished_sectors: row.finished_sectors + laps * lap_finished, ..row }
    }

    /// The rows of every minute that `step` divides; `step` is at least 1.
    pub fn rows(&self, step: u64) -> impl ExactSizeIterator<Item = Row> + Clone + '_ {
        (0..self.rows_count(step)).map(move |i| self.at(i as u64 * step))
    }

    /// How many rows those are.
    pub fn rows_count(&self, step: u64) -> usize {
        self.minutes.div_ceil(step) as usize
    }

    /// The course in short.
    pub fn summary(&self, inputs: &Inputs) -> Summary {
        let end = self.minutes.saturating_sub(1);
        let (from, to) = match self.lap {
            Some(lap) => {
                let start = self.changes[lap.from].time_mins;
                (start, start + lap.minutes)
            }
            None => (self.minutes / 2, end),
        };
        let (first, last) = (self.at(from), self.at(to));
        let days = (to - from) as f64 / DAY as f64;
        let done = (last.finished_sectors - first.finished_sectors) as f64;
        Summary {
            // In no time at all nothing is finished, stages of no minutes or not.
            finished_sectors: if self.minutes == 0 { 0 } else { self.at(end).finished_sectors },
            sectors_per_day: if days > 0.0 { done / days } else { 0.0 },
            busy: self.busy(inputs, from, to),
        }
    }

    /// Shares of the minutes `from..to`, both before the course has repeated a second time.
    fn busy(&self, inputs: &Inputs, from: u64, to: u64) -> Busy {
        let mut sums = [0u128; 5];
        let mut minute = from;
        while minute < to {
            let row = self.at(minute);
            let after = self.changes.partition_point(|change| change.time_mins <= minute);
            let next = self.changes.get(after).map_or(to, |change| change.time_mins.min(to));
            let running =
                [row.sealing_threads_running, row.tree_d_running, row.pc1_running, row.pc2_running, row.c2_running];
            for (sum, running) in sums.iter_mut().zip(running) {
                *sum += u128::from(running) * u128::from(next - minute);
            }
            minute = next;
        }
        let share = |sum: u128, room: u32| {
            let most = u128::from(room) * u128::from(to - from);
            (most > 0).then(|| sum as f64 / most as f64)
        };
        Busy {
            sealing_threads: share(sums[0], inputs.sealing_threads),
            tree_d: share(sums[1], inputs.tree_d.concurrent),
            pc1: share(sums[2], inputs.pc1.concurrent),
            pc2: share(sums[3], inputs.pc2.concurrent),
            c2: share(sums[4], inputs.c2.concurrent),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(mins: [u32; 5], concurrent: [u32; 4], sealing_threads: u32) -> Inputs {
        let stage = |i: usize, of: usize| Stage { mins: mins[i], concurrent: concurrent[of] };
        Inputs {
            tree_d: stage(0, 0),
            pc1: stage(1, 1),
            pc2: stage(2, 2),
            seed_mins: mins[3],
            c2: stage(4, 3),
            sealing_threads,
        }
    }

    /// The example of the field's documentation, with the inputs that its table was made from.
    fn documented() -> Inputs {
        inputs([10, 320, 1, 80, 2], [2, 10, 5, 2], 18)
    }

    #[test]
    fn the_documented_table_comes_out() {
        let course = Course::of(&documented(), 30 * DAY);
        let finished = |minute| course.at(minute).finished_sectors;
        assert_eq!([finished(480), finished(840), finished(1740)], [10, 20, 48]);
        assert_eq!(course.at(0).tree_d_running, 2);
        assert_eq!(course.rows(60).len(), 720);
    }

    #[test]
    fn a_thread_that_is_given_back_starts_in_the_next_minute() {
        let course = Course::of(&inputs([1, 1, 1, 1, 1], [1, 1, 1, 1], 1), 100);
        // tree_d in minute 0, c2 from 4 to 5; tree_d again in 6.
        assert_eq!((course.at(5).finished_sectors, course.at(5).sealing_threads_running), (1, 0));
        assert_eq!((course.at(6).tree_d_running, course.at(11).finished_sectors), (1, 2));
    }

    #[test]
    fn a_stage_of_no_minutes_holds_nothing_up() {
        let course = Course::of(&inputs([0, 5, 0, 0, 0], [1, 3, 1, 1], 3), 60);
        let row = course.at(5);
        assert_eq!((row.finished_sectors, row.sealing_threads_running, row.pc2_running), (3, 0, 0));
        assert_eq!(course.at(11).finished_sectors, 6);
        let nothing_takes_time = Course::of(&inputs([0; 5], [1; 4], 2), 10);
        assert_eq!(nothing_takes_time.at(9).finished_sectors, 20);
    }

    #[test]
    fn a_stage_without_room_lets_nothing_pass_however_short_it_is() {
        let course = Course::of(&inputs([1, 1, 0, 1, 1], [9, 9, 0, 9], 4), DAY);
        assert_eq!(course.at(DAY - 1).finished_sectors, 0);
        assert_eq!(course.at(DAY - 1).sealing_threads_running, 4);
        assert_eq!(course.summary(&inputs([1, 1, 0, 1, 1], [9, 9, 0, 9], 4)).busy.pc2, None);
    }

    #[test]
    fn no_threads_and_no_time_are_answers_too() {
        assert_eq!(
            Course::of(&inputs([1; 5], [1; 4], 0), DAY).at(DAY - 1),
            Row { time_mins: DAY - 1, ..Row::default() }
        );
        assert_eq!(Course::of(&documented(), 0).rows(60).len(), 0);
        let at_once = inputs([0; 5], [1; 4], 2);
        let summary = Course::of(&at_once, 0).summary(&at_once);
        assert_eq!((summary.finished_sectors, summary.sectors_per_day), (0, 0.0));
    }

    #[test]
    fn a_settled_course_is_told_by_one_lap() {
        let course = Course::of(&documented(), 3650 * DAY);
        assert!(course.lap.is_some() && course.changes.len() < 2000, "{}", course.changes.len());
        let summary = course.summary(&documented());
        // Ten pc1 of 320 minutes.
        assert!((summary.sectors_per_day - 10.0 * 1440.0 / 320.0).abs() < 1e-9, "{summary:?}");
        assert_eq!(summary.busy.fullest().map(|(name, _)| name), Some("pc1"));
    }
}
