//! `store`: what sealing needs on this host, prepared, looked at, and taken back.

pub mod hugepage_file_init;
pub mod hugepage_persist;
pub mod hugepage_release;
pub mod hugepage_status;
pub mod hugepage_verify;
mod init;
mod say;
mod which;

use super::{Exit, Io};
use crate::runtime::store::init::Kind;
use anyhow::Result;

/// Prepare what sealing needs on this host: stores, hugepage files for PC1
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make the folders of sealing stores, one for each table of sealing_thread
    #[command(name = "sealing-init", after_help = init::SEALING_EXAMPLES)]
    Sealing(init::Args),
    /// Make the folders of persistent stores, one for each table of attached
    #[command(name = "file-init", after_help = init::FILE_EXAMPLES)]
    Persistent(init::Args),
    #[command(name = "hugepage-file-init")]
    FileInit(hugepage_file_init::Args),
    #[command(name = "hugepage-status")]
    Status(hugepage_status::Args),
    #[command(name = "hugepage-verify")]
    Verify(hugepage_verify::Args),
    #[command(name = "hugepage-release")]
    Release(hugepage_release::Args),
    #[command(name = "hugepage-persist")]
    Persist(hugepage_persist::Args),
}

/// Runs the command.
pub fn run(args: Args, io: &mut Io) -> Result<Exit> {
    match args.command {
        Command::Sealing(args) => init::run(Kind::Sealing, &args, io),
        Command::Persistent(args) => init::run(Kind::Persistent, &args, io),
        Command::FileInit(args) => hugepage_file_init::run(&args, io),
        Command::Status(args) => hugepage_status::run(&args, io),
        Command::Verify(args) => hugepage_verify::run(&args, io),
        Command::Release(args) => hugepage_release::run(&args, io),
        Command::Persist(args) => hugepage_persist::run(&args, io),
    }
}
