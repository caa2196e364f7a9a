//! Configurations of the field load: our own wording of them always, the documents themselves where they are.
//!
//! `DAMOCLES_TEST_SEEDS` names a folder with the documents that describe the configuration (names starting
//! with 001 and 003). Their fragments get what a whole file needs and they lack.

use crate::fixtures::{Fixture, folder};
use damocles_worker::worker_config::*;
use std::{fs, io::Write as _, path::PathBuf};

#[test]
fn every_good_configuration_loads_with_exactly_its_warnings() {
    for fixture in Fixture::all("good") {
        let Loaded { config, warnings } =
            parse(&fixture.text).unwrap_or_else(|problems| panic!("{}:\n{problems}", fixture.name()));
        let warnings: Vec<String> = warnings.iter().map(Diagnosis::to_string).collect();
        let expected = fixture.marked("warn");
        assert_eq!(warnings.len(), expected.len(), "{}: {warnings:#?}", fixture.name());
        for (warning, expected) in warnings.iter().zip(expected) {
            assert!(warning.contains(expected), "{}: expected {expected:?} in {warning:?}", fixture.name());
        }
        assert_eq!(parse(&render(&config)).expect("what we render loads").config, config, "{}", fixture.name());
    }
}

/// The reference of the configuration that ships with the program.
fn reference() -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    fs::read_to_string(path).expect("the reference is there")
}

#[test]
fn the_references_examples_load() {
    let examples = examples(&reference());
    assert_eq!(examples.len(), 2);
    for (line, example) in examples {
        let problems = obstacles(&whole(&example));
        assert!(problems.is_empty(), "docs/configuration.md:{line}: {problems:#?}");
    }
}

#[test]
fn the_reference_has_a_row_for_every_key_and_its_default() {
    let reference = reference();
    let rows =
        |key: &str| -> Vec<&str> { reference.lines().filter(|row| row.starts_with(&format!("| `{key}` |"))).collect() };
    let every_key = fs::read_to_string(folder("every-key.rendered.toml")).expect("the fixture is there");
    let keys = |text: &str| -> Vec<(String, String)> {
        let lines = text.lines().filter_map(|line| line.split_once(" = "));
        lines.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    };
    let in_maps = StageName::ALL.map(StageName::name).into_iter().chain(["bus", "gpu1"]);
    let in_maps: Vec<&str> = in_maps.chain(["2KiB", "8MiB", "512MiB", "32GiB", "64GiB"]).collect();
    for (key, _) in keys(&every_key) {
        let key = key.strip_prefix("sealing.").unwrap_or(&key);
        assert!(in_maps.contains(&key) || !rows(key).is_empty(), "{key} has no row");
    }
    let mut config = WorkerConfig::minimal(RpcClient::Embedded(EmbeddedManager::default()), "./a", "./b");
    config.processors.stages.insert(StageName::Pc1, vec![Processor::default()]);
    for (key, default) in keys(&render(&config)) {
        let required = ["location", "rpc_client.addr"].contains(&key.as_str());
        assert!(required || rows(&key).iter().any(|row| row.contains(&format!("`{default}`"))), "{key} = {default}");
    }
}

/// The documents, or none and a word on stderr.
fn documents() -> Vec<(PathBuf, String)> {
    let Some(folder) = std::env::var_os("DAMOCLES_TEST_SEEDS").map(PathBuf::from) else {
        let _ = writeln!(
            std::io::stderr(),
            "skipped: the documents' own examples, because DAMOCLES_TEST_SEEDS names no folder; fixtures/good were tested"
        );
        return Vec::new();
    };
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("DAMOCLES_TEST_SEEDS={}: {e}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable entry").path()).collect();
    paths.sort();
    let described = |path: &PathBuf| {
        let name = path.file_name().expect("a file has a name").to_string_lossy();
        name.starts_with("001") || name.starts_with("003")
    };
    let paths: Vec<PathBuf> = paths.into_iter().filter(described).collect();
    assert_eq!(paths.len(), 2, "{} holds no documents 001 and 003", folder.display());
    paths.into_iter().map(|path| (path.clone(), fs::read_to_string(&path).expect("a readable document"))).collect()
}

/// The fenced blocks that hold configuration, with their line: each line is a comment, a heading or a key.
fn examples(document: &str) -> Vec<(usize, String)> {
    let mut examples = Vec::new();
    let mut open: Option<(usize, Vec<&str>)> = None;
    for (i, line) in document.lines().enumerate() {
        match (&mut open, line.trim().strip_prefix("```")) {
            (None, Some("" | "toml")) => open = Some((i + 1, Vec::new())),
            (None, Some(_)) => open = Some((i + 1, vec!["not configuration"])),
            (Some((start, lines)), Some(_)) => {
                let is_toml = |line: &&str| {
                    let line = line.trim();
                    line.is_empty() || line.starts_with(['#', '[']) || line.contains(" = ")
                };
                if lines.iter().all(is_toml) {
                    examples.push((*start, lines.join("\n")));
                }
                open = None;
            }
            (Some((_, lines)), None) => lines.push(line),
            (None, None) => {}
        }
    }
    examples
}

/// A fragment with what a whole file needs.
fn whole(fragment: &str) -> String {
    let first = fragment.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    let mut text = String::new();
    if first.is_some_and(|line| !line.starts_with('[')) {
        text.push_str("[sealing]\n");
    }
    text.push_str(fragment);
    for (headings, lacking) in [
        (&["[sector_manager]"][..], "[sector_manager]\nrpc_client.addr = \"http://127.0.0.1:1789\"\n"),
        (&["[[sealing_thread]]"], "[[sealing_thread]]\nlocation = \"/mnt/preamble/store\"\n"),
        (&["[[attached]]", "[remote_store]"], "[[attached]]\nlocation = \"/mnt/preamble/persist\"\n"),
    ] {
        if !fragment.lines().any(|line| headings.contains(&line.trim())) {
            text.push('\n');
            text.push_str(lacking);
        }
    }
    text
}

/// What keeps an example from loading: nothing but placeholders may.
fn obstacles(text: &str) -> Vec<String> {
    let problems = parse(text).err().map_or_else(Vec::new, |problems| problems.problems);
    problems.iter().map(Diagnosis::to_string).collect()
}

#[test]
fn the_documents_examples_load_except_for_their_placeholders() {
    let mut seen = Vec::new();
    for (path, document) in documents() {
        let examples = examples(&document);
        seen.push(examples.len());
        for (line, example) in examples {
            let obstacles = obstacles(&whole(&example));
            let placeholders = example.matches("\"{").count() + example.matches("/{").count();
            let at = format!("{}:{line}: {obstacles:#?}\n{example}", path.display());
            assert!(obstacles.iter().all(|problem| problem.contains("placeholder")), "{at}");
            let in_comments = example.lines().filter(|line| line.trim().starts_with('#'));
            let in_comments: usize = in_comments.map(|l| l.matches("\"{").count() + l.matches("/{").count()).sum();
            assert_eq!(obstacles.len(), placeholders - in_comments, "{at}");
        }
    }
    assert!(seen.is_empty() || seen == [27, 2], "the documents held {seen:?} examples");
}

#[test]
fn the_documents_commented_keys_load_and_their_slips_are_told() {
    let slip = "args = [\"--args-1\", \"1\", --\"args-2\", \"2\"]";
    let mut slips = 0;
    for (path, document) in documents() {
        for (line, example) in examples(&document) {
            let shown = uncommented(&example);
            let at = |obstacles: &[String]| format!("{}:{line}: {obstacles:#?}\n{shown}", path.display());
            if shown.contains(slip) {
                slips += 1;
                let obstacles = obstacles(&whole(&shown));
                assert!(obstacles.len() == 1 && obstacles[0].contains("is not TOML"), "{}", at(&obstacles));
                assert!(obstacles[0].contains("--\\\"args-2\\\""), "{}", at(&obstacles));
            }
            let obstacles = obstacles(&whole(&shown.replace(slip, "args = []")));
            let expected = |problem: &String| {
                problem.contains("placeholder")
                    || problem.contains("which is not supported in this version")
                    // `some_name = some_number` is a word for a number, which TOML does not have.
                    || (problem.contains("is not TOML") && shown.contains("some_name = some_number"))
                    // The processors' example takes a lock that its fragment does not declare.
                    || (problem.contains("the lock \"gpu1\" is not in") && !shown.contains("[processors.ext_locks]"))
                    // The only store of the example becomes read-only.
                    || problem.contains("every store is read-only")
            };
            assert!(obstacles.iter().all(expected), "{}", at(&obstacles));
        }
    }
    assert!(slips == 0 || slips == 2, "the documents held {slips} slips");
}

/// The example with the keys it shows in comments switched on.
fn uncommented(example: &str) -> String {
    let on = |line: &str| {
        let key = line.trim_start().strip_prefix('#').map(str::trim_start);
        let is_key = |key: &&str| {
            key.split_once('=').is_some_and(|(name, _)| {
                let name = name.trim();
                !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.')
            })
        };
        key.filter(is_key).unwrap_or(line).to_owned()
    };
    example.lines().map(on).collect::<Vec<_>>().join("\n")
}
