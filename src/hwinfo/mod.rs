//! Shows a machine: looks at it through hwloc, keeps it as the `machine` contract, prints it as a tree or a
//! picture, tells what differs between two.

mod collect;
pub mod cpuset;
mod diff;
pub mod facts;
mod full;
mod json;
mod plain;
mod recorded;
mod relations;
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
pub use relations::Relations;
pub use source::{CapturedError, Look, SourceError, look, write_captured};
pub use svg::picture;
pub use tables::write_tables;
pub use toml::{SpecError, fleet_toml};
pub use tree::{Paint, write_full_tree, write_painted_tree, write_tree};

use crate::{
    machine::{Machine, Unreadable},
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
    if !topology.is_this_system() {
        return told_topology(topology, detail);
    }
    // Without these files hwloc makes up a machine, and no one could tell.
    let online_cpus = Some(host::online_cpus(root)?);
    let named = Facts { hostname: host::hostname(root)?, node_cpus: host::node_cpus(root)?, online_cpus };
    let mut machine = collect(&topology, &named)?;
    note_unreadable_cpus(&mut machine, &named, root);
    facts::fill(&mut machine, root, nvml::ask);
    Ok((topology, machine))
}

/// The machine that the environment (HWLOC_FSROOT, HWLOC_XMLFILE) tells hwloc to show instead of this one: this host's
/// files say nothing about it.
fn told_topology(topology: Topology, detail: Detail) -> Result<(Topology, Machine), CollectError> {
    let topology = match detail {
        Detail::Structure => topology::load(&Source::ThisMachine, Detail::Devices)?,
        _ => topology,
    };
    let hostname = collect::recorded_hostname(&topology).unwrap_or_else(|| NAMELESS.to_owned());
    let mut machine = collect(&topology, &Facts::named(hostname))?;
    recorded::fill(&mut machine, &topology, &Root::at("/"));
    Ok((topology, machine))
}

/// The machine of a captured tree, which the environment of this process makes hwloc show.
fn captured_machine(topology: &Topology, root: &Root) -> Result<Machine, CollectError> {
    let recorded = collect::recorded_hostname(topology).or_else(|| host::hostname(root).ok());
    let hostname = recorded.unwrap_or_else(|| NAMELESS.to_owned());
    let named = Facts { hostname, node_cpus: None, online_cpus: Some(host::online_cpus(root)?) };
    let mut machine = collect(topology, &named)?;
    note_unreadable_cpus(&mut machine, &named, root);
    facts::fill_captured(&mut machine, root, &Root::at("/"));
    Ok(machine)
}

/// Lists the online CPUs that hwloc left out or made up a place for, because theirs cannot be read.
fn note_unreadable_cpus(machine: &mut Machine, named: &Facts, root: &Root) {
    let online = named.online_cpus.clone().unwrap_or_default().or(&machine.cpus());
    let Some((cpus, error)) = host::unreadable_cpus(root, &online) else { return };
    machine.unreadable.push(Unreadable {
        what: format!("place of CPUs {cpus}, which are online"),
        path: Some(error.path.display().to_string()),
        reason: error.source.to_string(),
    });
}
