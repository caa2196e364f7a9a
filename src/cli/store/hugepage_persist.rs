//! `store hugepage-persist`: the same files after the next boot.

use super::{
    super::{Exit, Io},
    hugepage_file_init::targets_of_config,
    say::{refused, write_json},
    which::{Which, absolute},
};
use crate::{
    hugepage::{
        InitError,
        install::{self, Changed},
        look,
        persist::{self, Boot, Wish},
    },
    sys::Root,
    units::Bytes,
};
use anyhow::{Context, Result};
use serde_json::json;
use std::{
    env,
    path::{Path, PathBuf},
};

const EXAMPLES: &str = "\
Examples:
  damocles-worker store hugepage-persist
      prints a systemd unit that makes, at boot and before the worker, the files that this tool made here, and what the
      kernel's command line should have for pages of 1 GiB
  damocles-worker store hugepage-persist --from damocles-worker.toml --mount /mnt/huge_1g --page-size 1GiB --install
      for what every pc1 processor of a configuration needs; writes the unit below /etc/systemd/system
  damocles-worker store hugepage-persist --remove
      takes the unit away again

A file in systemd's folder that this command did not write is neither overwritten nor removed.
Exit code: 0 printed, installed or removed, 2 could not.";

/// Make hugepage files at every boot: a systemd unit, and the kernel's command line for pages of 1 GiB
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// For every pc1 processor of this damocles-worker.toml instead of the files that are there
    #[arg(long, value_name = "FILE", conflicts_with_all = ["path", "path_pattern", "node"])]
    from: Option<PathBuf>,
    /// With --from: the size of each file, instead of sealing.allowed_sizes
    #[arg(long, value_name = "SIZE", requires = "from")]
    size: Option<Bytes>,
    /// With --from: where a hugetlbfs is to be mounted, if none is there; takes --page-size
    #[arg(long, value_name = "DIR", requires = "from")]
    mount: Option<PathBuf>,
    /// With --from: the size of the pages
    #[arg(long, value_name = "SIZE", requires = "from")]
    page_size: Option<Bytes>,
    /// The unit that needs the files, and starts after them: an order, it starts also where they could not be made
    #[arg(long, value_name = "UNIT", default_value = "damocles-worker.service")]
    worker_unit: String,
    /// The program that the unit runs [default: this one]
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Write the unit and let it be started at boot
    #[arg(long, conflicts_with = "remove")]
    install: bool,
    /// Take away what --install wrote
    #[arg(long, conflicts_with_all = ["from", "path", "path_pattern", "node"])]
    remove: bool,
    /// Say which files --install or --remove would write or remove, as shell commands, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Install below DIR instead of /, as in an image of another system
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args, io: &mut Io) -> Result<Exit> {
    let target = Root::at(&args.root);
    if args.remove {
        let changed = match args.dry_run {
            true => install::installed(&target)?,
            false => install::uninstall(&target)?,
        };
        return write_changed(args, &changed, None, io);
    }
    let wish = match args.wish(io) {
        Ok(wish) => wish,
        Err(error) => return refused(error, args.json, io),
    };
    let boot = persist::boot(&Root::at("/"), &target, &wish)?;
    if args.install && args.dry_run {
        // What the real run would refuse.
        install::installed(&target)?;
    }
    if args.install && !args.dry_run {
        let changed = install::install(&target, &boot)?;
        return write_changed(args, &changed, Some(&boot), io);
    }
    write_boot(args, &boot, io)
}

impl Args {
    /// Not an image of another one.
    fn is_this_system(&self) -> bool {
        std::fs::canonicalize(&self.root).map_or(self.root == Path::new("/"), |root| root == Path::new("/"))
    }

    fn wish(&self, io: &mut Io) -> Result<Wish, InitError> {
        let (root, record) = (Root::at("/"), self.which.record()?);
        let targets = match &self.from {
            Some(path) => {
                let targets = targets_of_config(path, self.size, &root, io)?;
                let mount = self.mount.as_deref().map(absolute).transpose()?;
                persist::placed(targets, &look::look(&root)?, mount.as_deref(), self.page_size)?
            }
            None => persist::targets_there(&self.which.choice()?, &root, &record)?,
        };
        let program = match &self.program {
            Some(program) => absolute(program)?,
            None => env::current_exe().map_err(|source| InitError::Host(root_error(source)))?,
        };
        Ok(Wish { targets, record, program, worker_unit: self.worker_unit.clone() })
    }
}

fn root_error(source: std::io::Error) -> crate::sys::host::HostError {
    crate::sys::host::HostError::Odd { path: "/proc/self/exe".into(), reason: source.to_string() }
}

fn write_boot(args: &Args, boot: &Boot, io: &mut Io) -> Result<Exit> {
    if args.json {
        write_json(&serde_json::to_value(boot)?, io)?;
        return Ok(Exit::Yes);
    }
    let unit = &boot.unit;
    if args.dry_run {
        // What a shell would be told: the same text, from here to the mark.
        let quoted = |path: &Path| crate::hugepage::steps::quoted(path);
        let folder = unit.parent().context("a unit lies in a folder")?;
        writeln!(io.out, "mkdir -p {}", quoted(folder))?;
        writeln!(io.out, "cat > {} <<'END'\n{}END", quoted(unit), boot.text)?;
        if args.is_this_system() {
            writeln!(io.out, "systemctl daemon-reload\nsystemctl enable {}", persist::UNIT)?;
        } else {
            // The systemd that runs here is none of the image's business.
            let wants = folder.join("multi-user.target.wants");
            writeln!(io.out, "mkdir -p {}", quoted(&wants))?;
            writeln!(io.out, "ln -sfn ../{} {}", persist::UNIT, quoted(&wants.join(persist::UNIT)))?;
        }
    } else {
        writeln!(io.out, "# {}\n{}", unit.display(), boot.text)?;
    }
    write_kernel(boot, io)?;
    Ok(Exit::Yes)
}

fn write_kernel(boot: &Boot, io: &mut Io) -> Result<()> {
    for line in &boot.kernel {
        let there = if line.is_there { "this boot had it" } else { "not on that of this boot" };
        writeln!(io.out, "# kernel command line ({there}): {}", line.words)?;
    }
    if boot.kernel.iter().any(|line| !line.is_there) {
        writeln!(
            io.err,
            "hint: add it to GRUB_CMDLINE_LINUX in /etc/default/grub and run update-grub: pages of 1 GiB are sure to be had \
             at boot only"
        )?;
    }
    boot.notes.iter().try_for_each(|note| writeln!(io.err, "note: {note}"))?;
    Ok(())
}

fn write_changed(args: &Args, changed: &Changed, boot: Option<&Boot>, io: &mut Io) -> Result<Exit> {
    if args.json {
        let mut answer = serde_json::to_value(changed)?;
        answer["done"] = json!(!args.dry_run);
        answer["boot"] = serde_json::to_value(boot)?;
        write_json(&answer, io)?;
        return Ok(Exit::Yes);
    }
    if args.dry_run {
        for path in &changed.removed {
            writeln!(io.out, "rm {}", crate::hugepage::steps::quoted(path))?;
        }
        return Ok(Exit::Yes);
    }
    let paths = [("written", &changed.written), ("removed", &changed.removed), ("as it should be", &changed.unchanged)];
    for (word, paths) in paths {
        for path in paths {
            writeln!(io.out, "{}: {word}", path.display())?;
        }
    }
    if let Some(boot) = boot {
        write_kernel(boot, io)?;
    }
    if args.is_this_system() && (!changed.written.is_empty() || !changed.removed.is_empty()) {
        writeln!(io.err, "hint: systemctl daemon-reload lets a running systemd see it")?;
    }
    Ok(Exit::Yes)
}
