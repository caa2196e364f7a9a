//! `daemon`: load, check, run; told in the order it happens.

use super::{Exit, Io};
use crate::{
    machine::Machine,
    runtime::{
        daemon::{self, CrashPoint, Ending, Findings, Host, Options, SectorReport, StopFlag},
        processor::rehearse::Script,
    },
    units::HumanDuration,
    worker_config::{self, Diagnosis, Loaded},
};
use anyhow::{Context, Result};
use serde::Serialize;
use std::{
    fs,
    io::{IsTerminal, Write},
    path::PathBuf,
};
use tracing_subscriber::EnvFilter;

const EXAMPLES: &str = "\
Examples:
  damocles-worker daemon -c worker.toml                 run until Ctrl-C
  damocles-worker daemon -c worker.toml --sectors 1     stop after one finished sector
  damocles-worker daemon -c worker.toml --check         only judge the file against this host
  damocles-worker daemon -c worker.toml --check --machine machine.json
  damocles-worker-util plan --target 1MiB/day | damocles-worker daemon -c /dev/stdin --check

Exit codes: 0 done (or stopped in order), 1 stopped before the asked-for sectors were finished, 2 could not start";

/// Run the sealing daemon, or check its configuration
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The configuration (damocles-worker.toml); /dev/stdin reads it from a pipe
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Judge the configuration against this host and stop; nothing is changed, no network is asked
    #[arg(long)]
    check: bool,
    /// With --check: judge against this machine (a machine.json, or any source that hwinfo --from takes) instead of this host
    #[arg(long, value_name = "SOURCE", requires = "check")]
    machine: Option<String>,
    /// Stop after so many finished sectors
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    sectors: Option<u64>,
    /// Run although a cpuset or NUMA node of a processor cannot be applied; that is then a warning
    #[arg(long)]
    allow_unpinned: bool,
    /// Let a remote manager have proofs made with locally generated parameters
    #[arg(long)]
    allow_local_params: bool,
    /// How long a stop waits for stages that are being worked on
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    grace: HumanDuration,
    /// Print JSON: the findings of --check, or one line per finished sector
    #[arg(long)]
    json: bool,
    /// Kill this process at a place of the journal: before:STATE, after:STATE or started:STAGE (embedded manager only)
    #[arg(long, value_name = "PLACE", hide_short_help = true)]
    crash_at: Option<CrashPoint>,
    /// Pretend, for tests of everything around the proofs: nothing is sealed (embedded manager only)
    #[arg(long, value_name = "SCRIPT", hide = true)]
    rehearse: Option<Script>,
}

/// What `--check --json` prints.
#[derive(Debug, Serialize)]
struct Verdict<'a> {
    accepted: bool,
    #[serde(flatten)]
    findings: &'a Findings,
}

/// Runs the command.
pub fn run(args: Args, io: &mut Io) -> Result<Exit> {
    let text = fs::read_to_string(&args.config)
        .with_context(|| format!("read the configuration {}", args.config.display()))?;
    let Some(loaded) = load(&text, &args, io)? else { return Ok(Exit::CouldNot) };
    let (machine, here) = machine_of(&args, io)?;
    let options = Options {
        sectors: args.sectors,
        allow_unpinned: args.allow_unpinned,
        program: std::env::current_exe().context("find this program's own file")?,
        temp: std::env::temp_dir(),
        allow_local_params: args.allow_local_params,
        grace: args.grace.0,
        crash: args.crash_at.clone(),
        rehearse: args.rehearse.clone(),
    };
    let mut findings = daemon::check(&loaded.config, &options, Host { machine: &machine, here });
    findings.warnings.splice(0..0, loaded.warnings.iter().map(ToString::to_string));
    tell(&findings, &args, io)?;
    if !findings.problems.is_empty() {
        return Ok(Exit::CouldNot);
    }
    if args.check {
        return Ok(Exit::Yes);
    }
    start_log(true);
    let stop = StopFlag::default();
    let json = args.json;
    let mut print = |report: SectorReport| print_sector(&report, json, io.out);
    let mut broken = Ok(());
    let ending = daemon::run(&loaded.config, &options, &stop, &mut |report| {
        if broken.is_ok() {
            broken = print(report);
        }
    })?;
    broken?;
    end(ending, args.sectors, io)
}

/// The loaded configuration, or `None` after every problem in it has been told.
fn load(text: &str, args: &Args, io: &mut Io) -> Result<Option<Loaded>> {
    match worker_config::parse(text) {
        Ok(loaded) => Ok(Some(loaded)),
        Err(problems) => {
            let texts = |list: &[Diagnosis]| list.iter().map(ToString::to_string).collect();
            let findings = Findings { problems: texts(&problems.problems), warnings: texts(&problems.warnings) };
            tell(&findings, args, io)?;
            Ok(None)
        }
    }
}

fn machine_of(args: &Args, io: &mut Io) -> Result<(Machine, bool)> {
    let look = super::hwinfo::look(args.machine.as_deref(), false, io).context("look at the machine")?;
    Ok((look.machine, args.machine.is_none()))
}

fn tell(findings: &Findings, args: &Args, io: &mut Io) -> Result<()> {
    let accepted = findings.problems.is_empty();
    let file = args.config.display();
    for warning in &findings.warnings {
        writeln!(io.err, "warning: {file}: {warning}")?;
    }
    for problem in &findings.problems {
        writeln!(io.err, "error: {file}: {problem}")?;
    }
    if args.check && args.json {
        writeln!(io.out, "{}", serde_json::to_string_pretty(&Verdict { accepted, findings })?)?;
    } else if args.check && accepted {
        writeln!(io.out, "{file}: accepted")?;
    }
    Ok(())
}

/// Our own steps; of the libraries only what is wrong.
const LOG_DEFAULT: &str = "warn,damocles_worker=info";

/// Talk goes to stderr; `RUST_LOG` chooses how much. A daemon of ours puts the time before what its children say.
pub(super) fn start_log(timed: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOG_DEFAULT));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let log = log.with_ansi(std::io::stderr().is_terminal());
    // A test that runs several daemons in one process has a log already.
    let _ = if timed { log.try_init() } else { log.without_time().try_init() };
}

const PIPELINE: [&str; 7] = ["add_pieces", "tree_d", "pc1", "pc2", "transfer", "c1", "c2"];

fn print_sector(report: &SectorReport, json: bool, out: &mut dyn Write) -> Result<()> {
    if json {
        writeln!(out, "{}", serde_json::to_string(report)?)?;
        return Ok(out.flush()?);
    }
    writeln!(out, "sector {} ({})", report.name, report.proof_type)?;
    writeln!(out, "  number   {}", report.number)?;
    writeln!(out, "  comm_r   {}", report.comm_r.as_deref().unwrap_or("-"))?;
    writeln!(out, "  comm_d   {}", report.comm_d.as_deref().unwrap_or("-"))?;
    let seconds = PIPELINE.iter().filter_map(|stage| Some(format!("{stage} {:.2}", report.seconds.get(*stage)?)));
    writeln!(out, "  seconds  {}", seconds.collect::<Vec<_>>().join(", "))?;
    match &report.refusal {
        None => writeln!(out, "  proof    {} bytes, proof verified", report.proof_bytes)?,
        Some(reason) => writeln!(out, "  proof    not verified: {reason}")?,
    }
    for (index, file) in report.files.iter().enumerate() {
        writeln!(out, "  {}{}", if index == 0 { "files    " } else { "         " }, file.display())?;
    }
    Ok(out.flush()?)
}

fn end(ending: Ending, asked: Option<u64>, io: &mut Io) -> Result<Exit> {
    match ending {
        Ending::SectorsDone => Ok(Exit::Yes),
        Ending::Stopped { finished } => {
            writeln!(io.err, "stopped in order; the next start goes on from the journals")?;
            Ok(if asked.is_none_or(|asked| finished >= asked) { Exit::Yes } else { Exit::No })
        }
        Ending::Died => {
            writeln!(io.err, "error: a sealing thread ended by itself, which is a fault of this program; see the log")?;
            writeln!(io.err, "hint: start the daemon again: it goes on from the journals")?;
            Ok(Exit::No)
        }
        Ending::AllPaused(paused) => {
            for (location, failure) in paused {
                writeln!(io.err, "error: {location}: {failure}")?;
            }
            writeln!(io.err, "hint: remove the cause and start the daemon again: it goes on from the journals")?;
            Ok(Exit::No)
        }
    }
}
