//! `hwinfo`: show this machine.

use super::{Exit, Io};
use crate::{hwinfo, sys::Root};
use anyhow::Result;

/// Show this machine: packages, NUMA nodes, L3 groups and CPUs, by the numbers that cpusets take
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  damocles-worker-util hwinfo                        the tree
  damocles-worker-util hwinfo --json > machine.json  the same as data, for plan --machine

Numbers after # are the operating system's: a cpuset or numa_preferred takes them as they are.
SMT siblings share one PU: PU #0/#64 is one core with the CPUs 0 and 64.")]
pub struct Args {
    /// Print the machine as JSON (docs/machine-schema.md)
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args, io: &mut Io) -> Result<Exit> {
    let machine = hwinfo::this_machine(&Root::at("/"))?;
    if args.json {
        serde_json::to_writer_pretty(&mut *io.out, &machine).map_err(std::io::Error::from)?;
        writeln!(io.out)?;
    } else {
        hwinfo::write_tree(&machine, io.out)?;
    }
    Ok(Exit::Yes)
}
