//! Callers that are not on loopback, in a network namespace of their own: reading is free, changing needs the token, a wrong
//! token is refused everywhere, and however many there are, a caller on this host is answered.

use crate::rig::{Rig, WORKER, said};
use std::{fs, io::Write, os::unix::fs::PermissionsExt, process::Command};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// The daemon and callers of it at an address that is not loopback; each caller's exit code on a line.
const SCRIPT: &str = r#"
ip link set lo up 2>/dev/null && ip addr add 192.0.2.1/32 dev lo 2>/dev/null || exit 77
"$WORKER" daemon -c worker.toml >/dev/null 2>daemon.log &
daemon=$!
until grep -q 'worker RPC' daemon.log; do kill -0 $daemon || exit 1; sleep 0.05; done
ask() { "$WORKER" worker "$@" --addr 192.0.2.1:17890 >>answers 2>&1; echo "$1 $?"; }
ask list
ask pause 0
ask pause 0 --token-file wrong
ask pause 0 --token-file token
ask resume 0 --token-file token
ask list --token-file wrong
here() { "$WORKER" worker "$@" --addr 127.0.0.1:17890 >>answers 2>&1; echo "here $1 $?"; }
here pause 0
here resume 0 --token-file wrong
# More connections from elsewhere than there are places, and none of them says anything.
bash -c 'for n in $(seq 80); do exec {fd}<>/dev/tcp/192.0.2.1/17890; done; touch crowd; exec sleep 600' &
crowd=$!
until [ -e crowd ]; do kill -0 $crowd || exit 1; sleep 0.05; done
here list
kill $crowd
kill $daemon; wait $daemon
"#;

#[test]
fn from_another_address_changing_needs_the_token() {
    let rig = Rig::failing();
    rig.edit("rpc_server.host = \"127.0.0.1\"\nrpc_server.port = 0", "rpc_server.token_file = \"./token\"");
    for (name, secret) in [("token", TOKEN), ("wrong", "ffffffffffffffffffffffffffffffff")] {
        fs::write(rig.path(name), secret).unwrap();
        fs::set_permissions(rig.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let mut command = Command::new("unshare");
    command.args(["-rn", "sh", "-c", SCRIPT]).env("WORKER", WORKER).current_dir(rig.path(""));
    let output = match command.output() {
        Ok(output) if output.status.code() == Some(77) || said(&output).contains("unshare failed") => {
            return skip("no network namespace can be made here");
        }
        Ok(output) => output,
        Err(error) => return skip(&format!("unshare: {error}")),
    };
    let answers = fs::read_to_string(rig.path("answers")).unwrap_or_default();
    let codes = String::from_utf8_lossy(&output.stdout).into_owned();
    let expected = "list 0\npause 1\npause 1\npause 0\nresume 0\nlist 2\nhere pause 0\nhere resume 1\nhere list 0\n";
    assert_eq!(codes, expected, "{}\n{answers}", said(&output));
    assert!(answers.contains("needs the token of worker.rpc_server.token_file"), "{answers}");
    assert!(answers.contains("the token is not this worker's"), "{answers}");
    assert!(!answers.contains(TOKEN) && !fs::read_to_string(rig.path("daemon.log")).unwrap().contains(TOKEN));
}

fn skip(why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped from_another_address_changing_needs_the_token: {why}");
}
