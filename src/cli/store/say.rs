//! How the hugepage commands answer: a no with its reasons, data, and steps as shell commands.

use super::super::{Exit, Io};
use crate::{
    hugepage::{InitError, init::Talk, steps::Step},
    units::Bytes,
};
use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::{
    io::{IsTerminal, Write, stderr},
    path::PathBuf,
    sync::Mutex,
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
        write_json(&json!({ "done": false, "why": error.to_string(), "short": error.figures() }), io)?;
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

/// Progress for people: a bar on a terminal, notes everywhere.
#[derive(Default)]
pub struct Progress(Mutex<Option<(&'static str, ProgressBar)>>);

impl Progress {
    pub fn talk(&self, talk: Talk) {
        match talk {
            Talk::Note(text) => self.note(&text),
            Talk::Raising { node, done, all } => {
                self.bar("raising", &format!("raising the pool of node {node}"), done, all)
            }
            Talk::Filling { done, all } => self.bar("allocating", "allocating", done, all),
        }
    }

    /// Above the bar, which would be torn by it otherwise.
    fn note(&self, text: &str) {
        match self.0.lock().ok().as_deref() {
            Some(Some((_, bar))) => bar.suspend(|| note(text)),
            _ => note(text),
        }
    }

    /// Each phase has a bar of its own, whose rate and end are not reckoned from what another phase did.
    fn bar(&self, phase: &'static str, doing: &str, done: Bytes, all: Bytes) {
        if !stderr().is_terminal() {
            return;
        }
        let Ok(mut shown) = self.0.lock() else { return };
        if let Some((_, old)) = shown.take_if(|(shown, _)| *shown != phase) {
            old.finish_and_clear();
        }
        let (_, bar) = shown.get_or_insert_with(|| (phase, ProgressBar::new(all.0).with_style(style())));
        // Threads tell what they did in any order: a bar never goes back.
        bar.set_position(done.0.max(bar.position()));
        bar.set_message(doing.to_owned());
    }

    pub fn end(&self) {
        if let Some((_, bar)) = self.0.lock().ok().and_then(|mut shown| shown.take()) {
            bar.finish_and_clear();
        }
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {bytes_per_sec} eta {eta}  {wide_msg}")
        .expect("the template is a constant that a test renders")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_has_a_valid_template() {
        style();
    }
}
