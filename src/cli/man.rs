//! `man`: one manual page per command, made from the same definition that parses.

use super::{Exit, Io};
use anyhow::{Context, Result};
use clap::CommandFactory;
use std::path::PathBuf;

/// write the manual pages into a folder
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  damocles-worker man /usr/local/share/man/man1
  damocles-worker-util man . && man ./damocles-worker-util-plan.1")]
pub struct Args {
    /// The folder; it is made when it is not there.
    dir: PathBuf,
}

/// Runs the command for the binary whose command line is `C`.
pub fn run<C: CommandFactory>(args: Args, io: &mut Io) -> Result<Exit> {
    let dir = args.dir.display();
    std::fs::create_dir_all(&args.dir).with_context(|| format!("man: making the folder {dir}"))?;
    let command = C::command();
    let name = command.get_name().to_owned();
    clap_mangen::generate_to(command, &args.dir).with_context(|| format!("man: writing pages into {dir}"))?;
    writeln!(io.err, "man: the pages of {name} are in {dir}")?;
    Ok(Exit::Yes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::UtilCli;

    #[test]
    fn each_command_has_a_page_and_the_folder_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let pages = dir.path().join("man1");
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let exit = run::<UtilCli>(Args { dir: pages.clone() }, &mut Io { out: &mut out, err: &mut err }).unwrap();
        assert_eq!(exit, Exit::Yes);
        assert!(out.is_empty());
        for page in ["damocles-worker-util.1", "damocles-worker-util-hwinfo.1", "damocles-worker-util-plan.1"] {
            assert!(std::fs::read_to_string(pages.join(page)).unwrap().contains(".TH"), "{page}");
        }
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let refusal =
            run::<UtilCli>(Args { dir: file.join("man1") }, &mut Io { out: &mut out, err: &mut err }).unwrap_err();
        assert!(format!("{refusal:#}").contains("man: making the folder"), "{refusal:#}");
    }
}
