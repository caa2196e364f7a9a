//! What the service manager is told: ready, alive, what it does, stopping. Without one nothing is.
//!
//! Alive is said by the loop that hears from all threads, so a daemon that has lost that loop is restarted by systemd.

use crate::{
    runtime::{control::Board, manager::wire::WorkerInfoSummary},
    sys::service::{Notice, notify},
};
use std::time::{Duration, Instant};

/// The status line is told anew so often, if it has changed.
const STATUS_EVERY: Duration = Duration::from_secs(5);

/// The daemon as a service.
pub(super) struct Service {
    board: Board,
    /// How often it must be heard from.
    watchdog: Option<Duration>,
    alive: Instant,
    status_at: Instant,
    status: String,
}

impl Service {
    /// A service that must be heard from every `watchdog`, if there is one.
    pub(super) fn new(board: Board, watchdog: Option<Duration>, now: Instant) -> Self {
        Self { board, watchdog, alive: now, status_at: now, status: String::new() }
    }

    /// The start is over.
    pub(super) fn ready(&mut self) {
        self.status = status(&self.board.summary(), 0);
        notify(&[Notice::Ready, Notice::Status(self.status.clone())]);
    }

    /// A stop in order has begun.
    pub(super) fn stopping(&self) {
        notify(&[Notice::Stopping, Notice::Status("stopping in order".into())]);
    }

    /// Once in a while.
    pub(super) fn tick(&mut self, finished: u64, now: Instant) {
        let notices = self.due(finished, now);
        if !notices.is_empty() {
            notify(&notices);
        }
    }

    fn due(&mut self, finished: u64, now: Instant) -> Vec<Notice> {
        let mut notices = Vec::new();
        // Half of the time, as systemd advises.
        if self.watchdog.is_some_and(|every| now.saturating_duration_since(self.alive) >= every / 2) {
            self.alive = now;
            notices.push(Notice::Alive);
        }
        if now.saturating_duration_since(self.status_at) >= STATUS_EVERY {
            self.status_at = now;
            let status = status(&self.board.summary(), finished);
            if status != self.status {
                self.status.clone_from(&status);
                notices.push(Notice::Status(status));
            }
        }
        notices
    }
}

fn status(sum: &WorkerInfoSummary, finished: u64) -> String {
    let WorkerInfoSummary { threads, empty, paused, running, waiting, .. } = sum;
    let sectors = threads - empty;
    format!(
        "{threads} threads: {running} running, {waiting} waiting, {paused} paused; {sectors} sectors on their way, {finished} finished"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watched_daemon_is_heard_from_twice_in_its_time_and_tells_what_changed() {
        let t0 = Instant::now();
        let board = Board::new([("/a".into(), "sealer".into())], t0);
        let mut service = Service::new(board, Some(Duration::from_secs(8)), t0);
        let at = |seconds| t0 + Duration::from_secs(seconds);
        assert_eq!(service.due(0, at(3)), []);
        assert_eq!(service.due(0, at(4)), [Notice::Alive]);
        let told =
            Notice::Status("1 threads: 0 running, 0 waiting, 0 paused; 0 sectors on their way, 0 finished".into());
        assert_eq!(service.due(0, at(5)), [told]);
        assert_eq!(service.due(0, at(10)), [Notice::Alive], "nothing has changed");
        assert!(
            matches!(&service.due(1, at(15))[..], [Notice::Alive, Notice::Status(said)] if said.ends_with("1 finished"))
        );
        service.watchdog = None;
        assert_eq!(service.due(1, at(90)), [], "nobody watches");
    }
}
