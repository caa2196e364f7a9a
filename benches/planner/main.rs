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
        self, Attached, Choices, Manager, Request, Site, Target, catalogue,
        fleet::{FleetFile, plan_fleet},
        sealcalc::{Course, DAY, Inputs, Stage},
        simulate::{Chance, Line, Question, forecast, run},
    },
    profile::{Profile, Suite},
    units::{Prover, SectorSize},
    worker_config,
};
use std::{
    hint::black_box,
    io::{self, Write},
    process::ExitCode,
    time::{Duration, Instant},
};

fn main() -> ExitCode {
    let results = [sealcalc(), month(), machine(), optimised(), fleet()];
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

fn request(rate: &str, choices: Choices) -> Request {
    Request {
        target: Target { rate: rate.parse().expect("a rate"), sector_size: SectorSize::GiB32, days_per_month: 30.0 },
        choices,
        site: Site {
            manager: Manager::Remote("/ip4/10.0.0.1/tcp/1789".into()),
            manager_dir: "./manager".into(),
            sealing_dirs: vec!["./sealing".into()],
            sealing_dirs_are_default: true,
            attached: vec![Attached { name: "persist".into(), location: "./persist".into() }],
            miner: None,
        },
        profile: Profile::shipped(),
    }
}

/// From the machine to a file that was read back and verified, for the slowest of the provers.
fn machine() -> Outcome {
    let machine = catalogue::machine("2x epyc-9654 3TiB 4x rtx3090 8x nvme-7.68TB").expect("a machine by name");
    let slowest = Prover::ALL
        .into_iter()
        .map(|prover| {
            let request = request("1PiB/month", Choices { prover, ..Choices::default() });
            fastest(5, || planner::plan(black_box(&machine), &request).expect("it can be planned"))
        })
        .max()
        .unwrap_or_default();
    Outcome {
        what: "plan, 2 x 96 cores, 4 GPUs, 8 disks".into(),
        measured: format!("{slowest:.1?}"),
        promised: "< 50 ms".into(),
        kept: slowest < Duration::from_millis(50),
    }
}

/// The same with every layout tried and the best simulated; nothing is promised.
fn optimised() -> Outcome {
    let machine = catalogue::machine("2x epyc-9654 3TiB 4x rtx3090 8x nvme-7.68TB").expect("a machine by name");
    let request = request("1PiB/month", Choices { optimise: true, ..Choices::default() });
    let plan = planner::plan(&machine, &request).expect("it can be planned");
    let optimum = plan.optimum.expect("it was asked for");
    let once = fastest(1, || planner::plan(black_box(&machine), &request));
    Outcome {
        what: format!("plan --optimise there, {} layouts, {} simulated", optimum.layouts, optimum.simulated),
        measured: format!("{once:.1?}"),
        promised: "-".into(),
        kept: true,
    }
}

/// Twenty types, five hundred of each on hand, and more to buy.
fn fleet() -> Outcome {
    let cpus = ["epyc-7302", "epyc-7402", "epyc-7542", "epyc-7642", "epyc-7763"];
    let gpus = ["1x rtx3080", "2x rtx3080", "2x rtx3090", "4x rtx-a4000"];
    let types = cpus.iter().flat_map(|cpu| gpus.iter().map(move |gpu| (cpu, gpu))).enumerate();
    let text: String = types
        .map(|(place, (cpu, gpu))| {
            format!(
                "[[machine]]\nname = \"type {place}\"\nmachine = \"2x {cpu} 2TiB {gpu} 8x nvme-7.68TB\"\n\
                 count = 500\nprice = {}\n",
                20_000 + 731 * place
            )
        })
        .collect();
    let fleet = FleetFile::parse(&text).expect("a fleet");
    let request = request("6EiB/month", Choices::default());
    let found = plan_fleet(&fleet, &request).expect("it can be planned");
    let machines: u32 = found.lines.iter().map(|line| line.on_hand + line.buy).sum();
    let once = fastest(2, || plan_fleet(black_box(&fleet), &request));
    Outcome {
        what: format!("plan --fleet, 20 types, {machines} machines"),
        measured: format!("{once:.1?}"),
        promised: "< 5 s, 10000 machines".into(),
        kept: once < Duration::from_secs(5) && machines >= 10_000,
    }
}
