//! `store hugepage-verify`: are the files whole and on their node? `--repair` makes the wrong ones anew.

use super::{
    super::{Exit, Io},
    say::{Progress, refused, write_json, write_steps},
    which::Which,
};
use crate::{
    hugepage::{
        World,
        steps::Step,
        verify::{self, Repair, Verdict},
    },
    sys::{Root, stop::Stop},
};
use anyhow::{Context, Result};
use serde_json::json;

const EXAMPLES: &str = "\
Examples:
  damocles-worker store hugepage-verify
      every file that this tool made here
  damocles-worker store hugepage-verify --path /mnt/huge_1g/pc1_1
      every file in the folders of one processor, whoever made it
  damocles-worker store hugepage-verify --path /mnt/huge_1g/pc1_1 --repair
      makes anew what is wrong, on the right node, all of it or nothing; what a process has mapped is refused
  damocles-worker store hugepage-verify --path /mnt/huge_1g/pc1_1 --repair --dry-run
      that as shell commands; nothing is changed

A repair has the old files and the new ones side by side for a moment, and needs pages for both.
Exit code: 0 all are right (now), 1 some are wrong, or are mapped, or there are too few pages to make them anew, 2 could not.";

/// Verify hugepage files: their length, every page allocated, every page on its node
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// Make wrong files anew, unless somebody has one mapped
    #[arg(long)]
    repair: bool,
    /// Print each step of a repair as the shell command that would do the same, and change nothing
    #[arg(long, requires = "repair")]
    dry_run: bool,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args, io: &mut Io) -> Result<Exit> {
    let root = Root::at("/");
    let (choice, record) = (args.which.choice()?, args.which.record()?);
    if !args.repair {
        return match verify::verify(&choice, &root, &record) {
            Ok(verdict) => write_verdict(&verdict, args.json, io),
            Err(error) => refused(error, args.json, io),
        };
    }
    // Before any thread is there: a signal then waits until the run can be taken back.
    let stop = Stop::on_signals().context("block signals")?;
    let progress = Progress::default();
    let talk = |talk| progress.talk(talk);
    let world = World { root: &root, state: &record, stop: &stop, talk: &talk };
    if args.dry_run {
        return match verify::preview(&choice, &world) {
            Ok(steps) => write_preview(&steps, args.json, io),
            Err(error) => refused(error, args.json, io),
        };
    }
    let repaired = verify::repair(&choice, &world);
    progress.end();
    match repaired {
        Ok(Some(repair)) => write_repair(&repair, args.json, io),
        Ok(None) => write_verdict(&verify::verify(&choice, &root, &record)?, args.json, io),
        Err(error) => refused(error, args.json, io),
    }
}

fn write_preview(steps: &[Step], as_json: bool, io: &mut Io) -> Result<Exit> {
    write_steps(steps, &[], as_json, io)?;
    if steps.is_empty() {
        writeln!(io.err, "note: every file is right: there is nothing to repair")?;
    }
    Ok(Exit::Yes)
}

fn write_verdict(verdict: &Verdict, as_json: bool, io: &mut Io) -> Result<Exit> {
    let exit = if verdict.problems.is_empty() { Exit::Yes } else { Exit::No };
    if as_json {
        let mut answer = serde_json::to_value(verdict)?;
        answer["right_everywhere"] = json!(exit == Exit::Yes);
        write_json(&answer, io)?;
        return Ok(exit);
    }
    for file in &verdict.right {
        let pages = crate::hugepage::pool::pages(file.bytes.0 / file.page_bytes.0);
        writeln!(io.out, "{}: {pages} of {}, all on node {}", file.path.display(), file.page_bytes, file.node)?;
    }
    for problem in &verdict.problems {
        writeln!(io.out, "{}: WRONG: {}", problem.path.display(), problem.kind)?;
    }
    for path in &verdict.passed_over {
        writeln!(io.err, "note: {}: passed over, its name is not one of such files", path.display())?;
    }
    if exit == Exit::No {
        writeln!(io.err, "hint: --repair makes wrong files anew, if nobody has them mapped")?;
    }
    Ok(exit)
}

/// What a pool was raised by for the time when old and new files were there, and what of it stays.
fn write_given_back(repair: &Repair, io: &mut Io) -> Result<()> {
    use crate::hugepage::pool::pages;
    for pool in &repair.report.given_back {
        let (node, size) = (pool.node, pool.page_bytes);
        writeln!(io.out, "node {node}: lowered the pool of {size} pages from {} to {}", pool.before, pool.after)?;
    }
    for pool in &repair.report.pools {
        let of_pool = repair.report.given_back.iter().filter(|back| back.is_of(pool.node, pool.page_bytes));
        let back: u64 = of_pool.map(|back| back.before.saturating_sub(back.after)).sum();
        let (stay, size, node) = (pool.after.saturating_sub(pool.before + back), pool.page_bytes, pool.node);
        if stay > 0 {
            let stay = pages(stay);
            writeln!(
                io.err,
                "note: {stay} of {size} more stay in the pool of node {node}; hugepage-release takes them"
            )?;
        }
    }
    Ok(())
}

fn write_repair(repair: &Repair, as_json: bool, io: &mut Io) -> Result<Exit> {
    if as_json {
        let mut answer = serde_json::to_value(repair)?;
        answer["done"] = json!(true);
        write_json(&answer, io)?;
        return Ok(Exit::Yes);
    }
    for problem in &repair.repaired {
        writeln!(io.out, "{}: was wrong: {}", problem.path.display(), problem.kind)?;
    }
    for pool in &repair.report.pools {
        let (node, size) = (pool.node, pool.page_bytes);
        writeln!(io.out, "node {node}: raised the pool of {size} pages from {} to {}", pool.before, pool.after)?;
    }
    for file in &repair.report.made {
        let pages = crate::hugepage::pool::pages(file.pages);
        writeln!(
            io.out,
            "{}: made anew, {pages} of {}, all on node {}",
            file.path.display(),
            file.page_bytes,
            file.node
        )?;
    }
    write_given_back(repair, io)?;
    Ok(Exit::Yes)
}
