//! `hwinfo cpuset`: judge a cpuset, suggest cpusets, judge a configuration's.

use super::{Exit, Io};
use crate::{
    hwinfo::cpuset::{self, Question},
    machine::{Machine, pc1_units::Prover},
    units::CpuList,
    worker_config::{self, StageName},
};
use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::{
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

/// Judge a cpuset: what the prover would do with it, and which sets near it are good
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  damocles-worker-util hwinfo cpuset 0-6
      7 cores in two L3 caches: refused, with the nearest good sets
  damocles-worker-util hwinfo cpuset 0-41 --producers 1 --concurrent 14
      do 14 PC1 tasks get a unit each?
  damocles-worker-util hwinfo cpuset --suggest 14 --producers 1 --prover stock-damocles
      sets for 14 tasks at once, the best first
  damocles-worker-util hwinfo cpuset 0-7 --machine machine.json
      the same for another machine, from what `hwinfo --json` printed there
  damocles-worker-util hwinfo cpuset 0-7 --from 'pack:2 l3:8(size=32MB) core:8 pu:2'
      or from any other SOURCE that hwinfo --from takes; --from and --machine are one
  damocles-worker-util hwinfo cpuset -c damocles-worker.toml --machine machine.json
      every processor of a configuration, for the machine of that file
  damocles-worker-util hwinfo cpuset 0-7 --json | jq -r .nearest.larger.cpuset
      the verdict as data

Provers: stock is rust-fil-proofs, stock-damocles the fork that damocles-worker links, own this project's.
Exit code: 0 good, 1 not good, 2 could not tell.")]
#[command(group = clap::ArgGroup::new("what").required(true).args(["cpuset", "suggest", "config"]))]
pub struct Args {
    /// The CPUs by OS number, as in cgroup.cpuset: 0-7,16
    #[arg(value_name = "CPUSET")]
    cpuset: Option<CpuList>,
    /// List sets for N concurrent tasks
    #[arg(long, value_name = "N", value_parser = tasks)]
    suggest: Option<usize>,
    /// Judge every processor of this damocles-worker.toml
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The stage that would run there; units are formed for pc1 only
    #[arg(long, default_value = "pc1")]
    stage: StageName,
    /// Whose binding: stock, stock-damocles or own [default: with -c the one that the file was planned for, else stock]
    #[arg(long)]
    prover: Option<Prover>,
    /// FIL_PROOFS_MULTICORE_SDR_PRODUCERS, helper cores of a PC1 task [default: 3, for own 0]
    #[arg(long, value_name = "N", value_parser = producers)]
    producers: Option<usize>,
    /// How many tasks would run at once
    #[arg(long, value_name = "N", value_parser = tasks)]
    concurrent: Option<usize>,
    /// Sets are meant to hold all SMT siblings of their cores
    #[arg(long)]
    smt: bool,
    // The two below are hwinfo's own global ones, told again because they mean something else here.
    /// Judge for the machine that SOURCE describes instead of this one: a machine.json of `hwinfo --json`, an hwloc XML
    /// export, a captured tree (folder, tar, tar.bz2, tar.gz), or else a synthetic description
    #[arg(long, visible_alias = "machine", value_name = "SOURCE")]
    pub from: Option<String>,
    /// Print the verdict (with --suggest the sets, with -c the configuration's) as JSON; docs/cpuset.md tells its words
    #[arg(long)]
    pub json: bool,
}

/// As many CPUs as the largest machine that hwinfo reads has: no more tasks or helpers can have a core.
const MOST: usize = 8_192;

/// A number of tasks that a question makes sense for.
fn tasks(text: &str) -> Result<usize, String> {
    within(text, 1..=MOST).map_err(|wanted| format!("a number of tasks is {wanted}"))
}

/// A number of producers; how few a prover bears is its verdict's business.
fn producers(text: &str) -> Result<usize, String> {
    within(text, 0..=MOST - 1)
        .map_err(|wanted| format!("a number of producers is {wanted}, since a unit has one core more"))
}

fn within(text: &str, range: RangeInclusive<usize>) -> Result<usize, String> {
    let wanted = || format!("from {} to {}", range.start(), range.end());
    text.trim().parse().ok().filter(|number| range.contains(number)).ok_or_else(wanted)
}

/// Runs the command on `machine`.
pub fn run(args: &Args, machine: &Machine, as_json: bool, io: &mut Io) -> Result<Exit> {
    if let Some(path) = &args.config {
        return run_config(path, machine, args, as_json, io);
    }
    let question = args.question(Prover::Stock);
    refuse_to_guess(machine, &question)?;
    if let Some(tasks) = args.suggest {
        return run_suggest(tasks, machine, &question, as_json, io);
    }
    let cpuset = args.cpuset.clone().unwrap_or_default();
    if cpuset.is_empty() {
        bail!("judge cpuset \"\": it names no CPU; write CPUs and ranges such as 0-7,16");
    }
    let verdict = cpuset::judge(machine, &cpuset, &question);
    if as_json {
        write_json(&verdict, io)?;
    } else {
        cpuset::write_verdict(&verdict, io.out)?;
    }
    Ok(exit(verdict.good))
}

/// The stock libraries group cores by the first level above them that has fewer objects. Where that is an L2 that a
/// description counts without its CPUs, a verdict by L3 would be a guess, and a wrong "good" panics a prover.
fn refuse_to_guess(machine: &Machine, question: &Question) -> Result<()> {
    match machine.unlisted_l2() {
        Some(caches) if question.forms_units() && question.prover != Prover::Own => bail!(
            "judge a cpuset of machine {}: its {} cores share {caches} L2 caches, by which the stock provers group them, and \
             this description of an older release does not tell which; write it again with `hwinfo --json`, or judge for \
             --prover own, which goes by L3",
            machine.hostname,
            machine.cores().len()
        ),
        _ => Ok(()),
    }
}

impl Args {
    /// `otherwise`: where nobody says whose.
    fn question(&self, otherwise: Prover) -> Question {
        let prover = self.prover.unwrap_or(otherwise);
        Question {
            stage: Some(self.stage),
            multicore: true,
            prover,
            producers: self.producers.unwrap_or_else(|| prover.default_producers()),
            concurrent: self.concurrent,
            smt: self.smt,
        }
    }
}

fn run_suggest(tasks: usize, machine: &Machine, question: &Question, as_json: bool, io: &mut Io) -> Result<Exit> {
    if !question.forms_units() {
        bail!("suggest sets for {}: only pc1 is bound to units; leave out --stage", question.stage_name());
    }
    let sets = cpuset::suggest(machine, tasks, question);
    if as_json {
        write_json(&sets, io)?;
    } else {
        cpuset::write_suggestions(tasks, &sets, io.out)?;
    }
    Ok(exit(!sets.is_empty()))
}

fn run_config(path: &Path, machine: &Machine, args: &Args, as_json: bool, io: &mut Io) -> Result<Exit> {
    let context = || format!("read configuration {}", path.display());
    let text = std::fs::read_to_string(path).with_context(context)?;
    let loaded = worker_config::parse(&text).with_context(context)?;
    for warning in &loaded.warnings {
        writeln!(io.err, "warning: {warning}")?;
    }
    let question = args.question(loaded.config.planned.map_or(Prover::Stock, |planned| planned.prover));
    refuse_to_guess(machine, &question)?;
    let verdict = cpuset::judge_config(machine, &loaded.config, &question);
    if as_json {
        write_json(&verdict, io)?;
    } else {
        cpuset::write_config(&verdict, io.out)?;
    }
    Ok(exit(verdict.good))
}

fn exit(good: bool) -> Exit {
    if good { Exit::Yes } else { Exit::No }
}

fn write_json(answer: &impl Serialize, io: &mut Io) -> Result<()> {
    serde_json::to_writer_pretty(&mut *io.out, answer).map_err(std::io::Error::from)?;
    writeln!(io.out)?;
    Ok(())
}
