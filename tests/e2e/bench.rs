//! A folder with a worker.toml, and daemons that run in it.

use nix::{sys::signal::Signal, unistd::Pid};
use serde_json::Value;
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

/// `damocles-worker` as built for this test.
pub const WORKER: &str = env!("CARGO_BIN_EXE_damocles-worker");
/// `damocles-worker-util` as built for this test.
pub const UTIL: &str = env!("CARGO_BIN_EXE_damocles-worker-util");

/// Longer than any step here takes on two busy cores, short enough that a hang fails the test.
const PATIENCE: Duration = Duration::from_secs(900);

pub struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    /// A folder whose worker.toml seals sectors of this proof type against the simulated chain.
    pub fn new(proof_type: &str) -> Self {
        let bench = Self { dir: tempfile::tempdir().unwrap() };
        let config = format!(
            r#"
[worker]
rpc_server = {{ host = "127.0.0.1", port = 0 }}

[sector_manager]
rpc_client.addr = "embedded"

[sector_manager.embedded]
path = "./manager"
proof_type = "{proof_type}"
epoch = "5ms"

[sealing]
seal_interval = "100ms"
recover_interval = "100ms"
rpc_polling_interval = "50ms"

[[sealing_thread]]
location = "./sealing/0"

[[attached]]
name = "persist"
location = "./persist"
"#
        );
        fs::write(bench.path("worker.toml"), config).unwrap();
        bench
    }

    /// With a c2 of its own, which is never reached, the daemon asks for no keys of this size.
    pub fn without_keys(self) -> Self {
        let c2 = "\n[[processors.c2]]\nargs = [\"processor\", \"c2\", \"--rehearse\", \"sleep=1ms\"]\n";
        let config = fs::read_to_string(self.path("worker.toml")).unwrap();
        fs::write(self.path("worker.toml"), config + c2).unwrap();
        self
    }

    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(relative)
    }

    /// A daemon on this folder's worker.toml, not yet started.
    pub fn daemon(&self, args: &[&str]) -> Command {
        let mut command = Command::new(WORKER);
        command.args(["daemon", "-c", "worker.toml"]).args(args).current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    /// Runs a daemon to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        self.daemon(args).output().unwrap()
    }

    /// Starts a daemon; its talk goes to `daemon.log`.
    pub fn start(&self, args: &[&str]) -> Running {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("daemon.log")).unwrap();
        let child = self.daemon(args).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        Running { child, journal: self.path("sealing/0/journal") }
    }

    /// How often the journal has the intent of `stage`.
    pub fn starts(&self, stage: &str) -> usize {
        count(&self.path("sealing/0/journal"), stage)
    }
}

fn count(journal: &Path, stage: &str) -> usize {
    let text = fs::read_to_string(journal).unwrap_or_default();
    text.matches(&format!(r#"{{"StageStarted":{{"stage":"{stage}"}}}}"#)).count()
}

/// A running daemon; killed if the test forgets it.
pub struct Running {
    child: Child,
    journal: PathBuf,
}

impl Running {
    /// Waits until the journal shows `text`.
    pub fn wait_for(&mut self, text: &str) {
        let start = Instant::now();
        while !fs::read_to_string(&self.journal).unwrap_or_default().contains(text) {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "the daemon ended ({ended:?}) before its journal showed {text:?}");
            assert!(start.elapsed() < PATIENCE, "the journal never showed {text:?}");
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// Waits until the journal has `n` intents of `stage`.
    pub fn wait_for_start(&mut self, stage: &str, n: usize) {
        let start = Instant::now();
        while count(&self.journal, stage) < n {
            let ended = self.child.try_wait().unwrap();
            let started = count(&self.journal, stage) >= n;
            assert!(started || ended.is_none(), "the daemon ended ({ended:?}) before it started {stage}");
            assert!(start.elapsed() < PATIENCE, "{stage} never started");
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// `kill -9`. Says whether it came before the daemon's own end.
    pub fn kill(mut self) -> bool {
        let ended = self.child.try_wait().unwrap().is_some();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        !ended
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        nix::sys::signal::kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// The exit code at its end.
    pub fn wait(mut self) -> Option<i32> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(start.elapsed() < PATIENCE, "the daemon does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The JSON lines of a daemon's answer.
pub fn reports(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What a command said on both streams, for a failing assertion.
pub fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{:?}\nstdout:\n{}\nstderr:\n{}", output.status, text(&output.stdout), text(&output.stderr))
}

/// Whether proofs of 2 KiB sectors can be made here; says what is skipped where they cannot.
pub fn has_parameters(test: &str) -> bool {
    let status = Command::new(WORKER).args(["params", "status", "--sector-size", "2KiB"]).output().unwrap();
    let has = status.status.success();
    if !has {
        let hint = "damocles-worker params generate --sector-size 2KiB";
        let _ =
            writeln!(std::io::stderr(), "skipped {test}: no proof parameters of 2 KiB sectors; make them with: {hint}");
    }
    has
}
