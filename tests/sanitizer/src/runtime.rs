//! The engine.

#[path = "../../../src/runtime/sdr/mod.rs"]
pub mod sdr;
