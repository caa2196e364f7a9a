//! Ends in order, and what a daemon that was killed leaves behind.

use crate::rig::{PATIENCE, Rig, WORKER, begin, end, is_alive, rehearsing, run, stranger, until};
use damocles_worker::runtime::stage::Stage::*;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

#[test]
fn idle_children_go_at_once_and_nothing_of_them_stays() {
    let rig = Rig::new();
    let pool = rig.pool(&[rehearsing(TreeD, ""), rehearsing(Pc2, ""), rehearsing(C2, "")].concat());
    run(&pool, rig.tree_d("a")).unwrap();
    let pids = ["tree_d-0", "pc2-0", "c2-0"].map(|child| rig.pid(child));
    let began = Instant::now();
    pool.stop();
    assert!(began.elapsed() < Duration::from_millis(1900), "by themselves: {:?}", began.elapsed());
    assert!(!pids.into_iter().any(is_alive));
    drop(pool);
    assert_eq!(fs::read_dir(rig.path("")).unwrap().count(), 1, "only the tree that was built");
}

#[test]
fn whoever_works_or_will_not_go_is_ended_and_its_task_is_told() {
    let rig = Rig::new();
    let deaf = "trap '' TERM; echo c2 processor ready; while :; do sleep 1; done";
    let pool = rig.pool(&[rehearsing(TreeD, "sleep=600s"), rehearsing(Pc2, "stubborn"), stranger(C2, deaf)].concat());
    let pids = ["tree_d-0", "pc2-0", "c2-0"].map(|child| rig.pid(child));
    let slot = begin(&pool, rig.tree_d("a"));
    let began = Instant::now();
    pool.stop();
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert!(!pids.into_iter().any(is_alive));
    assert!(end(&pool, slot).unwrap_err().to_string().contains("was killed by SIGTERM"));
}

/// A daemon whose pc1 sleeps, in a folder of its own.
struct Daemon(Child);

impl Daemon {
    fn start(dir: &Path) -> Self {
        let config = format!(
            r#"
            sector_manager.rpc_client.addr = "embedded"
            [sector_manager.embedded]
            path = "./manager"
            epoch = "5ms"
            [[sealing_thread]]
            location = "./sealing"
            [[attached]]
            location = "./persist"
            [worker]
            rpc_server = {{ host = "127.0.0.1", port = 0 }}
            {}{}{}"#,
            rehearsing(Pc1, "sleep=600s"),
            rehearsing(TreeD, ""),
            // With a c2 of its own it asks for no keys.
            rehearsing(C2, "")
        );
        fs::write(dir.join("worker.toml"), config).unwrap();
        fs::create_dir_all(dir.join("tmp")).unwrap();
        let log = fs::OpenOptions::new().create(true).append(true).open(dir.join("log")).unwrap();
        let mut command = Command::new(WORKER);
        command
            .args(["daemon", "-c", "worker.toml", "--grace", "10ms"])
            .current_dir(dir)
            .env("TMPDIR", dir.join("tmp"));
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id() as i32), signal).unwrap();
    }

    fn code(&mut self) -> Option<i32> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            assert!(began.elapsed() < PATIENCE, "the daemon does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn log(dir: &Path) -> String {
    fs::read_to_string(dir.join("log")).unwrap_or_default()
}

/// The number of the pc1 child of the last daemon, once it works.
fn working_child(dir: &Path, starts: usize) -> u32 {
    until("pc1 is being worked on", || log(dir).matches("stage=pc1").count() >= starts);
    let log = log(dir);
    let line = log.lines().rev().find(|line| line.contains("ready processor=\"pc1[0]\"")).unwrap();
    let pid = line.split("pid=").nth(1).unwrap();
    pid.split(' ').next().unwrap().parse().unwrap()
}

fn leftovers(dir: &Path) -> usize {
    fs::read_dir(dir.join("tmp")).unwrap().count()
}

#[test]
fn a_daemon_that_is_told_to_stop_takes_its_children_along() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(dir.path());
    let child = working_child(dir.path(), 1);
    assert!(is_alive(child) && leftovers(dir.path()) == 1);
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.code(), Some(0), "{}", log(dir.path()));
    assert!(!is_alive(child));
    assert_eq!(leftovers(dir.path()), 0);
}

#[test]
fn children_die_with_a_killed_daemon_and_the_next_one_sweeps_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(dir.path());
    let child = working_child(dir.path(), 1);
    let scratch = fs::read_dir(dir.path().join("tmp")).unwrap().next().unwrap().unwrap().path();
    fs::write(scratch.join("pc1-0/half"), vec![0; 4321]).unwrap();
    daemon.signal(Signal::SIGKILL);
    daemon.code();
    until("its child is gone", || !is_alive(child));
    assert!(scratch.exists());
    let _next = Daemon::start(dir.path());
    working_child(dir.path(), 2);
    let log = log(dir.path());
    assert!(log.contains("left over from a daemon that has ended") && log.contains("bytes removed"), "{log}");
    assert!(!scratch.exists());
    let journal = fs::read_to_string(dir.path().join("sealing/journal")).unwrap();
    let starts = |stage: &str| journal.matches(&format!(r#"{{"StageStarted":{{"stage":"{stage}"}}}}"#)).count();
    assert_eq!((starts("tree_d"), starts("pc1")), (1, 2), "what was done is not done again");
}

/// In a terminal Ctrl-C goes to the whole foreground group: the children are in groups of their own.
#[test]
fn children_do_not_hear_the_daemons_terminal() {
    let rig = Rig::new();
    let pool = rig.pool(&rehearsing(TreeD, ""));
    let pid = Pid::from_raw(rig.pid("tree_d-0") as i32);
    assert_eq!(nix::unistd::getpgid(Some(pid)), Ok(pid));
    assert_ne!(nix::unistd::getpgrp(), pid);
    drop(pool);
}
