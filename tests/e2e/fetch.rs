//! A piece on its way from a manager elsewhere: through a child that is told the token, and on to a market that is not.

use crate::{
    bench::{Bench, reports, said},
    deals::{Manager, remote_bench, rewrite},
};
use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

const TOKEN: &str = "the-very-right-token";

/// What stands between a worker and its manager, as a proxy: for the manager its callers are on another host, who need the
/// token for each change and for each piece.
#[derive(Clone)]
struct Gate {
    manager: String,
    /// Where it sends on who asks for a piece.
    market: Option<String>,
    /// Of its own, where its callers bring none.
    token: Option<&'static str>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// A piece was asked for.
struct Seen {
    head: String,
    /// The command lines and environments of all processes at that moment.
    processes: Vec<(String, String)>,
}

impl Gate {
    fn open(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let gate = self.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let gate = gate.clone();
                // A worker that hangs up fails its test by itself.
                thread::spawn(move || gate.pass(stream?));
            }
        });
        url
    }

    fn pass(&self, stream: TcpStream) -> io::Result<()> {
        let mut caller = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if caller.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let header = |name: &str| {
            let line = head.lines().find(|line| line.to_lowercase().starts_with(&format!("{name}: ")))?;
            Some(line[name.len() + 2..].to_owned())
        };
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let mut body = vec![0; header("content-length").map_or(0, |length| length.parse().unwrap())];
        caller.read_exact(&mut body)?;
        let mut caller = caller.into_inner();
        if path.starts_with("/piecestore/") {
            self.seen.lock().unwrap().push(Seen { head: head.clone(), processes: processes() });
            if let Some(market) = &self.market {
                let answer = "HTTP/1.1 307 Temporary Redirect\r\ncontent-length: 0\r\nconnection: close\r\n";
                return write!(caller, "{answer}location: {market}{path}\r\n\r\n");
            }
        }
        let mut manager = TcpStream::connect(self.manager.strip_prefix("http://").unwrap())?;
        let (method, length) = (head.split(' ').next().unwrap(), body.len());
        write!(manager, "{method} {path} HTTP/1.1\r\nhost: m\r\nconnection: close\r\nx-forwarded-for: 10.0.0.7\r\n")?;
        if let Some(token) = header("authorization").or(self.token.map(|token| format!("Bearer {token}"))) {
            write!(manager, "authorization: {token}\r\n")?;
        }
        write!(manager, "content-length: {length}\r\n\r\n")?;
        manager.write_all(&body)?;
        io::copy(&mut manager, &mut caller).map(drop)
    }
}

/// What the kernel shows of every process: those of others that may not be read are empty.
fn processes() -> Vec<(String, String)> {
    let read = |path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let folders = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    folders.map(|folder| (read(folder.join("cmdline")), read(folder.join("environ")))).collect()
}

/// A worker whose child adds the pieces, and the gate before its manager.
fn gated(market: Option<&Gate>, more: &str) -> (Bench, Manager, Gate) {
    let (bench, manager) = remote_bench(TOKEN, "\n[[processors.add_pieces]]\n");
    let gate = Gate { manager: manager.1.clone(), market: None, token: None, seen: Arc::default() };
    let market = market.map(|market| Gate { manager: manager.1.clone(), ..market.clone() }.open());
    let more = more.replace("MARKET", market.as_deref().unwrap_or_default());
    let gate = Gate { market, ..gate };
    let headers = format!("\"\nrpc_client.headers = {{ Authorization = \"Bearer {TOKEN}\" }}\n{more}\npiece_token");
    rewrite(&bench, &[(&manager.1, &gate.open()), ("\"\npiece_token", &headers)]);
    (bench, manager, gate)
}

fn seal(bench: &Bench) -> (std::process::Output, String) {
    let log = fs::File::create(bench.path("log")).unwrap();
    let mut daemon = bench.daemon(&["--sectors", "1", "--json", "--rehearse", "sleep=1ms"]);
    let output = daemon.env("RUST_LOG", "trace").stderr(log).output().unwrap();
    (output, fs::read_to_string(bench.path("log")).unwrap())
}

#[test]
fn a_child_fetches_with_the_token_which_is_on_no_command_line_and_in_no_log() {
    let (bench, _manager, gate) = gated(None, "");
    let (output, log) = seal(&bench);
    assert!(output.status.success(), "{}\n{log}", said(&output));
    assert_eq!(reports(&output)[0]["starts"]["add_pieces"], 1, "{log}");
    assert!(!log.contains(TOKEN), "{log}");
    let seen = gate.seen.lock().unwrap();
    assert!(seen.len() >= 2, "both pieces came through the gate");
    for Seen { head, processes } in &*seen {
        assert!(head.to_lowercase().contains(&format!("authorization: bearer {TOKEN}\r\n")), "{head}");
        let shown: Vec<_> = processes.iter().map(|(cmdline, _)| cmdline).filter(|line| line.contains(TOKEN)).collect();
        assert!(shown.is_empty(), "{shown:?}");
        let told = format!("PIECE_FETCHER_TOKEN={TOKEN}\0");
        let child = |(cmdline, environ): &&(String, String)| {
            cmdline.contains("processor\0add_pieces\0") && environ.contains(&told)
        };
        assert!(processes.iter().filter(child).count() >= 1, "the child has it from its environment");
    }
}

/// A market that has the data, and gives it to whoever is sent there: it reads it from the manager in its own name.
fn market() -> Gate {
    Gate { manager: String::new(), market: None, token: Some(TOKEN), seen: Arc::default() }
}

#[test]
fn a_child_follows_a_manager_to_a_market_that_is_configured_and_keeps_the_token_back() {
    let market = market();
    let (bench, _manager, gate) = gated(Some(&market), "piece_origins = [\"MARKET\"]");
    let (output, log) = seal(&bench);
    assert!(output.status.success(), "{}\n{log}", said(&output));
    let (asked, sent_on) = (gate.seen.lock().unwrap(), market.seen.lock().unwrap());
    assert!(asked.len() >= 2 && sent_on.len() == asked.len());
    assert!(asked.iter().all(|seen| seen.head.contains(TOKEN)));
    assert!(sent_on.iter().all(|seen| !seen.head.contains(TOKEN)));
}

#[test]
fn a_market_that_nobody_configured_is_not_asked() {
    let market = market();
    let (bench, _manager, _gate) = gated(Some(&market), "");
    let (output, log) = seal(&bench);
    assert_eq!(output.status.code(), Some(1), "{}\n{log}", said(&output));
    assert!(log.contains("which sector_manager.piece_origins does not list"), "{log}");
    assert!(market.seen.lock().unwrap().is_empty());
}
