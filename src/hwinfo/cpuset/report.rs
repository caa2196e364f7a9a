//! Verdicts for people: the sentence first, then the nearest good sets, then the facts in aligned rows.

use super::{
    ConfigVerdict, Severity, Suggestion, Verdict,
    judge::Pc1Facts,
    words::{count, name},
};
use crate::{machine::pc1_units::Unit, units::CpuList};
use std::io::{self, Write};

/// Groups and units beyond so many are told by their number.
const ROWS_MAX: usize = 64;

/// Writes one verdict.
pub fn write_verdict(verdict: &Verdict, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}: {}", if verdict.good { "good" } else { "not good" }, verdict.sentence)?;
    write_nearest(verdict, "", out)?;
    write_findings(verdict, "", out)?;
    writeln!(out)?;
    for (label, text) in rows(verdict) {
        writeln!(out, "{label:<10} {text}")?;
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
        writeln!(out, "{indent}no set of this machine is good for that")?;
    }
    Ok(())
}

/// `2 units of 4 cores`; the producers too where they are not the asked ones.
fn describe(found: &Suggestion, asked: Option<&Pc1Facts>) -> String {
    let (Some(units), Some(producers)) = (found.units, found.producers) else {
        return count(found.cores, "core");
    };
    let units = format!("{} of {}", count(units, "unit"), count(producers + 1, "core"));
    match asked {
        Some(pc1) if pc1.producers != producers => format!("{units}, with {}", count(producers, "producer")),
        _ => units,
    }
}

/// All findings but the one that is the sentence.
fn write_findings(verdict: &Verdict, indent: &str, out: &mut dyn Write) -> io::Result<()> {
    for finding in verdict.findings.iter().filter(|finding| finding.text != verdict.sentence) {
        writeln!(out, "{indent}{}: {}", label(finding.severity), finding.text)?;
    }
    Ok(())
}

fn label(severity: Severity) -> &'static str {
    match severity {
        Severity::Hard => "fails",
        Severity::Silent => "slow",
        Severity::Advice => "advice",
    }
}

fn rows(verdict: &Verdict) -> Vec<(String, String)> {
    let set = &verdict.set;
    let mut rows = vec![
        ("cpuset".to_owned(), verdict.cpuset.to_string()),
        ("stage".to_owned(), verdict.stage.to_owned()),
        ("usable".to_owned(), format!("{} on {}", count(set.usable.len(), "CPU"), count(set.cores, "core"))),
    ];
    for (label, cpus) in [("absent", &set.absent), ("offline", &set.offline), ("forbidden", &set.forbidden)] {
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

/// Writes sets for so many tasks, one a line.
pub fn write_suggestions(tasks: usize, sets: &[Suggestion], out: &mut dyn Write) -> io::Result<()> {
    if sets.is_empty() {
        return writeln!(out, "no set of this machine is good for {}", count(tasks, "concurrent task"));
    }
    for set in sets {
        let nodes: Vec<_> = set.nodes.iter().map(|node| format!("#{node}")).collect();
        let nodes = if nodes.is_empty() { String::new() } else { format!(", node {}", nodes.join(" ")) };
        let left = if set.left_over.is_empty() { String::new() } else { format!(", left over {}", set.left_over) };
        let groups = set.groups.map(|groups| format!(" in {}", count(groups, "group"))).unwrap_or_default();
        let (units, producers) = (set.units.unwrap_or(0), set.producers.unwrap_or(0));
        writeln!(
            out,
            "{}: {} of {}{groups}{nodes}, {}{left}",
            set.cpuset,
            count(units, "unit"),
            count(producers + 1, "core"),
            count(producers, "producer")
        )?;
    }
    Ok(())
}

/// Writes what is to be said about a configuration.
pub fn write_config(verdict: &ConfigVerdict, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}: {}", if verdict.good { "good" } else { "not good" }, verdict.sentence)?;
    for processor in &verdict.processors {
        let word = if processor.is_good() { "good" } else { "not good" };
        let (judged, set) = (&processor.verdict, if processor.has_cpuset { "" } else { " (no cpuset: every CPU)" });
        writeln!(out, "\n{} {}{set}\n  {word}: {}", processor.path, judged.cpuset, judged.sentence)?;
        write_nearest(judged, "  ", out)?;
        write_findings(judged, "  ", out)?;
        for finding in &processor.findings {
            writeln!(out, "  {}: {}", label(finding.severity), finding.text)?;
        }
    }
    if !verdict.overlaps.is_empty() {
        writeln!(out)?;
    }
    for overlap in &verdict.overlaps {
        let word = if overlap.good { "in order" } else { "not good" };
        writeln!(out, "{} and {} share {}\n  {word}: {}", overlap.first, overlap.second, overlap.cpus, overlap.reason)?;
    }
    Ok(())
}
