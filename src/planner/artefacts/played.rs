//! A type's configuration played through once: the forecast, and the first hours of it thread by thread.

use super::{ArtefactError, MachineType};
use crate::{
    planner::simulate::{self, Forecast, Line, Question, Span},
    worker_config::{self, WorkerConfig},
};

/// Where chance begins: everybody who plans the same sees the same.
const SEED: u64 = 1;

/// So many ways of a sector are shown from the beginning.
const WAYS: f64 = 2.2;

/// More sectors than this are not played through: what comes after is like what came before.
const SECTORS_MOST: f64 = 10_000.0;

/// But never less than so many ways of a sector.
const WAYS_LEAST: f64 = 40.0;

/// What was played.
#[derive(Clone, Debug)]
pub struct Played {
    pub config: WorkerConfig,
    pub forecast: Forecast,
    pub line: Line,
    /// Of the first `shown_ms`.
    pub spans: Vec<Span>,
    pub shown_ms: f64,
}

impl Played {
    /// Plays a month of a machine of this type; none where no daemon runs.
    pub fn of(one: &MachineType) -> Result<Option<Self>, ArtefactError> {
        let Some(host) = &one.host else { return Ok(None) };
        let Some(plan) = &host.plan else { return Ok(None) };
        let loaded =
            worker_config::parse(&plan.worker_toml).map_err(|no| ArtefactError::Config(one.name.clone(), no))?;
        let choices = &host.request.choices;
        let question = Question {
            config: &loaded.config,
            machine: &host.machine,
            profile: &host.request.profile,
            prover: choices.prover,
            suite: choices.suite,
            ghz: choices.ghz,
        };
        let failed = |no| ArtefactError::Simulation(one.name.clone(), no);
        let line = Line::of(&question).map_err(failed)?;
        let enough = SECTORS_MOST / (plan.capacity.sectors_per_hour_expected * 24.0);
        let days = enough.max(WAYS_LEAST * simulate::cycle_minutes(&line) / 1440.0).min(plan.days_per_month);
        let forecast = simulate::forecast(&question, days, SEED).map_err(failed)?;
        let month_ms = days * 86_400_000.0;
        let way_ms = forecast.minutes_per_sector.max(simulate::cycle_minutes(&line)) * 60_000.0;
        let shown_ms = (WAYS * way_ms).min(month_ms);
        let spans = simulate::trace(&line, shown_ms, SEED);
        Ok(Some(Self { config: loaded.config, forecast, line, spans, shown_ms }))
    }

    /// Sectors that a machine has done by the end of this day; beyond what was played at the rate that it came to.
    pub fn done_by(&self, day: f64) -> f64 {
        let whole = (day as usize).min(self.forecast.by_day.len());
        let done: u32 = self.forecast.by_day[..whole].iter().sum();
        let beyond = (day - self.forecast.days.min(day)).max(0.0);
        if beyond > 0.0 {
            return self.forecast.sectors_in_days as f64 + beyond * self.forecast.sectors_per_day.expected;
        }
        // The last day of a month need not be a whole one.
        let is_last = day >= self.forecast.days;
        if is_last { self.forecast.sectors_in_days as f64 } else { f64::from(done) }
    }
}
