//! A stop ends within its bound, whoever does not answer: a child, a manager, somebody on the RPC.

use crate::rig::{Rig, rehearsing};
use nix::sys::signal::Signal;
use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread,
};

#[test]
fn neither_a_deaf_child_nor_half_a_request_holds_a_stop() {
    let deaf = "[[processors.pc1]]\nbin = \"/bin/sh\"\nargs = ['-c', '''trap \"\" TERM; echo pc1 processor ready; while :; do sleep 1; done''']\n";
    let rig = Rig::new(&["", ""], &[deaf, &rehearsing("pc2", "")].concat());
    let mut daemon = rig.start_with(&["--grace", "100ms"], &[]);
    let page = daemon.told_address("metrics at");
    daemon.until_thread(0, "TicketAssigned", "Running");
    let half = |address: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{")
            .unwrap();
        stream
    };
    let (_rpc, _metrics) = (half(&daemon.address), half(&page));
    daemon.signal(Signal::SIGTERM);
    let log = rig.path("daemon.log");
    assert_eq!(daemon.wait(), Some(0), "{}", fs::read_to_string(&log).unwrap());
    let log = fs::read_to_string(&log).unwrap();
    assert!(log.contains("stopped inside a stage"), "{log}");
}

/// A manager that knows every store and says nothing else.
fn mute_manager() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut kept = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 65536];
            let length = stream.read(&mut request).unwrap_or(0);
            if String::from_utf8_lossy(&request[..length]).contains("Venus.StoreBasicInfo") {
                let body = r#"{"jsonrpc":"2.0","id":1,"result":{"Name":"persist","Path":"/p","Meta":null}}"#;
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                let _ = stream.write_all((head + body).as_bytes());
            } else {
                kept.push(stream);
            }
        }
    });
    format!("http://{address}")
}

#[test]
fn a_manager_that_never_answers_holds_no_stop() {
    let rig = Rig::new(&[""], &[rehearsing("pc1", ""), rehearsing("pc2", "")].concat());
    rig.edit(
        "rpc_client.addr = \"embedded\"\n[sector_manager.embedded]\npath = \"./manager\"\nepoch = \"1h\"",
        &format!("rpc_client.addr = \"{}\"", mute_manager()),
    );
    fs::create_dir(rig.path("persist")).unwrap();
    let mut daemon = rig.start_with(&["--allow-local-params"], &[]);
    daemon.until("the call", |daemon| daemon.list()[0]["thread_state"]["proc"] == "Venus.AllocateSector");
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait(), Some(0));
}
