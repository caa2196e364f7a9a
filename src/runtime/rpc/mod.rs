//! The worker's own RPC: JSON-RPC 2.0 by HTTP POST at `/`, as the field's workers speak it, and the client for it.
//!
//! ```text
//! POST / ─ listen (who is it? what is asked?) ─► methods (may he? do it) ─► control::Board
//! ```
//!
//! | method | params | result |
//! | --- | --- | --- |
//! | `VenusWorker.WorkerList` | | a list of `wire::WorkerInfo` |
//! | `VenusWorker.WorkerVersion` | | text |
//! | `VenusWorker.WorkerPause` | index | whether it was done |
//! | `VenusWorker.WorkerResume` | index, state or null | whether it was done |
//! | `VenusWorker.WorkerSetEnv`, `WorkerRemoveEnv` | | refused: the environment of a process with threads is not changed, and one variable can make a child run anybody's code |
//!
//! What always holds: whoever changes something calls from this host, or sent the token (`listen::access`).

pub mod client;
mod methods;
mod serve;
pub mod wire;

pub use serve::{Service, router};
