//! `bench`: measure what stages take on this machine and how fast its disks are, as a profile for `plan`.

use super::{Exit, Io, bench_import};
use crate::{
    bench::{
        self, Origin, Watch,
        disk::{Disk, DiskSample},
        layout::Kind,
        order::{Order, Step, Steps},
        run::{self, Tools},
        sample::{Sample, best},
        state::{self, State},
    },
    machine::Machine,
    profile::{Profile, Stage},
    runtime::proofs::params::{self, ParamsKind},
    sys::{durable, stop::Stop},
    units::{Bytes, SealProof, SectorSize},
};
use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::{
    env,
    io::{self, IsTerminal, Write, stderr},
    path::{Path, PathBuf},
    str::FromStr,
    time::SystemTime,
};
use tabled::{builder::Builder, settings::Style};
use tracing_subscriber::EnvFilter;

/// Measure what stages take on this machine and how fast its disks are
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  damocles-worker-util bench --dry-run
      what would be measured for 2KiB sectors, with the memory, the room and the time that it takes
  damocles-worker-util bench --sector-size 32GiB --sealing-dir /mnt/nvme0 --sealing-dir /mnt/nvme1 --out sealer.toml
      a day on a sealing machine; then: plan --profile sealer.toml
  damocles-worker-util bench --sector-size 32GiB --stages pc2 --cores 23,30,46 --layouts pinned
      pc2 alone, one and several at once on so many cores each
  damocles-worker-util bench --stages disk --sealing-dir /mnt/nvme0
      only the disk
  damocles-worker-util bench --resume
      go on after a stop or a crash; the arguments are repeated
  damocles-worker-util bench import benchy-*.log --sector-size 32GiB --out sealer.toml
      from logs instead

The table goes to stdout, the rows of the best layouts to the profile.
Exit code: 0 measured, 1 a stage cannot be measured here, 2 could not.")]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    bench: BenchArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Import(bench_import::Args),
}

#[derive(Debug, clap::Args)]
struct BenchArgs {
    /// The sectors' size: 2KiB, 8MiB, 512MiB, 32GiB or 64GiB
    #[arg(long, value_name = "SIZE", default_value = "2KiB")]
    sector_size: SectorSize,
    /// What to measure: add_pieces, tree_d, pc1, pc2, c1, c2 and disk; without it everything
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    stages: Vec<Part>,
    /// Numbers of cores to try: of pc1 all that run at once, of other stages those of a task (layout shared: tasks at
    /// once). Without it from one L3 group, doubled up to the machine
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    cores: Vec<u32>,
    /// How tasks come to their cores: shared (one process on all cores, as small sectors are sealed), pinned (cpusets on L3
    /// boundaries, as large ones are). Without it as the sector size is sealed
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    layouts: Vec<Kind>,
    /// How often each task is repeated; without it 3 times, and once for 32GiB and 64GiB
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// A sealing location: sectors are measured on its disk, and the disk itself; may be repeated
    #[arg(long, value_name = "DIR", default_value = ".")]
    sealing_dir: Vec<PathBuf>,
    /// The size of the file that a disk is measured with
    #[arg(long, value_name = "SIZE", default_value = "1GiB")]
    disk_size: Bytes,
    /// How long each of a disk's measurements takes, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    disk_seconds: f64,
    /// Requests to a disk at once
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1024))]
    disk_depth: u32,
    /// The profile to write
    #[arg(long, value_name = "FILE", default_value = "profile.toml")]
    out: PathBuf,
    /// Go on with a run that was stopped or killed
    #[arg(long)]
    resume: bool,
    /// Show what would be measured, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Measure although a cpuset or NUMA node cannot be applied; that is then a warning
    #[arg(long)]
    allow_unpinned: bool,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

/// Something to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Stage(Stage),
    Disk,
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let stage = Stage::ALL.into_iter().find(|stage| stage.name() == text).map(Part::Stage);
        stage.or((text == "disk").then_some(Part::Disk)).ok_or_else(|| {
            let names: Vec<_> = Stage::ALL.iter().map(|stage| stage.name()).collect();
            format!("one of {} and disk", names.join(", "))
        })
    }
}

/// Runs the command.
pub fn run(args: Args, io: &mut Io) -> Result<Exit> {
    if let Some(Command::Import(import)) = args.command {
        return bench_import::run(&import, io);
    }
    let args = args.bench;
    ensure!(args.disk_seconds > 0.0 && args.disk_seconds <= 3600.0, "--disk-seconds: more than 0 and at most 3600");
    ensure!(args.disk_size >= Bytes::mib(1), "--disk-size: at least 1MiB");
    let machine = super::hwinfo::look(None, false, io)?.machine;
    let order = args.order();
    let room = run::room(&args.sealing_dir)?;
    let steps = order.steps(&machine, &Profile::shipped(), room);
    let disks = args.disks(room.disk)?;
    for reason in &steps.left_out {
        writeln!(io.err, "left out: {reason}")?;
    }
    if let Some(stage) = order.stages.iter().find(|stage| steps.steps.iter().all(|step| step.stage != **stage)) {
        let why = "there is no layout of it that fits; see --cores, or leave it out with --stages";
        writeln!(io.err, "no: {stage} cannot be measured here: {why}")?;
        return Ok(Exit::No);
    }
    if args.dry_run {
        write_plan(&steps, &disks, &args, io)?;
        return Ok(Exit::Yes);
    }
    measure(&args, &machine, &order, &steps, &disks, io)
}

fn measure(
    args: &BenchArgs,
    machine: &Machine,
    order: &Order,
    steps: &Steps,
    disks: &[Disk],
    io: &mut Io,
) -> Result<Exit> {
    ensure!(
        !args.out.exists(),
        "write the profile {}: it is there already; choose another with --out, or move it away",
        args.out.display()
    );
    check_parameters(order)?;
    let stop = Stop::on_signals().context("listen to signals")?;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    // A test that runs several in one process has a log already.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr).with_target(false).try_init();
    let path = state::path_for(&args.out);
    let name = format!("{}, {}, {}", machine.hostname, machine.cpu_model().unwrap_or("unknown"), machine.allowed_cpus);
    let mut state = State::open(&path, &name, order, args.resume)?;
    let mut watch = Talk::new(io.err);
    let mut tools = Tools {
        program: env::current_exe().context("find this program's own file")?,
        temp: env::temp_dir(),
        allow_unpinned: args.allow_unpinned,
        stop: &stop,
        watch: &mut watch,
    };
    let outcome = run::run(steps, order, disks, &args.sealing_dir, &mut state, &path, &mut tools);
    watch.end();
    outcome?;
    let origin = origin(&machine.hostname);
    let rows = bench::stage_rows(&state.samples, machine, order.sector_size, &origin);
    let disk_rows = state.disks.iter().map(|disk| bench::disk_row(disk, machine, &origin)).collect();
    write_profile(&args.out, &bench::profile(rows, disk_rows))?;
    durable::remove_if_there(&path)?;
    write_answer(&state, order, &args.out, args.json, io)?;
    Ok(Exit::Yes)
}

impl BenchArgs {
    fn order(&self) -> Order {
        let wanted = |stage: &Stage| self.stages.is_empty() || self.stages.contains(&Part::Stage(*stage));
        let kinds = match self.layouts.is_empty() {
            true => vec![Order::production_kind(self.sector_size)],
            false => self.layouts.clone(),
        };
        Order {
            sector_size: self.sector_size,
            stages: Stage::ALL.into_iter().filter(wanted).collect(),
            cores: self.cores.clone(),
            kinds,
            rounds: self.rounds.unwrap_or_else(|| Order::default_rounds(self.sector_size)),
        }
    }

    /// A file takes at most a quarter of the room that is left.
    fn disks(&self, room: Bytes) -> Result<Vec<Disk>> {
        if !self.stages.is_empty() && !self.stages.contains(&Part::Disk) {
            return Ok(Vec::new());
        }
        let bytes = Bytes(self.disk_size.0.min(room.0 / 4) >> 20 << 20);
        ensure!(
            bytes > Bytes(0),
            "measure disks: there is no room for a file of 1MiB; make room, or leave disk out with --stages"
        );
        let disk = |dir: &PathBuf| {
            let location = std::path::absolute(dir).with_context(|| format!("find {}", dir.display()))?;
            // The name that plans use, if it is there already.
            let location = location.canonicalize().unwrap_or(location);
            Ok(Disk { location, bytes, seconds: self.disk_seconds, depth: self.disk_depth })
        };
        self.sealing_dir.iter().map(disk).collect()
    }
}

fn check_parameters(order: &Order) -> Result<()> {
    if !order.stages.contains(&Stage::C2) {
        return Ok(());
    }
    let kind = params::look_now(SealProof::v1_1(order.sector_size)).context("look at the proof parameters")?;
    ensure!(
        kind != ParamsKind::Missing,
        "measure c2 of {size} sectors: its proof parameters are not there; run damocles-worker params fetch \
         --sector-size {size} (or generate), or leave c2 out with --stages",
        size = order.sector_size
    );
    Ok(())
}

/// This command, now.
pub(super) fn origin(host: &str) -> Origin {
    let mut words: Vec<String> = env::args().collect();
    if let Some(program) = words.first_mut() {
        let name = Path::new(program).file_name().map(|name| name.to_string_lossy().into_owned());
        *program = name.unwrap_or_default();
    }
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    Origin { date: now[..10].to_owned(), command: words.join(" "), host: host.to_owned() }
}

/// Writes a profile, once it was read back.
pub(super) fn write_profile(path: &Path, profile: &Profile) -> Result<()> {
    let text = profile.to_toml();
    Profile::parse(&text).context("read back the profile before it is written; this is a bug, please report it")?;
    durable::write_atomic(path, text.as_bytes()).with_context(|| format!("write the profile {}", path.display()))
}

fn write_plan(steps: &Steps, disks: &[Disk], args: &BenchArgs, io: &mut Io) -> Result<()> {
    if args.json {
        let disks: Vec<_> =
            disks.iter().map(|disk| json!({ "location": disk.location, "bytes": disk.bytes })).collect();
        let answer = json!({ "steps": steps.steps, "left_out": steps.left_out, "disks": disks, "out": args.out });
        writeln!(io.out, "{}", serde_json::to_string_pretty(&answer)?)?;
        return Ok(());
    }
    for disk in disks {
        writeln!(io.out, "disk        {}: a file of {}", disk.location.display(), disk.bytes)?;
    }
    for step in &steps.steps {
        let warm = if step.warms_up { ", after one that does not count" } else { "" };
        let (memory, disk) = (step.memory.human(), step.disk.human());
        writeln!(
            io.out,
            "{:<11} {}: {} times{warm}; {memory} of memory, {disk} of disk, about {}",
            step.stage,
            step.layout,
            step.rounds,
            time(step.minutes)
        )?;
    }
    let minutes: f64 =
        steps.steps.iter().map(|step: &Step| step.minutes).sum::<f64>() + disks.iter().map(Disk::minutes).sum::<f64>();
    writeln!(io.err, "about {} by the built-in figures; the profile goes to {}", time(minutes), args.out.display())?;
    Ok(())
}

fn time(minutes: f64) -> String {
    match minutes {
        m if m < 1.0 => format!("{:.1} s", m * 60.0),
        m if m < 120.0 => format!("{m:.1} min"),
        m => format!("{:.1} h", m / 60.0),
    }
}

fn write_answer(state: &State, order: &Order, out: &Path, as_json: bool, io: &mut Io) -> Result<()> {
    let best = best(&state.samples, Order::production_kind(order.sector_size));
    let is_best = |sample: &Sample| best.iter().any(|one| std::ptr::eq(*one, sample));
    if as_json {
        let measured: Vec<_> = state.samples.iter().map(|sample| sample_json(sample, is_best(sample))).collect();
        let answer = json!({ "machine": state.machine, "sector_size": order.sector_size, "measured": measured,
            "disks": state.disks, "profile": out });
        writeln!(io.out, "{}", serde_json::to_string_pretty(&answer)?)?;
        return Ok(());
    }
    if !state.samples.is_empty() {
        let mut rows = vec![
            ["Stage", "Layout", "Tasks", "Minutes", "From", "To", "Sectors/h", "Per core", "Best"]
                .map(str::to_owned)
                .to_vec(),
        ];
        rows.extend(state.samples.iter().map(|sample| sample_cells(sample, is_best(sample))));
        writeln!(io.out, "{}", table(&rows))?;
    }
    if !state.disks.is_empty() {
        let mut rows =
            vec![["Disk", "Reads", "Writes", "Reads 4KiB", "Writes 4KiB", "Direct"].map(str::to_owned).to_vec()];
        rows.extend(state.disks.iter().map(disk_cells));
        writeln!(io.out, "{}", table(&rows))?;
    }
    writeln!(io.err, "profile: {}; plan --profile {} uses it", out.display(), out.display())?;
    Ok(())
}

fn sample_json(sample: &Sample, is_best: bool) -> serde_json::Value {
    let (least, most) = sample.range();
    json!({ "stage": sample.stage, "layout": sample.layout, "at_once": sample.layout.at_once(), "cores": sample.layout.cores(),
        "seconds": sample.seconds, "seconds_mean": sample.mean_seconds(), "seconds_least": least, "seconds_most": most,
        "sectors_per_hour": sample.per_hour(), "sectors_per_core_hour": sample.per_core_hour(), "best": is_best })
}

fn sample_cells(sample: &Sample, is_best: bool) -> Vec<String> {
    let (least, most) = sample.range();
    // Three digits at least: small sectors have stages of milliseconds.
    let minutes = |seconds: f64| {
        let minutes = seconds / 60.0;
        if minutes < 0.1 { format!("{minutes:.6}") } else { format!("{minutes:.3}") }
    };
    vec![
        sample.stage.to_string(),
        sample.layout.to_string(),
        sample.seconds.len().to_string(),
        minutes(sample.mean_seconds()),
        minutes(least),
        minutes(most),
        format!("{:.3}", sample.per_hour()),
        format!("{:.4}", sample.per_core_hour()),
        if is_best { "*" } else { "" }.to_owned(),
    ]
}

fn disk_cells(disk: &DiskSample) -> Vec<String> {
    let speed = |bytes: Bytes| format!("{}/s", bytes.human());
    vec![
        disk.location.display().to_string(),
        speed(disk.reads),
        speed(disk.writes),
        speed(disk.reads_random),
        speed(disk.writes_random),
        if disk.direct { "yes" } else { "no" }.to_owned(),
    ]
}

pub(super) fn table(rows: &[Vec<String>]) -> String {
    let mut builder = Builder::default();
    rows.iter().for_each(|row| builder.push_record(row));
    let text = builder.build().with(Style::markdown()).to_string();
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// Progress: a bar on a terminal, a line for each measurement elsewhere.
struct Talk<'a> {
    err: &'a mut dyn Write,
    bar: Option<ProgressBar>,
}

impl<'a> Talk<'a> {
    fn new(err: &'a mut dyn Write) -> Self {
        let style = ProgressStyle::with_template("{bar:24} {pos}/{len} tasks  {elapsed} {wide_msg}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = stderr().is_terminal().then(|| ProgressBar::new(0).with_style(style));
        Self { err, bar }
    }

    fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Watch for Talk<'_> {
    fn say(&mut self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            // Whoever does not listen to the talk still wants the answer.
            None => drop::<io::Result<()>>(writeln!(self.err, "{text}")),
        }
    }

    fn begin(&mut self, done: usize, of: usize, what: &str, minutes: f64) {
        let text = format!("{} of {of}: {what}, about {}", done + 1, time(minutes));
        match &self.bar {
            Some(bar) => {
                bar.reset();
                bar.set_length(0);
                bar.set_message(text);
                bar.enable_steady_tick(std::time::Duration::from_millis(500));
            }
            None => self.say(&text),
        }
    }

    fn tasks(&mut self, ended: u32, of: u32) {
        if let Some(bar) = &self.bar {
            bar.set_length(of.into());
            bar.set_position(ended.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_measure_is_stages_and_disk() {
        assert_eq!("pc1".parse(), Ok(Part::Stage(Stage::Pc1)));
        assert_eq!("disk".parse(), Ok(Part::Disk));
        assert!("pc9".parse::<Part>().unwrap_err().contains("c2 and disk"));
    }

    #[test]
    fn the_bar_has_a_valid_template() {
        assert!(ProgressStyle::with_template("{bar:24} {pos}/{len} tasks  {elapsed} {wide_msg}").is_ok());
        assert_eq!([time(0.5), time(90.0), time(300.0)], ["30.0 s", "90.0 min", "5.0 h"]);
    }
}
