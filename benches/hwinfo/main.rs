//! How long `hwinfo` takes as a whole process, against `lstopo-no-graphics` on the same input, and how much memory.
//!
//! ```text
//! cargo bench --profile dev --bench hwinfo          this machine, a synthetic line
//! DAMOCLES_TEST_TOPOLOGIES=folder cargo bench …     and every export and capture in that folder
//! ```
//!
//! The two take turns on one CPU, `PAIRS` times, and the medians are compared: what else the machine does meets both
//! alike. The fastest runs are compared too. `chrt -f 50` before the command, as root, keeps other work off that CPU.
//! Captures are given as folders, because unpacking is not hwloc's work, and lstopo's time is counted with one more
//! process start of ours, because a capture needs a second process; `bare` is the ratio without that. Exit code 1 when hwinfo is slower or larger than promised.

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    sys::resource::{UsageWho, getrusage},
    unistd::Pid,
};
use std::{
    ffi::OsString,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

const PAIRS: usize = 61;
/// What is promised.
const RATIO_MAX: f64 = 1.0;
const MEMORY_BYTES_MAX: u64 = 64 << 20;
/// Said before the command whose memory is wanted: then this program runs it and prints its peak.
const PEAK: &str = "--peak-of";

/// Something to look at, as each of the two is told of it.
struct Input {
    name: String,
    ours: Vec<OsString>,
    theirs: Vec<OsString>,
    /// The environment that makes lstopo look at a captured tree.
    root: Option<PathBuf>,
    /// What goes away with the input.
    _unpacked: Option<tempfile::TempDir>,
}

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    match args.split_first() {
        Some((word, command)) if word == PEAK => peak(command),
        _ => compare(),
    }
}

fn compare() -> ExitCode {
    let mut out = io::stdout();
    if Command::new("lstopo-no-graphics").arg("--version").output().is_err() {
        let _ = writeln!(out, "lstopo-no-graphics is not installed (Debian: hwloc-nox): nothing to compare with");
        return ExitCode::from(2);
    }
    if let Err(error) = stay_on_one_cpu() {
        let _ = writeln!(out, "not kept on one CPU: {error}");
    }
    let mut is_good = true;
    let start = Times::of((0..PAIRS).map(|_| timed(start_only())).collect());
    let _ = writeln!(out, "a process start of ours: {:.2} ms", start.median);
    let heads = ["hwinfo ms", "lstopo ms", "ratio", "fastest", "bare", "peak MiB"].map(|head| format!("{head:>9}"));
    let _ = writeln!(out, "{:<40} {}", "input", heads.join(" "));
    for input in inputs() {
        let (ours, theirs) = taking_turns(&input);
        let starts = f64::from(u8::from(input.root.is_some()));
        let ratio = ours.median / (theirs.median + starts * start.median);
        let fastest = ours.fastest / (theirs.fastest + starts * start.fastest);
        let bytes = peak_of(&input);
        is_good &= ratio <= RATIO_MAX && bytes <= MEMORY_BYTES_MAX;
        let mib = bytes as f64 / f64::from(1 << 20);
        let cells = [ours.median, theirs.median, ratio, fastest, ours.median / theirs.median, mib];
        let _ = writeln!(out, "{:<40} {}", input.name, cells.map(|cell| format!("{cell:>9.2}")).join(" "));
    }
    ExitCode::from(u8::from(!is_good))
}

/// This process and its children, so that neither program gains by moving: the last CPU, which has least else to do.
fn stay_on_one_cpu() -> nix::Result<()> {
    let allowed = sched_getaffinity(Pid::from_raw(0))?;
    let last = (0..CpuSet::count()).rev().find(|cpu| allowed.is_set(*cpu).unwrap_or(false)).unwrap_or(0);
    let mut one = CpuSet::new();
    one.set(last)?;
    sched_setaffinity(Pid::from_raw(0), &one)
}

fn util() -> &'static str {
    env!("CARGO_BIN_EXE_damocles-worker-util")
}

fn inputs() -> Vec<Input> {
    let line = "pack:2 [numa(memory=270119186432)] l3:16(size=33554432) core:8 pu:2";
    let mut inputs = vec![
        input("this machine".into(), vec![], vec![]),
        input("synthetic, 512 CPUs".into(), vec!["--from".into(), line.into()], vec!["-i".into(), line.into()]),
    ];
    let Some(folder) = std::env::var_os("DAMOCLES_TEST_TOPOLOGIES").map(PathBuf::from) else { return inputs };
    for path in files(&folder.join("xml")).into_iter().filter(|path| !path.to_string_lossy().ends_with(".v3.xml")) {
        inputs.push(input(name(&path), vec!["--from".into(), path.clone().into()], vec!["-i".into(), path.into()]));
    }
    inputs.extend(files(&folder.join("linux")).iter().filter_map(|path| unpacked(path)));
    inputs
}

fn input(name: String, ours: Vec<OsString>, theirs: Vec<OsString>) -> Input {
    Input { name, ours, theirs, root: None, _unpacked: None }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    files
}

fn unpacked(tar: &Path) -> Option<Input> {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).ok()?;
    let status = Command::new("tar").arg("xjf").arg(tar).arg("-C").arg(folder.path()).status().ok()?;
    let root = files(folder.path()).into_iter().next().filter(|_| status.success())?;
    Some(Input {
        name: name(tar),
        ours: vec!["--from".into(), root.clone().into()],
        theirs: vec![],
        root: Some(root),
        _unpacked: Some(folder),
    })
}

fn ours(input: &Input) -> Command {
    let mut command = Command::new(util());
    command.arg("hwinfo").args(&input.ours);
    command
}

fn theirs(input: &Input) -> Command {
    let mut command = Command::new("lstopo-no-graphics");
    command.args(&input.theirs);
    if let Some(root) = &input.root {
        command.env("HWLOC_FSROOT", root).env("HWLOC_COMPONENTS", "linux,stop").env("HWLOC_THISSYSTEM", "0");
    }
    command
}

fn start_only() -> Command {
    let mut command = Command::new(util());
    command.arg("--version");
    command
}

/// Of all runs of a program, in milliseconds.
struct Times {
    median: f64,
    fastest: f64,
}

impl Times {
    fn of(mut runs: Vec<Duration>) -> Self {
        runs.sort();
        let ms = |at: usize| runs[at].as_secs_f64() * 1e3;
        Self { median: ms(runs.len() / 2), fastest: ms(0) }
    }
}

fn taking_turns(input: &Input) -> (Times, Times) {
    let (our_runs, their_runs) = (0..PAIRS).map(|_| (timed(ours(input)), timed(theirs(input)))).unzip();
    (Times::of(our_runs), Times::of(their_runs))
}

fn timed(mut command: Command) -> Duration {
    let began = Instant::now();
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let took = began.elapsed();
    assert!(status.is_ok_and(|status| status.success()), "{command:?} failed");
    took
}

/// The peak of hwinfo and its child, whichever is larger, asked of the kernel by a process that has no other children.
fn peak_of(input: &Input) -> u64 {
    let output = std::env::current_exe().and_then(|own| {
        Command::new(own).arg(PEAK).arg(util()).arg("hwinfo").args(&input.ours).stderr(Stdio::inherit()).output()
    });
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.trim().parse().unwrap_or(u64::MAX)
}

fn peak(command: &[OsString]) -> ExitCode {
    let Some((program, args)) = command.split_first() else { return ExitCode::from(2) };
    let status = Command::new(program).args(args).stdout(Stdio::null()).status();
    match (status, getrusage(UsageWho::RUSAGE_CHILDREN)) {
        (Ok(status), Ok(usage)) if status.success() => {
            // Linux counts it in KiB.
            let _ = writeln!(io::stdout(), "{}", usage.max_rss() as u64 * 1024);
            ExitCode::SUCCESS
        }
        _ => ExitCode::from(2),
    }
}
