//! `processor STAGE`: does the work of one stage for a daemon, ours or the field's.

use super::{Exit, Io, daemon::start_log};
use crate::runtime::{
    daemon,
    pieces::Fetch,
    processor::{
        Perform,
        rehearse::{self, Babble, Script},
        serve::{self, Wish},
    },
    stage::Stage,
};
use crate::sys::process::PLACED;
use anyhow::{Context, Result, anyhow};
use std::{
    io::{self, Write},
    sync::Arc,
};
use tracing::warn;

const EXAMPLES: &str = "\
Examples:
  damocles-worker processor pc1                         what a [[processors.pc1]] without bin runs
  echo '{\"id\":1,\"task\":{...}}' | damocles-worker processor tree_d

Reads one request a line from stdin and writes one answer a line to stdout; logs go to stderr (RUST_LOG). When stdin ends it
finishes what it was asked, then ends with 0.
VC_CG_NAME and VC_CG_CPUSET (a cgroup to make and join), VENUS_WORKER_NUMA_PREFERRED (a node) place it where a daemon
of the field wants it; ours has placed it before it starts. PIECE_FETCHER_TOKEN is the token that add_pieces sends with
each piece that it gets over HTTP.";

/// Do the work of one stage for a daemon: requests on stdin, answers on stdout
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The stage: add_pieces, tree_d, pc1, pc2, c2 or transfer
    #[arg(value_name = "STAGE", value_parser = stage)]
    stage: Stage,
    /// Run although the cgroup or the NUMA node that the environment asks for cannot be had
    #[arg(long)]
    allow_unpinned: bool,
    /// Pretend, and misbehave as told: sleep=20ms,die=3,babble,… (for tests)
    #[arg(long, value_name = "SCRIPT", hide = true)]
    rehearse: Option<Script>,
}

fn stage(text: &str) -> Result<Stage, String> {
    let known = text.parse().ok().filter(|stage| Stage::EXTERNAL.contains(stage));
    known.ok_or_else(|| {
        let names = Stage::EXTERNAL.map(Stage::name).join(", ");
        format!("not a stage of processors in this version; accepted: {names}")
    })
}

/// Runs the command.
pub fn run(args: Args, _: &mut Io) -> Result<Exit> {
    let answers = serve::own_stdout().context("keep stdout for answers")?;
    // Before the first other thread: whatever this process starts inherits its place.
    let wish = Wish::from_vars(|name| std::env::var(name).ok()).map_err(|error| anyhow!(error))?;
    let (group, passed_over) =
        wish.fulfil(args.allow_unpinned).context("place this processor; with --allow-unpinned it runs anyway")?;
    start_log(std::env::var_os(PLACED).is_none());
    passed_over.iter().for_each(|error| warn!("runs unpinned (--allow-unpinned): {error}"));
    let served = match args.rehearse {
        None => {
            let fetch = Fetch::from_vars(|name| std::env::var(name).ok());
            let perform: Arc<Perform> = Arc::new(move |task| daemon::perform(task, &fetch));
            serve::serve(args.stage, io::stdin().lock(), answers, perform)
        }
        Some(script) => rehearsed(args.stage, &script, answers),
    };
    drop(group);
    match served {
        Ok(()) => Ok(Exit::Yes),
        // Nobody reads the answers, so nobody is left to be told.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::No),
        Err(error) => Err(error).context("talk to the daemon"),
    }
}

fn rehearsed(stage: Stage, script: &Script, mut answers: std::fs::File) -> io::Result<()> {
    rehearse::overture(script, &mut answers)?;
    let perform: Arc<Perform> = rehearse::performer(script);
    let answers: Box<dyn Write + Send> = if script.babble { Box::new(Babble(answers)) } else { Box::new(answers) };
    let served = serve::serve(stage, io::stdin().lock(), answers, perform);
    if script.stubborn {
        rehearse::stay();
    }
    served
}
