//! The file that `hwinfo --json` wrote, for the commands that take `--machine`.

use crate::machine::{self, Machine};
use anyhow::{Context, Result};
use std::{fs, path::Path};

/// Reads a machine from `path`; every error names the file.
pub fn read(path: &Path) -> Result<Machine> {
    let context = || format!("read the machine {}", path.display());
    let text = fs::read_to_string(path).with_context(context)?;
    machine::parse(&text).with_context(context)
}
