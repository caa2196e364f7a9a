//! How far a sector's layers are, for logs and metrics, and the wish to stop.

use super::memory::Place;
use std::{fmt, time::Duration};

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// The layer in work, from 1.
    pub layer: u32,
    pub layers: u32,
    /// Its nodes that have their label, of all.
    pub done: usize,
    pub nodes: usize,
    /// Nodes a second since the layer began.
    pub rate: f64,
    /// How long the rest takes at that rate.
    pub left: Duration,
}

impl Progress {
    /// From what was counted: `spent` is the time since `since` nodes of the layer were done, `to_do` the layers after
    /// this one that are not there yet.
    pub fn new(layer: u32, layers: u32, done: usize, nodes: usize, spent: Duration, to_do: u32) -> Self {
        let rate = done as f64 / spent.as_secs_f64().max(1e-9);
        let nodes_left = (nodes - done) as f64 + nodes as f64 * f64::from(to_do);
        let left = if rate > 0.0 { Duration::from_secs_f64((nodes_left / rate).min(1e9)) } else { Duration::MAX };
        Self { layer, layers, done, nodes, rate, left }
    }

    /// The part of the layer in work that is done.
    pub fn percent(&self) -> f64 {
        100.0 * self.done as f64 / self.nodes.max(1) as f64
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = self.left.as_secs().div_ceil(60);
        write!(
            f,
            "layer {} of {}: {:.1} %, {:.0} nodes/s, {minutes} min left",
            self.layer,
            self.layers,
            self.percent(),
            self.rate
        )
    }
}

/// Who looks at a task from outside.
pub trait Watch: Sync {
    /// Told once, before the first layer is hashed: where the two layers in work lie.
    fn memory(&self, _places: &[Place]) {}
    /// Told a few times a second.
    fn progress(&self, _progress: &Progress) {}
    /// Whether the task shall end without its layers. Asked a few times a second.
    fn stopped(&self) -> bool {
        false
    }
}

/// Nobody.
#[derive(Clone, Copy, Debug)]
pub struct Unwatched;

impl Watch for Unwatched {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_tells_the_rate_and_what_is_left() {
        let progress = Progress::new(3, 11, 1 << 29, 1 << 30, Duration::from_secs(500), 8);
        assert_eq!(progress.to_string(), "layer 3 of 11: 50.0 %, 1073742 nodes/s, 142 min left");
        assert_eq!(progress.left.as_secs(), 8500);
        let nothing_yet = Progress::new(1, 2, 0, 64, Duration::ZERO, 1);
        assert_eq!(nothing_yet.left, Duration::MAX);
        assert_eq!(nothing_yet.percent(), 0.0);
    }
}
