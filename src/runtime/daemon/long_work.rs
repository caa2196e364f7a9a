//! A line a minute while a stage is at work, so that a log of hours is not silent. `now` is an argument.

use std::time::{Duration, Instant};
use tracing::info;

const EVERY: Duration = Duration::from_secs(60);

/// The stage that a thread is in, and when it was last told of.
#[derive(Debug, Default)]
pub(super) struct LongWork(Option<Begun>);

#[derive(Debug)]
struct Begun {
    stage: &'static str,
    at: Instant,
    told: Instant,
}

impl LongWork {
    /// Tells, if it is time to.
    pub(super) fn tell(&mut self, stage: Option<&'static str>, sector: Option<String>, now: Instant) {
        if let Some((stage, ran)) = self.due(stage, now) {
            let minutes = ran.as_secs() / 60;
            info!(sector, stage, minutes, "still being worked on");
        }
    }

    /// The stage and for how long it has been at work, once a minute.
    fn due(&mut self, stage: Option<&'static str>, now: Instant) -> Option<(&'static str, Duration)> {
        let Some(stage) = stage else {
            self.0 = None;
            return None;
        };
        match &mut self.0 {
            Some(begun) if begun.stage == stage => {
                if now.saturating_duration_since(begun.told) < EVERY {
                    return None;
                }
                begun.told = now;
                Some((stage, now.saturating_duration_since(begun.at)))
            }
            other => {
                *other = Some(Begun { stage, at: now, told: now });
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_told_of_once_a_minute_and_each_from_its_own_start() {
        let (mut long, t0) = (LongWork::default(), Instant::now());
        let at = |seconds| t0 + Duration::from_secs(seconds);
        let mut due = |stage, seconds| long.due(stage, at(seconds)).map(|(stage, ran)| (stage, ran.as_secs()));
        assert_eq!(due(Some("pc1"), 0), None);
        assert_eq!(due(Some("pc1"), 59), None);
        assert_eq!(due(Some("pc1"), 61), Some(("pc1", 61)));
        assert_eq!(due(Some("pc1"), 62), None);
        assert_eq!(due(Some("pc1"), 121), Some(("pc1", 121)));
        assert_eq!(due(Some("pc2"), 130), None, "another stage");
        assert_eq!(due(Some("pc2"), 190), Some(("pc2", 60)));
        assert_eq!(due(None, 200), None);
        assert_eq!(due(Some("pc2"), 270), None, "a second try begins anew");
    }
}
