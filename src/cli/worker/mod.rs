//! `worker`: looks at a running daemon and steers its sealing threads, through the worker's RPC.

mod reach;
mod show;
mod steer;

use super::{Exit, Io};
use anyhow::Result;
use reach::Reach;

/// Look at a running daemon, pause and resume its sealing threads
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    reach: Reach,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    List(show::ListArgs),
    Info(show::InfoArgs),
    Pause(steer::PauseArgs),
    Resume(steer::ResumeArgs),
}

/// Runs the command.
pub fn run(args: &Args, io: &mut Io) -> Result<Exit> {
    let client = args.reach.client()?;
    let json = args.reach.json;
    match &args.command {
        Command::List(_) => show::list(&client, json, io),
        Command::Info(info) => show::info(info, &client, json, io),
        Command::Pause(pause) => steer::pause(pause, &client, json, io),
        Command::Resume(resume) => steer::resume(resume, &client, json, io),
    }
}
