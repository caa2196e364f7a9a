//! The command line: what was typed, handed to the rooms, answered through one writer.
//!
//! Each subcommand is a module with `Args` (what clap read) and `run(args, io)`. stdout is the answer,
//! stderr is talk. Exit codes have three meanings and one home, `Exit`.

pub mod bench;
mod bench_import;
pub mod completions;
pub mod daemon;
pub mod hwinfo;
pub mod hwinfo_cpuset;
pub mod launch;
pub mod man;
pub mod manager;
pub mod params;
mod parse;
pub mod plan;
mod plan_fleet;
mod plan_forecast;
mod plan_out;
pub mod plan_simulate;
pub mod plan_verify;
pub mod processor;
pub mod sealcalc;
pub mod store;
pub mod worker;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::{
    io::{self, Write},
    process::ExitCode,
};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: yes, done.
    Yes,
    /// 1: the answer is no (infeasible, short, not verified).
    No,
    /// 2: could not (usage, configuration, environment).
    CouldNot,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Yes => 0.into(),
            Exit::No => 1.into(),
            Exit::CouldNot => 2.into(),
        }
    }
}

/// The two streams of a command, as arguments so that tests can read them.
pub struct Io<'a> {
    /// The answer.
    pub out: &'a mut dyn Write,
    /// Talk: progress, warnings, hints.
    pub err: &'a mut dyn Write,
}

/// `damocles-worker`: runs and prepares sealing on this host.
#[derive(Debug, Parser)]
#[command(name = "damocles-worker", version, about = "Run Filecoin sealing on this host")]
pub struct WorkerCli {
    #[command(subcommand)]
    pub command: WorkerCommand,
}

#[derive(Debug, Subcommand)]
pub enum WorkerCommand {
    Daemon(daemon::Args),
    Processor(processor::Args),
    #[command(hide = true)]
    Launch(launch::Args),
    Manager(manager::Args),
    Params(params::Args),
    Store(store::Args),
    Worker(worker::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// `damocles-worker-util`: looks at machines and plans them.
#[derive(Debug, Parser)]
#[command(name = "damocles-worker-util", version, about = "Inspect machines and plan Filecoin sealing on them")]
pub struct UtilCli {
    #[command(subcommand)]
    pub command: UtilCommand,
}

#[derive(Debug, Subcommand)]
pub enum UtilCommand {
    Hwinfo(hwinfo::Args),
    Plan(Box<plan::Args>),
    Sealcalc(sealcalc::Args),
    Bench(Box<bench::Args>),
    /// `bench` places its processors by it.
    #[command(hide = true)]
    Launch(launch::Args),
    /// What `bench` measures.
    #[command(hide = true)]
    Processor(processor::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// Runs `damocles-worker` with this process's arguments and streams.
pub fn worker_main() -> ExitCode {
    main_of(|io| match parse::parse::<WorkerCli>().command {
        WorkerCommand::Daemon(args) => daemon::run(args, io),
        WorkerCommand::Processor(args) => processor::run(args, io),
        WorkerCommand::Launch(args) => launch::run(args, io),
        WorkerCommand::Manager(args) => manager::run(args, io),
        WorkerCommand::Params(args) => params::run(args, io),
        WorkerCommand::Store(args) => store::run(args, io),
        WorkerCommand::Worker(args) => worker::run(&args, io),
        WorkerCommand::Completions(args) => completions::run::<WorkerCli>(args, io),
        WorkerCommand::Man(args) => man::run::<WorkerCli>(args, io),
    })
}

/// Runs `damocles-worker-util` with this process's arguments and streams.
pub fn util_main() -> ExitCode {
    main_of(|io| match parse::parse::<UtilCli>().command {
        UtilCommand::Hwinfo(args) => hwinfo::run(args, io),
        UtilCommand::Plan(args) => plan::run(*args, io),
        UtilCommand::Sealcalc(args) => sealcalc::run(args, io),
        UtilCommand::Bench(args) => bench::run(*args, io),
        UtilCommand::Launch(args) => launch::run(args, io),
        UtilCommand::Processor(args) => processor::run(args, io),
        UtilCommand::Completions(args) => completions::run::<UtilCli>(args, io),
        UtilCommand::Man(args) => man::run::<UtilCli>(args, io),
    })
}

/// Runs a command on the process's streams and turns its end into an exit code. A reader that went away
/// (`hwinfo | head`) is no failure.
fn main_of(command: impl FnOnce(&mut Io) -> Result<Exit>) -> ExitCode {
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let ended = command(&mut Io { out: &mut out, err: &mut err }).and_then(|exit| {
        out.flush()?;
        Ok(exit)
    });
    match ended {
        Ok(exit) => exit.into(),
        Err(error) if is_broken_pipe(&error) => Exit::Yes.into(),
        Err(error) => {
            let _ = writeln!(err, "error: {}", message(&error));
            Exit::CouldNot.into()
        }
    }
}

/// The error and its causes on one line, each said once: many of ours name their cause in their own text.
fn message(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |text, cause| match text.contains(&cause) {
        true => text,
        false if text.is_empty() => cause,
        false => format!("{text}: {cause}"),
    })
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_that_was_told_is_not_told_again() {
        let cause = || io::Error::other("disk on fire");
        assert_eq!(message(&anyhow::Error::new(cause()).context("read x")), "read x: disk on fire");
        assert_eq!(
            message(&anyhow::Error::new(cause()).context("read x: disk on fire; call")),
            "read x: disk on fire; call"
        );
    }
}
