//! `worker list` and `worker info`: what a running daemon does.

use super::super::{Exit, Io};
use crate::runtime::rpc::{
    client::Client,
    wire::{ThreadState, WorkerInfo},
};
use anyhow::Result;
use serde::Serialize;
use std::{collections::BTreeMap, time::Duration};
use tabled::{builder::Builder, settings::Style};

const LIST_EXAMPLES: &str = "\
Examples:
  damocles-worker worker list -c worker.toml
  damocles-worker worker list --addr 10.0.0.7:17890 --json

Exit codes: 0 shown, 2 could not (no daemon answers there)";

/// List the sealing threads: sector, state, stage, what each does and for how long
#[derive(Debug, clap::Args)]
#[command(after_help = LIST_EXAMPLES)]
pub(super) struct ListArgs {}

const INFO_EXAMPLES: &str = "\
Examples:
  damocles-worker worker info -c worker.toml            the worker in a few lines, and what is wrong
  damocles-worker worker info 3 -c worker.toml          everything known of thread 3

Exit codes: 0 shown, 1 there is no such thread, 2 could not (no daemon answers there)";

/// Show version and threads of a worker, or one thread with its last error in full
#[derive(Debug, clap::Args)]
#[command(after_help = INFO_EXAMPLES)]
pub(super) struct InfoArgs {
    /// A thread, by its number in `worker list`
    index: Option<usize>,
}

/// What `info --json` prints without an index.
#[derive(Debug, Serialize)]
struct Overview<'a> {
    address: &'a str,
    version: &'a str,
    threads: usize,
    /// Threads that have a sector.
    sectors: usize,
    /// Threads by what they do.
    states: BTreeMap<&'static str, usize>,
    errors: Vec<&'a WorkerInfo>,
}

pub(super) fn list(client: &Client, json: bool, io: &mut Io) -> Result<Exit> {
    let threads = client.list()?;
    if json {
        writeln!(io.out, "{}", serde_json::to_string_pretty(&threads)?)?;
    } else {
        write!(io.out, "{}", table(&threads))?;
    }
    Ok(Exit::Yes)
}

pub(super) fn info(args: &InfoArgs, client: &Client, json: bool, io: &mut Io) -> Result<Exit> {
    let threads = client.list()?;
    let Some(index) = args.index else {
        let version = client.version()?;
        let overview = overview(client.address(), &version, &threads);
        if json {
            writeln!(io.out, "{}", serde_json::to_string_pretty(&overview)?)?;
        } else {
            write!(io.out, "{}", text_of(&overview))?;
        }
        return Ok(Exit::Yes);
    };
    let Some(thread) = threads.iter().find(|thread| thread.index == index) else {
        writeln!(io.err, "error: there is no thread {index}: this worker has {}, counted from 0", threads.len())?;
        return Ok(Exit::No);
    };
    if json {
        writeln!(io.out, "{}", serde_json::to_string_pretty(thread)?)?;
    } else {
        write!(io.out, "{}", detail(thread))?;
    }
    Ok(Exit::Yes)
}

fn overview<'a>(address: &'a str, version: &'a str, threads: &'a [WorkerInfo]) -> Overview<'a> {
    let mut states = BTreeMap::new();
    for thread in threads {
        *states.entry(thread.thread_state.name()).or_default() += 1;
    }
    Overview {
        address,
        version,
        threads: threads.len(),
        sectors: threads.iter().filter(|thread| thread.job_id.is_some()).count(),
        states,
        errors: threads.iter().filter(|thread| thread.last_error.is_some()).collect(),
    }
}

fn text_of(overview: &Overview) -> String {
    let states: Vec<_> = overview.states.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let mut text = format!("worker at {}, version {}\n", overview.address, overview.version);
    text += &format!("threads  {}: {}\nsectors  {}\n", overview.threads, states.join(", "), overview.sectors);
    for thread in &overview.errors {
        let sector = thread.job_id.as_deref().unwrap_or("-");
        text += &format!("error    thread {}, {sector}: {}\n", thread.index, plain(thread.last_error.as_deref()));
    }
    text
}

fn detail(thread: &WorkerInfo) -> String {
    let WorkerInfo { location, plan, job_id, index, thread_state, job_state, job_stage, last_error } = thread;
    let doing = match thread_state {
        ThreadState::Running { proc, .. } => format!("Running {}", plain(Some(proc))),
        other => other.name().to_owned(),
    };
    let mut text = format!("thread   {index}\nstore    {}\nplan     {}\n", location.display(), plain(Some(plan)));
    text += &format!("sector   {}\nstate    {}\n", plain(job_id.as_deref()), plain(Some(job_state)));
    text += &format!("stage    {}\ndoes     {doing}{}\n", plain(job_stage.as_deref()), lasting(thread_state, ", for "));
    text + &format!("error    {}\n", plain(last_error.as_deref()))
}

fn table(threads: &[WorkerInfo]) -> String {
    let mut builder = Builder::default();
    builder.push_record(["#", "store", "plan", "sector", "state", "stage", "thread", "for", "last error"]);
    for thread in threads {
        builder.push_record([
            thread.index.to_string(),
            thread.location.display().to_string(),
            plain(Some(&thread.plan)),
            plain(thread.job_id.as_deref()),
            plain(Some(&thread.job_state)),
            plain(thread.job_stage.as_deref()),
            thread.thread_state.name().to_owned(),
            lasting(&thread.thread_state, ""),
            short(&plain(thread.last_error.as_deref())),
        ]);
    }
    let mut table = builder.build();
    table.with(Style::blank());
    let lines = table.to_string();
    lines.lines().map(|line| format!("{}\n", line.trim())).collect()
}

fn lasting(state: &ThreadState, before: &str) -> String {
    state.elapsed().map_or_else(String::new, |seconds| {
        format!("{before}{}", humantime::format_duration(Duration::from_secs(seconds)))
    })
}

/// Another program's text, or a dash: without what moves a terminal.
fn plain(text: Option<&str>) -> String {
    match text.map(|text| text.replace(char::is_control, " ")) {
        Some(text) if !text.trim().is_empty() => text,
        _ => "-".to_owned(),
    }
}

/// So much of an error fits beside the rest; `info` has all of it.
const ERROR_CHARS: usize = 60;

fn short(text: &str) -> String {
    match text.char_indices().nth(ERROR_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn threads() -> Vec<WorkerInfo> {
        let idle = WorkerInfo {
            location: "/mnt/0".into(),
            plan: "sealer".into(),
            job_id: None,
            index: 0,
            thread_state: ThreadState::Waiting { elapsed: 4 },
            job_state: "Empty".into(),
            job_stage: None,
            last_error: None,
        };
        let busy = WorkerInfo {
            location: "/mnt/1".into(),
            index: 1,
            job_id: Some("s-t01000-7".into()),
            thread_state: ThreadState::Paused { elapsed: 3723 },
            job_state: "PC1Done".into(),
            job_stage: Some("pc2".into()),
            last_error: Some(format!("permanent failure: pc2: no \u{1b}[2J{}", "x".repeat(60))),
            ..idle.clone()
        };
        vec![idle, busy]
    }

    #[test]
    fn the_table_is_one_line_a_thread() {
        assert_eq!(
            table(&threads()),
            "#   store    plan     sector       state     stage   thread    for        last error\n\
             0   /mnt/0   sealer   -            Empty     -       Waiting   4s         -\n\
             1   /mnt/1   sealer   s-t01000-7   PC1Done   pc2     Paused    1h 2m 3s   permanent failure: pc2: no  [2Jxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…\n"
        );
    }

    #[test]
    fn the_overview_counts_and_names_what_is_wrong() {
        let threads = threads();
        let text = text_of(&overview("127.0.0.1:1", "0.1.0", &threads));
        assert!(text.starts_with("worker at 127.0.0.1:1, version 0.1.0\nthreads  2: 1 Paused, 1 Waiting\nsectors  1\nerror    thread 1, s-t01000-7: permanent"), "{text}");
        assert!(detail(&threads[1]).contains("does     Paused, for 1h 2m 3s\n"), "{}", detail(&threads[1]));
    }
}
