//! Listeners: taken before anything is begun, served until the daemon ends.
//!
//! What always holds: a stranger can hold neither a stop nor more than a bounded part of this process. Connections are
//! counted, each request has its time once its headers are there, and a stop waits for nobody.

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

/// Open connections at a time; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 64;
/// A connection on which nothing was read or written for so long is closed.
const SILENCE_MAX: Duration = Duration::from_secs(60);
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
        self.listener.set_nonblocking(true)?;
        let _entered = runtime.enter();
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        let limited = Limited { listener, places: Arc::new(Semaphore::new(CONNECTIONS_MAX)) };
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
struct Limited {
    listener: tokio::net::TcpListener,
    places: Arc<Semaphore>,
}

impl Listener for Limited {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let place = self.places.clone().acquire_owned().await.expect("the semaphore is never closed");
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        (Connection { stream, silence: Box::pin(tokio::time::sleep(SILENCE_MAX)), _place: place }, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that ends when nothing happens on it.
struct Connection {
    stream: TcpStream,
    silence: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    /// Passes on what `polled` says; a wait that has lasted too long is an error.
    fn heard<T>(&mut self, context: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.silence.as_mut().reset(tokio::time::Instant::now() + SILENCE_MAX);
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
        let polled = Pin::new(&mut self.stream).poll_read(context, buf);
        self.heard(context, polled)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, buf);
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

    #[test]
    fn connections_beyond_the_bound_wait_until_others_go() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let bound = bind("x", "127.0.0.1", 0).unwrap();
        let address = bound.address;
        bound.serve(Router::new().route("/", get(|| async { "hello" })), &runtime).unwrap();
        let connect = || std::net::TcpStream::connect(address).unwrap();
        let mut silent: Vec<_> = (0..CONNECTIONS_MAX).map(|_| connect()).collect();
        let mut late = connect();
        late.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        late.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut answer = String::new();
        assert!(late.read_to_string(&mut answer).is_err(), "no place is free: {answer}");
        silent.pop();
        late.set_read_timeout(None).unwrap();
        late.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("hello"), "{answer}");
    }
}
