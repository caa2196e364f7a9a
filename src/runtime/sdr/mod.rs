//! PC1's label engine.
pub mod kernel;
pub mod label;
