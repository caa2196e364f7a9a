//! The served manager as a process, with daemons as processes that ask it: rehearsals, so that faults and not proofs take
//! the time.
//!
//! What belongs here: whatever needs the manager's own process, or something between it and its workers.

mod command;
mod gone;
mod proxy;
mod rig;
