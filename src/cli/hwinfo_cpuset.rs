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
use std::path::{Path, PathBuf};

/// Judge a cpuset: what the prover would do with it, and which sets near it are good
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  damocles-worker-util hwinfo cpuset 0-6
      7 cores in two L3 caches: refused, with the nearest good sets
  damocles-worker-util hwinfo cpuset 0-41 --producers 1 --concurrent 14
      do 14 PC1 tasks get a unit each?
  damocles-worker-util hwinfo cpuset --suggest 14 --producers 1 --prover stock-damocles
      sets for 14 tasks at once
  damocles-worker-util hwinfo cpuset -c damocles-worker.toml --machine machine.json
      every processor of a configuration, for the machine of that file

Provers: stock is rust-fil-proofs, stock-damocles the fork that damocles-worker links, own this project's.
Exit code: 0 good, 1 not good, 2 could not tell.")]
#[command(group = clap::ArgGroup::new("what").required(true).args(["cpuset", "suggest", "config"]))]
pub struct Args {
    /// The CPUs by OS number, as in cgroup.cpuset: 0-7,16
    #[arg(value_name = "CPUSET")]
    cpuset: Option<CpuList>,
    /// List sets for N concurrent tasks
    #[arg(long, value_name = "N")]
    suggest: Option<usize>,
    /// Judge every processor of this damocles-worker.toml
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The stage that would run there; units are formed for pc1 only
    #[arg(long, default_value = "pc1")]
    stage: StageName,
    /// Whose binding: stock, stock-damocles or own
    #[arg(long, default_value = "stock")]
    prover: Prover,
    /// FIL_PROOFS_MULTICORE_SDR_PRODUCERS, helper cores of a PC1 task [default: 3, for own 0]
    #[arg(long, value_name = "N")]
    producers: Option<usize>,
    /// How many tasks would run at once
    #[arg(long, value_name = "N")]
    concurrent: Option<usize>,
    /// Sets are meant to hold all SMT siblings of their cores
    #[arg(long)]
    smt: bool,
}

/// Runs the command on `machine`.
pub fn run(args: &Args, machine: &Machine, as_json: bool, io: &mut Io) -> Result<Exit> {
    let question = args.question();
    refuse_to_guess(machine, &question)?;
    if let Some(path) = &args.config {
        return run_config(path, machine, &question, as_json, io);
    }
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

/// The stock libraries group cores by the first level above them that has fewer objects. Where that is an L2, a
/// verdict by L3 would be a guess, and a wrong "good" panics a prover.
fn refuse_to_guess(machine: &Machine, question: &Question) -> Result<()> {
    match machine.shared_l2() {
        Some(caches) if question.forms_units() && question.prover != Prover::Own => bail!(
            "judge a cpuset of machine {}: its {} cores share {caches} L2 caches, by which the stock provers group them, and a \
             machine description holds no L2 groups; --prover own is judged by L3",
            machine.hostname,
            machine.cores().len()
        ),
        _ => Ok(()),
    }
}

impl Args {
    fn question(&self) -> Question {
        Question {
            stage: Some(self.stage),
            multicore: true,
            prover: self.prover,
            producers: self.producers.unwrap_or_else(|| self.prover.default_producers()),
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

fn run_config(path: &Path, machine: &Machine, question: &Question, as_json: bool, io: &mut Io) -> Result<Exit> {
    let context = || format!("read configuration {}", path.display());
    let text = std::fs::read_to_string(path).with_context(context)?;
    let loaded = worker_config::parse(&text).with_context(context)?;
    for warning in &loaded.warnings {
        writeln!(io.err, "warning: {warning}")?;
    }
    let verdict = cpuset::judge_config(machine, &loaded.config, question);
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
