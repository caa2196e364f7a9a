//! Any manager, served over HTTP, so that workers on other machines can ask it: JSON-RPC 2.0 by POST to `/rpc/v0`.
//!
//! ```text
//! connection ─► body (bounded in size and time) ─► rpc ─► access ─► Manager::call ─► rpc ─► body
//! ```
//!
//! | part | owns |
//! | --- | --- |
//! | `rpc` | calls out of bodies, bodies out of answers (pure) |
//! | `access` | who may ask what (pure) |
//! | `pieces` | the data of deals |
//!
//! A call that was begun is carried to its end, whether or not its caller still listens: every call is safe to repeat.
//! A manager that cannot answer now is told by HTTP 503 without JSON-RPC, which a worker takes as what it is: away.

pub mod access;
pub mod pieces;
mod rpc;

use super::Manager;
use crate::runtime::listen;
use access::{Access, Caller};
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{ConnectInfo, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use rpc::{Asked, Refused};
use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// More than this is no request of any worker: the largest, a proof of 64 GiB, has four thousand bytes.
const BODY_BYTES_MAX: usize = 1 << 20;
/// A body that is somewhat larger is read to its end, so that its sender hears why it was refused.
const BODY_BYTES_READ: usize = 2 << 20;
/// How long a caller may take to send its body.
const BODY_PATIENCE: Duration = Duration::from_secs(30);
/// Calls that are carried out at once; more are told to come again.
const CALLS_AT_ONCE_MAX: usize = 256;

struct Served<M> {
    manager: Arc<M>,
    access: Arc<Access>,
    room: Arc<Semaphore>,
}

/// The routes of a served manager. It has to be told who connects
/// (`into_make_service_with_connect_info::<SocketAddr>()`).
pub fn router<M: Manager>(manager: Arc<M>, access: impl Into<Arc<Access>>) -> Router {
    let served = Served { manager, access: access.into(), room: Arc::new(Semaphore::new(CALLS_AT_ONCE_MAX)) };
    Router::new().route("/rpc/v0", post(answer::<M>)).with_state(Arc::new(served))
}

/// Serves `routes` until `stop` is ready, then answers what was asked and ends.
///
/// # Errors
/// The listener failed.
pub async fn serve(
    listener: TcpListener,
    routes: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let service = routes.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(stop).await
}

async fn answer<M: Manager>(
    State(served): State<Arc<Served<M>>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let body = match timeout(BODY_PATIENCE, to_bytes(body, BODY_BYTES_READ)).await {
        Ok(Ok(body)) if body.len() <= BODY_BYTES_MAX => body,
        Ok(_) => {
            let why = format!("the body was cut off or has more than {BODY_BYTES_MAX} bytes");
            return json(StatusCode::PAYLOAD_TOO_LARGE, Refused::unread(&why).body());
        }
        Err(_) => {
            let why = format!("the body did not come within {} s", BODY_PATIENCE.as_secs());
            return json(StatusCode::REQUEST_TIMEOUT, Refused::unread(&why).body());
        }
    };
    let asked = match rpc::request(&body) {
        Ok(asked) => asked,
        Err(refused) => return json(StatusCode::OK, refused.body()),
    };
    if let Err(why) = served.access.may_call(caller(from, &headers), &asked.call) {
        tracing::warn!(%from, method = asked.call.method(), why, "a call was refused");
        return json(StatusCode::UNAUTHORIZED, Refused::no_access(&asked, why).body());
    }
    // Not before the body is there and may be asked: who only holds connections open keeps nobody out.
    let Ok(room) = served.room.clone().try_acquire_owned() else {
        return away("too many calls at once: ask again later");
    };
    carry_out(served.manager.clone(), asked, room).await
}

async fn carry_out<M: Manager>(manager: Arc<M>, Asked { id, call }: Asked, room: OwnedSemaphorePermit) -> Response {
    // A task of its own: a caller that hangs up would end this one between two steps of the manager's.
    // It keeps its place until it has ended, so that callers that hang up cannot pile calls up.
    let task = tokio::spawn(async move {
        let _room = room;
        manager.call(call).await
    });
    let Ok(answer) = task.await else {
        return away("the call fell over: see the manager's log");
    };
    if let Err(error) = &answer {
        tracing::debug!(%error, "answered with an error");
    }
    match rpc::answered(&id, &answer) {
        _ if id.is_notification() => StatusCode::NO_CONTENT.into_response(),
        Some(body) => json(StatusCode::OK, body),
        None => away("the manager cannot answer now: see its log"),
    }
}

/// Who asks, as far as the connection and the headers tell.
pub fn caller(from: SocketAddr, headers: &HeaderMap) -> Caller<'_> {
    Caller {
        address: from.ip(),
        passed_on: listen::is_passed_on(headers),
        // What is no text is no token.
        authorization: headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap_or_default()),
    }
}

fn json(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn away(why: &'static str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
}
