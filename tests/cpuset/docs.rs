//! docs/cpuset.md shows real output: every example on it is run.

use crate::{synthetic, verdicts::DOCUMENTED};
use assert_cmd::Command;
use damocles_worker::machine::{Machine, Part, PartKind};
use std::fs;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cpuset.md");
const CONFIG: &str = "tests/worker_config/fixtures/good/96-cores-plan-b.toml";
const COMMAND: &str = "$ damocles-worker-util ";

/// A synthetic machine has no numbers for its caches; these two have.
fn numbered(line: &str) -> Machine {
    fn number(part: &mut Part, next: &mut u32) {
        if part.kind == PartKind::L3 {
            part.os_index = Some(*next);
            *next += 1;
        }
        part.parts.iter_mut().for_each(|part| number(part, next));
    }
    let mut machine = synthetic(line);
    number(&mut machine.topology, &mut 0);
    machine
}

/// The page with the output of each of its commands put where it belongs.
fn rewritten(page: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    for (name, line) in [("machine.json", DOCUMENTED), ("epyc7642.json", "pack:2 [numa] l3:16 core:3 pu:1")] {
        fs::write(dir.path().join(name), serde_json::to_string(&numbered(line)).unwrap()).unwrap();
    }
    fs::copy(format!("{}/{CONFIG}", env!("CARGO_MANIFEST_DIR")), dir.path().join("worker.toml")).unwrap();
    let mut lines = page.lines();
    let mut out = String::new();
    while let Some(line) = lines.next() {
        out += &format!("{line}\n");
        if let Some(arguments) = line.strip_prefix(COMMAND) {
            let mut command = Command::cargo_bin("damocles-worker-util").unwrap();
            let output = command.current_dir(dir.path()).args(arguments.split_whitespace()).output().unwrap();
            out += &String::from_utf8(output.stdout).unwrap();
            lines.by_ref().find(|line| *line == "```").expect("the example ends");
            out += "```\n";
        }
    }
    out
}

#[test]
fn the_examples_of_the_page_are_what_the_command_prints() {
    let page = fs::read_to_string(PAGE).unwrap();
    let real = rewritten(&page);
    if std::env::var_os("DAMOCLES_BLESS").is_some() {
        fs::write(PAGE, &real).unwrap();
        return;
    }
    assert_eq!(page, real, "`DAMOCLES_BLESS=1 cargo test --test cpuset` writes the examples anew");
}
