//! `hwinfo diff`: what differs between two machines of a fleet.

use crate::{
    cli::{Exit, Io},
    hwinfo::{self, Comparison},
    machine::Machine,
};
use anyhow::{Result, ensure};
use serde_json::json;
use tabled::{
    Table,
    builder::Builder,
    settings::{Style, Width, object::Columns},
};

/// No side of the table is wider.
const CELL_WIDTH: usize = 60;

/// Tell what differs between two machines
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  damocles-worker-util hwinfo diff sealer-1.json sealer-2.json
      two machines, as `hwinfo --json` printed them
  damocles-worker-util hwinfo diff sealer-1.json node7.tar.bz2
      the second as hwloc-gather-topology --io captured it; node7.xml would be an export of lstopo
  damocles-worker-util hwinfo diff sealer-1.json 'pack:2 [numa] l3:8(size=32MB) core:8 pu:1'
      a machine and what was ordered
  damocles-worker-util hwinfo diff --all before.json after.json
      free memory, free space and names too
  damocles-worker-util hwinfo diff --json a.json b.json | jq -r '.differences[].place'
      the places alone

A and B are any sources that `hwinfo --from` takes; diff itself takes no --from (--machine).
Passed over unless --all asks: names, free space, and memory that differs by less than a
kernel keeps for itself.
With --json: same (true or false), differences (place; a and b in words; a_value and b_value
as in machine.json, absent where a side has none) and passed_over, how many.
Exit code: 0 alike, 1 they differ, 2 could not compare.")]
pub struct Args {
    /// The first machine: a machine.json, or any source that --from takes
    #[arg(value_name = "A")]
    a: String,
    /// The second machine
    #[arg(value_name = "B")]
    b: String,
    /// Tell also what differs between any two machines
    #[arg(long)]
    all: bool,
    /// Print the differences as one JSON object (see below)
    #[arg(long)]
    json: bool,
    /// Not for diff, whose sources are A and B: here so that its help does not offer what hwinfo offers
    #[arg(long, alias = "machine", value_name = "SOURCE", hide = true)]
    from: Option<String>,
}

/// Runs the command.
pub fn run(args: &Args, io: &mut Io) -> Result<Exit> {
    ensure!(
        args.from.is_none(),
        "compare machines: diff takes its two sources as arguments (`hwinfo diff A B`), and no --from"
    );
    let machines = [super::look(Some(&args.a), false, io)?.machine, super::look(Some(&args.b), false, io)?.machine];
    let found = hwinfo::diff(&machines[0], &machines[1], args.all);
    if args.json {
        write_json(&found, io)?;
    } else {
        write_text(args, &machines, &found, io)?;
    }
    Ok(if found.differences.is_empty() { Exit::Yes } else { Exit::No })
}

fn write_json(found: &Comparison, io: &mut Io) -> Result<()> {
    let answer = json!({
        "same": found.differences.is_empty(),
        "differences": found.differences,
        "passed_over": found.passed_over,
    });
    serde_json::to_writer_pretty(&mut *io.out, &answer).map_err(std::io::Error::from)?;
    writeln!(io.out)?;
    Ok(())
}

fn write_text(args: &Args, machines: &[Machine; 2], found: &Comparison, io: &mut Io) -> Result<()> {
    for (mark, path, machine) in [("A", &args.a, &machines[0]), ("B", &args.b, &machines[1])] {
        writeln!(io.out, "{mark}: {path} ({})", hwinfo::plain(&machine.hostname))?;
    }
    if !found.differences.is_empty() {
        for line in table(found).to_string().lines() {
            writeln!(io.out, "{}", line.trim_end())?;
        }
    }
    writeln!(io.out, "{}", verdict(found))?;
    Ok(())
}

/// A row for each difference. Long lists of CPUs go over several lines.
fn table(found: &Comparison) -> Table {
    let mut rows = Builder::default();
    rows.push_record(["", "A", "B"]);
    for difference in &found.differences {
        rows.push_record([&difference.place, &difference.a, &difference.b]);
    }
    let mut table = rows.build();
    table.with(Style::blank()).modify(Columns::new(1..), Width::wrap(CELL_WIDTH).keep_words(true));
    table
}

/// The last line.
fn verdict(found: &Comparison) -> String {
    let places = |count: usize| if count == 1 { "1 place".to_owned() } else { format!("{count} places") };
    let passed = match found.passed_over {
        0 => String::new(),
        count => format!(" (passed over, for they differ by nature: {}; see --all)", places(count)),
    };
    match found.differences.len() {
        0 => format!("The machines are alike{passed}"),
        count => format!("The machines differ in {}{passed}", places(count)),
    }
}
