//! How the hugepage commands answer: a no with its reasons, data, and steps as shell commands.

use super::super::{Exit, Io};
use crate::hugepage::{InitError, init::Talk, steps::Step};
use anyhow::Result;
use serde_json::json;
use std::{
    io::{Write, stderr},
    path::PathBuf,
};

/// A no is an answer; all else is a failure.
pub fn refused(error: InitError, as_json: bool, io: &mut Io) -> Result<Exit> {
    if !error.is_answer() {
        return Err(error.into());
    }
    for line in error.to_string().lines() {
        let label = if line.starts_with("hint: ") { "" } else { "no: " };
        writeln!(io.err, "{label}{line}")?;
    }
    if as_json {
        write_json(&json!({ "done": false, "why": error.to_string(), "short": error.shortfall() }), io)?;
    }
    Ok(Exit::No)
}

pub fn write_json(answer: &serde_json::Value, io: &mut Io) -> Result<()> {
    writeln!(io.out, "{}", serde_json::to_string_pretty(answer)?)?;
    Ok(())
}

/// A dry run's answer.
pub fn write_steps(steps: &[Step], kept: &[PathBuf], as_json: bool, io: &mut Io) -> Result<()> {
    if as_json {
        return write_json(&json!({ "steps": steps_json(steps), "kept": kept }), io);
    }
    for path in kept {
        writeln!(io.err, "kept: {} is complete", path.display())?;
    }
    if steps.iter().any(|step| matches!(step, Step::Allocate { .. })) {
        writeln!(io.out, "# these commands need numactl (package numactl)")?;
    }
    for step in steps {
        writeln!(io.out, "{}", step.command())?;
    }
    Ok(())
}

/// Steps as data, each with its command.
pub fn steps_json(steps: &[Step]) -> serde_json::Value {
    steps.iter().map(|step| json!({ "what": step, "command": step.command() })).collect()
}

/// Notes go to the process's own stderr: they may come from any thread, where the command's streams are not.
pub fn note(text: &str) {
    let _ = writeln!(stderr(), "note: {text}");
}

/// What a short command says while it is at work: there is nothing to measure the progress of.
pub fn talk(talk: Talk) {
    if let Talk::Note(text) = talk {
        note(&text);
    }
}
