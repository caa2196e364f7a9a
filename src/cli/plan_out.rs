//! `plan --out`: everything that a plan is handed over as, in one folder, all of it or nothing.

use super::{Exit, Io};
use crate::{
    planner::{
        Template, TemplateFault, Templates,
        artefacts::{Artefact, ArtefactError, Order, artefacts},
    },
    sys::{
        Root,
        folder::{self, Found, NewFile, SUMS},
    },
};
use anyhow::{Context, Result, anyhow, ensure};
use serde_json::json;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Where to, and from which templates.
#[derive(Debug, clap::Args)]
pub(super) struct OutArgs {
    /// Write everything into the folder DIR instead: worker.toml, containers, units, hugepages, lists and report.html
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// With --out: list the files that would be written, and write none
    #[arg(long, requires = "out")]
    dry_run: bool,
    /// Templates of your own, by the names of those in the project's folder templates; what is missing in DIR is built in
    #[arg(long, value_name = "DIR")]
    templates: Option<PathBuf>,
}

impl OutArgs {
    pub(super) fn is_asked_for(&self) -> bool {
        self.out.is_some()
    }

    /// The built-in templates with the operator's in their places.
    pub(super) fn templates(&self, io: &mut Io) -> Result<Templates> {
        let mut templates = Templates::shipped();
        let Some(dir) = &self.templates else { return Ok(templates) };
        let context = || format!("read templates from {}", dir.display());
        for entry in fs::read_dir(dir).with_context(context)? {
            let path = entry.with_context(context)?.path();
            if path.extension().is_none_or(|extension| extension != "hbs") {
                continue;
            }
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            match Template::ALL.into_iter().find(|template| template.file() == name) {
                Some(template) => {
                    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
                    templates.replace(template, text).map_err(|fault| self.named(&fault))?;
                }
                None => {
                    let names: Vec<_> = Template::ALL.iter().map(|template| template.file()).collect();
                    let (path, names) = (path.display(), names.join(", "));
                    writeln!(io.err, "warning: {path} is not used: the templates are {names}")?;
                }
            }
        }
        Ok(templates)
    }

    /// A fault with the folder that its file is in.
    pub(super) fn named(&self, fault: &TemplateFault) -> anyhow::Error {
        match &self.templates {
            Some(dir) => anyhow!("{}/{fault}", dir.display()),
            None => anyhow!("{fault}"),
        }
    }

    /// Writes what `order` is handed over as, and says what that was.
    pub(super) fn write(&self, order: &Order, templates: &Templates, as_json: bool, io: &mut Io) -> Result<Exit> {
        let dir = self.out.as_deref().context("plan: no folder to write to")?;
        let files = artefacts(order, templates).map_err(|error| match error {
            ArtefactError::Template(fault) => self.named(&fault),
            other => other.into(),
        })?;
        let new: Vec<NewFile> = files.iter().map(new_file).collect();
        let found = match self.dry_run {
            true => folder::look(dir),
            false => folder::write(&Root::at("/"), dir, &new),
        };
        let found = found.with_context(|| format!("write the plan to {}", dir.display()))?;
        tell(dir, &files, found, self.dry_run, as_json, io)?;
        Ok(Exit::Yes)
    }

    /// What would fail later, before anything is computed.
    pub(super) fn check(&self) -> Result<()> {
        let Some(dir) = &self.out else { return Ok(()) };
        ensure!(!dir.as_os_str().is_empty(), "write the plan: --out is empty; give a folder");
        folder::look(dir).with_context(|| format!("write the plan to {}", dir.display()))?;
        Ok(())
    }
}

fn new_file(file: &Artefact) -> NewFile<'_> {
    NewFile { path: &file.path, bytes: file.text.as_bytes(), is_executable: file.is_executable }
}

fn tell(dir: &Path, files: &[Artefact], found: Found, is_dry: bool, as_json: bool, io: &mut Io) -> Result<()> {
    if as_json {
        let list: Vec<_> = files.iter().map(|file| json!({ "path": file.path, "bytes": file.text.len() })).collect();
        let answer = json!({
            "feasible": true,
            "folder": dir,
            "written": !is_dry,
            "replaces": found == Found::Ours,
            "files": list,
        });
        serde_json::to_writer_pretty(&mut *io.out, &answer).map_err(io::Error::from)?;
        writeln!(io.out)?;
        return Ok(());
    }
    for path in files.iter().map(|file| file.path.as_str()).chain([SUMS]) {
        writeln!(io.out, "{}", dir.join(path).display())?;
    }
    match (is_dry, found) {
        (true, Found::Free) => writeln!(io.err, "dry run: nothing was written")?,
        (true, Found::Ours) => {
            writeln!(io.err, "dry run: the older plan there would be replaced; nothing was written")?
        }
        (false, Found::Free) => {}
        (false, Found::Ours) => writeln!(io.err, "replaced:   the older plan in {}", dir.display())?,
    }
    Ok(())
}
