//! (to come)

pub mod durable;
