//! How many tasks of a stage may run at once, and how far apart they start. Pure: `now` is an argument.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// The limits of each stage and what is running under them.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    concurrent: BTreeMap<String, u32>,
    staggered: BTreeMap<String, Duration>,
    running: BTreeMap<String, u32>,
    last_start: BTreeMap<String, Instant>,
}

impl Limits {
    /// Limits by stage name; a stage that neither map names is not limited.
    pub fn new(concurrent: BTreeMap<String, u32>, staggered: BTreeMap<String, Duration>) -> Self {
        Self { concurrent, staggered, ..Self::default() }
    }

    /// Takes a slot of `stage` if one is free and the last start is long enough ago.
    pub fn try_start(&mut self, stage: &str, now: Instant) -> bool {
        let running = self.running.get(stage).copied().unwrap_or(0);
        if self.concurrent.get(stage).is_some_and(|most| running >= *most) {
            return false;
        }
        if let (Some(gap), Some(last)) = (self.staggered.get(stage), self.last_start.get(stage))
            && now.duration_since(*last) < *gap
        {
            return false;
        }
        self.running.insert(stage.to_owned(), running + 1);
        self.last_start.insert(stage.to_owned(), now);
        true
    }

    /// Gives a slot of `stage` back.
    pub fn end(&mut self, stage: &str) {
        let running = self.running.get_mut(stage).filter(|running| **running > 0);
        *running.expect("a slot is given back once, by who took it") -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_stage_waits_until_a_slot_comes_back() {
        let mut limits = Limits::new(BTreeMap::from([("pc1".into(), 2)]), BTreeMap::new());
        let now = Instant::now();
        assert!(limits.try_start("pc1", now) && limits.try_start("pc1", now));
        assert!(!limits.try_start("pc1", now));
        assert!(limits.try_start("pc2", now), "another stage is not limited");
        limits.end("pc1");
        assert!(limits.try_start("pc1", now));
    }

    #[test]
    fn starts_keep_their_distance() {
        let mut limits = Limits::new(BTreeMap::new(), BTreeMap::from([("pc1".into(), Duration::from_secs(300))]));
        let start = Instant::now();
        assert!(limits.try_start("pc1", start));
        assert!(!limits.try_start("pc1", start + Duration::from_secs(299)));
        assert!(limits.try_start("pc1", start + Duration::from_secs(300)));
    }
}
