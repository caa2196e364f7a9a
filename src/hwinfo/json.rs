//! A machine as JSON: the contract, and the answers that follow from it, for whoever does not want to derive them.

use crate::machine::{Machine, Pc1Capable};
use serde::Serialize;
use std::io::{self, Write};

/// The contract's fields first. Readers of the contract ignore the answers: they ask the machine themselves.
#[derive(Serialize)]
struct Written<'a> {
    #[serde(flatten)]
    machine: &'a Machine,
    pc1_capable: Pc1Capable,
}

/// Writes the machine as one JSON object.
pub fn write_json(machine: &Machine, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, &Written { machine, pc1_capable: machine.pc1_capable() })?;
    writeln!(out)
}
