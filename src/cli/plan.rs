//! `plan`: plan a worker.toml for a machine and a target rate.

use super::{Exit, Io, plan_simulate, plan_verify};
use crate::{
    planner::{self, Attached, Manager, Plan, PlanError, Site, Target},
    units::{Rate, SectorSize},
};
use anyhow::Result;
use serde_json::json;
use std::{io, path::PathBuf};

/// Plan a worker.toml for a machine and a target rate
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  damocles-worker-util plan --target 1MiB/day > worker.toml
      for this machine, with 2KiB sectors and the manager inside the daemon
  damocles-worker-util plan --target 20GiB/day --sector-size 512MiB --machine machine.json
      for the machine whose `hwinfo --json` that is; an hwloc XML export or a captured tree serves too
  damocles-worker-util plan --target 10MiB/h --sector-size 8MiB --manager /ip4/10.0.0.1/tcp/1789 \\
      --sealing-dir /mnt/nvme0 --sealing-dir /mnt/nvme1 --attached store1=/mnt/store1 --miner 1234

The file goes to stdout, the forecast to stderr.
Exit code: 0 planned, 1 the machine does not reach the target, 2 could not plan.")]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    plan: PlanArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Simulate(plan_simulate::Args),
    Verify(plan_verify::Args),
}

#[derive(Debug, clap::Args)]
struct PlanArgs {
    /// What to produce: a size per hour, day, week or month
    #[arg(long, value_name = "RATE", required = true)]
    target: Option<Rate>,
    /// The sectors' size: 2KiB, 8MiB or 512MiB in this version
    #[arg(long, value_name = "SIZE", default_value = "2KiB")]
    sector_size: SectorSize,
    /// Plan for the machine that SOURCE describes (a file of `hwinfo --json`, or whatever `hwinfo --from` takes)
    /// instead of this one
    #[arg(long, value_name = "SOURCE")]
    machine: Option<String>,
    /// The sector manager: `embedded`, or its address as multiaddr or URL
    #[arg(long, value_name = "ADDR", default_value = "embedded")]
    manager: String,
    /// The embedded manager's folder, with its database and chain; without use with another manager
    #[arg(long, value_name = "DIR", default_value = "./manager")]
    manager_dir: PathBuf,
    /// A folder for sealing stores; repeat it to spread the sealing threads
    #[arg(long, value_name = "DIR", default_value = "./sealing")]
    sealing_dir: Vec<PathBuf>,
    /// A persistent store and its name; may be repeated
    #[arg(long, value_name = "NAME=PATH", default_value = "persist=./persist", value_parser = parse_attached)]
    attached: Vec<Attached>,
    /// The miner (actor number): whose sectors the embedded manager hands out, or the only one served
    #[arg(long, value_name = "N")]
    miner: Option<u64>,
    /// Productive days in a month, for targets per month
    #[arg(long, value_name = "DAYS", default_value_t = 30.0)]
    days_per_month: f64,
    /// Print the plan as JSON, the file inside it
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args, io: &mut Io) -> Result<Exit> {
    match args.command {
        Some(Command::Simulate(simulate)) => plan_simulate::run(&simulate, io),
        Some(Command::Verify(verify)) => plan_verify::run(&verify, io),
        None => plan(&args.plan, io),
    }
}

fn plan(args: &PlanArgs, io: &mut Io) -> Result<Exit> {
    let machine = super::hwinfo::look(args.machine.as_deref(), false, io)?.machine;
    match planner::plan(&machine, &args.target(), &args.site()) {
        Ok(plan) => {
            write_plan(&plan, args.json, io)?;
            Ok(Exit::Yes)
        }
        Err(no) if no.is_answer() => {
            writeln!(io.err, "no: {no}")?;
            if args.json {
                write_refusal(&no, io)?;
            }
            Ok(Exit::No)
        }
        Err(error) => Err(error.into()),
    }
}

impl PlanArgs {
    fn target(&self) -> Target {
        Target {
            rate: self.target.expect("required by clap where no subcommand is given"),
            sector_size: self.sector_size,
            days_per_month: self.days_per_month,
        }
    }

    fn site(&self) -> Site {
        Site {
            // Only the literal word: a typo must never seal against a simulation.
            manager: match self.manager.as_str() {
                "embedded" => Manager::Embedded,
                addr => Manager::Remote(addr.to_owned()),
            },
            manager_dir: self.manager_dir.clone(),
            sealing_dirs: self.sealing_dir.clone(),
            attached: self.attached.clone(),
            miner: self.miner,
        }
    }
}

fn parse_attached(text: &str) -> Result<Attached, String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => {
            Ok(Attached { name: name.to_owned(), location: path.into() })
        }
        _ => Err("a persistent store is given as NAME=PATH, such as persist=./persist".to_owned()),
    }
}

fn write_plan(plan: &Plan, as_json: bool, io: &mut Io) -> Result<()> {
    write_forecast(plan, io)?;
    if as_json {
        let mut answer = json!({ "feasible": true });
        if let (Some(answer), serde_json::Value::Object(fields)) = (answer.as_object_mut(), serde_json::to_value(plan)?)
        {
            answer.extend(fields);
        }
        write_json(&answer, io)
    } else {
        io.out.write_all(plan.worker_toml.as_bytes())?;
        Ok(())
    }
}

fn write_forecast(plan: &Plan, io: &mut Io) -> io::Result<()> {
    let capacity = &plan.capacity;
    let (needed, expected) = (capacity.sectors_per_hour_needed, capacity.sectors_per_hour_expected);
    let threads = capacity.sealing_threads;
    let s = if threads == 1 { "" } else { "s" };
    writeln!(io.err, "needed:     {needed:.2} sectors/h ({} of {} sectors)", plan.target, plan.sector_size)?;
    writeln!(io.err, "expected:   {expected:.2} sectors/h with {threads} sealing thread{s}")?;
    writeln!(io.err, "bottleneck: {}", capacity.bottleneck)?;
    writeln!(io.err, "note:       this rests on built-in stage times, not on measurements of {}", plan.hostname)
}

fn write_refusal(no: &PlanError, io: &mut Io) -> Result<()> {
    let PlanError::Infeasible { target, sector_size, needed, possible, possible_rate: _, bottleneck } = no else {
        return Ok(());
    };
    write_json(
        &json!({
            "feasible": false,
            "target": target,
            "sector_size": sector_size,
            "sectors_per_hour_needed": needed,
            "sectors_per_hour_possible": possible,
            "bottleneck": bottleneck,
        }),
        io,
    )
}

fn write_json(answer: &serde_json::Value, io: &mut Io) -> Result<()> {
    serde_json::to_writer_pretty(&mut *io.out, answer).map_err(io::Error::from)?;
    writeln!(io.out)?;
    Ok(())
}
