//! What others may see of a worker and tell it, between two steps.

use super::{Pending, Step, Worker};
use crate::{
    runtime::{
        sector::{Event, State, legal},
        stage::Stage,
    },
    worker_config::Sealing,
};
use tracing::{info, warn};

impl Worker {
    /// The sector's name; none without a sector.
    pub fn sector(&self) -> Option<String> {
        self.store.paths().map(|paths| paths.name().to_owned())
    }

    /// What is being waited for: a stage that runs, a call to the manager.
    pub fn busy_with(&self) -> Option<&'static str> {
        match &self.pending {
            Some(Pending::Stage(_, stage, _)) => Some(stage.name()),
            Some(Pending::Call(_, call)) => Some(call.method()),
            None => self.report.map(|_| "Venus.ReportState"),
        }
    }

    /// The stage that runs or is queued for.
    pub fn stage(&self) -> Option<&'static str> {
        self.stage_in_flight().or_else(|| self.slot.map(|(_, stage)| stage.name()))
    }

    /// The last failure since the sector's last progress.
    pub fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// Whether the next step would ask for a new sector: the moment at which settings may change.
    pub fn between_sectors(&self) -> bool {
        self.record().state == State::Empty && self.nothing_begun()
    }

    fn nothing_begun(&self) -> bool {
        self.pending.is_none() && self.report.is_none() && self.held_result().is_none()
    }

    /// The work whose result is in this process's memory only, and would have to be done again.
    pub fn held_result(&self) -> Option<&'static str> {
        let unjournaled = self.unjournaled.as_ref().map(|(event, _)| event.name());
        unjournaled.or_else(|| self.unchecked.is_some().then_some(Stage::Pc2.name()))
    }

    /// Tries at once to journal what could not be journaled, though its next try is later: this process ends.
    pub fn hurry(&mut self) -> Option<Step> {
        let (_, until) = self.unjournaled.as_mut()?;
        *until = self.parts.clock.now();
        Some(self.step())
    }

    /// The settings that hold.
    pub fn sealing(&self) -> &Sealing {
        &self.sealing
    }

    /// Other settings, from the next sector on.
    ///
    /// # Panics
    /// In the middle of a sector.
    pub fn set_sealing(&mut self, sealing: Sealing) {
        assert!(self.between_sectors(), "settings do not change in the middle of a sector");
        self.sealing = sealing;
    }

    /// A step that ends what was begun and begins nothing; `None` when nothing is left. A place in a queue is given up: a
    /// thread that is paused must hold up nobody. The check of what pc2 made belongs to what was begun.
    pub fn settle(&mut self) -> Option<Step> {
        if self.unchecked.is_none() {
            self.give_up_slot();
        }
        if self.nothing_begun() { None } else { Some(self.step()) }
    }

    /// Lets a paused sector go on, from `to` if it is given.
    ///
    /// # Errors
    /// Why not, with what is possible instead. Nothing has changed then.
    pub fn resume(&mut self, to: Option<State>) -> Result<(), String> {
        let now = self.record().state;
        if let Some(to) = to {
            self.judge(now, to)?;
            if to == State::Aborted && now != State::Aborted {
                let reason = "given up by an operator".to_owned();
                let sector = self.sector();
                self.obey(Event::Aborted { reason })?;
                warn!(sector, from = %now, "given up by an operator");
            } else if to != now {
                self.obey(Event::SetBack { to })?;
                info!(sector = self.sector(), from = %now, %to, "sent back by an operator");
            }
        }
        self.last_error = None;
        self.happen(Event::Resumed).map(|_| ()).map_err(|error| error.to_string())
    }

    /// An order is obeyed now or not at all: one that was refused for a full disk must not happen later.
    fn obey(&mut self, event: Event) -> Result<(), String> {
        let (prev, name) = (self.record().state, event.name());
        self.happen(event).map_err(|error| error.to_string())?;
        self.submit_report(prev, name, None);
        Ok(())
    }

    fn judge(&self, now: State, to: State) -> Result<(), String> {
        if let Some(stage) = self.stage_in_flight() {
            return Err(format!("{stage} is still being worked on; a state can be given when it has ended"));
        }
        if self.unjournaled.is_some() {
            return Err("a result is not journaled yet; resume without a state, so that it is not lost".into());
        }
        if let Some(call) = self.busy_with() {
            return Err(format!("{call} has not been answered yet; try again in a moment"));
        }
        let legal = legal(self.record());
        if legal.contains(&to) {
            return Ok(());
        }
        if legal.is_empty() {
            return Err("there is no sector: resume without a state".into());
        }
        let legal: Vec<_> = legal.iter().map(ToString::to_string).collect();
        Err(format!("a sector in state {now} cannot go on from {to}; possible: {}", legal.join(", ")))
    }
}
