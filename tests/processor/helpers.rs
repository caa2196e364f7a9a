//! `sealing_daemons`: programs beside the stages, watched like them and without tasks.

use crate::rig::{Rig, is_alive, rehearsing, run, until};
use damocles_worker::runtime::{processor::Output, stage::Stage::*};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs,
    time::{Duration, Instant},
};

fn helper(script: &str, more: &str) -> String {
    format!("[[processors.sealing_daemons]]\nbin = \"/bin/sh\"\nargs = ['-c', '''{script}''']\n{more}\n")
}

fn child(rig: &Rig) -> u32 {
    rig.pid("sealing_daemons-0")
}

#[test]
fn a_helper_that_says_it_is_ready_is_waited_for_no_longer_and_comes_back_when_it_falls() {
    let rig = Rig::new();
    let began = Instant::now();
    let _pool = rig.pool(&helper("echo file_server processor ready; exec sleep 600", "stable_wait = \"10min\""));
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    let first = child(&rig);
    kill(Pid::from_raw(first as i32), Signal::SIGKILL).unwrap();
    let lock = rig.scratch().join("sealing_daemons-0.lock");
    let second = || fs::read_to_string(&lock).ok().and_then(|text| text.parse::<u32>().ok());
    until("it is started again", || second().is_some_and(|pid| pid != first && is_alive(pid)));
    assert!(!is_alive(first));
}

#[test]
fn a_server_without_a_word_is_ready_when_it_has_lived_for_its_stable_wait() {
    let rig = Rig::new();
    let wait = Duration::from_millis(300);
    for quiet in ["exec sleep 600", "exec >&- ; exec sleep 600"] {
        let began = Instant::now();
        let pool = rig.pool(&[helper(quiet, "stable_wait = \"300ms\""), rehearsing(TreeD, "")].concat());
        assert!(began.elapsed() >= wait);
        let pid = child(&rig);
        assert_eq!(run(&pool, rig.tree_d("a")), Ok(Output::TreeD), "the stages run beside it");
        assert!(is_alive(pid));
        pool.stop();
        assert!(!is_alive(pid), "it ends with the daemon");
        drop(pool);
    }
}

#[test]
fn a_helper_that_ends_at_once_refuses_the_start_with_its_last_words() {
    let rig = Rig::new();
    let said = rig.refusal(&helper("echo port 31313 is taken >&2; exit 1", ""));
    assert!(
        said.contains("processors.sealing_daemons[0]: the child ended before it was ready: port 31313 is taken"),
        "{said}"
    );
    assert_eq!(fs::read_dir(rig.path("")).unwrap().count(), 0, "nobody is left, and nothing");
}

#[test]
fn helpers_end_after_the_stages_that_may_need_them() {
    let rig = Rig::new();
    let log = rig.path("log");
    let note = |name: &str| format!("trap 'echo {name} >> {log}; exit 0' TERM; ", log = log.display());
    let serving = format!("{}echo x processor ready; while :; do sleep 0.05; done", note("helper"));
    let stubborn = format!("{}echo tree_d processor ready; while :; do sleep 0.05; done", note("stage"));
    let stage =
        format!("[[processors.tree_d]]\nbin = \"/bin/sh\"\nargs = ['-c', '''{}''']\n", stubborn.replace('\'', "\""));
    let pool = rig.pool(&[helper(&serving.replace('\'', "\""), ""), stage].concat());
    pool.stop();
    assert_eq!(fs::read_to_string(&log).unwrap(), "stage\nhelper\n");
}
