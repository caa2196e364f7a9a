//! Every command and flag is explained, and docs/commands.md says what `--help` says.
//!
//! The page is written from the command line's definition: `make commands` (this test with `DAMOCLES_BLESS=1`
//! in its environment) writes it anew, and a page that is behind fails.

use crate::{assert_tidy, tree};
use clap::{Arg, Command, CommandFactory};
use damocles_worker::cli::{UtilCli, WorkerCli};
use std::fmt::Write;

const PAGE: &str = "docs/commands.md";

fn binaries() -> [Command; 2] {
    [WorkerCli::command(), UtilCli::command()]
}

/// Every command below `command`, itself included, with its full name.
fn tree_of(name: &str, command: &Command) -> Vec<(String, Command)> {
    let below = command.get_subcommands().filter(|inner| !inner.is_hide_set() && inner.get_name() != "help");
    let mut all = vec![(name.to_owned(), command.clone())];
    all.extend(below.flat_map(|inner| tree_of(&format!("{name} {}", inner.get_name()), inner)));
    all
}

fn arguments(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|arg| !arg.is_hide_set() && !["help", "version"].contains(&arg.get_id().as_str()))
}

fn unexplained(binary: &Command) -> Vec<String> {
    let mut findings = Vec::new();
    for (name, command) in tree_of(binary.get_name(), binary) {
        if command.get_about().is_none() {
            findings.push(format!("{name}: has no line that says what it does"));
        }
        for arg in
            arguments(&command).filter(|arg| arg.get_help().is_none_or(|help| help.to_string().trim().is_empty()))
        {
            findings.push(format!("{name}: {}: has no help text", usage(arg)));
        }
        if !command.has_subcommands() && command.get_after_help().or(command.get_after_long_help()).is_none() {
            findings.push(format!("{name}: --help has no examples (after_help)"));
        }
    }
    findings
}

/// The long flags of `binary` that `pages` never mention.
fn unmentioned(binary: &Command, pages: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for (name, command) in tree_of(binary.get_name(), binary) {
        for flag in arguments(&command).filter_map(|arg| arg.get_long()).map(|long| format!("--{long}")) {
            let ends_here = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '-');
            if !pages.match_indices(&flag).any(|(at, _)| ends_here(&pages[at + flag.len()..])) {
                findings.push(format!("{name}: {flag}: mentioned neither in docs/ nor in README.md"));
            }
        }
    }
    findings
}

// As a person types it: `-c, --config <FILE>`, `<DIR>`.
fn usage(arg: &Arg) -> String {
    let names = arg.get_value_names().unwrap_or_default();
    let values: String = names.iter().map(|name| format!(" <{name}>")).collect();
    let values = if arg.get_action().takes_values() { values } else { String::new() };
    match (arg.get_short(), arg.get_long()) {
        (Some(short), Some(long)) => format!("-{short}, --{long}{values}"),
        (None, Some(long)) => format!("--{long}{values}"),
        (Some(short), None) => format!("-{short}{values}"),
        (None, None) => values.trim().to_owned(),
    }
}

// What may be chosen, where that is a list.
fn choices(arg: &Arg) -> String {
    let values = if arg.get_action().takes_values() { arg.get_possible_values() } else { Vec::new() };
    let names: Vec<_> = values.iter().filter(|value| !value.is_hide_set()).map(|value| value.get_name()).collect();
    if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) }
}

// One cell of a Markdown table.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

fn page(binaries: &[Command]) -> String {
    let mut page = String::from(
        "# Commands\n\nWritten from the command line's own definition by `make commands`; every command also answers `--help`.\n",
    );
    for binary in binaries {
        for (name, command) in tree_of(binary.get_name(), binary) {
            section(&mut page, &name, &command);
        }
    }
    page
}

fn section(page: &mut String, name: &str, command: &Command) {
    let about = command.get_about().map(|about| cell(&about.to_string())).unwrap_or_default();
    let mut text = format!("\n## {name}\n\n{about}\n");
    if arguments(command).next().is_some() {
        text.push_str("\n| argument | meaning | default |\n| --- | --- | --- |\n");
    }
    for arg in arguments(command) {
        let help = cell(&format!("{}{}", arg.get_help().map(ToString::to_string).unwrap_or_default(), choices(arg)));
        let defaults: Vec<_> =
            arg.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy())).collect();
        let defaults = if arg.get_action().takes_values() { defaults.join(" ") } else { String::new() };
        writeln!(text, "| `{}` | {help} | {defaults} |", cell(&usage(arg))).expect("a String takes everything");
    }
    if let Some(examples) = command.get_after_help().or(command.get_after_long_help()) {
        let examples: Vec<_> = examples.to_string().lines().map(|line| line.trim_end().to_owned()).collect();
        write!(text, "\n```text\n{}\n```\n", examples.join("\n").trim()).expect("a String takes everything");
    }
    page.push_str(&text);
}

#[test]
fn every_command_and_flag_is_explained() {
    assert_tidy(binaries().iter().flat_map(unexplained).collect());
}

#[test]
fn every_flag_is_documented() {
    let pages = tree::text_files().into_iter().filter(|file| file.path.ends_with(".md"));
    let pages: String = pages.map(|file| file.text).collect();
    assert_tidy(binaries().iter().flat_map(|binary| unmentioned(binary, &pages)).collect());
}

#[test]
fn docs_commands_md_says_what_help_says() {
    let (path, wanted) = (tree::root().join(PAGE), page(&binaries()));
    if std::env::var_os("DAMOCLES_BLESS").is_some() {
        std::fs::write(&path, &wanted).unwrap_or_else(|error| panic!("{PAGE}: {error}"));
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == wanted, "{PAGE} is behind the command line: run `make commands` and look at what changed");
}

mod tests {
    use super::*;

    fn example() -> Command {
        let explained = Command::new("good").about("does good").after_help("Examples:\n  x good");
        let good = explained.arg(Arg::new("rate").long("rate").value_name("RATE").default_value("1").help("how much"));
        Command::new("x").about("an example").subcommand(good)
    }

    #[test]
    fn a_flag_or_a_command_without_an_explanation_is_found() {
        assert!(unexplained(&example()).is_empty());
        let mute = Command::new("mute").arg(Arg::new("flag").long("flag"));
        assert_eq!(unexplained(&example().subcommand(mute)).len(), 3);
    }

    #[test]
    fn a_flag_that_only_a_longer_one_contains_is_unmentioned() {
        assert_eq!(unmentioned(&example(), "use --rate-max and --rates").len(), 1);
        assert!(unmentioned(&example(), "use --rate 5").is_empty());
        assert!(unmentioned(&example(), "`--rate`").is_empty());
    }

    #[test]
    fn the_page_shows_arguments_defaults_and_examples() {
        let page = page(&[example()]);
        assert!(page.contains("## x good\n\ndoes good\n"));
        assert!(page.contains("| `--rate <RATE>` | how much | `1` |"));
        assert!(page.contains("```text\nExamples:\n  x good\n```"));
    }
}
