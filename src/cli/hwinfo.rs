//! `hwinfo`: show this machine; `hwinfo diff`: compare two.

pub mod diff;

use super::{Exit, Io};
use crate::{
    hwinfo,
    machine::Machine,
    sys::{Root, durable},
};
use anyhow::{Context, Result};
use clap::Subcommand;
use std::path::{Path, PathBuf};

/// Show this machine: packages, NUMA nodes, L3 groups and CPUs, by the numbers that cpusets take
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  damocles-worker-util hwinfo                        the tree
  damocles-worker-util hwinfo --json > machine.json  the same as data, for plan --machine
  damocles-worker-util hwinfo --svg machine.svg      a picture, for a browser; - writes it to stdout

Numbers after # are the operating system's: a cpuset or numa_preferred takes them as they are.
SMT siblings share one PU: PU #0/#64 is one core with the CPUs 0 and 64."
)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Print the machine as JSON (docs/machine-schema.md)
    #[arg(long)]
    json: bool,
    /// Draw the machine into FILE as SVG, `-` for stdout
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    svg: Option<PathBuf>,
}

/// Questions beside "what is this machine".
#[derive(Debug, Subcommand)]
enum Command {
    Diff(diff::Args),
}

/// Runs the command.
pub fn run(args: Args, io: &mut Io) -> Result<Exit> {
    match args.command {
        Some(Command::Diff(args)) => diff::run(args, io),
        None => show(&args, io),
    }
}

fn show(args: &Args, io: &mut Io) -> Result<Exit> {
    let machine = hwinfo::this_machine(&Root::at("/"))?;
    if let Some(path) = &args.svg {
        write_picture(&machine, path, io)?;
    } else if args.json {
        serde_json::to_writer_pretty(&mut *io.out, &machine).map_err(std::io::Error::from)?;
        writeln!(io.out)?;
    } else {
        hwinfo::write_tree(&machine, io.out)?;
    }
    Ok(Exit::Yes)
}

/// The picture to a file, whole or not at all, or to stdout.
fn write_picture(machine: &Machine, path: &Path, io: &mut Io) -> Result<()> {
    let picture = hwinfo::picture(machine);
    if path == Path::new("-") {
        io.out.write_all(picture.as_bytes())?;
        return Ok(());
    }
    durable::write_atomic(path, picture.as_bytes()).context("draw the machine")
}
