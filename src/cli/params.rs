//! `params`: fetch, generate or show proof parameters.

use super::{Exit, Io};
use anyhow::Result;

/// fetch, generate or show proof parameters
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
pub fn run(_args: Args, _io: &mut Io) -> Result<Exit> {
    anyhow::bail!("params: not built yet")
}
