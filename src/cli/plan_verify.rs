//! `plan verify`: judge a worker.toml against a machine.

use super::{Exit, Io, plan_simulate};
use crate::{
    planner::verify::{Finding, Question, Report, Severity, verify},
    profile::Suite,
    units::Prover,
    worker_config::{self, Loaded},
};
use anyhow::{Context, Result};
use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Judge a worker.toml against a machine: CPUs, PC1 units, memory, disks, locks, limits, GPUs, environment
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  damocles-worker-util plan verify worker.toml
      is it right for this machine?
  damocles-worker-util plan verify worker.toml --machine machine.json --prover stock-damocles
      for another machine, under damocles-worker
  damocles-worker-util plan verify worker.toml --json | jq '.findings[] | select(.severity == \"error\")'
      as data

Errors do not start, destroy work or silently run at a fraction of their speed; warnings work and should be different.
Exit code: 0 no errors, 1 errors, 2 could not judge.")]
pub struct Args {
    /// The configuration
    #[arg(value_name = "FILE")]
    config: PathBuf,
    /// The machine that it would run on, as `plan --machine` takes it, instead of this one
    #[arg(long, value_name = "SOURCE")]
    machine: Option<String>,
    /// Measured stage times (profile.toml), which go before the built-in ones
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
    /// Whose prover: own, stock-damocles or stock; without it the one that the file was planned for, else own
    #[arg(long)]
    prover: Option<Prover>,
    /// Whose PC2 and C2: stock or supra; without it those that the file was planned for, else stock
    #[arg(long)]
    suite: Option<Suite>,
    /// The clock that the cores keep under load, in GHz; else the catalogue's for this processor
    #[arg(long, value_name = "GHZ", value_parser = plan_simulate::parse_ghz)]
    ghz: Option<f64>,
    /// Memory that does not suffice is a warning
    #[arg(long)]
    overcommit: bool,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args, io: &mut Io) -> Result<Exit> {
    let loaded = load(&args.config)?;
    let profile = plan_simulate::profile(args.profile.as_deref())?;
    let machine = super::plan::machine(args.machine.as_deref(), io)?;
    let whose = plan_simulate::whose(&loaded.config, args.prover, args.suite);
    let report = verify(&Question {
        config: &loaded.config,
        warnings: &loaded.warnings,
        machine: &machine,
        profile: &profile,
        prover: whose.prover,
        suite: whose.suite,
        ghz: args.ghz,
        overcommit: args.overcommit,
    });
    if args.json {
        serde_json::to_writer_pretty(&mut *io.out, &report).map_err(io::Error::from)?;
        writeln!(io.out)?;
    } else {
        write(&report, io.out)?;
    }
    Ok(if report.good { Exit::Yes } else { Exit::No })
}

fn load(path: &Path) -> Result<Loaded> {
    let context = || format!("read configuration {}", path.display());
    let text = fs::read_to_string(path).with_context(context)?;
    worker_config::parse(&text).with_context(context)
}

fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let of = |severity, word: &str| match report.count(severity) {
        1 => format!("1 {word}"),
        count => format!("{count} {word}s"),
    };
    let verdict = if report.good { "good" } else { "not good" };
    let (errors, warnings) = (of(Severity::Error, "error"), of(Severity::Warning, "warning"));
    writeln!(
        out,
        "{verdict} for {} sectors and the {} prover: {errors}, {warnings}",
        report.sector_size, report.prover
    )?;
    report.findings.iter().try_for_each(|finding| write_finding(finding, out))?;
    writeln!(out)?;
    for pc1 in &report.pc1 {
        let units = pc1.units.iter().map(|unit| unit.iter().map(ToString::to_string).collect::<Vec<_>>().join(","));
        let units = units.map(|unit| format!("({unit})")).collect::<Vec<_>>().join("");
        writeln!(out, "{}: {} tasks, {} units {units}", pc1.path, pc1.tasks, pc1.units.len())?;
    }
    write_memory(report, out)?;
    for store in &report.stores {
        let total = store.total.map_or("unknown".to_owned(), |total| total.human());
        writeln!(out, "{}: {} threads, {} of {total}", store.mount, store.threads, store.need.human())?;
    }
    Ok(())
}

fn write_finding(finding: &Finding, out: &mut dyn Write) -> io::Result<()> {
    let severity = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Advice => "advice",
    };
    let path = if finding.path.is_empty() { String::new() } else { format!("{}: ", finding.path) };
    writeln!(out, "{severity:<8} {path}{}; {}  [{}]", finding.found, finding.advice, finding.code)
}

fn write_memory(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let memory = &report.memory;
    let (need, most, have) = (memory.need.human(), memory.need_most.human(), memory.have.human());
    let kept = memory.reserve.human();
    writeln!(
        out,
        "memory: {need} with everything at its limit (careful: {most}), {have} to give, {kept} kept for the system"
    )?;
    for line in &memory.tasks {
        let most =
            if line.each_most > line.each { format!(" (careful: {})", line.each_most.human()) } else { String::new() };
        writeln!(out, "  {:>4} x {:>10}{most}  {}", line.tasks, line.each.human(), line.what)?;
    }
    Ok(())
}
