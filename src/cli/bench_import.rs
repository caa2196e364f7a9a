//! `bench import`: read stage times from logs, as a table and as a profile for `plan`.

use super::{Exit, Io, bench};
use crate::{
    bench::{
        import::{Found, Line, Log, Task, read, table},
        import_rows, profile,
    },
    profile::{GpuKey, Row},
    units::{Prover, SectorSize},
};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::{
    fs,
    io::{Read, stdin},
    path::{Path, PathBuf},
};

/// Read stage times from logs: benchy's, rust-fil-proofs', damocles-worker's, our daemon's
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  damocles-worker-util bench import benchy-p2-*.log
      the table; cores are read from names such as benchy-p2-23cpu-1.log
  damocles-worker-util bench import worker.log --cores 2 --cpu 'EPYC 7642' --sector-size 32GiB --out sealer.toml
      and a profile for plan --profile
  damocles-worker daemon -c worker.toml --sectors 30 --json | damocles-worker-util bench import -
      what our daemon's own answers tell; its log and /STORE/journal serve too

Understood are the starts and finishes of rust-fil-proofs and benchy (parameters are read before C2 begins), requests
received and done of damocles' processors (RUST_LOG=debug), and our daemon's log, answers and journal.
Exit code: 0 read, 1 no task was found, 2 could not.")]
pub struct Args {
    /// The logs; - is stdin
    #[arg(value_name = "LOG", required = true)]
    logs: Vec<PathBuf>,
    /// The sectors' size, where the logs do not tell it
    #[arg(long, value_name = "SIZE")]
    sector_size: Option<SectorSize>,
    /// The cores of each task, where the names of the logs do not tell them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    cores: Option<u32>,
    /// The processor that the figures are of, for the profile
    #[arg(long, value_name = "NAME")]
    cpu: Option<String>,
    /// The GPU that pc2 and c2 were done on, for the profile: its name, any or none
    #[arg(long, value_name = "NAME")]
    gpu: Option<String>,
    /// Whose prover the figures are of, for the profile; without it all
    #[arg(long, value_name = "PROVER")]
    prover: Option<Prover>,
    /// The profile to write
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print the table as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args, io: &mut Io) -> Result<Exit> {
    if let Some(out) = &args.out {
        ensure!(
            !out.exists(),
            "write the profile {}: it is there already; choose another, or move it away",
            out.display()
        );
    }
    let mut tasks: Vec<Task> = Vec::new();
    let mut sector_size = args.sector_size;
    for path in &args.logs {
        let (name, text) = text_of(path)?;
        let found = read(&Log { name: &name, text: &text });
        write_talk(&name, &found, io)?;
        sector_size = sector_size.or(found.sector_size);
        tasks.extend(found.tasks);
    }
    let lines = table(&tasks, args.cores);
    if lines.is_empty() {
        writeln!(io.err, "no: no task has a beginning and an end in these logs")?;
        return Ok(Exit::No);
    }
    if let Some(out) = &args.out {
        let size =
            sector_size.context("write a profile: the logs do not tell the sector size; give it with --sector-size")?;
        let rows = import_rows(&lines, &args.told(size), &bench::origin(""));
        bench::write_profile(out, &profile(rows, Vec::new()))?;
        writeln!(io.err, "profile: {}; plan --profile {} uses it", out.display(), out.display())?;
    }
    if args.json {
        let lines: Vec<_> = lines.iter().map(line_json).collect();
        let answer = json!({ "sector_size": sector_size, "lines": lines });
        writeln!(io.out, "{}", serde_json::to_string_pretty(&answer)?)?;
    } else {
        writeln!(io.out, "{}", bench::table(&cells(&lines)))?;
    }
    Ok(Exit::Yes)
}

impl Args {
    /// What the operator tells of every row.
    fn told(&self, sector_size: SectorSize) -> Row {
        let gpu = self.gpu.as_deref().map(|name| match name {
            "none" => GpuKey::None,
            "any" => GpuKey::Any,
            name => GpuKey::Named(name.to_owned()),
        });
        let provers = self.prover.into_iter().collect();
        Row { gpu, provers, cpu: self.cpu.clone(), ..Row::empty(crate::profile::Stage::C2, sector_size, String::new()) }
    }
}

/// A log may hold bytes that are no text: a killed writer's.
fn text_of(path: &Path) -> Result<(String, String)> {
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        stdin().read_to_end(&mut bytes).context("read stdin")?;
        return Ok(("stdin".to_owned(), String::from_utf8_lossy(&bytes).into_owned()));
    }
    let bytes = fs::read(path).with_context(|| format!("read the log {}", path.display()))?;
    Ok((path.display().to_string(), String::from_utf8_lossy(&bytes).into_owned()))
}

fn write_talk(name: &str, found: &Found, io: &mut Io) -> Result<()> {
    let mut said = vec![format!("{} tasks", found.tasks.len())];
    for (count, what) in [
        (found.unknown_lines, "lines without a marker of a stage"),
        (found.unfinished, "beginnings without an end"),
        (found.unclear, "markers that could be of several tasks or have no time"),
    ] {
        if count > 0 {
            said.push(format!("{count} {what}"));
        }
    }
    writeln!(io.err, "{name}: {}", said.join(", "))?;
    Ok(())
}

fn line_json(line: &Line) -> serde_json::Value {
    json!({ "stage": line.stage, "cores": line.cores, "tasks": line.seconds.len(), "at_once": line.at_once,
        "seconds": line.seconds, "seconds_mean": line.mean_seconds(), "sectors_per_hour": line.per_hour(),
        "sectors_per_core_hour": line.per_core_hour(), "files": line.files })
}

fn cells(lines: &[Line]) -> Vec<Vec<String>> {
    let titles = ["Stage", "Cores", "Tasks", "At once", "Minutes", "From", "To", "Sectors/h", "Per core"];
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let minutes = |seconds: f64| format!("{:.2}", seconds / 60.0);
    let row = |line: &Line| {
        let least = line.seconds.iter().copied().fold(f64::INFINITY, f64::min);
        let most = line.seconds.iter().copied().fold(0.0, f64::max);
        vec![
            line.stage.to_string(),
            or_dash(line.cores.map(|cores| cores.to_string())),
            line.seconds.len().to_string(),
            or_dash(line.at_once.map(|count| count.to_string())),
            minutes(line.mean_seconds()),
            minutes(least),
            minutes(most),
            format!("{:.3}", line.per_hour()),
            or_dash(line.per_core_hour().map(|rate| format!("{rate:.4}"))),
        ]
    };
    std::iter::once(titles.map(str::to_owned).to_vec()).chain(lines.iter().map(row)).collect()
}
