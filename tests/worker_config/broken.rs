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
fn a_secret_in_an_address_token_or_header_is_not_repeated() {
    for line in [
        "rpc_client.addr = \"http://worker:hunter2@10.0.0.5\"",
        "rpc_client.addr = \"bob:hunter2@10.0.0.1:1789\"",
        "rpc_client.addr = \"hunter2@10.0.0.1\"",
        "rpc_client.addr = \"http://bob:1/hunter2@h\"",
        "rpc_client.addr = \"http://bob:{hunter2}@h\"",
        "rpc_client.addr = \"ws://bob:hunter2@h:1\"",
        "rpc_client.addr = \"tcp://bob:hunter2@h:1\"",
        "rpc_client.addr = \"http://h?token=hunter2\"",
        "rpc_client.addr = \"http://h:1/#hunter2\"",
        "rpc_client.addr = \"h?token=hunter2\"",
        "rpc_client.addr = \"/ip4/10.0.0.1/tcp/1/http?token=hunter2\"",
        "rpc_client.addr = \"/dns/bob:hunter2@h/tcp/1\"",
        "rpc_client.addr = \"hunter2:/ip4/10.0.0.1/tcp/1/http\"",
        "rpc_client.addr = \"hunter2:http://h:1\"",
        "rpc_client.addr = \"http://bob:hunter2@h\\u0000\"",
        "rpc_client = \"http://bob:hunter2@h\"",
        "rpc_client.addr = [\"http://bob:hunter2@h\"]",
        "piece_token = \"hunter2 \"",
        "piece_token = \"hunter2\\u0000\"",
        "rpc_client.headers = { Authorization = \"Bearer hunter2\\u0000\" }",
        // Not TOML: the end of the string is missing.
        "rpc_client.addr = \"http://bob:hunter2@h",
        "piece_token = \"hunter2",
        "[sector_manager.rpc_client.headers]\nX-Key = \"hunter2",
    ] {
        // Beside settings of the embedded manager, whose warning names the address too.
        for beside in ["", "[sector_manager.embedded]\nminer = 1000\n"] {
            let problems = parse(&format!("[sector_manager]\n{line}\n{beside}")).unwrap_err();
            let told = problems.problems.iter().chain(&problems.warnings).map(ToString::to_string);
            let told = told.collect::<Vec<_>>().join("\n");
            assert!(told.contains("sector_manager") || told.contains("is not TOML"), "{told}");
            assert!(!told.contains("hunter2"), "{line}\n{told}");
        }
    }
}

#[test]
fn where_pieces_may_come_from_is_an_origin_and_nothing_more() {
    for origin in [
        "market",
        "market:41235",
        "https://",
        "https://market/pieces",
        "https://market/rpc/v0",
        "ws://market",
        "ftp://market",
        "/ip4/10.0.0.1/tcp/1",
        "https://*.market",
        "https://market:0",
        "https://bob:hunter2@market",
        "https://market?token=hunter2",
    ] {
        let text = format!(
            "[sector_manager]\nrpc_client.addr = \"embedded\"\npiece_origins = [\"https://a\", \"{origin}\"]\n"
        );
        let told = parse(&text).unwrap_err().to_string();
        assert!(told.contains("piece_origins[1]") && told.contains("https://market.example:41235"), "{origin}: {told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
}

#[test]
fn a_user_name_is_no_more_repeated_than_a_password() {
    let text = parse("[sector_manager]\nrpc_client.addr = \"bob:x@10.0.0.1:1789\"\n").unwrap_err().to_string();
    assert!(text.contains("the address carries a user name") && !text.contains("bob"), "{text}");
}
