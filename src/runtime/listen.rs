//! Listeners: taken before anything is begun, served until the daemon ends.
//!
//! What always holds: a stranger can hold neither a stop nor more than a bounded part of this process. Connections are
//! counted, with some that only programs of this host can have; one on which nothing happens, or to which nothing was
//! answered for too long, is closed; and a stop waits for nobody.

use axum::{
    Router,
    extract::{Request, connect_info::Connected},
    http::{HeaderMap, StatusCode},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    serve::{IncomingStream, Listener},
};
use std::{
    io,
    net::{SocketAddr, TcpListener, ToSocketAddrs},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Sleep,
};

/// What connections to a listener may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open at a time; a caller from elsewhere who comes when all are taken is hung up on.
    pub connections: usize,
    /// Further ones for programs of this host, which wait when these are taken too.
    pub from_here: usize,
    /// A connection on which nothing was read or written for so long is closed.
    pub silence: Duration,
    /// So is one on which nothing was answered for so long: whoever sends its headers byte by byte holds no place.
    pub unanswered: Duration,
}

impl Limits {
    /// Of a worker: operators and their tools.
    pub const WORKER: Self =
        Self { connections: 64, from_here: 16, silence: Duration::from_secs(60), unanswered: Duration::from_secs(120) };
    /// Of a manager: all workers of a site, each with a few connections.
    pub const MANAGER: Self = Self { connections: 1024, ..Self::WORKER };
}

/// A request is answered within so long.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

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
        io::ErrorKind::AddrInUse => ": another program listens there, a second worker perhaps; give each its own port",
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

/// What proxies add and web pages send.
const PASSED_ON: [&str; 4] = ["forwarded", "x-forwarded-for", "via", "origin"];

/// Whether a proxy or a web page stands between a caller and us, so that he is not who connected.
pub fn is_passed_on(headers: &HeaderMap) -> bool {
    PASSED_ON.iter().any(|name| headers.contains_key(*name))
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
    /// Serves `router` on `runtime` until the runtime ends.
    pub fn serve(self, router: Router, runtime: &tokio::runtime::Runtime) -> io::Result<()> {
        self.serve_within(Limits::WORKER, router, runtime)
    }

    fn serve_within(self, limits: Limits, router: Router, runtime: &tokio::runtime::Runtime) -> io::Result<()> {
        self.listener.set_nonblocking(true)?;
        let _entered = runtime.enter();
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        let limited = Limited::new(listener, limits);
        let service = router.layer(middleware::from_fn(in_time)).into_make_service_with_connect_info::<Peer>();
        runtime.spawn(async move {
            // It never ends by itself.
            let _ = axum::serve(limited, service).await;
        });
        Ok(())
    }
}

/// Whom a connection comes from; handlers have it as `ConnectInfo<Peer>`.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

impl Connected<IncomingStream<'_, Limited>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Limited>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// Answers for whoever sends its body too slowly.
async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(ANSWER_WITHIN, next.run(request)).await {
        Ok(response) => response,
        Err(_) => (StatusCode::REQUEST_TIMEOUT, "the request took too long\n").into_response(),
    }
}

/// A listener with a bounded number of connections.
pub struct Limited {
    listener: tokio::net::TcpListener,
    limits: Limits,
    places: Places,
}

impl Limited {
    /// `listener` within `limits`.
    pub fn new(listener: tokio::net::TcpListener, limits: Limits) -> Self {
        Self { listener, limits, places: Places::new(limits) }
    }
}

struct Places {
    all: Arc<Semaphore>,
    here: Arc<Semaphore>,
}

impl Places {
    fn new(limits: Limits) -> Self {
        let places = |count| Arc::new(Semaphore::new(count));
        Self { all: places(limits.connections), here: places(limits.from_here) }
    }

    /// A place for whoever connects from `peer`; none: nothing is free for him.
    async fn take(&self, peer: SocketAddr) -> Option<OwnedSemaphorePermit> {
        match self.all.clone().try_acquire_owned() {
            Ok(place) => Some(place),
            Err(_) if peer.ip().to_canonical().is_loopback() => {
                Some(self.here.clone().acquire_owned().await.expect("the semaphore is never closed"))
            }
            Err(_) => None,
        }
    }
}

impl Listener for Limited {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            let (stream, peer) = Listener::accept(&mut self.listener).await;
            if let Some(place) = self.places.take(peer).await {
                return (Connection::new(stream, self.limits, place), peer);
            }
            tracing::warn!(%peer, connections = self.limits.connections, "hung up on a caller: every place is taken");
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that ends when nothing happens on it.
pub struct Connection {
    stream: TcpStream,
    limits: Limits,
    silence: Pin<Box<Sleep>>,
    unanswered: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    fn new(stream: TcpStream, limits: Limits, place: OwnedSemaphorePermit) -> Self {
        let timer = |after| Box::pin(tokio::time::sleep(after));
        Self { stream, limits, silence: timer(limits.silence), unanswered: timer(limits.unanswered), _place: place }
    }

    /// Passes on what `polled` says; a wait that has lasted too long is an error.
    fn heard<T>(&mut self, context: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.silence.as_mut().reset(tokio::time::Instant::now() + self.limits.silence);
            return polled;
        }
        match self.silence.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.unanswered.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let polled = Pin::new(&mut self.stream).poll_read(context, buf);
        self.heard(context, polled)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, buf);
        if matches!(polled, Poll::Ready(Ok(1..))) {
            let until = tokio::time::Instant::now() + self.limits.unanswered;
            self.unanswered.as_mut().reset(until);
        }
        self.heard(context, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use std::io::{Read, Write};

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

    const HELLO: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

    fn serving(limits: Limits, runtime: &tokio::runtime::Runtime) -> SocketAddr {
        let bound = bind("x", "127.0.0.1", 0).unwrap();
        let address = bound.address;
        bound.serve_within(limits, Router::new().route("/", get(|| async { "hello" })), runtime).unwrap();
        address
    }

    #[test]
    fn connections_of_this_host_beyond_the_bound_wait_until_others_go() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let address = serving(Limits::WORKER, &runtime);
        let connect = || std::net::TcpStream::connect(address).unwrap();
        let mut silent: Vec<_> =
            (0..Limits::WORKER.connections + Limits::WORKER.from_here).map(|_| connect()).collect();
        let mut late = connect();
        late.write_all(HELLO).unwrap();
        late.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut answer = String::new();
        assert!(late.read_to_string(&mut answer).is_err(), "no place is free: {answer}");
        silent.pop();
        late.set_read_timeout(None).unwrap();
        late.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("hello"), "{answer}");
    }

    #[test]
    fn strangers_cannot_take_the_places_of_this_host() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let places = Places::new(Limits { connections: 2, from_here: 1, ..Limits::WORKER });
        let take = |peer: &str| runtime.block_on(places.take(peer.parse().unwrap()));
        let strangers: Vec<_> = (0..2).map(|_| take("192.0.2.1:5").unwrap()).collect();
        assert!(take("192.0.2.2:5").is_none(), "hung up on");
        let here = take("[::ffff:127.0.0.1]:5").unwrap();
        drop(strangers);
        assert!(take("192.0.2.2:5").is_some());
        drop(here);
        let many: Vec<_> = (0..3).map(|_| take("127.0.0.1:5").unwrap()).collect();
        assert!(take("192.0.2.2:5").is_none() && many.len() == 3);
    }

    #[test]
    fn whoever_sends_its_headers_byte_by_byte_is_hung_up_on() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let unanswered = Duration::from_millis(300);
        let address = serving(Limits { unanswered, ..Limits::WORKER }, &runtime);
        let mut slow = std::net::TcpStream::connect(address).unwrap();
        let began = std::time::Instant::now();
        let mut sent = 0;
        // Never the last byte: the headers are not there. A closed connection fails the second write after its end.
        while HELLO.get(sent % (HELLO.len() - 30)..).is_some_and(|rest| slow.write_all(&rest[..1]).is_ok()) {
            assert!(began.elapsed() < Duration::from_secs(60), "it may go on for ever");
            std::thread::sleep(Duration::from_millis(20));
            sent += 1;
        }
        assert!(began.elapsed() >= unanswered);
        let mut quick = std::net::TcpStream::connect(address).unwrap();
        quick.write_all(HELLO).unwrap();
        let mut answer = String::new();
        quick.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("hello"), "{answer}");
    }
}
