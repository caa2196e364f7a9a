//! A folder with a worker.toml whose stages pretend, and the daemon that runs in it.

use nix::{sys::signal::Signal, unistd::Pid};
use serde_json::Value;
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

/// `damocles-worker` as built for this test.
pub const WORKER: &str = env!("CARGO_BIN_EXE_damocles-worker");

/// Longer than any step here takes on two busy cores, short enough that a hang fails the test.
pub const PATIENCE: Duration = Duration::from_secs(180);

pub struct Rig {
    dir: tempfile::TempDir,
}

/// `[[processors.STAGE]]` that pretends as `script` says.
pub fn rehearsing(stage: &str, script: &str) -> String {
    format!("[[processors.{stage}]]\nargs = [\"processor\", \"{stage}\", \"--rehearse\", \"{script}\"]\n")
}

impl Rig {
    /// One thread per entry of `threads`, which has the thread's own keys; `more` is the rest of the file.
    pub fn new(threads: &[&str], more: &str) -> Self {
        let rig = Self { dir: tempfile::tempdir().unwrap() };
        let mut config = "\
            [worker]\nrpc_server.host = \"127.0.0.1\"\nrpc_server.port = 0\n\
            [metrics]\nenable = true\nhttp_listen = \"127.0.0.1:0\"\n\
            [sector_manager]\nrpc_client.addr = \"embedded\"\n\
            [sector_manager.embedded]\npath = \"./manager\"\nepoch = \"1h\"\n\
            [sealing]\nseal_interval = \"50ms\"\nrecover_interval = \"50ms\"\nrpc_polling_interval = \"50ms\"\nmax_retries = 0\n\
            [[attached]]\nname = \"persist\"\nlocation = \"./persist\"\n"
            .to_owned();
        for (index, keys) in threads.iter().enumerate() {
            config += &format!("[[sealing_thread]]\nlocation = \"./sealing/{index}\"\n{keys}\n");
        }
        for stage in ["add_pieces", "tree_d", "c2"] {
            config += &rehearsing(stage, "");
        }
        fs::write(rig.path("worker.toml"), config + more).unwrap();
        rig
    }

    /// One thread whose pc2 fails: each sector pauses at `PC1Done`.
    pub fn failing() -> Self {
        Self::new(&[""], &[rehearsing("pc1", ""), rehearsing("pc2", "fail=1")].concat())
    }

    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(relative)
    }

    pub fn journal(&self, thread: usize) -> String {
        fs::read_to_string(self.path(format!("sealing/{thread}/journal"))).unwrap_or_default()
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(WORKER);
        command.args(args).current_dir(self.dir.path()).stdin(Stdio::null()).env("TMPDIR", self.dir.path());
        // Of a service manager that runs these tests.
        command.env_remove("NOTIFY_SOCKET").env_remove("WATCHDOG_USEC").env_remove("RUST_LOG");
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    pub fn edit(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.path("worker.toml")).unwrap();
        assert!(text.contains(from), "{from}");
        fs::write(self.path("worker.toml"), text.replace(from, to)).unwrap();
    }

    pub fn start(&self) -> Daemon<'_> {
        self.start_with(&[], &[])
    }

    /// Starts a daemon whose talk goes to `daemon.log`, and waits until its RPC answers.
    pub fn start_with(&self, args: &[&str], env: &[(&str, &str)]) -> Daemon<'_> {
        let log = fs::File::create(self.path("daemon.log")).unwrap();
        let mut command = self.command(&[&["daemon", "-c", "worker.toml"], args].concat());
        let child = command.envs(env.iter().copied()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let mut daemon = Daemon { rig: self, child, address: String::new() };
        daemon.address = daemon.told_address("worker RPC");
        daemon
    }
}

/// A running daemon; killed if the test forgets it.
pub struct Daemon<'a> {
    rig: &'a Rig,
    child: Child,
    pub address: String,
}

impl Daemon<'_> {
    pub fn log(&self) -> String {
        fs::read_to_string(self.rig.path("daemon.log")).unwrap()
    }

    /// The address in the line of the log that says `what`.
    pub fn told_address(&mut self, what: &str) -> String {
        let line = |log: &str| log.lines().find(|line| line.contains(what)).map(str::to_owned);
        self.until(what, |daemon| line(&daemon.log()).is_some());
        let line = line(&self.log()).unwrap();
        let address = line.split_once("address=").unwrap().1.split_whitespace().next().unwrap();
        address.to_owned()
    }

    /// Waits for something that this daemon brings about.
    pub fn until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let began = Instant::now();
        while !holds(self) {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "the daemon ended ({ended:?}) before {what}:\n{}", self.log());
            assert!(began.elapsed() < PATIENCE, "{what} did not come:\n{}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Runs `worker ARGS` against it.
    pub fn worker(&self, args: &[&str]) -> Output {
        self.rig.run(&[&["worker"], args, &["--addr", &self.address]].concat())
    }

    /// The threads as `worker list --json` tells them.
    pub fn list(&self) -> Vec<Value> {
        let output = self.worker(&["list", "--json"]);
        assert!(output.status.success(), "{}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Waits until thread `index` is in a sector's `state` and does `doing`.
    pub fn until_thread(&mut self, index: usize, state: &str, doing: &str) {
        self.until(&format!("thread {index} {state} {doing}"), |daemon| {
            let thread = &daemon.list()[index];
            thread["job_state"] == state && thread["thread_state"]["state"] == doing
        });
    }

    pub fn signal(&self, signal: Signal) {
        nix::sys::signal::kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// The exit code at its end.
    pub fn wait(mut self) -> Option<i32> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(began.elapsed() < PATIENCE, "the daemon does not end:\n{}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The body of a page.
pub fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    body.to_owned()
}

/// What a command said on both streams, for a failing assertion.
pub fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{:?}\nstdout:\n{}\nstderr:\n{}", output.status, text(&output.stdout), text(&output.stderr))
}
