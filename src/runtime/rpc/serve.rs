//! The HTTP around the RPC: one route, small bodies, and nothing for browsers.

use super::methods;
use crate::{
    runtime::{
        control::Board,
        listen::{
            Peer,
            access::{Access, Caller, Server},
            hear::{hear, json},
            jsonrpc::{self, Body, Refused, Request},
        },
        metrics,
    },
    sys::token::Token,
};
use axum::{
    Router,
    extract::{ConnectInfo, State},
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
    routing::post,
};
use serde_json::Value;
use std::sync::Arc;

/// No call is as long.
const BODY_BYTES_MAX: usize = 64 << 10;

const SERVER: Server = Server { name: "worker", token_key: "worker.rpc_server.token_file" };

/// What the methods work on.
#[derive(Debug)]
pub struct Service {
    pub board: Board,
    pub(super) access: Access,
}

impl Service {
    /// Callers from other hosts send `token` to change something; none: they may not.
    pub fn new(board: Board, token: Option<Token>) -> Self {
        Self { board, access: Access::new(SERVER, token) }
    }
}

/// The routes of the RPC. The listener must tell each caller's address.
pub fn router(service: Service) -> Router {
    Router::new().route("/", post(answer)).with_state(Arc::new(service))
}

async fn answer(
    State(service): State<Arc<Service>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
    body: axum::body::Body,
) -> axum::response::Response {
    // A page in somebody's browser on this host would count as this host: browsers say where a page is from, and cannot
    // send this type to a stranger unasked. Programs do neither.
    if headers.contains_key(header::ORIGIN) {
        return (StatusCode::FORBIDDEN, "this is no address for web pages\n").into_response();
    }
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !content_type.is_some_and(is_json) {
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, "Content-Type must be application/json\n").into_response();
    }
    let (caller, body) = match hear(&service.access, peer, &headers, body, BODY_BYTES_MAX).await {
        Ok(heard) => heard,
        Err(unheard) => return unheard,
    };
    let answered = match jsonrpc::read(&body) {
        Body::One(request) => respond(&service, caller, request).await,
        Body::Batch(requests) => {
            let mut answers = Vec::new();
            for request in requests {
                answers.extend(respond(&service, caller, request).await);
            }
            (!answers.is_empty()).then(|| format!("[{}]", answers.join(",")))
        }
    };
    match answered {
        // Notifications alone: nothing to say.
        None => StatusCode::OK.into_response(),
        Some(answer) => json(StatusCode::OK, answer),
    }
}

fn is_json(content_type: &str) -> bool {
    content_type.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// `None` for a notification.
async fn respond(service: &Service, caller: Caller, request: Result<Request, Refused>) -> Option<String> {
    let request = match request {
        Ok(request) => request,
        Err(refused) => return Some(refused.body()),
    };
    let result = match request.params::<Vec<Value>>() {
        Ok(params) => methods::call(service, caller, &request.method, &params).await,
        Err(error) => Err(error),
    };
    metrics::rpc_call(&request.method, result.is_ok());
    (!request.id.is_notification()).then(|| jsonrpc::answer(&request.id, result.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::control::Wish;
    use axum::extract::connect_info::MockConnectInfo;
    use serde_json::json;
    use std::{
        pin::Pin,
        task::{Context, Poll},
        thread,
        time::Instant,
    };

    const TOKEN: &str = "0123456789abcdef0123";

    /// A body whose first byte never comes.
    struct Never;

    impl http_body::Body for Never {
        type Data = axum::body::Bytes;
        type Error = std::io::Error;
        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
            Poll::Pending
        }
    }

    /// Serves two threads to a caller whose address is `peer`; the first thread says yes to every order.
    async fn served(peer: &str, token: Option<&str>) -> String {
        let board = Board::new([("/a".into(), "sealer".into()), ("/b".into(), "sealer".into())], Instant::now());
        let seat = board.clone();
        thread::spawn(move || {
            loop {
                seat.rest(0, std::time::Duration::from_secs(60));
                while let Some(order) = seat.next(0) {
                    let refused = order.wish == Wish::Resume(Some("Finished".parse().unwrap()));
                    order.answer(if refused { Err("not a way back".into()) } else { Ok(true) });
                }
            }
        });
        let service = Service::new(board, token.map(|text| Token::parse(text).unwrap()));
        let peer = Peer(peer.parse().unwrap());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = router(service).layer(MockConnectInfo(peer));
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}/")
    }

    async fn ask(url: &str, bearer: Option<&str>, method: &str, params: Value) -> Value {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let mut request = reqwest::Client::new().post(url).json(&body);
        if let Some(token) = bearer {
            request = request.bearer_auth(token);
        }
        request.send().await.unwrap().json().await.unwrap()
    }

    #[tokio::test]
    async fn a_caller_on_this_host_changes_things_without_a_token() {
        let url = served("127.0.0.1:4711", None).await;
        let list = ask(&url, None, "VenusWorker.WorkerList", json!([])).await;
        assert_eq!(list["result"][1]["location"], "/b");
        assert_eq!(ask(&url, None, "VenusWorker.WorkerPause", json!([0])).await["result"], true);
        assert_eq!(ask(&url, None, "VenusWorker.WorkerResume", json!([0, "PC1Done"])).await["result"], true);
        assert_eq!(ask(&url, None, "VenusWorker.WorkerResume", json!([0])).await["result"], true);
        let version = ask(&url, None, "VenusWorker.WorkerVersion", json!([])).await;
        assert_eq!(version["result"], env!("CARGO_PKG_VERSION"));
    }

    #[tokio::test]
    async fn elsewhere_reading_is_free_and_changing_needs_the_token() {
        let changing = [
            ("VenusWorker.WorkerPause", json!([0])),
            ("VenusWorker.WorkerResume", json!([0, null])),
            ("VenusWorker.WorkerSetEnv", json!(["LD_PRELOAD", "x"])),
            ("VenusWorker.WorkerRemoveEnv", json!(["PATH"])),
        ];
        let (with, without) = (served("192.0.2.7:4711", Some(TOKEN)).await, served("192.0.2.7:4711", None).await);
        for url in [&with, &without] {
            assert!(ask(url, None, "VenusWorker.WorkerList", json!([])).await["result"].is_array());
            assert!(ask(url, None, "VenusWorker.WorkerVersion", json!([])).await["result"].is_string());
            for (method, params) in &changing {
                let answer = ask(url, None, method, params.clone()).await;
                assert_eq!(answer["error"]["code"], -32001, "{method}: {answer}");
            }
        }
        assert_eq!(ask(&with, Some(TOKEN), "VenusWorker.WorkerPause", json!([0])).await["result"], true);
        let refused = ask(&without, Some(TOKEN), "VenusWorker.WorkerPause", json!([0])).await;
        assert!(refused["error"]["message"].as_str().unwrap().contains("reading calls only"), "{refused}");
    }

    #[tokio::test]
    async fn a_wrong_token_is_refused_before_the_body_is_there_and_wherever_it_comes_from() {
        for peer in ["127.0.0.1:4711", "192.0.2.7:4711"] {
            let url = served(peer, Some(TOKEN)).await;
            for method in ["VenusWorker.WorkerList", "VenusWorker.WorkerPause"] {
                let answer = ask(&url, Some("0123456789abcdef0124"), method, json!([])).await;
                assert_eq!(answer["error"]["code"], -32001, "{method}: {answer}");
                assert!(answer["error"]["message"].as_str().unwrap().contains("not this worker's"), "{answer}");
            }
            // Of this body nothing ever comes.
            let never = reqwest::Body::wrap(Never);
            let post = reqwest::Client::new().post(&url).body(never).header("Content-Type", "application/json");
            assert_eq!(post.bearer_auth("0123456789abcdef0124").send().await.unwrap().status(), 401);
        }
    }

    #[tokio::test]
    async fn a_strangers_long_body_is_not_read() {
        let long = json!({"jsonrpc": "2.0", "id": 1, "method": "VenusWorker.WorkerList", "x": " ".repeat(20 << 10)});
        for (peer, token, status) in
            [("127.0.0.1:4711", None, 200), ("192.0.2.7:4711", None, 401), ("192.0.2.7:4711", Some(TOKEN), 200)]
        {
            let url = served(peer, Some(TOKEN)).await;
            let mut post = reqwest::Client::new().post(&url).json(&long);
            if let Some(token) = token {
                post = post.bearer_auth(token);
            }
            assert_eq!(post.send().await.unwrap().status(), status, "{peer} {token:?}");
        }
    }

    #[tokio::test]
    async fn the_environment_is_not_changed_for_anybody() {
        let url = served("127.0.0.1:4711", None).await;
        let answer = ask(&url, None, "VenusWorker.WorkerSetEnv", json!(["A", "b"])).await;
        assert!(answer["error"]["message"].as_str().unwrap().contains("processors.STAGE.envs"), "{answer}");
    }

    #[tokio::test]
    async fn wrong_params_and_refusals_are_told_in_words() {
        let url = served("127.0.0.1:4711", None).await;
        let said = async |method, params| ask(&url, None, method, params).await["error"]["message"].to_string();
        assert!(said("VenusWorker.WorkerPause", json!([2])).await.contains("there is no thread 2: this worker has 2"));
        assert!(said("VenusWorker.WorkerPause", json!(["a"])).await.contains("params[0] is the index"));
        assert!(said("VenusWorker.WorkerResume", json!([0, "PC9"])).await.contains("is not a sector state"));
        assert!(said("VenusWorker.WorkerResume", json!([0, "Finished"])).await.contains("thread 0: not a way back"));
        assert!(said("VenusWorker.Nothing", json!([])).await.contains("method not found"));
    }

    #[tokio::test]
    async fn web_pages_other_types_and_long_bodies_are_turned_away() {
        let url = served("127.0.0.1:4711", None).await;
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"VenusWorker.WorkerPause","params":[0]}"#;
        let post = || reqwest::Client::new().post(&url).body(body);
        let status = async |request: reqwest::RequestBuilder| request.send().await.unwrap().status().as_u16();
        assert_eq!(status(post().header("Content-Type", "text/plain")).await, 415);
        let json = || post().header("Content-Type", "application/json");
        assert_eq!(status(json().header("Origin", "https://evil.example")).await, 403);
        assert_eq!(status(json()).await, 200);
        assert_eq!(status(json().body(" ".repeat(BODY_BYTES_MAX + 1))).await, 413);
        assert_eq!(status(reqwest::Client::new().get(&url)).await, 405);
    }
}
