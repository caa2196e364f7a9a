//! plan as an operator meets it: the file, the forecast, the refusals.

mod command;
mod file;
mod fixtures;
mod machines;
mod random;
mod sealcalc;
mod simulate;
mod stepper;
mod verify;

use damocles_worker::{
    hwinfo,
    machine::Machine,
    planner::{Attached, Manager, Site, Target},
    sys::topology::Source,
};

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
        attached: vec![Attached { name: "persist".into(), location: "./persist".into() }],
        miner: None,
    }
}
