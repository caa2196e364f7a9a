//! EFFECTS: what touches the host. Reads and acts, never decides.

pub mod blocks;
pub mod durable;
pub mod host;
pub mod lock;
pub mod root;
pub mod topology;

pub use root::Root;
