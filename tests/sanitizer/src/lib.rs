//! `runtime::sdr` and what it stands on, from the project's own sources, as a crate of its own.
//!
//! ```text
//! RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address cargo test --target x86_64-unknown-linux-gnu
//! CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER=rust-lld \
//!     CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUNNER=qemu-aarch64-static \
//!     cargo test --target aarch64-unknown-linux-musl kernel
//! ```

#![allow(dead_code, unused_imports)]

#[path = "../../../src/units/mod.rs"]
mod units;

mod runtime;
mod sys;
