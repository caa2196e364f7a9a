//! PC1: whether every task gets a unit of its own, within one shared cache.

use super::{
    Finding, Pc1Sum,
    Severity::{Advice, Error, Warning},
    case::{Binding, Case, PRODUCERS, Placed},
    count, finding,
};
use crate::{machine::Answer, units::Prover, worker_config::StageName};

pub(super) fn check(case: &Case) -> Vec<Finding> {
    let mut found = Vec::new();
    let capable = case.machine.pc1_capable();
    if capable.answer == Answer::No && (case.of_stage(StageName::Pc1).next().is_some() || case.threads > 0) {
        found.push(finding(Warning, "no-sha", "processors.pc1", capable.reason, "seal on another machine"));
    }
    for placed in case.of_stage(StageName::Pc1) {
        found.extend(producers(case, placed));
        match &placed.binding {
            Some(binding) => found.extend(units(case, placed, binding)),
            None => found.push(single_core(placed)),
        }
    }
    found
}

/// For the report.
pub(super) fn sums(case: &Case) -> Vec<Pc1Sum> {
    let sum = |placed: &Placed| {
        let units = placed.binding.as_ref().map(|binding| binding.arithmetic.units.clone());
        Pc1Sum { path: placed.path.clone(), tasks: placed.tasks, units: units.unwrap_or_default() }
    };
    case.of_stage(StageName::Pc1).map(sum).collect()
}

fn single_core(placed: &Placed) -> Finding {
    finding(
        Warning,
        "single-core",
        placed.key("envs"),
        "FIL_PROOFS_USE_MULTICORE_SDR is not set: a task runs on one core, bound to none, and takes half as long again",
        format!("set FIL_PROOFS_USE_MULTICORE_SDR = \"1\" and {PRODUCERS}"),
    )
}

fn producers(case: &Case, placed: &Placed) -> Option<Finding> {
    let value = placed.processor.envs.get(PRODUCERS)?;
    if case.question.prover == Prover::Own {
        return Some(finding(
            Advice,
            "no-effect",
            placed.env(PRODUCERS),
            format!("{PRODUCERS} = \"{value}\" has no effect: this project's prover hashes a sector on one core"),
            "remove it, or judge with --prover stock-damocles",
        ));
    }
    match value.trim().parse::<u32>() {
        Ok(1..) => None,
        Ok(0) => Some(finding(
            Error,
            "no-producers",
            placed.env(PRODUCERS),
            "0 producers: the hashing thread waits for ever for nodes that nobody prepares",
            "set it to 1 or more",
        )),
        Err(_) => Some(finding(
            Error,
            "not-a-number",
            placed.env(PRODUCERS),
            format!("\"{value}\" is no number: the library refuses to start"),
            "set it to 1 or more",
        )),
    }
}

fn units(case: &Case, placed: &Placed, binding: &Binding) -> Vec<Finding> {
    let found = &binding.arithmetic;
    let path = placed.key("cgroup.cpuset");
    let cores: usize = found.groups.iter().sum();
    if cores == 0 {
        // Told as CPUs that cannot be used.
        return Vec::new();
    }
    let prover = case.question.prover;
    let shape = format!(
        "{} in {} ({})",
        count(cores, "core"),
        count(found.groups.len(), "shared cache"),
        shares(&found.groups)
    );
    if found.panics {
        let text = format!("the {prover} prover panics when it starts: {shape} do not divide evenly");
        return vec![finding(Error, "panic", path, text, whole_caches(found))];
    }
    let width = binding.producers.saturating_add(1);
    let mut all = Vec::new();
    let units = found.units.len();
    if units == 0 {
        all.push(no_units(case, placed, binding, &shape));
    } else if placed.tasks as usize > units {
        let text = format!(
            "{} of {} float over all of its CPUs, bound to none: {shape} with {} of {width} make {}",
            placed.tasks as usize - units,
            count(placed.tasks, "task"),
            if width == 1 { "units" } else { "units each" },
            count(units, "unit")
        );
        let advice = format!("set concurrent = {units}, or give it more whole caches");
        all.push(finding(Error, "floating", placed.key("concurrent"), text, advice));
    }
    if found.straddling > 0 {
        let text =
            format!("{} of {units} have their cores in more than one cache: {shape}", count(found.straddling, "unit"));
        all.push(finding(Warning, "straddling", path.clone(), text, whole_caches(found)));
    }
    if found.short > 0 {
        let text =
            format!("{} of {units} lack a core that the {prover} prover does not find", count(found.short, "unit"));
        all.push(finding(
            Error,
            "short-unit",
            path.clone(),
            text,
            "take one range without holes that begins at a cache",
        ));
    }
    if placed.tasks < units as u32 && prover != Prover::Own {
        let text = format!("{units} units, but at most {} at once", count(placed.tasks, "task"));
        all.push(finding(
            Advice,
            "spare-units",
            placed.key("concurrent"),
            text,
            "use them, or give the cores to other stages",
        ));
    }
    all
}

fn no_units(case: &Case, placed: &Placed, binding: &Binding, shape: &str) -> Finding {
    let width = binding.producers.saturating_add(1);
    let smallest = binding.arithmetic.groups.iter().min().copied().unwrap_or(0);
    let prover = case.question.prover;
    if width > smallest {
        let text = format!(
            "no unit at all, so every task floats: a unit takes {} ({} + 1), the cpuset has {shape}",
            count(width, "core"),
            count(binding.producers, "producer")
        );
        let advice = match smallest {
            0 | 1 => "caches of one core hold no unit of the stock library: take another machine for PC1".to_owned(),
            _ => format!("set {PRODUCERS} = \"1\""),
        };
        return finding(Error, "floating", placed.env(PRODUCERS), text, advice);
    }
    let text = format!(
        "no unit at all, so every task floats: the {prover} prover looks for its cores among the CPUs from 0 on, and the \
         cpuset begins at {}",
        placed.usable.as_ref().and_then(|cpus| cpus.iter().next()).unwrap_or_default()
    );
    finding(
        Error,
        "floating",
        placed.key("cgroup.cpuset"),
        text,
        "run another build of the proofs, or a set that begins at CPU 0",
    )
}

fn whole_caches(found: &super::units::Arithmetic) -> String {
    let partly = found.groups.iter().zip(&found.whole).filter(|(taken, whole)| taken < whole).count();
    match partly {
        0 => "take whole caches of one size".to_owned(),
        _ => format!("take whole caches: {} is taken in part; `hwinfo cpuset` names good sets", count(partly, "cache")),
    }
}

/// `4 + 3`, or `14 x 3`.
fn shares(groups: &[usize]) -> String {
    match groups {
        [first, rest @ ..] if groups.len() > 2 && rest.iter().all(|size| size == first) => {
            format!("{} x {first}", groups.len())
        }
        _ => groups.iter().map(ToString::to_string).collect::<Vec<_>>().join(" + "),
    }
}
