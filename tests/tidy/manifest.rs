//! How the proofs stack is linked, and that each borrowed crate has its line in docs/ARCHITECTURE.md.
//!
//! The stack's crates' default features bring `opencl` and `multicore-sdr`. The first needs a vendor's toolkit, the
//! second links hwloc a second time, which cannot share a build with hwlocality.

use crate::{
    assert_tidy, tokens,
    tree::{self, TextFile},
};
use std::collections::BTreeSet;
use toml::{Table, Value};

const PROOFS: &[&str] = &["filecoin-proofs", "storage-proofs", "fr32", "filecoin-hashers"];
const NEVER: &str = "multicore-sdr";

fn bad_links(manifest: &str) -> Vec<String> {
    let manifest: Table = manifest.parse().expect("Cargo.toml is TOML: cargo has read it");
    let mut findings = Vec::new();
    walk(&Value::Table(manifest), "", &mut findings);
    findings
}

fn walk(value: &Value, path: &str, findings: &mut Vec<String>) {
    match value {
        Value::Table(table) => {
            for (key, inner) in table {
                let is_dependency = path.ends_with("dependencies");
                if is_dependency
                    && PROOFS.iter().any(|name| package(key, inner).starts_with(name))
                    && has_defaults(inner)
                {
                    findings.push(format!("Cargo.toml: {path}.{key}: needs default-features = false"));
                }
                walk(inner, &format!("{path}.{key}"), findings);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| walk(item, path, findings)),
        Value::String(text) if text.contains(NEVER) => {
            findings.push(format!("Cargo.toml: {path}: `{NEVER}` links hwloc twice"));
        }
        _ => {}
    }
}

// A dependency may be renamed by `package = "…"`.
fn package<'a>(key: &'a str, dependency: &'a Value) -> &'a str {
    dependency.get("package").and_then(Value::as_str).unwrap_or(key)
}

fn has_defaults(dependency: &Value) -> bool {
    dependency.get("default-features").and_then(Value::as_bool) != Some(false)
}

fn locked_twice(lock: &str) -> Vec<String> {
    let lock: Table = lock.parse().expect("Cargo.lock is TOML: cargo has written it");
    let packages = lock.get("package").and_then(Value::as_array).into_iter().flatten();
    let names = packages.filter_map(|package| package.get("name")?.as_str());
    // The binding that `multicore-sdr` brings.
    names
        .filter(|name| *name == "hwloc")
        .map(|name| format!("Cargo.lock: `{name}` links hwloc a second time"))
        .collect()
}

// The crates of the manifest of which `page` does not speak.
fn unexplained_crates(manifest: &str, page: &str) -> Vec<String> {
    let manifest: Table = manifest.parse().expect("Cargo.toml is TOML: cargo has read it");
    let kinds = ["dependencies", "dev-dependencies", "build-dependencies"];
    let tables = kinds.iter().filter_map(|kind| manifest.get(*kind)?.as_table());
    let names = tables.flat_map(|table| table.keys()).filter(|name| !page.contains(&format!("`{name}`")));
    names.map(|name| format!("Cargo.toml: `{name}`: docs/ARCHITECTURE.md has no line on what it saves us")).collect()
}

/// Used by no name: they are there for their features alone (docs/ARCHITECTURE.md says why).
const FOR_FEATURES: &[&str] = &["getrandom", "regex-syntax"];

// The crates of [dependencies] that none of `sources` names.
fn unused_crates(manifest: &str, sources: &[TextFile]) -> Vec<String> {
    let manifest: Table = manifest.parse().expect("Cargo.toml is TOML: cargo has read it");
    let names = manifest.get("dependencies").and_then(Value::as_table).into_iter().flat_map(|table| table.keys());
    let is_used = |name: &&String| {
        let path = name.replace('-', "_");
        sources.iter().any(|file| tokens::facts(file).outer.iter().any(|found| found.what[0] == path))
    };
    let unused = names.filter(|name| !FOR_FEATURES.contains(&name.as_str())).filter(|name| !is_used(name));
    unused.map(|name| format!("Cargo.toml: `{name}`: src names it nowhere: remove it")).collect()
}

fn read(name: &str) -> String {
    std::fs::read_to_string(tree::root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn the_proofs_stack_is_linked_without_its_default_features() {
    assert_tidy(bad_links(&read("Cargo.toml")));
}

#[test]
fn hwloc_is_linked_once() {
    assert_tidy(locked_twice(&read("Cargo.lock")));
}

#[test]
fn every_borrowed_crate_has_its_line_in_the_architecture() {
    assert_tidy(unexplained_crates(&read("Cargo.toml"), &read("docs/ARCHITECTURE.md")));
}

#[test]
fn every_borrowed_crate_is_used() {
    let sources: Vec<_> = tree::rust_files().into_iter().filter(|file| file.path.starts_with("src/")).collect();
    assert_tidy(unused_crates(&read("Cargo.toml"), &sources));
}

// Each package of a build with its features: `name version features`.
fn packages(edges: &str) -> BTreeSet<String> {
    let output = std::process::Command::new(env!("CARGO"))
        .args([
            "tree",
            "--locked",
            "--offline",
            "--prefix",
            "none",
            "--no-dedupe",
            "--edges",
            edges,
            "--format",
            "{p} {f}",
        ])
        .current_dir(tree::root())
        .output()
        .expect("the cargo that built this test is still there");
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| line.trim_end_matches(" (*)").trim().to_owned())
        .collect()
}

fn only_without_tests(build: &BTreeSet<String>, test: &BTreeSet<String>) -> Vec<String> {
    let why = "`cargo test` builds it with other features, and all that depends on it a second time: name them in [dependencies]";
    build.difference(test).map(|package| format!("{package}: {why}")).collect()
}

#[test]
fn programs_and_tests_share_one_build_of_every_dependency() {
    assert_tidy(only_without_tests(&packages("normal,build"), &packages("normal,build,dev")));
}

mod tests {
    use super::*;

    #[test]
    fn a_feature_that_only_tests_turn_on_is_found() {
        let set = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
        assert_eq!(only_without_tests(&set(&["a v1 std"]), &set(&["a v1 std,unicode", "b v1"])).len(), 1);
        assert!(only_without_tests(&set(&["a v1 std"]), &set(&["a v1 std", "b v1"])).is_empty());
    }

    #[test]
    fn a_crate_that_nobody_names_is_found() {
        let manifest = "[dependencies]\nserde-x = '1'\nnix = '1'\ngetrandom = '1'\n";
        let source = |text: &str| [TextFile::example("src/a.rs", text)];
        assert_eq!(unused_crates(manifest, &source("use nix::fcntl; // serde_x::y")).len(), 1);
        assert!(unused_crates(manifest, &source("use nix::fcntl; fn f() { serde_x::y() }")).is_empty());
    }

    #[test]
    fn a_crate_without_a_line_is_found() {
        let manifest = "[dependencies]\nserde = '1'\n[dev-dependencies]\ninsta = '1'\n";
        assert_eq!(unexplained_crates(manifest, "`serde`, insta").len(), 1);
        assert!(unexplained_crates(manifest, "`serde`, `insta`").is_empty());
    }

    #[test]
    fn default_features_are_found_in_every_kind_of_dependency() {
        assert_eq!(bad_links("[dependencies]\nfilecoin-proofs = '19'\n").len(), 1);
        assert_eq!(bad_links("[dev-dependencies]\nstorage-proofs-porep = { version = '19' }\n").len(), 1);
        assert_eq!(
            bad_links("[target.'cfg(unix)'.dependencies.x]\npackage = 'filecoin-proofs-api'\nversion = '19'\n").len(),
            1
        );
        assert_eq!(
            bad_links("[dependencies]\nfilecoin-proofs = { version = '19', default-features = false }\n").len(),
            0
        );
    }

    #[test]
    fn multicore_sdr_is_found_wherever_it_is_asked_for() {
        let dependency = "[dependencies]\nfilecoin-proofs = { version = '19', default-features = false, features = ['multicore-sdr'] }\n";
        assert_eq!(bad_links(dependency).len(), 1);
        assert_eq!(bad_links("[features]\nfast = ['storage-proofs-porep/multicore-sdr']\n").len(), 1);
    }

    #[test]
    fn a_second_hwloc_in_the_lock_is_found() {
        assert_eq!(locked_twice("[[package]]\nname = 'hwloc'\nversion = '0.5.0'\n").len(), 1);
        assert_eq!(locked_twice("[[package]]\nname = 'hwlocality'\nversion = '1.0.0'\n").len(), 0);
    }
}
