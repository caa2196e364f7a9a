//! Fleets: the cheapest mix, the two tables, and a procurement of 2020 done again.

use crate::placed_site;
use assert_cmd::Command;
use damocles_worker::{
    planner::{
        Choices, Request, Target,
        fleet::{FleetFile, FleetPlan, Role, plan_fleet},
    },
    profile::Profile,
    units::{Prover, SectorSize},
};
use proptest::prelude::*;
use std::fs;

/// A procurement study of 2020: 128 cores with four PC1 and four PC2, 64 cores with three C2.
const STUDY: &str = r#"
[[machine]]
name = "128 cores"
stages = [
    { stage = "pc1", tasks = 4, minutes = 150, cores = 8 },
    { stage = "pc2", tasks = 4, minutes = 120, cores = 23 },
]

[[machine]]
name = "64 cores"
stages = [{ stage = "c2", tasks = 3, minutes = 77, cores = 21 }]
"#;

fn request(rate: &str, days_per_month: f64, utilisation: f64) -> Request {
    let target = Target { rate: rate.parse().unwrap(), sector_size: SectorSize::GiB32, days_per_month };
    let choices = Choices { prover: Prover::StockDamocles, utilisation, ..Choices::default() };
    Request { target, choices, site: placed_site(), profile: Profile::shipped() }
}

fn fleet(text: &str, request: &Request) -> FleetPlan {
    plan_fleet(&FleetFile::parse(text).unwrap(), request).unwrap()
}

fn bought(plan: &FleetPlan) -> Vec<(&str, Role, u32, u32)> {
    plan.lines.iter().map(|line| (line.name.as_str(), line.role, line.on_hand, line.buy)).collect()
}

#[test]
fn the_study_comes_out_with_41_and_28_machines_and_with_29_and_20_in_30_days() {
    for (rate, days, pc, c2) in
        [("1PiB/month", 21.0, 41, 28), ("1PiB/month", 30.0, 29, 20), ("1PB/month", 21.0, 37, 25)]
    {
        let plan = fleet(STUDY, &request(rate, days, 1.0));
        let expected = [("128 cores", Role::Precommit, 0, pc), ("64 cores", Role::C2, 0, c2)];
        assert_eq!(bought(&plan), expected, "{rate} in {days} days");
    }
    let plan = fleet(STUDY, &request("1PiB/month", 21.0, 1.0));
    assert!((plan.lines[0].sectors_per_hour - 1.6).abs() < 1e-9);
    assert!((plan.lines[1].sectors_per_hour - 2.338).abs() < 1e-3);
}

#[test]
fn machines_on_hand_come_before_machines_to_buy_and_the_cheaper_mix_wins() {
    let with = |more: &str| {
        format!(
            "{}price = 100\n{}price = 60\n{more}",
            STUDY.split("[[machine]]\nname = \"64").next().unwrap(),
            &STUDY[STUDY.rfind("\n[[machine]]").unwrap()..]
        )
    };
    let dear = fleet(&with(""), &request("1PiB/month", 30.0, 1.0));
    assert_eq!(dear.price, 29.0 * 100.0 + 20.0 * 60.0);
    // A third type that does both at a price between: it wins where it is cheaper than the pair.
    let both = |price: u32, count: u32| {
        let stages =
            "stages = [{ stage = \"pc1\", tasks = 4, minutes = 150 }, { stage = \"c2\", tasks = 3, minutes = 77 }]";
        with(&format!("[[machine]]\nname = \"both\"\nprice = {price}\ncount = {count}\n{stages}\n"))
    };
    let cheap = fleet(&both(120, 0), &request("1PiB/month", 30.0, 1.0));
    assert_eq!(bought(&cheap), [("both", Role::Seal, 0, 29)]);
    assert!(cheap.price < dear.price);
    let kept = fleet(&both(1000, 5), &request("1PiB/month", 30.0, 1.0));
    assert!(bought(&kept).contains(&("both", Role::Seal, 5, 0)), "{:?}", bought(&kept));
    assert!(kept.price < dear.price);
}

#[test]
fn a_fleet_that_cannot_do_it_says_which_stage_lacks_how_much() {
    let few = STUDY.replace("name = \"64 cores\"", "name = \"64 cores\"\nmax = 10");
    let no = plan_fleet(&FleetFile::parse(&few).unwrap(), &request("1PiB/month", 30.0, 1.0)).unwrap_err();
    assert!(no.is_answer());
    let text = no.to_string();
    assert!(text.contains("23.38 of C2") && text.contains("22.13 more would do"), "{text}");
}

#[test]
fn planned_machines_and_their_roles_are_weighed() {
    let text = r#"
[[machine]]
name = "sealer"
machine = "2x epyc-7642 2TiB 2x rtx3080 8x nvme-7.68TB"
price = 30000

[[machine]]
name = "prover"
machine = "1x epyc-7302 512GiB 2x rtx3090"
price = 9000
roles = ["c2"]
"#;
    let request = request("1PiB/month", 30.0, 0.9);
    let plan = fleet(text, &request);
    let needed = request.target.sectors_per_hour().unwrap();
    assert!(plan.sectors_per_hour_precommitted >= needed * 0.999 && plan.sectors_per_hour_proven >= needed * 0.999);
    // C2 elsewhere more than doubles what a sealer makes, so the mix is cheaper than sealers alone.
    let alone = fleet(&text.replace("price = 9000", "price = 900000"), &request);
    assert!(plan.price < alone.price, "{plan:?}");
    assert!(plan.lines.iter().any(|line| line.role == Role::Precommit));
    assert!(alone.lines.iter().all(|line| line.role == Role::Seal));
    assert!(plan.lines[0].work.iter().any(|work| work.cores == "0-41"), "{:?}", plan.lines[0].work);
}

#[test]
fn the_command_prints_two_tables_and_refuses_what_makes_no_sense() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fleet.toml");
    let run = |text: &str, more: &[&str]| {
        fs::write(&path, text).unwrap();
        let common = ["plan", "--target", "1PiB/month", "--days-per-month", "21", "--sector-size", "32GiB"];
        let mut command = Command::cargo_bin("damocles-worker-util").unwrap();
        command.args(common).args(["--utilisation", "1", "--fleet"]).arg(&path).args(more).output().unwrap()
    };
    let output = run(STUDY, &[]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    insta::assert_snapshot!(text, @r"
    To buy
    | Machine   | Role      | On hand | Buy | Price | Sectors/h each | Limited by       |
    |-----------|-----------|---------|-----|-------|----------------|------------------|
    | 128 cores | precommit | 0       | 41  | -     | 1.600          | the limit of pc1 |
    | 64 cores  | c2        | 0       | 28  | -     | 2.338          | the limit of c2  |
    | total     |           | 0       | 69  | -     |                |                  |

    To run
    | Machine               | Machines | Processor | Tasks | Cores   | GPU |
    |-----------------------|----------|-----------|-------|---------|-----|
    | 128 cores (precommit) | 41       | pc1       | 4     | 8 each  | -   |
    |                       |          | pc2       | 4     | 23 each | -   |
    | 64 cores (c2)         | 28       | c2        | 3     | 21 each | -   |
    ");
    let output = run(STUDY, &["--json"]);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["fleet"]["lines"][1]["buy"], 28);
    for (text, expected) in [
        ("", "missing field"),
        ("machine = []", "no [[machine]]"),
        ("[[machine]]\nname = \"a\"", "say what it is"),
        ("[[machine]]\nname = \"a\"\nmachine = \"2x epyc-7624 1TiB\"", "did you mean epyc-7642"),
        ("[[machine]]\nname = \"a\"\nmachine = \"7302 1TiB\"\nprize = 3", "\"prize\" is no key"),
        ("[[machine]]\nname = \"a\"\nmachine = \"7302 1TiB\"\nprice = -3", "price is -3"),
        ("[[machine]]\nname = \"a\"\nstages = [{ stage = \"c2\", tasks = 0, minutes = 1 }]", "0 tasks of c2"),
        ("[[machine]]\nname = \"a\"\nmachine = \"7302 1TiB\"\nroles = [\"pc9\"]", "pc9"),
        (&format!("{STUDY}{STUDY}"), "two types are called"),
    ] {
        let output = run(text, &[]);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{text}");
        let talk = String::from_utf8_lossy(&output.stderr);
        assert!(talk.contains(expected), "{text}: {talk}");
    }
    let none = run(&STUDY.replace("name = \"64 cores\"", "name = \"64 cores\"\nmax = 1"), &[]);
    assert_eq!((none.status.code(), none.stdout.len()), (Some(1), 0));
}

/// Every mix of a few machines, one after the other.
fn exhaustive(rates: &[(f64, bool, bool, u32)], needed: f64, most: u32) -> Option<u32> {
    fn search(rates: &[(f64, bool, bool, u32)], pc: f64, c2: f64, most: u32) -> Option<u32> {
        if pc <= 1e-9 && c2 <= 1e-9 {
            return Some(0);
        }
        let (first, rest) = rates.split_first()?;
        let (rate, does_pc, does_c2, price) = *first;
        let of = |count: u32, does: bool| if does { rate * f64::from(count) } else { 0.0 };
        (0..=most)
            .filter_map(|count| {
                Some(count * price + search(rest, pc - of(count, does_pc), c2 - of(count, does_c2), most)?)
            })
            .min()
    }
    search(rates, needed, needed, most)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::cases(150)))]

    #[test]
    fn no_mix_is_cheaper_than_the_one_found(
        types in proptest::collection::vec((1u32..6, 1u32..6, 0usize..3, 1u32..50), 1..5), hundredths in 1u32..600
    ) {
        let needed = f64::from(hundredths) / 100.0;
        let most = 4;
        let mut text = String::new();
        let mut rates = Vec::new();
        for (place, (tasks, hours, role, price)) in types.iter().enumerate() {
            let stage = |stage: &str| format!("{{ stage = \"{stage}\", tasks = {tasks}, minutes = {} }}", hours * 60);
            let stages = match role {
                0 => format!("{}, {}", stage("pc1"), stage("c2")),
                1 => stage("pc1"),
                _ => stage("c2"),
            };
            text.push_str(&format!("[[machine]]\nname = \"{place}\"\nmax = {most}\nprice = {price}\nstages = [{stages}]\n"));
            rates.push((f64::from(*tasks) / f64::from(*hours), *role != 2, *role != 1, *price));
        }
        let bytes = (needed * SectorSize::GiB32.bytes().0 as f64).ceil() as u64;
        let found = plan_fleet(&FleetFile::parse(&text).unwrap(), &request(&format!("{bytes}B/hour"), 30.0, 1.0));
        match exhaustive(&rates, needed, most) {
            Some(price) => {
                let plan = found.unwrap();
                prop_assert_eq!(plan.price, f64::from(price), "{}", text);
                prop_assert!(plan.sectors_per_hour_precommitted >= needed * (1.0 - 1e-6));
                prop_assert!(plan.sectors_per_hour_proven >= needed * (1.0 - 1e-6));
            }
            None => prop_assert!(found.unwrap_err().is_answer()),
        }
    }
}
