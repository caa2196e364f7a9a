//! JSON-RPC 2.0 bodies from the manager's side: calls out of requests, answers into bodies. Pure.
//!
//! ```text
//! body ─► request ─┬─► Asked { id, call } ─► answered (a result)
//!                  └─► Refused ───────────► refused  (an error with its code)
//! ```
//!
//! What is refused here was not begun. An id is given back as it was written.

use crate::{
    runtime::manager::{Answer, Call, ManagerError},
    units::SealProof,
};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::{error::Category, value::RawValue};

/// The body is not JSON.
const PARSE_ERROR: i64 = -32_700;
/// The body is JSON and no request.
const INVALID_REQUEST: i64 = -32_600;
/// Nobody here knows the method.
const METHOD_NOT_FOUND: i64 = -32_601;
/// The params are not the method's.
const INVALID_PARAMS: i64 = -32_602;
/// The caller may not ask this without the token.
const NO_ACCESS: i64 = -32_001;
/// The field's code for a sector that the manager does not know.
const SECTOR_NOT_FOUND: i64 = 11_001;

/// A request that can be carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    pub id: Id,
    pub call: Call,
}

/// A request's id as it was written, or `None` of a notification, which is carried out and not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Id(Option<String>);

/// A request that is not carried out, and the error that says why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    id: Id,
    code: i64,
    message: String,
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

impl Id {
    /// Whether nobody waits for an answer.
    pub fn is_notification(&self) -> bool {
        self.0.is_none()
    }

    fn text(&self) -> &str {
        self.0.as_deref().unwrap_or("null")
    }
}

impl Refused {
    fn new(id: &Id, code: i64, message: impl Into<String>) -> Self {
        Self { id: id.clone(), code, message: message.into() }
    }

    /// For a body that could not be read to its end.
    pub fn unread(reason: &str) -> Self {
        Self::new(&Id(None), INVALID_REQUEST, reason)
    }

    /// For a caller that needs the token.
    pub fn no_access(asked: &Asked, reason: &str) -> Self {
        Self::new(&asked.id, NO_ACCESS, format!("{}: {reason}", asked.call.method()))
    }

    /// The body that says so.
    pub fn body(&self) -> String {
        error(&self.id, self.code, &self.message)
    }
}

/// Reads a request.
///
/// # Errors
/// Why it cannot be carried out, with the code that the answer bears.
pub fn request(body: &[u8]) -> Result<Asked, Refused> {
    let nobody = Id(None);
    let json: &RawValue = serde_json::from_slice(body)
        .map_err(|error| Refused::new(&nobody, PARSE_ERROR, format!("the body is not JSON: {error}")))?;
    let invalid = |id: &Id, what: &str| Refused::new(id, INVALID_REQUEST, what);
    match json.get().as_bytes().first() {
        Some(b'{') => {}
        Some(b'[') => return Err(invalid(&nobody, "batches are not answered here: send one request at a time")),
        _ => return Err(invalid(&nobody, "a request is an object")),
    }
    let envelope: Envelope = serde_json::from_str(json.get()).map_err(|error| match error.classify() {
        Category::Data => invalid(&nobody, &format!("not a request: {error}")),
        _ => Refused::new(&nobody, PARSE_ERROR, format!("the body is not JSON: {error}")),
    })?;
    let id = id(envelope.id).ok_or_else(|| invalid(&nobody, "an id is a text, a number or null"))?;
    if envelope.jsonrpc.map(RawValue::get) != Some("\"2.0\"") {
        return Err(invalid(&id, "jsonrpc is not \"2.0\""));
    }
    let method: String = envelope
        .method
        .and_then(|method| serde_json::from_str(method.get()).ok())
        .ok_or_else(|| invalid(&id, "method is not a text"))?;
    let params = envelope.params.map_or("[]", RawValue::get);
    call(&method, params).map(|call| Asked { id: id.clone(), call }).map_err(|wrong| match wrong {
        Wrong::Method => Refused::new(&id, METHOD_NOT_FOUND, format!("method {} is not served here", excerpt(&method))),
        Wrong::Params(why) => Refused::new(&id, INVALID_PARAMS, format!("params of {method}: {why}")),
    })
}

/// `None`: what stands there can be no id.
fn id(written: Option<&RawValue>) -> Option<Id> {
    let Some(text) = written.map(RawValue::get) else { return Some(Id(None)) };
    let may_be = text.starts_with(['"', '-']) || text.starts_with(|c: char| c.is_ascii_digit()) || text == "null";
    may_be.then(|| Id(Some(text.to_owned())))
}

/// As much of a stranger's word as an answer repeats.
fn excerpt(word: &str) -> String {
    let short: String = word.chars().take(80).collect();
    format!("{short:?}")
}

enum Wrong {
    Method,
    Params(String),
}

fn call(method: &str, params: &str) -> Result<Call, Wrong> {
    Ok(match method {
        "Venus.StoreBasicInfo" => read(params, |(instance,)| Call::StoreBasicInfo { instance })?,
        "Venus.AllocateSector" => read(params, |(spec,)| Call::AllocateSector(spec))?,
        "Venus.AcquireDeals" => read(params, |(sector, spec)| Call::AcquireDeals(sector, spec))?,
        "Venus.AssignTicket" => read(params, |(sector,)| Call::AssignTicket(sector))?,
        "Venus.SubmitPreCommit" => read(params, |(sector, info, reset)| Call::SubmitPreCommit { sector, info, reset })?,
        "Venus.PollPreCommitState" => read(params, |(sector,)| Call::PollPreCommitState(sector))?,
        "Venus.StoreReserveSpace" => {
            read(params, |(sector, size, candidates)| Call::StoreReserveSpace { sector, size, candidates })?
        }
        "Venus.SubmitPersistedEx" => {
            read(params, |(sector, instance, is_upgrade)| Call::SubmitPersistedEx { sector, instance, is_upgrade })?
        }
        "Venus.WaitSeed" => {
            let (sector, number): (_, i64) = read(params, |both| both)?;
            let unknown = || Wrong::Params(format!("{number} is not a registered seal proof"));
            Call::WaitSeed(sector, SealProof::from_number(number).ok_or_else(unknown)?)
        }
        "Venus.SubmitProof" => read(params, |(sector, proof, reset)| Call::SubmitProof { sector, proof, reset })?,
        "Venus.PollProofState" => read(params, |(sector,)| Call::PollProofState(sector))?,
        "Venus.ReportState" => read(params, |(sector, report)| Call::ReportState(sector, report))?,
        "Venus.ReportFinalized" => read(params, |(sector,)| Call::ReportFinalized(sector))?,
        "Venus.ReportAborted" => read(params, |(sector, reason)| Call::ReportAborted { sector, reason })?,
        "Venus.WorkerPing" => read(params, |(worker,)| Call::WorkerPing(worker))?,
        _ => return Err(Wrong::Method),
    })
}

/// Positional params are a tuple: their number is the method's.
fn read<T: DeserializeOwned, C>(params: &str, make: impl FnOnce(T) -> C) -> Result<C, Wrong> {
    if !params.starts_with('[') {
        return Err(Wrong::Params("they are positional: an array".into()));
    }
    serde_json::from_str(params).map(make).map_err(|error| Wrong::Params(error.to_string()))
}

/// The body that answers a request, or `None`: the manager cannot answer now, which no JSON-RPC error says. A worker asks
/// again for as long as no JSON-RPC comes back, and counts errors.
pub fn answered(id: &Id, answer: &Result<Answer, ManagerError>) -> Option<String> {
    match answer {
        Ok(answer) => Some(result(id, answer)),
        Err(ManagerError::SectorNotFound { message, .. }) => Some(error(id, SECTOR_NOT_FOUND, message)),
        Err(ManagerError::Refused { code, message, .. }) => Some(error(id, *code, message)),
        Err(ManagerError::Unreachable { .. }) => None,
    }
}

fn result(id: &Id, answer: &Answer) -> String {
    fn text<T: Serialize>(value: T) -> String {
        serde_json::to_string(&value).expect("the wire's types are plain data with text keys")
    }
    let result = match answer {
        Answer::StoreBasicInfo(store) | Answer::StoreReserveSpace(store) => text(store),
        Answer::AllocateSector(sector) => text(sector),
        Answer::AcquireDeals(pieces) => text(pieces),
        Answer::AssignTicket(ticket) => text(ticket),
        Answer::SubmitPreCommit(resp) | Answer::SubmitProof(resp) => text(resp),
        Answer::PollPreCommitState(resp) | Answer::PollProofState(resp) => text(resp),
        Answer::SubmitPersistedEx(complete) => text(complete),
        Answer::WaitSeed(resp) => text(resp),
        Answer::ReportState(state) => text(state),
        Answer::Done => "null".into(),
    };
    format!(r#"{{"jsonrpc":"2.0","result":{result},"id":{}}}"#, id.text())
}

fn error(id: &Id, code: i64, message: &str) -> String {
    let error = serde_json::json!({ "code": code, "message": message });
    format!(r#"{{"jsonrpc":"2.0","error":{error},"id":{}}}"#, id.text())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str) -> serde_json::Value {
        let body = request(body.as_bytes()).expect_err(body).body();
        let mut answer: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(answer["jsonrpc"], "2.0", "{body}");
        assert!(answer["error"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{body}");
        serde_json::json!([answer["error"]["code"].take(), answer["id"].take()])
    }

    #[test]
    fn what_is_no_json_is_told_from_what_is_no_request() {
        for body in ["", "{", "[", "nul", r#"{"jsonrpc":"2.0","id":1"#, "{} {}", "\u{0}", "<html>"] {
            assert_eq!(refused(body), serde_json::json!([-32700, null]), "{body:?}");
        }
        for body in [
            "null",
            "7",
            "[]",
            r#"["2.0",1,"Venus.AssignTicket",[]]"#,
            r#"[{"jsonrpc":"2.0","id":1,"method":"Venus.WorkerPing","params":[]}]"#,
            "{}",
            r#"{"jsonrpc":"2.0","jsonrpc":"2.0","id":1,"method":"Venus.AssignTicket"}"#,
            r#"{"jsonrpc":"2.0","id":[1],"method":"Venus.AssignTicket"}"#,
            r#"{"jsonrpc":"2.0","id":true,"method":"Venus.AssignTicket"}"#,
        ] {
            assert_eq!(refused(body), serde_json::json!([-32600, null]), "{body}");
        }
        for body in [
            r#"{"id":7,"method":"Venus.AssignTicket","params":[]}"#,
            r#"{"jsonrpc":"1.0","id":7,"method":"Venus.AssignTicket","params":[]}"#,
            r#"{"jsonrpc":2.0,"id":7,"method":"Venus.AssignTicket","params":[]}"#,
            r#"{"jsonrpc":"2.0","id":7}"#,
            r#"{"jsonrpc":"2.0","id":7,"method":null}"#,
            r#"{"jsonrpc":"2.0","id":7,"method":["Venus.AssignTicket"]}"#,
        ] {
            assert_eq!(refused(body), serde_json::json!([-32600, 7]), "{body}");
        }
        assert_eq!(request(&[b'"', 0xff, b'"']).unwrap_err().code, PARSE_ERROR);
        let deep = format!(r#"{{"jsonrpc":"2.0","id":1,"params":{}"#, "[".repeat(100_000));
        assert_eq!(request(deep.as_bytes()).unwrap_err().code, PARSE_ERROR);
    }

    #[test]
    fn methods_of_other_plans_and_strangers_are_not_found() {
        for method in [
            "Venus.AllocateSectorsBatch",
            "Venus.AllocateSanpUpSector",
            "Venus.SubmitSnapUpProof",
            "Venus.AllocateRebuildSector",
            "Venus.AllocateUnsealSector",
            "Venus.AchieveUnsealSector",
            "Venus.AcquireUnsealDest",
            "Venus.WdPoStAllocateJobs",
            "Venus.WdPoStHeartbeatJobs",
            "Venus.WdPoStFinishJob",
            "Venus.assignTicket",
            "AssignTicket",
            "",
        ] {
            let body = format!(r#"{{"jsonrpc":"2.0","id":"x","method":"{method}","params":[]}}"#);
            assert_eq!(refused(&body), serde_json::json!([-32601, "x"]), "{method}");
        }
    }

    #[test]
    fn params_have_to_be_the_methods() {
        let with = |method: &str, params: &str| {
            refused(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"Venus.{method}","params":{params}}}"#))
        };
        for (method, params) in [
            ("AssignTicket", "[]"),
            ("AssignTicket", "null"),
            ("AssignTicket", r#"{"id":{"Miner":1,"Number":2}}"#),
            ("AssignTicket", r#"[{"Miner":1}]"#),
            ("AssignTicket", r#"[{"Miner":1,"Number":-2}]"#),
            ("AssignTicket", r#"[{"Miner":1,"Number":2},null]"#),
            ("WaitSeed", r#"[{"Miner":1,"Number":2},20]"#),
            ("WaitSeed", r#"[{"Miner":1,"Number":2}]"#),
            ("StoreBasicInfo", "[7]"),
            ("SubmitProof", r#"[{"Miner":1,"Number":2},{"Proof":"not base64!"},false]"#),
            ("AllocateSector", r#"[{"AllowedMiners":[],"AllowedProofTypes":[99]}]"#),
        ] {
            assert_eq!(with(method, params), serde_json::json!([-32602, 1]), "{method} {params}");
        }
        let absent = r#"{"jsonrpc":"2.0","id":1,"method":"Venus.AssignTicket"}"#;
        assert_eq!(refused(absent), serde_json::json!([-32602, 1]));
    }

    #[test]
    fn an_id_comes_back_as_it_was_written() {
        for id in ["1", "-1", "\"a\\u0062\"", "18446744073709551616", "1.5", "null"] {
            let body = format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"Venus.StoreBasicInfo","params":["one"],"extra":{{}}}}"#
            );
            let asked = request(body.as_bytes()).unwrap();
            assert_eq!(asked.call, Call::StoreBasicInfo { instance: "one".into() });
            assert!(!asked.id.is_notification());
            let answer = answered(&asked.id, &Ok(Answer::StoreBasicInfo(None))).unwrap();
            assert_eq!(answer, format!(r#"{{"jsonrpc":"2.0","result":null,"id":{id}}}"#));
        }
        let told = r#"{"jsonrpc":"2.0","method":"Venus.StoreBasicInfo","params":["one"]}"#;
        assert!(request(told.as_bytes()).unwrap().id.is_notification());
    }

    #[test]
    fn a_managers_error_has_its_code_and_one_that_passes_has_none() {
        let id = Id(Some("1".into()));
        let method = "Venus.AssignTicket";
        let not_found = Err(ManagerError::SectorNotFound { method, message: "no \"such\"".into() });
        let body = r#"{"jsonrpc":"2.0","error":{"code":11001,"message":"no \"such\""},"id":1}"#;
        assert_eq!(answered(&id, &not_found).unwrap(), body);
        let refused = Err(ManagerError::Refused { method, code: 1, message: "no".into() });
        let body = r#"{"jsonrpc":"2.0","error":{"code":1,"message":"no"},"id":1}"#;
        assert_eq!(answered(&id, &refused).unwrap(), body);
        assert_eq!(answered(&id, &Err(ManagerError::Unreachable { method, reason: "disk".into() })), None);
    }
}
