//! Words that do not belong: leftovers, paths of somebody's machine, names of the tools somebody wrote with.
//!
//! Words are written here in two halves, so that this file passes its own test.

use crate::{
    assert_tidy,
    tree::{self, TextFile},
};

/// Everywhere.
const LEFTOVERS: &[&str] = &[concat!("FIX", "ME"), concat!("TO", "DO"), concat!("XX", "X")];

/// Everywhere: beginnings of paths that exist on one machine only.
const MACHINES: &[&str] =
    &[concat!("/wo", "rk/"), concat!("/tmp/bash", "_jobs"), concat!("/tmp/w", "t/"), concat!("/home/", "user/")];

/// Everywhere but in the build server's script.
const BESIDE: &str = concat!("../sha", "red");

/// In prose: whoever wrote this, the reader cares about what it says.
const TOOLS: &[&str] = &[
    concat!("A", "I"),
    concat!("LL", "M"),
    concat!("Cla", "ude"),
    concat!("Anth", "ropic"),
    concat!("Chat", "GPT"),
    concat!("Open", "AI"),
    concat!("Copi", "lot"),
    concat!("sub", "agent"),
    concat!("age", "nt"),
    concat!("sess", "ion"),
    concat!("assis", "tant"),
];

fn is_prose(file: &TextFile) -> bool {
    file.path.ends_with(".md")
}

fn out_of_place(file: &TextFile) -> Vec<String> {
    let mut findings = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        let mut find = |what: &str, why: &str| findings.push(format!("{}: `{what}`: {why}", file.at(index + 1)));
        LEFTOVERS.iter().filter(|word| has_word(line, word)).for_each(|word| find(word, "finish it, or open an issue"));
        MACHINES.iter().filter(|path| has_path(line, path)).for_each(|path| find(path, "a path of one machine"));
        if line.contains(BESIDE) && file.path != ".ci/run" {
            find(BESIDE, "only .ci/run looks beside the checkout");
        }
        if is_prose(file) {
            let prose = line.replace("User-Agent", "").replace("user agent", "");
            TOOLS.iter().filter(|word| has_word_or_plural(&prose, word)).for_each(|word| find(word, "a word of tools"));
        }
    }
    findings
}

fn has_word(line: &str, word: &str) -> bool {
    let is_letter = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word)
        .any(|(at, _)| !is_letter(line[..at].chars().next_back()) && !is_letter(line[at + word.len()..].chars().next()))
}

fn has_word_or_plural(line: &str, word: &str) -> bool {
    has_word(line, word) || has_word(line, &format!("{word}s"))
}

// At the beginning of a path, not in its middle.
fn has_path(line: &str, path: &str) -> bool {
    let goes_on = |c: char| c.is_alphanumeric() || "._-/~}".contains(c);
    line.match_indices(path).any(|(at, _)| !line[..at].chars().next_back().is_some_and(goes_on))
}

#[test]
fn no_leftovers_machines_or_tools_are_named() {
    assert_tidy(tree::text_files().iter().flat_map(out_of_place).collect());
}

mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> usize {
        out_of_place(&TextFile::example(path, text)).len()
    }

    #[test]
    fn each_word_out_of_place_is_found() {
        for word in LEFTOVERS.iter().chain(MACHINES).chain([&BESIDE]) {
            assert_eq!(findings("src/a.rs", &format!("// see {word} here")), 1, "{word}");
        }
        for word in TOOLS {
            assert_eq!(findings("docs/a.md", &format!("written by one {word}.")), 1, "{word}");
        }
    }

    #[test]
    fn longer_words_and_longer_paths_are_not() {
        assert_eq!(
            findings("docs/a.md", &format!("{}D, possessions, FAIL, User-Agent, /srv/work/x", concat!("TO", "DO"))),
            0
        );
        assert_eq!(findings("src/a.rs", concat!("// a TLS sess", "ion")), 0);
        assert_eq!(findings(".ci/run", BESIDE), 0);
    }
}
