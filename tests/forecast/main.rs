//! The forecast comes true: `bench` → `plan` → `daemon` on this machine, with real proofs. Needs the parameters of 2 KiB
//! sectors; it runs where `DAMOCLES_SLOW=1` asks for it (`make test-slow`), most of an hour on two cores.
//!
//! The rate of n sectors is (n − 1) / (last − first finish): what comes before the first fills the line, and the daemon is
//! stopped while the line is full. DAMOCLES_FORECAST_SECTORS chooses n, at least 30.

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

const WORKER: &str = env!("CARGO_BIN_EXE_damocles-worker");
const UTIL: &str = env!("CARGO_BIN_EXE_damocles-worker-util");
/// Of each sector, on a machine that is ten times slower than any that was seen.
const PATIENCE: Duration = Duration::from_secs(900);

fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn util(dir: &Path, args: &[&str]) -> Output {
    let output = Command::new(UTIL).args(args).current_dir(dir).stderr(Stdio::inherit()).output().unwrap();
    tell(&format!("damocles-worker-util {}: {:?}", args.join(" "), output.status));
    output
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Measures, as small sectors are sealed: all stages, one and two at once, sharing the cores.
fn bench(dir: &Path) {
    let output = util(dir, &["bench", "--disk-size", "16MiB", "--disk-seconds", "1", "--out", "profile.toml"]);
    assert!(output.status.success());
    tell(std::str::from_utf8(&output.stdout).unwrap());
}

/// Plans as much as this machine makes.
fn plan(dir: &Path) {
    let plan = |target: &str, more: &[&str]| {
        let args = ["plan", "--target", target, "--profile", "profile.toml", "--utilisation", "1"];
        util(dir, &[&args[..], more].concat())
    };
    let refused = json(&plan("1PiB/hour", &["--json"]));
    let possible = refused["sectors_per_hour_possible"].as_f64().unwrap();
    let target = format!("{}B/day", (possible * 24.0 * 2048.0 * 0.999) as u64);
    let planned = plan(&target, &[]);
    assert!(planned.status.success());
    // On any port: the usual one may be another worker's.
    let planned = String::from_utf8(planned.stdout).unwrap();
    let config = planned.replacen("[worker]\n", "[worker]\nrpc_server = { host = \"127.0.0.1\", port = 0 }\n", 1);
    fs::write(dir.join("worker.toml"), config).unwrap();
}

/// Sectors an hour: 5 %, expected, 95 %.
fn forecast(dir: &Path) -> (f64, f64, f64) {
    let args = ["plan", "simulate", "worker.toml", "--profile", "profile.toml", "--days", "10", "--json"];
    let output = util(dir, &args);
    assert!(output.status.success());
    let per_day = &json(&output)["sectors_per_day"];
    let of = |name: &str| per_day[name].as_f64().unwrap() / 24.0;
    (of("low"), of("expected"), of("high"))
}

/// Seals until `count` sectors are finished; seconds from the first to the last.
fn seal(dir: &Path, count: usize) -> f64 {
    let child = Command::new(WORKER)
        .args(["daemon", "-c", "worker.toml", "--json", "--grace", "0s"])
        .current_dir(dir)
        .stdout(Stdio::piped())
        .stderr(fs::File::create(dir.join("daemon.log")).unwrap())
        .spawn()
        .unwrap();
    let mut daemon = Daemon(child);
    let mut lines = BufReader::new(daemon.0.stdout.take().unwrap()).lines();
    let mut finished: Vec<Instant> = Vec::new();
    let begin = Instant::now();
    while finished.len() < count {
        let line = lines.next().unwrap_or_else(|| panic!("the daemon ended: {}", log(dir))).unwrap();
        let report: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(report["proof_verified"], Value::Bool(true), "{report}");
        finished.push(Instant::now());
        assert!(begin.elapsed() < PATIENCE * finished.len() as u32, "{} sectors are too slow", finished.len());
    }
    kill(Pid::from_raw(daemon.0.id() as i32), Signal::SIGTERM).unwrap();
    daemon.0.wait().unwrap();
    finished[count - 1].duration_since(finished[0]).as_secs_f64()
}

fn log(dir: &Path) -> String {
    fs::read_to_string(dir.join("daemon.log")).unwrap_or_default()
}

/// Ends with the test, however that comes.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn thirty_sectors_are_sealed_as_fast_as_was_foretold() {
    if env::var_os("DAMOCLES_SLOW").is_none() {
        return tell("SKIPPED: the forecast against a run: set DAMOCLES_SLOW=1");
    }
    let has =
        Command::new(WORKER).args(["params", "status", "--sector-size", "2KiB"]).output().unwrap().status.success();
    assert!(has, "make the parameters first: damocles-worker params generate --sector-size 2KiB");
    let count = env::var("DAMOCLES_FORECAST_SECTORS").ok().and_then(|text| text.parse().ok()).unwrap_or(30).max(30);
    let dir = tempfile::tempdir().unwrap();
    bench(dir.path());
    plan(dir.path());
    let (low, expected, high) = forecast(dir.path());
    let seconds = seal(dir.path(), count);
    let found = (count - 1) as f64 / seconds * 3600.0;
    let off = found / expected - 1.0;
    tell(&format!(
        "forecast: {expected:.2} sectors/h ({low:.2} to {high:.2}); {count} sectors: {found:.2} sectors/h, {:+.1} %",
        off * 100.0
    ));
    assert!(off.abs() <= 0.1, "more than 10 % off");
    assert!((low..=high).contains(&found), "outside the band");
}
