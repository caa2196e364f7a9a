//! Shows a machine: looks at it through hwloc, keeps it as the `machine` contract, prints it as a tree or a
//! picture, tells what differs between two.

mod collect;
mod diff;
mod full;
mod source;
mod svg;
mod tree;

pub use collect::{CollectError, Facts, collect, describe};
pub use diff::{Comparison, Difference, diff};
pub use full::FullObject;
pub use source::{CapturedError, Look, SourceError, look, write_captured};
pub use svg::picture;
pub use tree::{Paint, write_full_tree, write_painted_tree, write_tree};

use crate::{
    machine::Machine,
    sys::{
        Root, host,
        topology::{self, Detail, Source, Topology},
    },
};

/// The name of a host that nobody wrote down.
const NAMELESS: &str = "unknown";

/// Looks at the machine that this process runs on; `root` is where its files are.
pub fn this_machine(root: &Root) -> Result<Machine, CollectError> {
    this_topology(root, Detail::Structure).map(|(_, machine)| machine)
}

/// The same with what hwloc loaded for it.
fn this_topology(root: &Root, detail: Detail) -> Result<(Topology, Machine), CollectError> {
    let topology = topology::load(&Source::ThisMachine, detail)?;
    // hwloc can be told by environment (HWLOC_FSROOT, HWLOC_XMLFILE) to show another machine than this one:
    // then this host's files say nothing about it.
    let facts = if topology.is_this_system() {
        // Without these files hwloc makes up a machine, and no one could tell.
        host::check_cpus_readable(root)?;
        Facts { hostname: host::hostname(root)?, node_cpus: host::node_cpus(root)? }
    } else {
        Facts {
            hostname: collect::recorded_hostname(&topology).unwrap_or_else(|| NAMELESS.to_owned()),
            node_cpus: None,
        }
    };
    let machine = collect(&topology, &facts)?;
    Ok((topology, machine))
}
