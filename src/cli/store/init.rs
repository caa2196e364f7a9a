//! `store sealing-init`, `store file-init`: the folders of stores, made where nothing is yet.

use super::{
    super::{Exit, Io},
    say::write_json,
};
use crate::{
    hugepage::steps::quoted,
    runtime::store::init::{self, Kind, Refusal, StorePlan},
};
use anyhow::{Context, Result};
use serde_json::json;
use std::path::PathBuf;

/// The help's last part for `sealing-init`.
pub const SEALING_EXAMPLES: &str = "\
Examples:
  damocles-worker store sealing-init -l /mnt/nvme0/sealing /mnt/nvme1/sealing
  damocles-worker store sealing-init -l /mnt/nvme0/sealing --dry-run

A folder that is not empty is refused, and then none is made; lost+found of a new file system does not count. The daemon makes
missing sealing stores by itself: preparing them shows what is wrong with a disk before a configuration depends on it.
Exit code: 0 all are made, 1 refused, 2 could not.";

/// The help's last part for `file-init`.
pub const FILE_EXAMPLES: &str = "\
Examples:
  damocles-worker store file-init -l /mnt/nas/persist

A folder that is not empty is refused, and then none is made; lost+found of a new file system does not count. With a real manager
the store must be made known to it too, under the name that [[attached]] gives it.
Exit code: 0 all are made, 1 refused, 2 could not.";

/// What both commands take.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the stores are to be
    #[arg(short, long = "loc", value_name = "LOCATION", required = true, num_args = 1..)]
    location: Vec<PathBuf>,
    /// Print each step as the shell command that would do the same, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// Runs either command.
pub fn run(kind: Kind, args: &Args, io: &mut Io) -> Result<Exit> {
    let plans = match init::look(kind, &args.location) {
        Ok(plans) => plans,
        Err(refusals) => return refuse(&refusals, args.json, io),
    };
    for plan in plans.iter().filter(|_| !args.dry_run) {
        init::make(kind, plan).with_context(|| format!("make the store {}", plan.location.display()))?;
    }
    if args.json {
        write_json(&answer(&plans, !args.dry_run), io)?;
    } else {
        write_plans(&plans, args.dry_run, io)?;
    }
    Ok(Exit::Yes)
}

fn refuse(refusals: &[Refusal], as_json: bool, io: &mut Io) -> Result<Exit> {
    for Refusal { location, why } in refusals {
        writeln!(io.err, "no: {}: {why}", location.display())?;
    }
    writeln!(io.err, "hint: nothing was made; name folders that are empty, or that are not there yet")?;
    if as_json {
        let refused = refusals.iter().map(|refusal| json!({ "location": refusal.location, "why": refusal.why }));
        write_json(&json!({ "done": false, "refused": refused.collect::<Vec<_>>() }), io)?;
    }
    Ok(Exit::No)
}

fn answer(plans: &[StorePlan], done: bool) -> serde_json::Value {
    let stores = plans.iter().map(|plan| json!({ "location": plan.location, "folders": plan.folders }));
    json!({ "done": done, "stores": stores.collect::<Vec<_>>() })
}

fn write_plans(plans: &[StorePlan], dry_run: bool, io: &mut Io) -> Result<()> {
    for plan in plans {
        if dry_run {
            let folders: Vec<_> = plan.folders.iter().map(|folder| quoted(folder)).collect();
            writeln!(io.out, "mkdir -p {}", folders.join(" "))?;
        } else {
            writeln!(io.out, "{}: made", plan.location.display())?;
        }
    }
    Ok(())
}
