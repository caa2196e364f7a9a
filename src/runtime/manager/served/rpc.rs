//! A manager's calls out of JSON-RPC requests, and its answers into bodies. Pure.
//!
//! ```text
//! body ─► listen::jsonrpc ─► Request ─┬─► Asked { id, call } ─► answered (a result, or the manager's error)
//!                                     └─► Refused (an error with its code)
//! ```

use crate::{
    runtime::{
        listen::jsonrpc::{self, Body, Error, INVALID_REQUEST, Id, Refused, Request},
        manager::{Answer, Call, ManagerError},
    },
    units::SealProof,
};
use serde::{Serialize, de::DeserializeOwned};

/// The field's code for a sector that the manager does not know.
const SECTOR_NOT_FOUND: i64 = 11_001;

/// A request that can be carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    pub id: Id,
    pub call: Call,
}

/// For a caller that needs the token.
pub fn no_access(asked: &Asked, reason: &str) -> Refused {
    Refused { id: asked.id.clone(), error: Error::no_access(format!("{}: {reason}", asked.call.method())) }
}

/// Whether a call may change what the manager knows. One that hands something out does.
pub fn changes(call: &Call) -> bool {
    match call {
        Call::StoreBasicInfo { .. } | Call::PollPreCommitState(_) | Call::WaitSeed(..) | Call::PollProofState(_) => {
            false
        }
        Call::AllocateSector(_)
        | Call::AcquireDeals(..)
        | Call::AssignTicket(_)
        | Call::SubmitPreCommit { .. }
        | Call::StoreReserveSpace { .. }
        | Call::SubmitPersistedEx { .. }
        | Call::SubmitProof { .. }
        | Call::ReportState(..)
        | Call::ReportFinalized(_)
        | Call::ReportAborted { .. }
        | Call::WorkerPing(_) => true,
    }
}

/// Reads a request.
///
/// # Errors
/// Why it cannot be carried out, with the code that the answer bears.
pub fn request(body: &[u8]) -> Result<Asked, Refused> {
    let request = match jsonrpc::read(body) {
        Body::One(request) => request?,
        Body::Batch(_) => {
            let why = "batches are not answered here: send one request at a time";
            return Err(Refused::nobodys(INVALID_REQUEST, why));
        }
    };
    match call(&request) {
        Ok(call) => Ok(Asked { id: request.id, call }),
        Err(error) => Err(Refused { id: request.id, error }),
    }
}

fn call(request: &Request) -> Result<Call, Error> {
    Ok(match request.method.as_str() {
        "Venus.StoreBasicInfo" => read(request, |(instance,)| Call::StoreBasicInfo { instance })?,
        "Venus.AllocateSector" => read(request, |(spec,)| Call::AllocateSector(spec))?,
        "Venus.AcquireDeals" => read(request, |(sector, spec)| Call::AcquireDeals(sector, spec))?,
        "Venus.AssignTicket" => read(request, |(sector,)| Call::AssignTicket(sector))?,
        "Venus.SubmitPreCommit" => {
            read(request, |(sector, info, reset)| Call::SubmitPreCommit { sector, info, reset })?
        }
        "Venus.PollPreCommitState" => read(request, |(sector,)| Call::PollPreCommitState(sector))?,
        "Venus.StoreReserveSpace" => {
            read(request, |(sector, size, candidates)| Call::StoreReserveSpace { sector, size, candidates })?
        }
        "Venus.SubmitPersistedEx" => {
            read(request, |(sector, instance, is_upgrade)| Call::SubmitPersistedEx { sector, instance, is_upgrade })?
        }
        "Venus.WaitSeed" => {
            let (sector, number): (_, i64) = read(request, |both| both)?;
            let unknown = || Error::invalid_params(format!("{number} is not a registered seal proof"));
            Call::WaitSeed(sector, SealProof::from_number(number).ok_or_else(unknown)?)
        }
        "Venus.SubmitProof" => read(request, |(sector, proof, reset)| Call::SubmitProof { sector, proof, reset })?,
        "Venus.PollProofState" => read(request, |(sector,)| Call::PollProofState(sector))?,
        "Venus.ReportState" => read(request, |(sector, report)| Call::ReportState(sector, report))?,
        "Venus.ReportFinalized" => read(request, |(sector,)| Call::ReportFinalized(sector))?,
        "Venus.ReportAborted" => read(request, |(sector, reason)| Call::ReportAborted { sector, reason })?,
        "Venus.WorkerPing" => read(request, |(worker,)| Call::WorkerPing(worker))?,
        other => return Err(Error::method_not_found(other)),
    })
}

/// Positional params are a tuple: their number is the method's.
fn read<T: DeserializeOwned, C>(request: &Request, make: impl FnOnce(T) -> C) -> Result<C, Error> {
    request.params().map(make)
}

/// The body that answers a request, or `None`: the manager cannot answer now, which no JSON-RPC error says. A worker asks
/// again for as long as no JSON-RPC comes back, and counts errors.
pub fn answered(id: &Id, answer: &Result<Answer, ManagerError>) -> Option<String> {
    match answer {
        Ok(answer) => Some(result(id, answer)),
        Err(ManagerError::SectorNotFound { message, .. }) => Some(failed(id, SECTOR_NOT_FOUND, message)),
        Err(ManagerError::Refused { code, message, .. }) => Some(failed(id, *code, message)),
        Err(ManagerError::Unreachable { .. }) => None,
    }
}

fn result(id: &Id, answer: &Answer) -> String {
    fn text<T: Serialize>(id: &Id, value: T) -> String {
        jsonrpc::answer(id, Ok(value))
    }
    match answer {
        Answer::StoreBasicInfo(store) | Answer::StoreReserveSpace(store) => text(id, store),
        Answer::AllocateSector(sector) => text(id, sector),
        Answer::AcquireDeals(pieces) => text(id, pieces),
        Answer::AssignTicket(ticket) => text(id, ticket),
        Answer::SubmitPreCommit(resp) | Answer::SubmitProof(resp) => text(id, resp),
        Answer::PollPreCommitState(resp) | Answer::PollProofState(resp) => text(id, resp),
        Answer::SubmitPersistedEx(complete) => text(id, complete),
        Answer::WaitSeed(resp) => text(id, resp),
        Answer::ReportState(state) => text(id, state),
        Answer::Done => text(id, ()),
    }
}

fn failed(id: &Id, code: i64, message: &str) -> String {
    jsonrpc::answer::<()>(id, Err(&Error::new(code, message)))
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
    fn a_batch_is_none_here() {
        for body in ["[]", r#"[{"jsonrpc":"2.0","id":1,"method":"Venus.WorkerPing","params":[]}]"#] {
            assert_eq!(refused(body), serde_json::json!([-32600, null]), "{body}");
        }
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
    fn handing_something_out_is_a_change_and_looking_is_none() {
        let sector = crate::runtime::manager::wire::SectorId { miner: 1000, number: 1 };
        assert!(changes(&Call::AssignTicket(sector)) && changes(&Call::AllocateSector(Default::default())));
        assert!(!changes(&Call::PollProofState(sector)) && !changes(&Call::StoreBasicInfo { instance: "a".into() }));
    }

    #[test]
    fn a_managers_error_has_its_code_and_one_that_passes_has_none() {
        let asked = request(br#"{"jsonrpc":"2.0","id":1,"method":"Venus.StoreBasicInfo","params":["one"]}"#).unwrap();
        assert_eq!(asked.call, Call::StoreBasicInfo { instance: "one".into() });
        let id = asked.id;
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
