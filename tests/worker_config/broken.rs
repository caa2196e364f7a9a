//! Broken configurations are refused, each in its own words.

use crate::fixtures::Fixture;
use damocles_worker::worker_config::parse;
use std::collections::HashMap;

#[test]
fn every_broken_configuration_is_refused_in_the_expected_words() {
    let fixtures = Fixture::all("broken");
    assert!(fixtures.len() >= 40, "only {} broken configurations", fixtures.len());
    for fixture in &fixtures {
        let expected = fixture.marked("expect");
        assert!(!expected.is_empty(), "{}: no `# expect:` line", fixture.name());
        let problems = match parse(&fixture.text) {
            Ok(loaded) => panic!("{} loads: {loaded:#?}", fixture.name()),
            Err(problems) => problems,
        };
        let text = problems.to_string();
        for expected in expected {
            assert!(text.contains(expected), "{}: expected {expected:?} in\n{text}", fixture.name());
        }
    }
}

#[test]
fn a_single_mistake_is_told_once() {
    for fixture in Fixture::all("broken") {
        let Err(problems) = parse(&fixture.text) else { continue };
        if fixture.name().contains("many-at-once") {
            assert_eq!(problems.problems.len(), fixture.marked("expect").len(), "{problems}");
        } else {
            assert_eq!(problems.problems.len(), 1, "{}:\n{problems}", fixture.name());
        }
        assert_eq!(problems.to_string().lines().count(), problems.problems.len(), "{problems}");
    }
}

#[test]
fn no_two_broken_configurations_share_a_message() {
    let mut seen = HashMap::new();
    for fixture in Fixture::all("broken") {
        let Err(problems) = parse(&fixture.text) else { continue };
        if let Some(other) = seen.insert(problems.to_string(), fixture.name()) {
            panic!("{} and {other} say the same: {problems}", fixture.name());
        }
    }
}

#[test]
fn problems_come_in_the_order_of_the_file_with_their_lines() {
    let problems = parse("[sealing]\nmax_retries = -1\n\n[metrics]\nenable = 1\n").unwrap_err();
    let lines: Vec<_> = problems.problems.iter().map(|p| p.line).collect();
    assert_eq!(lines, [None, None, None, Some(2), Some(5)], "{problems}");
    assert_eq!(
        problems.problems[3].to_string(),
        "sealing.max_retries: found -1 (an integer), which is negative; \
         accepted: a whole number, 0 or more, without quotes (line 2)"
    );
}

#[test]
fn a_secret_in_an_address_or_token_is_not_repeated() {
    for line in ["rpc_client.addr = \"http://worker:hunter2@10.0.0.5\"", "piece_token = \"hunter2 \""] {
        let text = parse(&format!("[sector_manager]\n{line}\n")).unwrap_err().to_string();
        assert!(text.contains("sector_manager.") && !text.contains("hunter2"), "{text}");
    }
}
