//! Shows a machine: looks at it through hwloc, keeps it as the `machine` contract, prints it as a tree.

mod collect;
mod tree;

pub use collect::{CollectError, Facts, collect, describe};
pub use tree::write_tree;

use crate::{
    machine::Machine,
    sys::{
        Root, host,
        topology::{self, Source},
    },
};

/// Looks at the machine that this process runs on; `root` is where its files are.
pub fn this_machine(root: &Root) -> Result<Machine, CollectError> {
    let facts = Facts { hostname: host::hostname(root)?, node_cpus: Some(host::node_cpus(root)?) };
    collect(&topology::load(&Source::ThisMachine)?, &facts)
}
