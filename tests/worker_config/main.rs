//! damocles-worker.toml from the outside: what loads, what is refused and in which words, what comes back.
//!
//! `fixtures/good` load, with exactly the warnings their `# warn:` lines name. `fixtures/broken` are
//! refused, with the texts their `# expect:` lines name.

mod broken;
mod daemon_refuses;
mod examples;
mod fixtures;
mod meaning;
mod no_panic;
mod render;
mod strategies;
