//! The remote manager against a small HTTP server: what it sends, and what it makes of good and bad answers.

use damocles_worker::runtime::manager::{
    Answer, Call, Manager, ManagerError,
    remote::{Patience, Remote, Retries, Timeouts},
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

/// Asks once, so that a fault is seen as it is.
fn once() -> Patience {
    Patience { retries: Retries::NONE, ..Patience::default() }
}

/// Asks again without much of a pause.
fn again(tries: u32) -> Patience {
    let pause = Duration::from_millis(1);
    let retries = Retries { tries, first: pause, longest: pause, within: Duration::from_secs(600) };
    Patience { retries, chance: Box::new(|| 0.5), ..Patience::default() }
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

    /// These replies in turn, the last one for ever.
    fn in_turn(replies: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (seen, requests) = channel();
        thread::spawn(move || {
            for (index, stream) in listener.incoming().enumerate() {
                let mut stream = stream.unwrap();
                let request = read_request(&stream);
                let id = request.1.split("\"id\":").nth(1).unwrap().split(',').next().unwrap().to_owned();
                let _ = seen.send(request);
                match &replies[index.min(replies.len() - 1)] {
                    Reply::Http(status, body) => {
                        let body = body.replace("\"id\":1", &format!("\"id\":{id}"));
                        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close", body.len());
                        stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).unwrap();
                    }
                    Reply::Raw(bytes) => stream.write_all(bytes.as_bytes()).unwrap(),
                    Reply::Silence => panic!("not in turn"),
                }
            }
        });
        Self { url, requests }
    }

    fn remote(&self) -> Remote {
        self.remote_with(once())
    }

    fn remote_with(&self, patience: Patience) -> Remote {
        Remote::with_patience(&self.url, &BTreeMap::new(), patience).unwrap()
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
    let remote = Remote::with_patience(&url, &BTreeMap::new(), again(2)).unwrap();
    let error = remote.call(POLL).await.unwrap_err().to_string();
    assert!(error.contains("could not connect: ") && error.contains("refused"), "{error}");
    assert!(error.ends_with("check sector_manager.rpc_client.addr and that the manager runs"), "{error}");
}

#[tokio::test]
async fn a_manager_that_says_nothing_is_not_waited_for_for_ever() {
    let server = Server::replying(Reply::Silence);
    let timeouts = Timeouts { answer: Duration::from_millis(50), ..Timeouts::default() };
    let remote = server.remote_with(Patience { timeouts, ..once() });
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

#[tokio::test]
async fn what_is_no_answer_is_asked_again_and_each_time_with_another_id() {
    let page = || Reply::Http("502 Bad Gateway", "<html>".into());
    let server =
        Server::in_turn(vec![page(), Reply::Raw(""), Reply::Raw("HTTP/1.1 200"), Reply::Http("200 OK", LANDED.into())]);
    assert_eq!(server.remote_with(again(4)).call(POLL).await, Ok(landed()));
    let ids: Vec<_> = server.requests.try_iter().map(|(_, body)| body.split(',').nth(1).unwrap().to_owned()).collect();
    assert_eq!(ids, ["\"id\":1", "\"id\":2", "\"id\":3", "\"id\":4"]);
}

#[tokio::test]
async fn the_tries_end_and_the_last_fault_is_told() {
    let server = Server::in_turn(vec![Reply::Raw(""), Reply::Http("503 Service Unavailable", "later".into())]);
    let error = server.remote_with(again(3)).call(POLL).await.unwrap_err().to_string();
    assert!(error.contains("answered 503 Service Unavailable") && error.ends_with("later"), "{error}");
    assert_eq!(server.requests.try_iter().count(), 3);
}

#[tokio::test]
async fn an_answer_is_never_asked_for_twice_whatever_it_says() {
    for answer in [
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"no"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":11001,"message":"no"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"no"}}"#,
    ] {
        let server = Server::answering("500 Internal Server Error", answer);
        assert!(server.remote_with(again(3)).call(POLL).await.is_err());
        assert_eq!(server.requests.try_iter().count(), 1, "{answer}");
    }
}

#[tokio::test]
async fn a_number_that_may_have_been_handed_out_is_not_asked_for_again_at_once() {
    let server = Server::in_turn(vec![Reply::Raw("")]);
    let allocate = Call::AllocateSector(AllocateSectorSpec::default());
    assert!(server.remote_with(again(3)).call(allocate).await.is_err());
    assert_eq!(server.requests.try_iter().count(), 1);
}
