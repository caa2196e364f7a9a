//! Figures that the field publishes, worked out again: memory of known machines, threads, traffic, quick checks.

use damocles_worker::{
    planner::steady,
    profile::{Cost, Profile, Question, Stage, Suite},
    units::{Bytes, Prover, SectorSize},
};

fn cost(stage: Stage, gpu: Option<&str>, static_tree_d: bool) -> Cost {
    let question = Question {
        stage,
        sector_size: SectorSize::GiB32,
        prover: Prover::StockDamocles,
        suite: Suite::Stock,
        cpu: Some("AMD EPYC 7642"),
        ghz: None,
        sha: Some(true),
        gpu,
        static_tree_d,
    };
    Profile::shipped().lookup(&question).unwrap()
}

const GPU: Option<&str> = Some("NVIDIA GeForce RTX 3080");

/// PC1 tasks, C2 as careful sources book it, and what was published for them.
#[test]
fn the_memory_of_published_machines_adds_up() {
    let gib = |bytes: Bytes| bytes.0 / Bytes::gib(1).0;
    let [pc1, pc2] = [cost(Stage::Pc1, None, false), cost(Stage::Pc2, GPU, false)].map(|cost| gib(cost.memory_on(1)));
    let c2 = cost(Stage::C2, GPU, false);
    let (c2, careful) = (gib(c2.memory_on(1)), gib(c2.memory_most_on(1)));
    assert_eq!(12 * pc1 + careful, 960);
    assert_eq!(24 * pc1 + pc2 + 2 * careful, 1984);
    assert_eq!(5 * pc1 + pc2 + careful, 576);
    assert_eq!((28 * pc1 + pc2 + c2, 28 * pc1 + pc2 + careful), (1984, 2048));
}

#[test]
fn threads_of_published_machines_are_one_and_a_quarter_to_two_times_what_is_under_way() {
    for (pc1, given, under_way) in [(12, 24.0, 19.2), (24, 54.0, 38.4), (5, 10.0, 8.0), (5, 16.0, 8.0)] {
        let found = steady::in_flight(steady::per_hour(pc1, 177.0), 283.0);
        assert!((found - under_way).abs() < 0.05, "{found}");
        assert!((1.2..=2.01).contains(&(given / found)), "{given} {found}");
    }
}

#[test]
fn traffic_of_a_pebibyte_a_month_follows_from_the_rows() {
    let rate = 32_768.0 / 720.0;
    let sum = |of: fn(&Cost) -> Bytes| -> f64 {
        let stages = [Stage::AddPieces, Stage::TreeD, Stage::Pc1, Stage::Pc2, Stage::C1, Stage::C2];
        stages.into_iter().map(|stage| of(&cost(stage, None, false)).0 as f64).sum()
    };
    // 549 GiB written for each sector: 26.8 TB an hour, 19.3 PB for a PiB.
    let writes = sum(|cost| cost.writes);
    assert!((writes / Bytes::gib(1).0 as f64 - 549.0).abs() < 1.0, "{writes}");
    assert!((writes * rate / 1e12 - 26.8).abs() < 0.1 && (writes * 32_768.0 / 1e15 - 19.3).abs() < 0.1);
    let pc2_reads = cost(Stage::Pc2, None, false).reads.0 as f64 * rate / 3600.0 / 1e9;
    assert!((pc2_reads - 5.2).abs() < 0.05, "{pc2_reads}");
    // Room: 134 in PC1, and those that wait, prove and land.
    let tib = |stage, sectors: f64| cost(stage, None, false).scratch.0 as f64 * sectors / Bytes::tib(1).0 as f64;
    assert!((tib(Stage::Pc1, steady::in_flight(rate, 177.0)) - 62.9).abs() < 0.1);
    assert!((tib(Stage::C2, steady::in_flight(rate, 100.0)) - 38.3).abs() < 0.1);
}

#[test]
fn quick_checks_of_the_field_come_out() {
    let gib_a_day = |per_hour: f64| per_hour * 24.0 * 32.0;
    assert_eq!(steady::per_hour(15, 180.0) * 24.0, 120.0, "15 sectors in three hours");
    assert_eq!(gib_a_day(steady::per_hour(15, 180.0)) / 1024.0, 3.75);
    let stages = [steady::per_hour(7, 240.0), steady::per_hour(1, 30.0), steady::per_hour(1, 35.0)].map(gib_a_day);
    assert_eq!((stages[0], stages[1], stages[2].floor()), (1344.0, 1536.0, 1316.0));
    let mib_a_second: f64 = 500.0 * 1024.0 / 1500.0;
    assert_eq!((mib_a_second.floor(), (mib_a_second * 1.048_576).round()), (341.0, 358.0));
}
