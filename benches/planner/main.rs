//! How long the planner's parts take, each against what is promised. Exit code 1 when one is slower.
//!
//! ```text
//! cargo bench --profile dev --bench planner
//! ```
//!
//! The fastest of some runs counts: whatever else the machine does only ever adds.

#[path = "../../tests/plan/stepper.rs"]
mod stepper;

use damocles_worker::planner::sealcalc::{Course, DAY, Inputs, Stage};
use std::{
    hint::black_box,
    io::{self, Write},
    process::ExitCode,
    time::{Duration, Instant},
};

fn main() -> ExitCode {
    let results = [sealcalc()];
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
