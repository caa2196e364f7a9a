//! From facts to a verdict: every finding a sentence with its numbers, the gravest one first.

use super::{
    Question,
    set::SetFacts,
    suggest::{Nearest, nearest},
    words::{cores_in_groups, count, cpus as named_cpus, list, name, name_within, noun, verb},
};
use crate::{
    machine::{
        Machine, Part,
        pc1_units::{Group, GroupKind, Outcome, Pc1Units, Prover, Unit, pc1_units},
    },
    units::CpuList,
};
use serde::Serialize;

/// No more groups than so many are named in a sentence.
const NAMED_MAX: usize = 3;

/// How bad a finding is. One vocabulary for people and for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The processor does not start.
    Fails,
    /// It starts and is slow, and nobody says so.
    Slow,
    /// It works; it could be better.
    Advice,
}

impl Severity {
    /// The word for it, in text and in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Fails => "fails",
            Self::Slow => "slow",
            Self::Advice => "advice",
        }
    }
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
    /// Good sets near it.
    pub nearest: Nearest,
    /// The same set under the other provers; none for stages without units.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other_provers: Vec<OtherProver>,
}

/// What another prover makes of the same set: whoever does not say whose prover runs should see that it matters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OtherProver {
    pub prover: Prover,
    /// As asked; its own default where the default of the asked prover was.
    pub producers: usize,
    pub good: bool,
    pub panics: bool,
    pub units: usize,
    pub sentence: String,
}

/// What the PC1 prover makes of the set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pc1Facts {
    pub prover: Prover,
    pub producers: usize,
    /// What groups are: `l3`, `package`.
    pub group_kind: GroupKind,
    pub groups: Vec<Group>,
    /// Groups that the prover counts besides, since it sees their memory.
    pub coreless_groups: usize,
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

/// Judges `cpuset` on `machine`, with the nearest good sets and what other provers would do.
pub fn judge(machine: &Machine, cpuset: &CpuList, question: &Question) -> Verdict {
    let mut verdict = judge_alone(machine, cpuset, question);
    verdict.nearest = nearest(machine, cpuset, question, verdict.good);
    if question.forms_units() {
        verdict.other_provers = other_provers(machine, cpuset, question);
    }
    verdict
}

fn other_provers(machine: &Machine, cpuset: &CpuList, question: &Question) -> Vec<OtherProver> {
    let others = Prover::ALL.into_iter().filter(|prover| *prover != question.prover);
    let is_default = question.producers == question.prover.default_producers();
    others
        .map(|prover| {
            let producers = if is_default { prover.default_producers() } else { question.producers };
            let verdict = judge_alone(machine, cpuset, &Question { prover, producers, ..*question });
            let pc1 = verdict.pc1.as_ref();
            OtherProver {
                prover,
                producers,
                good: verdict.good,
                panics: pc1.is_some_and(|pc1| pc1.panics),
                units: pc1.map_or(0, |pc1| pc1.units.len()),
                sentence: verdict.sentence,
            }
        })
        .collect()
}

/// Judges without a look at other sets and provers: `nearest` and `other_provers` stay empty.
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
        other_provers: Vec::new(),
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
        coreless_groups: units.coreless,
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
        (&set.offline, if set.offline_or_forbidden { "offline or forbidden" } else { "switched off" }),
        (&set.forbidden, "forbidden by a cgroup"),
    ]
    .into_iter()
    .filter(|(cpus, _)| !cpus.is_empty())
    .map(|(cpus, why)| format!("{cpus} {} {why}", if cpus.len() == 1 { "is" } else { "are" }))
    .collect();
    let text = format!("{} of {} cannot be used: {}", set.unusable(), count(cpuset.len(), "CPU"), reasons.join(", "));
    finding(Severity::Fails, "unusable-cpus", text)
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
    let second = set.second_siblings.len();
    if !question.smt && second > 0 && question.forms_units() {
        let text = format!(
            "{} ({}) {} in the set: units count cores, not threads",
            count(second, "CPU"),
            set.second_siblings,
            verb(second, "is the second sibling of a core", "are second siblings of cores")
        );
        findings.extend(finding(Severity::Advice, "second-siblings", text));
    }
    let outside = set.siblings_left_out.len();
    if outside > 0 {
        let text = format!(
            "{} outside the set ({}) {} in it: whatever runs there slows it down",
            count(outside, "CPU"),
            set.siblings_left_out,
            verb(outside, "is a sibling of a core", "are siblings of cores")
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
        partial_groups(machine, units),
        units_across_caches(machine, units),
        no_l3(machine, units),
    ];
    found.into_iter().flatten().collect()
}

fn no_producers(question: &Question) -> Option<Finding> {
    let least = question.prover.least_producers();
    let text = format!(
        "{}: the {} prover's hashing thread waits forever for nodes that nobody prepares, {least} is the least",
        count(question.producers, "producer"),
        question.prover
    );
    finding(Severity::Fails, "no-producers", text).filter(|_| question.producers < least)
}

fn panics(units: &Pc1Units, question: &Question) -> Option<Finding> {
    if units.outcome != Outcome::Panics {
        return None;
    }
    let text = format!(
        "the {} prover panics: {} do not divide evenly, {} over",
        question.prover,
        cores_in_groups(units, ""),
        count(units.cores % (units.groups.len() + units.coreless), "core")
    );
    finding(Severity::Fails, "panic", text)
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
            cores_in_groups(units, ""),
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
    finding(Severity::Slow, "zero-units", text)
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
    finding(Severity::Slow, "lost-units", text)
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
    finding(Severity::Slow, "short-units", text).filter(|_| short > 0)
}

fn straddling_units(units: &Pc1Units) -> Option<Finding> {
    let straddling = units.straddling().count();
    let first = units.straddling().next()?;
    let cpus: CpuList = first.cpus.iter().copied().collect();
    let touched = units.groups.iter().filter(|group| !group.cpus.and(&cpus).is_empty());
    let names: Vec<String> = touched.map(name).collect();
    let text = format!(
        "{straddling} of {} {} {}s (the first on {cpus}, in {}): {}",
        count(units.units().len(), "unit"),
        verb(straddling, "straddles", "straddle"),
        noun(units.level),
        list(&names),
        cores_in_groups(units, "")
    );
    finding(Severity::Slow, "straddling-units", text)
}

fn unequal_groups(units: &Pc1Units, question: &Question) -> Option<Finding> {
    if !runs(units) || units.is_equal() {
        return None;
    }
    // Ours takes each group as it is.
    let severity = if question.prover == Prover::Own { Severity::Advice } else { Severity::Slow };
    let fewest = units.groups.iter().min_by_key(|group| group.cores)?;
    let text = format!(
        "unequal shares of {}s: {}, the fewest of {} ({})",
        noun(units.level),
        cores_in_groups(units, ""),
        name_within(fewest),
        named_cpus(&fewest.cpus)
    );
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
    finding(Severity::Slow, "floating-tasks", text)
}

/// The caches that the set touches: the groups, or the L3 caches where a set of few cores is grouped by more than a cache.
fn caches(machine: &Machine, units: &Pc1Units) -> Vec<Group> {
    if units.level.is_cache() || machine.l3_groups().is_empty() {
        return units.groups.clone();
    }
    let l3s = machine.l3_groups().into_iter().enumerate().map(|(logical, l3)| Group {
        kind: GroupKind::Part(l3.kind),
        os_index: l3.os_index,
        logical,
        cpus: l3.cpus().and(&units.cpus),
        cores: cores_with(l3, &units.cpus),
        cores_whole: cores_with(l3, &machine.allowed_cpus),
    });
    l3s.filter(|l3| l3.cores > 0).collect()
}

/// How many cores of a part have one of these CPUs.
fn cores_with(part: &Part, cpus: &CpuList) -> usize {
    let cores = part.walk().into_iter().flat_map(|part| &part.cores);
    cores.filter(|core| !core.cpus.and(cpus).is_empty()).count()
}

fn partial_groups(machine: &Machine, units: &Pc1Units) -> Option<Finding> {
    let caches = caches(machine, units);
    let partial: Vec<&Group> = caches.iter().filter(|group| group.cores < group.cores_whole).collect();
    // A single core of a machine without caches has no group, only the machine around it.
    let first = partial.first().filter(|first| units.cores > 1 || first.kind.is_cache())?;
    let (its, their) = if first.kind.is_cache() { ("the cache", "the caches") } else { ("its memory", "their memory") };
    let text = if partial.len() == 1 {
        let part = format!("{} of {}", first.cores, count(first.cores_whole, "core"));
        let name = name_within(first);
        let cpus = named_cpus(&first.cpus);
        format!("{name} is taken in part ({part}: {cpus}): whatever runs on its other cores shares {its}")
    } else {
        let told =
            |group: &&Group| format!("{} of {} in {}", group.cores, count(group.cores_whole, "core"), name(group));
        let mut parts: Vec<String> = partial.iter().take(NAMED_MAX).map(told).collect();
        if partial.len() > NAMED_MAX {
            parts.push(format!("{} more", partial.len() - NAMED_MAX));
        }
        let kinds = count(partial.len(), noun(first.kind));
        let parts = list(&parts);
        format!("{kinds} are taken in part ({parts}): whatever runs on their other cores shares {their}")
    };
    finding(Severity::Advice, "partial-groups", text)
}

/// Units of one package whose cores are of several L3 caches: the stock provers group by packages where the set
/// has one core of each cache. Nothing is lost by it where the machine's caches have no second core.
fn units_across_caches(machine: &Machine, units: &Pc1Units) -> Option<Finding> {
    let across = units.units().iter().filter(|unit| unit.groups == 1 && unit.l3_caches > 1).count();
    if across == 0 {
        return None;
    }
    let largest = machine.l3_groups().iter().map(|l3| cores_with(l3, &machine.allowed_cpus)).max().unwrap_or(0);
    let told = format!("{across} of {} {}", count(units.units().len(), "unit"), verb(across, "spans", "span"));
    if largest <= 1 {
        let text =
            format!("{told} L3 caches: each core has one of its own here, so no unit of more cores can do better");
        return finding(Severity::Advice, "units-across-l3", text);
    }
    let text = format!(
        "{told} L3 caches: the set takes one core of each of {}, where one has up to {largest}",
        count(units.cores, "cache")
    );
    finding(Severity::Slow, "units-across-l3", text)
}

fn no_l3(machine: &Machine, units: &Pc1Units) -> Option<Finding> {
    let counted = match units.level {
        GroupKind::MACHINE => "all its cores count as one group".to_owned(),
        level => format!("cores are grouped by {}", noun(level)),
    };
    let text = format!("this machine tells of no L3 cache: {counted}");
    finding(Severity::Advice, "no-l3", text).filter(|_| units.cores > 1 && machine.l3_groups().is_empty())
}

fn all_good(set: &SetFacts, units: Option<&Pc1Units>, question: &Question) -> String {
    let Some(units) = units else {
        let nodes = count(set.nodes.len(), "NUMA node");
        return format!("{} of {} on {nodes}", count(set.usable.len(), "CPU"), count(set.cores, "core"));
    };
    let whole = if units.is_whole() { "whole " } else { "" };
    let tasks = question.concurrent.map(|tasks| format!(" for {}", count(tasks, "task"))).unwrap_or_default();
    format!(
        "{} {} {} of {}{tasks}",
        cores_in_groups(units, whole),
        verb(units.cores, "gives", "give"),
        count(units.units().len(), "unit"),
        count(question.producers.saturating_add(1), "core"),
    )
}
