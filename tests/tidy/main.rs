//! Reads the project's own files and fails where a habit of the house is broken.
//!
//! Each rule is a pure function from text to findings. It is tried twice: on the tree as it is, and on the
//! smallest bad example, so that a rule that went blind is noticed. A finding names the file, the line, what
//! is wrong and what to do instead.
//!
//! ```text
//! tree      the files that are read          tokens    a Rust file as facts: paths, calls, functions
//! rooms     who may import whom              effects   who may touch files, clock, environment
//! fences    unsafe, borrowed crates          calls     macros and calls that are not used here
//! shape     headers, lengths, whitespace     words     leftovers, names of machines and tools
//! manifest  how the proofs stack is linked   commands  every flag is documented
//! links     pages that are named exist          metrics   every metric is documented
//! ```

mod calls;
mod commands;
mod effects;
mod fences;
mod links;
mod manifest;
mod metrics;
mod rooms;
mod shape;
mod tokens;
mod tree;
mod words;

/// Fails with all findings at once.
fn assert_tidy(findings: Vec<String>) {
    assert!(findings.is_empty(), "{} finding(s):\n{}\n", findings.len(), findings.join("\n"));
}
