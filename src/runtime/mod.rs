//! The sealing runtime: from a worker configuration to proven sectors.

pub mod manager;
pub mod processor;
pub mod proofs;
pub mod stage;
