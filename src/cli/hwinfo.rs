//! `hwinfo`: show this machine; `hwinfo cpuset` judges a cpuset on it.

use super::{Exit, Io, hwinfo_cpuset};
use crate::{
    hwinfo,
    machine::{self, Machine},
    sys::Root,
};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Show this machine: packages, NUMA nodes, L3 groups and CPUs, by the numbers that cpusets take
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  damocles-worker-util hwinfo                        the tree
  damocles-worker-util hwinfo --json > machine.json  the same as data, for plan --machine
  damocles-worker-util hwinfo cpuset 0-7             would PC1 run well on these CPUs?

Numbers after # are the operating system's: a cpuset or numa_preferred takes them as they are.
SMT siblings share one PU: PU #0/#64 is one core with the CPUs 0 and 64.")]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Print the answer as JSON (docs/machine-schema.md)
    #[arg(long, global = true)]
    json: bool,
    /// The machine described in FILE (from `hwinfo --json`) instead of this one
    #[arg(long, value_name = "FILE", global = true)]
    machine: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Cpuset(hwinfo_cpuset::Args),
}

/// Runs the command.
pub fn run(args: Args, io: &mut Io) -> Result<Exit> {
    let machine = machine_of(args.machine.as_deref())?;
    if let Some(Command::Cpuset(cpuset)) = &args.command {
        return hwinfo_cpuset::run(cpuset, &machine, args.json, io);
    }
    if args.json {
        serde_json::to_writer_pretty(&mut *io.out, &machine).map_err(std::io::Error::from)?;
        writeln!(io.out)?;
    } else {
        hwinfo::write_tree(&machine, io.out)?;
    }
    Ok(Exit::Yes)
}

/// The machine of a file, or this one.
pub(super) fn machine_of(file: Option<&Path>) -> Result<Machine> {
    let Some(path) = file else {
        return Ok(hwinfo::this_machine(&Root::at("/"))?);
    };
    let context = || format!("read machine {}", path.display());
    let text = std::fs::read_to_string(path).with_context(context)?;
    machine::parse(&text).with_context(context)
}
