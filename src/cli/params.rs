//! `params`: fetch, generate or show proof parameters.

use super::{Exit, Io};
use crate::{
    runtime::proofs::params::{
        Manifest, ParamsKind, Report, cache_folder,
        fetch::{self, DEFAULT_GATEWAY},
        free_bytes,
        generate::{self, Cost},
        look,
    },
    units::{Bytes, SectorSize},
};
use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::{
    env,
    io::{IsTerminal, Write, stderr},
    path::Path,
    time::{Duration, Instant},
};

const EXAMPLES: &str = "\
Examples:
  damocles-worker params status --sector-size 32GiB
  damocles-worker params fetch --sector-size 32GiB
  FIL_PROOFS_PARAMETER_CACHE=/data/params damocles-worker params fetch --sector-size 32GiB
  damocles-worker params generate --sector-size 2KiB

The folder is FIL_PROOFS_PARAMETER_CACHE, else /var/tmp/filecoin-proof-parameters/.
Generated parameters prove and verify on this network of yours only; the main network
and the public test networks know the published ones alone.";
/// The subcommand that `generate` starts itself with.
const CHILD: &str = "__generate";

/// fetch, generate or show proof parameters
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Fetch(FetchArgs),
    Generate(GenerateArgs),
    Status(StatusArgs),
    #[command(name = CHILD, hide = true)]
    Child(SizeArgs),
}

#[derive(Debug, clap::Args)]
struct SizeArgs {
    /// Sector size: 2KiB, 8MiB, 512MiB, 32GiB or 64GiB
    #[arg(long)]
    sector_size: SectorSize,
}

/// download the published parameters, resuming where the last attempt stopped
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  damocles-worker params fetch --sector-size 2KiB --gateway https://ipfs.io/ipfs/")]
struct FetchArgs {
    #[command(flatten)]
    size: SizeArgs,
    // Not a doc comment: rustdoc would take the address for a link that is not marked as one.
    #[arg(
        long,
        help = "Where content ids are appended to [default: IPFS_GATEWAY, else https://proofs.filecoin.io/ipfs/]"
    )]
    gateway: Option<String>,
    /// Also the parameters of PoSt and sector updates
    #[arg(long)]
    all: bool,
    /// Fetch also over files that are there and are not the published ones
    #[arg(long)]
    replace: bool,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// make parameters for a small sector size on this host
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  damocles-worker params generate --sector-size 2KiB")]
struct GenerateArgs {
    #[command(flatten)]
    size: SizeArgs,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// show which parameters are there and where they came from
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  damocles-worker params status --sector-size 2KiB --json\n\n\
    Exit code 0 when all that sealing needs is there, 1 when something is missing.")]
struct StatusArgs {
    #[command(flatten)]
    size: SizeArgs,
    /// Also the parameters of PoSt and sector updates
    #[arg(long)]
    all: bool,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args, io: &mut Io) -> Result<Exit> {
    match args.command {
        Command::Fetch(args) => run_fetch(&args, io),
        Command::Generate(args) => run_generate(&args, io),
        Command::Status(args) => run_status(&args, io),
        Command::Child(args) => generate::child(args.sector_size).map(|()| Exit::Yes),
    }
}

fn run_status(args: &StatusArgs, io: &mut Io) -> Result<Exit> {
    let report = look(&cache_folder(), &Manifest::published(), args.size.sector_size, args.all, |file, bytes| {
        let _ = writeln!(io.err, "reading {} once ({})", file.name, Bytes(bytes).human());
    })?;
    if args.json {
        writeln!(io.out, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        write!(io.out, "{}", text_of(&report))?;
        if let Some(hint) = hint_for(&report) {
            writeln!(io.err, "hint: {hint}")?;
        }
    }
    Ok(if report.kind == ParamsKind::Missing { Exit::No } else { Exit::Yes })
}

fn text_of(report: &Report) -> String {
    let mut text = format!("{} parameters in {}: {}\n", report.sector_size, report.folder.display(), report.kind);
    for file in &report.files {
        let size = if file.bytes > 0 { Bytes(file.bytes).human() } else { "-".into() };
        text += &format!("  {:<8} {size:>10}  {}", file.kind, file.name);
        if let Some(link) = &file.link {
            text += &format!(" -> {}", link.display());
        }
        if file.partial_bytes > 0 {
            text += &format!(" ({} of it downloaded)", Bytes(file.partial_bytes).human());
        }
        text.push('\n');
    }
    let free = report.free_bytes.map_or("unknown".into(), |free| Bytes(free).human());
    text + &format!("  total {}, free on that file system {free}\n", Bytes(report.total_bytes).human())
}

fn hint_for(report: &Report) -> Option<String> {
    let size = report.sector_size;
    match report.kind {
        ParamsKind::Missing if Cost::of(size).is_some() => {
            Some(format!("run params fetch --sector-size {size}, or without a network params generate"))
        }
        ParamsKind::Missing => Some(format!("run params fetch --sector-size {size}")),
        ParamsKind::Local => {
            Some("proofs made with locally generated parameters are not valid on a real network".into())
        }
        ParamsKind::Unknown => Some("these are neither the published parameters nor known to be made here".into()),
        ParamsKind::Fetched => None,
    }
}

fn run_fetch(args: &FetchArgs, io: &mut Io) -> Result<Exit> {
    let request = fetch::Request {
        folder: cache_folder(),
        gateway: args.gateway.clone().or_else(|| env::var("IPFS_GATEWAY").ok()).unwrap_or(DEFAULT_GATEWAY.into()),
        size: args.size.sector_size,
        all: args.all,
        replace: args.replace,
        pause: Duration::from_secs(3),
    };
    writeln!(
        io.err,
        "fetching {} parameters from {} into {}",
        request.size,
        request.gateway,
        request.folder.display()
    )?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    let mut talk = Talk::new(io.err, bytes_style());
    let fetched = runtime.block_on(fetch::fetch(&request, &Manifest::published(), &mut |progress| {
        let (done, total) = (progress.done, progress.total);
        let of = total.map_or(String::new(), |total| format!(" of {}", Bytes(total).human()));
        talk.tick(done, total, || format!("{}: {}{of}", progress.name, Bytes(done).human()));
    }));
    talk.end();
    let outcomes = fetched?;
    if args.json {
        let files: Vec<_> = outcomes.iter().map(|(name, outcome)| json!({"name": name, "outcome": outcome})).collect();
        let answer = json!({"sector_size": request.size, "folder": request.folder, "files": files});
        writeln!(io.out, "{}", serde_json::to_string_pretty(&answer)?)?;
        return Ok(Exit::Yes);
    }
    for (name, outcome) in outcomes {
        let said = match outcome {
            fetch::Outcome::AlreadyThere => "already there",
            fetch::Outcome::Fetched => "fetched, digest matches",
        };
        writeln!(io.out, "{name}: {said}")?;
    }
    Ok(Exit::Yes)
}

fn run_generate(args: &GenerateArgs, io: &mut Io) -> Result<Exit> {
    let size = args.size.sector_size;
    let program = env::current_exe().context("finding this program to start it again")?;
    let child = [program.into(), "params".into(), CHILD.into(), "--sector-size".into(), size.to_string().into()];
    let request = generate::Request { folder: cache_folder(), size, child: child.to_vec() };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut announcement = Cost::of(size).map(|cost| announcement(size, cost, cores, &request.folder));
    let expected = Cost::of(size).map(|cost| cost.wall(cores));
    let started = Instant::now();
    let mut talk = Talk::new(io.err, seconds_style());
    let made = generate::generate(&request, &Manifest::published(), &mut |progress| {
        // Said only once it is clear that there is work to do.
        if let Some(text) = announcement.take() {
            talk.say(&text);
        }
        let elapsed = whole_seconds(progress.elapsed);
        let written = Bytes(progress.written).human();
        talk.tick(progress.elapsed.as_secs(), expected.map(|d| d.as_secs()), || {
            format!("working for {elapsed}, {written} written")
        });
    });
    talk.end();
    let outcome = made?;
    let seconds = started.elapsed().as_secs();
    if args.json {
        let (outcome, kind) = match outcome {
            generate::Outcome::AlreadyThere(kind) => ("already_there", kind),
            generate::Outcome::Generated => ("generated", ParamsKind::Local),
        };
        let folder = &request.folder;
        let answer =
            json!({"sector_size": size, "folder": folder, "outcome": outcome, "kind": kind, "seconds": seconds});
        writeln!(io.out, "{}", serde_json::to_string_pretty(&answer)?)?;
        return Ok(Exit::Yes);
    }
    match outcome {
        generate::Outcome::AlreadyThere(kind) => writeln!(io.out, "{size} parameters are already there ({kind})")?,
        generate::Outcome::Generated => writeln!(io.out, "{size} parameters generated in {seconds} s, marked local")?,
    }
    Ok(Exit::Yes)
}

/// What generating will take.
fn announcement(size: SectorSize, cost: Cost, cores: usize, folder: &Path) -> String {
    let text = format!(
        "generating {size} parameters in {}: about {} on {cores} cores, {} of memory, {} of disk ({} free)",
        folder.display(),
        whole_seconds(cost.wall(cores)),
        cost.memory.human(),
        cost.disk.human(),
        free_bytes(folder).map_or("unknown".into(), |free| Bytes(free).human()),
    );
    if size == SectorSize::KiB2 {
        return text;
    }
    format!("{text}\nwarning: nobody has timed {size}; the figures follow from the length of its parameters")
}

fn whole_seconds(duration: Duration) -> String {
    humantime::format_duration(Duration::from_secs(duration.as_secs())).to_string()
}

/// Progress for people: a bar on a terminal, a line a minute elsewhere.
struct Talk<'a> {
    err: &'a mut dyn Write,
    bar: Option<ProgressBar>,
    last_line: Instant,
}

impl<'a> Talk<'a> {
    fn new(err: &'a mut dyn Write, style: ProgressStyle) -> Self {
        let bar = stderr().is_terminal().then(|| ProgressBar::new(0).with_style(style));
        Self { err, bar, last_line: Instant::now() }
    }

    fn say(&mut self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => drop(writeln!(self.err, "{text}")),
        }
    }

    fn tick(&mut self, done: u64, total: Option<u64>, line: impl FnOnce() -> String) {
        if let Some(bar) = &self.bar {
            bar.set_length(total.unwrap_or(done).max(done));
            bar.set_position(done);
            bar.set_message(line());
        } else if self.last_line.elapsed() >= Duration::from_secs(60) {
            self.last_line = Instant::now();
            let _ = writeln!(self.err, "{}", line());
        }
    }

    fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bytes_style() -> ProgressStyle {
    style("{bar:30} {bytes}/{total_bytes} {bytes_per_sec} eta {eta}  {wide_msg}")
}

fn seconds_style() -> ProgressStyle {
    style("{bar:30} {percent}% of the expected time  {wide_msg}")
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is a constant that tests render")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::proofs::params::FileStatus;

    fn report(kind: ParamsKind) -> Report {
        let vk = FileStatus {
            name: "v28-x.vk".into(),
            kind,
            required: true,
            bytes: 4708,
            partial_bytes: 0,
            link: Some("/data/v28-x.vk".into()),
            digest: None,
        };
        let params = FileStatus {
            name: "v28-x.params".into(),
            kind: ParamsKind::Missing,
            bytes: 0,
            partial_bytes: 1 << 20,
            link: None,
            ..vk.clone()
        };
        Report {
            sector_size: SectorSize::KiB2,
            folder: "/p".into(),
            kind,
            total_bytes: 4708,
            free_bytes: Some(1 << 30),
            files: vec![vk, params],
        }
    }

    #[test]
    fn the_table_shows_kind_size_link_and_what_is_downloaded() {
        assert_eq!(
            text_of(&report(ParamsKind::Local)),
            "2KiB parameters in /p: local\n  \
               local       4.6 KiB  v28-x.vk -> /data/v28-x.vk\n  \
               missing           -  v28-x.params (1 MiB of it downloaded)\n  \
               total 4.6 KiB, free on that file system 1 GiB\n"
        );
        assert!(hint_for(&report(ParamsKind::Local)).unwrap().contains("not valid on a real network"));
        assert!(hint_for(&report(ParamsKind::Missing)).unwrap().contains("params generate"));
        assert_eq!(hint_for(&report(ParamsKind::Fetched)), None);
    }

    #[test]
    fn both_bars_have_valid_templates() {
        bytes_style();
        seconds_style();
    }
}
