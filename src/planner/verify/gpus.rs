//! GPUs: whether they are there, have the memory, and are used by one processor at a time.

use super::{
    Finding,
    Severity::{Advice, Error, Warning},
    case::{Case, GpuView, Placed, VISIBLE},
    count, finding,
};
use crate::{
    profile::Stage,
    units::{Bytes, Prover},
    worker_config::StageName,
};

pub(super) fn check(case: &Case) -> Vec<Finding> {
    if case.machine.gpus.is_none() {
        let names_some = case.processors.iter().any(|placed| placed.processor.envs.contains_key(VISIBLE));
        let text = "the machine does not tell its GPUs: those of the file were not checked";
        let found = finding(Advice, "gpus-unknown", "processors", text, "describe them in the machine's file");
        return if names_some { vec![found] } else { Vec::new() };
    }
    let mut found: Vec<Finding> = case.processors.iter().flat_map(|placed| of_one(case, placed)).collect();
    for (i, first) in case.processors.iter().enumerate() {
        for second in &case.processors[i + 1..] {
            found.extend(shared(case, first, second));
            found.extend(lock_file(case, first, second));
        }
    }
    found
}

fn of_one(case: &Case, placed: &Placed) -> Vec<Finding> {
    let GpuView::Devices(devices) = &placed.gpus else { return Vec::new() };
    let gpus = case.cuda_gpus();
    let path = placed.env(VISIBLE);
    let mut found = Vec::new();
    let missing: Vec<_> = devices.iter().filter(|device| **device >= gpus.len()).map(ToString::to_string).collect();
    if !missing.is_empty() {
        let text =
            format!("GPU {} is not in this machine, which has {}", missing.join(","), count(gpus.len(), "CUDA GPU"));
        // What stands behind a number that does not exist is not visible either.
        found.push(finding(Error, "no-such-gpu", path.clone(), text, "GPUs are counted from 0"));
    }
    let is_told = placed.processor.envs.contains_key(VISIBLE);
    let order = placed.processor.envs.get("CUDA_DEVICE_ORDER").map(String::as_str);
    let names: std::collections::BTreeSet<_> = gpus.iter().map(|gpu| gpu.name.as_str()).collect();
    if is_told && names.len() > 1 && order != Some("PCI_BUS_ID") {
        let text = format!("{} models of GPUs, and without CUDA_DEVICE_ORDER the fastest is number 0", names.len());
        found.push(finding(Warning, "gpu-order", placed.key("envs"), text, "set CUDA_DEVICE_ORDER = \"PCI_BUS_ID\""));
    }
    found.extend(custom(placed, &names));
    let stage = match placed.stage {
        Some(StageName::Pc2) => Stage::Pc2,
        Some(StageName::C2) => Stage::C2,
        _ => return found,
    };
    let need = case.cost(stage, Some(placed)).and_then(|cost| cost.gpu_memory).unwrap_or(Bytes(0));
    let small = devices
        .iter()
        .filter_map(|device| gpus.get(*device))
        .find(|gpu| gpu.memory_bytes.is_some_and(|has| has < need));
    if let Some(gpu) = small {
        let has = gpu.memory_bytes.unwrap_or_default().human();
        let text =
            format!("{} has {has} of memory, {stage} of {} sectors takes {}", gpu.name, case.sector_size, need.human());
        found.push(finding(Error, "gpu-memory", path, text, "take a larger GPU, or do it elsewhere"));
    }
    found
}

/// The library looks a GPU up by the very name that its driver tells.
fn custom(placed: &Placed, names: &std::collections::BTreeSet<&str>) -> Option<Finding> {
    const NAME: &str = "RUST_GPU_TOOLS_CUSTOM_GPU";
    let value = placed.processor.envs.get(NAME)?;
    let is_met =
        value.split(',').filter_map(|entry| entry.rsplit_once(':')).any(|(name, _)| names.contains(name.trim()));
    (!is_met && !names.is_empty()).then(|| {
        let text = format!(
            "\"{value}\" names none of the GPUs here: {}",
            names.iter().copied().collect::<Vec<_>>().join(", ")
        );
        finding(
            Advice,
            "custom-gpu",
            placed.env(NAME),
            text,
            "write the driver's name and the number of its cores: NAME:CORES",
        )
    })
}

/// Two processors on one GPU, whose memory does not hold both.
fn shared(case: &Case, first: &Placed, second: &Placed) -> Option<Finding> {
    let (GpuView::Devices(one), GpuView::Devices(other)) = (&first.gpus, &second.gpus) else { return None };
    let both: Vec<_> = one.iter().filter(|device| other.contains(device)).map(ToString::to_string).collect();
    let locks = &case.question.config.processors.ext_locks;
    let common = first.processor.locks.iter().filter(|lock| second.processor.locks.contains(lock));
    let is_serialised = common.into_iter().any(|lock| locks.get(lock) == Some(&1));
    let is_one_at_a_time = first.stage == second.stage && first.stage.and_then(|stage| case.limit(stage)) == Some(1);
    if both.is_empty() || is_serialised || is_one_at_a_time {
        return None;
    }
    // Two that see several GPUs each may meet on one or not.
    let severity = if one.len() > 1 && other.len() > 1 { Warning } else { Error };
    let text = format!(
        "GPU {} is also that of {}, and no lock keeps them apart: together they run out of its memory",
        both.join(","),
        first.path
    );
    let advice = "give both the same lock of 1 in ext_locks, or a GPU each";
    Some(finding(severity, "shared-gpu", second.env(VISIBLE), text, advice))
}

/// Two GPUs, one lock file: the stock library lets only one process of a host use any GPU.
fn lock_file(case: &Case, first: &Placed, second: &Placed) -> Option<Finding> {
    let (GpuView::Devices(one), GpuView::Devices(other)) = (&first.gpus, &second.gpus) else { return None };
    let is_c2 = |placed: &Placed| placed.stage == Some(StageName::C2);
    let apart = one.iter().all(|device| !other.contains(device));
    let env = |placed: &Placed, name: &str| placed.processor.envs.get(name).cloned();
    let own_files = env(first, "TMPDIR") != env(second, "TMPDIR");
    let own_locks = [first, second].iter().any(|placed| env(placed, "BELLPERSON_GPUS_PER_LOCK").is_some());
    if case.question.prover == Prover::Own || !is_c2(first) || !is_c2(second) || !apart || own_files || own_locks {
        return None;
    }
    let text =
        format!("it and {} have different GPUs and one lock file in the temporary folder: they take turns", first.path);
    let advice = "give each a TMPDIR of its own, or set BELLPERSON_GPUS_PER_LOCK = \"1\"";
    Some(finding(Advice, "gpu-lock-file", second.key("envs"), text, advice))
}
