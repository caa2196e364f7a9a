//! Asked to stop: by a signal, which waits until somebody looks.
//!
//! A program that must put things back cannot be ended in the middle. So SIGINT, SIGTERM and SIGHUP are blocked for the whole
//! process and read from a descriptor between two steps. Blocked signals also do not cut system calls short.

use nix::{
    errno::Errno,
    sys::{
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
    },
};
use std::sync::{
    OnceLock,
    atomic::{AtomicUsize, Ordering},
};

const SIGNALS: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// Whether a stop was asked for. Once it was, it stays so.
#[derive(Debug, Default)]
pub struct Stop {
    signals: Option<SignalFd>,
    asked: OnceLock<&'static str>,
    /// For tests: looks until a stop is asked for.
    looks_left: Option<AtomicUsize>,
}

impl Stop {
    /// By a signal to this process. To be called before the program has further threads: they inherit what is blocked.
    pub fn on_signals() -> Result<Self, Errno> {
        let set: SigSet = SIGNALS.into_iter().collect();
        set.thread_block()?;
        let signals = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Self { signals: Some(signals), ..Self::default() })
    }

    /// After so many looks: how a test stops a program at every place in turn.
    pub fn after(looks: usize) -> Self {
        Self { looks_left: Some(AtomicUsize::new(looks)), ..Self::default() }
    }

    /// What asked for a stop, if anything did.
    pub fn asked(&self) -> Option<&'static str> {
        if let Some(asked) = self.asked.get() {
            return Some(asked);
        }
        let name = self.signal().or_else(|| self.counted())?;
        Some(self.asked.get_or_init(|| name))
    }

    fn signal(&self) -> Option<&'static str> {
        // An error is no signal: a descriptor of our own that cannot be read is nothing to stop for.
        let info = self.signals.as_ref()?.read_signal().ok()??;
        Some(Signal::try_from(info.ssi_signo as i32).map_or("a signal", Signal::as_str))
    }

    fn counted(&self) -> Option<&'static str> {
        let take = |left: usize| left.checked_sub(1);
        let none_left = self.looks_left.as_ref()?.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err();
        none_left.then_some("a test")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_stays_asked_for() {
        let stop = Stop::after(2);
        assert_eq!(
            [stop.asked(), stop.asked(), stop.asked(), stop.asked()],
            [None, None, Some("a test"), Some("a test")]
        );
        assert_eq!(Stop::default().asked(), None);
    }

    #[test]
    fn a_signal_waits_until_somebody_looks() {
        // In a thread of its own: the other tests of this process keep their signals.
        std::thread::spawn(|| {
            let stop = Stop::on_signals().unwrap();
            assert_eq!(stop.asked(), None);
            // To this thread alone.
            nix::sys::signal::raise(Signal::SIGHUP).unwrap();
            assert_eq!((stop.asked(), stop.asked()), (Some("SIGHUP"), Some("SIGHUP")));
        })
        .join()
        .unwrap();
    }
}
