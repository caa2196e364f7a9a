//! `store hugepage-file-init`: hugepage files for PC1, whole and on their node, or none.

use super::{
    super::{Exit, Io},
    say::{Progress, refused, write_json, write_steps},
    which::absolute,
};
use crate::{
    hugepage::{
        self, InitError, Order, Pattern, Refusal, Report, Target, World, config, look,
        pool::pages,
        request::{FILES_MAX, NodeChoice},
        state,
    },
    sys::{Root, stop::Stop},
    units::Bytes,
    worker_config,
};
use anyhow::{Context, Result};
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
};

const EXAMPLES: &str = "\
Examples:
  damocles-worker store hugepage-file-init --node 0 --num 2 --size 32GiB --path /mnt/huge_1g/pc1_1
      two files for one PC1 task in /mnt/huge_1g/pc1_1/numa_0; raises the pool of node 0 by what is missing
  damocles-worker store hugepage-file-init --node 0,1 --num 4 --size 32GiB \\
      --path-pattern '/mnt/huge_1g/node_$NUMA_NODE_INDEX' --mount /mnt/huge_1g --page-size 1GiB
      on both nodes, all or nothing; mounts a hugetlbfs if none is there
  damocles-worker store hugepage-file-init --from damocles-worker.toml --dry-run
      what every pc1 processor of a configuration needs, as shell commands; nothing is changed

Files that are there are verified and kept, missing ones added. Stopped or killed, nothing of a run remains: the next one
takes back what a killed one left.
Exit code: 0 the files are there, 1 too few pages or wrong files in the way, 2 could not.";

/// Make hugepage files for PC1: allocate the pages on their node, verify where each lies
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The NUMA nodes: 0, 0,1, 0-3 or all; without it the only node of this machine
    #[arg(short, long, value_name = "NODES", conflicts_with = "from")]
    node: Option<NodeChoice>,
    /// Files per node; PC1 takes two for each task that runs at once
    #[arg(short = 'c', long, value_name = "N", required_unless_present = "from", conflicts_with = "from",
          value_parser = clap::value_parser!(u64).range(1..=FILES_MAX))]
    num: Option<u64>,
    /// The size of each file, which is the sectors' size: 32GiB, 64GiB; with --from instead of sealing.allowed_sizes
    #[arg(short, long, value_name = "SIZE", required_unless_present = "from")]
    size: Option<Bytes>,
    /// The folder of the files, which lie in PATH/numa_N; ignored with --path-pattern
    #[arg(long, value_name = "PATH", conflicts_with = "from", required_unless_present_any = ["from", "path_pattern"])]
    path: Option<PathBuf>,
    /// The folders of the files, with $NUMA_NODE_INDEX where the node's number belongs
    #[arg(long, alias = "path_pattern", value_name = "PATTERN", conflicts_with = "from")]
    path_pattern: Option<String>,
    /// Make what every pc1 processor of this damocles-worker.toml needs
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Mount a hugetlbfs at DIR if none is there; takes --page-size
    #[arg(long, value_name = "DIR")]
    mount: Option<PathBuf>,
    /// The size of the pages: of a new mount, or what the mount must have
    #[arg(long, value_name = "SIZE")]
    page_size: Option<Bytes>,
    /// Threads per node [default: its CPUs, at most 16]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// The record of what this tool made, by which it is taken back
    #[arg(long, value_name = "FILE", default_value = state::DEFAULT)]
    state: PathBuf,
    /// Print each step as the shell command that would do the same, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args, io: &mut Io) -> Result<Exit> {
    let root = Root::at("/");
    // Before any thread is there: a signal then waits until the run can be taken back.
    let stop = Stop::on_signals().context("block signals")?;
    let state = std::path::absolute(&args.state).context("find the folder of --state")?;
    let order = match args.order(&root, io) {
        Ok(order) => order,
        Err(error) => return refused(error, args.json, io),
    };
    let progress = Progress::default();
    let talk = |talk| progress.talk(talk);
    let world = World { root: &root, state: &state, stop: &stop, talk: &talk };
    if args.dry_run {
        return match hugepage::preview(&order, &world) {
            Ok((steps, kept)) => write_steps(&steps, &kept, args.json, io).map(|()| Exit::Yes),
            Err(error) => refused(error, args.json, io),
        };
    }
    let made = hugepage::init(&order, &world);
    progress.end();
    match made {
        Ok(report) => write_report(&report, args.json, io).map(|()| Exit::Yes),
        Err(error) => refused(error, args.json, io),
    }
}

impl Args {
    fn order(&self, root: &Root, io: &mut Io) -> Result<Order, InitError> {
        let targets = match &self.from {
            Some(path) => targets_of_config(path, self.size, root, io)?,
            None => self.targets(root)?,
        };
        let mount = self.mount.as_deref().map(absolute).transpose()?;
        Ok(Order { targets, page_bytes: self.page_size, mount, threads: self.threads.map(usize::from) })
    }

    fn targets(&self, root: &Root) -> Result<Vec<Target>, InitError> {
        let pattern = match (&self.path_pattern, &self.path) {
            (Some(pattern), _) => Pattern::parse_path(&absolute(Path::new(pattern))?)?,
            (None, Some(path)) => Pattern::of_path(&absolute(path)?)?,
            (None, None) => unreachable!("clap asks for one of them"),
        };
        let nodes = NodeChoice::of(self.node.as_ref(), &look::look(root)?.serving())?;
        let (files, file_bytes) = (self.num.unwrap_or(0), self.size.unwrap_or_default());
        Ok(nodes.into_iter().map(|node| Target { node, folder: pattern.folder(node), files, file_bytes }).collect())
    }
}

/// What every pc1 processor of a configuration needs.
pub(super) fn targets_of_config(
    path: &Path,
    size: Option<Bytes>,
    root: &Root,
    io: &mut Io,
) -> Result<Vec<Target>, InitError> {
    let refuse = |why: String| InitError::from(Refusal::Config(format!("{}: {why}", path.display())));
    let text = fs::read_to_string(path).map_err(|error| refuse(format!("read it: {error}")))?;
    let loaded = worker_config::parse(&text)
        .map_err(|problems| refuse(problems.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))?;
    let cpus = look::look(root)?.nodes.into_iter().map(|(id, node)| (id, node.cpus)).collect();
    let found = config::targets(&loaded.config, &cpus, size).map_err(|error| refuse(error.to_string()))?;
    for note in &found.notes {
        // Talk that cannot be written is no reason to stop.
        let _ = writeln!(io.err, "note: {}: {note}", path.display());
    }
    Ok(found.targets)
}

fn write_report(report: &Report, as_json: bool, io: &mut Io) -> Result<()> {
    if as_json {
        let mut answer = serde_json::to_value(report)?;
        answer["done"] = json!(true);
        return write_json(&answer, io);
    }
    if let Some(at) = &report.mounted {
        writeln!(io.out, "mounted a hugetlbfs at {}", at.display())?;
    }
    for pool in &report.pools {
        writeln!(
            io.out,
            "node {}: raised the pool of {} pages from {} to {}",
            pool.node, pool.page_bytes, pool.before, pool.after
        )?;
    }
    for path in &report.kept {
        writeln!(io.out, "{}: was there, verified", path.display())?;
    }
    for file in &report.made {
        let (path, pages, size, node) = (file.path.display(), pages(file.pages), file.page_bytes, file.node);
        writeln!(io.out, "{path}: made, {pages} of {size}, all on node {node}")?;
    }
    Ok(())
}
