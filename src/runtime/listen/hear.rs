//! A request as far as its body: who sent it is judged by the headers alone, and only then the body is read, in bounds.
//!
//! A stranger may only read, and no reading call is long: a long body of his is a change and is refused unread.

use super::{
    Peer,
    access::{Access, Caller},
    jsonrpc::{INVALID_REQUEST, NO_ACCESS, Refused},
};
use axum::{
    body::{Body, Bytes, HttpBody, to_bytes},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use std::time::Duration;

/// How long a caller may take to send its body.
const BODY_WITHIN: Duration = Duration::from_secs(30);
/// The longest body of a caller who may only read.
const READING_BYTES_MAX: usize = 16 << 10;

/// What proxies add and web pages send.
const PASSED_ON: [&str; 4] = ["forwarded", "x-forwarded-for", "via", "origin"];

/// Who calls, as far as the connection and the headers tell.
///
/// # Errors
/// He sent a wrong token.
pub fn caller(access: &Access, Peer(peer): Peer, headers: &HeaderMap) -> Result<Caller, String> {
    let passed_on = PASSED_ON.iter().any(|name| headers.contains_key(*name));
    // What is no text is no token.
    let authorization = headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap_or_default());
    access.caller(peer.ip(), passed_on, authorization)
}

/// The caller of a JSON-RPC request, and its body of at most `most` bytes.
///
/// # Errors
/// The answer to one that is not heard.
pub async fn hear(
    access: &Access,
    peer: Peer,
    headers: &HeaderMap,
    body: Body,
    most: usize,
) -> Result<(Caller, Bytes), Response> {
    let no_access = |why: String| {
        tracing::warn!(from = %peer.0, why, "a request was refused");
        unheard(StatusCode::UNAUTHORIZED, NO_ACCESS, &why)
    };
    let caller = caller(access, peer, headers).map_err(no_access)?;
    let too_long =
        || unheard(StatusCode::PAYLOAD_TOO_LARGE, INVALID_REQUEST, &format!("the body has more than {most} bytes"));
    // One that is somewhat longer is read to its end, so that its sender hears why it was refused.
    let read = if access.may_change(caller).is_ok() { most * 2 } else { READING_BYTES_MAX };
    if body.size_hint().lower() > read as u64 {
        access.may_change(caller).map_err(no_access)?;
        return Err(too_long());
    }
    match tokio::time::timeout(BODY_WITHIN, to_bytes(body, read)).await {
        Ok(Ok(body)) if body.len() <= most => Ok((caller, body)),
        Ok(_) => {
            access.may_change(caller).map_err(no_access)?;
            Err(too_long())
        }
        Err(_) => {
            let why = format!("the body did not come within {} s", BODY_WITHIN.as_secs());
            Err(unheard(StatusCode::REQUEST_TIMEOUT, INVALID_REQUEST, &why))
        }
    }
}

fn unheard(status: StatusCode, code: i64, why: &str) -> Response {
    json(status, Refused::nobodys(code, why).body())
}

/// An answer of JSON.
pub fn json(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json; charset=utf-8")], body).into_response()
}
