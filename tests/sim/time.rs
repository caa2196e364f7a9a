//! Virtual time: a clock that only passes when the simulation says so, and a wall clock that anybody may set.

use damocles_worker::runtime::worker::{Clock, SteadyTime};
use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// When the host's wall clock says that a life begins: some day in 2023.
const BEGIN: Duration = Duration::from_secs(1_700_000_000);

/// The time of one life.
#[derive(Debug)]
pub struct Timeline {
    base: Instant,
    now: Mutex<Now>,
}

#[derive(Clone, Copy, Debug)]
struct Now {
    passed: Duration,
    wall: SystemTime,
}

impl Timeline {
    pub fn new() -> Arc<Self> {
        let now = Now { passed: Duration::ZERO, wall: UNIX_EPOCH + BEGIN };
        Arc::new(Self { base: Instant::now(), now: Mutex::new(now) })
    }

    /// The clock that nobody can set.
    pub fn now(&self) -> Instant {
        self.base + self.passed()
    }

    /// How much of this life has passed.
    pub fn passed(&self) -> Duration {
        self.now.lock().unwrap().passed
    }

    /// Time passes up to `then`; what lies behind is over already.
    pub fn pass_to(&self, then: Instant) {
        let mut now = self.now.lock().unwrap();
        let passed = then.saturating_duration_since(self.base).max(now.passed);
        let since = passed - now.passed;
        now.wall += since;
        now.passed = passed;
    }

    pub fn wall(&self) -> SystemTime {
        self.now.lock().unwrap().wall
    }

    /// Somebody sets the wall clock.
    pub fn jump(&self, forward: bool, by: Duration) {
        let mut now = self.now.lock().unwrap();
        now.wall = if forward { now.wall + by } else { now.wall - by };
    }

    /// The clock that a daemon has which starts at this moment: the shipped reckoning over this time.
    pub fn clock(self: &Arc<Self>) -> Arc<dyn Clock> {
        let time = SteadyTime::new(self.wall(), self.now());
        Arc::new(Steady { time, timeline: self.clone() })
    }

    /// What a daemon would have that asked the host's wall clock each time.
    pub fn naive_clock(self: &Arc<Self>) -> Arc<dyn Clock> {
        Arc::new(Naive(self.clone()))
    }
}

struct Steady {
    time: SteadyTime,
    timeline: Arc<Timeline>,
}

impl Clock for Steady {
    fn now(&self) -> SystemTime {
        self.time.at(self.timeline.now())
    }
}

struct Naive(Arc<Timeline>);

impl Clock for Naive {
    fn now(&self) -> SystemTime {
        self.0.wall()
    }
}
