//! `store`: what sealing needs on this host, prepared and taken back.

pub mod hugepage_file_init;

use super::{Exit, Io};
use anyhow::Result;

/// Prepare what sealing needs on this host: hugepage files for PC1
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    HugepageFileInit(hugepage_file_init::Args),
}

/// Runs the command.
pub fn run(args: Args, io: &mut Io) -> Result<Exit> {
    match args.command {
        Command::HugepageFileInit(args) => hugepage_file_init::run(&args, io),
    }
}
