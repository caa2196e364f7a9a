//! Who may touch files, the clock, the environment, threads, chance: the pure rooms may not.
//!
//! Code for tests is exempt, except that nobody's tests get their world from the environment.

use crate::{
    assert_tidy, tokens,
    tree::{self, TextFile},
};

/// Rooms and parts of rooms whose answers depend on their arguments alone.
const PURE: &[&str] = &[
    "units",
    "machine",
    "worker_config",
    "profile",
    "planner",
    "runtime::sector",
    "runtime::stage",
    "runtime::limit",
    "runtime::processor::ledger",
    "runtime::processor::protocol",
    "runtime::processor::restart",
];

/// The beginnings of paths that reach out of a program.
const EFFECTS: &[&str] = &[
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "std::os::unix::fs",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::net::UdpSocket",
    "std::time::Instant::now",
    "std::time::SystemTime::now",
    "Instant::now",
    "SystemTime::now",
    "tokio",
    "nix",
    "hwlocality",
    "sysinfo",
    "procfs",
    "reqwest",
    "sqlx",
    "tempfile",
    "rand::random",
    "rand::thread_rng",
    "rand::rng",
    "rand::rngs::OsRng",
];

/// Methods that reach out: of `Path`, and of the clock's types.
const REACHING: &[&str] = &[
    "exists",
    "try_exists",
    "canonicalize",
    "is_dir",
    "is_file",
    "is_symlink",
    "read_dir",
    "read_link",
    "symlink_metadata",
    "elapsed",
];

fn impurities(file: &TextFile) -> Vec<String> {
    let module = tokens::module_of(&file.path).join("::");
    let Some(room) = PURE.iter().find(|room| is_inside(&module, room)) else { return Vec::new() };
    let facts = tokens::facts(file);
    let outer = facts.outer.iter().map(|found| (found.what.join("::"), found.line, found.in_test));
    let inner =
        facts.inner.iter().map(|found| (format!("crate::{}", found.what.join("::")), found.line, found.in_test));
    let reaching = facts.methods.iter().filter(|found| REACHING.contains(&found.what.as_str()));
    outer
        .chain(inner)
        .filter(|(path, ..)| EFFECTS.iter().chain(&["crate::sys"]).any(|effect| is_inside(path, effect)))
        .chain(reaching.map(|found| (format!(".{}()", found.what), found.line, found.in_test)))
        .filter(|(.., in_test)| !in_test)
        .map(|(what, line, _)| {
            format!("{}: `{room}` is pure and uses `{what}`; bring it in as an argument", file.at(line))
        })
        .collect()
}

fn is_inside(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[test]
fn pure_rooms_touch_no_files_clock_or_environment() {
    assert_tidy(tree::rust_files().iter().flat_map(impurities).collect());
}

mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> usize {
        impurities(&TextFile::example(path, text)).len()
    }

    #[test]
    fn a_file_the_clock_and_the_environment_are_found() {
        assert_eq!(findings("src/worker_config/mod.rs", "use std::{fs, io};"), 1);
        assert_eq!(findings("src/planner/a.rs", "fn f() { std::env::var(\"HOME\"); }"), 1);
        assert_eq!(findings("src/runtime/limit/mod.rs", "use std::time::Instant; fn f() { Instant::now(); }"), 1);
        assert_eq!(findings("src/runtime/sector/decide.rs", "use crate::sys::clock;"), 1);
        assert_eq!(findings("src/machine/mod.rs", "fn f(p: &Path) -> bool { p.exists() }"), 1);
    }

    #[test]
    fn times_as_arguments_and_code_for_tests_are_not() {
        assert_eq!(
            findings("src/runtime/limit/mod.rs", "use std::time::{Duration, Instant}; fn f(now: Instant) {}"),
            0
        );
        assert_eq!(findings("src/worker_config/mod.rs", "#[cfg(test)] mod tests { use std::fs; }"), 0);
        assert_eq!(findings("src/worker_config/types.rs", "use std::net::SocketAddr;"), 0);
        assert_eq!(findings("src/runtime/store/mod.rs", "use std::fs;"), 0);
    }
}
