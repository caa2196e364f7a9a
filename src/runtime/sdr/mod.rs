//! PC1's own label engine: the same bytes as the library's, with one core for a sector.
//!
//! ```text
//! Job ─► Engine ─► Ledger: which layers are there and right?
//!           │         └ none missing: done
//!           ├─ Seats: a core, a thread on it, the Kernel that this processor runs best
//!           ├─ Buffers: room for two layers, in hugepage files or anonymous
//!           └─ layer by layer: hash, and write the one before meanwhile ─► sc-02-data-layer-N.dat, Ledger
//! ```
//!
//! | part | owns |
//! | --- | --- |
//! | `engine` | the order of things: what is kept, hashed, written, when |
//! | `kernel` | the labels of one layer: the loop that takes the time. `unsafe`, with a portable twin |
//! | `seats`, `cores` | which core hashes which sector; two sectors on one core |
//! | `memory` | where the room for layers comes from, and on which node |
//! | `mapping` | the parent cache as all processes see it, and that room. `unsafe`, with safe twins |
//! | `files` | layers on the disk, and whether one is what was written |
//! | `progress` | how far, how fast, how long; the wish to stop |
//! | `label` | words and bytes |
//!
//! It knows neither the proofs library nor its types: `proofs` asks it for layers and makes the library's answer of
//! them. docs/design/pc1.md has the measurements.

pub mod cores;
mod engine;
mod error;
mod files;
pub mod kernel;
pub mod label;
pub mod mapping;
pub mod memory;
pub mod progress;
pub mod seats;

pub use engine::{Engine, Job, Made};
pub use error::SdrError;
