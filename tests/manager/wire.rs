//! The bytes of every call and every answer, on both ends: what a worker of the field sends is understood, and what it
//! reads is written; our own worker and our own manager understand each other in the same bytes.

use damocles_worker::{
    runtime::{
        listen::{self, Limits},
        manager::{
            Answer, Call, Manager, ManagerError,
            remote::Remote,
            served::{access, router},
            wire::*,
        },
    },
    sys::token::Token,
    units::{SealProof, SectorSize},
};
use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{Arc, Mutex},
};

const SECTOR: SectorId = SectorId { miner: 1000, number: 7 };
const ONES: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const PROOF: SealProof = SealProof::v1_1(SectorSize::KiB2);
const ID: &str = r#"{"Miner":1000,"Number":7}"#;

/// Gives one answer to everything, and remembers what it was asked.
struct Stub {
    reply: Mutex<Result<Answer, ManagerError>>,
    asked: Mutex<Vec<Call>>,
}

impl Manager for Stub {
    async fn call(&self, call: Call) -> Result<Answer, ManagerError> {
        self.asked.lock().unwrap().push(call);
        self.reply.lock().unwrap().clone()
    }
}

pub struct Served {
    address: SocketAddr,
    stub: Arc<Stub>,
}

impl Served {
    pub async fn start(token: Option<&str>) -> Self {
        let stub = Arc::new(Stub { reply: Mutex::new(Ok(Answer::Done)), asked: Mutex::default() });
        let bound = listen::bind("sector_manager.served.listen", "127.0.0.1", 0).unwrap();
        let address = bound.address;
        let access = access(token.map(|text| Token::parse(text).unwrap()));
        tokio::spawn(bound.serve(router(stub.clone(), access), Limits::MANAGER, std::future::pending()));
        Self { address, stub }
    }

    fn reply(&self, reply: Result<Answer, ManagerError>) {
        *self.stub.reply.lock().unwrap() = reply;
    }

    fn asked(&self) -> Vec<Call> {
        std::mem::take(&mut self.stub.asked.lock().unwrap())
    }

    /// Sends these bytes and reads what comes until the connection ends: the status, the headers, the body.
    async fn raw(&self, bytes: Vec<u8>) -> (String, String, String) {
        let address = self.address;
        let all = tokio::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            // A server that has heard enough may close before all is sent.
            let _ = stream.write_all(&bytes);
            let mut all = Vec::new();
            let _ = stream.read_to_end(&mut all);
            String::from_utf8(all).unwrap()
        });
        let all = all.await.unwrap();
        let (head, body) = all.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP: {all:?}"));
        let (status, headers) = head.split_once("\r\n").unwrap();
        (status.trim_start_matches("HTTP/1.1 ").to_owned(), headers.to_lowercase(), body.to_owned())
    }

    async fn post(&self, headers: &str, body: &str) -> (String, String, String) {
        let length = body.len();
        let head = format!(
            "POST /rpc/v0 HTTP/1.1\r\nhost: m\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
        );
        self.raw((head + body).into_bytes()).await
    }
}

fn numbers(byte: u8) -> String {
    format!("[{}]", vec![byte.to_string(); 32].join(","))
}

/// Each method's call, its params and an answer's result, both as bytes of the field.
fn golden() -> Vec<(Call, String, Answer, String)> {
    let ticket = Ticket { ticket: Randomness([1; 32]), epoch: 100 };
    let ticket_json = format!(r#"{{"Ticket":"{ONES}","Epoch":100}}"#);
    let sector = AllocatedSector { id: SECTOR, proof_type: PROOF };
    let sector_json = format!(r#"{{"ID":{ID},"ProofType":5}}"#);
    let info = PreCommitOnChainInfo { comm_r: [3; 32], comm_d: [4; 32], ticket };
    let info_json = format!(r#"{{"CommR":{},"CommD":{},"Ticket":{ticket_json}}}"#, numbers(3), numbers(4));
    let store =
        StoreBasicInfo { name: "one".into(), path: "/p/one".into(), meta: Some([("k".into(), "v".into())].into()) };
    let store_json = r#"{"Name":"one","Path":"/p/one","Meta":{"k":"v"}}"#;
    let piece = SectorPiece {
        piece: PieceInfoV2 { size: 1024, piece_cid: CidJson { cid: "baga".into() } },
        deal_info: DealInfoV2 { deal_id: 1, allocation_id: 2, payload_size: 1000, is_builtin_market: true },
    };
    let piece_json = r#"[{"Piece":{"Size":1024,"PieceCID":{"/":"baga"}},"DealInfo":{"DealID":1,"AllocationID":2,"PayloadSize":1000,"IsBuiltinMarket":true}}]"#;
    let report = ReportStateReq {
        worker: WorkerIdentifier { instance: "w1".into(), location: "/s/0".into() },
        state_change: SectorStateChange { prev: "PC1Done".into(), next: "PC2Done".into(), event: "PC2".into() },
        failure: Some(SectorFailure { level: "temporary".into(), desc: "disk full".into() }),
    };
    let report_json = r#"{"Worker":{"Instance":"w1","Location":"/s/0"},"StateChange":{"Prev":"PC1Done","Next":"PC2Done","Event":"PC2"},"Failure":{"Level":"temporary","Desc":"disk full"}}"#;
    let summary = WorkerInfoSummary { threads: 6, empty: 1, paused: 2, running: 3, waiting: 4, errors: 5 };
    let ping = WorkerInfo { name: "w1".into(), dest: "10.0.0.1:17890".into(), version: "0.1.0".into(), summary };
    let ping_json = r#"{"Name":"w1","Dest":"10.0.0.1:17890","Version":"0.1.0","Summary":{"Threads":6,"Empty":1,"Paused":2,"Running":3,"Waiting":4,"Errors":5}}"#;
    let submitted = |res, desc: Option<&str>| SubmitResp { res, desc: desc.map(str::to_owned) };
    let state = |state| PollStateResp { state, desc: None };
    let seed = Seed { seed: Randomness([1; 32]), epoch: 252 };
    let spec = AllocateSectorSpec { allowed_miners: Some(vec![1000]), allowed_proof_types: Some(vec![PROOF]) };
    let proof = ProofOnChainInfo { proof: B64Bytes(vec![255, 0, 1, 2]) };
    vec![
        (
            Call::StoreBasicInfo { instance: "one".into() },
            r#"["one"]"#.into(),
            Answer::StoreBasicInfo(Some(store.clone())),
            store_json.into(),
        ),
        (
            Call::AllocateSector(spec),
            r#"[{"AllowedMiners":[1000],"AllowedProofTypes":[5]}]"#.into(),
            Answer::AllocateSector(Some(sector)),
            sector_json.clone(),
        ),
        (
            Call::AcquireDeals(SECTOR, AcquireDealsSpec { max_deals: Some(3), min_used_space: None }),
            format!(r#"[{ID},{{"MaxDeals":3,"MinUsedSpace":null}}]"#),
            Answer::AcquireDeals(Some(vec![piece])),
            piece_json.into(),
        ),
        (Call::AssignTicket(SECTOR), format!("[{ID}]"), Answer::AssignTicket(ticket), ticket_json),
        (
            Call::SubmitPreCommit { sector, info, reset: true },
            format!("[{sector_json},{info_json},true]"),
            Answer::SubmitPreCommit(submitted(SubmitResult::MismatchedSubmission, Some("other"))),
            r#"{"Res":3,"Desc":"other"}"#.into(),
        ),
        (
            Call::PollPreCommitState(SECTOR),
            format!("[{ID}]"),
            Answer::PollPreCommitState(state(OnChainState::Packed)),
            r#"{"State":2,"Desc":null}"#.into(),
        ),
        (
            Call::StoreReserveSpace { sector: SECTOR, size: 4096, candidates: vec!["one".into(), "two".into()] },
            format!(r#"[{ID},4096,["one","two"]]"#),
            Answer::StoreReserveSpace(Some(store)),
            store_json.into(),
        ),
        (
            Call::SubmitPersistedEx { sector: SECTOR, instance: "one".into(), is_upgrade: false },
            format!(r#"[{ID},"one",false]"#),
            Answer::SubmitPersistedEx(true),
            "true".into(),
        ),
        (
            Call::WaitSeed(SECTOR, PROOF),
            format!("[{ID},5]"),
            Answer::WaitSeed(WaitSeedResp { should_wait: false, delay: 0, seed: Some(seed) }),
            format!(r#"{{"ShouldWait":false,"Delay":0,"Seed":{{"Seed":"{ONES}","Epoch":252}}}}"#),
        ),
        (
            Call::SubmitProof { sector: SECTOR, proof, reset: false },
            format!(r#"[{ID},{{"Proof":"/wABAg=="}},false]"#),
            Answer::SubmitProof(submitted(SubmitResult::Accepted, None)),
            r#"{"Res":1,"Desc":null}"#.into(),
        ),
        (
            Call::PollProofState(SECTOR),
            format!("[{ID}]"),
            Answer::PollProofState(state(OnChainState::Landed)),
            r#"{"State":3,"Desc":null}"#.into(),
        ),
        (
            Call::ReportState(SECTOR, report),
            format!("[{ID},{report_json}]"),
            Answer::ReportState(SectorState { id: SECTOR, finalized: true, abort_reason: Some("lost".into()) }),
            // In both spellings: the field's managers write the second, its workers' other types read the first.
            format!(r#"{{"ID":{ID},"Id":{ID},"Finalized":true,"AbortReason":"lost"}}"#),
        ),
        (Call::ReportFinalized(SECTOR), format!("[{ID}]"), Answer::Done, "null".into()),
        (
            Call::ReportAborted { sector: SECTOR, reason: "no".into() },
            format!(r#"[{ID},"no"]"#),
            Answer::Done,
            "null".into(),
        ),
        (Call::WorkerPing(ping), format!("[{ping_json}]"), Answer::Done, "null".into()),
    ]
}

#[tokio::test]
async fn every_call_of_a_worker_of_the_field_is_answered_in_its_bytes() {
    let served = Served::start(None).await;
    assert_eq!(golden().len(), 15);
    for (call, params, answer, result) in golden() {
        served.reply(Ok(answer));
        let body = format!(r#"{{"jsonrpc":"2.0","method":"{}","params":{params},"id":42}}"#, call.method());
        let (status, headers, answered) = served.post("content-type: application/json\r\n", &body).await;
        assert_eq!(served.asked(), std::slice::from_ref(&call), "{body}");
        assert_eq!(status, "200 OK");
        assert!(headers.contains("content-type: application/json"), "{headers}");
        assert_eq!(answered, format!(r#"{{"jsonrpc":"2.0","result":{result},"id":42}}"#), "{}", call.method());
    }
}

#[tokio::test]
async fn our_worker_and_our_manager_understand_each_other() {
    let served = Served::start(None).await;
    let remote = Remote::new(&format!("http://{}", served.address), &BTreeMap::new()).unwrap();
    for (call, _, answer, _) in golden() {
        served.reply(Ok(answer.clone()));
        assert_eq!(remote.call(call.clone()).await, Ok(answer));
        assert_eq!(served.asked(), [call]);
    }
    let method = "Venus.AssignTicket";
    for error in [
        ManagerError::SectorNotFound { method, message: "never handed out".into() },
        ManagerError::Refused { method, code: 1, message: "no".into() },
    ] {
        served.reply(Err(error.clone()));
        assert_eq!(remote.call(Call::AssignTicket(SECTOR)).await, Err(error));
    }
}

#[tokio::test]
async fn a_manager_that_cannot_answer_now_looks_like_one_that_is_away() {
    let served = Served::start(None).await;
    served.reply(Err(ManagerError::Unreachable { method: "Venus.AssignTicket", reason: "disk on fire".into() }));
    let body = format!(r#"{{"jsonrpc":"2.0","method":"Venus.AssignTicket","params":[{ID}],"id":1}}"#);
    let (status, _, answered) = served.post("", &body).await;
    assert_eq!(status, "503 Service Unavailable");
    assert!(!answered.contains('{') && !answered.contains("fire"), "{answered}");
}

#[tokio::test]
async fn the_caller_is_told_what_is_wrong_with_its_request() {
    let served = Served::start(None).await;
    for (body, code, id) in [
        ("", -32700, "null"),
        ("{\"jsonrpc\":\"2.0\",", -32700, "null"),
        ("[]", -32600, "null"),
        (r#"{"jsonrpc":"2.0","id":"a","method":"Venus.AllocateSanpUpSector","params":[]}"#, -32601, "\"a\""),
        (r#"{"jsonrpc":"2.0","id":8,"method":"Venus.WdPoStHeartbeatJobs","params":[[],"w"]}"#, -32601, "8"),
        (r#"{"jsonrpc":"2.0","id":8,"method":"Venus.AssignTicket","params":[]}"#, -32602, "8"),
    ] {
        let (status, _, answered) = served.post("", body).await;
        let answered: serde_json::Value = serde_json::from_str(&answered).unwrap();
        assert_eq!((status.as_str(), &answered["error"]["code"]), ("200 OK", &code.into()), "{body}");
        assert_eq!(answered["id"].to_string(), id);
    }
    assert_eq!(served.asked(), []);
}

#[tokio::test]
async fn only_a_post_to_the_one_path_is_a_request() {
    let served = Served::start(None).await;
    for (head, status) in [
        ("GET /rpc/v0 HTTP/1.1", "405 Method Not Allowed"),
        ("PUT /rpc/v0 HTTP/1.1", "405 Method Not Allowed"),
        ("POST / HTTP/1.1", "404 Not Found"),
        ("POST /rpc/v1 HTTP/1.1", "404 Not Found"),
        ("POST /rpc/v0/../../etc/passwd HTTP/1.1", "404 Not Found"),
    ] {
        let request = format!("{head}\r\nhost: m\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{{}}");
        assert_eq!(served.raw(request.into_bytes()).await.0, status, "{head}");
    }
    let (status, ..) = served.raw(b"not http at all\r\n\r\n".to_vec()).await;
    assert!(status.starts_with("400"), "{status}");
}

#[tokio::test]
async fn a_body_has_an_end() {
    let served = Served::start(None).await;
    let (status, _, body) = served.post("", &" ".repeat((1 << 20) + 1)).await;
    assert_eq!(status, "413 Payload Too Large");
    assert!(body.contains("-32600") && body.contains("1048576"), "{body}");
    let endless = "POST /rpc/v0 HTTP/1.1\r\nhost: m\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
        .to_owned()
        + &format!("10000\r\n{}\r\n", " ".repeat(1 << 16)).repeat(17)
        + "0\r\n\r\n";
    assert_eq!(served.raw(endless.into_bytes()).await.0, "413 Payload Too Large");
    let most =
        format!(r#"{{"jsonrpc":"2.0","method":"Venus.StoreBasicInfo","params":["{}"],"id":1}}"#, "x".repeat(1_000_000));
    served.reply(Ok(Answer::StoreBasicInfo(None)));
    assert_eq!(served.post("", &most).await.0, "200 OK");
}

#[tokio::test]
async fn from_elsewhere_a_change_needs_the_token_and_a_look_does_not() {
    let change = format!(r#"{{"jsonrpc":"2.0","method":"Venus.AssignTicket","params":[{ID}],"id":1}}"#);
    let look = r#"{"jsonrpc":"2.0","method":"Venus.StoreBasicInfo","params":["one"],"id":1}"#;
    let ticket = Answer::AssignTicket(Ticket { ticket: Randomness([1; 32]), epoch: 1 });
    for token in [None, Some("a-secret-token-for-tests")] {
        let served = Served::start(token).await;
        served.reply(Ok(ticket.clone()));
        assert_eq!(served.post("", &change).await.0, "200 OK", "this host needs none");
        for elsewhere in ["x-forwarded-for: 10.0.0.7\r\n", "forwarded: for=10.0.0.7\r\n", "origin: http://evil\r\n"] {
            served.asked();
            let (status, _, body) = served.post(elsewhere, &change).await;
            assert_eq!(status, "401 Unauthorized", "{elsewhere}");
            assert!(body.contains("-32001") && !body.contains("secret"), "{body}");
            assert_eq!(served.asked(), [], "{elsewhere}");
            let with_token = format!("{elsewhere}authorization: Bearer a-secret-token-for-tests\r\n");
            let (status, ..) = served.post(&with_token, &change).await;
            assert_eq!(status == "200 OK", token.is_some(), "{elsewhere}");
            served.reply(Ok(Answer::StoreBasicInfo(None)));
            assert_eq!(served.post(elsewhere, look).await.0, "200 OK");
            served.reply(Ok(ticket.clone()));
        }
    }
    let served = Served::start(Some("a-secret-token-for-tests")).await;
    assert_eq!(served.post("authorization: Bearer other-token\r\n", look).await.0, "401 Unauthorized");
}

/// Of these bodies not a byte comes, and the answer is there.
#[tokio::test]
async fn who_may_not_ask_is_told_by_its_headers_alone() {
    let served = Served::start(Some("a-secret-token-for-tests")).await;
    let head = |headers: &str| format!("POST /rpc/v0 HTTP/1.1\r\nhost: m\r\n{headers}\r\n").into_bytes();
    for headers in [
        "content-length: 10\r\nauthorization: Bearer other-token\r\n",
        "content-length: 1000000\r\nx-forwarded-for: 10.0.0.7\r\n",
    ] {
        let (status, _, body) = served.raw(head(headers)).await;
        assert_eq!(status, "401 Unauthorized", "{headers}");
        assert!(body.contains("-32001"), "{body}");
    }
    let (status, ..) = served.raw(head("content-length: 3000000\r\n")).await;
    assert_eq!(status, "413 Payload Too Large", "nobody's is as long");
    assert_eq!(served.asked(), []);
}

#[tokio::test]
async fn a_worker_learns_why_it_was_refused() {
    let served = Served::start(Some("a-secret-token-for-tests")).await;
    let headers = BTreeMap::from([("Authorization".to_owned(), "Bearer other-token".to_owned())]);
    let remote = Remote::new(&format!("http://{}", served.address), &headers).unwrap();
    let error = remote.call(Call::AssignTicket(SECTOR)).await.unwrap_err();
    assert!(matches!(error, ManagerError::Refused { code: -32001, .. }), "{error}");
    assert!(error.to_string().contains("the token is not this manager's"), "{error}");
}

#[tokio::test]
async fn a_notification_is_carried_out_and_not_answered() {
    let served = Served::start(None).await;
    let body = format!(r#"{{"jsonrpc":"2.0","method":"Venus.ReportFinalized","params":[{ID}]}}"#);
    let (status, _, answered) = served.post("", &body).await;
    assert_eq!((status.as_str(), answered.as_str()), ("204 No Content", ""));
    assert_eq!(served.asked(), [Call::ReportFinalized(SECTOR)]);
}
