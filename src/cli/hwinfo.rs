//! `hwinfo`: show this machine.

use super::{Exit, Io};
use anyhow::Result;

/// show this machine
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
pub fn run(_args: Args, _io: &mut Io) -> Result<Exit> {
    anyhow::bail!("hwinfo: not built yet")
}
