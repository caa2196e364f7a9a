//! SIGKILL at random moments of a run: the next one succeeds, and not a page is lost.

use crate::{
    faults::{changes, first, forget, run_with},
    rig::{Rig, SMALL, counter},
};
use damocles_worker::sys::faults::Faults;
use std::{
    process::Stdio,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Numbers by chance that a seed repeats (xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit.max(1)
    }
}

fn seed() -> u64 {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |time| time.as_nanos() as u64);
    std::env::var("DAMOCLES_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(now) | 1
}

#[test]
fn a_run_that_is_killed_at_any_moment_is_taken_back_by_the_next() {
    let Some(rig) = Rig::take("a_run_that_is_killed_at_any_moment_is_taken_back_by_the_next") else { return };
    let kills = if std::env::var_os("DAMOCLES_SLOW").is_some() { 200 } else { 20 };
    let seed = seed();
    let told = format!("replay with DAMOCLES_SEED={seed} cargo test --test hugepage killed_at_any_moment");
    let mut chance = Chance(seed);
    let args = ["-c", "3", "-s", "64MiB", "--path", "@/huge/pc1", "--mount", "@/huge", "--page-size", "2MiB"];
    let refused = ["-n", "77", "-c", "1", "-s", "2MiB", "--path", "@/huge/pc1"];
    let mut lengths: Vec<_> = (0..5).map(|_| length(&rig, &args)).collect();
    lengths.sort();
    let measured = lengths[2];
    let mut whole = measured;
    let before = rig.snapshot();
    let (mut killed, mut unfinished) = (0, 0);
    for round in 0..kills {
        let after = Duration::from_nanos(chance.below(whole.as_nanos() as u64 * 11 / 10));
        let mut child = rig.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        thread::sleep(after);
        let _ = child.kill();
        let ended = child.wait().unwrap();
        killed += u32::from(!ended.success());
        // How busy the machine is changes: runs that end by themselves have become shorter than was measured.
        whole = if ended.success() { whole * 9 / 10 } else { whole * 21 / 20 }.clamp(measured / 8, measured * 2);
        let record = std::fs::read_to_string(rig.state()).unwrap_or_default();
        unfinished += u32::from(record.contains("\"run\": {"));
        if ended.success() || record.contains("\"run\": null") {
            // It had committed: its files stay, and the next finds them.
            assert_eq!(rig.run(&args).ok().out.matches(": was there, verified").count(), 3, "round {round}, {told}");
        } else if round % 2 == 0 {
            // The next run is refused, and takes back all the same.
            rig.run(&refused).refused(2, &["node 77 is not there"]);
            assert_eq!(rig.snapshot(), before, "round {round}, killed after {after:?}; {told}");
            continue;
        } else {
            let answer = rig.run(&args).ok();
            assert_eq!(answer.out.matches(": made, 32 pages of 2MiB").count(), 3, "round {round}, {told}");
        }
        // What one run needs, and nothing of the killed one.
        let free_before = before_free(&before);
        assert_eq!(
            counter(SMALL, "free"),
            free_before.saturating_sub(96),
            "round {round}, killed after {after:?}; {told}"
        );
        let staged = std::fs::read_dir(rig.path("huge")).unwrap().count();
        assert_eq!(staged, 1, "round {round}: a folder of a killed run is left; {told}");
        rig.clear();
        assert_eq!(rig.snapshot(), before, "round {round}, killed after {after:?}; {told}");
    }
    // Of a few kills none may have met a run while its record was open.
    assert!(
        killed > kills / 5 && (unfinished > 0 || kills < 50),
        "{killed} killed, {unfinished} in the middle; {told}"
    );
}

/// The next one takes a killed run back, and is killed while it does; and the next one again.
#[test]
fn a_recovery_that_is_killed_at_any_moment_is_finished_by_the_next() {
    let Some(rig) = Rig::take("a_recovery_that_is_killed_at_any_moment_is_finished_by_the_next") else { return };
    let rounds = if std::env::var_os("DAMOCLES_SLOW").is_some() { 100 } else { 10 };
    let seed = seed();
    let told = format!("replay with DAMOCLES_SEED={seed} cargo test --test hugepage a_recovery_that_is_killed");
    let mut chance = Chance(seed);
    // Broken off when the files are there and about to get their names, and when all but one thing is done.
    let changes = changes(&rig);
    let moments = [first(&changes, "allocate the pages of") + 1, changes.len() - 3, changes.len() - 1];
    let refused = ["-n", "77", "-c", "1", "-s", "2MiB", "--path", "@/huge/pc1"];
    let before = rig.snapshot();
    let mut whole = Duration::from_millis(30);
    let (mut killed, mut open) = (0, 0);
    // More rounds where none has met a recovery in its middle yet.
    for round in 0..rounds * 20 {
        if round >= rounds && open > 0 {
            break;
        }
        forget(&rig);
        run_with(&rig, &Faults::from(moments[round % moments.len()])).unwrap_err();
        for _ in 0..3 {
            let mut child = rig.command(&refused).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            thread::sleep(Duration::from_nanos(chance.below(whole.as_nanos() as u64)));
            let _ = child.kill();
            killed += u32::from(child.wait().unwrap().code().is_none());
            open += u32::from(std::fs::read_to_string(rig.state()).unwrap_or_default().contains("\"before_undo\": "));
        }
        let began = Instant::now();
        rig.run(&refused).refused(2, &["node 77 is not there"]);
        whole = (whole + began.elapsed() * 2) / 2;
        assert_eq!(rig.snapshot(), before, "round {round}; {told}");
    }
    assert!(killed > 0 && open > 0, "{killed} killed, {open} in the middle; {told}");
}

/// How long a run takes that is left alone.
fn length(rig: &Rig, args: &[&str]) -> Duration {
    let began = Instant::now();
    rig.run(args).ok();
    let whole = began.elapsed();
    rig.clear();
    whole
}

fn before_free(before: &crate::rig::Snapshot) -> u64 {
    before.counter(&format!("node0/hugepages/hugepages-{SMALL}kB/free_hugepages"))
}
