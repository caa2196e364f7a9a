//! Beginnings and ends of one log as tasks. An end that fits several beginnings fits none: a guess is no measurement.

use super::{Log, Mark, What, marks, stamp};
use crate::{profile::Stage, units::SectorSize};

/// A task that a log tells of.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    pub stage: Stage,
    pub seconds: f64,
    /// When it began, in seconds since 1970, where the log tells.
    pub began: Option<f64>,
    pub sector: Option<String>,
    /// The name of the log.
    pub log: String,
}

/// What was found in a log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    pub tasks: Vec<Task>,
    pub sector_size: Option<SectorSize>,
    /// Lines without a marker.
    pub unknown_lines: u64,
    /// Beginnings without an end.
    pub unfinished: u64,
    /// Ends that fit several beginnings, and markers without a time.
    pub unclear: u64,
    /// The first date.
    pub date: Option<String>,
}

struct Pending {
    stage: Stage,
    who: Option<String>,
    sector: Option<String>,
    began: f64,
}

/// Reads a log.
pub fn read(log: &Log) -> Found {
    let mut found = Found::default();
    let mut pending: Vec<Pending> = Vec::new();
    for line in log.text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let line = plain(line);
        let (marks, size) = marks(&line);
        found.sector_size = found.sector_size.or(size);
        if marks.is_empty() {
            found.unknown_lines += u64::from(size.is_none());
            continue;
        }
        let time = stamp(&line);
        if let (None, Some((_, date))) = (&found.date, time) {
            found.date = Some(date.to_owned());
        }
        for mark in marks {
            hear(mark, time.map(|(seconds, _)| seconds), log.name, &mut pending, &mut found);
        }
    }
    found.unfinished += pending.len() as u64;
    found
}

fn hear(mark: Mark, time: Option<f64>, log: &str, pending: &mut Vec<Pending>, found: &mut Found) {
    let task = |seconds, began, sector| Task { stage: mark.stage, seconds, began, sector, log: log.to_owned() };
    if let What::Took { seconds, ended_ms } = mark.what {
        let began = ended_ms.map(|ms| ms as f64 / 1e3 - seconds);
        found.tasks.push(task(seconds, began, mark.sector.clone()));
        return;
    }
    let Some(now) = time else {
        found.unclear += 1;
        return;
    };
    let begin = || Pending { stage: mark.stage, who: mark.who.clone(), sector: mark.sector.clone(), began: now };
    let fits = |one: &Pending| {
        let same = |a: &Option<String>, b: &Option<String>| a.is_none() || b.is_none() || a == b;
        one.stage == mark.stage && same(&one.who, &mark.who) && same(&one.sector, &mark.sector)
    };
    let fitting: Vec<usize> = (0..pending.len()).filter(|place| fits(&pending[*place])).collect();
    match (mark.what, fitting.as_slice()) {
        (What::Begin, _) | (What::BeginAgain, []) => {
            // The same thread or sector cannot be at it twice: what had begun was broken off.
            let named = mark.who.is_some() || mark.sector.is_some();
            let before = pending.len();
            pending
                .retain(|one| !(named && one.stage == mark.stage && one.who == mark.who && one.sector == mark.sector));
            found.unfinished += (before - pending.len()) as u64;
            pending.push(begin());
        }
        (What::BeginAgain, [one]) => pending[*one].began = now,
        (What::End, [one]) => {
            let one = pending.remove(*one);
            let seconds = now - one.began;
            if seconds > 0.0 {
                found.tasks.push(task(seconds, Some(one.began), one.sector.or(mark.sector.clone())));
            } else {
                // Clocks that were set back; or a log of whole seconds and a task of less.
                found.unclear += 1;
            }
        }
        // Benchy says what is switched on or off also where nothing of it ran before.
        (What::End, []) => {}
        (_, several) => {
            found.unclear += several.len() as u64;
            several.iter().rev().for_each(|place| drop(pending.remove(*place)));
        }
    }
}

/// Without the colours of a terminal.
fn plain(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, colour)) = rest.split_once("\u{1b}[") {
        text.push_str(before);
        let end = colour.find(|c: char| c.is_ascii_alphabetic());
        rest = end.map_or("", |end| &colour[end + 1..]);
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(text: &str) -> Found {
        read(&Log { name: "a.log", text })
    }

    fn told(found: &Found) -> Vec<(Stage, f64)> {
        found.tasks.iter().map(|task| (task.stage, task.seconds)).collect()
    }

    #[test]
    fn a_whole_run_of_benchy_is_four_tasks() {
        let t = |time: &str, text: &str| format!("thread_id: ThreadId(1) 2020-07-23 {time} INFO {text}\n");
        let log = [
            t("14:52:00", "[benchy::force] p1 enabled"),
            t("14:52:09", "[filecoin_proofs::api::seal_pledge] seal_pre_commit_phase1_all_zero: start"),
            t("17:44:04", "[benchy::force] p2 enabled"),
            t("17:44:05", "[filecoin_proofs::api::seal_pledge] seal_pre_commit_phase2_all_zero: start"),
            t("18:59:44", "[benchy::force] p34 enabled"),
            t("18:59:44", "[filecoin_proofs::api::seal] seal_commit_phase1:start"),
            t("19:00:19", "[filecoin_proofs::api::seal] seal_commit_phase2:start"),
            t("19:05:19", "[filecoin_proofs::api::seal] got groth params (34359738368) while sealing"),
            t("20:05:19", "[filecoin_proofs::api::seal] seal_commit_phase2:finish"),
        ];
        let found = found(&log.concat());
        let expected = [(Stage::Pc1, 10_315.0), (Stage::Pc2, 4539.0), (Stage::C1, 35.0), (Stage::C2, 3600.0)];
        assert_eq!(told(&found), expected, "parameters are read before c2 begins");
        assert_eq!((found.unknown_lines, found.unfinished, found.unclear), (1, 0, 0));
        assert_eq!((found.sector_size, found.date.as_deref()), (Some(SectorSize::GiB32), Some("2020-07-23")));
    }

    #[test]
    fn ends_that_fit_several_beginnings_are_told_and_not_guessed() {
        let line =
            |second: u32, text: &str| format!("2026-01-01T00:00:{second:02} INFO seal_pre_commit_phase2:{text}\n");
        let found = found(&[line(0, "start"), line(1, "start"), line(9, "finish"), line(10, "finish")].concat());
        assert_eq!((told(&found).len(), found.unclear), (0, 2));
        let named = |second: u32, text: &str, thread: u32| format!("ThreadId({thread}) {}", line(second, text));
        let log = [named(0, "start", 1), named(1, "start", 2), named(9, "finish", 1), named(11, "finish", 2)].concat();
        assert_eq!(told(&super::tests::found(&log)), [(Stage::Pc2, 9.0), (Stage::Pc2, 10.0)]);
    }

    #[test]
    fn what_was_broken_off_is_unfinished() {
        let line = |second: u32, text: &str| format!("\u{1b}[2m2026-01-01T00:00:{second:02}Z\u{1b}[0m  INFO {text}\n");
        let log = [
            line(0, "started sector=\"s-t01000-0\" stage=pc1"),
            line(5, "started sector=\"s-t01000-0\" stage=pc1"),
            line(9, "reached sector=\"s-t01000-0\" state=PC1Done"),
            line(9, "started sector=\"s-t01000-0\" stage=pc2"),
        ];
        let found = found(&log.concat());
        assert_eq!((told(&found), found.unfinished), (vec![(Stage::Pc1, 4.0)], 2));
    }

    proptest! {
        #[test]
        fn every_beginning_ends_once_or_is_told(events in proptest::collection::vec((0u32..3, any::<bool>()), 0..40)) {
            let text: String = events.iter().enumerate().map(|(at, (thread, begins))| {
                let word = if *begins { "start" } else { "finish" };
                format!("ThreadId({thread}) 2026-01-01T00:{:02}:{:02} seal_pre_commit_phase2:{word}\n", at / 60, at % 60)
            }).collect();
            let found = found(&text);
            let begun = events.iter().filter(|(_, begins)| *begins).count() as u64;
            prop_assert_eq!(found.tasks.len() as u64 + found.unfinished + found.unclear, begun);
            prop_assert!(found.tasks.iter().all(|task| task.seconds > 0.0));
        }

        #[test]
        fn no_log_is_too_strange(text in "(\\PC|\n){0,200}") {
            found(&text);
        }
    }
}
