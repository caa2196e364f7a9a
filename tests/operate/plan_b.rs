//! The field's "plan B" in a whole daemon: one GPU, and one lock that pc2 and c2 share. Its one feared flaw is that the GPU
//! stays with one stage, and sectors that wait for the other pile up.

use crate::rig::{Rig, rehearsing};
use std::{collections::BTreeMap, fs, io::Write};

const SECTORS: &str = "24";

/// A task that began on the GPU. Slots are counted as they are queued for, over all stages.
#[derive(Debug)]
struct Served {
    stage: String,
    slot: u64,
    waited: f64,
}

/// What the log tells, in the order of beginning: only one can have the lock, and it is told before the task is.
fn served(log: &str) -> Vec<Served> {
    let tasks = log.lines().filter_map(|line| line.split_once(" task stage="));
    let read = |(_, fields): (&str, &str)| {
        let fields = format!("stage={fields}");
        let fields: BTreeMap<_, _> = fields.split_whitespace().filter_map(|field| field.split_once('=')).collect();
        let number = |name: &str| fields[name].parse::<f64>().unwrap_or_else(|_| panic!("{fields:?}"));
        Served { stage: fields["stage"].to_owned(), slot: number("slot") as u64, waited: number("waited") }
    };
    tasks.map(read).filter(|task| task.stage == "pc2" || task.stage == "c2").collect()
}

/// The turns in which another stage was served twice, one after the other, though both had come later than this task.
fn passed_by_twice(order: &[Served]) -> Vec<String> {
    let mut found = Vec::new();
    for (at, task) in order.iter().enumerate() {
        let later = |other: &Served| other.stage != task.stage && other.slot > task.slot;
        let twice = order[..at].windows(2).filter(|pair| pair.iter().all(later));
        found.extend(twice.map(|pair| format!("{task:?} by {pair:?}")));
    }
    found
}

#[test]
fn one_gpu_for_two_stages_goes_round_between_them() {
    let gpu = |stage, script| rehearsing(stage, script) + "locks = [\"gpu1\"]\n";
    let more =
        ["[processors.ext_locks]\ngpu1 = 1\n".to_owned(), rehearsing("pc1", "sleep=5ms"), gpu("pc2", "sleep=150ms")];
    let rig = Rig::new(&[""; 12], &more.concat());
    rig.edit(&rehearsing("c2", ""), &gpu("c2", "sleep=200ms,jitter=50ms"));
    rig.edit("epoch = \"1h\"", "epoch = \"1ms\"");
    let log = rig.path("daemon.log");
    let args = ["--rehearse", "sleep=1ms", "--sectors", SECTORS];
    let daemon = rig.start_with(&args, &[("RUST_LOG", "damocles_worker=debug")]);
    assert_eq!(daemon.wait(), Some(0), "every sector is finished");
    let order = served(&fs::read_to_string(log).unwrap());
    let told = |stage: &str| {
        let mut waits: Vec<_> = order.iter().filter(|task| task.stage == stage).map(|task| task.waited).collect();
        waits.sort_by(f64::total_cmp);
        let count = waits.len();
        assert!(count >= SECTORS.parse::<usize>().unwrap(), "{stage} was served {count} times only");
        format!("{stage}: {count} tasks, waited {:.2} s (median), {:.2} s at most", waits[count / 2], waits[count - 1])
    };
    let line = format!("one GPU, 12 threads: {}; {}", told("pc2"), told("c2"));
    let _ = writeln!(std::io::stderr(), "{line}");
    let overtaken = |task: &(usize, &Served)| order[..task.0].iter().any(|other| other.slot > task.1.slot);
    assert!(order.iter().enumerate().any(|task| overtaken(&task)), "they never met, which shows nothing: {line}");
    assert_eq!(passed_by_twice(&order), Vec::<String>::new(), "{line}");
}

#[test]
fn an_order_in_which_one_stage_keeps_the_gpu_would_be_seen() {
    let task = |stage: &str, slot| Served { stage: stage.into(), slot, waited: 0.0 };
    let fair = [task("pc2", 1), task("pc2", 3), task("c2", 2), task("pc2", 4)];
    assert_eq!(passed_by_twice(&fair).len(), 0);
    let unfair = [task("pc2", 1), task("pc2", 3), task("pc2", 4), task("c2", 2)];
    assert_eq!(passed_by_twice(&unfair).len(), 1);
}
