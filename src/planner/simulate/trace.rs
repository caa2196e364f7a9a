//! What every sealing thread does when: the run behind a forecast, kept for a picture of it.

use super::{chance::Chance, engine::spans, line::Line};

/// What a thread's sector is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A task of this station.
    Station(usize),
    /// The wait of this place in `Line::waits`.
    Wait(usize),
}

/// From when to when, in milliseconds from the start. Between two spans of a thread its sector waits for its turn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    pub thread: u32,
    pub part: Part,
    pub from_ms: f64,
    pub to_ms: f64,
}

/// The first `until_ms` of the run that a forecast with this seed expects, thread by thread, each in the order of time.
pub fn trace(line: &Line, until_ms: f64, seed: u64) -> Vec<Span> {
    let mut spans = spans(line, until_ms, Some(Chance::new(seed, 0).expected()));
    spans.sort_by(|a, b| a.thread.cmp(&b.thread).then(a.from_ms.total_cmp(&b.from_ms)));
    spans
}
