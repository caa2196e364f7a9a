//! The forecast of a plan in words: what the file makes by simulation, what is in the way, what one more would bring,
//! how far a searched layout is from the best that could be, and what the verifier has to say.

use super::plan_simulate::time;
use crate::planner::{Optimum, Plan, simulate::Forecast};
use std::io::{self, Write};

/// A forecast this much below the target is told; less is the simulation's own unrest.
const BELOW: f64 = 0.99;

/// Stages that are told with their use and their queues.
const STAGES: [&str; 3] = ["pc1", "pc2", "c2"];

/// The lines below those of the plan.
pub(super) fn write(plan: &Plan, forecast: &Forecast, out: &mut dyn Write) -> io::Result<()> {
    let rate = forecast.sectors_per_day;
    writeln!(
        out,
        "forecast:   {:.1} sectors/day ({:.1} to {:.1}), {} a day, from each machine with this file, by simulation",
        rate.expected,
        rate.low,
        rate.high,
        forecast.bytes_per_day.human()
    )?;
    if let Some(first) = forecast.first_minutes {
        let cost = time(forecast.ramp_up_minutes);
        writeln!(out, "ramp-up:    first sector after {}, filling the line costs {cost}", time(first))?;
    }
    writeln!(out, "busy:       {}", busy(forecast))?;
    let more = forecast.one_more.first().map_or_else(
        || "one more of any single thing brings nothing".to_owned(),
        |more| format!("one more brings most: {} ({:+.1} %)", more.what, more.gain * 100.0),
    );
    writeln!(out, "in the way: {}; {more}", forecast.bottleneck)?;
    if let Some(optimum) = &plan.optimum {
        writeln!(out, "optimum:    {}", optimal(optimum))?;
    }
    writeln!(out, "verified:   good{}", if plan.findings.is_empty() { "" } else { "; to know:" })?;
    for finding in &plan.findings {
        writeln!(out, "            {}: {}; {} [{}]", finding.path, finding.found, finding.advice, finding.code)?;
    }
    let (made, needed) = (rate.expected / 24.0 * f64::from(plan.machines), plan.capacity.sectors_per_hour_needed);
    if made < needed * BELOW {
        writeln!(
            out,
            "warning:    the forecast is {:.2} sectors/h of the {needed:.2} that are needed: queues cost more than \
             --utilisation {} leaves; lower it, or plan with --optimise",
            made, plan.utilisation
        )?;
    }
    Ok(())
}

fn busy(forecast: &Forecast) -> String {
    let told = forecast.stages.iter().filter(|stage| STAGES.contains(&stage.stage));
    let one = |stage: &crate::planner::simulate::StageUse| {
        format!("{} {:.0} % (waits {})", stage.stage, stage.busy * 100.0, time(stage.wait_minutes))
    };
    told.map(one).collect::<Vec<_>>().join(", ")
}

fn optimal(optimum: &Optimum) -> String {
    let Optimum { sectors_per_hour, sectors_per_hour_bound, distance, layouts, simulated, complete } = optimum;
    let end = if *complete { "no other could be better" } else { "the search ended before all were tried" };
    format!(
        "{sectors_per_hour:.2} sectors/h at full time, and no layout exceeds {sectors_per_hour_bound:.2}: {:.1} % away; of \
         {layouts} layouts {simulated} variants were simulated, {end}",
        distance * 100.0
    )
}
