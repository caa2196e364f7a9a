//! What the daemon costs beyond the proofs: processor time and journal writes of a sector, and a thousand threads without work.
//!
//! ```text
//! cargo bench --profile dev --bench overhead
//! ```
//!
//! Stages are rehearsed, so that what is left is the daemon: threads, journal, limits, the embedded manager with its database,
//! transfer with its two reads. Times are the kernel's counts for the whole process (`/proc/PID/stat`). Exit code 1 when more is taken than
//! is promised.

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, SysconfVar, sysconf},
};
use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

/// What is promised of a thousand idle threads.
const IDLE_SHARE_MAX: f64 = 0.01;
const IDLE_BYTES_MAX: u64 = 200 << 20;
/// What is promised of a sector: milliseconds of a core, and lines of the journal for each of its states.
const SECTOR_MS_MAX: f64 = 250.0;
const LINES_PER_STATE_MAX: f64 = 2.0;

/// States of a sector from `Allocated` to `Finished`, and its being dropped.
const STATES: f64 = 17.0;
const IDLE_THREADS: usize = 1000;
const IDLE_SETTLE: Duration = Duration::from_secs(15);
const IDLE_WATCHED: Duration = Duration::from_secs(60);
const BUSY_THREADS: usize = 4;
const BUSY_SECTORS: usize = 60;
/// Longer than anything here takes on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(3600);

fn main() -> ExitCode {
    let mut out = io::stdout();
    let good = [sectors(&mut out), idle(&mut out)];
    ExitCode::from(u8::from(good.contains(&false)))
}

/// A daemon that rehearses.
struct Daemon {
    dir: tempfile::TempDir,
    child: Child,
}

impl Daemon {
    fn start(threads: usize, sealing: &str) -> Self {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a folder");
        let threads: String =
            (0..threads).map(|nth| format!("[[sealing_thread]]\nlocation = \"./sealing/{nth}\"\n")).collect();
        let config = format!(
            "worker.rpc_server = {{ host = \"127.0.0.1\", port = 0 }}\nsector_manager.rpc_client.addr = \"embedded\"\nsector_manager.embedded.path = \"./manager\"\n\
             sector_manager.embedded.proof_type = \"StackedDrg2KiBV1_1\"\nsector_manager.embedded.epoch = \"5ms\"\n\
             [sealing]\n{sealing}\n[[attached]]\nname = \"persist\"\nlocation = \"./persist\"\n{threads}"
        );
        fs::write(dir.path().join("worker.toml"), config).expect("a file");
        let log = fs::File::create(dir.path().join("log")).expect("a file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_damocles-worker"));
        command.args(["daemon", "-c", "worker.toml", "--rehearse", ""]).env("RUST_LOG", "warn").current_dir(dir.path());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("the daemon starts");
        Self { dir, child }
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.dir.path().join(relative)
    }

    /// Seconds of a core that it has taken so far.
    fn seconds(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("it runs");
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let ticks: f64 = fields[11..13].iter().map(|field| field.parse::<f64>().expect("a number")).sum();
        ticks / sysconf(SysconfVar::CLK_TCK).ok().flatten().expect("the kernel says it") as f64
    }

    /// A line of its `/proc/PID/status`: a number.
    fn status(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("it is there");
        line.trim_matches([':', ' ', '\t']).split(' ').next().and_then(|word| word.parse().ok()).expect("a number")
    }

    /// Events that the journals have been given so far, and sectors that were dropped: both from the snapshots.
    fn events(&self) -> u64 {
        let stores = fs::read_dir(self.path("sealing")).into_iter().flatten().flatten();
        let of = |store: PathBuf| -> Option<u64> {
            let text = fs::read_to_string(store.join("snapshot")).ok()?;
            let value: serde_json::Value = serde_json::from_str(text.split_once(' ')?.1).ok()?;
            value["seq"].as_u64()
        };
        stores.filter_map(|store| of(store.path())).sum()
    }

    fn persisted(&self) -> usize {
        fs::read_dir(self.path("persist/sealed")).map_or(0, |entries| entries.flatten().count())
    }

    fn stop(mut self) {
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn sectors(out: &mut impl Write) -> bool {
    let sealing = "seal_interval = \"50ms\"\nrecover_interval = \"50ms\"\nrpc_polling_interval = \"20ms\"";
    let daemon = Daemon::start(BUSY_THREADS, sealing);
    let began = Instant::now();
    while daemon.persisted() < BUSY_SECTORS {
        assert!(began.elapsed() < PATIENCE, "{}", fs::read_to_string(daemon.path("log")).unwrap_or_default());
        thread::sleep(Duration::from_millis(20));
    }
    let (persisted, taken, events, passed) = (daemon.persisted(), daemon.seconds(), daemon.events(), began.elapsed());
    daemon.stop();
    let ms = taken * 1000.0 / persisted as f64;
    // Those that are on their way have lines too; the snapshots count finished sectors only.
    let dropped = (persisted - BUSY_THREADS.min(persisted)) as f64;
    let lines = events as f64 / dropped.max(1.0);
    let _ = writeln!(
        out,
        "a sector of 2 KiB, stages rehearsed: {ms:.0} ms of a core ({persisted} sectors in {:.1} s, {BUSY_THREADS} threads); \
         at most {lines:.0} journal lines, each synced: {:.2} for each of {STATES} states",
        passed.as_secs_f64(),
        lines / STATES
    );
    ms <= SECTOR_MS_MAX && lines / STATES <= LINES_PER_STATE_MAX
}

fn idle(out: &mut impl Write) -> bool {
    // The embedded manager hands out 2 KiB sectors only: these threads ask, get none, and rest.
    let daemon = Daemon::start(IDLE_THREADS, "allowed_sizes = [\"32GiB\"]");
    let began = Instant::now();
    while daemon.status("Threads") < IDLE_THREADS as u64 {
        assert!(began.elapsed() < PATIENCE, "{}", fs::read_to_string(daemon.path("log")).unwrap_or_default());
        thread::sleep(Duration::from_millis(100));
    }
    let _ = writeln!(out, "{IDLE_THREADS} threads are there after {:.1} s", began.elapsed().as_secs_f64());
    thread::sleep(IDLE_SETTLE);
    let (before, since) = (daemon.seconds(), Instant::now());
    thread::sleep(IDLE_WATCHED);
    let share = (daemon.seconds() - before) / since.elapsed().as_secs_f64();
    let bytes = daemon.status("VmRSS") * 1024;
    daemon.stop();
    let mib = bytes as f64 / f64::from(1 << 20);
    let _ = writeln!(out, "{IDLE_THREADS} idle threads: {:.2} % of a core, {mib:.0} MiB resident", share * 100.0);
    share < IDLE_SHARE_MAX && bytes < IDLE_BYTES_MAX
}
