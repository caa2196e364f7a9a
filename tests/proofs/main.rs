//! The proofs room on real sectors: the whole way of 2 KiB, without deals and with, pc2 after a crash at 8 MiB, and the parameters.
//!
//! c2 needs the 2 KiB parameters (`damocles-worker params fetch|generate --sector-size 2KiB`). Without them
//! the tests still go as far as c1 and say on stderr what they left out.

mod check_pc2;
mod command;
mod crash;
mod deals;
mod fetching;
mod gateway;
mod layers;
mod local_keys;
mod seal;
mod whole_way;
