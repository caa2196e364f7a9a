//! One thread's place on the board: its view, its orders, and the bell that ends its rest.

use super::Told;
use crate::runtime::sector::State;
use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// What a thread does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doing {
    /// It has not begun, or has no more to do.
    Idle,
    /// An operator has to resume it.
    Paused,
    /// A stage is worked on, or a call to the manager is on its way.
    Running(&'static str),
    /// Until a moment that is known, or until there is room for a stage.
    Waiting,
}

/// What a thread tells of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    pub doing: Doing,
    /// `s-t0<miner>-<number>`
    pub sector: Option<String>,
    pub state: State,
    /// The stage that is worked on or queued for.
    pub stage: Option<&'static str>,
    /// The last failure since the sector's last progress.
    pub last_error: Option<String>,
}

/// What an operator wants of a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Begin nothing more. A stage in flight goes on and its result is kept.
    Pause,
    /// Go on, from an earlier state perhaps.
    Resume(Option<State>),
}

/// Whether the wish was carried out (`false`: there was nothing to do), or why it is refused.
pub type Answer = Result<bool, String>;

/// A wish on its way to its thread.
#[derive(Debug)]
pub struct Order {
    pub wish: Wish,
    reply: oneshot::Sender<Answer>,
}

impl Order {
    /// Tells whoever asked. He may have gone.
    pub fn answer(self, answer: Answer) {
        let _ = self.reply.send(answer);
    }
}

/// A thread's place.
#[derive(Debug)]
pub(super) struct Seat {
    location: PathBuf,
    plan: String,
    inner: Mutex<Inner>,
    bell: Condvar,
}

#[derive(Debug)]
struct Inner {
    view: View,
    since: Instant,
    orders: VecDeque<Order>,
    rung: bool,
    closed: bool,
}

impl Seat {
    pub(super) fn new(location: PathBuf, plan: String, now: Instant) -> Self {
        let view = View { doing: Doing::Idle, sector: None, state: State::Empty, stage: None, last_error: None };
        let inner = Inner { view, since: now, orders: VecDeque::new(), rung: false, closed: false };
        Self { location, plan, inner: Mutex::new(inner), bell: Condvar::new() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn show(&self, view: View, now: Instant) {
        let mut inner = self.inner();
        if inner.view.doing != view.doing {
            inner.since = now;
        }
        inner.view = view;
    }

    pub(super) fn close(&self, fault: Option<&str>, now: Instant) {
        let mut inner = self.inner();
        inner.closed = true;
        inner.orders.clear();
        inner.since = now;
        inner.view.doing = Doing::Idle;
        if let Some(fault) = fault {
            inner.view.last_error = Some(fault.to_owned());
        }
    }

    pub(super) fn next(&self) -> Option<Order> {
        self.inner().orders.pop_front()
    }

    pub(super) fn order(&self, wish: Wish) -> oneshot::Receiver<Answer> {
        let (reply, answer) = oneshot::channel();
        let mut inner = self.inner();
        if !inner.closed {
            inner.orders.push_back(Order { wish, reply });
            inner.rung = true;
            self.bell.notify_all();
        }
        answer
    }

    pub(super) fn rest(&self, most: Duration) {
        let waited = self.bell.wait_timeout_while(self.inner(), most, |inner| !inner.rung);
        let (mut inner, _) = waited.unwrap_or_else(PoisonError::into_inner);
        inner.rung = false;
    }

    pub(super) fn wake(&self) {
        self.inner().rung = true;
        self.bell.notify_all();
    }

    pub(super) fn with<T>(&self, read: impl FnOnce(&View) -> T) -> T {
        read(&self.inner().view)
    }

    pub(super) fn told(&self, index: usize, now: Instant) -> Told {
        let inner = self.inner();
        Told {
            index,
            location: self.location.clone(),
            plan: self.plan.clone(),
            view: inner.view.clone(),
            elapsed: now.saturating_duration_since(inner.since),
        }
    }
}
