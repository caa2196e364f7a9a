//! EFFECTS: what touches the host. Reads and acts, never decides.

pub mod durable;
