//! The cpuset check and the arithmetic under it, on described machines.

mod brute;
mod command;
mod config;
mod docs;
mod hwloc;
mod random;
mod vectors;
mod verdicts;

use damocles_worker::{hwinfo, machine::Machine, sys::topology::Source, units::CpuList};

/// The machine of a synthetic line.
fn synthetic(line: &str) -> Machine {
    hwinfo::describe(&Source::Synthetic(line.into()), "synthetic").unwrap()
}

fn cpus(text: &str) -> CpuList {
    text.parse().unwrap()
}
