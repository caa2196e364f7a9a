//! One GPU for pc2 and c2 under load: both go on, and how long each waited is told.

use crate::rig::{Rig, c2, end, pc2, slot, stranger, tell};
use damocles_worker::runtime::{
    processor::{Executor, pool::Pool},
    stage::Stage,
};
use std::{
    collections::BTreeMap,
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// Plan B of the field's example, whose one feared flaw is that the GPU stays with one stage: two GPUs, each with a lock
/// that a pc2 and a c2 share, and three threads that want pc2 for each one that wants c2.
const LOCKS: &str = "[processors.ext_locks]\ngpu1 = 1\ngpu2 = 1\n";
const RUN: Duration = Duration::from_secs(4);

/// A stranger that works on a GPU which no two may have: it says so when somebody else has it.
fn prover(stage: Stage, gpu: &Path, seconds: &str, lock: &str) -> String {
    let script = format!(
        r#"echo "{stage} processor ready"
while read -r line; do
    id=${{line#*:}}; id=${{id%%,*}}
    said=done; mkdir {gpu:?} || said="two on one GPU"
    sleep {seconds}; rmdir {gpu:?}
    echo "{{\"id\":$id,\"err_msg\":\"$said\",\"output\":null}}"
done"#
    );
    format!("{}locks = [\"{lock}\"]\nconcurrent = 4\n", stranger(stage, &script))
}

/// Takes slots and uses them until `until`; how long each was waited for.
fn worker(pool: &Pool, stage: Stage, dir: &Path, until: Instant) -> Vec<Duration> {
    let mut waits = Vec::new();
    while Instant::now() < until {
        let queued = Instant::now();
        let slot = slot(pool, stage);
        waits.push(queued.elapsed());
        pool.start(slot, if stage == Stage::C2 { c2() } else { pc2(dir) });
        assert_eq!(end(pool, slot).unwrap_err().reason, "done");
    }
    waits
}

#[test]
fn two_stages_on_the_same_gpus_both_go_on_under_load() {
    let rig = Rig::new();
    let [one, two] = ["gpu-1", "gpu-2"].map(|name| rig.path(name));
    let tables = [
        prover(Stage::Pc2, &one, "0.012", "gpu1"),
        prover(Stage::Pc2, &two, "0.012", "gpu2"),
        prover(Stage::C2, &one, "0.015", "gpu1"),
        prover(Stage::C2, &two, "0.015", "gpu2"),
    ];
    let pool = rig.pool(&(LOCKS.to_owned() + &tables.concat()));
    let until = Instant::now() + RUN;
    let mut waits: BTreeMap<Stage, Vec<Duration>> = BTreeMap::new();
    thread::scope(|scope| {
        let start = |n: usize| {
            let stage = if n % 4 == 3 { Stage::C2 } else { Stage::Pc2 };
            let (pool, dir) = (&pool, rig.path("store"));
            (stage, scope.spawn(move || worker(pool, stage, &dir, until)))
        };
        for (stage, thread) in (0..12).map(start).collect::<Vec<_>>() {
            waits.entry(stage).or_default().extend(thread.join().unwrap());
        }
    });
    waits.values_mut().for_each(|waits| waits.sort());
    let line = |stage| {
        let waits = &waits[&stage];
        let at = |share: usize| waits[(waits.len() - 1) * share / 100].as_millis();
        let count = waits.len();
        format!(
            "{stage}: {count} tasks, waited {} ms (median), {} ms (99 of 100), {} ms at most",
            at(50),
            at(99),
            at(100)
        )
    };
    let told = format!("{}; {}", line(Stage::Pc2), line(Stage::C2));
    tell(&format!("two GPUs for 9 pc2 and 3 c2 threads, {} s: {told}", RUN.as_secs()));
    let (pc2, c2) = (&waits[&Stage::Pc2], &waits[&Stage::C2]);
    assert!(pc2.len() > 20 && c2.len() > 20, "both go on: {told}");
    // Nine pc2 threads fill every turn that three c2 threads leave; they do not get more than those.
    assert!(c2.len() * 4 > pc2.len(), "{told}");
    assert!(
        c2.last() < Some(&(RUN / 2)) && pc2.last() < Some(&(RUN / 2)),
        "nobody waits for the others to stop: {told}"
    );
}
