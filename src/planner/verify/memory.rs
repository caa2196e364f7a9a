//! Memory: on each node for the PC1 tasks there, and on the machine with everything at its limit at once.
//!
//! Nothing staggers stages by memory, so everything that may run at once will, some day: each stage at its limit, the
//! most demanding tasks first, as many as there are sealing threads; what shares a lock counts only as often as the
//! lock can be held. add_pieces and c1 count once where nothing limits them: they are short, and small beside others.
//!
//! The system, the daemon and page caches keep 16 GiB, on small machines 15 %. Pages in hugepage pools are PC1's if it
//! takes its memory from them, and lost to everybody otherwise.

use super::{
    Finding,
    Severity::{Advice, Error, Warning},
    case::{Case, Placed},
    count, finding,
};
use crate::{
    machine::NumaNode,
    profile::{Cost, Stage},
    units::{Bytes, NodeId},
    worker_config::StageName,
};
use serde::Serialize;

/// What there is, and what everything at its limit takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MemorySum {
    pub machine: Bytes,
    pub reserve: Bytes,
    /// In hugepages that PC1 does not use.
    pub lost: Bytes,
    /// Left for tasks.
    pub have: Bytes,
    pub need: Bytes,
    /// The same with what careful sources book.
    pub need_most: Bytes,
    pub tasks: Vec<MemoryLine>,
    pub nodes: Vec<NodeSum>,
}

/// Tasks of one processor at the worst moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryLine {
    pub what: String,
    pub tasks: u32,
    pub each: Bytes,
    pub each_most: Bytes,
}

/// One node's PC1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeSum {
    pub node: NodeId,
    pub memory: Bytes,
    pub have: Bytes,
    pub pc1: Bytes,
    pub tasks: u32,
}

/// What tasks of one place could take.
struct Candidate<'c> {
    what: String,
    stage: Stage,
    limit: u32,
    tasks: u32,
    each: Bytes,
    each_most: Bytes,
    locks: &'c [String],
}

const RESERVE: Bytes = Bytes::gib(16);

fn reserve(memory: Bytes) -> Bytes {
    RESERVE.min(Bytes(memory.0 / 100 * 15))
}

pub(super) fn check(case: &Case) -> (MemorySum, Vec<Finding>) {
    let memory = case.machine.memory_bytes();
    let mut sum = MemorySum { machine: memory, reserve: reserve(memory), ..MemorySum::default() };
    let candidates = candidates(case);
    sum.tasks = worst(case, &candidates, |candidate| candidate.each);
    sum.need = total(&sum.tasks, |line| line.each);
    sum.need_most = total(&worst(case, &candidates, |candidate| candidate.each_most), |line| line.each_most);
    sum.nodes = nodes(case, sum.reserve);
    sum.lost = lost(case);
    sum.have = Bytes(memory.0.saturating_sub(sum.reserve.0).saturating_sub(sum.lost.0));
    let mut found = Vec::new();
    if memory == Bytes(0) {
        let advice = "fill in memory_bytes of its nodes";
        found.push(finding(
            Advice,
            "memory-unknown",
            "",
            "the machine does not tell its memory: it was not checked",
            advice,
        ));
        return (sum, found);
    }
    found.extend(unlimited(case));
    found.extend(whole(case, &sum));
    found.extend(sum.nodes.iter().filter_map(|node| of_node(case, node)));
    found.extend(pages(case));
    (sum, found)
}

fn total(lines: &[MemoryLine], each: impl Fn(&MemoryLine) -> Bytes) -> Bytes {
    Bytes(lines.iter().fold(0, |sum: u64, line| sum.saturating_add(each(line).0.saturating_mul(line.tasks.into()))))
}

fn whole(case: &Case, sum: &MemorySum) -> Option<Finding> {
    let path = "processors.limitation.concurrent";
    let kept = format!("{} of {} that are left", sum.have.human(), sum.machine.human());
    if sum.need > sum.have {
        let missing = Bytes(sum.need.0 - sum.have.0).human();
        let largest = sum.tasks.iter().max_by_key(|line| line.each.0.saturating_mul(line.tasks.into()));
        let text = format!(
            "everything at its limit takes {} of the {kept}: {missing} are missing ({})",
            sum.need.human(),
            lines(sum)
        );
        let advice = smaller(case, sum, largest);
        let severity = if case.question.overcommit { Warning } else { Error };
        return Some(finding(severity, "memory", path, text, advice));
    }
    if sum.need_most > sum.have {
        let missing = Bytes(sum.need_most.0 - sum.have.0).human();
        let careful: Vec<_> = sum
            .tasks
            .iter()
            .filter(|line| line.each_most > line.each)
            .map(|line| format!("{} at {}, not {}", line.what, line.each.human(), line.each_most.human()))
            .collect();
        let text = format!(
            "everything at its limit takes {} of the {kept}, and fits only with {}; with that {missing} would be missing",
            sum.need.human(),
            careful.join(" and ")
        );
        return Some(finding(Warning, "memory-tight", path, text, "watch it, or lower a limit"));
    }
    None
}

fn lines(sum: &MemorySum) -> String {
    // Processors of a stage that take the same are one line.
    let mut told: Vec<(&str, u32, Bytes)> = Vec::new();
    for line in &sum.tasks {
        let stage = line.what.trim_start_matches("processors.").split('[').next().unwrap_or_default();
        match told.iter_mut().find(|(of, _, each)| *of == stage && *each == line.each) {
            Some((_, tasks, _)) => *tasks += line.tasks,
            None => told.push((stage, line.tasks, line.each)),
        }
    }
    let line = |(stage, tasks, each): (&str, u32, Bytes)| format!("{stage} {tasks} x {}", each.human());
    told.into_iter().map(line).collect::<Vec<_>>().join(", ")
}

/// The smallest change that makes it fit, where a single limit does.
fn smaller(case: &Case, sum: &MemorySum, largest: Option<&MemoryLine>) -> String {
    let missing = sum.need.0 - sum.have.0;
    let tree_d = sum.tasks.iter().find(|line| line.what.contains("tree_d") && line.tasks > 1);
    if let Some(line) = tree_d.filter(|line| line.each.0.saturating_mul(u64::from(line.tasks - 1)) >= missing) {
        return format!("set limitation.concurrent.tree_d = 1 ({} now), or link a static tree-d", line.tasks);
    }
    let fits = largest.filter(|line| line.each.0 > 0).map(|line| (line, missing.div_ceil(line.each.0)));
    match fits {
        Some((line, fewer)) if fewer < u64::from(line.tasks) => {
            format!("run {fewer} fewer of {}", line.what)
        }
        _ if !case.static_tree_d => "link a static tree-d, or lower limits".to_owned(),
        _ => "lower limits, or add memory".to_owned(),
    }
}

fn candidates<'c>(case: &'c Case) -> Vec<Candidate<'c>> {
    let mut all = Vec::new();
    for stage in Stage::ALL {
        let name = StageName::ALL.into_iter().find(|name| name.name() == stage.name());
        let limit = name.and_then(|name| case.limit(name));
        let most = limit.unwrap_or(case.threads).min(case.threads);
        let is_small = matches!(stage, Stage::AddPieces | Stage::C1);
        let placed: Vec<&Placed> = name.map(|name| case.of_stage(name).collect()).unwrap_or_default();
        if placed.is_empty() {
            let tasks = if is_small && limit.is_none() { most.min(1) } else { most };
            let Some(cost) = case.cost(stage, None) else { continue };
            let cores = case.machine.usable_cores().len() as u32;
            all.push(candidate(stage.name().to_owned(), stage, most, tasks, &cost, cores, &[]));
        }
        for one in placed.into_iter().filter(|one| !one.is_elsewhere) {
            let Some(cost) = case.cost(stage, Some(one)) else { continue };
            let is_free = is_small && limit.is_none() && one.processor.concurrent.is_none();
            let tasks = if is_free { one.tasks.min(1) } else { one.tasks };
            let cores =
                one.usable.as_ref().map_or(case.machine.usable_cores().len(), |cpus| case.cores_in(cpus)) as u32;
            let cores = cores / one.tasks.max(1);
            all.push(candidate(one.path.clone(), stage, most, tasks, &cost, cores, &one.processor.locks));
        }
    }
    all
}

fn candidate<'c>(
    what: String,
    stage: Stage,
    limit: u32,
    tasks: u32,
    cost: &Cost,
    cores: u32,
    locks: &'c [String],
) -> Candidate<'c> {
    let (each, each_most) = (cost.memory_on(cores.max(1)), cost.memory_most_on(cores.max(1)));
    Candidate { what, stage, limit, tasks, each, each_most, locks }
}

/// The most that may run at once: the most demanding first, within limits, locks and threads.
fn worst(case: &Case, candidates: &[Candidate], each: impl Fn(&Candidate) -> Bytes) -> Vec<MemoryLine> {
    let mut order: Vec<&Candidate> = candidates.iter().collect();
    order.sort_by_key(|candidate| std::cmp::Reverse(each(candidate)));
    let mut threads = case.threads;
    let mut stages: Vec<(Stage, u32)> = Vec::new();
    let mut locks = case.question.config.processors.ext_locks.clone();
    let mut lines = Vec::new();
    for candidate in order {
        if !stages.iter().any(|(stage, _)| *stage == candidate.stage) {
            stages.push((candidate.stage, candidate.limit));
        }
        let left = stages.iter_mut().find(|(stage, _)| *stage == candidate.stage).map(|(_, left)| left);
        let left = left.expect("pushed where it was missing");
        let free = candidate.locks.iter().filter_map(|lock| locks.get(lock)).copied().min().unwrap_or(u32::MAX);
        let tasks = candidate.tasks.min(*left).min(free).min(threads);
        if tasks == 0 {
            continue;
        }
        threads -= tasks;
        *left -= tasks;
        for lock in candidate.locks {
            if let Some(free) = locks.get_mut(lock) {
                *free -= tasks;
            }
        }
        lines.push(MemoryLine {
            what: candidate.what.clone(),
            tasks,
            each: candidate.each,
            each_most: candidate.each_most,
        });
    }
    lines
}

/// Stages that nothing limits, where that matters.
fn unlimited(case: &Case) -> Vec<Finding> {
    let stages = [(StageName::AddPieces, Stage::AddPieces), (StageName::TreeD, Stage::TreeD)];
    let heavy = [(StageName::Pc1, Stage::Pc1), (StageName::Pc2, Stage::Pc2), (StageName::C2, Stage::C2)];
    stages
        .into_iter()
        .chain(heavy)
        .filter(|(name, _)| case.limit(*name).is_none())
        .filter(|(name, _)| {
            let placed: Vec<_> = case.of_stage(*name).collect();
            placed.is_empty()
                || placed.iter().any(|one| one.processor.concurrent.is_none() && one.processor.locks.is_empty())
        })
        .filter_map(|(name, stage)| {
            let each = case.cost(stage, case.of_stage(name).next())?.memory;
            let all = each.0.saturating_mul(case.threads.into());
            let text = format!(
                "nothing limits {name}: as many as the {} may run at once, each with {}",
                count(case.threads, "sealing thread"),
                each.human()
            );
            let advice = format!("set limitation.concurrent.{name}");
            let path = format!("processors.limitation.concurrent.{name}");
            (case.threads > 1 && all > case.machine.memory_bytes().0 / 20)
                .then(|| finding(Warning, "no-limit", path, text, advice))
        })
        .collect()
}

/// The node that a processor's memory is to come from.
fn node_of(case: &Case, placed: &Placed) -> Option<NodeId> {
    let by_cpus = || match case.nodes_of(placed.usable.as_ref()?).as_slice() {
        [(node, _)] => Some(*node),
        _ => None,
    };
    placed.processor.numa_preferred.or_else(by_cpus)
}

fn nodes(case: &Case, reserve: Bytes) -> Vec<NodeSum> {
    let each = case.cost(Stage::Pc1, None).map_or(Bytes(0), |cost| cost.memory_on(1));
    let machine = u128::from(case.machine.memory_bytes().0.max(1));
    let sum = |node: &NumaNode| {
        let here = case.of_stage(StageName::Pc1).filter(|placed| node_of(case, placed) == Some(node.os_index));
        let tasks: u32 = here.map(|placed| placed.tasks).sum();
        let kept = (u128::from(reserve.0) * u128::from(node.memory_bytes.0) / machine) as u64;
        let lost = if uses_hugepages(case) { 0 } else { pooled(node).0 };
        NodeSum {
            node: node.os_index,
            memory: node.memory_bytes,
            have: Bytes(node.memory_bytes.0.saturating_sub(kept).saturating_sub(lost)),
            pc1: Bytes(each.0.saturating_mul(tasks.into())),
            tasks,
        }
    };
    case.machine.nodes().into_iter().filter(|node| !node.is_memory_only()).map(sum).collect()
}

fn of_node(case: &Case, node: &NodeSum) -> Option<Finding> {
    if node.pc1 <= node.have {
        return None;
    }
    let fits = node.have.0 / (node.pc1.0 / u64::from(node.tasks.max(1))).max(1);
    let text = format!(
        "node {}: {} take {}, and {} of its {} are left for them",
        node.node,
        count(node.tasks, "PC1 task"),
        node.pc1.human(),
        node.have.human(),
        node.memory.human()
    );
    // What exceeds the reserve alone spills over to the next node, which is slow and no more.
    let severity = if node.pc1 > node.memory && !case.question.overcommit { Error } else { Warning };
    Some(finding(severity, "node-memory", "processors.pc1", text, format!("place at most {fits} there")))
}

fn uses_hugepages(case: &Case) -> bool {
    case.of_stage(StageName::Pc1).any(hugepages)
}

fn hugepages(placed: &Placed) -> bool {
    let set = |name: &str| placed.processor.envs.get(name).is_some_and(|value| !value.is_empty());
    set("HUGEPAGE_FILES_PATH") || set("HUGEPAGE_FILES_PATH_PATTERN")
}

fn pooled(node: &NumaNode) -> Bytes {
    let pools = node.page_pools.iter().flatten();
    Bytes(pools.fold(0, |sum: u64, pool| sum.saturating_add(pool.page_bytes.0.saturating_mul(pool.pages))))
}

/// Hugepages that no PC1 task takes.
fn lost(case: &Case) -> Bytes {
    let each = case.cost(Stage::Pc1, None).map_or(0, |cost| cost.memory_on(1).0);
    let of_node = |node: &&NumaNode| {
        let users = case
            .of_stage(StageName::Pc1)
            .filter(|placed| hugepages(placed) && node_of(case, placed) == Some(node.os_index));
        let used = users.map(|placed| each.saturating_mul(placed.tasks.into())).sum();
        pooled(node).0.saturating_sub(used)
    };
    Bytes(case.machine.nodes().iter().map(of_node).sum())
}

/// Whether the pools hold what PC1 will ask for.
fn pages(case: &Case) -> Vec<Finding> {
    let mut found = Vec::new();
    let gib = Bytes::gib(1).0;
    let per_task = (2 * case.sector_size.bytes().0).div_ceil(gib);
    for placed in case.of_stage(StageName::Pc1).filter(|placed| hugepages(placed)) {
        let Some(node) = node_of(case, placed).and_then(|id| case.machine.node(id)) else { continue };
        let Some(pools) = &node.page_pools else { continue };
        let there: u64 = pools.iter().filter(|pool| pool.page_bytes.0 == gib).map(|pool| pool.pages).sum();
        let need = per_task * u64::from(placed.tasks);
        if there < need {
            let text = format!("{need} pages of 1 GiB are needed on node {}, its pool has {there}", node.os_index);
            let advice = "raise the pool before the daemon starts: without it tasks fall back to ordinary memory, and only a line in the log says so";
            found.push(finding(Warning, "short-pool", placed.env("HUGEPAGE_FILES_PATH"), text, advice));
        }
    }
    found
}
