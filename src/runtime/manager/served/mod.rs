//! Any manager, served over HTTP, so that workers on other machines can ask it: JSON-RPC 2.0 by POST to `/rpc/v0`.
//!
//! ```text
//! connection ─► listen (who is it? then the body) ─► rpc ─► may he? ─► Manager::call ─► rpc ─► body
//! ```
//!
//! | part | owns |
//! | --- | --- |
//! | `rpc` | calls out of requests, answers out of the manager's (pure) |
//! | `pieces` | the data of deals |
//!
//! A call that was begun is carried to its end, whether or not its caller still listens: every call is safe to repeat.
//! A manager that cannot answer now is told by HTTP 503 without JSON-RPC, which a worker takes as what it is: away.

pub mod pieces;
mod rpc;

use super::Manager;
use crate::{
    runtime::listen::{
        Peer,
        access::{Access, Server},
        hear::{hear, json},
    },
    sys::token::Token,
};
use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use rpc::Asked;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// More than this is no request of any worker: the largest, a proof of 64 GiB, has four thousand bytes.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Calls that are carried out at once; more are told to come again.
const CALLS_AT_ONCE_MAX: usize = 256;

const SERVER: Server =
    Server { name: "manager", token_key: "sector_manager.served.token_file (manager --token-file FILE)" };

struct Served<M> {
    manager: Arc<M>,
    access: Arc<Access>,
    room: Arc<Semaphore>,
}

/// The rule of a served manager: who has `token` may change something from anywhere.
pub fn access(token: Option<Token>) -> Access {
    Access::new(SERVER, token)
}

/// The routes of a served manager. The listener must tell each caller's address.
pub fn router<M: Manager>(manager: Arc<M>, access: impl Into<Arc<Access>>) -> Router {
    let served = Served { manager, access: access.into(), room: Arc::new(Semaphore::new(CALLS_AT_ONCE_MAX)) };
    Router::new().route("/rpc/v0", post(answer::<M>)).with_state(Arc::new(served))
}

async fn answer<M: Manager>(
    State(served): State<Arc<Served<M>>>,
    ConnectInfo(from): ConnectInfo<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let (caller, body) = match hear(&served.access, from, &headers, body, BODY_BYTES_MAX).await {
        Ok(heard) => heard,
        Err(unheard) => return unheard,
    };
    let asked = match rpc::request(&body) {
        Ok(asked) => asked,
        Err(refused) => return json(StatusCode::OK, refused.body()),
    };
    if rpc::changes(&asked.call)
        && let Err(why) = served.access.may_change(caller)
    {
        tracing::warn!(from = %from.0, method = asked.call.method(), why, "a call was refused");
        return json(StatusCode::UNAUTHORIZED, rpc::no_access(&asked, &why).body());
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

fn away(why: &'static str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
}
