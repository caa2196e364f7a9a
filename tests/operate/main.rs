//! A running daemon as its operators meet it: the worker's RPC and its commands, metrics, hot reload, systemd, stops.
//!
//! What belongs here: whole processes whose stages are rehearsed, so that nothing waits for proofs and no keys have to
//! be there. Everything listens on loopback, or in a network of its own.

mod check;
mod elsewhere;
mod log;
mod metrics;
mod plan_b;
mod reload;
mod rig;
mod service;
mod steer;
mod stop;
