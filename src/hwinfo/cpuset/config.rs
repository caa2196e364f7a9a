//! Judges every processor of a damocles-worker.toml against a machine, and what they take from one another.
//!
//! Two processors that share CPUs are in order if they never run at once (a lock that one may hold, a stage
//! limited to one task), and if what a PC1 processor shares are cores that none of its units is bound to. Two CPUs of
//! one core are one core: a cpuset of the first siblings and one of the second share every core.
//!
//! The proofs library reads `FIL_PROOFS_*` whole, at the first use of any, and panics if one cannot be read. What it
//! takes for a number and for yes or no is told here as its settings reader does, blanks and words included.

use super::{Finding, Question, Severity, Verdict, judge::judge, words::count};
use crate::{
    machine::{Machine, pc1_units::Prover},
    units::CpuList,
    worker_config::{Processor, Processors, StageName, WorkerConfig},
};
use serde::Serialize;

const MULTICORE: &str = "FIL_PROOFS_USE_MULTICORE_SDR";
const PRODUCERS: &str = "FIL_PROOFS_MULTICORE_SDR_PRODUCERS";

/// What is to be said about a configuration on a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfigVerdict {
    pub good: bool,
    pub sentence: String,
    pub processors: Vec<ProcessorVerdict>,
    pub overlaps: Vec<Overlap>,
}

/// One processor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProcessorVerdict {
    /// Its key: `processors.pc1[0]`.
    pub path: String,
    /// Without a `cgroup.cpuset` it has every usable CPU.
    pub has_cpuset: bool,
    pub good: bool,
    /// The gravest finding of its cpuset and of its other settings; what it gives where nothing is wrong.
    pub sentence: String,
    /// What is wrong beyond the cpuset itself.
    pub findings: Vec<Finding>,
    pub verdict: Verdict,
}

/// CPUs that two processors share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Overlap {
    pub first: String,
    pub second: String,
    pub cpus: CpuList,
    /// Whether it is in order, or at most slows both.
    pub good: bool,
    /// Absent: in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// Why it is in order, or what it does.
    pub reason: String,
}

/// A processor with what its neighbours need to know of it.
struct Placed<'c> {
    stage: Option<StageName>,
    processor: &'c Processor,
    judged: ProcessorVerdict,
}

impl Placed<'_> {
    /// The CPUs it was given, or binds threads to. One without a cpuset that binds nothing goes where there is room.
    fn claim(&self) -> Option<&CpuList> {
        let verdict = &self.judged.verdict;
        self.processor.cgroup.cpuset.as_ref().or_else(|| verdict.pc1.as_ref().map(|_| &verdict.cpuset))
    }
}

/// Judges `config` on `machine`. `question` tells the prover, the producers where a processor's environment
/// does not, and whether sets hold siblings.
pub fn judge_config(machine: &Machine, config: &WorkerConfig, question: &Question) -> ConfigVerdict {
    let processors = &config.processors;
    let mut placed: Vec<Placed> = Vec::new();
    for (stage, list) in &processors.stages {
        let limit = processors.limitation.concurrent.get(stage).copied();
        for (i, processor) in list.iter().enumerate() {
            let path = format!("processors.{stage}[{i}]");
            let judged = judge_processor(machine, path, Some(*stage), processor, limit, question);
            placed.push(Placed { stage: Some(*stage), processor, judged });
        }
    }
    for (i, processor) in processors.sealing_daemons.iter().enumerate() {
        let path = format!("processors.sealing_daemons[{i}]");
        let judged = judge_processor(machine, path, None, processor, None, question);
        placed.push(Placed { stage: None, processor, judged });
    }
    let overlaps = overlaps(machine, &placed, processors);
    let judged: Vec<ProcessorVerdict> = placed.into_iter().map(|placed| placed.judged).collect();
    let bad = judged.iter().filter(|processor| !processor.good).count();
    let clashes = overlaps.iter().filter(|overlap| !overlap.good).count();
    ConfigVerdict {
        good: bad + clashes == 0,
        sentence: sentence(bad, judged.len(), clashes, overlaps.len()),
        processors: judged,
        overlaps,
    }
}

fn sentence(bad: usize, processors: usize, clashes: usize, overlaps: usize) -> String {
    if processors == 0 {
        return "the file has no external processors, so nothing is pinned: every stage runs inside the daemon, wherever \
                the kernel puts it"
            .to_owned();
    }
    let (processors, overlaps) = (count(processors, "processor"), count(overlaps, "overlap"));
    match bad + clashes {
        0 => format!("{processors} good, {overlaps} in order"),
        _ => format!("{bad} of {processors} not good, {clashes} of {overlaps} not in order"),
    }
}

fn judge_processor(
    machine: &Machine,
    path: String,
    stage: Option<StageName>,
    processor: &Processor,
    limit: Option<u32>,
    question: &Question,
) -> ProcessorVerdict {
    let has_cpuset = processor.cgroup.cpuset.is_some();
    let cpuset = processor.cgroup.cpuset.clone().unwrap_or_else(|| machine.allowed_cpus.clone());
    // Helpers beside the stages need not use the proofs library.
    let read = stage.map(|_| Settings::of(processor));
    let is_pc1 = stage == Some(StageName::Pc1);
    let unread = read.as_ref().is_some_and(|read| !read.unreadable.is_empty());
    let multicore = read.as_ref().is_some_and(|read| read.multicore);
    // Without multi-core PC1 nothing is bound, so there are no units to judge; ours binds always.
    let binds = is_pc1 && !unread && (multicore || question.prover == Prover::Own);
    let tasks = match (processor.concurrent, limit) {
        (Some(own), Some(limit)) => Some(own.min(limit)),
        (own, limit) => own.or(limit),
    };
    let asked = Question {
        stage,
        multicore: binds,
        producers: read.as_ref().and_then(|read| read.producers).unwrap_or(question.producers),
        concurrent: tasks.filter(|_| binds).map(|tasks| tasks as usize),
        ..*question
    };
    let mut verdict = judge(machine, &cpuset, &asked);
    if !has_cpuset {
        // Nobody chose to cross nodes here.
        verdict.findings.retain(|finding| finding.code != "crosses-nodes");
    }
    let mut findings: Vec<Finding> = read.into_iter().flat_map(|read| read.unreadable).collect();
    if is_pc1 && !unread {
        findings.extend(binding(processor, binds, question));
    }
    findings.extend(preferred_node(machine, processor, &verdict));
    findings.sort_by_key(|finding| finding.severity);
    settle(path, has_cpuset, findings, verdict)
}

/// How a PC1 processor binds its tasks, where that is not what the prover asked for does.
fn binding(processor: &Processor, binds: bool, question: &Question) -> Option<Finding> {
    let (code, text) = match &processor.bin {
        _ if !binds => {
            ("single-core", format!("{MULTICORE} is not on here: PC1 runs on one core per task and is bound to none"))
        }
        Some(bin) => {
            let bin = bin.display();
            ("other-program", format!("{bin} binds as it likes: judged as if it were the {} prover", question.prover))
        }
        None => return None,
    };
    Some(Finding { severity: Severity::Advice, code, text })
}

/// The verdict on a processor: on its cpuset and on its other settings together.
fn settle(path: String, has_cpuset: bool, findings: Vec<Finding>, verdict: Verdict) -> ProcessorVerdict {
    let of_settings = findings.first().filter(|finding| finding.severity != Severity::Advice);
    let of_set = verdict.findings.first().map(|finding| finding.severity);
    let sentence = match of_settings {
        Some(finding) if of_set.is_none_or(|set| finding.severity <= set) => finding.text.clone(),
        _ => verdict.sentence.clone(),
    };
    let good = verdict.good && of_settings.is_none();
    ProcessorVerdict { path, has_cpuset, good, sentence, findings, verdict }
}

/// What a processor's environment tells the proofs library.
struct Settings {
    multicore: bool,
    producers: Option<usize>,
    /// What the library panics on.
    unreadable: Vec<Finding>,
}

impl Settings {
    fn of(processor: &Processor) -> Self {
        // The library compares names in lower case.
        let value = |name: &str| {
            let mut envs = processor.envs.iter();
            envs.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
        };
        let (multicore, producers) = (value(MULTICORE), value(PRODUCERS));
        let (is_on, number) = (multicore.map(as_bool), producers.map(as_number));
        let unreadable = [
            (MULTICORE, multicore.filter(|_| is_on == Some(None)), "yes or no (1 or 0)"),
            (PRODUCERS, producers.filter(|_| number == Some(None)), "a number from 0 on"),
        ];
        let unreadable = unreadable.into_iter().filter_map(|(name, value, wanted)| {
            let text = format!(
                "{name} = {:?} is not {wanted}: the prover panics (\"invalid configuration\") as soon as it reads its \
                 settings, so it does no task",
                value?
            );
            Some(Finding { severity: Severity::Fails, code: "unreadable-setting", text })
        });
        Self {
            multicore: is_on.flatten().unwrap_or(false),
            producers: number.flatten(),
            unreadable: unreadable.collect(),
        }
    }
}

/// What the library takes for yes and for no.
fn as_bool(value: &str) -> Option<bool> {
    match value.to_lowercase().as_str() {
        "1" | "true" | "on" | "yes" => Some(true),
        "0" | "false" | "off" | "no" => Some(false),
        _ => None,
    }
}

/// What the library takes for a number: words for yes and no are 1 and 0, and blanks are not passed over.
fn as_number(value: &str) -> Option<usize> {
    match value.to_lowercase().as_str() {
        "true" | "on" | "yes" => Some(1),
        "false" | "off" | "no" => Some(0),
        _ => value.parse().ok(),
    }
}

fn preferred_node(machine: &Machine, processor: &Processor, verdict: &Verdict) -> Option<Finding> {
    let node = processor.numa_preferred?;
    if machine.node(node).is_none() {
        let text = format!("numa_preferred = {node}, but this machine has no such node");
        return Some(Finding { severity: Severity::Fails, code: "no-such-node", text });
    }
    let here: usize = verdict.set.nodes.iter().filter(|share| share.node == node).map(|share| share.cores).sum();
    let text = format!("numa_preferred = {node}, but {here} of {} are on that node", count(verdict.set.cores, "core"));
    (here < verdict.set.cores).then_some(Finding { severity: Severity::Advice, code: "other-node", text })
}

fn overlaps(machine: &Machine, placed: &[Placed], processors: &Processors) -> Vec<Overlap> {
    let cores: Vec<&CpuList> = machine.cores().into_iter().map(|core| &core.cpus).collect();
    let mut found = Vec::new();
    for (i, first) in placed.iter().enumerate() {
        for second in &placed[i + 1..] {
            let (Some(one), Some(other)) = (first.claim(), second.claim()) else { continue };
            let cpus = one.and(other);
            if cpus.is_empty() {
                found.extend(siblings([first, second], &cores, [one, other], processors));
            } else {
                found.push(overlap(first, second, cpus, processors));
            }
        }
    }
    found
}

fn overlap(first: &Placed, second: &Placed, cpus: CpuList, processors: &Processors) -> Overlap {
    let (severity, reason) = match serialised(first, second, processors) {
        Some(reason) => (None, format!("by design: {reason}")),
        None => at_once(first, second, &cpus),
    };
    shared(first, second, cpus, severity, reason)
}

fn shared(first: &Placed, second: &Placed, cpus: CpuList, severity: Option<Severity>, reason: String) -> Overlap {
    let good = severity.is_none_or(|severity| severity == Severity::Advice);
    Overlap { first: first.judged.path.clone(), second: second.judged.path.clone(), cpus, good, severity, reason }
}

/// Two sets without a common CPU can still share cores.
fn siblings(
    placed: [&Placed; 2],
    cores: &[&CpuList],
    claims: [&CpuList; 2],
    processors: &Processors,
) -> Option<Overlap> {
    let [first, second] = placed;
    let common = cores.iter().filter(|cpus| claims.iter().all(|claim| !cpus.and(claim).is_empty()));
    let common: Vec<&CpuList> = common.copied().collect();
    if common.is_empty() {
        return None;
    }
    let both = claims[0].or(claims[1]);
    let cpus: CpuList = common.iter().flat_map(|core| core.and(&both).iter().collect::<Vec<_>>()).collect();
    let (severity, reason) = match serialised(first, second, processors) {
        Some(reason) => (None, format!("by design: {reason}")),
        None => on_siblings(placed, &common),
    };
    Some(shared(first, second, cpus, severity, reason))
}

/// What two do to one another that run at once on siblings of the same cores.
fn on_siblings(placed: [&Placed; 2], common: &[&CpuList]) -> (Option<Severity>, String) {
    let units = placed.map(|placed| placed.judged.verdict.pc1.as_ref());
    let is_bound = |core: &&&CpuList| units.iter().flatten().any(|pc1| !pc1.bound.and(core).is_empty());
    let bound = common.iter().filter(is_bound).count();
    let cores = count(common.len(), "core");
    if units.iter().all(Option::is_none) {
        return (Some(Severity::Advice), format!("no CPU, but siblings of {cores}: each slows the other"));
    }
    if bound == 0 {
        return (None, format!("by design: siblings of {cores}, but no PC1 unit is bound there"));
    }
    let text = format!("no CPU, but siblings of {cores}: PC1 units are bound to {bound} of them, each slows the other");
    (Some(Severity::Slow), text)
}

/// Why the two never run at once.
fn serialised(first: &Placed, second: &Placed, processors: &Processors) -> Option<String> {
    let held_by_one = |lock: &&String| processors.ext_locks.get(*lock) == Some(&1);
    let common = first.processor.locks.iter().filter(|lock| second.processor.locks.contains(*lock)).find(held_by_one);
    if let Some(lock) = common {
        return Some(format!("the lock {lock} lets one of them run at a time"));
    }
    let stage = first.stage.filter(|_| first.stage == second.stage)?;
    let limit = processors.limitation.concurrent.get(&stage)?;
    (*limit == 1).then(|| format!("limitation.concurrent.{stage} = 1 lets one of them run at a time"))
}

/// What two do that run at once on the same CPUs, and why. Nothing: they may.
fn at_once(first: &Placed, second: &Placed, cpus: &CpuList) -> (Option<Severity>, String) {
    let units = [first, second].map(|placed| placed.judged.verdict.pc1.as_ref());
    let shared = count(cpus.len(), "CPU");
    if units.iter().all(Option::is_none) {
        return (Some(Severity::Slow), format!("no lock keeps them apart: both use {shared} at once"));
    }
    if units.iter().all(Option::is_some) {
        let text = format!("both bind PC1 tasks there: each counts the shared {shared} as its own");
        return (Some(Severity::Slow), text);
    }
    let bound: CpuList =
        units.iter().flatten().flat_map(|pc1| pc1.bound.and(cpus).iter().collect::<Vec<_>>()).collect();
    if bound.is_empty() {
        return (None, format!("by design: no PC1 unit is bound to the shared {shared}"));
    }
    (Some(Severity::Slow), format!("PC1 units are bound to {} of the shared {shared} ({bound})", bound.len()))
}
