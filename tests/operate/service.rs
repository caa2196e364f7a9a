//! What systemd hears of a daemon, and the unit that is shipped for it.

use crate::rig::{Rig, WORKER};
use nix::sys::signal::Signal;
use std::{
    fs,
    os::unix::net::UnixDatagram,
    process::Command,
    time::{Duration, Instant},
};

/// Listens until somebody says `what`; all that was said meanwhile.
fn hear(socket: &UnixDatagram, what: &str) -> String {
    let (mut heard, began) = (String::new(), Instant::now());
    let mut message = [0; 4096];
    while !heard.contains(what) {
        assert!(began.elapsed() < crate::rig::PATIENCE, "{what} was not heard, only {heard}");
        if let Ok(length) = socket.recv(&mut message) {
            heard += &String::from_utf8_lossy(&message[..length]);
        }
    }
    heard
}

#[test]
fn systemd_hears_ready_alive_status_and_stopping() {
    let rig = Rig::failing();
    let path = rig.path("notify.sock");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let env = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "400000")];
    let daemon = rig.start_with(&[], &env);
    let first = hear(&socket, "READY=1");
    assert!(first.contains("STATUS=1 threads: ") && !first.contains("WATCHDOG=1"), "{first}");
    hear(&socket, "WATCHDOG=1");
    daemon.signal(Signal::SIGTERM);
    hear(&socket, "STOPPING=1");
    assert_eq!(daemon.wait(), Some(0));
}

#[test]
fn the_shipped_unit_starts_a_command_that_there_is_and_waits_longer_than_a_stop_takes() {
    let unit = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/templates/damocles-worker.service")).unwrap();
    let value = |key: &str| {
        let line = unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("{key} is not in the unit"))
    };
    assert_eq!((value("Type"), value("NotifyAccess"), value("Restart")), ("notify", "main", "on-failure"));
    let mut words = value("ExecStart").split_whitespace();
    assert_eq!(words.next(), Some("/usr/local/bin/damocles-worker"));
    let parsed = Command::new(WORKER).args(words).output().unwrap();
    let said = String::from_utf8_lossy(&parsed.stderr).into_owned();
    assert!(said.contains("read the configuration /etc/damocles-worker/worker.toml"), "all flags are known: {said}");
    let seconds: u64 = value("TimeoutStopSec").trim_end_matches('s').parse().unwrap();
    // Grace 10 s, threads 5 s, children 2 + 2 + 10 s, the runtime 1 s.
    assert!(seconds > 30, "{seconds}");
}
