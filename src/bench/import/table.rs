//! Tasks of all logs as a table: a line for each stage and number of cores, with how many ran at once and what that makes
//! an hour.

use super::Task;
use crate::profile::Stage;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// A line of the table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    pub stage: Stage,
    /// Of a task, where the operator or the log's name tells (`p2-23cpu-1.log`).
    pub cores: Option<u32>,
    pub seconds: Vec<f64>,
    /// The most that ran at once; none where logs do not tell when tasks began.
    pub at_once: Option<u32>,
    pub files: Vec<String>,
}

impl Line {
    /// The average duration.
    pub fn mean_seconds(&self) -> f64 {
        self.seconds.iter().sum::<f64>() / self.seconds.len().max(1) as f64
    }

    /// Sectors an hour of as many as ran at once; of one where that is not known.
    pub fn per_hour(&self) -> f64 {
        f64::from(self.at_once.unwrap_or(1)) * 3600.0 / self.mean_seconds()
    }

    /// Sectors an hour for each core of a task.
    pub fn per_core_hour(&self) -> Option<f64> {
        Some(3600.0 / self.mean_seconds() / f64::from(self.cores?))
    }
}

/// The table. `cores` are those of every task, where the operator tells.
pub fn table(tasks: &[Task], cores: Option<u32>) -> Vec<Line> {
    let mut groups: BTreeMap<(Stage, Option<u32>), Vec<&Task>> = BTreeMap::new();
    for task in without_repeats(tasks) {
        groups.entry((task.stage, cores.or_else(|| cores_in(&task.log)))).or_default().push(task);
    }
    let line = |((stage, cores), tasks): ((Stage, Option<u32>), Vec<&Task>)| {
        let files: BTreeSet<&String> = tasks.iter().map(|task| &task.log).collect();
        Line {
            stage,
            cores,
            seconds: tasks.iter().map(|task| task.seconds).collect(),
            at_once: at_once(&tasks),
            files: files.into_iter().cloned().collect(),
        }
    };
    groups.into_iter().map(line).collect()
}

/// A log tells what a daemon's answer tells more exactly, and two copies of one log tell it twice.
fn without_repeats(tasks: &[Task]) -> Vec<&Task> {
    let exact: BTreeSet<(Stage, &String)> = tasks
        .iter()
        .filter(|task| task.began.is_none())
        .filter_map(|task| Some((task.stage, task.sector.as_ref()?)))
        .collect();
    let mut seen: Vec<(Stage, Option<f64>, f64)> = Vec::new();
    let is_new = |task: &&Task| {
        let told_better =
            task.began.is_some() && task.sector.as_ref().is_some_and(|s| exact.contains(&(task.stage, s)));
        let key = (task.stage, task.began, task.seconds);
        if told_better || (task.began.is_some() && seen.contains(&key)) {
            return false;
        }
        seen.push(key);
        true
    };
    tasks.iter().filter(is_new).collect()
}

/// `benchy-p2-23cpu-1.log`: 23.
fn cores_in(name: &str) -> Option<u32> {
    let lower = name.to_ascii_lowercase();
    let name = lower.rsplit('/').next()?;
    name.match_indices("cpu").find_map(|(at, _)| {
        let digits = name[..at].bytes().rev().take_while(u8::is_ascii_digit).count();
        name[at - digits..at].parse().ok().filter(|cores| *cores > 0)
    })
}

/// The most intervals that overlap.
fn at_once(tasks: &[&Task]) -> Option<u32> {
    let mut edges: Vec<(f64, i32)> = Vec::new();
    for task in tasks {
        let began = task.began?;
        edges.extend([(began, 1), (began + task.seconds, -1)]);
    }
    // Where one ends as another begins they were not at it together.
    edges.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let (mut now, mut most) = (0, 0);
    for (_, edge) in edges {
        now += edge;
        most = most.max(now);
    }
    (most > 0).then_some(most as u32)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Log, read},
        *,
    };

    /// PC2 of a procurement in 2020: begin and end of each task by its log.
    const PC2: [(&str, &str, &str); 9] = [
        ("benchy-p2-23cpu-1.log", "2020-07-19 02:35:20", "2020-07-19 04:45:50"),
        ("benchy-p2-23cpu-2.log", "2020-07-19 02:56:48", "2020-07-19 05:10:47"),
        ("benchy-p2-23cpu-3.log", "2020-07-19 02:55:39", "2020-07-19 05:07:35"),
        ("benchy-p2-23cpu-4.log", "2020-07-19 02:52:40", "2020-07-19 04:50:48"),
        ("benchy-p2-30cpu-1.log", "2020-07-18 12:14:49", "2020-07-18 13:59:04"),
        ("benchy-p2-30cpu-2.log", "2020-07-18 12:16:50", "2020-07-18 14:02:49"),
        ("benchy-p2-30cpu-3.log", "2020-07-18 12:22:32", "2020-07-18 13:57:59"),
        ("benchy-p2-46cpu-1.log", "2020-07-17 09:02:10", "2020-07-17 10:08:25"),
        ("benchy-p2-46cpu-2.log", "2020-07-18 05:19:50", "2020-07-18 06:18:40"),
    ];

    fn tasks() -> Vec<Task> {
        let of_log = |(name, begin, end): &(&str, &str, &str)| {
            let text = format!(
                "thread_id: ThreadId(1) {begin} INFO [filecoin_proofs::api::seal_pledge] seal_pre_commit_phase2_all_zero: start\n\
                 thread_id: ThreadId(1) {end} INFO [benchy::force] p34 disabled\n"
            );
            read(&Log { name, text: &text }).tasks
        };
        PC2.iter().flat_map(of_log).collect()
    }

    #[test]
    fn the_table_is_the_one_that_was_made_by_hand() {
        let mut twice = tasks();
        twice.extend(tasks());
        for all in [tasks(), twice] {
            let lines = table(&all, None);
            let shown: Vec<_> = lines
                .iter()
                .map(|line| (line.cores, line.seconds.len(), line.at_once, line.mean_seconds() / 60.0))
                .collect();
            assert_eq!(shown.len(), 3);
            let expected = [(Some(23), 4, Some(4), 128.6), (Some(30), 3, Some(3), 101.9), (Some(46), 2, Some(1), 62.5)];
            for (found, expected) in shown.iter().zip(expected) {
                assert_eq!((found.0, found.1, found.2), (expected.0, expected.1, expected.2));
                assert!((found.3 - expected.3).abs() < 0.06, "{found:?}");
            }
            assert!((lines[0].per_hour() - 4.0 * 60.0 / 128.64).abs() < 0.01, "{}", lines[0].per_hour());
            let best = lines.iter().max_by(|a, b| a.per_core_hour().unwrap().total_cmp(&b.per_core_hour().unwrap()));
            assert_eq!(best.unwrap().cores, Some(46), "2 of 46 cores make as much of a core");
        }
    }

    #[test]
    fn an_answer_goes_before_the_log_of_the_same_sector() {
        let task = |began, seconds| Task {
            stage: Stage::C2,
            seconds,
            began,
            sector: Some("s-t01000-0".into()),
            log: "x".into(),
        };
        let lines = table(&[task(Some(5.0), 51.0), task(None, 50.4)], Some(2));
        assert_eq!((lines[0].seconds.as_slice(), lines[0].at_once, lines[0].cores), ([50.4].as_slice(), None, Some(2)));
    }

    #[test]
    fn cores_are_read_from_names_that_tell_them() {
        assert_eq!(cores_in("/logs/p2-23cpu-1.log"), Some(23));
        for none in ["cpu.log", "p2.log", "0cpu", "/8cpu/x.log"] {
            assert_eq!(cores_in(none), None, "{none}");
        }
    }
}
