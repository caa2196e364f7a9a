//! plan as an operator meets it: the file, the forecast, the refusals.

mod browser;
mod captured;
mod command;
mod file;
mod fixtures;
mod fleet;
mod html;
mod machines;
mod optimise;
mod out;
mod placed;
mod random;
mod random_placed;
mod refused;
mod sealcalc;
mod simulate;
mod stepper;
mod twins;
mod vectors;
mod verify;
mod yaml;

use damocles_worker::{
    hwinfo,
    machine::Machine,
    planner::{self, Attached, Choices, Manager, Plan, PlanError, Request, Site, Target},
    profile::Profile,
    sys::topology::Source,
};

/// Plans one machine with the built-in figures.
fn plan(machine: &Machine, target: &Target, site: &Site) -> Result<Plan, PlanError> {
    let choices = Choices { count: Some(1), ..Choices::default() };
    let request = Request { target: *target, choices, site: site.clone(), profile: Profile::shipped() };
    planner::plan(machine, &request)
}

fn machine(line: &str) -> Machine {
    hwinfo::describe(&Source::Synthetic(line.into()), "worker-1").unwrap()
}

fn target(rate: &str, sector_size: &str) -> Target {
    Target { rate: rate.parse().unwrap(), sector_size: sector_size.parse().unwrap(), days_per_month: 30.0 }
}

/// The choices of an operator who makes none.
fn site() -> Site {
    Site {
        manager: Manager::Embedded,
        manager_dir: "./manager".into(),
        sealing_dirs: vec!["./sealing".into()],
        sealing_dirs_are_default: true,
        attached: vec![Attached { name: "persist".into(), location: "./persist".into() }],
        miner: None,
    }
}

/// The same with a manager on a network.
fn placed_site() -> Site {
    Site { manager: Manager::Remote("/ip4/10.0.0.1/tcp/1789".into()), ..site() }
}

/// As many random cases as the environment asks for, else few enough for every run.
fn cases(few: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(few)
}
