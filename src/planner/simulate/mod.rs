//! A worker.toml played through on a machine, event by event: what it will produce, where sectors wait, what is in the way.
//!
//! ```text
//! worker.toml ─┐           ┌─ engine, once as expected ────────────► output, use of everything, ramp-up
//! machine ─────┼─► Line ───┼─ engine, again with other luck ───────► band of 5 to 95 %
//! profile ─────┘           ├─ engine, with one more of each ───────► what it would bring
//!                          └─ arithmetic (Little's law) ───────────► what no luck can exceed
//! ```
//!
//! The line is exactly what the configuration says: sealing threads, each stage's limit and stagger, processors with
//! their `concurrent`, their CPUs, GPUs and locks, the polls of the manager. Stages without processors share the cores
//! that no PC1 task is bound to, and whatever shares a GPU shares its time.
//!
//! Chance comes from a seed, so the same question has the same answer to the last digit. A stage's duration varies
//! in two ways, both within the profile's band: as a whole (nobody knows how fast *this* machine is: one draw for a
//! run) and from task to task (a quarter of the band). For what was measured on the machine it is the other way round.

mod bounds;
mod chance;
mod engine;
mod forecast;
mod line;
mod trace;

pub use bounds::{Bound, THREADS, bounds, cycle_minutes};
pub use chance::Chance;
pub use engine::{Tally, run};
pub use forecast::{Forecast, Lock, OneMore, Range, StageUse, expected_per_day, forecast};
pub use line::{Duration, Line, Question, Server, SimulationError, Station, Wait, sector_size};
pub use trace::{Part, Span, trace};
