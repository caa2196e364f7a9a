//! `plan simulate`: play a worker.toml through on a machine and say what it will produce.

use super::{Exit, Io};
use crate::{
    planner::simulate::{Forecast, Question, forecast},
    profile::{Profile, Suite},
    units::Prover,
    worker_config::{self, Planned, WorkerConfig},
};
use anyhow::{Context, Result};
use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Play a worker.toml through on a machine: what it will produce, where sectors wait, what is in the way
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  damocles-worker-util plan simulate worker.toml
      30 days on this machine
  damocles-worker-util plan simulate worker.toml --machine machine.json --days 7 --seed 3 --json
      a week on another machine, with other luck, as data
  damocles-worker-util plan simulate worker.toml --suite supra --prover stock-damocles
      with Supranational's PC2 and C2, under damocles-worker

The same question has the same answer: chance comes from --seed.
Exit code: 0 played through, 2 could not.")]
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
    /// How many days to play through
    #[arg(long, value_name = "DAYS", default_value_t = 30.0)]
    days: f64,
    /// Where chance begins
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Whose prover: own, stock-damocles or stock; without it the one that the file was planned for, else own
    #[arg(long)]
    prover: Option<Prover>,
    /// Whose PC2 and C2: stock or supra; without it those that the file was planned for, else stock
    #[arg(long)]
    suite: Option<Suite>,
    /// The clock that the cores keep under load, in GHz; else the catalogue's for this processor
    #[arg(long, value_name = "GHZ", value_parser = parse_ghz)]
    ghz: Option<f64>,
    /// Print the forecast as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args, io: &mut Io) -> Result<Exit> {
    let config = config(&args.config, io)?;
    let profile = profile(args.profile.as_deref())?;
    let machine = super::plan::machine(args.machine.as_deref(), io)?;
    let whose = whose(&config, args.prover, args.suite);
    let question = Question {
        config: &config,
        machine: &machine,
        profile: &profile,
        prover: whose.prover,
        suite: whose.suite,
        ghz: args.ghz,
    };
    let forecast = forecast(&question, args.days, args.seed)?;
    if args.json {
        serde_json::to_writer_pretty(&mut *io.out, &forecast).map_err(io::Error::from)?;
        writeln!(io.out)?;
    } else {
        write(&forecast, io.out)?;
    }
    for note in &forecast.notes {
        writeln!(io.err, "note: {note}")?;
    }
    Ok(Exit::Yes)
}

/// Whose proofs a file is judged for: what was asked, else what it was planned for, else ours.
pub(super) fn whose(config: &WorkerConfig, prover: Option<Prover>, suite: Option<Suite>) -> Planned {
    let planned = config.planned.unwrap_or(Planned { prover: Prover::Own, suite: Suite::Stock });
    Planned { prover: prover.unwrap_or(planned.prover), suite: suite.unwrap_or(planned.suite) }
}

/// A clock that a processor can have.
pub(super) fn parse_ghz(text: &str) -> Result<f64, String> {
    let ghz: Option<f64> = text.parse().ok().filter(|ghz| (0.1..=10.0).contains(ghz));
    ghz.ok_or_else(|| "a clock in GHz from 0.1 to 10, such as 3.3".to_owned())
}

/// A worker.toml that loads; its warnings are talk.
pub(super) fn config(path: &Path, io: &mut Io) -> Result<WorkerConfig> {
    let context = || format!("read configuration {}", path.display());
    let text = fs::read_to_string(path).with_context(context)?;
    let loaded = worker_config::parse(&text).with_context(context)?;
    for warning in &loaded.warnings {
        writeln!(io.err, "warning: {warning}")?;
    }
    Ok(loaded.config)
}

/// The built-in profile, with the operator's measurements before it.
pub(super) fn profile(own: Option<&Path>) -> Result<Profile> {
    let shipped = Profile::shipped();
    let Some(path) = own else { return Ok(shipped) };
    let context = || format!("read profile {}", path.display());
    let text = fs::read_to_string(path).with_context(context)?;
    Ok(shipped.overridden_by(&Profile::parse(&text).with_context(context)?))
}

fn write(forecast: &Forecast, out: &mut dyn Write) -> io::Result<()> {
    let rate = forecast.sectors_per_day;
    let Forecast { days, sector_size, sectors_in_days, .. } = forecast;
    writeln!(
        out,
        "output:     {:.1} sectors of {sector_size} a day ({:.1} to {:.1}), {} a day",
        rate.expected,
        rate.low,
        rate.high,
        forecast.bytes_per_day.human()
    )?;
    writeln!(out, "in {days} days: {sectors_in_days} sectors")?;
    match forecast.first_minutes {
        Some(first) => writeln!(
            out,
            "ramp-up:    first sector after {}, filling the line costs {}",
            time(first),
            time(forecast.ramp_up_minutes)
        )?,
        None => writeln!(out, "ramp-up:    no sector is done in this time")?,
    }
    writeln!(
        out,
        "a sector:   {} from its first byte to its proof on chain, queues included",
        time(forecast.minutes_per_sector)
    )?;
    writeln!(out, "bottleneck: {}", forecast.bottleneck)?;
    writeln!(out)?;
    writeln!(out, "{:<11} {:>10} {:>13} {:>6} {:>10} {:>7}", "stage", "a task", "at once", "busy", "wait", "queue")?;
    for stage in &forecast.stages {
        let at_once = format!("{:.1} of {}", stage.at_once, stage.at_once_max);
        let (task, wait) = (time(stage.task_minutes), time(stage.wait_minutes));
        let busy = format!("{:.0} %", stage.busy * 100.0);
        writeln!(out, "{:<11} {task:>10} {at_once:>13} {busy:>6} {wait:>10} {:>7.1}", stage.stage, stage.queue)?;
    }
    for shared in forecast.shared.iter().chain(&forecast.locks).filter(|shared| shared.busy > 0.0) {
        writeln!(out, "{:<11} {:>31.0} %", shared.name, shared.busy * 100.0)?;
    }
    write_outlook(forecast, out)
}

fn write_outlook(forecast: &Forecast, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out)?;
    writeln!(out, "what bounds it, in sectors a day:")?;
    for bound in forecast.bounds.iter().take(5) {
        writeln!(out, "  {:>10.1}  {}", bound.sectors_per_day, bound.what)?;
    }
    match forecast.one_more.is_empty() {
        true => writeln!(out, "one more of any single thing brings nothing"),
        false => {
            writeln!(out, "one more would bring:")?;
            forecast.one_more.iter().try_for_each(|more| {
                writeln!(out, "  {:>+9.1} %  {} ({:.1} a day)", more.gain * 100.0, more.what, more.sectors_per_day)
            })
        }
    }
}

/// Minutes as people say them.
pub(super) fn time(minutes: f64) -> String {
    match minutes {
        m if m < 1.0 => format!("{:.1} s", m * 60.0),
        m if m < 120.0 => format!("{m:.1} min"),
        m if m < 48.0 * 60.0 => format!("{:.1} h", m / 60.0),
        m => format!("{:.1} d", m / 1440.0),
    }
}
