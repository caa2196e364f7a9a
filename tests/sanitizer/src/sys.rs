//! The part of `sys` that the engine uses.

#[path = "../../../src/sys/durable.rs"]
pub mod durable;
#[path = "../../../src/sys/faults.rs"]
pub mod faults;
#[path = "../../../src/sys/host.rs"]
pub mod host;
#[path = "../../../src/sys/hugetlbfs.rs"]
pub mod hugetlbfs;
#[path = "../../../src/sys/lock.rs"]
pub mod lock;
#[path = "../../../src/sys/memory.rs"]
pub mod memory;
#[path = "../../../src/sys/mempolicy.rs"]
pub mod mempolicy;
#[path = "../../../src/sys/misses.rs"]
pub mod misses;
#[path = "../../../src/sys/root.rs"]
pub mod root;
#[path = "../../../src/sys/settings.rs"]
pub mod settings;
#[path = "../../../src/sys/users.rs"]
pub mod users;

pub use misses::{Miss, Misses};
pub use root::Root;
