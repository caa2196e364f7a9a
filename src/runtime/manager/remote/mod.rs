//! A manager over HTTP: JSON-RPC 2.0 by POST to `<url>/rpc/v0`.
//!
//! `rpc` makes bodies of calls and answers of bodies (pure); this module carries them. The HTTP status is
//! not trusted: a JSON-RPC body counts under any status. A call that got no answer is made again a few times, within
//! bounds (`again`, pure); what then still has none the worker asks later. An answer is never asked for twice, whatever it
//! says. Header values never appear in an error.

mod again;
mod rpc;

pub use again::Retries;

use super::{Answer, Call, Manager, ManagerError};
use crate::runtime::words::with_causes;
use again::Lost;
use reqwest::{
    Client, Response, StatusCode, Url,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
    redirect::Policy,
};
use rpc::Fault;
use std::{
    collections::BTreeMap,
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// How a manager is waited for.
pub struct Patience {
    pub timeouts: Timeouts,
    pub retries: Retries,
    /// From 0 to 1, for the length of pauses.
    pub chance: Box<dyn Fn() -> f64 + Send + Sync>,
}

impl Default for Patience {
    fn default() -> Self {
        Self { timeouts: Timeouts::default(), retries: Retries::default(), chance: Box::new(rand::random::<f64>) }
    }
}

/// How long a manager may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Until a connection stands.
    pub connect: Duration,
    /// Until the answer is there, connecting included.
    pub answer: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), answer: Duration::from_secs(60) }
    }
}

/// More than this is no answer to any call.
const BODY_BYTES_MAX: usize = 16 << 20;
/// How much of a body that is no answer is shown.
const EXCERPT_CHARS: usize = 200;
/// Shorter header values are no secrets, and removing them would garble the text.
const SECRET_CHARS_MIN: usize = 6;

/// Why a remote manager cannot be asked at all.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    #[error("sector_manager.rpc_client.addr: {0}: give a URL such as http://127.0.0.1:1789")]
    Url(String),
    #[error("sector_manager.rpc_client.headers: {name:?} {reason}")]
    Header { name: String, reason: &'static str },
    #[error("set up the HTTP client: {0}")]
    Client(String),
}

/// A manager at a URL.
pub struct Remote {
    client: Client,
    endpoint: Url,
    /// The endpoint as it may be shown: without user, password and query.
    shown: String,
    secrets: Vec<String>,
    patience: Patience,
    last_id: AtomicU64,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("endpoint", &self.shown).finish_non_exhaustive()
    }
}

impl Remote {
    /// The manager at `url` (http or https, without `/rpc/v0`), with `headers` on each request.
    pub fn new(url: &str, headers: &BTreeMap<String, String>) -> Result<Self, RemoteError> {
        Self::with_patience(url, headers, Patience::default())
    }

    /// The same, with another patience than the usual one.
    pub fn with_patience(
        url: &str,
        headers: &BTreeMap<String, String>,
        patience: Patience,
    ) -> Result<Self, RemoteError> {
        let timeouts = patience.timeouts;
        let endpoint = endpoint(url)?;
        let client = Client::builder()
            .default_headers(header_map(headers)?)
            .connect_timeout(timeouts.connect)
            .timeout(timeouts.answer)
            // Before a manager gives an idle connection up, ours after 20 s: a call is not lost to one that is about to end.
            .pool_idle_timeout(Duration::from_secs(15))
            // A redirect would carry the headers to a place that nobody configured.
            .redirect(Policy::none())
            // As the field's workers: the manager is asked directly, whatever the environment's proxies are.
            .no_proxy()
            .build()
            .map_err(|error| RemoteError::Client(with_causes(&error)))?;
        let shown = shown(&endpoint);
        let secrets = secrets(headers, &endpoint);
        Ok(Self { client, endpoint, shown, secrets, patience, last_id: AtomicU64::new(0) })
    }

    /// Posts `body` and returns the status and the body of whatever came back.
    async fn post(&self, body: String) -> Result<(StatusCode, Vec<u8>), (Lost, String)> {
        let request = self.client.post(self.endpoint.clone()).header(CONTENT_TYPE, "application/json").body(body);
        let sent = request.send().await.map_err(|error| {
            let lost = if error.is_connect() { Lost::Unsent } else { Lost::Unanswered };
            (lost, self.no_answer(error))
        });
        let response = sent?;
        let status = response.status();
        let body = self.read(response).await.map_err(|reason| (Lost::Unanswered, reason))?;
        Ok((status, body))
    }

    /// Asks once. With no answer: whether the manager may have seen the question.
    async fn ask(&self, call: &Call) -> Result<Result<Answer, ManagerError>, (Lost, ManagerError)> {
        let method = call.method();
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let posted = self.post(rpc::request(id, call)).await;
        let (status, body) = posted.map_err(|(lost, reason)| (lost, self.unreachable(method, &reason)))?;
        match rpc::answer(call, id, &body) {
            Ok(answer) => Ok(Ok(answer)),
            Err(Fault::NotFound(message)) => {
                Ok(Err(ManagerError::SectorNotFound { method, message: self.without_secrets(&message) }))
            }
            Err(Fault::Refused { code, message }) => {
                Ok(Err(ManagerError::Refused { method, code, message: self.without_secrets(&message) }))
            }
            Err(Fault::Unreadable(reason)) => {
                let reason = format!("answered {status}: {reason}: {}", excerpt(&self.without_secrets(&text(&body))));
                Err((Lost::Unanswered, self.unreachable(method, &reason)))
            }
        }
    }

    async fn read(&self, mut response: Response) -> Result<Vec<u8>, String> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.no_answer(error))? {
            if body.len() + chunk.len() > BODY_BYTES_MAX {
                return Err(format!("answered {} with more than {BODY_BYTES_MAX} bytes", response.status()));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn no_answer(&self, error: reqwest::Error) -> String {
        if error.is_connect() {
            let hint = "check sector_manager.rpc_client.addr and that the manager runs";
            return format!("could not connect: {}; {hint}", with_causes(&error.without_url()));
        }
        if error.is_timeout() {
            return format!("no answer within {:?}", self.patience.timeouts.answer);
        }
        format!("the answer was cut off or is no HTTP: {}", with_causes(&error.without_url()))
    }

    /// `text` without anything that the configuration's headers or URL keep secret.
    fn without_secrets(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
    }

    fn unreachable(&self, method: &'static str, reason: &str) -> ManagerError {
        ManagerError::Unreachable { method, reason: format!("{}: {}", self.shown, self.without_secrets(reason)) }
    }
}

impl Manager for Remote {
    async fn call(&self, call: Call) -> Result<Answer, ManagerError> {
        let began = Instant::now();
        let mut made = 0;
        loop {
            let (lost, error) = match self.ask(&call).await {
                Ok(answered) => return answered,
                Err(lost) => lost,
            };
            made += 1;
            let pause = self.patience.retries.pause(made, began.elapsed(), (self.patience.chance)());
            let Some(pause) = pause.filter(|_| again::may_repeat(&call, lost)) else { return Err(error) };
            tracing::debug!(%error, made, ?pause, "asked again");
            tokio::time::sleep(pause).await;
        }
    }
}

fn endpoint(url: &str) -> Result<Url, RemoteError> {
    // The text itself is not shown: it may hold a password.
    let mut url = Url::parse(url).map_err(|error| RemoteError::Url(error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(RemoteError::Url(format!("{:?} is not supported", url.scheme())));
    }
    let base = url.path().trim_end_matches('/');
    let path = if base.ends_with("/rpc/v0") { base.to_owned() } else { format!("{base}/rpc/v0") };
    url.set_path(&path);
    Ok(url)
}

fn shown(endpoint: &Url) -> String {
    let mut url = endpoint.clone();
    url.set_query(None);
    url.set_fragment(None);
    // These fail only for URLs without a host, which http and https never are.
    let _ = url.set_username("").and_then(|()| url.set_password(None));
    url.to_string()
}

fn header_map(headers: &BTreeMap<String, String>) -> Result<HeaderMap, RemoteError> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let wrong = |reason| RemoteError::Header { name: name.clone(), reason };
        let header = HeaderName::try_from(name).map_err(|_| wrong("is not a header's name"))?;
        let mut value = HeaderValue::try_from(value)
            .map_err(|_| wrong("has a value that a header cannot carry (line breaks, control characters)"))?;
        value.set_sensitive(true);
        map.insert(header, value);
    }
    Ok(map)
}

/// Header values, and the words of those that have several (`Bearer <token>`), longest first.
fn secrets(headers: &BTreeMap<String, String>, endpoint: &Url) -> Vec<String> {
    let words = headers.values().flat_map(|value| value.split_whitespace().chain([value.trim()]));
    let parts = words.chain(endpoint.password()).chain(endpoint.query());
    let mut secrets: Vec<_> = parts.filter(|it| it.chars().count() >= SECRET_CHARS_MIN).map(str::to_owned).collect();
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets.dedup();
    secrets
}

fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body).into_owned()
}

/// The start of a body on one line.
fn excerpt(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(EXCERPT_CHARS) {
        _ if line.is_empty() => "(empty body)".into(),
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    #[test]
    fn the_endpoint_is_below_the_address() {
        let at = |url: &str| endpoint(url).unwrap().to_string();
        assert_eq!(at("http://m:1789"), "http://m:1789/rpc/v0");
        assert_eq!(at("https://m/base/"), "https://m/base/rpc/v0");
        assert_eq!(at("http://m/rpc/v0"), "http://m/rpc/v0");
        assert_eq!(at("http://m/?token=x"), "http://m/rpc/v0?token=x");
    }

    #[test]
    fn an_address_that_is_no_http_url_is_refused_without_showing_it() {
        for url in ["ws://me:secret@m", "me:secret@m", "/ip4/127.0.0.1/tcp/1789"] {
            let error = Remote::new(url, &BTreeMap::new()).unwrap_err().to_string();
            assert!(error.starts_with("sector_manager.rpc_client.addr: ") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_header_that_cannot_be_sent_is_named_without_its_value() {
        let error = Remote::new("http://m", &headers(&[("Authorization", "secret\n")])).unwrap_err().to_string();
        assert!(error.contains("Authorization") && !error.contains("secret"), "{error}");
        assert!(Remote::new("http://m", &headers(&[("no name", "x")])).is_err());
    }

    #[test]
    fn what_is_secret_is_not_shown() {
        let url = "http://me:hunter22@m/?token=abcdef";
        let remote = Remote::new(url, &headers(&[("Authorization", "Bearer eyJhbGci"), ("X-Id", "7")])).unwrap();
        assert_eq!(format!("{remote:?}"), r#"Remote { endpoint: "http://m/rpc/v0", .. }"#);
        let text = remote.without_secrets("7 Bearer eyJhbGci / eyJhbGci / hunter22 / token=abcdef");
        assert_eq!(text, "7 *** / *** / *** / ***");
    }

    #[test]
    fn an_excerpt_is_one_short_line() {
        assert_eq!(excerpt("<html>\n\n<b>no</b>\u{7}\r\n"), "<html> <b>no</b>");
        assert_eq!(excerpt(" \n"), "(empty body)");
        assert_eq!(excerpt(&"é".repeat(300)), format!("{}…", "é".repeat(200)));
    }
}
