//! `plan`: plan a worker.toml for a machine and a target rate.

use super::{Exit, Io, plan_forecast, plan_out, plan_simulate, plan_verify};
use crate::{
    machine::Machine,
    planner::{
        self, Attached, C2Place, Choices, GpuUse, Manager, Plan, PlanError, ReadBackError, Request, Site, Target,
        Template, Templates, artefacts, catalogue, simulate::Forecast,
    },
    profile::{Profile, Suite},
    units::{Prover, Rate, SectorSize},
};
use anyhow::{Context, Result, anyhow};
use serde_json::json;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Plan a worker.toml for a machine and a target rate
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  damocles-worker-util plan --target 1MiB/day > worker.toml
      for this machine, with 2KiB sectors and the manager inside the daemon
  damocles-worker-util plan --target 1PiB/month --sector-size 32GiB --manager /ip4/10.0.0.1/tcp/1789 \\
      --machine '2x epyc-7642 2TiB 2x rtx3080 4x nvme-7.68TB' --static-tree-d /srv/tree_d-32GiB
      how many such machines, and the file for each
  damocles-worker-util plan --target 10TiB/day --sector-size 32GiB --prover stock-damocles --suite supra \\
      --layout exclusive --hugepages --manager /ip4/10.0.0.1/tcp/1789
      for this machine and damocles' own build with Supranational's GPU code
  damocles-worker-util plan --target 1PiB/month --sector-size 32GiB --machine '2x epyc-7642 2TiB 4x rtx3080' --optimise \\
      --manager /ip4/10.0.0.1/tcp/1789
      the layout that makes the most there, and the most that any could
  damocles-worker-util plan --target 1PiB/month --days-per-month 21 --sector-size 32GiB --fleet fleet.toml
      the cheapest mix of the machine types in a file: what to buy, what runs where
  damocles-worker-util plan --target 1PiB/month --sector-size 32GiB --machine '2x epyc-7642 2TiB 2x rtx3080' --out plan
      everything in a folder: containers, units, hugepages, lists for purchasing and operations, a page to look at
  damocles-worker-util plan --target 20GiB/day --sector-size 512MiB --machine machine.json
      for the machine whose `hwinfo --json` that is; an hwloc XML export or a captured tree serves too
  damocles-worker-util plan --target 10MiB/h --sector-size 8MiB --manager /ip4/10.0.0.1/tcp/1789 \\
      --sealing-dir /mnt/nvme0 --sealing-dir /mnt/nvme1 --attached store1=/mnt/store1 --miner 1234

The file goes to stdout, the forecast to stderr; with --fleet two tables go to stdout, with --out the names of the files.
Exit code: 0 planned, 1 no plan reaches the target, 2 could not plan.")]
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
    /// The sectors' size: 2KiB, 8MiB, 512MiB, 32GiB or 64GiB
    #[arg(long, value_name = "SIZE", default_value = "2KiB")]
    sector_size: SectorSize,
    /// Plan for machines like SOURCE instead of this one: a name such as `2x epyc-7642 2TiB 2x rtx3080`, an entry of a
    /// fleet file, a file of `hwinfo --json`, or whatever `hwinfo --from` takes
    #[arg(long, value_name = "SOURCE")]
    machine: Option<String>,
    /// Plan the cheapest mix of the machine types in FILE: what to buy and what runs where
    #[arg(long, value_name = "FILE", conflicts_with_all = ["machine", "count", "pc1"])]
    fleet: Option<PathBuf>,
    /// How many such machines there are; without it as many as the target takes, for this machine 1
    #[arg(long, value_name = "N")]
    count: Option<u32>,
    /// Whose proofs library runs: own (this project's runtime), stock-damocles or stock
    #[arg(long, value_name = "PROVER", default_value = "own")]
    prover: Prover,
    /// The code for PC2 and C2 on GPUs: stock, or supra (Supranational's)
    #[arg(long, value_name = "SUITE", default_value = "stock")]
    suite: Suite,
    /// How GPUs are used: exclusive (each for one stage) or shared (each for both, under a lock); without it what makes more
    #[arg(long, value_name = "LAYOUT", value_parser = parse_layout)]
    layout: Option<GpuUse>,
    /// PC1 tasks at once; without it as many as pay
    #[arg(long, value_name = "N")]
    pc1: Option<u32>,
    /// A ready tree-d of empty sectors, which is linked instead of built
    #[arg(long, value_name = "FILE")]
    static_tree_d: Option<PathBuf>,
    /// Give PC1 its memory in pages of 1 GiB, from the hugetlbfs mounted at DIR
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = "/mnt/huge")]
    hugepages: Option<PathBuf>,
    /// Where C2 is done: local, or remote=PROGRAM that hands the tasks on
    #[arg(long, value_name = "PLACE", default_value = "local", value_parser = parse_c2)]
    c2: C2Place,
    /// The part of the time that stages are planned to be busy
    #[arg(long, value_name = "PART", default_value_t = 0.9)]
    utilisation: f64,
    /// The clock that the processor keeps up with all cores busy, for PC1's model; without it the catalogue's
    #[arg(long, value_name = "GHZ")]
    ghz: Option<f64>,
    /// Your own stage times: rows of FILE go before the built-in ones
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
    /// Plan although all tasks at their limits at once do not fit in memory
    #[arg(long)]
    overcommit: bool,
    /// Search for the layout that makes the most, by simulation, and say how far it is from what none exceeds
    #[arg(long, conflicts_with = "fleet")]
    optimise: bool,
    /// Sectors with deals: each builds its tree-d, and its pieces come over the network
    #[arg(long, conflicts_with = "static_tree_d")]
    deals: bool,
    /// The sector manager: `embedded`, or its address as multiaddr or URL
    #[arg(long, value_name = "ADDR", default_value = "embedded")]
    manager: String,
    /// The embedded manager's folder, with its database and chain; without use with another manager
    #[arg(long, value_name = "DIR", default_value = "./manager")]
    manager_dir: PathBuf,
    /// A folder for sealing stores; repeat it to spread the sealing threads. Without it ./sealing, and for 32GiB and
    /// 64GiB sectors a folder on each fast disk of the machine
    #[arg(long, value_name = "DIR")]
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
    /// Print the plan as JSON, the file inside it; with --out what was written
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    out: plan_out::OutArgs,
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
    args.out.check()?;
    let templates = args.out.templates(io)?;
    let request = args.request()?;
    if let Some(fleet) = &args.fleet {
        return super::plan_fleet::run(fleet, &request, args.json, &args.out, &templates, io);
    }
    let machine = machine(args.machine.as_deref(), io)?;
    match planner::plan(&machine, &request) {
        Ok(plan) if args.out.is_asked_for() => {
            write_forecast(&plan, io)?;
            plan_forecast::write(&plan, &planner::foresee(&machine, &request, &plan)?, io.err)?;
            args.out.write(&artefacts::of_plan(&machine, &request, &plan), &templates, args.json, io)
        }
        Ok(mut plan) => {
            if templates.is_own(Template::WorkerToml) {
                plan.worker_toml = own_file(&plan, &machine, &request, &templates, &args.out)?;
            }
            let forecast = planner::foresee(&machine, &request, &plan)?;
            write_plan(&plan, &forecast, args.json, io)?;
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

fn own_file(
    plan: &Plan,
    machine: &Machine,
    request: &Request,
    templates: &Templates,
    out: &plan_out::OutArgs,
) -> Result<String> {
    planner::worker_toml(plan, machine, request, templates).map_err(|error| match error {
        PlanError::ReadBack(ReadBackError::Template(fault)) => out.named(&fault),
        other => other.into(),
    })
}

/// The machine that `--machine` names; without it this one.
pub(super) fn machine(source: Option<&str>, io: &mut Io) -> Result<Machine> {
    match source {
        Some(source) if is_fleet(source) => one_of_fleet(source),
        Some(source) if !Path::new(source).exists() && catalogue::is_line(source) => {
            catalogue::machine(source).context("read --machine as a machine by name")
        }
        source => Ok(super::hwinfo::look(source, false, io)?.machine),
    }
}

impl PlanArgs {
    fn request(&self) -> Result<Request> {
        Ok(Request { target: self.target(), choices: self.choices(), site: self.site(), profile: self.profile()? })
    }

    fn profile(&self) -> Result<Profile> {
        let shipped = Profile::shipped();
        let Some(path) = &self.profile else { return Ok(shipped) };
        let own = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let own = Profile::parse(&own).with_context(|| format!("read {}", path.display()))?;
        Ok(shipped.overridden_by(&own))
    }

    fn target(&self) -> Target {
        Target {
            rate: self.target.expect("required by clap where no subcommand is given"),
            sector_size: self.sector_size,
            days_per_month: self.days_per_month,
        }
    }

    fn choices(&self) -> Choices {
        Choices {
            prover: self.prover,
            suite: self.suite,
            layout: self.layout,
            pc1: self.pc1,
            static_tree_d: self.static_tree_d.clone(),
            hugepages: self.hugepages.clone(),
            c2: self.c2.clone(),
            utilisation: self.utilisation,
            // This machine is one; of others there may be as many as it takes.
            count: self.count.or(self.machine.is_none().then_some(1)),
            ghz: self.ghz,
            overcommit: self.overcommit,
            deals: self.deals,
            optimise: self.optimise,
        }
    }

    fn site(&self) -> Site {
        let is_default = self.sealing_dir.is_empty();
        Site {
            // Only the literal word: a typo must never seal against a simulation.
            manager: match self.manager.as_str() {
                "embedded" => Manager::Embedded,
                addr => Manager::Remote(addr.to_owned()),
            },
            manager_dir: self.manager_dir.clone(),
            sealing_dirs: if is_default { vec!["./sealing".into()] } else { self.sealing_dir.clone() },
            sealing_dirs_are_default: is_default,
            attached: self.attached.clone(),
            miner: self.miner,
        }
    }
}

fn is_fleet(source: &str) -> bool {
    Path::new(source).is_file() && Path::new(source).extension().is_some_and(|extension| extension == "toml")
}

/// The one entry of a fleet file: which of several is meant, nobody can tell.
fn one_of_fleet(path: &str) -> Result<Machine> {
    let text = fs::read_to_string(path).with_context(|| format!("read {path}"))?;
    let fleet = catalogue::fleet(&text).with_context(|| format!("read {path}"))?;
    match fleet.machine.as_slice() {
        [one] => catalogue::machine_of(one).with_context(|| format!("read {path}")),
        several => {
            Err(anyhow!("read {path}: it has {} machines; keep one of them in a file of its own", several.len()))
        }
    }
}

fn parse_layout(text: &str) -> Result<GpuUse, String> {
    match text {
        "exclusive" => Ok(GpuUse::Exclusive),
        "shared" => Ok(GpuUse::Shared),
        _ => Err("a layout is exclusive or shared".to_owned()),
    }
}

fn parse_c2(text: &str) -> Result<C2Place, String> {
    match (text, text.strip_prefix("remote=")) {
        ("local", _) => Ok(C2Place::Local),
        (_, Some(program)) if !program.is_empty() => Ok(C2Place::Remote(program.into())),
        _ => Err("C2 is done local, or remote=PROGRAM".to_owned()),
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

fn write_plan(plan: &Plan, forecast: &Forecast, as_json: bool, io: &mut Io) -> Result<()> {
    write_forecast(plan, io)?;
    plan_forecast::write(plan, forecast, io.err)?;
    if as_json {
        let mut answer = json!({ "feasible": true, "forecast": forecast });
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
    if plan.machines > 1 {
        let (machines, all) = (plan.machines, expected * f64::from(plan.machines));
        writeln!(io.err, "machines:   {machines}, each with this file; together {all:.2} sectors/h")?;
    }
    write_placement(plan, io)?;
    for warning in &plan.warnings {
        writeln!(io.err, "warning:    {warning}")?;
    }
    match plan.stages.iter().any(|cost| cost.measured_here) {
        true => writeln!(io.err, "note:       stage times are yours where --profile has them, built-in elsewhere"),
        false => {
            writeln!(io.err, "note:       this rests on built-in stage times, not on measurements of {}", plan.hostname)
        }
    }
}

fn write_placement(plan: &Plan, io: &mut Io) -> io::Result<()> {
    let Some(placement) = &plan.placement else { return Ok(()) };
    let cpusets = placement.pc1.iter().map(|one| format!("{} on {}", one.tasks, one.cpuset)).collect::<Vec<_>>();
    writeln!(io.err, "pc1:        {}", cpusets.join(", "))?;
    for one in &placement.processors {
        let place = one.gpu.map_or_else(|| "cores only".to_owned(), |gpu| format!("GPU {gpu}"));
        let lock = one.lock.as_ref().map_or_else(String::new, |lock| format!(", lock {lock}"));
        writeln!(io.err, "{:<12}{place} with {}{lock}", format!("{}:", one.stage), one.cpuset)?;
    }
    let memory = &placement.memory;
    writeln!(io.err, "memory:     {} of {} at all limits at once", memory.need.human(), memory.have.human())
}

fn write_refusal(no: &PlanError, io: &mut Io) -> Result<()> {
    let answer = match no {
        PlanError::Infeasible { target, sector_size, needed, possible, bottleneck, count, machines, .. } => json!({
            "feasible": false,
            "target": target,
            "sector_size": sector_size,
            "sectors_per_hour_needed": needed,
            "sectors_per_hour_possible": possible,
            "bottleneck": bottleneck,
            "count": count,
            "machines": machines,
        }),
        PlanError::NothingFits { hostname, sector_size, short, change } => json!({
            "feasible": false,
            "hostname": hostname,
            "sector_size": sector_size,
            "reason": short.to_string(),
            "change": change.as_ref().map(ToString::to_string),
            "change_by": change,
        }),
        PlanError::Refused { hostname, found } => json!({
            "feasible": false,
            "hostname": hostname,
            "reason": found,
        }),
        _ => return Ok(()),
    };
    write_json(&answer, io)
}

fn write_json(answer: &serde_json::Value, io: &mut Io) -> Result<()> {
    serde_json::to_writer_pretty(&mut *io.out, answer).map_err(io::Error::from)?;
    writeln!(io.out)?;
    Ok(())
}
