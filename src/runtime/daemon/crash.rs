//! A crash on purpose: this process kills itself with SIGKILL at a named place of the journal.
//!
//! For tests and for operators who want to see that nothing is lost; refused with a real manager.

use crate::runtime::{
    sector::{Event, State},
    stage::Stage,
    worker::Hooks,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::str::FromStr;

/// `before:STATE`, `after:STATE` (the event that leads there is not yet, or is, in the journal), or
/// `started:STAGE` (its intent is in the journal).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CrashPoint {
    Before(State),
    After(State),
    Started(Stage),
}

impl FromStr for CrashPoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (place, name) = text.split_once(':').unwrap_or((text, ""));
        match place {
            "before" => name.parse().map(Self::Before),
            "after" => name.parse().map(Self::After),
            "started" => name.parse().map(Self::Started),
            _ => Err(format!("{text:?} is not a crash point: before:STATE, after:STATE or started:STAGE")),
        }
    }
}

impl Hooks for CrashPoint {
    fn before_journal(&self, event: &Event, state: State) {
        if leads_anywhere(event) && *self == Self::Before(state) {
            die();
        }
    }

    fn after_journal(&self, event: &Event, state: State) {
        let here = match event {
            Event::StageStarted { stage } => matches!(self, Self::Started(named) if named == stage),
            event => leads_anywhere(event) && *self == Self::After(state),
        };
        if here {
            die();
        }
    }
}

/// Whether an event changes the state.
fn leads_anywhere(event: &Event) -> bool {
    use Event::*;
    !matches!(event, StageStarted { .. } | ReplicaRestored | Submitting | UndoneRemoved)
}

fn die() {
    // No destructor, no flush: as hard as an operator's `kill -9`.
    let _ = kill(Pid::this(), Signal::SIGKILL);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crash_points_parse_and_others_are_refused() {
        assert_eq!("after:PC1Done".parse(), Ok(CrashPoint::After(State::PC1Done)));
        assert_eq!("started:pc2".parse(), Ok(CrashPoint::Started(Stage::Pc2)));
        assert!("after:PC9Done".parse::<CrashPoint>().unwrap_err().contains("PC1Done"));
        assert!("started:pc9".parse::<CrashPoint>().is_err());
        assert!("now".parse::<CrashPoint>().unwrap_err().contains("started:STAGE"));
    }
}
