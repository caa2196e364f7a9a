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
    proofs::{self, Pc1Flags, Pc1Options},
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
  damocles-worker processor pc1 --hugepage-files-path /mnt/huge_1g/pc1_1 --require-hugepages
  echo '{\"id\":1,\"task\":{...}}' | damocles-worker processor tree_d

Reads one request a line from stdin and writes one answer a line to stdout; logs go to stderr (RUST_LOG). When stdin ends it
finishes what it was asked, then ends with 0.
VC_CG_NAME and VC_CG_CPUSET (a cgroup to make and join), VENUS_WORKER_NUMA_PREFERRED (a node) place it where a daemon
of the field wants it; ours has placed it before it starts. PIECE_FETCHER_TOKEN is the token that add_pieces sends for
each piece that it gets over HTTP, PIECE_FETCHER_ORIGINS where it may be sent on to (https://HOST:PORT, with blanks between).";

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
    #[command(flatten)]
    hugepages: Hugepages,
    /// Pretend, and misbehave as told: sleep=20ms,die=3,babble,… (for tests)
    #[arg(long, value_name = "SCRIPT", hide = true)]
    rehearse: Option<Script>,
}

/// Where pc1 keeps the two layers in work. Other stages take none of it.
#[derive(Debug, clap::Args)]
struct Hugepages {
    /// pc1: take hugepage files of DIR/numa_N, N being a NUMA node [environment: HUGEPAGE_FILES_PATH]
    #[arg(long, alias = "hugepage_files_path", value_name = "DIR")]
    hugepage_files_path: Option<String>,
    /// pc1: the same for any other folder per node, with $NUMA_NODE_INDEX where the number belongs; the path is then ignored
    /// [environment: HUGEPAGE_FILES_PATH_PATTERN]
    #[arg(long, alias = "hugepage_files_path_pattern", value_name = "PATTERN")]
    hugepage_files_path_pattern: Option<String>,
    /// pc1: refuse a sector for which too few hugepage files are free, instead of taking other memory
    /// [environment: DAMOCLES_PC1_REQUIRE_HUGEPAGES=1]
    #[arg(long, alias = "require_hugepages")]
    require_hugepages: bool,
}

impl Hugepages {
    fn is_given(&self) -> bool {
        self.hugepage_files_path.is_some() || self.hugepage_files_path_pattern.is_some() || self.require_hugepages
    }
}

impl From<Hugepages> for Pc1Flags {
    fn from(flags: Hugepages) -> Self {
        Self {
            hugepage_files_path: flags.hugepage_files_path,
            hugepage_files_path_pattern: flags.hugepage_files_path_pattern,
            require_hugepages: flags.require_hugepages,
        }
    }
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
    if args.stage != Stage::Pc1 && args.hugepages.is_given() {
        return Err(anyhow!("{} takes no hugepage files: the flags for them are those of pc1", args.stage));
    }
    let answers = serve::own_stdout().context("keep stdout for answers")?;
    // Before the first other thread: whatever this process starts inherits its place.
    let wish = Wish::from_vars(|name| std::env::var(name).ok()).map_err(|error| anyhow!(error))?;
    let (group, passed_over) =
        wish.fulfil(args.allow_unpinned).context("place this processor; with --allow-unpinned it runs anyway")?;
    start_log(std::env::var_os(PLACED).is_none());
    passed_over.iter().for_each(|error| warn!("runs unpinned (--allow-unpinned): {error}"));
    let served = match args.rehearse {
        None => serve::serve(args.stage, io::stdin().lock(), answers, performer(args.stage, args.hugepages)?),
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

/// What does the work. pc1 looks at its memory before it says that it is ready.
fn performer(stage: Stage, hugepages: Hugepages) -> Result<Arc<Perform>> {
    let fetch = Fetch::from_vars(|name| std::env::var(name).ok());
    if stage != Stage::Pc1 {
        return Ok(Arc::new(move |task| daemon::perform(task, &fetch)));
    }
    let options = Pc1Options::from_flags(&hugepages.into())?;
    proofs::prepare_pc1(&options)?;
    Ok(Arc::new(move |task| daemon::perform_with(task, &fetch, &options)))
}

fn rehearsed(stage: Stage, script: &Script, mut answers: std::fs::File) -> io::Result<()> {
    rehearse::overture(script, &mut answers)?;
    let perform: Arc<Perform> = rehearse::performer(script, Fetch::from_vars(|name| std::env::var(name).ok()));
    let answers: Box<dyn Write + Send> = if script.babble { Box::new(Babble(answers)) } else { Box::new(answers) };
    let served = serve::serve(stage, io::stdin().lock(), answers, perform);
    if script.stubborn {
        rehearse::stay();
    }
    served
}
