//! From facts to a verdict: every finding a sentence with its numbers, the gravest one first.

use super::{
    Question,
    set::SetFacts,
    suggest::{Nearest, nearest},
    words::{count, noun, shares},
};
use crate::{
    machine::{
        Machine, PartKind,
        pc1_units::{Group, Outcome, Pc1Units, Prover, Unit, pc1_units},
    },
    units::CpuList,
};
use serde::Serialize;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The processor does not start.
    Hard,
    /// It starts and is slow, and nobody says so.
    Silent,
    /// It works; it could be better.
    Advice,
}

/// One thing about a set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub severity: Severity,
    /// A word for programs: `panic`, `zero-units`, `floating`.
    pub code: &'static str,
    /// A sentence with the numbers.
    pub text: String,
}

/// What is to be said about a cpuset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    pub cpuset: CpuList,
    pub stage: &'static str,
    pub good: bool,
    /// The whole verdict in one sentence.
    pub sentence: String,
    /// Gravest first.
    pub findings: Vec<Finding>,
    pub set: SetFacts,
    /// Absent for stages without units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pc1: Option<Pc1Facts>,
    /// Good sets near it; looked for where it is not good.
    pub nearest: Nearest,
}

/// What the PC1 prover makes of the set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pc1Facts {
    pub prover: Prover,
    pub producers: usize,
    /// What groups are: `l3`, `package`.
    pub group_kind: PartKind,
    pub groups: Vec<Group>,
    /// Whether every group gives as many cores as the next.
    pub equal: bool,
    /// Whether every usable core of the groups is taken.
    pub whole: bool,
    pub panics: bool,
    pub units_due: usize,
    pub units: Vec<Unit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent: Option<usize>,
    /// Tasks of `concurrent` that get no unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floating: Option<usize>,
    /// The CPUs of all cores that units are bound to, siblings included.
    pub bound: CpuList,
    /// CPUs of the set on the other cores: room for other stages.
    pub left_over: CpuList,
}

/// Judges `cpuset` on `machine`, with the nearest good sets where it is not good.
pub fn judge(machine: &Machine, cpuset: &CpuList, question: &Question) -> Verdict {
    let mut verdict = judge_alone(machine, cpuset, question);
    if !verdict.good {
        verdict.nearest = nearest(machine, cpuset, question);
    }
    verdict
}

/// Judges without a look at other sets: `nearest` stays empty.
pub fn judge_alone(machine: &Machine, cpuset: &CpuList, question: &Question) -> Verdict {
    let set = SetFacts::of(machine, cpuset);
    let units = question.forms_units().then(|| pc1_units(machine, cpuset, question.prover, question.producers));
    let mut findings: Vec<Finding> = unusable(cpuset, &set).into_iter().collect();
    if !set.usable.is_empty() {
        findings.extend(units.iter().flat_map(|units| of_units(machine, cpuset, units, question)));
        findings.extend(of_set(&set, question));
    }
    findings.sort_by_key(|finding| finding.severity);
    let good = findings.iter().all(|finding| finding.severity == Severity::Advice);
    let sentence = match findings.first().filter(|_| !good) {
        Some(gravest) => gravest.text.clone(),
        None => all_good(&set, units.as_ref(), question),
    };
    let pc1 = units.map(|units| pc1_facts(machine, units, question));
    Verdict {
        cpuset: cpuset.clone(),
        stage: question.stage_name(),
        good,
        sentence,
        findings,
        set,
        pc1,
        nearest: Nearest::default(),
    }
}

fn pc1_facts(machine: &Machine, units: Pc1Units, question: &Question) -> Pc1Facts {
    let threads: CpuList = units.units().iter().flat_map(|unit| unit.cpus.clone()).collect();
    let cores = machine.cores().into_iter().filter(|core| !core.cpus.and(&threads).is_empty());
    let bound: CpuList = cores.flat_map(|core| core.cpus.iter()).collect();
    Pc1Facts {
        prover: question.prover,
        producers: question.producers,
        group_kind: units.level,
        equal: units.is_equal(),
        whole: units.is_whole(),
        panics: units.outcome == Outcome::Panics,
        units_due: units.units_due,
        concurrent: question.concurrent,
        floating: question.concurrent.map(|tasks| units.floating(tasks)),
        left_over: units.cpus.minus(&bound),
        bound,
        units: units.units().to_vec(),
        groups: units.groups,
    }
}

fn finding(severity: Severity, code: &'static str, text: String) -> Option<Finding> {
    Some(Finding { severity, code, text })
}

fn unusable(cpuset: &CpuList, set: &SetFacts) -> Option<Finding> {
    if set.unusable() == 0 {
        return None;
    }
    let reasons: Vec<String> = [
        (&set.absent, "not in this machine"),
        (&set.offline, "switched off"),
        (&set.forbidden, "forbidden by a cgroup"),
    ]
    .into_iter()
    .filter(|(cpus, _)| !cpus.is_empty())
    .map(|(cpus, why)| format!("{cpus} {} {why}", if cpus.len() == 1 { "is" } else { "are" }))
    .collect();
    let text = format!("{} of {} cannot be used: {}", set.unusable(), count(cpuset.len(), "CPU"), reasons.join(", "));
    finding(Severity::Hard, "unusable-cpus", text)
}

/// What holds for every stage.
fn of_set(set: &SetFacts, question: &Question) -> Vec<Finding> {
    let mut findings = Vec::new();
    if set.nodes.len() > 1 {
        let nodes: Vec<_> =
            set.nodes.iter().map(|share| format!("#{} {}", share.node, count(share.cores, "core"))).collect();
        let text = format!(
            "the set crosses {} NUMA nodes ({}): memory of another node is slower, so give each node a processor of \
             its own",
            set.nodes.len(),
            nodes.join(", ")
        );
        findings.extend(finding(Severity::Advice, "crosses-nodes", text));
    }
    if !question.smt && !set.second_siblings.is_empty() && question.forms_units() {
        let text = format!(
            "{} ({}) are second siblings of cores in the set: units count cores, not threads",
            count(set.second_siblings.len(), "CPU"),
            set.second_siblings
        );
        findings.extend(finding(Severity::Advice, "second-siblings", text));
    }
    if !set.siblings_left_out.is_empty() {
        let text = format!(
            "{} outside the set ({}) are siblings of its cores: whatever runs there slows it down",
            count(set.siblings_left_out.len(), "CPU"),
            set.siblings_left_out
        );
        findings.extend(finding(Severity::Advice, "siblings-left-out", text));
    }
    findings
}

/// What the PC1 prover does wrong with the set.
fn of_units(machine: &Machine, cpuset: &CpuList, units: &Pc1Units, question: &Question) -> Vec<Finding> {
    let found = [
        no_producers(question),
        panics(units, question),
        zero_units(units, question),
        lost_units(units, question),
        short_units(units, question),
        straddling_units(units),
        unequal_groups(units, question),
        floating_tasks(machine, cpuset, units, question),
        partial_groups(units),
        units_across_caches(units),
        no_l3(machine, units),
    ];
    found.into_iter().flatten().collect()
}

/// `7 cores in 2 L3 caches (4 + 3)`.
fn cores_in_groups(units: &Pc1Units) -> String {
    let groups = count(units.groups.len(), noun(units.level));
    format!("{} in {groups} ({})", count(units.cores, "core"), shares(&units.groups))
}

fn no_producers(question: &Question) -> Option<Finding> {
    let least = question.prover.least_producers();
    let text = format!(
        "{}: the {} prover's hashing thread waits forever for nodes that nobody prepares, {least} is the least",
        count(question.producers, "producer"),
        question.prover
    );
    finding(Severity::Hard, "no-producers", text).filter(|_| question.producers < least)
}

fn panics(units: &Pc1Units, question: &Question) -> Option<Finding> {
    if units.outcome != Outcome::Panics {
        return None;
    }
    let text = format!(
        "the {} prover panics: {} do not divide evenly, {} over",
        question.prover,
        cores_in_groups(units),
        count(units.cores % units.groups.len(), "core")
    );
    finding(Severity::Hard, "panic", text)
}

fn runs(units: &Pc1Units) -> bool {
    matches!(units.outcome, Outcome::Units(_))
}

fn zero_units(units: &Pc1Units, question: &Question) -> Option<Finding> {
    if !runs(units) || !units.units().is_empty() {
        return None;
    }
    let text = if units.units_due == 0 {
        format!(
            "0 units, every task runs unbound: a unit takes {} ({} + 1), the set has {}",
            count(question.producers.saturating_add(1), "core"),
            count(question.producers, "producer"),
            cores_in_groups(units),
        )
    } else {
        format!(
            "0 of {} units, every task runs unbound: the {} prover looks for the core numbers 0-{} among the CPUs {}",
            units.units_due,
            question.prover,
            units.cores - 1,
            units.cpus
        )
    };
    finding(Severity::Silent, "zero-units", text)
}

fn lost_units(units: &Pc1Units, question: &Question) -> Option<Finding> {
    let formed = units.units().len();
    if formed == 0 || formed >= units.units_due {
        return None;
    }
    let text = format!(
        "{formed} of {} units: the {} prover counts {} on from CPU {} and meets holes in {}",
        units.units_due,
        question.prover,
        count(units.cores, "core"),
        if question.prover == Prover::Stock { 0 } else { units.cpus.iter().next().unwrap_or_default() },
        units.cpus
    );
    finding(Severity::Silent, "lost-units", text)
}

fn short_units(units: &Pc1Units, question: &Question) -> Option<Finding> {
    let short = units.short().count();
    let text = format!(
        "{short} of {} bound to fewer than {}: the {} prover does not find the other core numbers among the CPUs {}",
        count(units.units().len(), "unit"),
        count(question.producers.saturating_add(1), "core"),
        question.prover,
        units.cpus
    );
    finding(Severity::Silent, "short-units", text).filter(|_| short > 0)
}

fn straddling_units(units: &Pc1Units) -> Option<Finding> {
    let straddling = units.straddling().count();
    let first = units.straddling().next()?;
    let cpus: CpuList = first.cpus.iter().copied().collect();
    let text = format!(
        "{straddling} of {} straddle {}s (the first on {cpus}): {}",
        count(units.units().len(), "unit"),
        noun(units.level),
        cores_in_groups(units)
    );
    finding(Severity::Silent, "straddling-units", text)
}

fn unequal_groups(units: &Pc1Units, question: &Question) -> Option<Finding> {
    if !runs(units) || units.is_equal() {
        return None;
    }
    // Ours takes each group as it is.
    let severity = if question.prover == Prover::Own { Severity::Advice } else { Severity::Silent };
    let text = format!("unequal shares of {}s: {}", noun(units.level), cores_in_groups(units));
    finding(severity, "unequal-groups", text)
}

fn floating_tasks(machine: &Machine, cpuset: &CpuList, units: &Pc1Units, question: &Question) -> Option<Finding> {
    let tasks = question.concurrent.filter(|_| !units.units().is_empty())?;
    let floating = units.floating(tasks);
    if floating == 0 {
        return None;
    }
    let fewer = (question.prover.least_producers()..question.producers)
        .rev()
        .find(|producers| pc1_units(machine, cpuset, question.prover, *producers).floating(tasks) == 0);
    let hint = fewer.map(|producers| format!("; {} would do", count(producers, "producer"))).unwrap_or_default();
    let text = format!(
        "{floating} of {} would float: {} of {}{hint}",
        count(tasks, "concurrent task"),
        count(units.units().len(), "unit"),
        count(question.producers.saturating_add(1), "core"),
    );
    finding(Severity::Silent, "floating-tasks", text)
}

fn partial_groups(units: &Pc1Units) -> Option<Finding> {
    let partial: Vec<&Group> = units.groups.iter().filter(|group| group.cores < group.cores_whole).collect();
    let first = partial.first()?;
    let text = format!(
        "{} taken in part ({} of {}): whatever runs on the other cores shares the cache",
        count(partial.len(), noun(units.level)),
        first.cores,
        count(first.cores_whole, "core")
    );
    finding(Severity::Advice, "partial-groups", text)
}

fn units_across_caches(units: &Pc1Units) -> Option<Finding> {
    let across = units.units().iter().filter(|unit| unit.groups == 1 && unit.l3_caches > 1).count();
    let text = format!(
        "{across} of {} span L3 caches: each core has its own here, so no unit of more cores can do better",
        count(units.units().len(), "unit")
    );
    finding(Severity::Advice, "units-across-l3", text).filter(|_| across > 0)
}

fn no_l3(machine: &Machine, units: &Pc1Units) -> Option<Finding> {
    let text = format!("this machine tells of no L3 cache: the {} stands for it", noun(units.level));
    finding(Severity::Advice, "no-l3", text).filter(|_| units.cores > 1 && machine.l3_groups().is_empty())
}

fn all_good(set: &SetFacts, units: Option<&Pc1Units>, question: &Question) -> String {
    let Some(units) = units else {
        let nodes = count(set.nodes.len(), "NUMA node");
        return format!("{} of {} on {nodes}", count(set.usable.len(), "CPU"), count(set.cores, "core"));
    };
    let whole = if units.is_whole() { "whole " } else { "" };
    let groups = count(units.groups.len(), &format!("{whole}{}", noun(units.level)));
    let tasks = question.concurrent.map(|tasks| format!(" for {}", count(tasks, "task"))).unwrap_or_default();
    format!(
        "{} in {groups} ({}) give {} of {}{tasks}",
        count(units.cores, "core"),
        shares(&units.groups),
        count(units.units().len(), "unit"),
        count(question.producers.saturating_add(1), "core"),
    )
}
