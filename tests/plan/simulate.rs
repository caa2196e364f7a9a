//! The simulation against what can be known without it: sealcalc, Little's law, bounds, and the plans of the field.

use crate::{fixtures, machine, machines, plan, site, target};
use assert_cmd::Command;
use damocles_worker::{
    machine::Machine,
    planner::{
        sealcalc::{Course, Inputs, Stage},
        simulate::{self, Chance, Duration, Forecast, Line, Question, Server, Station, Wait, forecast, run},
    },
    profile::{Band, Profile, Suite},
    units::Prover,
    worker_config::{self, WorkerConfig},
};
use proptest::prelude::*;
use serde_json::Value;

const MINUTE: f64 = 60_000.0;
const DAY: f64 = 1440.0 * MINUTE;

fn exactly(minutes: f64) -> Duration {
    Duration { ms: minutes * MINUTE, band: Band::EXACT, measured: false }
}

fn server(minutes: f64, concurrent: Option<u32>, locks: &[usize]) -> Server {
    Server { path: "x".into(), concurrent, locks: locks.to_vec(), duration: exactly(minutes), pool: None }
}

fn station(limit: Option<u32>, servers: Vec<Server>) -> Station {
    Station { name: "x", limit, stagger_ms: 0.0, servers }
}

fn line(threads: usize, stations: Vec<Station>) -> Line {
    Line {
        threads: vec![0.0; threads],
        stations,
        locks: vec![],
        pools: vec![("cores".into(), 1.0)],
        waits: vec![],
        turnaround_ms: 0.0,
        notes: vec![],
    }
}

fn finished_by(line: &Line, minutes: f64) -> usize {
    run(line, minutes * MINUTE, 0.0, None).finished.len()
}

/// The line that sealcalc plays: no chance, and a thread that comes back a minute later.
fn of_inputs(inputs: &Inputs) -> Line {
    let stage = |stage: Stage| station(Some(stage.concurrent), vec![server(stage.mins.into(), None, &[])]);
    let seed = station(None, vec![server(inputs.seed_mins.into(), None, &[])]);
    let stations = vec![stage(inputs.tree_d), stage(inputs.pc1), stage(inputs.pc2), seed, stage(inputs.c2)];
    Line { turnaround_ms: MINUTE, ..line(inputs.sealing_threads as usize, stations) }
}

fn any_inputs() -> impl Strategy<Value = Inputs> {
    let stage =
        || (prop_oneof![Just(0u32), 1u32..150], 1u32..12).prop_map(|(mins, concurrent)| Stage { mins, concurrent });
    (stage(), stage(), stage(), stage(), 0u32..100, 1u32..40).prop_map(
        |(tree_d, pc1, pc2, c2, seed_mins, sealing_threads)| Inputs {
            tree_d,
            pc1,
            pc2,
            c2,
            seed_mins,
            sealing_threads,
        },
    )
}

proptest! {
    #[test]
    fn without_chance_it_is_sealcalc_minute_by_minute(inputs in any_inputs()) {
        let minutes = 3000;
        let course = Course::of(&inputs, minutes);
        let tally = run(&of_inputs(&inputs), (minutes - 1) as f64 * MINUTE, 0.0, None);
        let mut done = tally.finished.iter().peekable();
        let mut count = 0;
        for row in course.rows(1) {
            while done.next_if(|at| **at <= row.time_mins as f64 * MINUTE).is_some() {
                count += 1;
            }
            prop_assert_eq!(row.finished_sectors, count, "minute {}", row.time_mins);
        }
        let most = [inputs.tree_d, inputs.pc1, inputs.pc2, inputs.c2].map(|stage| stage.concurrent);
        let seen = [0, 1, 2, 4].map(|i| tally.stations[i].most);
        prop_assert!(seen.iter().zip(most).all(|(seen, most)| *seen <= most), "{seen:?} {most:?}");
    }

    #[test]
    fn as_many_run_as_littles_law_says(
        stages in proptest::collection::vec((1.0f64..200.0, 1u32..10), 1..6), threads in 1usize..60
    ) {
        let stations: Vec<_> = stages.iter().map(|(mins, most)| station(Some(*most), vec![server(*mins, None, &[])])).collect();
        let tally = run(&line(threads, stations), 200.0 * DAY, 20.0 * DAY, None);
        let counted = tally.until_ms - tally.counted_from_ms;
        let done = tally.finished.iter().filter(|at| **at > tally.counted_from_ms).count() as f64;
        let rate = done / counted;
        // What is cut at either end: at most the sectors that are under way.
        let cut = threads as f64 / done;
        let mut under_way = 0.0;
        for ((mins, _), seen) in stages.iter().zip(&tally.stations) {
            let (at_once, expected) = (seen.running / counted, rate * mins * MINUTE);
            prop_assert!((at_once / expected - 1.0).abs() <= cut + 1e-9, "{at_once} {expected}");
            under_way += (seen.running + seen.waiting) / counted;
        }
        prop_assert!((under_way - threads as f64).abs() < 1e-6, "every thread is somewhere: {under_way}");
        // The tightest of the stations and the threads is what is reached.
        let whole: f64 = stages.iter().map(|(mins, _)| mins * MINUTE).sum();
        let tightest = stages.iter().map(|(mins, most)| f64::from(*most) / (mins * MINUTE)).fold(threads as f64 / whole, f64::min);
        prop_assert!(rate <= tightest * (1.0 + cut) && rate >= tightest * (1.0 - cut - 0.02), "{rate} {tightest}");
    }

    #[test]
    fn locks_and_staggers_are_kept(
        holders in 1u32..4, mins in (1.0f64..60.0, 1.0f64..60.0), gap in 0.0f64..30.0, threads in 1usize..30
    ) {
        let mut both = line(threads, vec![
            station(None, vec![server(mins.0, None, &[0])]),
            Station { stagger_ms: gap * MINUTE, ..station(None, vec![server(mins.1, None, &[0])]) },
        ]);
        both.locks = vec![("gpu".into(), holders)];
        let tally = run(&both, 100.0 * DAY, 0.0, None);
        prop_assert!(tally.lock_held[0] <= f64::from(holders) * tally.until_ms * (1.0 + 1e-9));
        let rate = tally.finished.len() as f64 / tally.until_ms;
        let by_lock = f64::from(holders) / ((mins.0 + mins.1) * MINUTE);
        let by_gap = if gap > 0.0 { 1.0 / (gap * MINUTE) } else { f64::INFINITY };
        prop_assert!(rate <= by_lock.min(by_gap) * 1.001 + 1.0 / tally.until_ms, "{rate} {by_lock} {by_gap}");
        prop_assert!(tally.stations.iter().all(|seen| seen.most <= holders && seen.started > 0), "neither starves");
    }
}

#[test]
fn a_task_that_shares_its_cores_takes_longer_and_the_work_is_not_lost() {
    let share = |demand: f64| Server { pool: Some((0, demand)), ..server(10.0, None, &[]) };
    let mut two = line(2, vec![station(None, vec![share(1.0)])]);
    assert_eq!(finished_by(&two, 9.9), 0);
    assert_eq!(finished_by(&two, 19.9), 0, "one core, two tasks");
    assert_eq!(finished_by(&two, 20.0), 2);
    two.pools[0].1 = 2.0;
    assert_eq!(finished_by(&two, 10.0), 2);
    let mut hungry = line(3, vec![station(None, vec![share(2.0)])]);
    hungry.pools[0].1 = 2.0;
    assert_eq!((finished_by(&hungry, 29.9), finished_by(&hungry, 30.0)), (0, 3));
}

#[test]
fn the_seed_counts_from_the_landing_and_polls_are_waited_for() {
    let of = |minutes| station(None, vec![server(minutes, None, &[])]);
    let mut slow = line(1, vec![of(0.0), of(10.0), of(1.0)]);
    slow.waits = vec![(1, Wait::Message(exactly(5.0))), (2, Wait::Seed { ms: 75.0 * MINUTE })];
    // Landed after 5; the first station's 10 are within the 75.
    assert_eq!((finished_by(&slow, 80.9), finished_by(&slow, 81.0)), (0, 1));
    slow.threads = vec![8.0 * MINUTE];
    slow.waits[1].1 = Wait::Seed { ms: 0.0 };
    // Seen after 8.
    assert_eq!((finished_by(&slow, 18.9), finished_by(&slow, 19.0)), (0, 1));
}

#[test]
fn a_server_with_less_to_do_is_chosen() {
    let both = line(2, vec![station(None, vec![server(10.0, Some(5), &[]), server(10.0, Some(1), &[0])])]);
    let locked = Line { locks: vec![("gpu".into(), 1)], ..both };
    let tally = run(&locked, 1000.0 * MINUTE, 0.0, None);
    assert!((tally.lock_held[0] / tally.until_ms - 1.0).abs() < 0.02, "the second takes one of the two, always");
}

#[test]
fn chance_is_repeated_by_its_seed() {
    let mut random = line(5, vec![station(Some(2), vec![server(30.0, None, &[])])]);
    random.stations[0].servers[0].duration.band = Band { low: 0.5, high: 2.0 };
    let finished = |seed| run(&random, DAY, 0.0, Some(Chance::new(seed, 0))).finished;
    assert_eq!(finished(4), finished(4));
    assert_ne!(finished(4), finished(5));
}

fn question<'a>(config: &'a WorkerConfig, machine: &'a Machine, profile: &'a Profile, suite: Suite) -> Question<'a> {
    Question { config, machine, profile, prover: Prover::StockDamocles, suite, ghz: None }
}

fn forecast_of(name: &str, suite: Suite) -> Forecast {
    let (config, machine) = (fixtures::config(name), machines::two_epyc_7642());
    forecast(&question(&config, &machine, &Profile::shipped(), suite), 30.0, 1).unwrap()
}

#[test]
fn plan_a_is_gpu_bound_with_stock_provers_and_pc1_bound_with_supra() {
    let stock = forecast_of("plan-a.toml", Suite::Stock);
    // One c2 of 15 minutes after the other.
    assert!((90.0..97.0).contains(&stock.sectors_per_day.expected), "{stock:?}");
    assert_eq!(stock.bottleneck, "c2 on GPU 1");
    assert!(stock.one_more[0].what.starts_with("GPU"), "{:?}", stock.one_more);
    let pc1 = stock.stages.iter().find(|stage| stage.stage == "pc1").unwrap();
    assert!(pc1.busy < 0.5, "the 28 pc1 are about twice too many: {pc1:?}");

    let supra = forecast_of("plan-a.toml", Suite::Supra);
    assert_eq!(supra.bottleneck, "pc1");
    // 28 of 177 minutes.
    assert!((supra.sectors_per_day.expected / (28.0 * 1440.0 / 177.0) - 1.0).abs() < 0.01, "{supra:?}");
}

#[test]
fn plan_b_shares_its_gpus_and_neither_stage_starves() {
    let stock = forecast_of("plan-b.toml", Suite::Stock);
    // Two GPUs, 12 and 15 minutes on each.
    assert!((stock.sectors_per_day.expected / (2.0 * 1440.0 / 27.0) - 1.0).abs() < 0.02, "{stock:?}");
    assert_eq!(stock.bottleneck, "GPUs");
    assert!(stock.locks.iter().all(|lock| lock.busy > 0.98), "{:?}", stock.locks);
    let wait = |name| stock.stages.iter().find(|stage| stage.stage == name).unwrap().wait_minutes;
    assert!((wait("pc2") / wait("c2") - 1.0).abs() < 0.1, "{} {}", wait("pc2"), wait("c2"));
}

#[test]
fn pc1_tasks_beyond_the_units_are_slower() {
    let machine = machines::two_epyc_7642();
    let rate = |name| {
        let config = fixtures::config(name);
        let profile = Profile::shipped();
        forecast(&question(&config, &machine, &profile, Suite::Supra), 30.0, 1).unwrap().sectors_per_day.expected
    };
    // Without PRODUCERS=1 a unit takes four cores, a cache has three: nothing is bound.
    let (floating, bound) = (rate("pc1-29-default-producers.toml"), rate("pc1-29-one-producer.toml"));
    assert!(floating < 0.7 * bound, "{floating} {bound}");
}

#[test]
fn a_cpuset_on_which_the_prover_panics_is_no_forecast() {
    let (config, machine) = (fixtures::config("48-cores-4-gpus.toml"), machines::two_epyc_7402());
    let profile = Profile::shipped();
    let error = forecast(&question(&config, &machine, &profile, Suite::Stock), 30.0, 1).unwrap_err().to_string();
    assert!(
        error.starts_with("simulate processors.pc1[0]: the stock-damocles prover does not start on CPUs 0-7"),
        "{error}"
    );
}

#[test]
fn small_sectors_come_out_as_their_plan_expects() {
    let two = machine("pack:1 [numa(memory=8GB)] core:2 pu:1");
    let plan = plan(&two, &target("1MiB/day", "2KiB"), &site()).unwrap();
    let config = worker_config::parse(&plan.worker_toml).unwrap().config;
    let profile = Profile::shipped();
    let question = Question { prover: Prover::Own, ..question(&config, &two, &profile, Suite::Stock) };
    let forecast = forecast(&question, 2.0, 1).unwrap();
    let ratio = forecast.sectors_per_day.expected / 24.0 / plan.capacity.sectors_per_hour_expected;
    assert!((0.9..1.1).contains(&ratio), "{ratio}");
}

#[test]
fn the_same_question_has_the_same_answer_and_the_band_holds_the_expectation() {
    let once = || forecast_of("plan-b.toml", Suite::Supra);
    let found = once();
    assert_eq!(found, once());
    let rate = found.sectors_per_day;
    assert!(rate.low <= rate.expected && rate.expected <= rate.high && rate.low < rate.high, "{rate:?}");
    for bound in &found.bounds {
        assert!(rate.expected <= bound.sectors_per_day * 1.02, "{bound:?} {rate:?}");
    }
    assert_eq!(found.by_day.iter().map(|day| u64::from(*day)).sum::<u64>(), found.sectors_in_days);
}

fn simulate(args: &[&str]) -> std::process::Output {
    Command::cargo_bin("damocles-worker-util").unwrap().args(["plan", "simulate"]).args(args).output().unwrap()
}

#[test]
fn the_command_answers_in_words_and_as_data() {
    let (config, machine) = (fixtures::path("plan-a.toml"), fixtures::machine_file(&machines::two_epyc_7642()));
    let args = [config.to_str().unwrap(), "--machine", machine.path().to_str().unwrap(), "--prover", "stock-damocles"];
    let words = simulate(&args);
    assert_eq!(words.status.code(), Some(0), "{}", String::from_utf8_lossy(&words.stderr));
    let text = String::from_utf8(words.stdout).unwrap();
    for part in ["output:", "ramp-up:", "bottleneck: c2 on GPU 1", "one more would bring:", "what bounds it"] {
        assert!(text.contains(part), "{text}");
    }
    let data = simulate(&[&args[..], &["--json", "--days", "3", "--seed", "9"]].concat());
    let answer: Value = serde_json::from_slice(&data.stdout).unwrap();
    assert_eq!((&answer["bottleneck"], &answer["seed"]), (&"c2 on GPU 1".into(), &9.into()));
    assert_eq!(answer["by_day"].as_array().unwrap().len(), 3);
}

#[test]
fn what_cannot_be_played_through_is_exit_2_with_nothing_on_stdout() {
    let (config, machine) = (fixtures::path("plan-a.toml"), fixtures::machine_file(&machines::two_epyc_7642()));
    let (config, machine) = (config.to_str().unwrap(), machine.path().to_str().unwrap());
    for (args, word) in [
        (vec![config, "--machine", machine, "--days", "0"], "more than 0"),
        (vec![config, "--machine", machine, "--days=-1"], "more than 0"),
        (vec!["/no/such.toml", "--machine", machine], "/no/such.toml"),
        (vec![config, "--machine", machine, "--profile", config], "not a profile"),
        (vec![config, "--machine", machine, "--target", "1MiB/day"], "--target"),
        (vec![config, "--machine", machine, "--ghz", "0"], "from 0.1 to 10"),
    ] {
        let output = simulate(&args);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{args:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(word), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_time_too_short_for_a_sector_has_an_answer_too() {
    let (config, machine) = (fixtures::config("plan-a.toml"), machines::two_epyc_7642());
    let short = forecast(&question(&config, &machine, &Profile::shipped(), Suite::Stock), 0.1, 1).unwrap();
    assert_eq!((short.sectors_in_days, short.first_minutes, short.sectors_per_day.high), (0, None, 0.0));
    assert!(short.one_more.is_empty() && short.bottleneck == "c2 on GPU 1");
}

#[test]
fn the_sector_size_is_read_from_where_it_is_said() {
    let config = fixtures::config("plan-a.toml");
    assert_eq!(simulate::sector_size(&config), ("32GiB".parse().unwrap(), true));
}
