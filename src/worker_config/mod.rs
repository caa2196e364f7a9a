//! CONTRACT damocles-worker.toml: what `plan` writes is what `daemon` loads.
//!
//! `raw` (as written, old forms included) → `lower` (defaults, per-thread overrides, every problem with
//! its key path) → `types` (no `Option` that has a default); `render` goes back to TOML.

mod types;

pub use types::*;
