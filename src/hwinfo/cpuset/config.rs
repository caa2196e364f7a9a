//! Judges every processor of a damocles-worker.toml against a machine, and what they take from one another.
//!
//! Two processors that share CPUs are in order if they never run at once (a lock that one may hold, a stage
//! limited to one task), and if what a PC1 processor shares are cores that none of its units is bound to.

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
    pub good: bool,
    /// Why it is in order, or what it does.
    pub reason: String,
}

impl ProcessorVerdict {
    /// Whether nothing is wrong with it by itself.
    pub fn is_good(&self) -> bool {
        self.verdict.good && self.findings.iter().all(|finding| finding.severity == Severity::Advice)
    }
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
    let bad = judged.iter().filter(|processor| !processor.is_good()).count();
    let clashes = overlaps.iter().filter(|overlap| !overlap.good).count();
    ConfigVerdict {
        good: bad + clashes == 0,
        sentence: sentence(bad, judged.len(), clashes, overlaps.len()),
        processors: judged,
        overlaps,
    }
}

fn sentence(bad: usize, processors: usize, clashes: usize, overlaps: usize) -> String {
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
    let cpuset = processor.cgroup.cpuset.clone().unwrap_or_else(|| machine.allowed_cpus.clone());
    let multicore = processor.envs.get(MULTICORE).is_some_and(|value| is_on(value));
    let is_pc1 = stage == Some(StageName::Pc1);
    let mut findings = Vec::new();
    // Without multi-core PC1 nothing is bound, so there are no units to judge; ours binds always.
    let binds = is_pc1 && (multicore || question.prover == Prover::Own);
    if is_pc1 && !binds {
        findings.push(Finding {
            severity: Severity::Advice,
            code: "single-core",
            text: format!("{MULTICORE} is not set here: PC1 runs on one core per task and is bound to none"),
        });
    }
    if let Some(bin) = processor.bin.as_ref().filter(|_| binds) {
        findings.push(Finding {
            severity: Severity::Advice,
            code: "other-program",
            text: format!("{} binds as it likes: judged as if it were the {} prover", bin.display(), question.prover),
        });
    }
    let producers = processor.envs.get(PRODUCERS).and_then(|value| value.trim().parse().ok());
    let tasks = match (processor.concurrent, limit) {
        (Some(own), Some(limit)) => Some(own.min(limit)),
        (own, limit) => own.or(limit),
    };
    let asked = Question {
        stage,
        multicore: binds,
        producers: producers.unwrap_or(question.producers),
        concurrent: tasks.filter(|_| binds).map(|tasks| tasks as usize),
        ..*question
    };
    let mut verdict = judge(machine, &cpuset, &asked);
    if processor.cgroup.cpuset.is_none() {
        // Nobody chose to cross nodes here.
        verdict.findings.retain(|finding| finding.code != "crosses-nodes");
    }
    findings.extend(preferred_node(machine, processor, &verdict));
    ProcessorVerdict { path, has_cpuset: processor.cgroup.cpuset.is_some(), findings, verdict }
}

/// What the library takes for yes.
fn is_on(value: &str) -> bool {
    ["1", "true", "on", "yes"].contains(&value.trim().to_lowercase().as_str())
}

fn preferred_node(machine: &Machine, processor: &Processor, verdict: &Verdict) -> Option<Finding> {
    let node = processor.numa_preferred?;
    if machine.node(node).is_none() {
        let text = format!("numa_preferred = {node}, but this machine has no such node");
        return Some(Finding { severity: Severity::Hard, code: "no-such-node", text });
    }
    let here: usize = verdict.set.nodes.iter().filter(|share| share.node == node).map(|share| share.cores).sum();
    let text = format!("numa_preferred = {node}, but {here} of {} are on that node", count(verdict.set.cores, "core"));
    (here < verdict.set.cores).then_some(Finding { severity: Severity::Advice, code: "other-node", text })
}

fn overlaps(machine: &Machine, placed: &[Placed], processors: &Processors) -> Vec<Overlap> {
    let mut found = Vec::new();
    for (i, first) in placed.iter().enumerate() {
        for second in &placed[i + 1..] {
            let (Some(one), Some(other)) = (first.claim(), second.claim()) else { continue };
            let cpus = one.and(other);
            if cpus.is_empty() {
                found.extend(siblings(machine, first, second, one, other));
            } else {
                found.push(overlap(first, second, cpus, processors));
            }
        }
    }
    found
}

fn overlap(first: &Placed, second: &Placed, cpus: CpuList, processors: &Processors) -> Overlap {
    let (good, reason) = match serialised(first, second, processors) {
        Some(reason) => (true, format!("by design: {reason}")),
        None => at_once(first, second, &cpus),
    };
    Overlap { first: first.judged.path.clone(), second: second.judged.path.clone(), cpus, good, reason }
}

/// Two sets without a common CPU can still share cores.
fn siblings(machine: &Machine, first: &Placed, second: &Placed, one: &CpuList, other: &CpuList) -> Option<Overlap> {
    let cores = machine.cores().into_iter().map(|core| &core.cpus);
    let shared: Vec<&CpuList> = cores.filter(|cpus| !cpus.and(one).is_empty() && !cpus.and(other).is_empty()).collect();
    let cpus: CpuList = shared.iter().flat_map(|cpus| cpus.and(&one.or(other)).iter().collect::<Vec<_>>()).collect();
    (!shared.is_empty()).then(|| Overlap {
        first: first.judged.path.clone(),
        second: second.judged.path.clone(),
        cpus,
        good: true,
        reason: format!("no CPU, but siblings of {}: each slows the other", count(shared.len(), "core")),
    })
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

/// Whether two that run at once may share these CPUs, and why.
fn at_once(first: &Placed, second: &Placed, cpus: &CpuList) -> (bool, String) {
    let units = [first, second].map(|placed| placed.judged.verdict.pc1.as_ref());
    if units.iter().all(Option::is_none) {
        return (false, format!("no lock keeps them apart: both use {} at once", count(cpus.len(), "CPU")));
    }
    if units.iter().all(Option::is_some) {
        return (false, format!("both bind PC1 tasks there: each counts all {} as its own", count(cpus.len(), "CPU")));
    }
    let bound: CpuList =
        units.iter().flatten().flat_map(|pc1| pc1.bound.and(cpus).iter().collect::<Vec<_>>()).collect();
    if bound.is_empty() {
        let cpus = count(cpus.len(), "CPU");
        return (true, format!("by design: no PC1 unit is bound to the shared {cpus}"));
    }
    (false, format!("PC1 units are bound to {} of the shared {} ({bound})", bound.len(), count(cpus.len(), "CPU")))
}
