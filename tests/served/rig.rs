//! A folder with a manager and some workers, and the processes that run in it.

use nix::{sys::signal::Signal, unistd::Pid};
use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Output, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// `damocles-worker` as built for this test.
pub const WORKER: &str = env!("CARGO_BIN_EXE_damocles-worker");

/// Longer than any step here takes on two busy cores, short enough that a hang fails the test.
pub const PATIENCE: Duration = Duration::from_secs(600);

pub struct Rig {
    dir: tempfile::TempDir,
}

impl Rig {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(relative)
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// `damocles-worker` in this folder.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(WORKER);
        command.args(args).current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// A running `damocles-worker` whose answer is read line by line; its talk goes to `LOG`.
    pub fn start(&self, log: &str, args: &[&str]) -> Running {
        let talk = fs::OpenOptions::new().create(true).append(true).open(self.path(log)).unwrap();
        let child = self.command(args).stdout(Stdio::piped()).stderr(talk).spawn().unwrap();
        Running::new(child, self.path(log))
    }

    /// A manager that rehearses; the store of finished sectors is `persist`.
    pub fn manager(&self, listen: &str) -> Manager {
        let args = ["manager", "--listen", listen, "--epoch", "5ms", "--attach", "persist=./persist", "--json"];
        let running = self.start("manager.log", &[&args[..], &["--rehearse"]].concat());
        let line: Value = serde_json::from_str(&running.line(0)).unwrap();
        let address = line["url"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap();
        Manager { running, address, chain: line["chain"].as_str().unwrap().to_owned() }
    }

    /// The configuration of a worker with so many threads, in a folder of its name.
    pub fn worker(&self, name: &str, manager: SocketAddr, threads: usize) {
        let threads: String =
            (0..threads).map(|n| format!("[[sealing_thread]]\nlocation = \"./{name}/{n}\"\n")).collect();
        let text = format!(
            r#"
[worker]
name = "{name}"
ping_interval = "50ms"
rpc_server = {{ host = "127.0.0.1", port = 0 }}

[sector_manager]
rpc_client.addr = "http://{manager}"

[sealing]
seal_interval = "100ms"
recover_interval = "100ms"
rpc_polling_interval = "50ms"
max_retries = 10

{threads}
[[attached]]
name = "persist"
location = "./persist"
"#
        );
        self.write(&format!("{name}.toml"), &text);
    }

    /// A daemon that rehearses, until so many sectors are finished.
    pub fn daemon(&self, name: &str, sectors: usize) -> Running {
        let (config, sectors) = (format!("{name}.toml"), sectors.to_string());
        let args = ["daemon", "-c", &config, "--json", "--sectors", &sectors, "--rehearse", "sleep=5ms,jitter=20ms"];
        self.start(&format!("{name}.log"), &args)
    }
}

pub struct Manager {
    pub running: Running,
    pub address: SocketAddr,
    pub chain: String,
}

/// A process; killed if the test forgets it.
pub struct Running {
    child: Child,
    log: PathBuf,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Running {
    fn new(mut child: Child, log: PathBuf) -> Self {
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let (out, into) = (child.stdout.take().unwrap(), lines.clone());
        let reader = Some(thread::spawn(move || collect(out, &into)));
        Self { child, log, lines, reader }
    }

    /// What it has answered.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// The nth line of its answer, waited for.
    pub fn line(&self, nth: usize) -> String {
        let start = Instant::now();
        loop {
            if let Some(line) = self.lines().get(nth) {
                return line.clone();
            }
            assert!(start.elapsed() < PATIENCE, "no line {nth}: {}", self.talk());
            if self.reader.as_ref().is_some_and(JoinHandle::is_finished) && self.lines().len() <= nth {
                panic!("it ended without line {nth}: {}", self.talk());
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Its log.
    pub fn talk(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// `kill -9`; what it had answered.
    pub fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.reader.take().unwrap().join().unwrap();
        self.lines()
    }

    /// Whether it has not ended.
    pub fn is_alive(&self) -> bool {
        self.reader.as_ref().is_some_and(|reader| !reader.is_finished())
    }

    pub fn signal(&self, signal: Signal) {
        nix::sys::signal::kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// The exit code at its end, and its whole answer.
    pub fn wait(mut self) -> (Option<i32>, Vec<String>) {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.reader.take().unwrap().join().unwrap();
                return (status.code(), self.lines());
            }
            assert!(start.elapsed() < PATIENCE, "it does not end: {}", self.talk());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn collect(out: ChildStdout, into: &Mutex<Vec<String>>) {
    for line in BufReader::new(out).lines() {
        into.lock().unwrap().push(line.unwrap());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a command said on both streams, for a failing assertion.
pub fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{:?}\nstdout:\n{}\nstderr:\n{}", output.status, text(&output.stdout), text(&output.stderr))
}
