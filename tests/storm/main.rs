//! Random `kill -9` of a whole daemon and of its children, then quiet: every sector still finishes.
//!
//! ```text
//! rehearsed   children that pretend, half a minute        in every run of the tests
//! real        8 threads, 3 sectors of 2 KiB each          DAMOCLES_STORM=10min cargo test --test storm, `make test-slow`
//! ```
//!
//! DAMOCLES_STORM is how long the real one is stormy; without it that one is skipped. The proofs of its sectors are made with the
//! keys in the usual cache.

mod real;
mod rehearsed;
mod rig;
mod weather;
