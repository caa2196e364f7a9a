//! Children that fall, and what becomes of their tasks.

use crate::rig::{Rig, begin, end, is_alive, rehearsing, run, slot, stranger, until};
use damocles_worker::runtime::{
    processor::{Executor, Output},
    stage::Stage::*,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs,
    time::{Duration, Instant},
};

#[test]
fn a_death_in_the_middle_fails_its_tasks_for_now_and_the_child_comes_back() {
    let rig = Rig::new();
    let pool = rig.pool(&rehearsing(TreeD, "sleep=50ms,die=3"));
    let first = rig.pid("tree_d-0");
    assert_eq!(run(&pool, rig.tree_d("a")), Ok(Output::TreeD));
    let (b, c) = (begin(&pool, rig.tree_d("b")), begin(&pool, rig.tree_d("c")));
    // Whichever was the third brought the child down; the other may have been answered just before.
    let errors: Vec<_> = [b, c].into_iter().filter_map(|slot| end(&pool, slot).err()).collect();
    assert!(!errors.is_empty());
    for error in errors {
        assert_eq!(error.to_string(), format!("tree_d: processor tree_d[0]: child {first} was killed by SIGABRT"));
        assert!(!error.permanent);
    }
    let died = Instant::now();
    assert_eq!(run(&pool, rig.tree_d("d")), Ok(Output::TreeD), "started again");
    assert!(died.elapsed() >= Duration::from_millis(800), "after a pause");
    assert_ne!(rig.pid("tree_d-0"), first);
}

#[test]
fn pauses_grow_while_a_child_falls_again_and_again() {
    let rig = Rig::new();
    let pool = rig.pool(&rehearsing(TreeD, "die=1"));
    let falls: Vec<_> = (0..3)
        .map(|_| {
            run(&pool, rig.tree_d("a")).unwrap_err();
            Instant::now()
        })
        .collect();
    let pauses: Vec<_> = falls.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses[0] >= Duration::from_secs(1) && pauses[1] >= Duration::from_secs(2), "{pauses:?}");
}

#[test]
fn a_killed_child_takes_all_it_started_with_it() {
    let rig = Rig::new();
    // `setsid` leaves its process group; the lock that it inherited still gives it away.
    let script = "sleep 600 & setsid sleep 601 & echo tree_d processor ready; cat > /dev/null";
    let pool = rig.pool(&stranger(TreeD, script));
    let lock = rig.scratch().join("tree_d-0.lock");
    let mut holders = Vec::new();
    until("three processes hold the lock", || {
        holders = damocles_worker::sys::process::holders(&damocles_worker::sys::Root::at("/"), &lock);
        holders.len() >= 4
    });
    let slot = begin(&pool, rig.tree_d("a"));
    kill(Pid::from_raw(rig.pid("tree_d-0") as i32), Signal::SIGKILL).unwrap();
    assert!(end(&pool, slot).unwrap_err().to_string().contains("was killed by SIGKILL"));
    until("all of them are gone", || !holders.iter().any(|pid| is_alive(*pid)));
    assert!(pool.granted(self::slot(&pool, TreeD)), "and the child is back");
}

#[test]
fn temporary_files_go_with_the_child_that_made_them() {
    let rig = Rig::new();
    let script = r#"echo tree_d processor ready; read -r line; echo big > "$TMPDIR/half-a-replica"; kill -9 $$"#;
    let pool = rig.pool(&stranger(TreeD, script));
    let file = rig.scratch().join("tree_d-0/half-a-replica");
    run(&pool, rig.tree_d("a")).unwrap_err();
    slot(&pool, TreeD);
    assert!(!file.exists(), "its successor begins with an empty folder");
}

#[test]
fn a_child_that_never_is_ready_is_refused_by_name_and_does_not_stay() {
    let rig = Rig::new();
    let processors =
        [rehearsing(TreeD, "mute"), "stable_wait = \"400ms\"\n".into(), rehearsing(Pc2, "late=100ms")].concat();
    let began = Instant::now();
    let said = rig.refusal(&processors);
    assert!(
        said.contains(
            "processors.tree_d[0]: the child did not say \"tree_d processor ready\" within 0.4 s (stable_wait)"
        ),
        "{said}"
    );
    assert!(!said.contains("pc2"), "{said}");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert_eq!(fs::read_dir(rig.path("")).unwrap().count(), 0, "nobody is left, and nothing");
}

#[test]
fn a_child_that_cannot_begin_is_told_with_its_last_words() {
    let rig = Rig::new();
    let said = rig.refusal(&stranger(Pc2, "echo no licence found >&2; exit 3"));
    assert!(said.contains("processors.pc2[0]: the child ended before it was ready: no licence found"), "{said}");
    let said = rig.refusal(&stranger(Pc2, "exit 3"));
    assert!(said.contains("the child ended before it was ready; it ended with exit code 3"), "{said}");
    let said = rig.refusal("[[processors.pc2]]\nbin = \"/nonexistent/prover\"\n");
    assert!(said.contains("processors.pc2[0].bin: \"/nonexistent/prover\" is no program"), "{said}");
    let said = rig.refusal("[[processors.pc2]]\nbin = \"/bin/sh\"\nargs = [\"-c\", \"echo c2 processor ready; cat\"]\nstable_wait = \"300ms\"\n");
    assert!(said.contains("did not say \"pc2 processor ready\""), "{said}");
}

#[test]
fn without_auto_restart_the_tasks_of_the_stage_fail_instead_of_waiting() {
    let rig = Rig::new();
    let processors = format!("{}auto_restart = false\n", rehearsing(TreeD, "die=1"));
    let pool = rig.pool(&processors);
    assert!(run(&pool, rig.tree_d("a")).unwrap_err().to_string().contains("SIGABRT"));
    let error = run(&pool, rig.tree_d("b")).unwrap_err();
    assert!(error.to_string().contains("none has auto_restart: restart the daemon"), "{error}");
    assert!(!error.permanent, "the sector is tried again after the restart");
}

#[test]
fn while_one_child_is_down_the_other_gets_the_tasks() {
    let rig = Rig::new();
    let processors = [rehearsing(TreeD, ""), rehearsing(TreeD, "")].concat();
    let pool = rig.pool(&processors);
    let down = rig.pid("tree_d-0");
    kill(Pid::from_raw(down as i32), Signal::SIGKILL).unwrap();
    until("the first child is gone", || !is_alive(down));
    // One task may still meet the child that is about to be known as fallen.
    let failures = (0..20).filter(|_| run(&pool, rig.tree_d("a")).is_err()).count();
    assert!(failures <= 1, "{failures}");
}
