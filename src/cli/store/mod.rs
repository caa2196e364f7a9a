//! `store`: what sealing needs on this host, prepared, looked at, and taken back.

pub mod hugepage_file_init;
pub mod hugepage_persist;
pub mod hugepage_release;
pub mod hugepage_status;
pub mod hugepage_verify;
mod say;
mod which;

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
    HugepageStatus(hugepage_status::Args),
    HugepageVerify(hugepage_verify::Args),
    HugepageRelease(hugepage_release::Args),
    HugepagePersist(hugepage_persist::Args),
}

/// Runs the command.
pub fn run(args: Args, io: &mut Io) -> Result<Exit> {
    match args.command {
        Command::HugepageFileInit(args) => hugepage_file_init::run(&args, io),
        Command::HugepageStatus(args) => hugepage_status::run(&args, io),
        Command::HugepageVerify(args) => hugepage_verify::run(&args, io),
        Command::HugepageRelease(args) => hugepage_release::run(&args, io),
        Command::HugepagePersist(args) => hugepage_persist::run(&args, io),
    }
}
