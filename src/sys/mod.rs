//! EFFECTS: what touches the host. Reads and acts, never decides.

pub mod capture;
pub mod durable;
pub mod host;
pub mod root;
pub mod topology;

pub use root::Root;
