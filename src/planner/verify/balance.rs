//! Balance: which part lets the fewest sectors pass, and what of the others is too many. By Little's law.

use super::{
    Finding,
    Severity::{Advice, Warning},
    case::Case,
    count, finding,
};
use crate::planner::simulate::{self, Bound, Line};

/// So much more than the tightest part is still balanced.
const SLACK: f64 = 1.25;

pub(super) fn check(case: &Case) -> Vec<Finding> {
    let question = simulate::Question {
        config: case.question.config,
        machine: case.machine,
        profile: case.question.profile,
        prover: case.question.prover,
        suite: case.question.suite,
        ghz: case.question.ghz,
    };
    // What cannot be played through has been told already.
    let Ok(line) = Line::of(&question) else { return Vec::new() };
    let bounds = simulate::bounds(&line);
    let Some(tightest) = bounds.first() else { return Vec::new() };
    [threads(case, &line, &bounds), too_much_pc1(&line, &bounds, tightest)].into_iter().flatten().collect()
}

/// Threads are cheap: they must not be what is short.
fn threads(case: &Case, line: &Line, bounds: &[Bound]) -> Option<Finding> {
    let threads = bounds.iter().find(|bound| bound.what == simulate::THREADS)?;
    let next = bounds.iter().find(|bound| bound.what != simulate::THREADS)?;
    let per_thread = threads.sectors_per_day / f64::from(case.threads);
    let needed = (next.sectors_per_day / per_thread).ceil();
    let way = simulate::cycle_minutes(line) / 60.0;
    if threads.sectors_per_day < next.sectors_per_day {
        let text = format!(
            "{} of {way:.1} h a sector finish {:.1} a day, {} could pass {:.1}",
            count(case.threads, "thread"),
            threads.sectors_per_day,
            next.what,
            next.sectors_per_day
        );
        let advice = format!("have {:.0} to {:.0}", needed, (needed * 1.4).ceil());
        return Some(finding(Warning, "few-threads", "sealing_thread", text, advice));
    }
    (f64::from(case.threads) > needed * 4.0 && case.threads > 4).then(|| {
        let text = format!("{} where {needed:.0} are enough: sectors only queue longer", count(case.threads, "thread"));
        finding(Advice, "many-threads", "sealing_thread", text, format!("have {:.0}", (needed * 1.4).ceil()))
    })
}

/// PC1 that runs ahead of what comes after it takes memory and brings nothing.
fn too_much_pc1(line: &Line, bounds: &[Bound], tightest: &Bound) -> Option<Finding> {
    let pc1 = bounds.iter().find(|bound| bound.what == "pc1")?;
    let is_late = ["pc2", "c2", "GPU", "locks"].iter().any(|late| tightest.what.starts_with(late));
    if !is_late || pc1.sectors_per_day < SLACK * tightest.sectors_per_day {
        return None;
    }
    let station = line.stations.iter().position(|station| station.name == "pc1")?;
    let width = line.width(station);
    let enough = (f64::from(width) * tightest.sectors_per_day / pc1.sectors_per_day).ceil();
    let bound = if tightest.what.contains("GPU") { "GPU-bound" } else { "bound" };
    let text = format!(
        "{bound}: {} lets {:.1} sectors a day pass ({:.2} an hour), {} could make {:.1}",
        tightest.what,
        tightest.sectors_per_day,
        tightest.sectors_per_day / 24.0,
        count(width, "PC1 task"),
        pc1.sectors_per_day
    );
    let advice = format!("{enough:.0} PC1 tasks are enough; or faster PC2 and C2, or another GPU");
    Some(finding(Warning, "unbalanced", "processors.limitation.concurrent.pc1", text, advice))
}
