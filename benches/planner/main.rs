//! How long the planner's parts take, each against what is promised. Exit code 1 when one is slower.
//!
//! ```text
//! cargo bench --profile dev --bench planner
//! ```
//!
//! The fastest of some runs counts: whatever else the machine does only ever adds.

#[path = "../../tests/plan/machines.rs"]
#[expect(dead_code, reason = "tests need more machines than the benchmark")]
mod machines;
#[path = "../../tests/plan/stepper.rs"]
mod stepper;

use damocles_worker::{
    planner::{
        sealcalc::{Course, DAY, Inputs, Stage},
        simulate::{Chance, Line, Question, forecast, run},
    },
    profile::{Profile, Suite},
    units::Prover,
    worker_config,
};
use std::{
    hint::black_box,
    io::{self, Write},
    process::ExitCode,
    time::{Duration, Instant},
};

fn main() -> ExitCode {
    let results = [sealcalc(), month()];
    let mut out = io::stdout();
    let _ = writeln!(out, "{:<58} {:>12} {:>14} {:>5}", "what", "measured", "promised", "");
    for result in &results {
        let word = if result.kept { "kept" } else { "BROKEN" };
        let _ = writeln!(out, "{:<58} {:>12} {:>14} {word:>5}", result.what, result.measured, result.promised);
    }
    ExitCode::from(u8::from(results.iter().any(|result| !result.kept)))
}

struct Outcome {
    what: String,
    measured: String,
    promised: String,
    kept: bool,
}

fn fastest<T>(runs: u32, mut work: impl FnMut() -> T) -> Duration {
    let timed = |work: &mut dyn FnMut() -> T| {
        let began = Instant::now();
        black_box(work());
        began.elapsed()
    };
    (0..runs).map(|_| timed(&mut work)).min().unwrap_or_default()
}

/// The example of the field's documentation, ten years of it, all rows of an hour.
fn sealcalc() -> Outcome {
    let stage = |mins, concurrent| Stage { mins, concurrent };
    let inputs = Inputs {
        tree_d: stage(10, 2),
        pc1: stage(320, 10),
        pc2: stage(25, 5),
        c2: stage(18, 2),
        seed_mins: 80,
        sealing_threads: 18,
    };
    let minutes = 3650 * DAY;
    let by_events = fastest(20, || Course::of(black_box(&inputs), minutes).rows(60).collect::<Vec<_>>());
    let by_steps = fastest(5, || stepper::rows(black_box(&inputs), minutes, 60));
    let times = by_steps.as_secs_f64() / by_events.as_secs_f64();
    Outcome {
        what: format!("sealcalc, 3650 days: {by_events:.1?}, by minutes {by_steps:.1?}"),
        measured: format!("{times:.0} times"),
        promised: ">= 50 times".into(),
        kept: times >= 50.0,
    }
}

const MONTH_MS: f64 = 30.0 * 86_400_000.0;

/// Plan A of the field with 64 sealing threads and the faster PC2 and C2, so that as many sectors as can be pass.
fn month() -> Outcome {
    let text = include_str!("../../tests/plan/fixtures/plan-a.toml");
    let more: String = (0..16).map(|i| format!("\n[[sealing_thread]]\nlocation = \"/mnt/nvme9/{i}\"\n")).collect();
    let config = worker_config::parse(&format!("{text}{more}")).expect("the fixture loads").config;
    let machine = machines::two_epyc_7642();
    let profile = Profile::shipped();
    let question = Question {
        config: &config,
        machine: &machine,
        profile: &profile,
        prover: Prover::StockDamocles,
        suite: Suite::Supra,
        ghz: None,
    };
    let line = Line::of(&question).expect("the plan can be played through");
    let once = fastest(20, || run(black_box(&line), MONTH_MS, 0.0, Some(Chance::new(1, 0))));
    let whole = fastest(5, || forecast(black_box(&question), 30.0, 1));
    let sectors = run(&line, MONTH_MS, 0.0, Some(Chance::new(1, 0))).finished.len();
    Outcome {
        what: format!("a month of {} threads, {sectors} sectors (a forecast: {whole:.0?})", line.threads.len()),
        measured: format!("{once:.1?}"),
        promised: "< 20 ms".into(),
        kept: once < Duration::from_millis(20),
    }
}
