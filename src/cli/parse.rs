//! What was typed becomes a command; and help in which examples keep their lines.
//!
//! clap fills the lines of everything it prints to the width of the terminal, and a command that is broken in two cannot be
//! copied. So clap is given a mark of one word in the place of each text of examples, which is put back afterwards.

use clap::{Command, CommandFactory, Error, FromArgMatches};
use std::{
    ffi::OsString,
    io::{self, IsTerminal, Write},
    process,
};

/// Around the number of a text; no text of ours has this character.
const MARK: char = '\u{e000}';

/// The command that this process was started with; help and errors end it.
pub(super) fn parse<C: CommandFactory + FromArgMatches>() -> C {
    parsed(C::command(), std::env::args_os()).unwrap_or_else(|(error, texts)| end(&error, &texts))
}

/// The command, or what is to be said instead with the texts that belong in it.
fn parsed<C: FromArgMatches>(
    command: Command,
    typed: impl IntoIterator<Item = OsString>,
) -> Result<C, (Error, Vec<String>)> {
    let mut texts = Vec::new();
    let mut command = marked(command, &mut texts);
    let matches = command.try_get_matches_from_mut(typed);
    let parsed = matches.and_then(|matches| C::from_arg_matches(&matches).map_err(|error| error.format(&mut command)));
    parsed.map_err(|error| (error, texts))
}

/// The command with a mark for the examples of each of its commands.
fn marked(command: Command, texts: &mut Vec<String>) -> Command {
    let command = match command.get_after_help().map(ToString::to_string) {
        Some(text) => {
            texts.push(text);
            command.after_help(format!("{MARK}{}{MARK}", texts.len() - 1))
        }
        None => command,
    };
    command.mut_subcommands(|inner| marked(inner, texts))
}

fn restored(help: &str, texts: &[String]) -> String {
    let restore = |help: String, (i, text): (usize, &String)| help.replace(&format!("{MARK}{i}{MARK}"), text);
    texts.iter().enumerate().fold(help.to_owned(), restore)
}

fn end(error: &Error, texts: &[String]) -> ! {
    let rendered = error.render();
    let unpainted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_terminal = if error.use_stderr() { io::stderr().is_terminal() } else { io::stdout().is_terminal() };
    let text = if is_terminal && !unpainted { rendered.ansi().to_string() } else { rendered.to_string() };
    let text = restored(&text, texts);
    // A reader that went away needs no help.
    let _ = match error.use_stderr() {
        true => io::stderr().write_all(text.as_bytes()),
        false => io::stdout().write_all(text.as_bytes()),
    };
    process::exit(error.exit_code())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{UtilCli, WorkerCli};

    fn help(command: Command, typed: &[&str], width: usize) -> String {
        let typed = typed.iter().map(OsString::from);
        let (error, texts) = parsed::<UtilCli>(command.term_width(width), typed).unwrap_err();
        restored(&error.render().to_string(), &texts)
    }

    #[test]
    fn examples_keep_their_lines_on_narrow_terminals() {
        for typed in [vec!["x", "plan", "--help"], vec!["x", "hwinfo", "cpuset", "-h"], vec!["x", "man", "--help"]] {
            let command = UtilCli::command();
            let of =
                typed[1..typed.len() - 1].iter().fold(&command, |command, name| command.find_subcommand(name).unwrap());
            let examples = of.get_after_help().unwrap().to_string();
            let help = help(command.clone(), &typed, 50);
            assert!(help.contains(&examples), "{help}");
            let above = help.split("Examples:").next().unwrap();
            let filled = above.lines().filter(|line| !line.starts_with("Usage: "));
            assert!(filled.into_iter().all(|line| line.chars().count() <= 50), "the rest is filled: {above}");
            assert!(!help.contains(MARK));
        }
    }

    #[test]
    fn what_is_missing_is_said_as_before() {
        let (error, _) = parsed::<UtilCli>(UtilCli::command(), ["x", "plan"].map(OsString::from)).unwrap_err();
        assert!(error.to_string().contains("--target <RATE>") && error.exit_code() == 2, "{error}");
        let help = help(UtilCli::command(), &["x"], 80);
        assert!(help.contains("Usage: ") && help.contains("sealcalc"), "{help}");
        assert!(parsed::<WorkerCli>(WorkerCli::command(), ["x", "completions", "bash"].map(OsString::from)).is_ok());
    }
}
