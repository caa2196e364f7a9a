//! `damocles-worker manager` as it is typed: what it accepts and refuses, what it says, how it ends.

use crate::rig::{Rig, said};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::{fs, os::unix::fs::PermissionsExt};

fn token(rig: &Rig, mode: u32) {
    rig.write("token", "a-secret-token-for-tests\n");
    fs::set_permissions(rig.path("token"), fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_it_is_told_is_judged_before_anything_is_made() {
    let rig = Rig::new();
    token(&rig, 0o644);
    for (args, code, words) in [
        ("", 2, "no store: finished sectors have nowhere to go"),
        ("--attach persist=./persist", 0, "is not there yet; the manager will make it"),
        ("--attach persist=./token", 2, "is not a folder"),
        ("--attach a=./a --token-file token", 2, "others may read or write it (mode 0644): chmod 600"),
        ("--attach a=./a --token-file none", 2, "token file none: "),
        ("--attach a=./a --listen 0.0.0.0:0", 0, "without a token file"),
        ("--attach a=./a --miner 9223372036854775808", 2, "is no actor id"),
        ("--attach a=./a --epoch 2days", 2, "is not supported: it must be 1ms to 1day"),
        ("--attach a=./a --proof-type StackedDrg2KiBV1_1_Feat_SyntheticPoRep", 2, "is not supported in this version"),
        ("--attach nameless", 2, "write NAME=PATH"),
    ] {
        let args: Vec<_> = ["manager", "--check"].into_iter().chain(args.split_whitespace()).collect();
        let output = rig.run(&args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", said(&output));
        assert!(said(&output).contains(words), "{args:?}: {}", said(&output));
    }
    let output = rig.run(&["manager", "--check", "--json", "--attach", "persist=./persist"]);
    let verdict: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&verdict["accepted"], verdict["warnings"].as_array().unwrap().len()), (&true.into(), 1));
    let names: Vec<_> = fs::read_dir(rig.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["token"], "a check changes nothing");
}

#[test]
fn a_file_of_its_own_or_a_daemons_says_the_same_and_what_is_typed_counts_before() {
    let rig = Rig::new();
    let own = r#"
[sector_manager.embedded]
miner = 1234
epoch = "10ms"
[sector_manager.served]
listen = "127.0.0.1:0"
[[attached]]
name = "one"
location = "./one"
"#;
    rig.write("manager.toml", own);
    rig.write(
        "worker.toml",
        &(own.to_owned() + "[sealing]\nmax_retries = 1\n[[sealing_thread]]\nlocation = \"./s\"\n"),
    );
    for file in ["manager.toml", "worker.toml"] {
        let running = rig.start("log", &["manager", "-c", file, "--attach", "two=./two", "--miner", "4321", "--json"]);
        let line: Value = serde_json::from_str(&running.line(0)).unwrap();
        assert_eq!((&line["miner"], &line["stores"]), (&4321.into(), &serde_json::json!(["one", "two"])), "{file}");
        assert_eq!(line["changes_from_elsewhere"], false);
        running.signal(Signal::SIGTERM);
        assert_eq!(running.wait().0, Some(0), "{file}");
    }
    rig.write("typo.toml", &own.replace("miner", "minr"));
    let output = rig.run(&["manager", "-c", "typo.toml", "--check"]);
    assert!(output.status.success() && said(&output).contains("did you mean miner?"), "{}", said(&output));
    rig.write("bad.toml", &own.replace("1234", "\"f01234\""));
    let output = rig.run(&["manager", "-c", "bad.toml", "--check"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("sector_manager.embedded.miner"), "{}", said(&output));
}

#[test]
fn it_says_where_it_listens_and_a_second_one_is_refused() {
    let rig = Rig::new();
    token(&rig, 0o600);
    let args = ["manager", "--listen", "127.0.0.1:0", "--attach", "persist=./persist"];
    let first = rig.start("first.log", &[&args[..], &["--token-file", "token"]].concat());
    let said_first = [first.line(0), first.line(4)];
    assert!(said_first[0].starts_with("listening on http://127.0.0.1:"), "{said_first:?}");
    assert_eq!(said_first[1], "  changes from other hosts: with the token");
    let output = rig.run(&args);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("is in use by another process"), "{}", said(&output));
    let address = said_first[0].strip_prefix("listening on http://").unwrap();
    let output = rig.run(&["manager", "--listen", address, "--path", "other", "--attach", "persist=./persist"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains(&format!("listen on {address}: ")), "{}", said(&output));
    first.signal(Signal::SIGINT);
    assert_eq!(first.wait().0, Some(0));
}

#[test]
fn a_rehearsal_and_real_sealing_never_meet() {
    let rig = Rig::new();
    let rehearsing = rig.manager("127.0.0.1:0");
    rig.worker("a", rehearsing.address, 1);
    let output = rig.run(&["daemon", "-c", "a.toml", "--allow-local-params", "--sectors", "1"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("the manager is a rehearsal's"), "{}", said(&output));
    rehearsing.running.signal(Signal::SIGTERM);
    rehearsing.running.wait();

    let args = ["manager", "--listen", "127.0.0.1:0", "--attach", "persist=./persist", "--json"];
    let output = rig.run(&args);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("holds a rehearsal, whose proofs prove nothing"), "{}", said(&output));
    let real = rig.start("real.log", &[&args[..], &["--path", "real"]].concat());
    let line: Value = serde_json::from_str(&real.line(0)).unwrap();
    rig.worker("a", line["url"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap(), 1);
    let output = rig.run(&["daemon", "-c", "a.toml", "--rehearse", "sleep=1ms", "--sectors", "1"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("the manager is a real one"), "{}", said(&output));
    real.signal(Signal::SIGTERM);
    real.wait();
    let output = rig.run(&[&args[..], &["--path", "real", "--rehearse"]].concat());
    assert!(said(&output).contains("holds sectors with real proofs"), "{}", said(&output));
}
