//! `plan`: plan a worker.toml for a machine and a target rate.

use super::{Exit, Io};
use anyhow::Result;

/// plan a worker.toml for a machine and a target rate
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
pub fn run(_args: Args, _io: &mut Io) -> Result<Exit> {
    anyhow::bail!("plan: not built yet")
}
