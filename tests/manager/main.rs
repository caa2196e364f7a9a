//! The two sector managers from outside, through the calls that a worker makes.

mod deals;
mod embedded;
mod remote;
mod rig;
mod sequences;
mod wire;
