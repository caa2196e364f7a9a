//! Shows a machine: looks at it through hwloc, keeps it as the `machine` contract, prints it as a tree.

mod collect;
pub mod facts;
mod json;
mod tables;
mod toml;
mod tree;

pub use collect::{CollectError, Facts, collect, describe};
pub use json::write_json;
pub use tables::write_tables;
pub use toml::{SpecError, fleet_toml};
pub use tree::write_tree;

use crate::{
    machine::Machine,
    sys::{
        Root, host, nvml,
        topology::{self, Source},
    },
};

/// Looks at the machine that this process runs on; `root` is where its files are.
pub fn this_machine(root: &Root) -> Result<Machine, CollectError> {
    let topology = topology::load(&Source::ThisMachine)?;
    // hwloc can be told by environment (HWLOC_FSROOT, HWLOC_XMLFILE) to show another machine than this one:
    // then this host's files say nothing about it.
    if !topology.is_this_system() {
        let mut machine =
            collect(&topology, &Facts { hostname: collect::recorded_hostname(&topology), node_cpus: None })?;
        machine.note_absent();
        return Ok(machine);
    }
    let named = Facts { hostname: host::hostname(root)?, node_cpus: host::node_cpus(root)? };
    let mut machine = collect(&topology, &named)?;
    facts::fill(&mut machine, root, nvml::ask);
    Ok(machine)
}
