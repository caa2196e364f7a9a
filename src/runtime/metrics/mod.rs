//! What is counted while the daemon runs, and the page that Prometheus reads it from.
//!
//! `table` names every metric once, with its help: whoever adds one adds a row there, a function in `record` and a line in
//! docs/metrics.md, and `tests/tidy` holds the three together. The functions do nothing, at the cost of a load, while no
//! page is served. `pc1` shows what pc1 tells of itself; `page` is that page.

mod page;
mod pc1;
mod record;
mod table;

#[cfg(test)]
pub(crate) use page::recorded;
pub use page::{Page, router};
pub use pc1::Gauges;
pub use record::*;
pub use table::{Kind, Metric, TABLE};
