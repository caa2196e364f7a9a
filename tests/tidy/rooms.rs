//! Who may import whom: the layers of docs/ARCHITECTURE.md as a table.

use crate::{
    assert_tidy,
    tokens::{self, Facts},
    tree::{self, TextFile},
};

/// Each room and the rooms it may import. A room that is not here is not on the map yet.
const ROOMS: &[(&str, &[&str])] = &[
    ("units", &[]),
    ("machine", &["units"]),
    ("worker_config", &["units"]),
    ("profile", &["units"]),
    ("sys", &["units"]),
    ("hwinfo", &["machine", "worker_config", "profile", "sys", "units"]),
    ("hugepage", &["machine", "worker_config", "profile", "sys", "units"]),
    ("planner", &["machine", "worker_config", "profile", "units"]),
    ("runtime", &["machine", "worker_config", "profile", "sys", "units"]),
    ("bench", &["runtime", "machine", "worker_config", "profile", "sys", "units"]),
    (
        "cli",
        &["bench", "hwinfo", "hugepage", "planner", "runtime", "machine", "worker_config", "profile", "sys", "units"],
    ),
    ("bin", &["cli"]),
];

/// Parts of the runtime that only some parts of it may name. Their own code and tests always may.
const CONCRETE: &[(&[&str], &[&str])] = &[
    (&["runtime", "manager", "embedded"], &["runtime", "daemon"]),
    (&["runtime", "manager", "remote"], &["runtime", "daemon"]),
    (&["runtime", "processor", "pool"], &["runtime", "daemon"]),
    (&["runtime", "processor", "child"], &["runtime", "daemon"]),
];

fn wrong_arrows(file: &TextFile) -> Vec<String> {
    let module = tokens::module_of(&file.path);
    let Some(room) = module.first() else { return Vec::new() };
    let Some((_, may)) = ROOMS.iter().find(|(name, _)| name == room) else {
        return vec![format!(
            "{}: the room `{room}` is not on the map: add it to ROOMS and to docs/ARCHITECTURE.md",
            file.path
        )];
    };
    let facts = tokens::facts(file);
    facts
        .inner
        .iter()
        .filter_map(|found| {
            let target = found.what.first()?;
            let known = target == "*" || ROOMS.iter().any(|(name, _)| name == target);
            let allowed = target == room || may.contains(&target.as_str());
            (known && !allowed).then(|| {
                format!(
                    "{}: `{room}` must not import `{}`; it may import {may:?}",
                    file.at(found.line),
                    found.what.join("::")
                )
            })
        })
        .chain(concrete_types(file, &module, &facts))
        .collect()
}

fn concrete_types(file: &TextFile, module: &[String], facts: &Facts) -> Vec<String> {
    if module.first().is_none_or(|room| room != "runtime") {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for found in facts.inner.iter().filter(|found| !found.in_test) {
        for (target, friend) in CONCRETE {
            let family = &target[..target.len() - 1];
            if starts_with(&found.what, target) && !starts_with(module, family) && !starts_with(module, friend) {
                findings.push(format!(
                    "{}: only `{}` names `{}`; take the trait instead",
                    file.at(found.line),
                    friend.join("::"),
                    target.join("::")
                ));
            }
        }
    }
    findings
}

fn starts_with(path: &[String], prefix: &[&str]) -> bool {
    path.len() >= prefix.len() && path.iter().zip(prefix).all(|(segment, wanted)| segment == wanted)
}

#[test]
fn no_import_runs_against_the_layers() {
    assert_tidy(tree::rust_files().iter().flat_map(wrong_arrows).collect());
}

#[test]
fn every_room_of_the_library_is_on_the_map() {
    let library = tree::rust_files().into_iter().find(|file| file.path == "src/lib.rs").expect("found by rust_files");
    let declared = library.text.lines().filter_map(|line| line.trim().strip_prefix("pub mod ")?.strip_suffix(';'));
    let strangers: Vec<_> =
        declared.filter(|room| !ROOMS.iter().any(|(name, _)| name == room)).map(str::to_owned).collect();
    assert_tidy(strangers);
}

mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> usize {
        wrong_arrows(&TextFile::example(path, text)).len()
    }

    #[test]
    fn the_planner_importing_sys_is_found_however_it_is_written() {
        assert_eq!(findings("src/planner/place.rs", "use crate::sys::Root;"), 1);
        assert_eq!(findings("src/planner/place.rs", "use crate::{units::Bytes, sys};"), 1);
        assert_eq!(findings("src/planner/mod.rs", "use super::sys::Root;"), 1);
        assert_eq!(findings("src/planner/place.rs", "fn f() { vec![crate::sys::now()]; }"), 1);
        assert_eq!(findings("src/planner/mod.rs", "use super::*;"), 1);
    }

    #[test]
    fn domains_that_see_each_other_are_found_in_tests_too() {
        assert_eq!(findings("src/runtime/daemon.rs", "use crate::hwinfo::collect;"), 1);
        assert_eq!(findings("src/hwinfo/mod.rs", "#[cfg(test)] mod tests { use crate::planner; }"), 1);
        assert_eq!(findings("src/units/mod.rs", "use crate::machine::Machine;"), 1);
        assert_eq!(findings("src/sys/mod.rs", "use crate::cli::Exit;"), 1);
        assert_eq!(findings("src/bin/damocles-worker.rs", "fn main() { damocles_worker::runtime::go() }"), 1);
    }

    #[test]
    fn arrows_that_run_downward_are_not_found() {
        assert_eq!(
            findings(
                "src/planner/mod.rs",
                "use crate::{machine::Machine, worker_config, units::*};\nuse self::render::x;"
            ),
            0
        );
        assert_eq!(findings("src/runtime/worker.rs", "pub(crate) use super::stage::Task; pub(super) fn f() {}"), 0);
        assert_eq!(findings("src/cli/plan.rs", "use crate::planner; use super::{Exit, Io};"), 0);
    }

    #[test]
    fn a_room_that_is_not_on_the_map_is_found() {
        assert_eq!(findings("src/attic/mod.rs", ""), 1);
    }

    #[test]
    fn a_worker_that_names_a_concrete_manager_is_found_and_the_daemon_is_not() {
        let text = "use super::manager::embedded::Embedded;";
        assert_eq!(findings("src/runtime/worker.rs", text), 1);
        assert_eq!(findings("src/runtime/daemon.rs", text), 0);
        assert_eq!(findings("src/runtime/manager/bridge.rs", "use super::embedded::Embedded;"), 0);
    }
}
