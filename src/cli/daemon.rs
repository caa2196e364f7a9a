//! `daemon`: run the sealing daemon.

use super::{Exit, Io};
use anyhow::Result;

/// run the sealing daemon
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
pub fn run(_args: Args, _io: &mut Io) -> Result<Exit> {
    anyhow::bail!("daemon: not built yet")
}
