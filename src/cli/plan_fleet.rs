//! `plan --fleet`: the cheapest mix of machines, as a table for purchasing and one for operations.

use super::{Exit, Io, plan_out::OutArgs};
use crate::planner::{
    Request, Templates, artefacts,
    fleet::{FleetError, FleetFile, FleetPlan, Line, plan_fleet},
};
use anyhow::{Context, Result};
use serde_json::json;
use std::{fs, io, path::Path};
use tabled::{builder::Builder, settings::Style};

/// Runs `plan` with a fleet file.
pub(super) fn run(
    path: &Path,
    request: &Request,
    as_json: bool,
    out: &OutArgs,
    templates: &Templates,
    io: &mut Io,
) -> Result<Exit> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let fleet = FleetFile::parse(&text).with_context(|| format!("read {}", path.display()))?;
    match plan_fleet(&fleet, request) {
        Ok(plan) => {
            write_talk(&plan, out.is_asked_for(), io)?;
            if out.is_asked_for() {
                return out.write(&artefacts::of_fleet(&fleet, request, &plan)?, templates, as_json, io);
            }
            if as_json {
                write_json(&json!({ "feasible": true, "fleet": plan }), io)?;
            } else {
                write_tables(&plan, io)?;
            }
            Ok(Exit::Yes)
        }
        Err(no) if no.is_answer() => {
            writeln!(io.err, "no: {no}")?;
            if as_json {
                write_json(&json!({ "feasible": false, "reason": no.to_string() }), io)?;
            }
            Ok(Exit::No)
        }
        Err(error @ FleetError::File(_)) => Err(anyhow::Error::new(error).context(path.display().to_string())),
        Err(error) => Err(error.into()),
    }
}

fn write_talk(plan: &FleetPlan, has_files: bool, io: &mut Io) -> io::Result<()> {
    writeln!(io.err, "needed:     {:.2} sectors/h ({})", plan.sectors_per_hour_needed, plan.target)?;
    let (pc, c2) = (plan.sectors_per_hour_precommitted, plan.sectors_per_hour_proven);
    writeln!(io.err, "expected:   {pc:.2} sectors/h through PC2, {c2:.2} through C2")?;
    for why in &plan.unused {
        writeln!(io.err, "not used:   {why}")?;
    }
    if has_files {
        return Ok(());
    }
    writeln!(io.err, "files:      --out DIR writes them for each type of machine")
}

fn write_tables(plan: &FleetPlan, io: &mut Io) -> io::Result<()> {
    writeln!(io.out, "To buy")?;
    writeln!(io.out, "{}\n", table(&purchase(plan)))?;
    writeln!(io.out, "To run")?;
    writeln!(io.out, "{}", table(&operations(plan)))
}

fn table(rows: &[Vec<String>]) -> String {
    let mut builder = Builder::default();
    rows.iter().for_each(|row| builder.push_record(row));
    let text = builder.build().with(Style::markdown()).to_string();
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.into_iter().map(str::to_owned).collect()
}

/// Type, number, price, what limits it.
fn purchase(plan: &FleetPlan) -> Vec<Vec<String>> {
    let mut rows = vec![row(["Machine", "Role", "On hand", "Buy", "Price", "Sectors/h each", "Limited by"])];
    let price = |line: &Line| line.price_each.map_or_else(|| "-".to_owned(), |each| money(each * f64::from(line.buy)));
    rows.extend(plan.lines.iter().map(|line| {
        let rate = format!("{:.3}", line.sectors_per_hour);
        let (on_hand, buy) = (line.on_hand.to_string(), line.buy.to_string());
        row([&line.name, line.role.name(), &on_hand, &buy, &price(line), &rate, &line.limited_by.to_string()])
    }));
    let sum = |of: fn(&Line) -> u32| plan.lines.iter().map(of).sum::<u32>().to_string();
    let total =
        if plan.lines.iter().any(|line| line.price_each.is_some()) { money(plan.price) } else { "-".to_owned() };
    rows.push(row(["total", "", &sum(|line| line.on_hand), &sum(|line| line.buy), &total, "", ""]));
    rows
}

fn money(amount: f64) -> String {
    format!("{amount:.0}")
}

/// Machine, processors, cores, stages.
fn operations(plan: &FleetPlan) -> Vec<Vec<String>> {
    let mut rows = vec![row(["Machine", "Machines", "Processor", "Tasks", "Cores", "GPU"])];
    for line in &plan.lines {
        for (place, work) in line.work.iter().enumerate() {
            let (name, count) = match place {
                0 => (format!("{} ({})", line.name, line.role), (line.on_hand + line.buy).to_string()),
                _ => (String::new(), String::new()),
            };
            let gpu = work.gpu.map_or_else(|| "-".to_owned(), |gpu| gpu.to_string());
            rows.push(row([&name, &count, work.stage.name(), &work.tasks.to_string(), &work.cores, &gpu]));
        }
    }
    rows
}

fn write_json(answer: &serde_json::Value, io: &mut Io) -> Result<()> {
    serde_json::to_writer_pretty(&mut *io.out, answer).map_err(io::Error::from)?;
    writeln!(io.out)?;
    Ok(())
}
