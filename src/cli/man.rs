//! `man`: one manual page per command, made from the same definition that parses.

use super::{Exit, Io};
use anyhow::{Context, Result};
use clap::{Command, CommandFactory};
use clap_mangen::{
    Man,
    roff::{Roff, roman},
};
use std::path::{Path, PathBuf};

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
    let mut command = command.disable_help_subcommand(true);
    command.build();
    write_pages(command, &args.dir).with_context(|| format!("man: writing pages into {dir}"))?;
    writeln!(io.err, "man: the pages of {name} are in {dir}")?;
    Ok(Exit::Yes)
}

/// The page of a command, and those of its subcommands.
fn write_pages(command: Command, dir: &Path) -> std::io::Result<()> {
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
        write_pages(inner.clone(), dir)?;
    }
    let page = Man::new(command.clone());
    std::fs::write(dir.join(page.get_filename()), text(command)?)
}

/// clap_mangen puts all that follows the options under EXTRA and fills its lines; readers look for EXAMPLES, and
/// commands must stay on lines of their own.
fn text(command: Command) -> std::io::Result<Vec<u8>> {
    let after = command.get_after_long_help().or(command.get_after_help()).map(ToString::to_string);
    let mut text = Vec::new();
    Man::new(command.after_help(None::<&str>).after_long_help(None::<&str>)).render(&mut text)?;
    sections(after.as_deref().unwrap_or_default()).to_writer(&mut text)?;
    Ok(text)
}

/// Blocks between blank lines: `Title:` with indented lines is a section of its own, anything else a note.
fn sections(after: &str) -> Roff {
    let mut roff = Roff::new();
    for block in after.split("\n\n").map(|block| block.trim_matches('\n')).filter(|block| !block.is_empty()) {
        let titled = block.split_once('\n').and_then(|(first, lines)| Some((first.strip_suffix(':')?, lines)));
        match titled {
            Some((title, lines)) => {
                // A single example has no plural in the help; the section's name is fixed by custom.
                let title = if title == "Example" { "EXAMPLES".to_owned() } else { title.to_uppercase() };
                roff.control("SH", [title.as_str()]).control("nf", []);
                for line in lines.lines() {
                    roff.text([roman(line)]);
                }
                roff.control("fi", []);
            }
            None => {
                roff.control("SH", ["NOTES"]).text([roman(block)]);
            }
        }
    }
    roff
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::UtilCli;

    #[test]
    fn examples_have_a_section_and_keep_their_lines() {
        let text = sections("Examples:\n  tool a -b\n  tool .c\n\nA note\nof two lines.\n").to_roff();
        assert!(text.contains(".SH EXAMPLES\n.nf\n"), "{text}");
        assert!(text.contains("tool a \\-b\n") && text.contains(".fi\n.SH NOTES\nA note"), "{text}");
        assert!(!text.contains("\n.c"), "a line that begins with a dot is no request: {text}");
        assert!(sections("Example:\n  one").to_roff().contains(".SH EXAMPLES"));
        assert_eq!(sections("").to_roff(), Roff::new().to_roff());
    }

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
        let plan = std::fs::read_to_string(pages.join("damocles-worker-util-plan.1")).unwrap();
        assert!(plan.contains(".SH EXAMPLES") && !plan.contains(".SH EXTRA"), "{plan}");
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
