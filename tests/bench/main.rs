//! `bench` as it is run: real stages of 2 KiB sectors up to C1, disks, kills and what is left of them, logs.
//!
//! C2 takes minutes and proof parameters; tests/forecast has it.

mod import;
mod kill;
mod measure;
mod rig;
