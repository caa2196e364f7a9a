//! `worker pause` and `worker resume`: tells threads of a running daemon what to do, each with its own answer.

use super::super::{Exit, Io};
use crate::runtime::{
    rpc::{
        client::{Client, ClientError},
        wire::ThreadState,
    },
    sector::State,
};
use anyhow::Result;
use serde::Serialize;

const PAUSE_EXAMPLES: &str = "\
Examples:
  damocles-worker worker pause 0 2 -c worker.toml
  damocles-worker worker pause --all -c worker.toml

A stage that is being worked on goes on and its result is kept; nothing new is begun. A pause ends with `worker resume`
and with the daemon.

Exit codes: 0 paused, 1 refused (no such thread, no token), 2 could not (no daemon answers there)";

/// Pause sealing threads: nothing new is begun
#[derive(Debug, clap::Args)]
#[command(after_help = PAUSE_EXAMPLES)]
pub(super) struct PauseArgs {
    #[command(flatten)]
    which: Which,
}

const RESUME_EXAMPLES: &str = "\
Examples:
  damocles-worker worker resume 1 -c worker.toml                   try again what failed
  damocles-worker worker resume --all -c worker.toml               every thread that is paused
  damocles-worker worker resume 1 --state TreeDBuilt -c worker.toml
      go on from an earlier state: what comes after it is done again
  damocles-worker worker resume 1 --state Aborted -c worker.toml   give the sector up

A sector never goes forward by this, and not back before what the chain may have seen; a refusal names the states
that are possible.

Exit codes: 0 resumed, 1 refused or not paused, 2 could not (no daemon answers there)";

/// Let paused sealing threads go on, from an earlier state if one is given
#[derive(Debug, clap::Args)]
#[command(after_help = RESUME_EXAMPLES)]
pub(super) struct ResumeArgs {
    #[command(flatten)]
    which: Which,
    /// Go on from this state of the sector
    #[arg(long, value_name = "STATE", conflicts_with = "all")]
    state: Option<State>,
}

#[derive(Debug, clap::Args)]
struct Which {
    /// Threads, by their numbers in `worker list`
    #[arg(required_unless_present = "all", value_name = "INDEX")]
    indices: Vec<usize>,
    /// Every thread
    #[arg(long, conflicts_with = "indices")]
    all: bool,
}

/// What came of one thread.
#[derive(Debug, Serialize)]
struct Outcome {
    index: usize,
    done: bool,
    /// Why not.
    reason: Option<String>,
}

pub(super) fn pause(args: &PauseArgs, client: &Client, json: bool, io: &mut Io) -> Result<Exit> {
    let indices = args.which.indices(client, |_| true)?;
    let asked = indices.into_iter().map(|index| outcome(index, client.pause(index), "it did not answer"));
    tell("paused", asked.collect::<Result<Vec<_>, _>>()?, json, io)
}

pub(super) fn resume(args: &ResumeArgs, client: &Client, json: bool, io: &mut Io) -> Result<Exit> {
    let paused = |state: &ThreadState| matches!(state, ThreadState::Paused { .. });
    let indices = args.which.indices(client, paused)?;
    let state = args.state.map(|state| state.to_string());
    let asked =
        indices.into_iter().map(|index| outcome(index, client.resume(index, state.as_deref()), "it is not paused"));
    tell("resumed", asked.collect::<Result<Vec<_>, _>>()?, json, io)
}

impl Which {
    /// The threads that are meant; of all those, the ones that `fits` takes.
    fn indices(&self, client: &Client, fits: impl Fn(&ThreadState) -> bool) -> Result<Vec<usize>, ClientError> {
        if !self.all {
            return Ok(self.indices.clone());
        }
        Ok(client.list()?.into_iter().filter(|thread| fits(&thread.thread_state)).map(|thread| thread.index).collect())
    }
}

/// A refusal is an outcome; a daemon that cannot be asked is not.
fn outcome(index: usize, done: Result<bool, ClientError>, otherwise: &str) -> Result<Outcome, ClientError> {
    match done {
        Ok(true) => Ok(Outcome { index, done: true, reason: None }),
        Ok(false) => Ok(Outcome { index, done: false, reason: Some(format!("thread {index}: {otherwise}")) }),
        Err(ClientError::Refused(reason)) => Ok(Outcome { index, done: false, reason: Some(reason) }),
        Err(error) => Err(error),
    }
}

fn tell(what: &str, outcomes: Vec<Outcome>, json: bool, io: &mut Io) -> Result<Exit> {
    if json {
        writeln!(io.out, "{}", serde_json::to_string_pretty(&outcomes)?)?;
    }
    for outcome in &outcomes {
        match &outcome.reason {
            Some(reason) => writeln!(io.err, "error: {reason}")?,
            None if json => {}
            None => writeln!(io.out, "thread {}: {what}", outcome.index)?,
        }
    }
    if outcomes.is_empty() && !json {
        writeln!(io.out, "no thread is paused")?;
    }
    Ok(if outcomes.iter().all(|outcome| outcome.done) { Exit::Yes } else { Exit::No })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thread_has_its_outcome_and_one_refusal_is_a_no() {
        let refused = outcome(1, Err(ClientError::Refused("thread 1: not a way back".into())), "").unwrap();
        let outcomes =
            vec![outcome(0, Ok(true), "").unwrap(), refused, outcome(2, Ok(false), "it is not paused").unwrap()];
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let exit = tell("resumed", outcomes, false, &mut Io { out: &mut out, err: &mut err }).unwrap();
        assert_eq!((exit, String::from_utf8(out).unwrap().as_str()), (Exit::No, "thread 0: resumed\n"));
        let told = String::from_utf8(err).unwrap();
        assert_eq!(told, "error: thread 1: not a way back\nerror: thread 2: it is not paused\n");
    }
}
