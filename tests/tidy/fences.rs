//! What is allowed in few places: `unsafe`, and borrowed crates that have one home.

use crate::{
    assert_tidy, tokens,
    tree::{self, TextFile},
};

/// The homes of `unsafe`, each with a safe twin that tests compare with.
const UNSAFE_HOMES: &[&str] =
    &["src/sys/ffi", "src/sys/mempolicy", "src/runtime/sdr/kernel", "src/runtime/sdr/mapping"];

/// Crates (by the beginning of their name) and the only modules that use them. Tests under `tests/` may.
const CRATE_HOMES: &[(&str, &[&str])] = &[
    ("filecoin_proofs", &["runtime::proofs"]),
    ("storage_proofs", &["runtime::proofs"]),
    ("handlebars", &["planner::templates"]),
    // `sys` loads a topology, `hwinfo` reads it.
    ("hwlocality", &["sys", "hwinfo"]),
    ("sqlx", &["runtime::manager"]),
    ("clap", &["cli"]),
    // The proofs library answers with its errors.
    ("anyhow", &["cli", "runtime::proofs"]),
];

fn unfenced_unsafe(file: &TextFile) -> Vec<String> {
    let at_home = UNSAFE_HOMES
        .iter()
        .any(|home| file.path.strip_prefix(home).is_some_and(|rest| rest.starts_with('/') || rest == ".rs"));
    tokens::facts(file)
        .unsafes
        .iter()
        .filter_map(|found| {
            if !at_home {
                Some(format!("{}: `unsafe` outside its homes {UNSAFE_HOMES:?}", file.at(found.line)))
            } else if !has_argument(&file.text, found.line) {
                Some(format!("{}: `unsafe` without a SAFETY: argument above it", file.at(found.line)))
            } else {
                None
            }
        })
        .collect()
}

// A comment above (between it and the line only comments, attributes and the beginning of the statement) or
// on the line itself; `# Safety` is what the doc comment of an unsafe function says.
fn has_argument(text: &str, line: usize) -> bool {
    let lines: Vec<&str> = text.lines().take(line).collect();
    let says = |line: &str| line.contains("//") && (line.contains("SAFETY:") || line.contains("# Safety"));
    let above = lines.iter().rev().skip(1).take_while(|line| !line.trim().is_empty() && line.trim() != "}");
    lines.last().is_some_and(|line| says(line)) || above.take(30).any(|line| says(line))
}

fn strangers_crates(file: &TextFile) -> Vec<String> {
    if !file.path.starts_with("src/") {
        return Vec::new();
    }
    let module = tokens::module_of(&file.path).join("::");
    let is_home = |home: &&str| module == *home || module.starts_with(&format!("{home}::"));
    tokens::facts(file)
        .outer
        .iter()
        .filter_map(|found| {
            let (name, homes) = CRATE_HOMES.iter().find(|(name, _)| found.what[0].starts_with(name))?;
            // A lone word may be anything, a variable for instance.
            let is_path = found.what.len() > 1;
            (is_path && !homes.iter().any(is_home))
                .then(|| format!("{}: `{name}` is used by {homes:?} only", file.at(found.line)))
        })
        .collect()
}

#[test]
fn unsafe_stays_in_its_homes_and_is_argued_for() {
    assert_tidy(tree::rust_files().iter().flat_map(unfenced_unsafe).collect());
}

#[test]
fn borrowed_crates_stay_in_their_homes() {
    assert_tidy(tree::rust_files().iter().flat_map(strangers_crates).collect());
}

mod tests {
    use super::*;

    fn unsafes(path: &str, text: &str) -> usize {
        unfenced_unsafe(&TextFile::example(path, text)).len()
    }

    fn crates(path: &str, text: &str) -> usize {
        strangers_crates(&TextFile::example(path, text)).len()
    }

    #[test]
    fn unsafe_elsewhere_or_without_an_argument_is_found() {
        let bare = "fn f() {\n    unsafe { g() }\n}\n";
        let argued = "fn f() {\n    // SAFETY: g asks nothing of its caller.\n    unsafe { g() }\n}\n";
        assert_eq!(unsafes("src/hwinfo/mod.rs", argued), 1);
        assert_eq!(unsafes("src/sys/ffi_like.rs", argued), 1);
        assert_eq!(unsafes("src/sys/ffi.rs", bare), 1);
        assert_eq!(unsafes("src/sys/ffi.rs", argued), 0);
        assert_eq!(unsafes("src/runtime/sdr/kernel/avx.rs", argued), 0);
    }

    #[test]
    fn the_proofs_library_outside_its_room_is_found() {
        assert_eq!(crates("src/runtime/worker.rs", "use filecoin_proofs_api::seal;"), 1);
        assert_eq!(crates("src/cli/params.rs", "fn f() { storage_proofs_core::parameter_cache::x() }"), 1);
        assert_eq!(crates("src/runtime/proofs/params.rs", "use storage_proofs_core::x;"), 0);
    }

    #[test]
    fn templates_and_anyhow_outside_their_rooms_are_found() {
        assert_eq!(crates("src/planner/mod.rs", "use handlebars::Handlebars;"), 1);
        assert_eq!(crates("src/planner/templates/mod.rs", "use handlebars::Handlebars;"), 0);
        assert_eq!(crates("src/hwinfo/mod.rs", "fn f() -> anyhow::Result<()> { Ok(()) }"), 1);
        assert_eq!(crates("src/cli/plan.rs", "use anyhow::Result;"), 0);
    }
}
