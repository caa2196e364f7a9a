//! Shows a machine: looks at it through hwloc, keeps it as the `machine` contract, prints it as a tree.

mod collect;
pub mod cpuset;
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
    let topology = topology::load(&Source::ThisMachine)?;
    // hwloc can be told by environment (HWLOC_FSROOT, HWLOC_XMLFILE) to show another machine than this one:
    // then this host's files say nothing about it.
    let facts = if topology.is_this_system() {
        Facts { hostname: host::hostname(root)?, node_cpus: host::node_cpus(root)? }
    } else {
        Facts { hostname: collect::recorded_hostname(&topology), node_cpus: None }
    };
    collect(&topology, &facts)
}
