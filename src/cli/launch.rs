//! `launch`: places this process and becomes a program. The daemon starts its children by it; nobody else needs it.

use super::{Exit, Io};
use crate::{
    sys::process::{Launch, Place, PlaceError},
    units::{CpuList, NodeId},
};
use anyhow::Result;
use std::{ffi::OsString, path::PathBuf};

/// Place this process and become a program (the daemon starts its processors by it)
#[derive(Debug, clap::Args)]
#[command(after_help = "The daemon calls it; it has no use of its own")]
pub struct Args {
    /// The process to end with
    #[arg(long)]
    parent: u32,
    /// The lock to hold, in this process and all that it starts
    #[arg(long)]
    lock: PathBuf,
    /// The cgroup to join
    #[arg(long)]
    cgroup: Option<String>,
    /// The CPUs to run on
    #[arg(long)]
    cpuset: Option<CpuList>,
    /// The NUMA node whose memory to prefer
    #[arg(long)]
    numa_preferred: Option<u32>,
    /// Become the program although it cannot be placed
    #[arg(long)]
    allow_unpinned: bool,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    program: Vec<OsString>,
}

/// Runs the command; it returns only where it failed.
pub fn run(args: Args, io: &mut Io) -> Result<Exit> {
    let place = Place {
        cpuset: args.cpuset,
        node_preferred: args.numa_preferred.map(NodeId),
        cgroup: args.cgroup,
        allow_unpinned: args.allow_unpinned,
    };
    let mut words = args.program.into_iter();
    let program = words.next().unwrap_or_default();
    let launch = Launch { parent: args.parent, lock: args.lock, place, program, args: words.collect() };
    let mut warn = |error: &PlaceError| {
        // A daemon that does not listen any more takes this process with it.
        let _ = writeln!(io.err, "warning: runs unpinned (--allow-unpinned): {error}");
    };
    Err(launch.become_program(&mut warn).into())
}
