//! The remote manager against a small HTTP server: what it sends, and what it makes of good and bad answers.

use damocles_worker::runtime::manager::{
    Answer, Call, Manager, ManagerError,
    remote::{Remote, Timeouts},
    wire::*,
};
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

const SECTOR: SectorId = SectorId { miner: 1000, number: 7 };
const POLL: Call = Call::PollProofState(SECTOR);

/// What the server does with each request.
#[derive(Clone)]
enum Reply {
    Http(&'static str, String),
    /// These bytes, then the end of the connection.
    Raw(&'static str),
    Silence,
}

struct Server {
    url: String,
    /// Each request's head and body.
    requests: Receiver<(String, String)>,
}

impl Server {
    fn replying(reply: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (seen, requests) = channel();
        thread::spawn(move || {
            let mut silent = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = seen.send(read_request(&stream));
                match &reply {
                    Reply::Http(status, body) => {
                        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close", body.len());
                        stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).unwrap();
                    }
                    Reply::Raw(bytes) => stream.write_all(bytes.as_bytes()).unwrap(),
                    Reply::Silence => silent.push(stream),
                }
            }
        });
        Self { url, requests }
    }

    fn answering(status: &'static str, body: &str) -> Self {
        Self::replying(Reply::Http(status, body.to_owned()))
    }

    fn remote(&self) -> Remote {
        Remote::new(&self.url, &BTreeMap::new()).unwrap()
    }
}

fn read_request(stream: &TcpStream) -> (String, String) {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).unwrap(), 0, "the request ended early: {head}");
    }
    let head = head.to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    (head, String::from_utf8(body).unwrap())
}

const LANDED: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"State":3,"Desc":null}}"#;

fn landed() -> Answer {
    Answer::PollProofState(PollStateResp { state: OnChainState::Landed, desc: None })
}

async fn unreachable(server: &Server) -> String {
    match server.remote().call(POLL).await {
        Err(ManagerError::Unreachable { method: "Venus.PollProofState", reason }) => {
            let shown = format!("{}/rpc/v0: ", server.url);
            reason.strip_prefix(&shown).unwrap_or_else(|| panic!("{reason}")).to_owned()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_call_is_one_post_with_the_configured_headers() {
    let server = Server::answering("200 OK", LANDED);
    let headers = BTreeMap::from([("Authorization".to_owned(), "Bearer tooken".to_owned())]);
    let remote = Remote::new(&server.url, &headers).unwrap();
    assert_eq!(remote.call(POLL).await, Ok(landed()));
    let (head, body) = server.requests.recv().unwrap();
    assert!(head.starts_with("post /rpc/v0 http/1.1\r\n"), "{head}");
    assert!(head.contains("authorization: bearer tooken\r\n"), "{head}");
    assert!(head.contains("content-type: application/json\r\n"), "{head}");
    let expected = r#"{"jsonrpc":"2.0","id":1,"method":"Venus.PollProofState","params":[{"Miner":1000,"Number":7}]}"#;
    assert_eq!(body, expected);
}

#[tokio::test]
async fn ids_go_up_and_an_answer_to_another_id_is_none() {
    let server = Server::answering("200 OK", LANDED);
    let remote = server.remote();
    assert_eq!(remote.call(POLL).await, Ok(landed()));
    let error = remote.call(POLL).await.unwrap_err().to_string();
    assert!(error.contains("an answer to request Some(1), not to 2"), "{error}");
}

#[tokio::test]
async fn the_http_status_is_not_trusted() {
    for status in ["500 Internal Server Error", "404 Not Found", "202 Accepted"] {
        assert_eq!(Server::answering(status, LANDED).remote().call(POLL).await, Ok(landed()));
    }
    let body = r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"sector state: busy"}}"#;
    let error = Server::answering("500 Internal Server Error", body).remote().call(POLL).await.unwrap_err();
    assert_eq!(
        error,
        ManagerError::Refused { method: "Venus.PollProofState", code: 1, message: "sector state: busy".into() }
    );
}

#[tokio::test]
async fn a_sector_that_the_manager_does_not_know_is_told_apart() {
    let body = r#"{"jsonrpc":"2.0","id":1,"error":{"code":11001,"message":"sector state not found"}}"#;
    let error = Server::answering("500 Internal Server Error", body).remote().call(POLL).await.unwrap_err();
    assert!(matches!(error, ManagerError::SectorNotFound { message, .. } if message == "sector state not found"));
}

#[tokio::test]
async fn a_body_that_is_no_answer_is_shown_with_its_status() {
    let page = format!("<html>\n<h1>Bad Gateway</h1>{}", " padding".repeat(100));
    let reason = unreachable(&Server::answering("502 Bad Gateway", &page)).await;
    assert!(reason.starts_with("answered 502 Bad Gateway: not a JSON-RPC answer"), "{reason}");
    assert!(reason.contains("<html> <h1>Bad Gateway</h1> padding") && reason.ends_with('…'), "{reason}");
    let reason = unreachable(&Server::answering("401 Unauthorized", "")).await;
    assert!(reason.contains("answered 401 Unauthorized") && reason.ends_with("(empty body)"), "{reason}");
    let wrong = r#"{"jsonrpc":"2.0","id":1,"result":{"State":99}}"#;
    let reason = unreachable(&Server::answering("200 OK", wrong)).await;
    assert!(reason.contains("the result is not as expected (99 is no OnChainState"), "{reason}");
}

#[tokio::test]
async fn a_connection_that_is_cut_is_an_error_with_its_reason() {
    for cut in ["", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"json", "no http at all\r\n\r\n"]
    {
        let reason = unreachable(&Server::replying(Reply::Raw(cut))).await;
        assert!(reason.starts_with("the answer was cut off or is no HTTP: "), "{cut:?}: {reason}");
    }
}

#[tokio::test]
async fn a_manager_that_is_not_there_is_an_error_with_a_hint() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = Remote::new(&url, &BTreeMap::new()).unwrap().call(POLL).await.unwrap_err().to_string();
    assert!(error.contains("could not connect: ") && error.contains("refused"), "{error}");
    assert!(error.ends_with("check sector_manager.rpc_client.addr and that the manager runs"), "{error}");
}

#[tokio::test]
async fn a_manager_that_says_nothing_is_not_waited_for_for_ever() {
    let server = Server::replying(Reply::Silence);
    let timeouts = Timeouts { answer: Duration::from_millis(50), ..Timeouts::default() };
    let remote = Remote::with_timeouts(&server.url, &BTreeMap::new(), timeouts).unwrap();
    let error = remote.call(POLL).await.unwrap_err().to_string();
    assert!(error.ends_with("no answer within 50ms"), "{error}");
}

#[tokio::test]
async fn an_answer_without_end_is_cut() {
    let server = Server::answering("200 OK", &" ".repeat((16 << 20) + 1));
    let reason = unreachable(&server).await;
    assert_eq!(reason, "answered 200 OK with more than 16777216 bytes");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Server::answering("200 OK", LANDED);
    let moved = format!("HTTP/1.1 307 Moved\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", elsewhere.url);
    let reason = unreachable(&Server::replying(Reply::Raw(moved.leak()))).await;
    assert!(reason.starts_with("answered 307 Temporary Redirect"), "{reason}");
    assert!(elsewhere.requests.try_recv().is_err());
}

#[tokio::test]
async fn no_secret_comes_back_in_an_error() {
    let headers = BTreeMap::from([("Authorization".to_owned(), "Bearer tooken".to_owned())]);
    let echo = r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"bad token tooken"}}"#;
    for body in [echo, "you sent Authorization: Bearer tooken"] {
        let server = Server::answering("403 Forbidden", body);
        let url = server.url.replace("http://", "http://me:hunter22@");
        let remote = Remote::new(&url, &headers).unwrap();
        let error = remote.call(POLL).await.unwrap_err().to_string();
        assert!(error.contains("***") && !error.contains("tooken") && !error.contains("hunter22"), "{error}");
    }
}
