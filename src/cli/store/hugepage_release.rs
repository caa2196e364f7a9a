//! `store hugepage-release`: what this tool made goes again, and nothing else.

use super::{
    super::{Exit, Io},
    say::{self, refused, steps_json, write_json, write_steps},
    which::Which,
};
use crate::{
    hugepage::{
        World,
        error::processes,
        release::{self, ReleaseOrder, Released},
        steps::Step,
    },
    sys::{Root, stop::Stop},
};
use anyhow::{Context, Result};
use clap::ArgGroup;
use serde_json::json;

const EXAMPLES: &str = "\
Examples:
  damocles-worker store hugepage-release --path /mnt/huge_1g/pc1_1
      the files of one processor, the pages that were added for them, its folders; with the last folder the mount
  damocles-worker store hugepage-release --all --dry-run
      everything that this tool made here, as shell commands; nothing is changed
  damocles-worker store hugepage-release --all --force
      also what somebody has mapped: the pages come back when he ends, and a second release takes them then

Only what the record says was made here is taken away. Of folders that it does not know, files go whose name says their length,
and the pool is left as it is. Killed in the middle, the next command finishes.
Exit code: 0 all is gone (or nothing was there), 1 refused since somebody has a file mapped, or something stays since others use it, 2 could not.";

/// Take away what hugepage-file-init made: files, the pages that it added, folders, the mount
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES,
          group = ArgGroup::new("what").required(true).multiple(true).args(["path", "path_pattern", "all"]))]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// Everything that the record says was made here
    #[arg(long, conflicts_with_all = ["path", "path_pattern"])]
    all: bool,
    /// Also files that somebody has mapped
    #[arg(long)]
    force: bool,
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
    let stop = Stop::on_signals().context("block signals")?;
    let record = args.which.record()?;
    let world = World { root: &root, state: &record, stop: &stop, talk: &say::talk };
    let order = ReleaseOrder { choice: args.which.choice()?, force: args.force };
    if args.dry_run {
        return match release::preview(&order, &world) {
            Ok((steps, released)) => write_preview(&steps, &released, args.json, io),
            Err(error) => refused(error, args.json, io),
        };
    }
    match release::release(&order, &world) {
        Ok(released) => write_released(&released, args.json, io),
        Err(error) => refused(error, args.json, io),
    }
}

/// The exit code is that of the real run.
fn write_preview(steps: &[Step], released: &Released, as_json: bool, io: &mut Io) -> Result<Exit> {
    let stays = &released.removed.stays;
    let exit = if stays.is_empty() { Exit::Yes } else { Exit::No };
    write_left(released, io)?;
    if as_json {
        let Released { left, unknown, still_mapped, .. } = released;
        let steps = steps_json(steps);
        let answer = json!({
            "steps": steps, "stays": stays, "left": left, "unknown": unknown, "still_mapped": still_mapped,
        });
        write_json(&answer, io)?;
        return Ok(exit);
    }
    write_steps(steps, &[], false, io)?;
    if steps.is_empty() && exit == Exit::Yes {
        writeln!(io.err, "note: there is nothing to release")?;
    }
    stays.iter().try_for_each(|stays| writeln!(io.err, "no: stays: {stays}"))?;
    Ok(exit)
}

fn write_released(released: &Released, as_json: bool, io: &mut Io) -> Result<Exit> {
    let removed = &released.removed;
    let exit = if removed.stays.is_empty() { Exit::Yes } else { Exit::No };
    if as_json {
        let mut answer = serde_json::to_value(released)?;
        answer["done"] = json!(exit == Exit::Yes);
        write_json(&answer, io)?;
        return Ok(exit);
    }
    write_left(released, io)?;
    for path in &removed.files {
        writeln!(io.out, "{}: removed", path.display())?;
    }
    for pool in &removed.pools {
        let (node, size) = (pool.node, pool.page_bytes);
        writeln!(io.out, "node {node}: lowered the pool of {size} pages from {} to {}", pool.before, pool.after)?;
    }
    for path in &removed.unmounted {
        writeln!(io.out, "unmounted {}", path.display())?;
    }
    for path in &removed.folders {
        writeln!(io.out, "{}: removed", path.display())?;
    }
    if removed.files.is_empty()
        && removed.pools.is_empty()
        && removed.folders.is_empty()
        && removed.unmounted.is_empty()
        && exit == Exit::Yes
    {
        writeln!(io.out, "there was nothing to release")?;
    }
    for stays in &removed.stays {
        writeln!(io.err, "no: stays: {stays}")?;
    }
    Ok(exit)
}

fn write_left(released: &Released, io: &mut Io) -> Result<()> {
    for folder in &released.unknown {
        let folder = folder.display();
        writeln!(
            io.err,
            "note: {folder}: the record does not know it: files go by their names, and the pool is left as it is"
        )?;
    }
    for left in &released.left {
        writeln!(io.err, "note: {}: left: {}", left.path.display(), left.why)?;
    }
    for file in &released.still_mapped {
        let (path, by) = (file.path.display(), processes(&file.by));
        writeln!(io.err, "note: {path}: mapped by {by}: its pages stay in use until that ends")?;
    }
    Ok(())
}
