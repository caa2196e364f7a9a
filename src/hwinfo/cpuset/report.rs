//! Verdicts for people: the sentence first, then the nearest good sets, then the facts in aligned rows.

use super::{
    ConfigVerdict, OtherProver, Severity, Suggestion, Verdict,
    judge::Pc1Facts,
    words::{count, list, name, noun},
};
use crate::{machine::pc1_units::Unit, units::CpuList};
use std::io::{self, Write};

/// Groups and units beyond so many are told by their number.
const ROWS_MAX: usize = 64;

/// Labels take so many columns, more where one is longer.
const LABEL_MIN: usize = 10;

/// Writes one verdict.
pub fn write_verdict(verdict: &Verdict, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}: {}", if verdict.good { "good" } else { "not good" }, verdict.sentence)?;
    write_nearest(verdict, "", out)?;
    write_other_provers(verdict, "", out)?;
    write_findings(verdict, "", out)?;
    writeln!(out)?;
    let rows = rows(verdict);
    let width = rows.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0).max(LABEL_MIN);
    for (label, text) in rows {
        writeln!(out, "{label:<width$} {text}")?;
    }
    Ok(())
}

fn write_nearest(verdict: &Verdict, indent: &str, out: &mut dyn Write) -> io::Result<()> {
    let nearest = &verdict.nearest;
    for (label, found) in
        [("smaller", &nearest.smaller), ("same size", &nearest.same_size), ("larger", &nearest.larger)]
    {
        if let Some(found) = found {
            writeln!(out, "{indent}{label}: {} ({})", found.cpuset, describe(found, verdict.pc1.as_ref()))?;
        }
    }
    if !verdict.good && nearest.iter().next().is_none() {
        let groups = verdict.pc1.as_ref().map_or("part", |pc1| noun(pc1.group_kind));
        writeln!(out, "{indent}nearest: no run of whole {groups}s of this machine is good for that")?;
    }
    Ok(())
}

/// `2 units of 4 cores`; what differs from what was asked, too.
fn describe(found: &Suggestion, asked: Option<&Pc1Facts>) -> String {
    let crossing =
        if found.crosses_nodes() { format!(", crosses {} NUMA nodes", found.nodes.len()) } else { String::new() };
    let (Some(units), Some(producers)) = (found.units, found.producers) else {
        return count(found.cores, "core") + &crossing;
    };
    let units = units_of_cores(units, producers);
    match asked {
        Some(pc1) if pc1.producers != producers => format!("{units}, with {}{crossing}", count(producers, "producer")),
        _ => units + &crossing,
    }
}

fn units_of_cores(units: usize, producers: usize) -> String {
    format!("{} of {}", count(units, "unit"), count(producers.saturating_add(1), "core"))
}

/// One line where it matters whose prover runs: good for this one and not for that.
fn write_other_provers(verdict: &Verdict, indent: &str, out: &mut dyn Write) -> io::Result<()> {
    let differing = verdict.other_provers.iter().filter(|other| other.good != verdict.good);
    let told: Vec<String> = differing.map(|other| other_prover(other, verdict.pc1.as_ref())).collect();
    if told.is_empty() {
        return Ok(());
    }
    let word = if verdict.good { "not good" } else { "good" };
    writeln!(out, "{indent}other provers: {word} for {}; say whose runs with --prover", list(&told))
}

/// `stock-damocles (14 units of 2 cores)`.
fn other_prover(other: &OtherProver, asked: Option<&Pc1Facts>) -> String {
    let mut told = match other.panics {
        true => "panics".to_owned(),
        false => units_of_cores(other.units, other.producers),
    };
    if let Some(floating) = asked.and_then(|pc1| pc1.concurrent).map(|tasks| tasks.saturating_sub(other.units))
        && floating > 0
        && !other.panics
    {
        told += &format!(", {} would float", count(floating, "task"));
    }
    format!("{} ({told})", other.prover)
}

/// All findings but the one that is the sentence.
fn write_findings(verdict: &Verdict, indent: &str, out: &mut dyn Write) -> io::Result<()> {
    for finding in verdict.findings.iter().filter(|finding| finding.text != verdict.sentence) {
        writeln!(out, "{indent}{}: {}", finding.severity.word(), finding.text)?;
    }
    Ok(())
}

fn rows(verdict: &Verdict) -> Vec<(String, String)> {
    let set = &verdict.set;
    let mut rows = vec![
        ("cpuset".to_owned(), verdict.cpuset.to_string()),
        ("stage".to_owned(), verdict.stage.to_owned()),
        ("usable".to_owned(), format!("{} on {}", count(set.usable.len(), "CPU"), count(set.cores, "core"))),
    ];
    let offline = if set.offline_or_forbidden { "offline or forbidden" } else { "offline" };
    for (label, cpus) in [("absent", &set.absent), (offline, &set.offline), ("forbidden", &set.forbidden)] {
        push_cpus(&mut rows, label, cpus);
    }
    for share in &set.nodes {
        rows.push((format!("node #{}", share.node), format!("{}: {}", count(share.cores, "core"), share.cpus)));
    }
    push_cpus(&mut rows, "siblings", &set.second_siblings);
    if let Some(pc1) = &verdict.pc1 {
        rows.extend(pc1_rows(pc1));
    }
    rows
}

fn push_cpus(rows: &mut Vec<(String, String)>, label: &str, cpus: &CpuList) {
    if !cpus.is_empty() {
        rows.push((label.to_owned(), cpus.to_string()));
    }
}

fn pc1_rows(pc1: &Pc1Facts) -> Vec<(String, String)> {
    let mut rows: Vec<(String, String)> = pc1
        .groups
        .iter()
        .take(ROWS_MAX)
        .map(|group| (name(group), format!("{} of {}: {}", group.cores, count(group.cores_whole, "core"), group.cpus)))
        .collect();
    if pc1.groups.len() > ROWS_MAX {
        rows.push(("…".to_owned(), format!("{} more", pc1.groups.len() - ROWS_MAX)));
    }
    rows.push(("prover".to_owned(), format!("{}, {}", pc1.prover, count(pc1.producers, "producer"))));
    rows.push(("units".to_owned(), units_text(&pc1.units)));
    if let (Some(tasks), Some(floating)) = (pc1.concurrent, pc1.floating) {
        rows.push(("tasks".to_owned(), format!("{tasks} at once, {floating} float")));
    }
    if !pc1.units.is_empty() {
        push_cpus(&mut rows, "left over", &pc1.left_over);
    }
    rows
}

/// `2: 0-3 | 4-7`.
fn units_text(units: &[Unit]) -> String {
    let list = |unit: &Unit| unit.cpus.iter().copied().collect::<CpuList>().to_string();
    let shown: Vec<String> = units.iter().take(ROWS_MAX).map(list).collect();
    let more = if units.len() > ROWS_MAX { " | …" } else { "" };
    match units.len() {
        0 => "0".to_owned(),
        all => format!("{all}: {}{more}", shown.join(" | ")),
    }
}

/// Writes sets for so many tasks, the best first, each with its reason.
pub fn write_suggestions(tasks: usize, sets: &[Suggestion], out: &mut dyn Write) -> io::Result<()> {
    if sets.is_empty() {
        return writeln!(out, "no run of whole groups of this machine is good for {}", count(tasks, "concurrent task"));
    }
    for set in sets {
        let nodes: Vec<_> = set.nodes.iter().map(|node| format!("#{node}")).collect();
        let nodes = if nodes.is_empty() { String::new() } else { format!(", node {}", nodes.join(" ")) };
        let left = if set.left_over.is_empty() { String::new() } else { format!(", left over {}", set.left_over) };
        let kind = set.group_kind.map_or("group", noun);
        let groups = set.groups.map(|groups| format!(" in {}", count(groups, kind))).unwrap_or_default();
        let producers = set.producers.unwrap_or(0);
        let units = units_of_cores(set.units.unwrap_or(0), producers);
        writeln!(
            out,
            "{}: {units}{groups}{nodes}, {}{left}\n  {}",
            set.cpuset,
            count(producers, "producer"),
            set.reason
        )?;
    }
    Ok(())
}

/// Writes what is to be said about a configuration.
pub fn write_config(verdict: &ConfigVerdict, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}: {}", if verdict.good { "good" } else { "not good" }, verdict.sentence)?;
    for processor in &verdict.processors {
        let word = if processor.good { "good" } else { "not good" };
        let (judged, set) = (&processor.verdict, if processor.has_cpuset { "" } else { " (no cpuset: every CPU)" });
        writeln!(out, "\n{} {}{set}\n  {word}: {}", processor.path, judged.cpuset, processor.sentence)?;
        if processor.sentence != judged.sentence {
            writeln!(out, "  its cpuset: {}", judged.sentence)?;
        }
        if !judged.good {
            write_nearest(judged, "  ", out)?;
        }
        write_other_provers(judged, "  ", out)?;
        write_findings(judged, "  ", out)?;
        for finding in processor.findings.iter().filter(|finding| finding.text != processor.sentence) {
            writeln!(out, "  {}: {}", finding.severity.word(), finding.text)?;
        }
    }
    if !verdict.overlaps.is_empty() {
        writeln!(out)?;
    }
    for overlap in &verdict.overlaps {
        let word = overlap.severity.map_or("in order", Severity::word);
        writeln!(out, "{} and {} share {}\n  {word}: {}", overlap.first, overlap.second, overlap.cpus, overlap.reason)?;
    }
    Ok(())
}
