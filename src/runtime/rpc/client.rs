//! The other end of the RPC: asks a running worker, and says in an operator's words why it cannot.

use super::wire::{self, WorkerInfo};
use crate::{runtime::words::with_causes, sys::token::Token};
use reqwest::{Client as Http, StatusCode};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{io, time::Duration};
use tokio::runtime::Runtime;

/// A worker answers in milliseconds, and a thread whose disk hangs is given up after ten seconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("start the async runtime: {0}")]
    Runtime(io::Error),
    #[error(
        "no worker answers at {address}: {why}; check that the daemon runs, and -c or --addr (a worker with port 0 tells its \
         address in its log)"
    )]
    Away { address: String, why: String },
    #[error("{address} is no worker's RPC: it answered {status}{said}")]
    Stranger { address: String, status: StatusCode, said: String },
    /// The worker understood and did not do it.
    #[error("{0}")]
    Refused(String),
}

/// A worker at `host:port`.
pub struct Client {
    http: Http,
    runtime: Runtime,
    address: String,
    token: Option<Token>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    result: Value,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    message: String,
}

impl Client {
    /// Asks at `address`, with `token` if there is one. Nothing is sent yet.
    pub fn new(address: String, token: Option<Token>) -> Result<Self, ClientError> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ClientError::Runtime)?;
        let http = Http::builder()
            .timeout(ANSWER_WITHIN)
            // The token goes to the worker alone.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|error| ClientError::Runtime(io::Error::other(with_causes(&error))))?;
        Ok(Self { http, runtime, address, token })
    }

    /// Where it asks.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Every thread.
    pub fn list(&self) -> Result<Vec<WorkerInfo>, ClientError> {
        self.call(wire::LIST, json!([]))
    }

    /// The worker's version.
    pub fn version(&self) -> Result<String, ClientError> {
        self.call(wire::VERSION, json!([]))
    }

    /// Pauses a thread.
    pub fn pause(&self, index: usize) -> Result<bool, ClientError> {
        self.call(wire::PAUSE, json!([index]))
    }

    /// Lets a thread go on, from `state` if one is given.
    pub fn resume(&self, index: usize, state: Option<&str>) -> Result<bool, ClientError> {
        self.call(wire::RESUME, json!([index, state]))
    }

    fn call<T: DeserializeOwned>(&self, method: &str, params: Value) -> Result<T, ClientError> {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let mut request = self.http.post(format!("http://{}/", self.address)).json(&body);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.secret());
        }
        let asked = async {
            let response = request.send().await?;
            Ok((response.status(), response.text().await?))
        };
        let (status, text) = self.runtime.block_on(asked).map_err(|error: reqwest::Error| {
            let why = if error.is_timeout() {
                format!("nothing within {} s", ANSWER_WITHIN.as_secs())
            } else {
                with_causes(&error.without_url())
            };
            ClientError::Away { address: self.address.clone(), why }
        })?;
        let stranger = |said: &str| ClientError::Stranger {
            address: self.address.clone(),
            status,
            said: if said.is_empty() { String::new() } else { format!(": {said}") },
        };
        let Ok(answer) = serde_json::from_str::<Answer>(&text) else { return Err(stranger(&one_line(&text))) };
        match answer.error {
            Some(refusal) => Err(ClientError::Refused(one_line(&refusal.message))),
            None => serde_json::from_value(answer.result).map_err(|error| stranger(&error.to_string())),
        }
    }
}

/// What somebody else wrote, short and on one line.
fn one_line(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ").chars().take(500).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{Read, Write},
        net::TcpListener,
        thread,
    };

    /// Something that answers one request with these bytes.
    fn answering(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
            stream.write_all((head + answer).as_bytes()).unwrap();
        });
        address
    }

    fn version_at(address: String) -> Result<String, ClientError> {
        Client::new(address, None).unwrap().version()
    }

    #[test]
    fn nobody_there_and_somebody_else_there_are_told_apart() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let away = version_at(free.clone()).unwrap_err().to_string();
        assert!(away.starts_with(&format!("no worker answers at {free}: ")), "{away}");
        let other = version_at(answering("<html>\nhello")).unwrap_err().to_string();
        assert!(other.contains("is no worker's RPC: it answered 200 OK: <html> hello"), "{other}");
    }

    #[test]
    fn an_error_of_the_worker_is_a_refusal_in_its_words() {
        let refused =
            version_at(answering(r#"{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"not\u001b[2J now"}}"#));
        assert_eq!(refused.unwrap_err().to_string(), "not [2J now");
        assert_eq!(version_at(answering(r#"{"jsonrpc":"2.0","id":1,"result":"0.1.0"}"#)).unwrap(), "0.1.0");
    }
}
