//! The sealing runtime: from a worker configuration to proven sectors.
//!
//! Pure: `sector` (states, decide, apply), `stage` (tasks and outputs as on the wire), `limit` (slots, start
//! gaps, locks, turns). Edges behind small traits: `manager`, `processor`, `store`, `proofs`; `sdr` hashes PC1's layers
//! for `proofs`. `control`, `rpc` and `metrics` are what operators see; `listen` is under every server. `worker` knows the traits;
//! only `daemon` names the concrete types. `pc1_numbers` tells how far PC1 is; `words` tells any part's failures on one line.

pub mod control;
pub mod daemon;
pub mod limit;
pub mod listen;
pub mod manager;
pub mod metrics;
pub mod pc1_numbers;
pub mod pieces;
pub mod processor;
pub mod proofs;
pub mod rpc;
pub mod sdr;
pub mod sector;
pub mod stage;
pub mod store;
pub mod words;
pub mod worker;
