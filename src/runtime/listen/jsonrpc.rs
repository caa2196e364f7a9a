//! JSON-RPC 2.0 as a server hears it: single requests, batches, notifications. Pure.
//!
//! ```text
//! body ─► read ─┬─► Request { id, method, params } ─► answer (a result, or an error with its code)
//!               └─► Refused ───────────────────────► body   (no request: an error with its code)
//! ```
//!
//! What is refused here was not begun. An id is given back as it was written.

use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::{error::Category, value::RawValue};

/// The body is no JSON.
pub const PARSE_ERROR: i64 = -32_700;
/// It is, and no request.
pub const INVALID_REQUEST: i64 = -32_600;
/// Nobody knows the method.
pub const METHOD_NOT_FOUND: i64 = -32_601;
/// The method does not take these.
pub const INVALID_PARAMS: i64 = -32_602;
/// Known and understood, and not done.
pub const REFUSED: i64 = -32_000;
/// The caller may not ask this without the token.
pub const NO_ACCESS: i64 = -32_001;
/// More in one body are no batch.
const BATCH_MAX: usize = 64;

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub id: Id,
    pub method: String,
    params: String,
}

/// A request's id as it was written, or `None` of a notification, which is carried out and not answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Id(Option<String>);

/// Why a request has no result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Error {
    pub code: i64,
    pub message: String,
}

/// A request that is not carried out, and the error that says why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub id: Id,
    pub error: Error,
}

/// What a body asks.
#[derive(Debug, PartialEq)]
pub enum Body {
    One(Result<Request, Refused>),
    Batch(Vec<Result<Request, Refused>>),
}

impl Id {
    /// Whether nobody waits for an answer.
    pub fn is_notification(&self) -> bool {
        self.0.is_none()
    }

    fn text(&self) -> &str {
        self.0.as_deref().unwrap_or("null")
    }
}

impl Error {
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
    pub fn method_not_found(method: &str) -> Self {
        Self::new(METHOD_NOT_FOUND, format!("method not found: {}", shown(method)))
    }
    pub fn invalid_params(message: impl Into<String>) -> Self {
        Self::new(INVALID_PARAMS, message)
    }
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(REFUSED, message)
    }
    pub fn no_access(message: impl Into<String>) -> Self {
        Self::new(NO_ACCESS, message)
    }
}

impl Refused {
    /// Of what could not be read as far as its id.
    pub fn nobodys(code: i64, message: impl Into<String>) -> Self {
        Self { id: Id::default(), error: Error::new(code, message) }
    }

    /// The body that says so.
    pub fn body(&self) -> String {
        answer::<()>(&self.id, Err(&self.error))
    }
}

impl Request {
    /// The params, which are positional. None at all are an empty list.
    ///
    /// # Errors
    /// They are not the method's.
    pub fn params<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let wrong = |why: &str| Error::invalid_params(format!("params of {}: {why}", shown(&self.method)));
        if !self.params.starts_with('[') {
            return Err(wrong("they are positional: a list"));
        }
        serde_json::from_str(&self.params).map_err(|error| wrong(&error.to_string()))
    }
}

/// The body that answers a request.
pub fn answer<T: Serialize>(id: &Id, result: Result<T, &Error>) -> String {
    fn text(value: &impl Serialize) -> String {
        serde_json::to_string(value).expect("the wire's types are plain data with text keys")
    }
    let (key, value) = match result {
        Ok(result) => ("result", text(&result)),
        Err(error) => ("error", text(error)),
    };
    format!(r#"{{"jsonrpc":"2.0","{key}":{value},"id":{}}}"#, id.text())
}

/// Reads a body.
pub fn read(body: &[u8]) -> Body {
    let json: &RawValue = match serde_json::from_slice(body) {
        Ok(json) => json,
        Err(error) => return Body::One(Err(no_json(&error))),
    };
    if !json.get().starts_with('[') {
        return Body::One(request(json));
    }
    let refused = |what: String| Body::One(Err(Refused::nobodys(INVALID_REQUEST, what)));
    match serde_json::from_str::<Vec<&RawValue>>(json.get()) {
        Err(error) => Body::One(Err(no_json(&error))),
        Ok(items) if items.is_empty() => refused("an empty batch".into()),
        Ok(items) if items.len() > BATCH_MAX => refused(format!("more than {BATCH_MAX} requests in one batch")),
        Ok(items) => Body::Batch(items.into_iter().map(request).collect()),
    }
}

fn no_json(error: &serde_json::Error) -> Refused {
    Refused::nobodys(PARSE_ERROR, format!("no JSON: {error}"))
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default, deserialize_with = "as_written")]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "as_written")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "as_written")]
    method: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "as_written")]
    params: Option<&'a RawValue>,
}

/// A null that is there is told from a key that is not.
fn as_written<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

fn request(json: &RawValue) -> Result<Request, Refused> {
    let invalid = |id: &Id, what: &str| Refused {
        id: id.clone(),
        error: Error::new(INVALID_REQUEST, format!("no JSON-RPC 2.0 request: {what}")),
    };
    let nobody = Id::default();
    if !json.get().starts_with('{') {
        return Err(invalid(&nobody, "a request is an object"));
    }
    let envelope: Envelope = serde_json::from_str(json.get()).map_err(|error| match error.classify() {
        Category::Data => invalid(&nobody, &error.to_string()),
        _ => no_json(&error),
    })?;
    let id = id(envelope.id).ok_or_else(|| invalid(&nobody, "the id is neither text nor a number"))?;
    if envelope.jsonrpc.map(RawValue::get) != Some("\"2.0\"") {
        return Err(invalid(&id, "jsonrpc is not \"2.0\""));
    }
    let method = envelope.method.and_then(|method| serde_json::from_str(method.get()).ok());
    let method = method.ok_or_else(|| invalid(&id, "the method is not a text"))?;
    let params = envelope.params.map(RawValue::get).filter(|params| *params != "null").unwrap_or("[]");
    Ok(Request { id, method, params: params.to_owned() })
}

/// `None`: what stands there can be no id.
fn id(written: Option<&RawValue>) -> Option<Id> {
    let Some(text) = written.map(RawValue::get) else { return Some(Id(None)) };
    let may_be = text.starts_with(['"', '-']) || text.starts_with(|c: char| c.is_ascii_digit()) || text == "null";
    may_be.then(|| Id(Some(text.to_owned())))
}

/// A stranger's text in a message of ours: short, and nothing that moves a terminal.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn one(body: &[u8]) -> Result<Request, Refused> {
        match read(body) {
            Body::One(one) => one,
            Body::Batch(_) => panic!("a batch"),
        }
    }

    /// The code and the id of a refusal.
    fn refused(body: &str) -> Value {
        let body = one(body.as_bytes()).expect_err(body).body();
        let mut answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(answer["jsonrpc"], "2.0", "{body}");
        assert!(answer["error"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{body}");
        json!([answer["error"]["code"].take(), answer["id"].take()])
    }

    #[test]
    fn requests_are_read_with_or_without_params_and_id() {
        let asked = one(br#"{"jsonrpc":"2.0","id":1,"method":"m","params":[0,null]}"#).unwrap();
        assert_eq!((asked.id.text(), asked.params::<Vec<Value>>().unwrap().len()), ("1", 2));
        for none in [r#"{"jsonrpc":"2.0","method":"m"}"#, r#"{"jsonrpc":"2.0","method":"m","params":null}"#] {
            let asked = one(none.as_bytes()).unwrap();
            assert!(asked.id.is_notification() && asked.params::<Vec<Value>>().unwrap().is_empty());
        }
    }

    #[test]
    fn what_is_no_json_is_told_from_what_is_no_request() {
        for body in ["", "{", "[", "nul", r#"{"jsonrpc":"2.0","id":1"#, "{} {}", "\u{0}", "<html>"] {
            assert_eq!(refused(body), json!([-32700, null]), "{body:?}");
        }
        for body in [
            "null",
            "7",
            "[]",
            "{}",
            r#"{"jsonrpc":"2.0","jsonrpc":"2.0","id":1,"method":"m"}"#,
            r#"{"jsonrpc":"2.0","id":[1],"method":"m"}"#,
            r#"{"jsonrpc":"2.0","id":true,"method":"m"}"#,
        ] {
            assert_eq!(refused(body), json!([-32600, null]), "{body}");
        }
        for body in [
            r#"{"id":7,"method":"m","params":[]}"#,
            r#"{"jsonrpc":"1.0","id":7,"method":"m","params":[]}"#,
            r#"{"jsonrpc":2.0,"id":7,"method":"m","params":[]}"#,
            r#"{"jsonrpc":"2.0","id":7}"#,
            r#"{"jsonrpc":"2.0","id":7,"method":null}"#,
            r#"{"jsonrpc":"2.0","id":7,"method":["m"]}"#,
        ] {
            assert_eq!(refused(body), json!([-32600, 7]), "{body}");
        }
        assert_eq!(one(&[b'"', 0xff, b'"']).unwrap_err().error.code, PARSE_ERROR);
        for deep in [r#"{"jsonrpc":"2.0","id":1,"params":"#, "["] {
            let deep = deep.to_owned() + &"[".repeat(100_000);
            assert_eq!(one(deep.as_bytes()).unwrap_err().error.code, PARSE_ERROR);
        }
    }

    #[test]
    fn params_are_a_list_of_the_methods() {
        for params in ["{\"index\":0}", "7", "[1]", "[1,2,3]", "[1,\"2\"]"] {
            let body = format!(r#"{{"jsonrpc":"2.0","id":"a","method":"m","params":{params}}}"#);
            let error = one(body.as_bytes()).unwrap().params::<(u32, u32)>().unwrap_err();
            assert!(error.code == INVALID_PARAMS && error.message.starts_with("params of m: "), "{error:?}");
        }
        let deep =
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(one(deep.as_bytes()).unwrap().params::<Vec<Value>>().unwrap_err().code, INVALID_PARAMS);
    }

    #[test]
    fn an_id_comes_back_as_it_was_written() {
        for id in ["1", "-1", "\"a\\u0062\"", "18446744073709551616", "1.5", "null"] {
            let asked = one(format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"m","extra":{{}}}}"#).as_bytes()).unwrap();
            assert!(!asked.id.is_notification());
            assert_eq!(answer(&asked.id, Ok(())), format!(r#"{{"jsonrpc":"2.0","result":null,"id":{id}}}"#));
        }
    }

    #[test]
    fn a_batch_keeps_its_order_and_is_bounded() {
        let Body::Batch(items) = read(br#"[{"jsonrpc":"2.0","id":1,"method":"a"},7]"#) else { panic!("no batch") };
        assert!(items.len() == 2 && items[0].is_ok() && items[1].is_err());
        let many = format!("[{}]", vec!["1"; BATCH_MAX + 1].join(","));
        assert!(one(many.as_bytes()).unwrap_err().error.message.contains("more than 64"));
    }

    #[test]
    fn an_error_has_no_result_and_shows_nothing_that_moves_a_terminal() {
        let failed = answer::<()>(&Id(Some("3".into())), Err(&Error::method_not_found("x\u{1b}[2J")));
        assert_eq!(failed, r#"{"jsonrpc":"2.0","error":{"code":-32601,"message":"method not found: x[2J"},"id":3}"#);
    }
}
