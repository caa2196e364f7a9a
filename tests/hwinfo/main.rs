//! hwinfo as an operator meets it: the trees of real and described machines, and the command itself.

mod captures;
mod command;
mod facts;
mod facts_here;
mod hidden;
mod recorded;
mod sources;
mod trees;

use damocles_worker::{
    hwinfo,
    machine::{self, Machine},
    sys::topology::Source,
};

/// The machine of a synthetic line.
fn synthetic(line: &str) -> Machine {
    hwinfo::describe(&Source::Synthetic(line.into()), "synthetic").unwrap()
}

/// The tree as it is printed.
fn tree(machine: &Machine) -> String {
    let mut out = Vec::new();
    hwinfo::write_tree(machine, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// What is collected must survive the contract: written and read, it is the same machine.
fn assert_reads_back(machine: &Machine) {
    let text = serde_json::to_string(machine).unwrap();
    assert_eq!(&machine::parse(&text).unwrap(), machine);
}
