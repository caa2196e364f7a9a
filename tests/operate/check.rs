//! `daemon --check` and refused starts: what listens, what is secret, and keys that are not there.

use crate::rig::{Rig, said};
use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt};

const CHECK: &[&str] = &["daemon", "-c", "worker.toml", "--check"];
const START: &[&str] = &["daemon", "-c", "worker.toml"];

#[test]
fn a_port_that_is_taken_is_a_warning_of_the_check_and_the_end_of_a_start() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap().port();
    for (key, from, to) in [
        ("worker.rpc_server", "rpc_server.port = 0", format!("rpc_server.port = {taken}")),
        ("metrics.http_listen", "\"127.0.0.1:0\"", format!("\"127.0.0.1:{taken}\"")),
    ] {
        let rig = Rig::failing();
        rig.edit(from, &to);
        let told = format!("{key}: listen on 127.0.0.1:{taken}: ");
        let check = rig.run(CHECK);
        assert_eq!(check.status.code(), Some(0), "{}", said(&check));
        assert!(said(&check).contains(&format!("warning: worker.toml: {told}")), "{}", said(&check));
        let start = rig.run(START);
        assert_eq!(start.status.code(), Some(2), "{}", said(&start));
        assert!(said(&start).contains(&format!("error: {told}")), "{}", said(&start));
        assert!(!rig.path("sealing").exists(), "nothing was begun");
    }
}

#[test]
fn an_address_that_this_host_does_not_have_is_a_problem() {
    let rig = Rig::failing();
    rig.edit("rpc_server.host = \"127.0.0.1\"", "rpc_server.host = \"192.0.2.77\"");
    let check = rig.run(CHECK);
    assert_eq!(check.status.code(), Some(2), "{}", said(&check));
    assert!(said(&check).contains("no interface of this host has this address"), "{}", said(&check));
}

#[test]
fn a_token_file_that_others_can_read_is_refused() {
    let rig = Rig::failing();
    rig.edit("rpc_server.port = 0", "rpc_server.port = 0\nrpc_server.token_file = \"./token\"");
    let secret = "0123456789abcdef0123456789abcdef";
    for (mode, told) in [(None, "No such file"), (Some(0o644), "(mode 0644): chmod 600"), (Some(0o600), "")] {
        if let Some(mode) = mode {
            fs::write(rig.path("token"), secret).unwrap();
            fs::set_permissions(rig.path("token"), fs::Permissions::from_mode(mode)).unwrap();
        }
        let commands: &[&[&str]] = if told.is_empty() { &[CHECK] } else { &[CHECK, START] };
        for command in commands {
            let output = rig.run(command);
            assert_eq!(output.status.code(), Some(if told.is_empty() { 0 } else { 2 }), "{}", said(&output));
            let text = said(&output);
            assert!(
                told.is_empty() || text.contains("worker.rpc_server.token_file: ") && text.contains(told),
                "{text}"
            );
            assert!(!text.contains(secret), "{text}");
        }
    }
}

#[test]
fn keys_that_are_not_there_refuse_the_start_with_the_command_that_makes_them() {
    let rig = Rig::failing();
    // Without a processor of somebody else's for it, c2 is ours.
    let config = fs::read_to_string(rig.path("worker.toml")).unwrap();
    let ours: Vec<_> = config.split("[[processors.").filter(|table| !table.starts_with("c2]]")).collect();
    fs::write(rig.path("worker.toml"), ours.join("[[processors.")).unwrap();
    fs::create_dir(rig.path("keys")).unwrap();
    let run = |args| rig.command(args).env("FIL_PROOFS_PARAMETER_CACHE", rig.path("keys")).output().unwrap();
    let told = "proof parameters of 2KiB are not there: get them with: damocles-worker params fetch --sector-size 2KiB, or \
                without a network: damocles-worker params generate --sector-size 2KiB";
    let check = run(CHECK);
    assert_eq!(check.status.code(), Some(0), "{}", said(&check));
    assert!(said(&check).contains(told), "{}", said(&check));
    let start = run(START);
    assert_eq!(start.status.code(), Some(2), "{}", said(&start));
    assert!(said(&start).contains(told), "{}", said(&start));
    assert!(!rig.path("sealing").exists() && !rig.path("manager").exists(), "nothing was begun");
}
