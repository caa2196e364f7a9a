//! Pieces of deals for workers on other machines: `GET /piecestore/<piece cid>`, as the field's managers serve them.
//!
//! Only what the manager offers as a deal is served, whatever else lies in its folder. A file is streamed and never in
//! memory as a whole; one that has become shorter meanwhile cuts its answer off, which the worker notices.

use crate::{
    runtime::listen::{Peer, access::Access, hear},
    units::PieceCid,
};
use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    extract::{ConnectInfo, Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use http_body::{Frame, SizeHint};
use std::{
    io,
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::{
    fs::File,
    io::{AsyncRead, ReadBuf},
    sync::{OwnedSemaphorePermit, Semaphore},
};

/// Pieces that are sent at once; who asks for more is told to come again.
const PIECES_AT_ONCE_MAX: usize = 64;
const BLOCK_BYTES: usize = 256 << 10;

/// Where the file of an offered piece is.
pub type Find = Box<dyn Fn(PieceCid) -> Option<PathBuf> + Send + Sync>;

struct Offered {
    find: Find,
    access: Arc<Access>,
    room: Arc<Semaphore>,
}

/// The route of pieces. It has to be told who connects, like the others.
pub fn router(find: Find, access: Arc<Access>) -> Router {
    let offered = Offered { find, access, room: Arc::new(Semaphore::new(PIECES_AT_ONCE_MAX)) };
    Router::new().route("/piecestore/{cid}", get(piece)).with_state(Arc::new(offered))
}

/// Whether a caller may have the data of deals. Without a token of ours anybody may, as with the field's managers.
fn may_fetch(access: &Access, from: Peer, headers: &HeaderMap) -> Result<(), String> {
    let caller = hear::caller(access, from, headers)?;
    if !access.has_token() {
        return Ok(());
    }
    access
        .may_change(caller)
        .map_err(|_| "pieces need the manager's token: workers send it as sector_manager.piece_token".to_owned())
}

async fn piece(
    State(offered): State<Arc<Offered>>,
    ConnectInfo(from): ConnectInfo<Peer>,
    headers: HeaderMap,
    Path(name): Path<String>,
) -> Response {
    if let Err(why) = may_fetch(&offered.access, from, &headers) {
        tracing::warn!(from = %from.0, why, "a piece was refused");
        return (StatusCode::UNAUTHORIZED, why).into_response();
    }
    let Ok(cid) = name.strip_suffix(".car").unwrap_or(&name).parse::<PieceCid>() else {
        return (StatusCode::BAD_REQUEST, "this is not a piece CID").into_response();
    };
    let Some(path) = (offered.find)(cid) else {
        return (StatusCode::NOT_FOUND, "no deal of this manager has the piece").into_response();
    };
    let Ok(room) = offered.room.clone().try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many pieces at once: ask again later").into_response();
    };
    match open(&path).await {
        Ok((file, left)) => {
            tracing::info!(from = %from.0, %cid, bytes = left, "a piece is sent");
            let body = FileBody { file, left, block: vec![0; BLOCK_BYTES], _room: room };
            ([(header::CONTENT_TYPE, "application/octet-stream")], Body::new(body)).into_response()
        }
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the file of a piece cannot be read");
            (StatusCode::NOT_FOUND, "the file of the piece cannot be read: see the manager's log").into_response()
        }
    }
}

async fn open(path: &std::path::Path) -> io::Result<(File, u64)> {
    let file = File::open(path).await?;
    let bytes = file.metadata().await?.len();
    Ok((file, bytes))
}

/// So many bytes of a file.
struct FileBody {
    file: File,
    left: u64,
    block: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

impl HttpBody for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        if this.left == 0 {
            return Poll::Ready(None);
        }
        let most = usize::try_from(this.left).unwrap_or(usize::MAX).min(this.block.len());
        let mut block = ReadBuf::new(&mut this.block[..most]);
        ready!(Pin::new(&mut this.file).poll_read(context, &mut block))?;
        let bytes = Bytes::copy_from_slice(block.filled());
        if bytes.is_empty() {
            return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
        }
        this.left -= bytes.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        runtime::{
            listen::{self, Limits},
            pieces::Fetch,
        },
        sys::token::Token,
    };
    use std::{
        io::{Read, Write},
        net::TcpStream,
        time::Duration,
    };

    const CID: PieceCid = PieceCid([7; 32]);

    /// A manager that has one piece, until the runtime goes.
    fn serving(token: Option<&str>, file: PathBuf, limits: Limits) -> (tokio::runtime::Runtime, String) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let access = crate::runtime::manager::served::access(token.map(|token| Token::parse(token).unwrap()));
        let routes = router(Box::new(move |cid| (cid == CID).then(|| file.clone())), Arc::new(access));
        let bound = listen::bind("x", "127.0.0.1", 0).unwrap();
        let base = format!("http://{}/piecestore", bound.address);
        runtime.spawn(bound.serve(routes, limits, std::future::pending()));
        (runtime, base)
    }

    fn refused(url: &str, token: Option<&str>) -> String {
        Fetch::new(token.map(str::to_owned), Vec::new()).open(url, 1).err().expect("it is refused").what
    }

    #[test]
    fn a_piece_is_served_whole_and_what_is_none_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("piece");
        let bytes: Vec<u8> = (0..3 * BLOCK_BYTES + 5).map(|i| (i >> 7) as u8).collect();
        std::fs::write(&file, &bytes).unwrap();
        let (_manager, base) = serving(None, file.clone(), Limits::MANAGER);
        for name in [CID.to_string(), format!("{CID}.car")] {
            let mut got = Vec::new();
            // A worker may send a token that this manager never asked for.
            let fetch = Fetch::new(Some("whatever".into()), Vec::new());
            fetch.open(&format!("{base}/{name}"), bytes.len() as u64).unwrap().read_to_end(&mut got).unwrap();
            assert!(got == bytes);
        }
        assert!(refused(&format!("{base}/{}", PieceCid([8; 32])), None).contains("404"));
        assert!(refused(&format!("{base}/..%2F..%2Fetc%2Fpasswd"), None).contains("400"));
        assert!(refused(&format!("{base}/{CID}/more"), None).contains("404"));
        std::fs::remove_file(file).unwrap();
        assert!(refused(&format!("{base}/{CID}"), None).contains("404"));
    }

    #[test]
    fn with_a_token_other_hosts_need_it_and_a_wrong_one_is_refused_everywhere() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("piece");
        std::fs::write(&file, "data").unwrap();
        let (runtime, base) = serving(Some("the-very-right-one"), file, Limits::MANAGER);
        let url = format!("{base}/{CID}");
        assert!(Fetch::new(Some("the-very-right-one".into()), Vec::new()).open(&url, 4).is_ok());
        let wrong = refused(&url, Some("another-one"));
        assert!(wrong.contains("401") && !wrong.contains("another-one"), "{wrong}");
        // As a proxy would pass it on: from another host, without a token.
        let asked = reqwest::Client::new().get(&url).header("X-Forwarded-For", "10.0.0.9").send();
        assert_eq!(runtime.block_on(asked).unwrap().status(), 401);
    }
    /// Without an end of its own, were a reader that does not read waited for.
    #[test]
    fn readers_that_do_not_read_leave_their_places_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("piece");
        // More than the buffers of a connection hold.
        std::fs::File::create(&file).unwrap().set_len(256 << 20).unwrap();
        let limits = Limits { pace_within: Duration::from_millis(200), ..Limits::MANAGER };
        let (_manager, base) = serving(None, file, limits);
        let address = base.strip_prefix("http://").unwrap().strip_suffix("/piecestore").unwrap();
        let silent: Vec<_> = (0..PIECES_AT_ONCE_MAX)
            .map(|_| {
                let mut stream = TcpStream::connect(address).unwrap();
                write!(stream, "GET /piecestore/{CID} HTTP/1.1\r\nhost: m\r\n\r\n").unwrap();
                stream
            })
            .collect();
        // They are being sent to when their heads are there.
        silent.iter().for_each(|stream| assert_eq!(stream.peek(&mut [0]).unwrap(), 1));
        while Fetch::default().open(&format!("{base}/{CID}"), 1).is_err() {
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(silent);
    }
}
