//! `sealcalc`: how a pipeline of fixed stage times fills up, minute by minute, and how many sectors it finishes.
//!
//! The calculation is `planner::sealcalc`; here are the flags in both spellings, the CSV and JSON forms, the table
//! for pipes, and on a terminal a view in which the numbers can be changed (`view`).

mod console;
mod view;

use super::{Exit, Io};
use crate::planner::sealcalc::{Course, DAY, Inputs, Row, Stage, Summary};
use anyhow::Result;
use clap::value_parser;
use serde::{Serialize, Serializer};
use std::io::{self, IsTerminal, Write};

/// Calculate how a pipeline of fixed stage times runs, and how many sectors it finishes
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  damocles-worker-util sealcalc --tree_d_mins=10 --tree_d_concurrent=2 --pc1_mins=320 --pc1_concurrent=10 \\
      --pc2_mins=25 --pc2_concurrent=5 --c2_mins=18 --c2_concurrent=2 --sealing_threads=18
      on a terminal a view with pages in which each number can be changed; in a pipe a table
  damocles-worker-util sealcalc … --csv > month.csv
      a row for each hour of 30 days, for a spreadsheet
  damocles-worker-util sealcalc … --calculate-days 365 --output-step 1440 --json
      a row for each day of a year, and the settled rate

Each flag is also written with dashes: --pc1-mins. A stage of 0 minutes holds nothing up.
Exit code: 0 calculated, 2 could not.")]
pub struct Args {
    #[command(flatten)]
    line: LineArgs,
    /// For how long to calculate, in days
    #[arg(long = "calculate_days", visible_alias = "calculate-days", value_name = "DAYS", default_value_t = 30,
        value_parser = value_parser!(u32).range(0..=36_500))]
    calculate_days: u32,
    /// A row for every so many minutes
    #[arg(long = "output_step", visible_alias = "output-step", value_name = "MINS", default_value_t = 60,
        value_parser = parse_step)]
    output_step: u32,
    /// Print the rows as CSV
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// Print inputs, summary and rows as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct LineArgs {
    /// How long tree_d takes, in minutes
    #[arg(long = "tree_d_mins", visible_alias = "tree-d-mins", value_name = "MINS", value_parser = mins())]
    tree_d_mins: u32,
    /// How many tree_d run at once
    #[arg(long = "tree_d_concurrent", visible_alias = "tree-d-concurrent", value_name = "N")]
    tree_d_concurrent: u32,
    /// How long pc1 takes, in minutes
    #[arg(long = "pc1_mins", visible_alias = "pc1-mins", value_name = "MINS", value_parser = mins())]
    pc1_mins: u32,
    /// How many pc1 run at once
    #[arg(long = "pc1_concurrent", visible_alias = "pc1-concurrent", value_name = "N")]
    pc1_concurrent: u32,
    /// How long pc2 takes, in minutes
    #[arg(long = "pc2_mins", visible_alias = "pc2-mins", value_name = "MINS", value_parser = mins())]
    pc2_mins: u32,
    /// How many pc2 run at once
    #[arg(long = "pc2_concurrent", visible_alias = "pc2-concurrent", value_name = "N")]
    pc2_concurrent: u32,
    /// How long c2 takes, in minutes
    #[arg(long = "c2_mins", visible_alias = "c2-mins", value_name = "MINS", value_parser = mins())]
    c2_mins: u32,
    /// How many c2 run at once
    #[arg(long = "c2_concurrent", visible_alias = "c2-concurrent", value_name = "N")]
    c2_concurrent: u32,
    /// How long a sector waits between pc2 and c2, in minutes: 75 for the seed and some for the messages
    #[arg(long = "seed_mins", visible_alias = "seed-mins", value_name = "MINS", default_value_t = 80, value_parser = mins())]
    seed_mins: u32,
    /// How many sectors are under way at once
    #[arg(long = "sealing_threads", visible_alias = "sealing-threads", value_name = "N",
        value_parser = value_parser!(u32).range(0..=1_000_000))]
    sealing_threads: u32,
}

/// Two years: what lasts longer is a slip of the finger.
fn mins() -> impl clap::builder::TypedValueParser<Value = u32> {
    value_parser!(u32).range(0..=1_000_000)
}

fn parse_step(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(0) => Err("rows that are 0 minutes apart have no end; give 1 for every minute, 60 for every hour".into()),
        Ok(step) => Ok(step),
        Err(_) => Err("a whole number of minutes, at least 1".into()),
    }
}

/// Runs the command.
pub fn run(args: Args, io: &mut Io) -> Result<Exit> {
    let inputs = args.line.inputs();
    let minutes = u64::from(args.calculate_days) * DAY;
    let is_watched = io::stdout().is_terminal() && io::stdin().is_terminal();
    if is_watched && !args.csv && !args.json {
        console::show(view::View::new(inputs, args.calculate_days, args.output_step))?;
        return Ok(Exit::Yes);
    }
    let answer = Answer { inputs, course: Course::of(&inputs, minutes), step: args.output_step.into() };
    if args.csv {
        write_csv(&answer, io.out)?;
    } else if args.json {
        serde_json::to_writer(&mut *io.out, &answer).map_err(io::Error::from)?;
        writeln!(io.out)?;
    } else {
        write_table(&answer, io.out)?;
    }
    write_talk(&answer, args.calculate_days, io)?;
    Ok(Exit::Yes)
}

impl LineArgs {
    fn inputs(&self) -> Inputs {
        Inputs {
            tree_d: Stage { mins: self.tree_d_mins, concurrent: self.tree_d_concurrent },
            pc1: Stage { mins: self.pc1_mins, concurrent: self.pc1_concurrent },
            pc2: Stage { mins: self.pc2_mins, concurrent: self.pc2_concurrent },
            c2: Stage { mins: self.c2_mins, concurrent: self.c2_concurrent },
            seed_mins: self.seed_mins,
            sealing_threads: self.sealing_threads,
        }
    }
}

struct Answer {
    inputs: Inputs,
    course: Course,
    step: u64,
}

impl Serialize for Answer {
    // Row by row: years of minutes need no memory.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Rows<'a>(&'a Answer);
        impl Serialize for Rows<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_seq(self.0.course.rows(self.0.step))
            }
        }
        use serde::ser::SerializeStruct;
        let mut answer = serializer.serialize_struct("Answer", 3)?;
        answer.serialize_field("inputs", &self.inputs)?;
        answer.serialize_field("summary", &self.course.summary(&self.inputs))?;
        answer.serialize_field("rows", &Rows(self))?;
        answer.end()
    }
}

/// The titles of the columns, as the field's `sealcalc` writes them.
const TITLES: [&str; 8] = [
    "time (mins)",
    "sealing threads (running/total)",
    "tree_d (running/total)",
    "pc1 (running/total)",
    "pc2 (running/total)",
    "wait seed",
    "c2 (running/total)",
    "finished sectors",
];

fn cells(row: &Row, inputs: &Inputs) -> [String; 8] {
    let of = |running: u32, total: u32| format!("{running}/{total}");
    [
        row.time_mins.to_string(),
        of(row.sealing_threads_running, inputs.sealing_threads),
        of(row.tree_d_running, inputs.tree_d.concurrent),
        of(row.pc1_running, inputs.pc1.concurrent),
        of(row.pc2_running, inputs.pc2.concurrent),
        row.seed_waiting.to_string(),
        of(row.c2_running, inputs.c2.concurrent),
        row.finished_sectors.to_string(),
    ]
}

fn write_csv(answer: &Answer, out: &mut dyn Write) -> io::Result<()> {
    // A write per row would be a system call per row.
    let mut out = io::BufWriter::with_capacity(1 << 16, out);
    // No cell holds a comma or a quote.
    writeln!(out, "{}", TITLES.join(","))?;
    for row in answer.course.rows(answer.step) {
        writeln!(out, "{}", cells(&row, &answer.inputs).join(","))?;
    }
    out.flush()
}

fn write_table(answer: &Answer, out: &mut dyn Write) -> io::Result<()> {
    let mut out = io::BufWriter::with_capacity(1 << 16, out);
    writeln!(out, "{}", table_line(&TITLES.map(str::to_owned)))?;
    for row in answer.course.rows(answer.step) {
        writeln!(out, "{}", table_line(&cells(&row, &answer.inputs)))?;
    }
    out.flush()
}

/// Cells under their titles, which are wider than any number that is likely.
fn table_line(cells: &[String; 8]) -> String {
    let padded = TITLES.iter().zip(cells).map(|(title, cell)| format!("{cell:>width$}", width = title.len()));
    padded.collect::<Vec<_>>().join("  ")
}

fn write_talk(answer: &Answer, days: u32, io: &mut Io) -> io::Result<()> {
    writeln!(io.err, "{}", summary_line(&answer.course.summary(&answer.inputs), days))?;
    for name in closed(&answer.inputs) {
        writeln!(io.err, "warning: {name} is 0, so no sector is ever finished")?;
    }
    Ok(())
}

fn summary_line(summary: &Summary, days: u32) -> String {
    if days == 0 {
        return "0 days: there is no minute to calculate, and no row".to_owned();
    }
    let fullest = summary.busy.fullest().filter(|(_, share)| *share > 0.0);
    let fullest = fullest.map_or(String::new(), |(name, share)| format!("; fullest: {name}, {:.0} %", share * 100.0));
    format!(
        "{} sectors in {days} days, {:.2} a day once it has settled{fullest}",
        summary.finished_sectors, summary.sectors_per_day
    )
}

/// What lets nothing pass.
fn closed(inputs: &Inputs) -> Vec<&'static str> {
    let widths = [
        ("--sealing_threads", inputs.sealing_threads),
        ("--tree_d_concurrent", inputs.tree_d.concurrent),
        ("--pc1_concurrent", inputs.pc1.concurrent),
        ("--pc2_concurrent", inputs.pc2.concurrent),
        ("--c2_concurrent", inputs.c2.concurrent),
    ];
    widths.into_iter().filter(|(_, width)| *width == 0).map(|(name, _)| name).collect()
}
