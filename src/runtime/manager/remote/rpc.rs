//! JSON-RPC 2.0 bodies of the manager's calls and answers. Pure.
//!
//! Params are positional. A missing `result` is null: go-jsonrpc, which the field's managers use, leaves it
//! out in older versions. Everything else has to be there, so that no stray JSON is taken for an answer.

use crate::runtime::manager::{Answer, Call};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

/// The manager's code for a sector that it does not know.
const SECTOR_NOT_FOUND: i64 = 11001;

/// Why a body holds no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    NotFound(String),
    Refused { code: i64, message: String },
    Unreadable(String),
}

#[derive(Serialize)]
struct Request<P> {
    jsonrpc: &'static str,
    id: u64,
    method: &'static str,
    params: P,
}

#[derive(Deserialize)]
struct Response<'a> {
    jsonrpc: String,
    id: Option<u64>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    error: Option<RpcError>,
}

#[derive(Deserialize)]
struct RpcError {
    code: i64,
    message: String,
}

/// The body that asks `call`.
pub fn request(id: u64, call: &Call) -> String {
    fn body<P: Serialize>(id: u64, call: &Call, params: P) -> String {
        let request = Request { jsonrpc: "2.0", id, method: call.method(), params };
        serde_json::to_string(&request).expect("the wire's types are plain data with text keys")
    }
    match call {
        Call::StoreBasicInfo { instance } => body(id, call, (instance,)),
        Call::AllocateSector(spec) => body(id, call, (spec,)),
        Call::AcquireDeals(sector, spec) => body(id, call, (sector, spec)),
        Call::AssignTicket(sector)
        | Call::PollPreCommitState(sector)
        | Call::PollProofState(sector)
        | Call::ReportFinalized(sector) => body(id, call, (sector,)),
        Call::SubmitPreCommit { sector, info, reset } => body(id, call, (sector, info, reset)),
        Call::StoreReserveSpace { sector, size, candidates } => body(id, call, (sector, size, candidates)),
        Call::SubmitPersistedEx { sector, instance, is_upgrade } => body(id, call, (sector, instance, is_upgrade)),
        Call::WaitSeed(sector, proof_type) => body(id, call, (sector, proof_type.number())),
        Call::SubmitProof { sector, proof, reset } => body(id, call, (sector, proof, reset)),
        Call::ReportState(sector, report) => body(id, call, (sector, report)),
        Call::ReportAborted { sector, reason } => body(id, call, (sector, reason)),
        Call::WorkerPing(worker) => body(id, call, (worker,)),
    }
}

/// The answer to `call`, which was asked with `id`, in a body.
pub fn answer(call: &Call, id: u64, body: &[u8]) -> Result<Answer, Fault> {
    let result = result(id, body)?;
    Ok(match call {
        Call::StoreBasicInfo { .. } => Answer::StoreBasicInfo(read(result)?),
        Call::AllocateSector(..) => Answer::AllocateSector(read(result)?),
        Call::AcquireDeals(..) => Answer::AcquireDeals(read(result)?),
        Call::AssignTicket(..) => Answer::AssignTicket(read(result)?),
        Call::SubmitPreCommit { .. } => Answer::SubmitPreCommit(read(result)?),
        Call::PollPreCommitState(..) => Answer::PollPreCommitState(read(result)?),
        Call::StoreReserveSpace { .. } => Answer::StoreReserveSpace(read(result)?),
        Call::SubmitPersistedEx { .. } => Answer::SubmitPersistedEx(read(result)?),
        Call::WaitSeed(..) => Answer::WaitSeed(read(result)?),
        Call::SubmitProof { .. } => Answer::SubmitProof(read(result)?),
        Call::PollProofState(..) => Answer::PollProofState(read(result)?),
        Call::ReportState(..) => Answer::ReportState(read(result)?),
        // Null, or whatever else a manager says where there is nothing to say.
        Call::ReportFinalized(..) | Call::ReportAborted { .. } | Call::WorkerPing(..) => Answer::Done,
    })
}

fn result(id: u64, body: &[u8]) -> Result<&str, Fault> {
    let response: Response =
        serde_json::from_slice(body).map_err(|error| Fault::Unreadable(format!("not a JSON-RPC answer ({error})")))?;
    if response.jsonrpc != "2.0" {
        return Err(Fault::Unreadable(format!("JSON-RPC version {:?} is not 2.0", response.jsonrpc)));
    }
    match (response.error, response.id) {
        // A request that could not be read has no id to answer with.
        (Some(error), answered) if answered.is_none_or(|answered| answered == id) => Err(fault(error)),
        (None, Some(answered)) if answered == id => Ok(response.result.map_or("null", RawValue::get)),
        (_, answered) => Err(Fault::Unreadable(format!("an answer to request {answered:?}, not to {id}"))),
    }
}

fn fault(RpcError { code, message }: RpcError) -> Fault {
    match code {
        SECTOR_NOT_FOUND => Fault::NotFound(message),
        code => Fault::Refused { code, message },
    }
}

fn read<T: DeserializeOwned>(result: &str) -> Result<T, Fault> {
    serde_json::from_str(result).map_err(|error| Fault::Unreadable(format!("the result is not as expected ({error})")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        runtime::manager::wire::*,
        units::{SealProof, SectorSize},
    };

    const SECTOR: SectorId = SectorId { miner: 1000, number: 7 };
    const ONES: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    const PROOF: SealProof = SealProof::v1_1(SectorSize::KiB2);

    fn ticket() -> Ticket {
        Ticket { ticket: Randomness([1; 32]), epoch: 100 }
    }

    fn bytes(byte: u8) -> String {
        format!("[{}]", vec![byte.to_string(); 32].join(","))
    }

    /// Every call with the params that the field's workers send for it.
    fn golden_requests() -> Vec<(Call, String)> {
        let sector = AllocatedSector { id: SECTOR, proof_type: PROOF };
        let info = PreCommitOnChainInfo { comm_r: [3; 32], comm_d: [4; 32], ticket: ticket() };
        let report = |failure| ReportStateReq {
            worker: WorkerIdentifier { instance: "w1".into(), location: "/s/0".into() },
            state_change: SectorStateChange { prev: "PC1Done".into(), next: "PC2Done".into(), event: "PC2".into() },
            failure,
        };
        let report_json = |failure: &str| {
            format!(
                r#"[{{"Miner":1000,"Number":7}},{{"Worker":{{"Instance":"w1","Location":"/s/0"}},"StateChange":{{"Prev":"PC1Done","Next":"PC2Done","Event":"PC2"}},"Failure":{failure}}}]"#
            )
        };
        let summary = WorkerInfoSummary { threads: 6, empty: 1, paused: 2, running: 3, waiting: 4, errors: 5 };
        let ping = WorkerInfo { name: "w1".into(), dest: "10.0.0.1:17890".into(), version: "0.1.0".into(), summary };
        let ping_json = r#"[{"Name":"w1","Dest":"10.0.0.1:17890","Version":"0.1.0","Summary":{"Threads":6,"Empty":1,"Paused":2,"Running":3,"Waiting":4,"Errors":5}}]"#;
        let id = r#"[{"Miner":1000,"Number":7}]"#.to_owned();
        vec![
            (Call::StoreBasicInfo { instance: "one".into() }, r#"["one"]"#.into()),
            (
                Call::AllocateSector(AllocateSectorSpec {
                    allowed_miners: Some(vec![1000]),
                    allowed_proof_types: Some(vec![PROOF]),
                }),
                r#"[{"AllowedMiners":[1000],"AllowedProofTypes":[5]}]"#.into(),
            ),
            (
                Call::AcquireDeals(SECTOR, AcquireDealsSpec { max_deals: Some(3), min_used_space: None }),
                r#"[{"Miner":1000,"Number":7},{"MaxDeals":3,"MinUsedSpace":null}]"#.into(),
            ),
            (Call::AssignTicket(SECTOR), id.clone()),
            (
                Call::SubmitPreCommit { sector, info, reset: true },
                format!(
                    r#"[{{"ID":{{"Miner":1000,"Number":7}},"ProofType":5}},{{"CommR":{},"CommD":{},"Ticket":{{"Ticket":"{ONES}","Epoch":100}}}},true]"#,
                    bytes(3),
                    bytes(4)
                ),
            ),
            (Call::PollPreCommitState(SECTOR), id.clone()),
            (
                Call::StoreReserveSpace { sector: SECTOR, size: 4096, candidates: vec!["one".into(), "two".into()] },
                r#"[{"Miner":1000,"Number":7},4096,["one","two"]]"#.into(),
            ),
            (
                Call::SubmitPersistedEx { sector: SECTOR, instance: "one".into(), is_upgrade: false },
                r#"[{"Miner":1000,"Number":7},"one",false]"#.into(),
            ),
            (Call::WaitSeed(SECTOR, PROOF), r#"[{"Miner":1000,"Number":7},5]"#.into()),
            (
                Call::SubmitProof {
                    sector: SECTOR,
                    proof: ProofOnChainInfo { proof: B64Bytes(vec![255, 0, 1, 2]) },
                    reset: false,
                },
                r#"[{"Miner":1000,"Number":7},{"Proof":"/wABAg=="},false]"#.into(),
            ),
            (Call::PollProofState(SECTOR), id.clone()),
            (Call::ReportState(SECTOR, report(None)), report_json("null")),
            (
                Call::ReportState(
                    SECTOR,
                    report(Some(SectorFailure { level: "temporary".into(), desc: "disk full".into() })),
                ),
                report_json(r#"{"Level":"temporary","Desc":"disk full"}"#),
            ),
            (Call::ReportFinalized(SECTOR), id),
            (Call::ReportAborted { sector: SECTOR, reason: "no".into() }, r#"[{"Miner":1000,"Number":7},"no"]"#.into()),
            (Call::WorkerPing(ping), ping_json.into()),
        ]
    }

    #[test]
    fn every_call_is_asked_as_the_field_asks_it() {
        for (call, params) in golden_requests() {
            let method = call.method();
            let body = format!(r#"{{"jsonrpc":"2.0","id":9,"method":"{method}","params":{params}}}"#);
            assert_eq!(request(9, &call), body);
        }
    }

    fn call(method: &str) -> Call {
        let calls = golden_requests().into_iter().map(|(call, _)| call);
        calls.into_iter().find(|call| call.method() == format!("Venus.{method}")).expect("a method of the manager")
    }

    fn answer_to(method: &str, result: &str) -> Result<Answer, Fault> {
        answer(&call(method), 9, format!(r#"{{"jsonrpc":"2.0","result":{result},"id":9}}"#).as_bytes())
    }

    #[test]
    fn every_answer_is_read_as_the_field_gives_it() {
        let store = StoreBasicInfo { name: "one".into(), path: "/p/one".into(), meta: None };
        let with_meta = StoreBasicInfo { meta: Some([("k".into(), "v".into())].into()), ..store.clone() };
        let ticket_json = format!(r#"{{"Ticket":"{ONES}","Epoch":100}}"#);
        let seed = Seed { seed: Randomness([1; 32]), epoch: 252 };
        let seed_json = format!(r#"{{"ShouldWait":false,"Delay":0,"Seed":{{"Seed":"{ONES}","Epoch":252}}}}"#);
        let submitted = |res, desc: Option<&str>| SubmitResp { res, desc: desc.map(str::to_owned) };
        let state = |state, desc: Option<&str>| PollStateResp { state, desc: desc.map(str::to_owned) };
        let piece = SectorPiece {
            piece: PieceInfoV2 { size: 1024, piece_cid: CidJson { cid: "baga".into() } },
            deal_info: DealInfoV2 { deal_id: 1, allocation_id: 2, payload_size: 1000, is_builtin_market: true },
        };
        let piece_json = r#"[{"Piece":{"Size":1024,"PieceCID":{"/":"baga"},"Offset":0},"DealInfo":{"DealID":1,"AllocationID":2,"PayloadSize":1000,"IsBuiltinMarket":true}}]"#;
        let allocated = AllocatedSector { id: SECTOR, proof_type: PROOF };
        let sector_state = |finalized, abort_reason: Option<&str>| SectorState {
            id: SECTOR,
            finalized,
            abort_reason: abort_reason.map(str::to_owned),
        };
        for (method, result, answer) in [
            ("StoreBasicInfo", "null", Answer::StoreBasicInfo(None)),
            (
                "StoreBasicInfo",
                r#"{"Name":"one","Path":"/p/one","Meta":null}"#,
                Answer::StoreBasicInfo(Some(store.clone())),
            ),
            ("AllocateSector", "null", Answer::AllocateSector(None)),
            (
                "AllocateSector",
                r#"{"ID":{"Miner":1000,"Number":7},"ProofType":5}"#,
                Answer::AllocateSector(Some(allocated)),
            ),
            ("AcquireDeals", "null", Answer::AcquireDeals(None)),
            ("AcquireDeals", piece_json, Answer::AcquireDeals(Some(vec![piece]))),
            ("AssignTicket", &ticket_json, Answer::AssignTicket(ticket())),
            (
                "SubmitPreCommit",
                r#"{"Res":1,"Desc":null}"#,
                Answer::SubmitPreCommit(submitted(SubmitResult::Accepted, None)),
            ),
            (
                "PollPreCommitState",
                r#"{"State":7,"Desc":"sector already allocated"}"#,
                Answer::PollPreCommitState(state(OnChainState::ShouldAbort, Some("sector already allocated"))),
            ),
            ("StoreReserveSpace", "null", Answer::StoreReserveSpace(None)),
            (
                "StoreReserveSpace",
                r#"{"Name":"one","Path":"/p/one","Meta":{"k":"v"}}"#,
                Answer::StoreReserveSpace(Some(with_meta)),
            ),
            ("SubmitPersistedEx", "true", Answer::SubmitPersistedEx(true)),
            (
                "WaitSeed",
                r#"{"ShouldWait":true,"Delay":30,"Seed":null}"#,
                Answer::WaitSeed(WaitSeedResp { should_wait: true, delay: 30, seed: None }),
            ),
            ("WaitSeed", &seed_json, Answer::WaitSeed(WaitSeedResp { should_wait: false, delay: 0, seed: Some(seed) })),
            (
                "SubmitProof",
                r#"{"Res":4,"Desc":"bad proof"}"#,
                Answer::SubmitProof(submitted(SubmitResult::Rejected, Some("bad proof"))),
            ),
            ("PollProofState", r#"{"State":3,"Desc":null}"#, Answer::PollProofState(state(OnChainState::Landed, None))),
            (
                "ReportState",
                r#"{"Id":{"Miner":1000,"Number":7},"Finalized":false,"AbortReason":""}"#,
                Answer::ReportState(sector_state(false, None)),
            ),
            (
                "ReportState",
                r#"{"ID":{"Miner":1000,"Number":7},"Finalized":true,"AbortReason":"lost"}"#,
                Answer::ReportState(sector_state(true, Some("lost"))),
            ),
            ("ReportFinalized", "null", Answer::Done),
            ("ReportAborted", "null", Answer::Done),
            ("WorkerPing", "null", Answer::Done),
        ] {
            assert_eq!(answer_to(method, result), Ok(answer), "{method} {result}");
        }
    }

    #[test]
    fn a_result_that_was_left_out_is_null() {
        let body = br#"{"jsonrpc":"2.0","id":9}"#;
        assert_eq!(answer(&call("AllocateSector"), 9, body), Ok(Answer::AllocateSector(None)));
        assert_eq!(answer(&call("ReportFinalized"), 9, body), Ok(Answer::Done));
        assert!(matches!(answer(&call("AssignTicket"), 9, body), Err(Fault::Unreadable(_))));
    }

    #[test]
    fn an_unknown_sector_is_told_from_other_errors() {
        let error = |code: i64, id: &str| {
            let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"why","data":1}}}}"#);
            answer(&call("AssignTicket"), 9, body.as_bytes()).unwrap_err()
        };
        assert_eq!(error(11001, "9"), Fault::NotFound("why".into()));
        assert_eq!(error(1, "9"), Fault::Refused { code: 1, message: "why".into() });
        assert_eq!(error(-32700, "null"), Fault::Refused { code: -32700, message: "why".into() });
        assert!(matches!(error(11001, "8"), Fault::Unreadable(_)));
    }

    #[test]
    fn what_is_no_answer_to_this_request_is_not_taken_for_one() {
        for body in [
            "",
            "null",
            "{}",
            "[]",
            "<html>",
            r#"{"result":null,"id":9}"#,
            r#"{"jsonrpc":"1.0","result":null,"id":9}"#,
            r#"{"jsonrpc":"2.0","result":null}"#,
            r#"{"jsonrpc":"2.0","result":null,"id":8}"#,
            r#"{"jsonrpc":"2.0","result":null,"id":9"#,
            r#"{"jsonrpc":"2.0","result":null,"error":"text","id":9}"#,
        ] {
            let read = answer(&call("ReportFinalized"), 9, body.as_bytes());
            assert!(matches!(read, Err(Fault::Unreadable(_))), "{body}: {read:?}");
        }
    }

    #[test]
    fn a_result_of_the_wrong_shape_is_no_answer() {
        for (method, result) in [
            ("AssignTicket", r#"{"Ticket":"AQE=","Epoch":1}"#),
            ("AssignTicket", "null"),
            ("SubmitProof", r#"{"Res":6,"Desc":null}"#),
            ("PollProofState", r#"{"State":0,"Desc":null}"#),
            ("AllocateSector", r#"{"ID":{"Miner":1000,"Number":7},"ProofType":20}"#),
            ("SubmitPersistedEx", "1"),
        ] {
            let read = answer_to(method, result);
            assert!(matches!(read, Err(Fault::Unreadable(_))), "{method} {result}: {read:?}");
        }
    }
}
