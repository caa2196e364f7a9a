//! A thousand lives of a daemon on virtual time: the shipped workers, journals and limits, and everything that can go wrong.
//!
//! What belongs here: whatever must hold for any configuration, any order of events and any crash. `life` tells how one goes;
//! `watch` has the rules, written a second time; `mistakes` shows that each rule would be missed.
//!
//! ```text
//! DAMOCLES_SIM_SEEDS=3000 cargo test --test sim        so many lives instead of the 300 of every run
//! DAMOCLES_SIM_FIRST=17 DAMOCLES_SIM_SEEDS=1 cargo test --test sim lives_of_any_seed -- --nocapture     the line that a failure prints
//! ```

mod chain;
mod deals;
mod disk;
mod hands;
mod life;
mod lives;
mod mistakes;
mod orders;
mod plan;
mod time;
mod watch;
