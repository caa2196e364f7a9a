//! A gateway on 127.0.0.1 that serves ranges and misbehaves on demand.

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// How one request is answered.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// As asked for, with ranges.
    Well,
    /// As asked for, but the connection ends after so many bytes.
    CutAfter(usize),
    /// The whole file, as if ranges were unknown.
    IgnoringRanges,
    /// A range that begins elsewhere than asked for.
    WrongRange,
    /// Other bytes of the same length.
    WrongBytes,
    Status(u16),
}

/// A running gateway; requests beyond the script are answered `Well`.
pub struct Gateway {
    pub url: String,
    /// The `Range` of each request, or nothing.
    pub asked: Arc<Mutex<Vec<Option<String>>>>,
}

impl Gateway {
    /// Serves `content(cid)`.
    pub fn start(script: Vec<Answer>, content: impl Fn(&str) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/ipfs/", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        // Ends with the test process.
        thread::spawn(move || {
            let mut script = script.into_iter();
            for stream in listener.incoming() {
                let answer = script.next().unwrap_or(Answer::Well);
                serve(stream.unwrap(), answer, &content, &log);
            }
        });
        Self { url, asked }
    }
}

fn serve(
    mut stream: TcpStream,
    answer: Answer,
    content: &dyn Fn(&str) -> Vec<u8>,
    log: &Mutex<Vec<Option<String>>>,
) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    let first = lines.next()?.ok()?;
    let cid = first.split(['/', ' ']).nth(3)?.to_owned();
    let headers: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let range = headers.iter().find_map(|line| line.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
    log.lock().unwrap().push(range.clone());
    let mut body = content(&cid);
    let from: usize = range.and_then(|range| range.trim_end_matches('-').parse().ok()).unwrap_or(0);
    let (status, from, limit) = match answer {
        Answer::Well => (if from > 0 { 206 } else { 200 }, from, usize::MAX),
        Answer::CutAfter(limit) => (if from > 0 { 206 } else { 200 }, from, limit),
        Answer::IgnoringRanges => (200, 0, usize::MAX),
        Answer::WrongRange => (206, from + 1, usize::MAX),
        Answer::WrongBytes => {
            body.iter_mut().for_each(|byte| *byte ^= 1);
            (200, 0, usize::MAX)
        }
        Answer::Status(status) => (status, body.len(), usize::MAX),
    };
    let status = if from >= body.len() && status == 206 { 416 } else { status };
    let (total, rest) = (body.len(), &body[from.min(body.len())..]);
    write!(stream, "HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n", rest.len()).ok()?;
    if status == 206 {
        write!(stream, "Content-Range: bytes {from}-{}/{total}\r\n", total - 1).ok()?;
    }
    stream.write_all(b"\r\n").ok()?;
    stream.write_all(&rest[..limit.min(rest.len())]).ok()
}
