//! Who may start what, where, and when: limits of stages, rooms of processors, named locks, fair turns. Pure.
//!
//! A worker queues for a stage and later holds a *seat*: in the daemon, or at one of the stage's processors.
//!
//! ```text
//! queue ─► waiting ──────────────► granted ─ begin ─► begun ─ end ─► free
//!             ▲   a turn, and all:    │  └ leave ─► free
//!             │   a slot of the stage │
//!             │   the start gap       │ the processor went down before the task began
//!             │   room at a processor │
//!             │   every lock of it    │
//!             └───────────────────────┘
//! ```
//!
//! What always holds:
//!
//! - **No deadlock, whatever the configuration says.** All locks of a seat are taken at once or none: nobody holds one
//!   lock and waits for another, so the order in which they are listed does not matter.
//! - **No starvation.** Within a stage it is first come, first served. Between stages it is whose last turn is longest
//!   ago. A stage whose turn it is and that lacks a lock has the free locks of one processor *promised* to it: those
//!   whose turn comes later do not get them. So a stage waits at most for what is running and one turn of each other.
//! - **Start gaps lie between tasks, not between seats.** A seat may be kept for a while before its task begins (a ticket
//!   is asked for), so a stage with a gap has one seat at a time in which nothing has begun, and the gap counts from the
//!   beginning of the last task.
//!
//! `now` is an argument; a pass over the queues happens only when something has changed or a start gap has ended, so
//! that a thousand waiting threads may ask as often as they like.

use super::stage::Stage;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    time::{Duration, Instant},
};

/// What the configuration says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// At most so many tasks of a stage at once.
    pub concurrent: BTreeMap<Stage, u32>,
    /// At least so long between two starts of a stage.
    pub staggered: BTreeMap<Stage, Duration>,
    /// Named locks and how many may hold each.
    pub locks: BTreeMap<String, u32>,
    /// The processors of a stage; a stage without any is done in the daemon.
    pub processors: BTreeMap<Stage, Vec<Room>>,
}

/// What one processor takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// At most so many tasks at once.
    pub concurrent: Option<u32>,
    /// Held while it works on a task. A name that `Rules::locks` lacks limits nothing.
    pub locks: BTreeSet<String>,
}

/// Where a task is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    Daemon,
    /// The processor of this number, counted from 0 in the order of the configuration.
    Processor(usize),
    /// Every processor of the stage has ended for good.
    Nowhere,
}

/// How a processor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Not yet, or not at the moment.
    Down,
    Up,
    /// It will not come back.
    Gone,
}

/// A place in a queue, later a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// The rules and everything that waits and runs under them.
#[derive(Debug, Default)]
pub struct Limits {
    locks: BTreeMap<String, Lock>,
    lines: BTreeMap<Stage, Line>,
    seats: HashMap<Ticket, Seat>,
    tickets: u64,
    turns: u64,
    /// Something changed since the last pass.
    changed: bool,
    /// A start gap ends here.
    wake: Option<Instant>,
}

#[derive(Debug)]
struct Lock {
    most: u32,
    held: u32,
}

/// One stage.
#[derive(Debug, Default)]
struct Line {
    most: Option<u32>,
    gap: Duration,
    processors: Vec<Desk>,
    waiting: VecDeque<Ticket>,
    running: u32,
    /// Of those, seats in which no task has begun.
    idle: u32,
    last_start: Option<Instant>,
    last_turn: u64,
    /// The processor whose free locks are kept for the first in the line.
    promised: Option<usize>,
}

#[derive(Debug)]
struct Desk {
    room: Room,
    health: Health,
    running: u32,
}

#[derive(Clone, Copy, Debug)]
struct Seat {
    stage: Stage,
    queued: Instant,
    state: SeatState,
}

#[derive(Clone, Copy, Debug)]
enum SeatState {
    Waiting,
    Granted { place: Place, waited: Duration, begun: bool },
}

/// What a stage may have in this pass.
enum Verdict {
    Grant(Place),
    /// Its turn, but locks of this processor are held.
    Promise(usize),
    Nothing,
}

impl Limits {
    /// Nobody waits, and every processor is still down.
    pub fn new(rules: Rules) -> Self {
        let locks = rules.locks.into_iter().map(|(name, most)| (name, Lock { most, held: 0 })).collect();
        let mut lines: BTreeMap<Stage, Line> = BTreeMap::new();
        for (stage, most) in rules.concurrent {
            lines.entry(stage).or_default().most = Some(most);
        }
        for (stage, gap) in rules.staggered {
            lines.entry(stage).or_default().gap = gap;
        }
        for (stage, rooms) in rules.processors {
            let desks = rooms.into_iter().map(|room| Desk { room, health: Health::Down, running: 0 });
            lines.entry(stage).or_default().processors = desks.collect();
        }
        Self { locks, lines, ..Self::default() }
    }

    /// Queues for a seat of `stage`.
    pub fn queue(&mut self, stage: Stage, now: Instant) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.seats.insert(ticket, Seat { stage, queued: now, state: SeatState::Waiting });
        self.lines.entry(stage).or_default().waiting.push_back(ticket);
        self.changed = true;
        ticket
    }

    /// The seat, once it is granted, and how long it was waited for.
    pub fn granted(&mut self, ticket: Ticket, now: Instant) -> Option<(Place, Duration)> {
        self.pass(now);
        match self.seats.get(&ticket)?.state {
            SeatState::Granted { place, waited, .. } => Some((place, waited)),
            SeatState::Waiting => None,
        }
    }

    /// The task begins in its seat at `now`; nothing is said where the seat is not granted (any more).
    pub fn begin(&mut self, ticket: Ticket, now: Instant) -> Option<Place> {
        let seat = self.seats.get_mut(&ticket)?;
        let SeatState::Granted { place, begun, .. } = &mut seat.state else { return None };
        let line = self.lines.get_mut(&seat.stage).expect("a seat is in its stage's line");
        if !std::mem::replace(begun, true) {
            line.idle -= 1;
            line.last_start = Some(now);
            // Who waits for the gap waits from now on.
            self.changed = true;
        }
        Some(*place)
    }

    /// Gives a seat back, or leaves the queue.
    pub fn leave(&mut self, ticket: Ticket) {
        let Some(seat) = self.seats.remove(&ticket) else { return };
        self.changed = true;
        match seat.state {
            SeatState::Granted { place, begun, .. } => self.free(seat.stage, place, begun),
            SeatState::Waiting => {
                let line = self.lines.get_mut(&seat.stage).expect("a ticket is in its stage's line");
                if line.waiting.front() == Some(&ticket) {
                    line.promised = None;
                }
                line.waiting.retain(|waiting| *waiting != ticket);
            }
        }
    }

    /// A processor changed. Who had a seat at it and had not begun is first in the line again.
    pub fn set_health(&mut self, stage: Stage, processor: usize, health: Health) {
        let line = self.lines.entry(stage).or_default();
        let Some(desk) = line.processors.get_mut(processor) else { return };
        desk.health = health;
        self.changed = true;
        if health == Health::Up {
            return;
        }
        if line.promised == Some(processor) {
            line.promised = None;
        }
        for ticket in self.not_begun_at(stage, processor) {
            self.free(stage, Place::Processor(processor), false);
            self.seats.get_mut(&ticket).expect("just found").state = SeatState::Waiting;
            self.lines.entry(stage).or_default().waiting.push_front(ticket);
        }
    }

    /// How many wait for `stage`, and how many have a seat.
    pub fn load(&self, stage: Stage) -> (usize, u32) {
        self.lines.get(&stage).map_or((0, 0), |line| (line.waiting.len(), line.running))
    }

    /// Youngest first: put back at the front one after the other, they stand in their old order.
    fn not_begun_at(&self, stage: Stage, processor: usize) -> Vec<Ticket> {
        let here = |seat: &Seat| {
            seat.stage == stage
                && matches!(seat.state, SeatState::Granted { place: Place::Processor(at), begun: false, .. } if at == processor)
        };
        let mut tickets: Vec<_> = self.seats.iter().filter(|(_, seat)| here(seat)).map(|(ticket, _)| *ticket).collect();
        tickets.sort_by_key(|ticket| std::cmp::Reverse(*ticket));
        tickets
    }

    fn free(&mut self, stage: Stage, place: Place, begun: bool) {
        let line = self.lines.get_mut(&stage).expect("a seat is in its stage's line");
        line.running -= 1;
        line.idle -= u32::from(!begun);
        if let Place::Processor(index) = place {
            let desk = &mut line.processors[index];
            desk.running -= 1;
            for name in &desk.room.locks {
                if let Some(lock) = self.locks.get_mut(name) {
                    lock.held -= 1;
                }
            }
        }
    }

    fn pass(&mut self, now: Instant) {
        if !self.changed && self.wake.is_none_or(|wake| now < wake) {
            return;
        }
        (self.changed, self.wake) = (false, None);
        while let Some((stage, place)) = self.next_grant(now) {
            self.grant(stage, place, now);
        }
    }

    /// Whose turn it is, and where. Turns go round: whose last one is longest ago comes first.
    fn next_grant(&mut self, now: Instant) -> Option<(Stage, Place)> {
        let waiting = self.lines.iter().filter(|(_, line)| !line.waiting.is_empty());
        let mut turns: Vec<_> = waiting.map(|(stage, line)| (line.last_turn, line.waiting[0], *stage)).collect();
        turns.sort();
        let mut promised: BTreeMap<String, u32> = BTreeMap::new();
        for (.., stage) in turns {
            match self.judge(stage, now, &promised) {
                Verdict::Grant(place) => return Some((stage, place)),
                Verdict::Promise(index) => {
                    let line = self.lines.get_mut(&stage).expect("it has a line");
                    line.promised = Some(index);
                    for name in &line.processors[index].room.locks {
                        *promised.entry(name.clone()).or_default() += 1;
                    }
                }
                Verdict::Nothing => {}
            }
        }
        None
    }

    fn judge(&mut self, stage: Stage, now: Instant, promised: &BTreeMap<String, u32>) -> Verdict {
        let line = &self.lines[&stage];
        let lost = !line.processors.is_empty() && line.processors.iter().all(|desk| desk.health == Health::Gone);
        if lost {
            return Verdict::Grant(Place::Nowhere);
        }
        if line.most.is_some_and(|most| line.running >= most) {
            return Verdict::Nothing;
        }
        if !line.gap.is_zero() && line.idle > 0 {
            return Verdict::Nothing;
        }
        if let Some(until) = line.last_start.map(|last| last + line.gap).filter(|until| now < *until) {
            self.wake = Some(self.wake.map_or(until, |wake| wake.min(until)));
            return Verdict::Nothing;
        }
        if line.processors.is_empty() {
            return Verdict::Grant(Place::Daemon);
        }
        self.at_a_processor(line, promised)
    }

    /// The least loaded processor that has room and all its locks; else the one to wait for.
    fn at_a_processor(&self, line: &Line, promised: &BTreeMap<String, u32>) -> Verdict {
        let with_room = line.processors.iter().enumerate().filter(|(_, desk)| desk.has_room());
        let lacking = |desk: &Desk| desk.room.locks.iter().filter(|name| !self.is_free(name, promised)).count();
        let mut candidates: Vec<_> = with_room.map(|(index, desk)| (lacking(desk), desk.running, index)).collect();
        candidates.sort_unstable();
        match candidates.first() {
            None => Verdict::Nothing,
            Some((0, _, index)) => Verdict::Grant(Place::Processor(*index)),
            // A promise is kept: one that moved about could be passed by for ever.
            Some((.., best)) => {
                let kept = line.promised.filter(|kept| candidates.iter().any(|(.., index)| index == kept));
                Verdict::Promise(kept.unwrap_or(*best))
            }
        }
    }

    fn is_free(&self, name: &str, promised: &BTreeMap<String, u32>) -> bool {
        let Some(lock) = self.locks.get(name) else { return true };
        lock.held + promised.get(name).copied().unwrap_or(0) < lock.most
    }

    fn grant(&mut self, stage: Stage, place: Place, now: Instant) {
        self.turns += 1;
        let line = self.lines.get_mut(&stage).expect("it has a line");
        let ticket = line.waiting.pop_front().expect("it has somebody waiting");
        line.running += 1;
        line.idle += 1;
        line.last_turn = self.turns;
        line.promised = None;
        if let Place::Processor(index) = place {
            line.processors[index].running += 1;
            for name in &line.processors[index].room.locks {
                if let Some(lock) = self.locks.get_mut(name) {
                    lock.held += 1;
                }
            }
        }
        let seat = self.seats.get_mut(&ticket).expect("who waits has a ticket");
        let waited = now.saturating_duration_since(seat.queued);
        seat.state = SeatState::Granted { place, waited, begun: false };
    }
}

impl Desk {
    fn has_room(&self) -> bool {
        self.health == Health::Up && self.room.concurrent.is_none_or(|most| self.running < most)
    }
}

#[cfg(test)]
mod tests;
