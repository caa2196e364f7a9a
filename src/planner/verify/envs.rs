//! Environment variables: misspelt, of another stage, of somebody's private build, missing, contradicting each other.
//!
//! What the loader warns of (obsolete names, the column builder alone) is in the report already.

use super::{
    Finding,
    Severity::{Advice, Error, Warning},
    case::{Case, Placed, TREE_BUILDER, VISIBLE, as_bool, is_on},
    finding,
};
use crate::worker_config::StageName;

/// Whom a variable is for.
#[derive(Clone, Copy, PartialEq)]
enum For {
    All,
    Pc1,
    Pc2,
    /// C2 and other proofs.
    Snarks,
    /// PC2 and C2.
    Gpu,
}

const KNOWN: &[(&str, For)] = &[
    ("FIL_PROOFS_USE_MULTICORE_SDR", For::Pc1),
    ("FIL_PROOFS_MULTICORE_SDR_PRODUCERS", For::Pc1),
    ("FIL_PROOFS_MULTICORE_SDR_PRODUCER_STRIDE", For::Pc1),
    ("FIL_PROOFS_MULTICORE_SDR_LOOKAHEAD", For::Pc1),
    ("FIL_PROOFS_SDR_PARENTS_CACHE_SIZE", For::Pc1),
    ("FIL_PROOFS_VERIFY_CACHE", For::All),
    ("FIL_PROOFS_PARENT_CACHE", For::All),
    ("FIL_PROOFS_CACHE_DIR", For::All),
    ("FIL_PROOFS_PARAMETER_CACHE", For::All),
    ("FIL_PROOFS_VERIFY_PRODUCTION_PARAMS", For::All),
    ("FIL_PROOFS_USE_GPU_COLUMN_BUILDER", For::Pc2),
    ("FIL_PROOFS_USE_GPU_TREE_BUILDER", For::Pc2),
    ("FIL_PROOFS_MAX_GPU_COLUMN_BATCH_SIZE", For::Pc2),
    ("FIL_PROOFS_MAX_GPU_TREE_BATCH_SIZE", For::Pc2),
    ("FIL_PROOFS_COLUMN_WRITE_BATCH_SIZE", For::Pc2),
    ("FIL_PROOFS_ROWS_TO_DISCARD", For::All),
    ("FIL_PROOFS_WINDOW_POST_SYNTHESIS_NUM_CPUS", For::Snarks),
    ("FIL_PROOFS_GPU_FRAMEWORK", For::Gpu),
    ("FIL_PROOFS_DISABLE_NUMA", For::Pc1),
    ("FIL_PROOFS_MAXIMIZE_CACHING", For::All),
    ("HUGEPAGE_FILES_PATH", For::Pc1),
    ("HUGEPAGE_FILES_PATH_PATTERN", For::Pc1),
    ("DAMOCLES_PC1_PROVER", For::Pc1),
    ("DAMOCLES_PC1_SECTORS_PER_CORE", For::Pc1),
    ("DAMOCLES_PC1_REQUIRE_HUGEPAGES", For::Pc1),
    ("BELLMAN_NO_GPU", For::Gpu),
    ("BELLMAN_VERIFIER", For::Snarks),
    ("BELLMAN_CPU_UTILIZATION", For::Snarks),
    ("BELLMAN_GPU_FRAMEWORK", For::Gpu),
    ("BELLMAN_CUSTOM_GPU", For::Gpu),
    ("NEPTUNE_GPU_FRAMEWORK", For::Gpu),
    ("BELLPERSON_GPUS_PER_LOCK", For::Snarks),
    ("RUST_GPU_TOOLS_CUSTOM_GPU", For::Gpu),
    ("EC_GPU_NUM_THREADS", For::Gpu),
    ("CUDA_VISIBLE_DEVICES", For::Gpu),
    ("CUDA_DEVICE_ORDER", For::Gpu),
    ("RAYON_NUM_THREADS", For::All),
];

/// Of one fork that was never published.
const PRIVATE: &[&str] = &["BELLMAN_PROOF_THREADS", "FIL_PROOFS_BENCHY_HUGEPAGE_ENABLE", "HACK_P1"];

const SWITCHES: &[&str] = &[
    "FIL_PROOFS_USE_MULTICORE_SDR",
    "FIL_PROOFS_USE_GPU_COLUMN_BUILDER",
    "FIL_PROOFS_USE_GPU_TREE_BUILDER",
    "FIL_PROOFS_VERIFY_CACHE",
];

pub(super) fn check(case: &Case) -> Vec<Finding> {
    let mut found = Vec::new();
    for placed in case.processors.iter().filter(|placed| placed.processor.bin.is_none()) {
        for (name, value) in &placed.processor.envs {
            found.extend(of_one(placed, name, value));
        }
        found.extend(missing(case, placed));
    }
    found.extend(rows_to_discard(case));
    found
}

fn of_one(placed: &Placed, name: &str, value: &str) -> Option<Finding> {
    let path = placed.env(name);
    if PRIVATE.contains(&name) || name.starts_with("FORCE_") {
        let text = format!("{name} is of a private build: published ones do not know it");
        return Some(finding(Advice, "private-variable", path, text, "remove it"));
    }
    let Some((_, whose)) = KNOWN.iter().find(|(known, _)| *known == name) else {
        return misspelt(name, path);
    };
    if SWITCHES.contains(&name) && as_bool(value).is_none() {
        let text = format!("\"{value}\" is neither yes nor no: the library refuses to start");
        return Some(finding(Error, "not-a-switch", path, text, "set it to \"1\" or \"0\""));
    }
    if name == "BELLPERSON_GPUS_PER_LOCK" && value.trim() == "0" {
        let text = "0 takes no lock at all: two proofs on one GPU run out of its memory";
        return Some(finding(Warning, "no-gpu-lock", path, text, "set it to \"1\""));
    }
    let reads = placed.stage.is_none_or(|stage| is_for(*whose, stage));
    (!reads).then(|| {
        let stage = placed.stage.map_or("this", StageName::name);
        let text = format!("{name} has no effect on {stage}, which does not read it");
        finding(Advice, "no-effect", path, text, "move it to the stage that it is meant for, or remove it")
    })
}

fn is_for(whose: For, stage: StageName) -> bool {
    match whose {
        For::All => true,
        For::Pc1 => matches!(stage, StageName::Pc1 | StageName::Unseal),
        For::Pc2 => matches!(stage, StageName::Pc2 | StageName::SnapEncode),
        For::Snarks => matches!(stage, StageName::C2 | StageName::SnapProve | StageName::WindowPost),
        For::Gpu => is_for(For::Pc2, stage) || is_for(For::Snarks, stage),
    }
}

/// A name of the libraries' families that none of them knows.
fn misspelt(name: &str, path: String) -> Option<Finding> {
    let upper = name.to_uppercase();
    let near = KNOWN.iter().map(|(known, _)| (distance(&upper, known), *known)).min()?;
    let is_near = near.0 <= 2 || near.0 <= name.len() / 8;
    let of_family =
        ["FIL_PROOFS_", "BELLMAN_", "BELLPERSON_", "HUGEPAGE_"].iter().any(|family| upper.starts_with(family));
    if !is_near && !of_family {
        return None;
    }
    let advice = if is_near { format!("did you mean {}?", near.1) } else { "remove it, or look it up".to_owned() };
    Some(finding(Warning, "unknown-variable", path, format!("no library knows {name}: it has no effect"), advice))
}

/// Letters to insert, delete or replace.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

/// What a processor that looks as if it should use a GPU lacks.
fn missing(case: &Case, placed: &Placed) -> Option<Finding> {
    let envs = &placed.processor.envs;
    let on_gpu =
        placed.stage == Some(StageName::Pc2) && (envs.contains_key(VISIBLE) || !placed.processor.locks.is_empty());
    if on_gpu && !is_on(placed.processor, TREE_BUILDER) && !case.cuda_gpus().is_empty() {
        let text = format!(
            "{TREE_BUILDER} is not set here: PC2 is done by cores, which takes hours, while a GPU is kept for it"
        );
        let advice = format!("set FIL_PROOFS_USE_GPU_COLUMN_BUILDER and {TREE_BUILDER} to \"1\"");
        return Some(finding(Warning, "no-gpu-builder", placed.key("envs"), text, advice));
    }
    let only_tree =
        is_on(placed.processor, TREE_BUILDER) && !is_on(placed.processor, "FIL_PROOFS_USE_GPU_COLUMN_BUILDER");
    only_tree.then(|| {
        let text =
            "the tree builder without FIL_PROOFS_USE_GPU_COLUMN_BUILDER: libraries before 2023 build columns on cores";
        finding(Advice, "no-column-builder", placed.key("envs"), text, "set both to \"1\"")
    })
}

/// Trees of another shape cannot be proven by the others.
fn rows_to_discard(case: &Case) -> Option<Finding> {
    const NAME: &str = "FIL_PROOFS_ROWS_TO_DISCARD";
    let stages = [StageName::Pc2, StageName::C2];
    let told: Vec<(&Placed, &str)> = case
        .processors
        .iter()
        .filter(|placed| placed.stage.is_some_and(|stage| stages.contains(&stage)))
        .map(|placed| (placed, placed.processor.envs.get(NAME).map_or("2", |value| value.trim())))
        .collect();
    let (first, value) = told.first()?;
    let (other, another) = told.iter().find(|(_, other)| other != value)?;
    let text = format!("{another} here and {value} in {}: what one makes the other cannot prove", first.path);
    Some(finding(
        Error,
        "rows-to-discard",
        other.env(NAME),
        text,
        "one value for the whole cluster, 2 unless all differ",
    ))
}
