//! Limits: whether they can be reached, and whether what they allow is meant.

use super::{
    Finding,
    Severity::{Advice, Warning},
    case::{Case, GpuView, Placed},
    count, finding,
};
use crate::{profile::Stage, worker_config::StageName};

/// Stages of a sector that is sealed here.
const STAGES: [StageName; 6] =
    [StageName::AddPieces, StageName::TreeD, StageName::Pc1, StageName::Pc2, StageName::C2, StageName::Transfer];

pub(super) fn check(case: &Case) -> Vec<Finding> {
    let mut found: Vec<Finding> = STAGES.into_iter().flat_map(|stage| of_stage(case, stage)).collect();
    found.extend(other_stages(case));
    found
}

fn of_stage(case: &Case, stage: StageName) -> Vec<Finding> {
    let limitation = &case.question.config.processors.limitation;
    let path = format!("processors.limitation.concurrent.{stage}");
    let placed: Vec<&Placed> = case.of_stage(stage).collect();
    let mut found = Vec::new();
    if let Some(limit) = case.limit(stage) {
        if limit > case.threads {
            let text = format!(
                "a limit of {limit}, but {} can never ask for more than as many",
                count(case.threads, "sealing thread")
            );
            found.push(finding(
                Warning,
                "limit-beyond-threads",
                path.clone(),
                text,
                "add sealing threads, or lower the limit",
            ));
        }
        if placed.len() > limit as usize {
            let text = format!("{} for a limit of {limit}: some always stand idle", count(placed.len(), "processor"));
            found.push(finding(Warning, "idle-processor", path, text, format!("raise the limit to {}", placed.len())));
        }
    }
    found.extend(placed.iter().filter_map(|one| one_gpu(one)));
    if let Some(gap) = limitation.staggered.get(&stage) {
        found.extend(stagger(case, stage, gap.0.as_secs_f64() / 60.0));
    }
    found
}

/// One GPU for several tasks of a processor.
fn one_gpu(placed: &Placed) -> Option<Finding> {
    let GpuView::Devices(devices) = &placed.gpus else { return None };
    let is_locked = !placed.processor.locks.is_empty();
    (placed.tasks as usize > devices.len() && !is_locked && !devices.is_empty()).then(|| {
        let text = format!("{} may run at once on {}", count(placed.tasks, "task"), count(devices.len(), "GPU"));
        let advice = format!("set concurrent = {}", devices.len());
        finding(Warning, "crowded-gpu", placed.key("concurrent"), text, advice)
    })
}

/// A stagger that holds back more than the stage's own length does.
fn stagger(case: &Case, stage: StageName, gap_minutes: f64) -> Option<Finding> {
    let known = Stage::ALL.into_iter().find(|known| known.name() == stage.name())?;
    let first = case.of_stage(stage).next();
    let cost = case.cost(known, first)?;
    let minutes = cost.minutes(cost.cores());
    let most = case.limit(stage).unwrap_or(case.threads).min(case.threads);
    let by_length = f64::from(most) / minutes;
    (gap_minutes > 0.0 && 1.0 / gap_minutes < by_length).then(|| {
        let text = format!(
            "a start every {gap_minutes:.1} min lets {:.1} an hour begin, {} of {minutes:.0} min would be {:.1}",
            60.0 / gap_minutes,
            count(most, "task"),
            60.0 * by_length
        );
        let advice = format!("at most {:.0} s", 60.0 / by_length);
        finding(Warning, "long-stagger", format!("processors.limitation.staggered.{stage}"), text, advice)
    })
}

/// What should be on another host, and what no sealer uses.
fn other_stages(case: &Case) -> Vec<Finding> {
    let mut found = Vec::new();
    for placed in case.of_stage(StageName::WindowPost) {
        let text = "WindowPoSt beside sealing: C2 on the same host makes it miss its deadlines";
        found.push(finding(Warning, "post-beside-sealing", placed.path.clone(), text, "prove on a host of its own"));
    }
    for stage in [StageName::SnapEncode, StageName::SnapProve, StageName::Unseal] {
        for placed in case.of_stage(stage) {
            let text = format!("no sealing thread has a plan that uses {stage}");
            found.push(finding(Advice, "unused-processor", placed.path.clone(), text, "remove it"));
        }
    }
    found
}
