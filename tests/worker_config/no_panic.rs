//! Whatever the text, the loader answers.

use crate::{fixtures::Fixture, strategies};
use damocles_worker::worker_config::{parse, render};
use proptest::prelude::*;

/// Answers, and keeps its promises about the answer.
fn answers(text: &str) -> Result<(), TestCaseError> {
    match parse(text) {
        Ok(loaded) => prop_assert_eq!(parse(&render(&loaded.config)).map(|again| again.config), Ok(loaded.config)),
        Err(problems) => {
            prop_assert!(!problems.problems.is_empty());
            prop_assert_eq!(problems.to_string().lines().count(), problems.problems.len());
        }
    }
    Ok(())
}

/// Pieces that configurations are made of, right and wrong.
fn token() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "[sealing]\n",
            "[[sealing_thread]]\n",
            "[[attached]]\n",
            "[remote_store]\n",
            "[processors]\n",
            "[processors.limit]\n",
            "[processors.limitation.concurrent]\n",
            "[[processors.pc1]]\n",
            "[sector_manager]\n",
            "[worker]\n",
            "\n",
            " = ",
            "{",
            "}",
            "[",
            "]",
            "\"",
            "'",
            "-1",
            "0",
            "99999999999999999999999999999999999999999999",
            "0xFF",
            "1e400",
            "nan",
            "inf",
            "true",
            "2026-11-20T00:00:00Z",
            "\"embedded\"",
            "\"30s\"",
            "\"0-65535\"",
            "\"32GiB\"",
            "location",
            "plan",
            "sealing",
            "pc1",
            "cgroup.cpuset",
            "envs",
            "locks",
            "rpc_client.addr",
            "\u{0}",
            "\u{feff}",
            "#",
            ".",
            ",",
        ])
        .prop_map(str::to_owned),
        any::<String>(),
    ]
}

#[test]
fn bottomless_nesting_gets_an_answer() {
    const DEPTH: usize = 100_000;
    for text in [
        format!("a = {}", "[".repeat(DEPTH)),
        format!("a = {}{}", "[".repeat(DEPTH), "]".repeat(DEPTH)),
        format!("a = {}", "{ a = ".repeat(DEPTH)),
        format!("{}a = 1", "a.".repeat(DEPTH)),
        format!("[{}a]", "a.".repeat(DEPTH)),
        format!("[[{}a]]", "a.".repeat(DEPTH)),
        format!("a = {{ {}a = 1 }}", "a.".repeat(DEPTH)),
        format!("worker.{}a = 1", "a.".repeat(DEPTH)),
        format!("[worker]\n{} = 1", "x".repeat(DEPTH)),
    ] {
        assert!(parse(&text).is_err(), "{:.40}…", text);
    }
}

proptest! {
    #[test]
    fn any_text_gets_an_answer(text in any::<String>()) {
        answers(&text)?;
    }

    #[test]
    fn any_heap_of_pieces_gets_an_answer(tokens in prop::collection::vec(token(), 0..40)) {
        answers(&tokens.concat())?;
    }

    #[test]
    fn a_damaged_configuration_gets_an_answer(
        config in strategies::worker_config(),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0usize..12, token()), 1..4),
    ) {
        let mut text: Vec<char> = render(&config).chars().collect();
        for (at, length, token) in cuts {
            let start = at.index(text.len() + 1);
            let end = (start + length).min(text.len());
            text.splice(start..end, token.chars());
        }
        answers(&text.into_iter().collect::<String>())?;
    }

    #[test]
    fn a_fixture_with_swapped_lines_gets_an_answer(
        which in any::<prop::sample::Index>(), first in any::<prop::sample::Index>(), second in any::<prop::sample::Index>(),
    ) {
        let fixtures = Fixture::all("good");
        let mut lines: Vec<&str> = fixtures[which.index(fixtures.len())].text.lines().collect();
        let (first, second) = (first.index(lines.len()), second.index(lines.len()));
        lines.swap(first, second);
        answers(&lines.join("\n"))?;
    }
}
