//! The part of `sys` that the engine uses.

#[path = "../../../src/sys/durable.rs"]
pub mod durable;
#[path = "../../../src/sys/host.rs"]
pub mod host;
#[path = "../../../src/sys/lock.rs"]
pub mod lock;
#[path = "../../../src/sys/misses.rs"]
pub mod misses;
#[path = "../../../src/sys/root.rs"]
pub mod root;
#[path = "../../../src/sys/settings.rs"]
pub mod settings;

pub use misses::{Miss, Misses};
pub use root::Root;
