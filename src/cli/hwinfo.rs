//! `hwinfo`: show this machine, or one that was written down; `hwinfo diff`: compare two.

pub mod diff;

use super::{Exit, Io, hwinfo_cpuset};
use crate::{
    hwinfo::{self, Look, Paint},
    machine::Machine,
    planner::catalogue,
    sys::{capture::Reader, durable, topology::Detail},
};
use anyhow::{Context, Result, ensure};
use std::{
    io::{self, IsTerminal},
    path::{Path, PathBuf},
};

/// Show this machine: its CPUs by the numbers that cpusets take, its memory, disks, GPUs and settings
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  damocles-worker-util hwinfo                        the tree, then memory, disks, GPUs, network, limits
  damocles-worker-util hwinfo --full                 everything hwloc knows, down to L1 caches and PCI devices
  damocles-worker-util hwinfo --json > machine.json  the same as data, for plan --machine
  damocles-worker-util hwinfo cpuset 0-7             would PC1 run well on these CPUs?
  damocles-worker-util hwinfo --toml >> fleet.toml   a machine of a fleet, in the numbers a plan needs
  damocles-worker-util hwinfo --svg machine.svg      a picture, for a browser; - writes it to stdout
  damocles-worker-util hwinfo --from node7.tar.bz2   another machine, as hwloc-gather-topology captured it
  damocles-worker-util hwinfo --from node7.xml       or as `lstopo --of xml` exported it
  damocles-worker-util hwinfo --from 'pack:2 [numa(memory=256GB)] l3:8(size=32MB) core:8 pu:2'
  damocles-worker-util hwinfo diff a.json b.tar.bz2  what differs between two machines

Numbers after # are the operating system's: a cpuset or numa_preferred takes them as they are.
SMT siblings share one PU: PU #0/#64 is one core with the CPUs 0 and 64.
More than 8 cores in a line become ranges: PU #0-15 + siblings #64-79 (16 cores).
Exit code: 0 shown, 2 could not look.")]
pub struct Args {
    /// Look at SOURCE instead of this machine: an hwloc XML export, a captured tree (folder, tar, tar.bz2, tar.gz),
    /// a machine.json, or else a synthetic description. A name that begins with a dash: --from=-name
    #[arg(long, visible_alias = "machine", value_name = "SOURCE", global = true)]
    from: Option<String>,
    /// Show everything hwloc knows, down to L1 caches and PCI devices
    #[arg(long)]
    full: bool,
    /// Print the answer as one JSON object: of hwinfo the machine (docs/machine-schema.md; with --full hwloc's whole
    /// tree), of cpuset the verdict (docs/cpuset.md), of diff the differences (docs/hwinfo.md)
    #[arg(long, global = true)]
    json: bool,
    /// Draw the machine into FILE as SVG, `-` for stdout
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "full", "toml"])]
    svg: Option<PathBuf>,
    /// Print the machine as an entry of a fleet file (docs/hwinfo.md)
    #[arg(long, conflicts_with_all = ["json", "full"])]
    toml: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Cpuset(hwinfo_cpuset::Args),
    Diff(diff::Args),
    /// Print what hwloc shows in this process, as data for the process that started it
    #[command(hide = true, name = CAPTURED)]
    Captured {
        root: PathBuf,
        #[arg(long)]
        full: bool,
    },
}

/// The subcommand that looks at a captured tree; see `sys::capture`.
const CAPTURED: &str = "captured-tree";

/// Runs the command.
pub fn run(args: Args, io: &mut Io) -> Result<Exit> {
    let is_of_hwinfo_alone = args.full || args.toml || args.svg.is_some();
    match &args.command {
        None => show(&args, io),
        Some(Command::Cpuset(cpuset)) => {
            ensure!(
                !is_of_hwinfo_alone,
                "judge a cpuset: --full, --toml and --svg show a machine, and cannot be said with cpuset"
            );
            let look = look(args.from.as_deref(), false, io)?;
            hwinfo_cpuset::run(cpuset, &look.machine, args.json, io)
        }
        Some(Command::Diff(machines)) => {
            ensure!(
                args.from.is_none() && !is_of_hwinfo_alone,
                "compare machines: diff takes its two sources as arguments (`hwinfo diff A B`), and no --from, --full, \
                 --toml or --svg"
            );
            diff::run(machines, io)
        }
        Some(Command::Captured { root, full }) => {
            hwinfo::write_captured(root, detail(*full), io.out)?;
            Ok(Exit::Yes)
        }
    }
}

/// The machine that `--from` names, or this one. Words such as `2x epyc-7642 2TiB` are a machine of the catalogue,
/// which nobody has looked at: descriptions of hwloc's have colons.
pub fn look(from: Option<&str>, full: bool, io: &mut Io) -> Result<Look> {
    let is_words = |source: &str| source.contains(char::is_whitespace) && catalogue::is_line(source);
    if let Some(line) = from.filter(|source| is_words(source) && !Path::new(source).exists()) {
        ensure!(!full, "--full tells what hwloc found, and nobody has looked at {line:?}: leave --full out");
        let machine = catalogue::machine(line).context("read a machine by name")?;
        return Ok(Look { machine, full: None, talk: String::new() });
    }
    let reader = Reader::this_program(&["hwinfo", CAPTURED]);
    let look = hwinfo::look(from, detail(full), &reader)?;
    if !look.talk.is_empty() {
        writeln!(io.err, "warning: {}", look.talk)?;
    }
    Ok(look)
}

fn detail(full: bool) -> Detail {
    if full { Detail::Everything } else { Detail::Structure }
}

fn show(args: &Args, io: &mut Io) -> Result<Exit> {
    let look = look(args.from.as_deref(), args.full, io)?;
    if let Some(path) = &args.svg {
        write_picture(&look.machine, path, io)?;
        return Ok(Exit::Yes);
    }
    if args.toml {
        io.out.write_all(hwinfo::fleet_toml(&look.machine)?.as_bytes())?;
        return Ok(Exit::Yes);
    }
    match (&look.full, args.json) {
        (Some(full), true) => write_json(full, io)?,
        (Some(full), false) => hwinfo::write_full_tree(full, &look.machine, paint(), io.out)?,
        (None, true) => hwinfo::write_json(&look.machine, io.out)?,
        (None, false) => {
            hwinfo::write_painted_tree(&look.machine, paint(), io.out)?;
            hwinfo::write_tables(&look.machine, io.out)?;
        }
    }
    Ok(Exit::Yes)
}

/// Colours where a person looks, unless they asked for none (no-color.org).
fn paint() -> Paint {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if io::stdout().is_terminal() && !unwanted { Paint::Terminal } else { Paint::Plain }
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

fn write_json(answer: &impl serde::Serialize, io: &mut Io) -> Result<()> {
    serde_json::to_writer_pretty(&mut *io.out, answer).map_err(io::Error::from)?;
    writeln!(io.out)?;
    Ok(())
}
