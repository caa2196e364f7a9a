//! The shape of files: a story first, a length that can be read, clean lines.
//!
//! Function lengths are a ratchet. `long_functions.txt` lists those that are longer than the limit with their
//! length; a listed one may only shrink, a new one fails.

use crate::{
    assert_tidy, tokens,
    tree::{self, TextFile},
};
use std::collections::BTreeMap;

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 900;
const RATCHET: &str = include_str!("long_functions.txt");

fn without_story(file: &TextFile) -> Option<String> {
    let story = file.text.lines().next().and_then(|line| line.strip_prefix("//! "));
    story.is_none_or(str::is_empty).then(|| format!("{}: the first line says what the file owns: `//! …`", file.path))
}

fn too_long(file: &TextFile) -> Option<String> {
    let lines = file.text.lines().count();
    (lines > FILE_LINES_MAX)
        .then(|| format!("{}: {lines} lines, at most {FILE_LINES_MAX}: give part of it a file", file.path))
}

fn ragged_lines(file: &TextFile) -> Vec<String> {
    let ragged = file.text.lines().enumerate().filter(|(_, line)| line.ends_with([' ', '\t', '\r']));
    let mut findings: Vec<_> =
        ragged.map(|(index, _)| format!("{}: trailing whitespace", file.at(index + 1))).collect();
    if !file.text.is_empty() && !file.text.ends_with('\n') {
        findings.push(format!("{}: the last line has no end", file.path));
    }
    findings
}

// `path function` → lines, of the functions over the limit. Of functions with one name the longest counts. Tests
// are exempt: with their expected text inline, long ones are flat.
fn long_functions(files: &[TextFile]) -> BTreeMap<String, usize> {
    let mut long = BTreeMap::new();
    for file in files {
        let shipped = tokens::facts(file).functions.into_iter().filter(|found| !found.in_test);
        for function in shipped.map(|found| found.what) {
            if function.lines > FUNCTION_LINES_MAX {
                let longest = long.entry(format!("{} {}", file.path, function.name)).or_insert(0);
                *longest = function.lines.max(*longest);
            }
        }
    }
    long
}

fn ratchet(text: &str) -> BTreeMap<String, usize> {
    let entries = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    entries
        .map(|line| {
            let (lines, name) = line
                .trim()
                .split_once(' ')
                .unwrap_or_else(|| panic!("long_functions.txt: not `lines path name`: {line}"));
            (name.to_owned(), lines.parse().unwrap_or_else(|_| panic!("long_functions.txt: not a number: {line}")))
        })
        .collect()
}

fn grown(found: &BTreeMap<String, usize>, allowed: &BTreeMap<String, usize>) -> Vec<String> {
    let new_or_grown = found.iter().filter_map(|(name, lines)| match allowed.get(name) {
        None => Some(format!("{name}: {lines} lines, at most {FUNCTION_LINES_MAX}: take it apart (a flat table may be listed: `{lines} {name}`)")),
        Some(limit) if lines > limit => Some(format!("{name}: grew from {limit} to {lines} lines: take it apart")),
        Some(_) => None,
    });
    let shrunk = allowed.iter().filter_map(|(name, limit)| match found.get(name) {
        Some(lines) if lines >= limit => None,
        Some(lines) => Some(format!("{name}: shrank from {limit} to {lines}: lower its line in long_functions.txt")),
        None => Some(format!("{name}: is short or gone: remove its line from long_functions.txt")),
    });
    new_or_grown.chain(shrunk).collect()
}

#[test]
fn every_file_opens_with_its_story() {
    assert_tidy(tree::rust_files().iter().filter_map(without_story).collect());
}

#[test]
fn no_file_is_longer_than_can_be_read() {
    assert_tidy(tree::rust_files().iter().filter_map(too_long).collect());
}

#[test]
fn lines_end_cleanly() {
    assert_tidy(tree::text_files().iter().flat_map(ragged_lines).collect());
}

#[test]
fn functions_fit_on_a_screen_or_only_shrink() {
    assert_tidy(grown(&long_functions(&tree::rust_files()), &ratchet(RATCHET)));
}

mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_story_is_found() {
        assert!(without_story(&TextFile::example("src/a.rs", "use std::fs;\n")).is_some());
        assert!(without_story(&TextFile::example("src/a.rs", "//!\n//! late\n")).is_some());
        assert!(without_story(&TextFile::example("src/a.rs", "")).is_some());
        assert!(without_story(&TextFile::example("src/a.rs", "//! Owns a.\n")).is_none());
    }

    #[test]
    fn long_files_and_ragged_lines_are_found() {
        assert!(too_long(&TextFile::example("src/a.rs", &"x\n".repeat(FILE_LINES_MAX + 1))).is_some());
        assert!(too_long(&TextFile::example("src/a.rs", &"x\n".repeat(FILE_LINES_MAX))).is_none());
        assert_eq!(ragged_lines(&TextFile::example("a.md", "good\nbad \nbad\t\nunended")).len(), 3);
    }

    fn one(lines: usize) -> BTreeMap<String, usize> {
        BTreeMap::from([("src/a.rs f".to_owned(), lines)])
    }

    #[test]
    fn a_function_over_the_limit_is_found_and_one_at_the_limit_is_not() {
        let file =
            |lines: usize| TextFile::example("src/a.rs", &format!("fn f() {{\n{}}}\n", "g();\n".repeat(lines - 2)));
        assert_eq!(long_functions(&[file(FUNCTION_LINES_MAX + 1)]), one(FUNCTION_LINES_MAX + 1));
        assert!(long_functions(&[file(FUNCTION_LINES_MAX)]).is_empty());
        let test = TextFile::example("src/a.rs", &format!("#[test]\n{}", file(FUNCTION_LINES_MAX + 1).text));
        assert!(long_functions(&[test]).is_empty());
    }

    #[test]
    fn the_ratchet_turns_one_way() {
        let listed = ratchet("# why\n80 src/a.rs f\n");
        assert_eq!(listed, one(80));
        assert!(grown(&one(80), &listed).is_empty());
        assert_eq!(grown(&one(81), &listed).len(), 1);
        assert_eq!(grown(&one(79), &listed).len(), 1, "a shrunk one must be lowered, or it could grow again");
        assert_eq!(grown(&BTreeMap::new(), &listed).len(), 1);
        assert_eq!(grown(&one(71), &BTreeMap::new()).len(), 1);
    }
}
