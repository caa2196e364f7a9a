//! The service manager that started this process, if one did: systemd's notification socket.
//!
//! Without `NOTIFY_SOCKET` in the environment nothing is sent. A service manager that cannot be told is no reason to stop.

use sd_notify::NotifyState;
use std::time::Duration;
use tracing::debug;

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The start is over.
    Ready,
    /// The stop has begun.
    Stopping,
    /// Still alive: for `WatchdogSec=`.
    Alive,
    /// One line for `systemctl status`.
    Status(String),
}

/// Sends `notices` in one datagram.
pub fn notify(notices: &[Notice]) {
    let state = |notice| match notice {
        &Notice::Ready => NotifyState::Ready,
        &Notice::Stopping => NotifyState::Stopping,
        &Notice::Alive => NotifyState::Watchdog,
        Notice::Status(line) => NotifyState::Status(line),
    };
    let states: Vec<_> = notices.iter().map(state).collect();
    if let Err(error) = sd_notify::notify(&states) {
        debug!("the service manager was not told: {error}");
    }
}

/// How often the service manager must hear from this process; `None`: it does not watch.
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}
