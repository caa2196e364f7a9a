//! The shipped binaries from outside, on real files with real proofs.
//!
//! What belongs here: whatever needs a whole process, above all its sudden end. Tests that make a Groth16 proof
//! need the parameters of 2 KiB sectors in the usual cache and say so when they are not there.

mod bench;
mod check;
mod crash;
mod deals;
mod fetch;
mod numbers;
mod shared;
mod stop;
