//! plan as an operator meets it: the file, the forecast, the refusals.

mod command;
mod file;
mod random;

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
