//! Lives by the hundred, each from a seed, in processes of their own.

use crate::life::{Nature, live};
use std::{
    collections::BTreeMap,
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    process::{Child, Command, Stdio},
};

/// Which seeds to live.
const FIRST: &str = "DAMOCLES_SIM_FIRST";
const SEEDS: &str = "DAMOCLES_SIM_SEEDS";
/// Set for a process that lives a part of them.
const PART: &str = "DAMOCLES_SIM_PART";
/// So many in every run of the tests.
const USUAL: u64 = 300;
const PROCESSES: u64 = 2;

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name)
        .ok()
        .map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}: not a number")))
}

/// Everything ends Finished or Aborted with a reason, nothing that was done is done again, no limit, lock, room or gap is
/// broken, whatever fails and whenever it crashes.
#[test]
fn lives_of_any_seed_break_no_rule() {
    let (first, seeds) = (number(FIRST, 0), number(SEEDS, USUAL));
    if seeds < PROCESSES || std::env::var_os(PART).is_some() {
        return live_all(first, seeds);
    }
    // The limit by which a disk is full is a process's, so each part has its own.
    let share = seeds.div_ceil(PROCESSES);
    let parts: Vec<_> = (0..PROCESSES).map(|nth| start(first + nth * share, share.min(seeds - nth * share))).collect();
    let ends: Vec<_> = parts.into_iter().map(|part| part.wait_with_output().unwrap()).collect();
    for end in &ends {
        let said = format!("{}{}", String::from_utf8_lossy(&end.stdout), String::from_utf8_lossy(&end.stderr));
        let told = said.lines().filter(|line| line.starts_with("lives "));
        told.for_each(|line| writeln!(std::io::stderr(), "{line}").unwrap());
        assert!(end.status.success(), "{said}");
    }
}

fn start(first: u64, seeds: u64) -> Child {
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new(program);
    command.args(["--exact", "lives::lives_of_any_seed_break_no_rule", "--nocapture"]);
    command.env(FIRST, first.to_string()).env(SEEDS, seeds.to_string()).env(PART, "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn live_all(first: u64, seeds: u64) {
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    let mut count = |what: &str, times: u64| *seen.entry(what.to_owned()).or_default() += times;
    for seed in first..first + seeds {
        let replay =
            format!("replay with {FIRST}={seed} {SEEDS}=1 cargo test --test sim lives_of_any_seed -- --nocapture");
        let lived = catch_unwind(AssertUnwindSafe(|| live(seed, &Nature { full_disks: true, ..Nature::default() })));
        let story = match lived {
            Ok(Ok(story)) => story,
            Ok(Err(findings)) => panic!("seed {seed}:\n{}\n{replay}", findings.join("\n")),
            Err(_) => panic!("seed {seed}: a panic\n{replay}"),
        };
        count("sectors finished", story.finished);
        count("sectors aborted", story.aborted);
        count("crashes", story.crashes);
        count("steps", story.steps as u64);
        story.seen.iter().for_each(|(what, times)| count(what, *times));
    }
    let told: Vec<_> = seen.iter().map(|(what, times)| format!("{what} {times}")).collect();
    let last = first + seeds - 1;
    let _ = writeln!(std::io::stderr(), "lives {first} to {last}: {}", told.join(", "));
    // A simulation in which nothing goes wrong proves nothing.
    if seeds >= 100 {
        for what in [
            "sectors finished",
            "sectors aborted",
            "crashes",
            "torn line",
            "full disk",
            "child died",
            "paused",
            "C1Lost",
            "PreCommitFailed",
            "ProofFailed",
            "restore_replica",
            "SetBack",
            "UndoneRemoved",
            "paused by an operator",
            "order refused",
            "stopped in order",
            "flipped bit found",
            "sectors with deals",
        ] {
            assert!(seen.get(what).is_some_and(|times| *times > 0), "never seen: {what}");
        }
    }
}

#[test]
fn the_same_seed_lives_the_same_life() {
    let told = |seed| format!("{:?}", live(seed, &Nature { calm: true, ..Nature::default() }).unwrap());
    assert_eq!(told(3), told(3));
    assert_ne!(told(3), told(4));
}
