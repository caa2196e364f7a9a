//! EFFECTS: what touches the host. Reads and acts, never decides.

pub mod blocks;
pub mod capture;
pub mod cgroup;
pub mod cpu;
pub mod direct;
pub mod disk;
pub mod durable;
pub mod faults;
pub mod ffi;
pub mod folder;
pub mod host;
pub mod hugetlb;
pub mod hugetlb_limit;
pub mod hugetlbfs;
pub mod lock;
pub mod memory;
pub mod mempolicy;
pub mod misses;
pub mod mount;
pub mod nic;
pub mod nvml;
pub mod pci;
pub mod pin;
pub mod process;
pub mod root;
pub mod service;
pub mod settings;
pub mod stop;
pub mod token;
pub mod topology;
pub mod users;

pub use misses::{Miss, Misses};
pub use root::Root;
