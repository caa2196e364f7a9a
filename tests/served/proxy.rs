//! What stands between workers and their manager: it loses questions and answers, asks twice, answers late, or answers what
//! no manager says. It remembers what the manager itself answered.

use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::Value;
use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

/// What can happen to a question.
#[derive(Clone, Copy, Debug)]
enum Fault {
    LoseQuestion,
    LoseAnswer,
    CutAnswer,
    AskTwice,
    Late(Duration),
    Garbage(usize),
    /// The manager has carried it out, and this is what comes back.
    GarbageAfter(usize),
}

const GARBAGE: [&str; 7] = [
    "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 13\r\nconnection: close\r\n\r\n<html></html>",
    "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\nconnection: close\r\n\r\n{\"jsonrpc\":\"2.0\"",
    "HTTP/1.1 200 OK\r\ncontent-length: 43\r\nconnection: close\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":0,\"result\":{\"Res\":1}}",
    "HTTP/1.1 307 Moved\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    "\u{0}\u{1}\u{2} no http at all",
    "HTTP/1.1 500 Oops\r\ncontent-length: 4\r\nconnection: close\r\n\r\nnull",
];

/// One answer of the manager's: the question's method and params, and the result.
#[derive(Clone, Debug)]
pub struct Heard {
    pub method: String,
    pub params: Value,
    pub result: Value,
}

pub struct Proxy {
    pub address: SocketAddr,
    /// Of a hundred questions so many meet a fault.
    percent: Arc<AtomicU32>,
    heard: Arc<Mutex<Vec<Heard>>>,
    faults: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// In front of `manager`, faithful until told otherwise.
    pub fn start(manager: SocketAddr, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let chance = Arc::new(Mutex::new(StdRng::seed_from_u64(seed)));
        let (percent, heard, faults) = (Arc::new(AtomicU32::new(0)), Arc::default(), Arc::default());
        let proxy = Self { address, percent, heard, faults };
        let (percent, heard, faults) = (proxy.percent.clone(), proxy.heard.clone(), proxy.faults.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let fault = fault(&mut chance.lock().unwrap(), percent.load(Ordering::SeqCst));
                if let Some(fault) = fault {
                    faults.lock().unwrap().push(format!("{fault:?}"));
                }
                let heard = heard.clone();
                // A broken connection is what this is about.
                thread::spawn(move || stream.and_then(|stream| pass(stream, manager, fault, &heard)));
            }
        });
        proxy
    }

    pub fn fail(&self, percent: u32) {
        self.percent.store(percent, Ordering::SeqCst);
    }

    pub fn heard(&self, method: &str) -> Vec<Heard> {
        self.heard.lock().unwrap().iter().filter(|heard| heard.method == method).cloned().collect()
    }

    pub fn faults(&self) -> usize {
        self.faults.lock().unwrap().len()
    }
}

fn fault(chance: &mut StdRng, percent: u32) -> Option<Fault> {
    if !chance.gen_ratio(percent.min(100), 100) {
        return None;
    }
    Some(match chance.gen_range(0..7) {
        0 => Fault::LoseQuestion,
        1 => Fault::LoseAnswer,
        2 => Fault::CutAnswer,
        3 => Fault::AskTwice,
        4 => Fault::Late(Duration::from_millis(chance.gen_range(20..400))),
        5 => Fault::Garbage(chance.gen_range(0..GARBAGE.len())),
        _ => Fault::GarbageAfter(chance.gen_range(0..GARBAGE.len())),
    })
}

fn pass(mut worker: TcpStream, manager: SocketAddr, fault: Option<Fault>, heard: &Mutex<Vec<Heard>>) -> io::Result<()> {
    let question = read_question(&worker)?;
    let ask = || -> io::Result<Vec<u8>> {
        let answer = ask(manager, &question)?;
        heard.lock().unwrap().extend(understood(&question, &answer));
        Ok(answer)
    };
    match fault.or_else(|| is_submission(&question).then_some(Fault::AskTwice)) {
        None => worker.write_all(&ask()?),
        Some(Fault::LoseQuestion) => Ok(()),
        Some(Fault::LoseAnswer) => ask().map(drop),
        Some(Fault::CutAnswer) => {
            let answer = ask()?;
            worker.write_all(&answer[..answer.len() / 2])
        }
        Some(Fault::AskTwice) => {
            ask()?;
            worker.write_all(&ask()?)
        }
        Some(Fault::Late(by)) => {
            let answer = ask()?;
            thread::sleep(by);
            worker.write_all(&answer)
        }
        Some(Fault::Garbage(which)) => worker.write_all(GARBAGE[which].as_bytes()),
        Some(Fault::GarbageAfter(which)) => {
            ask()?;
            worker.write_all(GARBAGE[which].as_bytes())
        }
    }
}

/// What must not be accepted twice is asked twice, whenever nothing else happens to it.
fn is_submission(question: &[u8]) -> bool {
    String::from_utf8_lossy(question).contains("\"Venus.Submit")
}

/// The body of the one request that a connection carries here.
fn read_question(worker: &TcpStream) -> io::Result<Vec<u8>> {
    let mut reader = BufReader::new(worker);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(body)
}

fn ask(manager: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(manager)?;
    let head = format!(
        "POST /rpc/v0 HTTP/1.1\r\nhost: m\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        question.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(question)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    if answer.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(answer) }
}

fn understood(question: &[u8], answer: &[u8]) -> Option<Heard> {
    let question: Value = serde_json::from_slice(question).ok()?;
    let text = String::from_utf8_lossy(answer);
    let body: Value = serde_json::from_str(text.split_once("\r\n\r\n")?.1).ok()?;
    let method = question["method"].as_str()?.strip_prefix("Venus.")?.to_owned();
    Some(Heard { method, params: question["params"].clone(), result: body.get("result")?.clone() })
}
