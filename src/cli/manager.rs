//! `manager`: serve the embedded manager, so that daemons on this host and on others can share it.

use super::{Exit, Io, daemon::start_log};
use crate::{
    runtime::daemon::{self, Findings, Listening, StopFlag},
    units::{HumanDuration, SealProof},
    worker_config::{self, Attached, LoadedManager, ManagerConfig},
};
use anyhow::{Context, Result};
use serde::Serialize;
use std::{fs, io::Write, net::SocketAddr, path::PathBuf};

const EXAMPLES: &str = "\
Examples:
  damocles-worker manager --attach persist=/mnt/persist
      a manager for the daemons on this host, at http://127.0.0.1:1789, its database in ./manager
  damocles-worker manager -c manager.toml --listen 0.0.0.0:1789 --token-file /etc/damocles/manager.token
      for daemons on other hosts too: each sends the token in sector_manager.rpc_client.headers
  damocles-worker manager -c manager.toml --check
      only judge what it is told

The file holds [sector_manager.embedded], [sector_manager.served] and [[attached]]; a daemon's worker.toml will do. What is
said here counts before what the file says.
This host may ask everything. Another one sees what changes nothing, and changes something only with the token. Who sends
a wrong token is refused everywhere.

Exit codes: 0 stopped in order, 2 could not start (or, with --check, not accepted)";

/// Serve the embedded manager over HTTP, for daemons on this host and on others
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The configuration (manager.toml); a daemon's worker.toml will do
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to listen [default: 127.0.0.1:1789]; port 0 lets the system choose
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// The file of the token that other hosts need for changes; nobody else may be able to read it
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The folder of its database [default: ./manager]
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
    /// The miner of new sectors [default: 1000]
    #[arg(long, value_name = "ID")]
    miner: Option<u64>,
    /// The proof type of new sectors [default: StackedDrg2KiBV1_1]
    #[arg(long, value_name = "TYPE")]
    proof_type: Option<SealProof>,
    /// The length of an epoch of its chain [default: 30s]
    #[arg(long, value_name = "DURATION")]
    epoch: Option<HumanDuration>,
    /// A folder whose files it offers as deals, and serves to the workers that have them
    #[arg(long, value_name = "DIR")]
    pieces: Option<PathBuf>,
    /// A store for finished sectors, beside those of the file; daemons know it by its name. May be repeated
    #[arg(long, value_name = "NAME=PATH", value_parser = attached)]
    attach: Vec<Attached>,
    /// Judge what it is told and stop; nothing is changed, no port is opened
    #[arg(long)]
    check: bool,
    /// Print JSON: the findings of --check, or where it listens
    #[arg(long)]
    json: bool,
    /// Accept the proofs of a rehearsal, and only those (for tests)
    #[arg(long, hide = true)]
    rehearse: bool,
}

fn attached(text: &str) -> Result<Attached, String> {
    match text.split_once('=') {
        Some((name, path)) if !name.trim().is_empty() && !path.is_empty() => {
            Ok(Attached { name: Some(name.to_owned()), location: path.into(), readonly: false })
        }
        _ => Err("write NAME=PATH, such as persist=/mnt/persist".into()),
    }
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
    let (config, findings) = told(&args)?;
    tell(&findings, &args, io)?;
    if !findings.problems.is_empty() {
        return Ok(Exit::CouldNot);
    }
    if args.check {
        return Ok(Exit::Yes);
    }
    start_log(true);
    let mut said = Ok(());
    let mut say = |listening: Listening| said = print(&listening, args.json, io.out);
    daemon::serve_manager(&config, args.rehearse, &StopFlag::default(), &mut say)?;
    said?;
    Ok(Exit::Yes)
}

/// The file, with what was typed over it, and everything that was found.
fn told(args: &Args) -> Result<(ManagerConfig, Findings)> {
    let loaded = match &args.config {
        None => Ok(LoadedManager { config: ManagerConfig::default(), warnings: Vec::new() }),
        Some(file) => {
            let text =
                fs::read_to_string(file).with_context(|| format!("read the configuration {}", file.display()))?;
            worker_config::parse_manager(&text)
        }
    };
    let texts = |list: &[worker_config::Diagnosis]| list.iter().map(ToString::to_string).collect();
    Ok(match loaded {
        Err(problems) => {
            let findings = Findings { problems: texts(&problems.problems), warnings: texts(&problems.warnings) };
            (ManagerConfig::default(), findings)
        }
        Ok(LoadedManager { config, warnings }) => {
            let config = over(config, args);
            let mut findings = daemon::check_manager(&config);
            findings.warnings.splice(0..0, texts(&warnings));
            (config, findings)
        }
    })
}

fn over(mut config: ManagerConfig, args: &Args) -> ManagerConfig {
    config.served.listen = args.listen.unwrap_or(config.served.listen);
    config.served.token_file = args.token_file.clone().or(config.served.token_file);
    config.embedded.path = args.path.clone().unwrap_or(config.embedded.path);
    config.embedded.miner = args.miner.unwrap_or(config.embedded.miner);
    config.embedded.proof_type = args.proof_type.unwrap_or(config.embedded.proof_type);
    config.embedded.epoch = args.epoch.unwrap_or(config.embedded.epoch);
    config.embedded.pieces = args.pieces.clone().or(config.embedded.pieces);
    config.attached.extend(args.attach.iter().cloned());
    config
}

fn tell(findings: &Findings, args: &Args, io: &mut Io) -> Result<()> {
    let accepted = findings.problems.is_empty();
    let place = args.config.as_ref().map_or("manager".into(), |file| file.display().to_string());
    for warning in &findings.warnings {
        writeln!(io.err, "warning: {place}: {warning}")?;
    }
    for problem in &findings.problems {
        writeln!(io.err, "error: {place}: {problem}")?;
    }
    if args.check && args.json {
        writeln!(io.out, "{}", serde_json::to_string_pretty(&Verdict { accepted, findings })?)?;
    } else if args.check && accepted {
        writeln!(io.out, "{place}: accepted")?;
    }
    Ok(())
}

fn print(listening: &Listening, json: bool, out: &mut dyn Write) -> Result<()> {
    if json {
        writeln!(out, "{}", serde_json::to_string(listening)?)?;
    } else {
        writeln!(out, "listening on {}", listening.url)?;
        writeln!(out, "  miner    {}, {}", listening.miner, listening.proof_type)?;
        writeln!(out, "  database {}", listening.path.display())?;
        writeln!(out, "  stores   {}", listening.stores.join(", "))?;
        let from_elsewhere = if listening.changes_from_elsewhere { "with the token" } else { "refused" };
        writeln!(out, "  changes from other hosts: {from_elsewhere}")?;
    }
    Ok(out.flush()?)
}
