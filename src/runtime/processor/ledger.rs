//! Slots from queue to end, as the pool counts them: who waits, who works where, what came of it. Pure.
//!
//! ```text
//! queue ─► (limits) ─► granted ─ start ─► working ─ ended ─► over ─ poll ─► gone
//!   └────────────┴─ give_up ─► gone            └ refused: its place is there no more
//! ```
//!
//! `pool` adds threads, children and the clock; `tests/sim` runs thousands of daemons over this very value on a time of
//! its own. What always holds: a started task is told its end exactly once, and its seat is free from that moment on.

use super::{End, Output, Slot, StageError};
use crate::runtime::{
    limit::{Health, Limits, Place, Rules, Ticket},
    stage::Stage,
};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// The queues, the seats, and the tasks in them.
#[derive(Debug, Default)]
pub struct Ledger {
    limits: Limits,
    tasks: HashMap<Slot, Progress>,
}

#[derive(Debug)]
enum Progress {
    Since(Instant),
    Over(End),
}

/// Where a task that is to start goes, and how long its slot was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// `None`: nowhere; the task has ended already, as failed for now.
    pub site: Option<Site>,
    pub waited: Duration,
}

/// Who carries out a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// A thread of the daemon.
    Daemon,
    /// The child of this number.
    Child(usize),
}

impl Ledger {
    /// Nobody waits, and every child is still down.
    pub fn new(rules: Rules) -> Self {
        Self { limits: Limits::new(rules), tasks: HashMap::new() }
    }

    /// Queues for a slot of `stage`.
    pub fn queue(&mut self, stage: Stage, now: Instant) -> Slot {
        Slot(self.limits.queue(stage, now).0)
    }

    /// Whether the slot has been granted.
    pub fn granted(&mut self, slot: Slot, now: Instant) -> bool {
        self.limits.granted(Ticket(slot.0), now).is_some()
    }

    /// A task begins in a slot that was granted.
    pub fn start(&mut self, slot: Slot, stage: Stage, now: Instant) -> Start {
        let waited = self.limits.granted(Ticket(slot.0), now).map(|(_, waited)| waited).unwrap_or_default();
        self.tasks.insert(slot, Progress::Since(now));
        // Granted when it was asked for, unless the processor has gone down since: then the task falls with it.
        let refusal = match self.limits.begin(Ticket(slot.0), now) {
            Some(Place::Daemon) => return Start { site: Some(Site::Daemon), waited },
            Some(Place::Processor(index)) => return Start { site: Some(Site::Child(index)), waited },
            Some(Place::Nowhere) => "all its processors have ended, and none has auto_restart: restart the daemon",
            None => "its processor ended before the task could begin",
        };
        self.ended(slot, Err(StageError { stage, reason: refusal.into(), permanent: false }), now);
        Start { site: None, waited }
    }

    /// A task came to its end: its seat is free, and whoever started it may ask.
    pub fn ended(&mut self, slot: Slot, result: Result<Output, StageError>, now: Instant) {
        self.limits.leave(Ticket(slot.0));
        if let Some(task) = self.tasks.get_mut(&slot)
            && let Progress::Since(since) = task
        {
            *task = Progress::Over((result, now.saturating_duration_since(*since)));
        }
    }

    /// The end of a started task, once. Another slot than a started one is a bug and panics.
    pub fn poll(&mut self, slot: Slot) -> Option<End> {
        match self.tasks.remove(&slot).expect("a slot is polled from its start until its end, and only then") {
            Progress::Over(end) => Some(end),
            since => {
                self.tasks.insert(slot, since);
                None
            }
        }
    }

    /// Leaves the queue, or gives a seat back. What runs goes on; only its end frees the seat.
    pub fn give_up(&mut self, slot: Slot) {
        if !self.tasks.contains_key(&slot) {
            self.limits.leave(Ticket(slot.0));
        }
    }

    /// A child changed.
    pub fn set_health(&mut self, stage: Stage, child: usize, health: Health) {
        self.limits.set_health(stage, child, health);
    }

    /// How many wait for `stage`, and how many have a seat.
    pub fn load(&self, stage: Stage) -> (usize, u32) {
        self.limits.load(stage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::limit::Room;
    use std::collections::BTreeMap;

    const STAGE: Stage = Stage::Pc2;

    fn one_child() -> (Ledger, Instant) {
        let rules = Rules { processors: BTreeMap::from([(STAGE, vec![Room::default()])]), ..Rules::default() };
        let mut ledger = Ledger::new(rules);
        ledger.set_health(STAGE, 0, Health::Up);
        (ledger, Instant::now())
    }

    fn reason(end: Option<End>) -> String {
        end.expect("it has ended").0.unwrap_err().reason
    }

    #[test]
    fn a_task_goes_to_its_child_and_its_end_is_told_once_with_its_length() {
        let (mut ledger, now) = one_child();
        let slot = ledger.queue(STAGE, now);
        assert!(ledger.granted(slot, now + Duration::from_secs(2)));
        let start = ledger.start(slot, STAGE, now + Duration::from_secs(5));
        assert_eq!(start, Start { site: Some(Site::Child(0)), waited: Duration::from_secs(2) });
        assert_eq!(ledger.poll(slot), None);
        ledger.give_up(slot);
        assert_eq!(ledger.load(STAGE), (0, 1), "what runs is not given up");
        ledger.ended(slot, Ok(Output::TreeD), now + Duration::from_secs(9));
        assert_eq!(ledger.load(STAGE), (0, 0));
        assert_eq!(ledger.poll(slot), Some((Ok(Output::TreeD), Duration::from_secs(4))));
        ledger.ended(slot, Ok(Output::TreeD), now);
    }

    #[test]
    fn a_task_whose_child_fell_before_it_began_has_failed_for_now() {
        let (mut ledger, now) = one_child();
        let slot = ledger.queue(STAGE, now);
        assert!(ledger.granted(slot, now));
        ledger.set_health(STAGE, 0, Health::Down);
        assert_eq!(ledger.start(slot, STAGE, now).site, None);
        assert_eq!(reason(ledger.poll(slot)), "its processor ended before the task could begin");
        ledger.set_health(STAGE, 0, Health::Gone);
        let slot = ledger.queue(STAGE, now);
        assert!(ledger.granted(slot, now), "waiting for nobody would be for ever");
        assert_eq!(ledger.start(slot, STAGE, now).site, None);
        assert!(reason(ledger.poll(slot)).contains("none has auto_restart"));
    }
}
