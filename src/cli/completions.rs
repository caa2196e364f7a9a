//! `completions`: the shell's completion script, made from the same definition that parses.

use super::{Exit, Io};
use anyhow::{Context, Result};
use clap::{Command, CommandFactory};
use clap_complete::Shell;

/// print the completion script of a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  damocles-worker completions bash > /etc/bash_completion.d/damocles-worker
  damocles-worker-util completions zsh > ~/.zfunc/_damocles-worker-util")]
pub struct Args {
    /// The shell that will read the script.
    shell: Shell,
}

/// Runs the command for the binary whose command line is `C`.
pub fn run<C: CommandFactory>(args: Args, io: &mut Io) -> Result<Exit> {
    io.out.write_all(&script::<C>(args.shell)).context("completions: writing the script")?;
    Ok(Exit::Yes)
}

// Into memory first: clap_complete panics when its writer fails, and a reader may have gone away.
fn script<C: CommandFactory>(shell: Shell) -> Vec<u8> {
    let mut command = visible(&C::command());
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name.clone(), &mut script);
    if shell == Shell::Bash { bash_with_one_name(script, &name) } else { script }
}

/// The command without the subcommands that are no one's to type: clap_complete 4.6 offers hidden ones too, and clap has
/// no way to take one out.
fn visible(command: &Command) -> Command {
    // clap keeps names for good. Ours are a few words, and the process ends with the script.
    let kept = |text: &str| -> &'static str { text.to_owned().leak() };
    let mut shown = Command::new(kept(command.get_name()))
        .args(command.get_arguments().cloned())
        .groups(command.get_groups().cloned())
        .subcommands(command.get_subcommands().filter(|inner| !inner.is_hide_set()).map(visible));
    if let Some(about) = command.get_about() {
        shown = shown.about(about.clone());
    }
    match command.get_version() {
        Some(version) => shown.version(kept(version)),
        None => shown,
    }
}

/// clap_complete 4.6 names a program that has hyphens in two ways in its bash script, so that nothing completes
/// after the first word (clap-rs/clap#6421): `a__b` where the words are read, `a__subcmd__b` where they are looked up.
fn bash_with_one_name(script: Vec<u8>, name: &str) -> Vec<u8> {
    let (lookup, read) = (name.replace('-', "__subcmd__"), name.replace('-', "__"));
    String::from_utf8(script).map(|text| text.replace(&lookup, &read).into_bytes()).unwrap_or_else(|e| e.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{UtilCli, WorkerCli};
    use clap::ValueEnum;

    #[test]
    fn bash_looks_a_command_up_by_the_name_it_read() {
        for (script, command) in [
            (script::<UtilCli>(Shell::Bash), "damocles__worker__util__subcmd__hwinfo"),
            (script::<WorkerCli>(Shell::Bash), "damocles__worker__subcmd__daemon"),
        ] {
            let text = String::from_utf8(script).unwrap();
            assert!(text.contains(&format!("cmd=\"{command}\"")), "read as {command}");
            assert!(text.contains(&format!("\n        {command})")), "looked up as {command}");
            assert!(!text.contains("damocles__subcmd__worker"));
        }
    }

    #[test]
    fn what_is_no_ones_to_type_is_not_offered() {
        for shell in Shell::value_variants() {
            let util = String::from_utf8(script::<UtilCli>(*shell)).unwrap();
            assert!(!util.contains("captured-tree") && util.contains("cpuset") && util.contains("--from"), "{shell}");
            let worker = String::from_utf8(script::<WorkerCli>(*shell)).unwrap();
            assert!(util.contains("version") && worker.contains("version"), "{shell}");
        }
    }

    #[test]
    fn nothing_else_is_taken_out() {
        fn count(command: &Command, is_counted: fn(&Command) -> bool) -> usize {
            let inner = command.get_subcommands().filter(|inner| is_counted(inner));
            1 + inner.map(|inner| count(inner, is_counted)).sum::<usize>()
        }
        for command in [UtilCli::command(), WorkerCli::command()] {
            let shown = visible(&command);
            assert_eq!(count(&shown, |_| true), count(&command, |inner| !inner.is_hide_set()));
            assert!(count(&shown, |_| true) < count(&command, |_| true), "there is one to hide");
            assert_eq!(
                (shown.get_version(), shown.get_arguments().count()),
                (command.get_version(), command.get_arguments().count())
            );
        }
    }

    #[test]
    fn every_shell_gets_a_script_that_knows_the_binary_and_its_commands() {
        for shell in Shell::value_variants() {
            let worker = String::from_utf8(script::<WorkerCli>(*shell)).unwrap();
            assert!(worker.contains("damocles-worker") && worker.contains("sealing-init"), "{shell}");
            let util = String::from_utf8(script::<UtilCli>(*shell)).unwrap();
            assert!(util.contains("damocles-worker-util") && util.contains("hwinfo"), "{shell}");
            assert!(!util.contains("sealing-init"), "{shell}: a command of the other binary");
        }
    }
}
