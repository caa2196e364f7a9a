//! `hwinfo`: show this machine.

use super::{Exit, Io};
use crate::{hwinfo, sys::Root};
use anyhow::Result;

/// Show this machine: its CPUs by the numbers that cpusets take, its memory, disks, GPUs and settings
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  damocles-worker-util hwinfo                        the tree, then memory, disks, GPUs, network, limits
  damocles-worker-util hwinfo --json > machine.json  the same as data, for plan --machine
  damocles-worker-util hwinfo --toml >> fleet.toml   a machine of a fleet, in the numbers a plan needs

Numbers after # are the operating system's: a cpuset or numa_preferred takes them as they are.
SMT siblings share one PU: PU #0/#64 is one core with the CPUs 0 and 64.")]
pub struct Args {
    /// Print the machine as JSON (docs/machine-schema.md)
    #[arg(long)]
    json: bool,
    /// Print the machine as an entry of a fleet file (docs/hwinfo.md)
    #[arg(long, conflicts_with = "json")]
    toml: bool,
}

/// Runs the command.
pub fn run(args: Args, io: &mut Io) -> Result<Exit> {
    let machine = hwinfo::this_machine(&Root::at("/"))?;
    if args.json {
        hwinfo::write_json(&machine, io.out)?;
    } else if args.toml {
        io.out.write_all(hwinfo::fleet_toml(&machine)?.as_bytes())?;
    } else {
        hwinfo::write_tree(&machine, io.out)?;
        hwinfo::write_tables(&machine, io.out)?;
    }
    Ok(Exit::Yes)
}
