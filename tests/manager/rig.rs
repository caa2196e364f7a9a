//! A manager in a fresh folder, with a clock and a verifier that the test holds in its hands.

use damocles_worker::{
    runtime::{
        manager::{
            Answer, Call, Manager, ManagerError,
            embedded::{AttachedStore, Embedded, EmbeddedError, EmbeddedOptions, SealVerifier},
            wire::*,
        },
        stage::{SealClaim, SectorPaths},
    },
    units::{SealProof, SectorSize},
};
use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tempfile::TempDir;

pub const MINER: u64 = 1000;
pub const PROOF_TYPE: SealProof = SealProof::v1_1(SectorSize::KiB2);
/// What the verifier says yes to.
pub const GOOD_PROOF: &[u8] = b"good";
/// What it cannot decide about.
pub const PUZZLING_PROOF: &[u8] = b"puzzling";
/// What makes it panic.
pub const DEADLY_PROOF: &[u8] = b"deadly";
pub const EPOCH: Duration = Duration::from_secs(30);

/// What the verifier was asked: a claim and a proof.
pub type Question = (SealClaim, Vec<u8>);

/// Everything outside of the manager: its folder, its stores, the time, what the verifier was asked.
pub struct Rig {
    pub folder: TempDir,
    pub now_ms: Arc<AtomicU64>,
    pub asked: Arc<Mutex<Vec<Question>>>,
    pub options: EmbeddedOptions,
}

impl Rig {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let attached = ["one", "two"].map(|name| {
            let path = folder.path().join(name);
            fs::create_dir(&path).unwrap();
            AttachedStore { name: name.into(), path, readonly: false }
        });
        let path = folder.path().join("manager");
        let options = EmbeddedOptions {
            path,
            miner: MINER,
            proof_type: PROOF_TYPE,
            epoch: EPOCH,
            attached: attached.into(),
            pieces: None,
            rehearsal: false,
        };
        Self { folder, now_ms: Arc::new(AtomicU64::new(1_700_000_000_000)), asked: Arc::default(), options }
    }

    pub async fn open(&self) -> Embedded {
        self.try_open().await.unwrap()
    }

    pub async fn try_open(&self) -> Result<Embedded, EmbeddedError> {
        let now = self.now_ms.clone();
        let now = move || at(&now);
        Embedded::open(self.options.clone(), self.verifier(), now).await
    }

    fn verifier(&self) -> SealVerifier {
        let asked = self.asked.clone();
        Arc::new(move |claim, proof| {
            asked.lock().unwrap().push((claim.clone(), proof.to_vec()));
            match proof {
                PUZZLING_PROOF => Err("no verifying key".into()),
                DEADLY_PROOF => panic!("the verifier fell over"),
                proof => Ok(proof == GOOD_PROOF),
            }
        })
    }

    pub fn now(&self) -> SystemTime {
        at(&self.now_ms)
    }

    pub fn pass_epochs(&self, epochs: u64) {
        self.pass(EPOCH * epochs as u32);
    }

    pub fn pass(&self, time: Duration) {
        self.now_ms.fetch_add(time.as_millis() as u64, Ordering::SeqCst);
    }

    pub fn step_clock_back(&self, time: Duration) {
        self.now_ms.fetch_sub(time.as_millis() as u64, Ordering::SeqCst);
    }

    /// Puts all of a sector's files into a store.
    pub fn persist(&self, store: &str, id: SectorId) {
        for (file, length) in self.files(id) {
            let path = self.folder.path().join(store).join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, vec![7; length as usize]).unwrap();
        }
    }

    pub fn files(&self, id: SectorId) -> Vec<(PathBuf, u64)> {
        let files = SectorPaths::new(id.miner, id.number).persisted(SectorSize::KiB2);
        files.into_iter().map(|(file, length)| (file, length.unwrap_or(100))).collect()
    }
}

fn at(now_ms: &AtomicU64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(now_ms.load(Ordering::SeqCst))
}

/// Makes a call and unwraps the answer of its variant.
#[macro_export]
macro_rules! ask {
    ($manager:expr, $call:expr, $answer:path) => {
        match $manager.call($call).await {
            Ok($answer(answer)) => answer,
            other => panic!("{other:?}"),
        }
    };
}

pub fn any_sector() -> Call {
    Call::AllocateSector(AllocateSectorSpec::default())
}

pub fn pre_commit(id: SectorId, comm_r: u8, ticket: Ticket) -> Call {
    Call::SubmitPreCommit {
        sector: AllocatedSector { id, proof_type: PROOF_TYPE },
        info: PreCommitOnChainInfo { comm_r: [comm_r; 32], comm_d: [2; 32], ticket },
        reset: false,
    }
}

pub fn persisted(id: SectorId, instance: &str) -> Call {
    Call::SubmitPersistedEx { sector: id, instance: instance.into(), is_upgrade: false }
}

pub fn proof(id: SectorId, bytes: &[u8]) -> Call {
    Call::SubmitProof { sector: id, proof: ProofOnChainInfo { proof: B64Bytes(bytes.to_vec()) }, reset: false }
}

pub fn reserve(id: SectorId, size: u64, candidates: &[&str]) -> Call {
    Call::StoreReserveSpace { sector: id, size, candidates: candidates.iter().map(|it| it.to_string()).collect() }
}

pub fn report(next: &str) -> ReportStateReq {
    ReportStateReq {
        worker: WorkerIdentifier { instance: "worker".into(), location: "/sealing/0".into() },
        state_change: SectorStateChange { prev: "Allocated".into(), next: next.into(), event: "BuildTreeD".into() },
        failure: None,
    }
}

pub async fn allocate(manager: &Embedded) -> SectorId {
    ask!(manager, any_sector(), Answer::AllocateSector).expect("every spec is allowed").id
}

/// Takes a new sector to where its seed is there and its files are persisted.
pub async fn ready_for_proof(rig: &Rig, manager: &Embedded) -> SectorId {
    let id = allocate(manager).await;
    let ticket = ask!(manager, Call::AssignTicket(id), Answer::AssignTicket);
    ask!(manager, pre_commit(id, 1, ticket), Answer::SubmitPreCommit);
    rig.persist("one", id);
    assert!(ask!(manager, persisted(id, "one"), Answer::SubmitPersistedEx));
    rig.pass_epochs(152);
    id
}

pub async fn refusal(manager: &Embedded, call: Call) -> ManagerError {
    manager.call(call).await.unwrap_err()
}
