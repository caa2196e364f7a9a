//! Between sealing threads and those who watch and steer them: what each thread does, and what it is told to do.
//!
//! ```text
//! sealing thread ── show ──► seat ◄── list, summary ── worker RPC, heartbeat, metrics, systemd
//!                ◄─ next, rest ─┘ ◄── order ────────── worker RPC
//! ```
//!
//! A thread alone knows its sector, so it judges each order itself, between two steps, and answers it. Nobody waits for a
//! thread with a lock held. `now` is an argument.

mod seat;

use super::manager::wire::WorkerInfoSummary;
use seat::Seat;
pub use seat::{Answer, Doing, Order, View, Wish};
use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// Every sealing thread of a daemon, by index in the order of the configuration.
#[derive(Clone, Debug)]
pub struct Board(Arc<Vec<Seat>>);

/// One thread as it is told to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub index: usize,
    pub location: PathBuf,
    pub plan: String,
    pub view: View,
    /// How long the thread has been doing what it does.
    pub elapsed: Duration,
}

impl Board {
    /// Threads with these stores and plans, all idle.
    pub fn new(threads: impl IntoIterator<Item = (PathBuf, String)>, now: Instant) -> Self {
        Self(Arc::new(threads.into_iter().map(|(location, plan)| Seat::new(location, plan, now)).collect()))
    }

    /// A thread tells what it does.
    pub fn show(&self, thread: usize, view: View, now: Instant) {
        self.0[thread].show(view, now);
    }

    /// A thread has ended, by a fault of ours perhaps: its orders are answered by nobody.
    pub fn close(&self, thread: usize, fault: Option<&str>, now: Instant) {
        self.0[thread].close(fault, now);
    }

    /// A thread takes the oldest order that it has not seen.
    pub fn next(&self, thread: usize) -> Option<Order> {
        self.0[thread].next()
    }

    /// A thread rests so long, or until it is told something.
    pub fn rest(&self, thread: usize, most: Duration) {
        self.0[thread].rest(most);
    }

    /// Ends the rest of one thread.
    pub fn ring(&self, thread: usize) {
        self.0[thread].wake();
    }

    /// Ends the rest of every thread.
    pub fn wake(&self) {
        self.0.iter().for_each(Seat::wake);
    }

    /// Tells a thread something. `None`: there is no such thread. The receiver hears nothing when the thread has ended.
    pub fn order(&self, thread: usize, wish: Wish) -> Option<oneshot::Receiver<Answer>> {
        Some(self.0.get(thread)?.order(wish))
    }

    /// How many threads there are.
    pub fn threads(&self) -> usize {
        self.0.len()
    }

    /// Every thread.
    pub fn list(&self, now: Instant) -> Vec<Told> {
        let told = |(index, seat): (usize, &Seat)| seat.told(index, now);
        self.0.iter().enumerate().map(told).collect()
    }

    /// Counted for the manager, as the field's workers count: a thread without a sector is empty, whatever else it is.
    pub fn summary(&self) -> WorkerInfoSummary {
        let mut sum =
            WorkerInfoSummary { threads: self.0.len(), empty: 0, paused: 0, running: 0, waiting: 0, errors: 0 };
        for seat in self.0.iter() {
            seat.with(|view| {
                sum.empty += usize::from(view.sector.is_none());
                sum.errors += usize::from(view.last_error.is_some());
                match view.doing {
                    Doing::Idle => {}
                    Doing::Paused => sum.paused += 1,
                    Doing::Running(_) => sum.running += 1,
                    Doing::Waiting => sum.waiting += 1,
                }
            });
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::sector::State;
    use std::thread;

    fn board() -> (Board, Instant) {
        let now = Instant::now();
        (Board::new([("/a".into(), "sealer".into()), ("/b".into(), "sealer".into())], now), now)
    }

    fn view(doing: Doing, sector: Option<&str>) -> View {
        View { doing, sector: sector.map(str::to_owned), state: State::Empty, stage: None, last_error: None }
    }

    #[test]
    fn elapsed_counts_from_the_last_change_of_what_is_done() {
        let (board, t0) = board();
        let second = Duration::from_secs(1);
        board.show(0, view(Doing::Running("pc1"), Some("s-t01-1")), t0 + second);
        board.show(0, view(Doing::Running("pc1"), Some("s-t01-1")), t0 + 5 * second);
        let told = &board.list(t0 + 8 * second)[0];
        assert_eq!((told.elapsed, &told.view.doing), (7 * second, &Doing::Running("pc1")));
        board.show(0, view(Doing::Running("pc2"), Some("s-t01-1")), t0 + 9 * second);
        assert_eq!(board.list(t0 + 9 * second)[0].elapsed, Duration::ZERO, "another stage, another count");
    }

    #[test]
    fn the_summary_counts_as_the_fields_workers_do() {
        let (board, now) = board();
        board.show(0, view(Doing::Waiting, None), now);
        board.show(1, View { last_error: Some("x".into()), ..view(Doing::Paused, Some("s-t01-1")) }, now);
        let sum = board.summary();
        assert_eq!((sum.threads, sum.empty, sum.paused, sum.running, sum.waiting, sum.errors), (2, 1, 1, 0, 1, 1));
    }

    #[test]
    fn an_order_ends_a_rest_and_is_answered_by_the_thread() {
        let (board, _) = board();
        let answer = board.order(1, Wish::Pause).unwrap();
        assert!(board.order(2, Wish::Pause).is_none());
        let seat = board.clone();
        let thread = thread::spawn(move || {
            // Longer than any test: only the order ends it.
            seat.rest(1, Duration::from_secs(3600));
            let order = seat.next(1).unwrap();
            assert_eq!(order.wish, Wish::Pause);
            order.answer(Ok(true));
            seat.next(1).is_none()
        });
        assert_eq!(answer.blocking_recv(), Ok(Ok(true)));
        assert!(thread.join().unwrap());
    }

    #[test]
    fn a_thread_that_has_ended_answers_nothing_more() {
        let (board, now) = board();
        let before = board.order(0, Wish::Pause).unwrap();
        board.close(0, Some("a fault"), now);
        let after = board.order(0, Wish::Resume(None)).unwrap();
        assert!(before.blocking_recv().is_err() && after.blocking_recv().is_err());
        assert_eq!(board.list(now)[0].view.last_error.as_deref(), Some("a fault"));
    }

    #[test]
    fn waking_ends_a_rest_that_begins_a_moment_later_too() {
        let (board, _) = board();
        board.wake();
        board.rest(0, Duration::from_secs(3600));
        board.rest(1, Duration::from_secs(3600));
    }
}
