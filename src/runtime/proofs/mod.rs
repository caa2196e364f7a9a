//! The only user of the proofs library: stage tasks in, stage outputs out.
