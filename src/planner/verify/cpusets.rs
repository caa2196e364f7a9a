//! CPUs: whether they are there and may be used, whose node they are on, and who shares them.

use super::{
    Finding,
    Severity::{Advice, Error, Warning},
    case::{Case, Placed},
    count, finding,
};
use crate::{units::CpuList, worker_config::StageName};

pub(super) fn check(case: &Case) -> Vec<Finding> {
    let mut found = Vec::new();
    for placed in &case.processors {
        found.extend(absent(case, placed));
        found.extend(nodes(case, placed));
    }
    for (i, first) in case.processors.iter().enumerate() {
        found.extend(case.processors[i + 1..].iter().filter_map(|second| overlap(case, first, second)));
    }
    found.extend(nothing_left(case));
    found
}

fn absent(case: &Case, placed: &Placed) -> Vec<Finding> {
    let Some(cpuset) = &placed.processor.cgroup.cpuset else { return Vec::new() };
    let path = placed.key("cgroup.cpuset");
    let online = case.machine.cpus();
    let offline = cpuset.and(&case.machine.offline_cpus);
    let missing = cpuset.minus(&online).minus(&offline);
    let forbidden = cpuset.and(&online).minus(&case.machine.allowed_cpus);
    let mut found = Vec::new();
    let mut tell = |code, cpus: &CpuList, what: &str, advice: String| {
        if !cpus.is_empty() {
            let are = if cpus.len() == 1 { "is" } else { "are" };
            found.push(finding(
                Error,
                code,
                path.clone(),
                format!("{} ({cpus}) {are} {what}", count(cpus.len(), "CPU")),
                advice,
            ));
        }
    };
    tell("no-such-cpu", &missing, "not in this machine", format!("the machine has the CPUs {online}"));
    tell("offline-cpu", &offline, "switched off", "switch them on, or take others".to_owned());
    tell("forbidden-cpu", &forbidden, "forbidden by a cgroup", format!("allowed are {}", case.machine.allowed_cpus));
    found
}

fn nodes(case: &Case, placed: &Placed) -> Vec<Finding> {
    let mut found = Vec::new();
    let preferred = placed.processor.numa_preferred;
    if let Some(node) = preferred.filter(|node| case.machine.node(*node).is_none()) {
        let known: Vec<_> = case.machine.nodes().iter().map(|node| node.os_index.to_string()).collect();
        let advice = format!("the machine has the nodes {}", known.join(", "));
        found.push(finding(
            Error,
            "no-such-node",
            placed.key("numa_preferred"),
            format!("node {node} is not in this machine"),
            advice,
        ));
        return found;
    }
    let Some(usable) = placed.usable.as_ref().filter(|cpus| !cpus.is_empty()) else { return found };
    let shares = case.nodes_of(usable);
    let told = || shares.iter().map(|(node, cores)| format!("node {node} {cores}")).collect::<Vec<_>>().join(", ");
    let is_pc1 = placed.stage == Some(StageName::Pc1);
    match preferred {
        Some(node) if shares.iter().all(|(of, _)| *of != node) => {
            let text = format!("memory is to come from node {node}, all cores are elsewhere ({})", told());
            let severity = if is_pc1 { Error } else { Warning };
            let advice = "prefer the node of the cpuset";
            found.push(finding(severity, "other-node", placed.key("numa_preferred"), text, advice));
        }
        _ if shares.len() > 1 && is_pc1 => {
            let text = format!(
                "the cores of PC1 are of {} nodes ({}): memory of another node is slower",
                shares.len(),
                told()
            );
            let advice = "give each node a processor of its own";
            found.push(finding(Warning, "crosses-nodes", placed.key("cgroup.cpuset"), text, advice));
        }
        Some(node) if shares.len() > 1 => {
            let text = format!("memory is to come from node {node}, cores are of {} nodes ({})", shares.len(), told());
            found.push(finding(
                Advice,
                "crosses-nodes",
                placed.key("numa_preferred"),
                text,
                "leave numa_preferred out",
            ));
        }
        None if is_pc1 && case.machine.nodes().len() > 1 => {
            let text = "no preferred node, so memory comes from wherever a task happens to run first";
            let advice = format!("set numa_preferred = {}", shares.first().map_or(0, |(node, _)| node.0));
            found.push(finding(Advice, "no-node", placed.key("numa_preferred"), text, advice));
        }
        _ => {}
    }
    found
}

/// CPUs that two processors both use.
fn overlap(case: &Case, first: &Placed, second: &Placed) -> Option<Finding> {
    let (one, other) = (first.usable.as_ref()?, second.usable.as_ref()?);
    let shared = one.and(other);
    let path = second.key("cgroup.cpuset");
    if serialised(case, first, second) {
        return None;
    }
    if shared.is_empty() {
        return siblings(case, first, second, one, other, &path);
    }
    let what = format!("{} ({shared}) shared with {}", count(shared.len(), "CPU"), first.path);
    if first.stage == Some(StageName::Pc1) && second.stage == Some(StageName::Pc1) {
        let text = format!("{what}: both bind PC1 tasks there, each as if alone");
        return Some(finding(Error, "overlap", path, text, "give each PC1 processor CPUs of its own"));
    }
    if let Some(pc1) = [first, second].into_iter().find(|placed| placed.stage == Some(StageName::Pc1)) {
        return with_pc1(case, pc1, &shared, what, path);
    }
    let severity = if first.is_light() || second.is_light() { Advice } else { Error };
    let text = format!("{what}, and nothing keeps them from running at once");
    let advice = "give both the same lock in ext_locks, or CPUs of their own";
    Some(finding(severity, "overlap", path, text, advice))
}

/// What PC1 leaves over of its caches is there to be used; its hashing cores are not.
fn with_pc1(case: &Case, pc1: &Placed, shared: &CpuList, what: String, path: String) -> Option<Finding> {
    let units = pc1.binding.as_ref().map(|binding| &binding.arithmetic.units).filter(|units| !units.is_empty());
    let Some(units) = units else {
        let text = format!("{what}, whose tasks float over all of them");
        return Some(finding(Error, "overlap", path, text, "keep PC1's CPUs to itself"));
    };
    // All CPUs of a core that hold a unit's thread.
    let cores_of = |cpus: &CpuList| -> CpuList {
        let cores = case.machine.cores().into_iter().filter(|core| !core.cpus.and(cpus).is_empty());
        cores.flat_map(|core| core.cpus.iter()).collect()
    };
    let used = units.iter().take(pc1.tasks as usize);
    let hashing = cores_of(&used.clone().filter_map(|unit| unit.first().copied()).collect()).and(shared);
    let reading = cores_of(&used.flat_map(|unit| unit.iter().skip(1).copied()).collect()).and(shared);
    if !hashing.is_empty() {
        let text = format!("{what}, whose tasks hash on {hashing}");
        return Some(finding(Error, "overlap", path, text, "take the cores that its units leave over"));
    }
    if !reading.is_empty() {
        let text = format!("{what}, whose producers read ahead on {reading}: PC1 is slower while both run");
        return Some(finding(Warning, "overlap", path, text, "take the cores that its units leave over"));
    }
    None
}

/// No CPU in common, but threads of the same cores.
fn siblings(
    case: &Case,
    first: &Placed,
    second: &Placed,
    one: &CpuList,
    other: &CpuList,
    path: &str,
) -> Option<Finding> {
    let cores = case
        .machine
        .cores()
        .into_iter()
        .filter(|core| !core.cpus.and(one).is_empty() && !core.cpus.and(other).is_empty());
    let shared = cores.count();
    let is_pc1 = [first, second].iter().any(|placed| placed.stage == Some(StageName::Pc1));
    (shared > 0).then(|| {
        let text = format!(
            "no CPU in common with {}, but {} by their SMT siblings: each slows the other",
            first.path,
            count(shared, "core")
        );
        finding(
            if is_pc1 { Warning } else { Advice },
            "siblings",
            path,
            text,
            "keep siblings in one cpuset, or switch SMT off",
        )
    })
}

/// Whether a lock of one holder, or a stage's limit of one, keeps the two apart.
fn serialised(case: &Case, first: &Placed, second: &Placed) -> bool {
    let locks = &case.question.config.processors.ext_locks;
    let common = first.processor.locks.iter().filter(|lock| second.processor.locks.contains(lock));
    let by_lock = common.into_iter().any(|lock| locks.get(lock) == Some(&1));
    let by_limit = first.stage == second.stage && first.stage.and_then(|stage| case.limit(stage)) == Some(1);
    by_lock || by_limit
}

/// Whether heavy work leaves any core alone. What PC1's units leave over of its cpuset is left.
fn nothing_left(case: &Case) -> Option<Finding> {
    let heavy = case.processors.iter().filter(|placed| !placed.is_light());
    let busy: CpuList = heavy.filter_map(busy_cpus).flat_map(|cpus| cpus.iter().collect::<Vec<_>>()).collect();
    let cores = case.machine.usable_cores().len();
    (cores > 2 && case.cores_in(&busy) == cores).then(|| {
        let text = format!("all {} are busy with pc1, pc2 and c2", count(cores, "core"));
        let advice = "leave a core or two for the system and the daemon";
        finding(Advice, "no-core-left", "processors", text, advice)
    })
}

fn busy_cpus(placed: &Placed) -> Option<CpuList> {
    let units = placed.binding.as_ref().map(|binding| &binding.arithmetic.units).filter(|units| !units.is_empty());
    match units {
        Some(units) => Some(units.iter().take(placed.tasks as usize).flatten().copied().collect()),
        None => placed.usable.clone(),
    }
}
