//! JSON-RPC 2.0 as a server hears it: single requests, batches, notifications. Pure.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The body is no JSON.
const PARSE_ERROR: i64 = -32700;
/// It is, and no request.
const INVALID_REQUEST: i64 = -32600;
/// Nobody knows the method.
const METHOD_NOT_FOUND: i64 = -32601;
/// The method does not take these.
const INVALID_PARAMS: i64 = -32602;
/// Known and understood, and not done.
const REFUSED: i64 = -32000;
/// More in one body are no batch.
const BATCH_MAX: usize = 64;

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Request {
    /// Absent: a notification, which is not answered.
    pub id: Option<Value>,
    pub method: String,
    pub params: Vec<Value>,
}

/// Why a request has no result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Error {
    pub code: i64,
    pub message: String,
}

/// The answer to one request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Response {
    jsonrpc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Error>,
    id: Value,
}

/// What a body asks.
#[derive(Debug, PartialEq)]
pub(super) enum Body {
    One(Result<Request, Response>),
    Batch(Vec<Result<Request, Response>>),
}

impl Error {
    pub(super) fn method_not_found(method: &str) -> Self {
        Self { code: METHOD_NOT_FOUND, message: format!("method not found: {}", shown(method)) }
    }
    pub(super) fn invalid_params(message: impl Into<String>) -> Self {
        Self { code: INVALID_PARAMS, message: message.into() }
    }
    pub(super) fn refused(message: impl Into<String>) -> Self {
        Self { code: REFUSED, message: message.into() }
    }
}

impl Response {
    pub(super) fn new(id: Value, result: Result<Value, Error>) -> Self {
        let (result, error) = match result {
            Ok(result) => (Some(result), None),
            Err(error) => (None, Some(error)),
        };
        Self { jsonrpc: "2.0", result, error, id }
    }

    fn failed(code: i64, message: impl Into<String>) -> Self {
        Self::new(Value::Null, Err(Error { code, message: message.into() }))
    }
}

/// Reads a body.
pub(super) fn read(body: &[u8]) -> Body {
    match serde_json::from_slice(body) {
        Err(error) => Body::One(Err(Response::failed(PARSE_ERROR, format!("no JSON: {error}")))),
        Ok(Value::Array(items)) if items.is_empty() => {
            Body::One(Err(Response::failed(INVALID_REQUEST, "an empty batch")))
        }
        Ok(Value::Array(items)) if items.len() > BATCH_MAX => {
            Body::One(Err(Response::failed(INVALID_REQUEST, format!("more than {BATCH_MAX} requests in one batch"))))
        }
        Ok(Value::Array(items)) => Body::Batch(items.into_iter().map(request).collect()),
        Ok(one) => Body::One(request(one)),
    }
}

fn request(value: Value) -> Result<Request, Response> {
    #[derive(Deserialize)]
    struct Raw {
        jsonrpc: String,
        // Null is an id, absence is none.
        #[serde(default, deserialize_with = "present")]
        id: Option<Value>,
        method: String,
        #[serde(default)]
        params: Value,
    }
    fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
        Value::deserialize(deserializer).map(Some)
    }
    let invalid = |what: &str| Response::failed(INVALID_REQUEST, format!("no JSON-RPC 2.0 request: {what}"));
    let raw: Raw = serde_json::from_value(value).map_err(|error| invalid(&error.to_string()))?;
    if raw.jsonrpc != "2.0" {
        return Err(invalid("jsonrpc is not \"2.0\""));
    }
    if !matches!(raw.id, None | Some(Value::Null | Value::String(_) | Value::Number(_))) {
        return Err(invalid("the id is neither text nor a number"));
    }
    let params = match raw.params {
        Value::Null => Vec::new(),
        Value::Array(params) => params,
        // As the field's workers: positional only.
        _ => {
            let error = Error::invalid_params("params are a list");
            return Err(Response::new(raw.id.unwrap_or_default(), Err(error)));
        }
    };
    Ok(Request { id: raw.id, method: raw.method, params })
}

/// A stranger's text in a message of ours: short, and nothing that moves a terminal.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(body: &str) -> Result<Request, String> {
        match read(body.as_bytes()) {
            Body::One(one) => one.map_err(|response| serde_json::to_string(&response).unwrap()),
            Body::Batch(_) => panic!("a batch"),
        }
    }

    #[test]
    fn requests_are_read_with_or_without_params_and_id() {
        let asked = one(r#"{"jsonrpc":"2.0","id":1,"method":"m","params":[0,null]}"#).unwrap();
        assert_eq!((asked.id, asked.params.len()), (Some(1.into()), 2));
        assert_eq!(one(r#"{"jsonrpc":"2.0","id":null,"method":"m"}"#).unwrap().id, Some(Value::Null));
        assert_eq!(one(r#"{"jsonrpc":"2.0","method":"m","params":null}"#).unwrap().id, None, "a notification");
    }

    #[test]
    fn what_is_no_request_is_answered_with_its_code() {
        let error = one("{").unwrap_err();
        assert!(error.contains("-32700") && error.ends_with(r#""id":null}"#), "{error}");
        for body in
            ["1", "[]", "{}", r#"{"jsonrpc":"1.0","id":1,"method":"m"}"#, r#"{"jsonrpc":"2.0","id":{},"method":"m"}"#]
        {
            assert!(one(body).unwrap_err().contains("-32600"), "{body}");
        }
        let named = one(r#"{"jsonrpc":"2.0","id":"a","method":"m","params":{"index":0}}"#).unwrap_err();
        assert!(named.contains("-32602") && named.ends_with(r#""id":"a"}"#), "{named}");
    }

    #[test]
    fn a_batch_keeps_its_order_and_is_bounded() {
        let Body::Batch(items) = read(br#"[{"jsonrpc":"2.0","id":1,"method":"a"},7]"#) else { panic!("no batch") };
        assert!(items.len() == 2 && items[0].is_ok() && items[1].is_err());
        let many = format!("[{}]", vec!["1"; BATCH_MAX + 1].join(","));
        assert!(one(&many).unwrap_err().contains("more than 64"));
    }

    #[test]
    fn a_result_of_null_is_there_and_an_error_has_none() {
        let done = serde_json::to_string(&Response::new(3.into(), Ok(Value::Null))).unwrap();
        assert_eq!(done, r#"{"jsonrpc":"2.0","result":null,"id":3}"#);
        let failed = Response::new(3.into(), Err(Error::method_not_found("x\u{1b}[2J")));
        assert_eq!(
            serde_json::to_string(&failed).unwrap(),
            r#"{"jsonrpc":"2.0","error":{"code":-32601,"message":"method not found: x[2J"},"id":3}"#
        );
    }
}
