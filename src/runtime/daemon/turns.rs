//! Whose turn it is to ask for a sector, among threads that have none and would ask the same.
//!
//! While a manager has nothing for them, one thread of each kind asks, at its own pace, and the others rest: a thousand idle
//! threads cost no more than one. Who is given a sector lets two more ask, so that work for a thousand is with a thousand
//! after ten answers; who is given none leaves the asking to another, if one asks.
//!
//! What always holds: of threads that want a sector and can ask, one does. One that has its turn and is not seen again,
//! because its disk hangs, loses it.

use crate::{runtime::control::Board, worker_config::Sealing};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A thread whose turn it is comes back sooner, however long its manager takes to answer.
const SEEN_WITHIN: Duration = Duration::from_secs(300);
/// So many may ask for each that was given a sector.
const MORE: usize = 2;

/// Every thread's turn. Pure: `now` is an argument, and whoever is to be woken is told.
#[derive(Default)]
struct Turns {
    kinds: Vec<Kind>,
}

/// Threads with the same settings ask the same, and as often.
struct Kind {
    sealing: Sealing,
    /// Whose turn it is, and when they were seen last.
    asking: BTreeMap<usize, Instant>,
    /// The one that has waited longest is first.
    waiting: VecDeque<usize>,
}

impl Kind {
    fn holds(&self, thread: usize) -> bool {
        self.asking.contains_key(&thread) || self.waiting.contains(&thread)
    }

    fn remove(&mut self, thread: usize) {
        self.asking.remove(&thread);
        self.waiting.retain(|waiting| *waiting != thread);
    }

    /// The turns of so many that wait begin.
    fn call(&mut self, most: usize, now: Instant) -> Vec<usize> {
        let called: Vec<_> = self.waiting.drain(..most.min(self.waiting.len())).collect();
        self.asking.extend(called.iter().map(|thread| (*thread, now)));
        called
    }
}

impl Turns {
    /// Whether `thread`, which has no sector and these settings, may ask; and whose turn it is because it has others now.
    fn may_ask(&mut self, thread: usize, sealing: &Sealing, now: Instant) -> (bool, Vec<usize>) {
        let moved = self.kinds.iter().any(|kind| kind.sealing != *sealing && kind.holds(thread));
        let called = if moved { self.leave(thread, now) } else { Vec::new() };
        let at = self.kinds.iter().position(|kind| kind.sealing == *sealing).unwrap_or_else(|| {
            self.kinds.push(Kind { sealing: sealing.clone(), asking: BTreeMap::new(), waiting: VecDeque::new() });
            self.kinds.len() - 1
        });
        let kind = &mut self.kinds[at];
        kind.asking.retain(|other, seen| *other == thread || now.saturating_duration_since(*seen) < SEEN_WITHIN);
        if kind.asking.contains_key(&thread) || kind.asking.is_empty() {
            kind.remove(thread);
            kind.asking.insert(thread, now);
            return (true, called);
        }
        if !kind.holds(thread) {
            kind.waiting.push_back(thread);
        }
        (false, called)
    }

    /// `thread` has asked and was given nothing.
    fn nothing(&mut self, thread: usize) {
        for kind in &mut self.kinds {
            if kind.asking.len() > 1 && kind.asking.remove(&thread).is_some() {
                kind.waiting.push_back(thread);
            }
        }
    }

    /// `thread` has asked and was given a sector: whose turn it is now.
    fn found(&mut self, thread: usize, now: Instant) -> Vec<usize> {
        let Some(kind) = self.kinds.iter_mut().find(|kind| kind.holds(thread)) else { return Vec::new() };
        kind.remove(thread);
        kind.call(MORE, now)
    }

    /// `thread` does not ask any more, for a reason of its own: whose turn it is now.
    fn leave(&mut self, thread: usize, now: Instant) -> Vec<usize> {
        let Some(at) = self.kinds.iter().position(|kind| kind.holds(thread)) else { return Vec::new() };
        let kind = &mut self.kinds[at];
        kind.remove(thread);
        let called = if kind.asking.is_empty() { kind.call(1, now) } else { Vec::new() };
        if kind.asking.is_empty() {
            self.kinds.swap_remove(at);
        }
        called
    }
}

/// The turns of a daemon's threads, and the board on which those are woken whose turn it is.
pub(super) struct Desk {
    turns: Mutex<Turns>,
    board: Board,
}

impl Desk {
    pub(super) fn new(board: Board) -> Self {
        Self { turns: Mutex::default(), board }
    }

    /// Whether `thread`, which has no sector and these settings, may ask for one. If not, it is woken when it may.
    pub(super) fn may_ask(&self, thread: usize, sealing: &Sealing) -> bool {
        let (may, called) = self.with(|turns| turns.may_ask(thread, sealing, Instant::now()));
        self.wake(&called);
        may
    }

    /// `thread` has asked, and was given a sector or not.
    pub(super) fn asked(&self, thread: usize, found: bool) {
        if found {
            let called = self.with(|turns| turns.found(thread, Instant::now()));
            self.wake(&called);
        } else {
            self.with(|turns| turns.nothing(thread));
        }
    }

    /// `thread` does not ask any more.
    pub(super) fn leave(&self, thread: usize) {
        let called = self.with(|turns| turns.leave(thread, Instant::now()));
        self.wake(&called);
    }

    fn with<T>(&self, change: impl FnOnce(&mut Turns) -> T) -> T {
        change(&mut self.turns.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn wake(&self, called: &[usize]) {
        called.iter().for_each(|thread| self.board.ring(*thread));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::store::tests::sealing;

    /// Threads that come to the desk until all of them rest; a manager that has so many sectors.
    struct Play {
        turns: Turns,
        now: Instant,
        settings: Vec<Sealing>,
        sectors: usize,
        asks: usize,
        has_one: Vec<bool>,
    }

    impl Play {
        fn new(threads: usize) -> Self {
            let settings = vec![sealing(); threads];
            let has_one = vec![false; threads];
            Self { turns: Turns::default(), now: Instant::now(), settings, sectors: 0, asks: 0, has_one }
        }

        /// These threads wake up, and whoever they wake; the rounds of questions until all rest.
        fn wake(&mut self, threads: impl IntoIterator<Item = usize>) -> usize {
            let (mut awake, mut rounds): (Vec<_>, usize) = (threads.into_iter().collect(), 0);
            while !awake.is_empty() {
                let mut asking = Vec::new();
                for thread in std::mem::take(&mut awake) {
                    let (may, called) = self.turns.may_ask(thread, &self.settings[thread], self.now);
                    asking.extend(may.then_some(thread));
                    awake.extend(called);
                }
                rounds += usize::from(!asking.is_empty());
                for thread in asking {
                    self.asks += 1;
                    if self.sectors > 0 {
                        (self.sectors, self.has_one[thread]) = (self.sectors - 1, true);
                        awake.extend(self.turns.found(thread, self.now));
                    } else {
                        self.turns.nothing(thread);
                    }
                }
            }
            rounds
        }

        fn idle(&self) -> Vec<usize> {
            (0..self.has_one.len()).filter(|thread| !self.has_one[*thread]).collect()
        }
    }

    #[test]
    fn a_thousand_threads_without_work_ask_as_often_as_one() {
        let mut play = Play::new(1000);
        for _ in 0..10 {
            play.wake(0..1000);
            play.now += Duration::from_secs(60);
        }
        assert_eq!(play.asks, 10);
    }

    #[test]
    fn work_for_all_is_with_all_after_a_few_answers() {
        let mut play = Play::new(1000);
        play.wake(0..1000);
        play.sectors = 1000;
        let rounds = play.wake(0..1000);
        assert_eq!(play.idle(), [0; 0]);
        assert!(rounds <= 10, "{rounds}");
        assert_eq!(play.asks, 1001);
    }

    #[test]
    fn a_little_work_wakes_a_few_and_one_goes_on_asking() {
        let mut play = Play::new(1000);
        play.wake(0..1000);
        play.sectors = 3;
        play.wake(0..1000);
        assert_eq!((play.idle().len(), play.sectors), (997, 0));
        assert!(play.asks <= 1 + 3 + 2 * 3, "{}", play.asks);
        let before = play.asks;
        let idle = play.idle();
        play.wake(idle);
        assert_eq!(play.asks, before + 1);
    }

    #[test]
    fn threads_that_would_ask_something_else_ask_for_themselves() {
        let mut play = Play::new(6);
        play.settings[4].allowed_miners = vec![7];
        play.settings[5].seal_interval.0 += Duration::from_secs(1);
        play.wake(0..6);
        assert_eq!(play.asks, 3);
        // Other settings than it had: it asks with those now, and another asks what it asked.
        play.settings[0].allowed_miners = vec![8];
        play.wake([0]);
        assert_eq!(play.asks, 5);
        assert_eq!(play.turns.kinds.len(), 4);
        play.settings[5] = sealing();
        play.wake([5]);
        assert_eq!((play.asks, play.turns.kinds.len()), (5, 3), "nobody has its old settings any more");
    }

    #[test]
    fn who_leaves_or_is_not_seen_again_keeps_nobody_from_asking() {
        let mut play = Play::new(3);
        play.wake(0..3);
        assert_eq!(play.turns.leave(0, play.now), [1]);
        assert_eq!(play.turns.leave(2, play.now), [0; 0], "it only waited");
        play.wake([2]);
        assert_eq!(play.asks, 1, "it is the turn of 1, which hangs");
        play.now += SEEN_WITHIN;
        play.wake([2]);
        assert_eq!(play.asks, 2);
        play.wake([1]);
        assert_eq!(play.asks, 2, "it is back, and waits");
        assert_eq!(play.turns.leave(1, play.now), [0; 0]);
        assert_eq!(play.turns.leave(2, play.now), [0; 0]);
        assert!(play.turns.kinds.is_empty());
    }
}
