//! Shows a machine: looks at it through hwloc, keeps it as the `machine` contract, prints it as a tree or a
//! picture, tells what differs between two.

mod collect;
pub mod cpuset;
mod diff;
pub mod facts;
mod full;
mod json;
mod plain;
mod source;
mod svg;
mod tables;
mod toml;
mod tree;

pub use collect::{CollectError, Facts, collect, describe};
pub use diff::{Comparison, Difference, diff};
pub use full::FullObject;
pub use json::write_json;
pub use plain::plain;
pub use source::{CapturedError, Look, SourceError, look, write_captured};
pub use svg::picture;
pub use tables::write_tables;
pub use toml::{SpecError, fleet_toml};
pub use tree::{Paint, write_full_tree, write_painted_tree, write_tree};

use crate::{
    machine::Machine,
    sys::{
        Root, host, nvml,
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
    host::check_nodes_listed(root)?;
    let topology = topology::load(&Source::ThisMachine, detail)?;
    // hwloc can be told by environment (HWLOC_FSROOT, HWLOC_XMLFILE) to show another machine than this one:
    // then this host's files say nothing about it.
    if !topology.is_this_system() {
        let hostname = collect::recorded_hostname(&topology).unwrap_or_else(|| NAMELESS.to_owned());
        let mut machine = collect(&topology, &Facts { hostname, node_cpus: None })?;
        machine.note_absent();
        return Ok((topology, machine));
    }
    // Without these files hwloc makes up a machine, and no one could tell.
    host::check_cpus_readable(root)?;
    let named = Facts { hostname: host::hostname(root)?, node_cpus: host::node_cpus(root)? };
    let mut machine = collect(&topology, &named)?;
    facts::fill(&mut machine, root, nvml::ask);
    Ok((topology, machine))
}
