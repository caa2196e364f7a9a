//! What every server of ours stands on: listeners that strangers cannot fill, who may ask what, and JSON-RPC as it is heard.
//!
//! ```text
//! connection ─► places ─► head, in its time ─► access (by the headers) ─► body, in its bounds ─► jsonrpc ─► a server's methods
//!                                                                                       answer, at the reader's pace ◄─┘
//! ```
//!
//! What always holds: a stranger can hold neither a stop nor more than a bounded part of this process. Connections are
//! counted and some are kept for this host; a request's head, its body and its answer each have their time.

pub mod access;
mod connection;
pub mod hear;
pub mod jsonrpc;
mod places;

use axum::{
    Extension, Router,
    extract::{ConnectInfo, Request},
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use connection::Connection;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use places::Places;
use std::{
    io,
    net::{SocketAddr, TcpListener, ToSocketAddrs},
    pin::pin,
    time::Duration,
};
use tokio::{
    net::{TcpSocket, TcpStream},
    sync::watch,
    task::JoinSet,
};

/// What a listener allows.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections at a time; who comes beyond is told to come again.
    pub connections: usize,
    /// So many of them for programs on this host alone.
    pub for_this_host: usize,
    /// A request's head is there within so long, and the next request on the same connection begins.
    pub head_within: Duration,
    /// A reader that is waited for takes a part of what is sent to it within so long.
    pub pace_within: Duration,
    /// A request is answered within so long, once its head is there. None: its server has bounds of its own.
    pub answer_within: Option<Duration>,
}

impl Limits {
    /// Of what a worker serves: its operators, its manager, Prometheus.
    pub const WORKER: Self = Self {
        connections: 64,
        for_this_host: 8,
        head_within: Duration::from_secs(20),
        pace_within: Duration::from_secs(60),
        answer_within: Some(Duration::from_secs(30)),
    };
    /// Of a manager that many workers ask. A proof is verified, and a piece sent, for as long as it takes.
    pub const MANAGER: Self = Self { connections: 1024, for_this_host: 64, answer_within: None, ..Self::WORKER };
}

/// What somebody reads who finds no place.
const NO_PLACE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-type: text/plain\r\n\
    content-length: 42\r\n\r\ntoo many connections: come again in a bit\n";
/// A pause after the system could not give a connection.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// An address that could not be taken.
#[derive(Debug, thiserror::Error)]
#[error("{key}: listen on {address}: {source}{}", hint(source))]
pub struct ListenError {
    /// The key of the configuration.
    key: &'static str,
    address: String,
    source: io::Error,
}

fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => {
            ": another program listens there, a second one of this kind perhaps; give each its own port"
        }
        io::ErrorKind::AddrNotAvailable => ": no interface of this host has this address",
        io::ErrorKind::PermissionDenied => ": ports below 1024 need a privilege; choose a higher one",
        _ => "",
    }
}

impl ListenError {
    /// Whether somebody else has the address.
    pub fn is_in_use(&self) -> bool {
        self.source.kind() == io::ErrorKind::AddrInUse
    }
}

/// A taken address.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    /// With the port that the system chose, where it was asked to.
    pub address: SocketAddr,
}

/// Takes `host:port`, which stands at `key`.
pub fn bind(key: &'static str, host: &str, port: u16) -> Result<Bound, ListenError> {
    let failed = |source| ListenError { key, address: shown(host, port), source };
    let addresses: Vec<_> = (host, port).to_socket_addrs().map_err(failed)?.collect();
    let listener = TcpListener::bind(&addresses[..]).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok(Bound { listener, address })
}

/// Whether `host:port` could be taken now. Takes it without listening, so that nobody can connect, and who listens there
/// is found all the same.
pub fn try_bind(key: &'static str, host: &str, port: u16) -> Result<(), ListenError> {
    let failed = |source| ListenError { key, address: shown(host, port), source };
    let mut outcome = Err(failed(io::ErrorKind::AddrNotAvailable.into()));
    for address in (host, port).to_socket_addrs().map_err(failed)? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        let bound = socket.and_then(|socket| {
            socket.set_reuseaddr(true)?;
            socket.bind(address)
        });
        outcome = bound.map_err(failed);
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

fn shown(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

impl Bound {
    /// Serves `router` within `limits` until `stop`, then answers what was asked and ends.
    ///
    /// # Errors
    /// The system does not let it listen.
    pub async fn serve(self, router: Router, limits: Limits, stop: impl Future<Output = ()>) -> io::Result<()> {
        self.listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        let router = match limits.answer_within {
            None => router,
            Some(most) => router.layer(middleware::from_fn(move |request, next| in_time(most, request, next))),
        };
        let places = Places::new(limits.connections, limits.for_this_host);
        let (stopping, stopped) = watch::channel(false);
        let (mut stop, mut open) = (pin!(stop), JoinSet::new());
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_) = open.join_next() => continue,
                () = &mut stop => break,
            };
            match accepted {
                Ok((stream, peer)) => match places.take(peer.ip()) {
                    Some(place) => {
                        let talk = converse(stream, peer, router.clone(), limits, stopped.clone());
                        open.spawn(async move {
                            talk.await;
                            drop(place);
                        });
                    }
                    None => turn_away(&stream, peer),
                },
                // By who has hung up again, or because there are no descriptors left, which takes a while.
                Err(error) if is_theirs(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "no connection can be taken");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        let _ = stopping.send(true);
        while open.join_next().await.is_some() {}
        Ok(())
    }
}

/// Whom a connection comes from; handlers have it as `ConnectInfo<Peer>`.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Answers on one connection until it ends, or after a stop until what was asked is answered.
async fn converse(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    limits: Limits,
    mut stopped: watch::Receiver<bool>,
) {
    let service = TowerToHyperService::new(router.layer(Extension(ConnectInfo(Peer(peer)))));
    let stream = TokioIo::new(Connection::new(stream, limits.pace_within));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.head_within);
    let mut talk = pin!(http.serve_connection(stream, service));
    let told = async { drop(stopped.wait_for(|stopped| *stopped).await) };
    let ended = tokio::select! {
        ended = talk.as_mut() => ended,
        () = told => {
            talk.as_mut().graceful_shutdown();
            talk.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection ended");
    }
}

fn turn_away(stream: &TcpStream, peer: SocketAddr) {
    tracing::debug!(%peer, "too many connections: one is turned away");
    // Whoever does not read it sees the connection end.
    let _ = stream.try_write(NO_PLACE);
}

fn is_theirs(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Answers for whoever sends its body too slowly.
async fn in_time(most: Duration, request: Request, next: Next) -> Response {
    match tokio::time::timeout(most, next.run(request)).await {
        Ok(response) => response,
        Err(_) => (StatusCode::REQUEST_TIMEOUT, "the request took too long\n").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{
        body::{Body, Bytes},
        routing::get,
    };
    use std::{
        future::pending,
        io::{Read, Write},
        net,
        pin::Pin,
        task::{Context, Poll},
    };
    use tokio::runtime::Runtime;

    const ASK: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

    #[test]
    fn an_address_is_taken_once_and_the_second_is_told_why() {
        let first = bind("worker.rpc_server", "127.0.0.1", 0).unwrap();
        assert_ne!(first.address.port(), 0);
        let error = bind("worker.rpc_server", "127.0.0.1", first.address.port()).unwrap_err();
        assert!(error.is_in_use());
        assert!(try_bind("x", "127.0.0.1", first.address.port()).unwrap_err().is_in_use());
        assert!(try_bind("x", "127.0.0.1", 0).is_ok() && try_bind("x", "192.0.2.1", 0).is_err());
        let text = error.to_string();
        let begin = format!("worker.rpc_server: listen on {}: ", first.address);
        assert!(text.starts_with(&begin) && text.contains("give each its own port"), "{text}");
        assert!(bind("metrics.http_listen", "192.0.2.1", 0).unwrap_err().to_string().contains("no interface"));
    }

    /// A server of `router` until the runtime goes.
    fn serving(router: Router, limits: Limits) -> (Runtime, SocketAddr) {
        let runtime = Runtime::new().unwrap();
        let bound = bind("x", "127.0.0.1", 0).unwrap();
        let address = bound.address;
        runtime.spawn(bound.serve(router, limits, pending()));
        (runtime, address)
    }

    fn hello() -> Router {
        Router::new().route("/", get(|| async { "hello" }))
    }

    /// What comes back for these bytes until the connection ends, by the server's or by nobody's doing.
    fn said(stream: &mut net::TcpStream, bytes: &[u8]) -> String {
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[test]
    fn a_connection_beyond_the_bound_is_turned_away_until_another_goes() {
        let (_runtime, address) = serving(hello(), Limits::WORKER);
        let connect = || net::TcpStream::connect(address).unwrap();
        let mut silent: Vec<_> = (0..Limits::WORKER.connections).map(|_| connect()).collect();
        let late = said(&mut connect(), b"");
        assert!(late.starts_with("HTTP/1.1 503 ") && late.ends_with("come again in a bit\n"), "{late}");
        let (head, body) = late.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{head}");
        silent.pop();
        while !said(&mut connect(), ASK).ends_with("hello") {}
    }

    #[test]
    fn who_sends_its_head_a_letter_at_a_time_is_not_waited_for() {
        let limits =
            Limits { connections: 2, for_this_host: 1, head_within: Duration::from_millis(100), ..Limits::WORKER };
        let (_runtime, address) = serving(hello(), limits);
        let mut slow = net::TcpStream::connect(address).unwrap();
        // For ever, were it not for the server.
        while slow.write_all(b"GET / HTTP/1.1\r\nx: ").is_ok() && slow.write_all(b"y\r\nx: ").is_ok() {
            std::thread::sleep(Duration::from_millis(10));
            let mut answer = [0; 64];
            slow.set_nonblocking(true).unwrap();
            match slow.read(&mut answer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => slow.set_nonblocking(false).unwrap(),
                _ => break,
            }
        }
        assert!(said(&mut net::TcpStream::connect(address).unwrap(), ASK).ends_with("hello"));
    }

    #[test]
    fn a_reader_that_does_not_read_is_not_waited_for() {
        let (dropped, heard) = std::sync::mpsc::channel();
        struct OnDrop(std::sync::mpsc::Sender<()>);
        impl Drop for OnDrop {
            fn drop(&mut self) {
                let _ = self.0.send(());
            }
        }
        /// Zeros without an end.
        struct Endless(#[allow(dead_code, reason = "for its drop")] OnDrop);
        impl http_body::Body for Endless {
            type Data = Bytes;
            type Error = io::Error;
            fn poll_frame(
                self: Pin<&mut Self>,
                _: &mut Context<'_>,
            ) -> Poll<Option<io::Result<http_body::Frame<Bytes>>>> {
                Poll::Ready(Some(Ok(http_body::Frame::data(Bytes::from_static(&[0; 4096])))))
            }
        }
        let endless = move || {
            let guard = OnDrop(dropped.clone());
            async move { Body::new(Endless(guard)) }
        };
        let limits = Limits { pace_within: Duration::from_millis(100), ..Limits::WORKER };
        let (_runtime, address) = serving(Router::new().route("/", get(endless)), limits);
        let mut silent = net::TcpStream::connect(address).unwrap();
        silent.write_all(ASK).unwrap();
        heard.recv().expect("the answer is let go of although its reader stays");
    }

    #[test]
    fn a_stop_answers_what_was_asked_and_waits_for_no_silent_one() {
        let bound = bind("x", "127.0.0.1", 0).unwrap();
        let address = bound.address;
        let (asked, begun) = std::sync::mpsc::channel();
        let slow = move || {
            asked.send(()).unwrap();
            async {
                tokio::time::sleep(Duration::from_millis(200)).await;
                "answered"
            }
        };
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let server = std::thread::spawn(move || {
            let until = async move { drop(stopped.await) };
            let router = Router::new().route("/", get(slow));
            Runtime::new().unwrap().block_on(bound.serve(router, Limits::WORKER, until))
        });
        let _silent = net::TcpStream::connect(address).unwrap();
        let caller = std::thread::spawn(move || said(&mut net::TcpStream::connect(address).unwrap(), ASK));
        begun.recv().unwrap();
        stop.send(()).unwrap();
        assert!(caller.join().unwrap().ends_with("answered"));
        server.join().unwrap().unwrap();
    }
}
