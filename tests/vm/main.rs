//! The shipped hwinfo on machines that we do not own: guests whose kernel sees the topology that a story asks for.
//!
//! ```text
//! story ─► Guest (a description) ─► archive + qemu ─► what the guest said: hwinfo --json, the tree, its own /sys
//!                                                      └─► checks: hwinfo against the guest's /sys, and the story
//! ```
//!
//! One guest runs with every `cargo test`; the others where `DAMOCLES_SLOW=1` asks for them (`make test-slow`).
//! Where qemu, the kernel or tools to fetch it are not there, a story says what it skipped. docs/testing-in-a-guest.md
//! tells how to run one by hand.

mod archive;
mod checks;
mod guest;
mod stories;
mod sysfs;
