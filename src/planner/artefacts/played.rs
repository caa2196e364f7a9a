//! A type's configuration played through once: the forecast, and the first hours of it thread by thread.

use super::{ArtefactError, MachineType};
use crate::{
    planner::{
        self,
        simulate::{self, Forecast, Line, Span},
    },
    worker_config::{self, WorkerConfig},
};

/// So many ways of a sector are shown from the beginning.
const WAYS: f64 = 2.2;

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
    /// The forecast that `plan` tells of a machine of this type; none where no daemon runs.
    pub fn of(one: &MachineType) -> Result<Option<Self>, ArtefactError> {
        let Some(host) = &one.host else { return Ok(None) };
        let Some(plan) = &host.plan else { return Ok(None) };
        let config =
            worker_config::parse(&plan.worker_toml).map_err(|no| ArtefactError::Config(one.name.clone(), no))?.config;
        let forecast = planner::foresee(&host.machine, &host.request, plan)?;
        let line = Line::of(&planner::asked::question(&config, &host.machine, &host.request))
            .map_err(|no| ArtefactError::Simulation(one.name.clone(), no))?;
        let way_ms = forecast.minutes_per_sector.max(simulate::cycle_minutes(&line)) * 60_000.0;
        let shown_ms = (WAYS * way_ms).min(forecast.days * 86_400_000.0);
        let spans = simulate::trace(&line, shown_ms, planner::FORECAST_SEED);
        Ok(Some(Self { config, forecast, line, spans, shown_ms }))
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
