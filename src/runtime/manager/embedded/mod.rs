//! The manager inside the daemon: hands out sectors of one miner against a simulated chain.
//!
//! | part | owns |
//! | --- | --- |
//! | `chain` | head, landing, tickets and seeds (pure) |
//! | `sector` | what is known of a sector and the rules by which it changes (pure) |
//! | `stores` | room in the persistent stores, a look at persisted files |
//! | `deals` | which pieces a sector gets (pure) |
//! | `shelf` | the folder of pieces that are offered as deals |
//! | `market` | deals to sectors: what is on the shelf, who has it |
//! | `folder` | the private folder and its lock |
//! | `database` | tables and transactions |
//!
//! Each call is one transaction: the chain is brought to now, a rule decides over the sector, the sector is
//! saved, and only then is the answer given. What was answered therefore survives a crash, and the same
//! question has the same answer after it. A proof is accepted only after the verifier said yes to it.

mod chain;
mod database;
mod deals;
mod folder;
mod market;
mod sector;
mod shelf;
mod stores;
mod summary;

pub use database::DatabaseError;
pub use summary::{SectorStatus, SectorSummary};

use super::{Answer, Call, Manager, ManagerError, wire::*};
use crate::{
    runtime::{
        processor::rehearse,
        stage::{SealClaim, SectorPaths},
        words::panic_text,
    },
    sys::durable::DurableError,
    units::{PieceCid, SealProof},
};
use database::{Database, Work};
use folder::Folder;
use sector::{ProofVerdict, Refusal, Reservation, Sector};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::sync::Mutex;

/// The code of a refusal: what go-jsonrpc, which the field's managers use, gives to a plain error.
const REFUSED: i64 = 1;
const EPOCH_MIN: Duration = Duration::from_millis(1);
const EPOCH_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Says whether a proof proves a claim; `Err` when it could not find out.
pub type SealVerifier = Arc<dyn Fn(&SealClaim, &[u8]) -> Result<bool, String> + Send + Sync>;

/// What an embedded manager is opened with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbeddedOptions {
    /// Its folder; made where it is missing.
    pub path: PathBuf,
    /// The miner of new sectors. Sectors of another one that are in the database keep theirs.
    pub miner: u64,
    /// The proof type of new sectors. Sectors of another one that are in the database keep theirs.
    pub proof_type: SealProof,
    /// The length of an epoch, from one millisecond to a day.
    pub epoch: Duration,
    pub attached: Vec<AttachedStore>,
    /// A folder whose files are offered as deals.
    pub pieces: Option<PathBuf>,
    /// Proofs are those of a rehearsal, and only those. What begins so stays so.
    pub rehearsal: bool,
}

/// The key of a store's description that names the simulated chain: what `Embedded::chain_id` says.
pub const META_CHAIN: &str = "damocles.chain";
/// What a rehearsal's chain id begins with.
const REHEARSAL: &str = "rehearsal:";

/// Whether a chain is a rehearsal's.
pub fn is_rehearsal(chain: &str) -> bool {
    chain.starts_with(REHEARSAL)
}

/// The verifier of a rehearsal: it says yes to what a rehearsed c2 answers, and to nothing else.
pub fn rehearsed_proofs_only() -> SealVerifier {
    Arc::new(|_, proof| Ok(proof == rehearse::PROOF))
}

/// A persistent store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachedStore {
    pub name: String,
    /// Absolute.
    pub path: PathBuf,
    /// No new sector is put there.
    pub readonly: bool,
}

/// Why an embedded manager could not be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    #[error("embedded manager: {doing} {}: {source}", path.display())]
    Folder { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("embedded manager: {0}")]
    Durable(#[from] DurableError),
    #[error("embedded manager: {} is in use by another process (pid {holder}): stop it, or give this one its own path", path.display())]
    InUse { path: PathBuf, holder: String },
    #[error(
        "embedded manager: proof type {0} is not supported in this version: use an interactive type such as StackedDrg2KiBV1_1"
    )]
    ProofType(SealProof),
    #[error("embedded manager: miner {0} is no actor id: ids are below 2^63; set sector_manager.embedded.miner")]
    Miner(u64),
    #[error(
        "embedded manager: an epoch of {0:?} is not supported: it must be 1ms to 1day; set sector_manager.embedded.epoch"
    )]
    Epoch(Duration),
    #[error("embedded manager: attached store {name:?}: {reason}")]
    Attached { name: String, reason: &'static str },
    #[error(
        "embedded manager: {} {}: give {} a folder of its own",
        path.display(),
        if *rehearsal { "holds sectors with real proofs, and this is a rehearsal" } else { "holds a rehearsal, whose proofs prove nothing" },
        if *rehearsal { "the rehearsal" } else { "real sectors" }
    )]
    Rehearsal { path: PathBuf, rehearsal: bool },
    #[error("embedded manager: database {}: {source}", path.display())]
    Database { path: PathBuf, source: DatabaseError },
    #[error("embedded manager: {0}; set sector_manager.embedded.pieces to a folder, or leave it away")]
    Pieces(String),
}

/// The embedded manager. Dropping it closes the database and lets go of the folder.
pub struct Embedded {
    options: EmbeddedOptions,
    verify: SealVerifier,
    now: Box<dyn Fn() -> SystemTime + Send + Sync>,
    database_path: PathBuf,
    // Before the folder, so that the connection goes before the lock.
    database: Mutex<Database>,
    chain_id: String,
    /// Held while the folder of pieces is looked at.
    stock: Mutex<()>,
    /// Where the pieces are that were there when it was last looked at.
    paths: std::sync::Mutex<BTreeMap<PieceCid, PathBuf>>,
    _folder: Folder,
}

impl Embedded {
    /// Opens the manager in its folder, or makes a new one there.
    pub async fn open(
        mut options: EmbeddedOptions,
        verify: SealVerifier,
        now: impl Fn() -> SystemTime + Send + Sync + 'static,
    ) -> Result<Self, EmbeddedError> {
        check(&options)?;
        if let Some(pieces) = &mut options.pieces {
            let failed =
                |source| EmbeddedError::Folder { doing: "read the folder of pieces", path: pieces.clone(), source };
            *pieces = pieces.canonicalize().map_err(failed)?;
        }
        let folder = Folder::open(&options.path, options.rehearsal)?;
        let database_path = folder.database()?;
        let epoch_ms = i64::try_from(options.epoch.as_millis()).expect("an epoch is at most a day");
        let failed = |source| EmbeddedError::Database { path: database_path.clone(), source };
        let now_ms = unix_ms(now());
        let mut database = Database::open(&database_path, now_ms, epoch_ms).await.map_err(failed)?;
        let mut chain_id = chain_id(&mut database, now_ms).await.map_err(failed)?;
        if options.rehearsal {
            chain_id.insert_str(0, REHEARSAL);
        }
        let (database, now) = (Mutex::new(database), Box::new(now));
        let (stock, paths) = (Mutex::default(), std::sync::Mutex::default());
        let opened = Self { options, verify, now, database_path, database, chain_id, stock, paths, _folder: folder };
        // Sectors that have deals go on with them before anybody asks for others.
        match opened.take_stock(false).await {
            Ok(_) => Ok(opened),
            Err(Trouble::Database(source)) => Err(opened.unreadable(source)),
            Err(Trouble::Refused(Refusal(why))) => Err(EmbeddedError::Pieces(why)),
            Err(Trouble::Unknown(_)) => unreachable!("no sector was asked for"),
        }
    }

    /// Which simulated chain this is, in 64 hexadecimal digits: the same for the life of the database, another for
    /// every other database but a copy of this one; a rehearsal's says that it is one. A sector's tickets, seeds and number mean something on its own chain only.
    pub fn chain_id(&self) -> String {
        self.chain_id.clone()
    }

    /// Every sector that was ever handed out, by number.
    pub async fn sectors(&self) -> Result<Vec<SectorSummary>, EmbeddedError> {
        let read = async {
            let mut database = self.database.lock().await;
            let mut work = database.begin(self.now_ms()).await?;
            let sectors = work.sectors().await?;
            work.commit().await?;
            Ok(sectors.into_iter().map(SectorSummary::from).collect())
        };
        read.await.map_err(|source| self.unreadable(source))
    }

    /// The workers that have pinged, by name, each with the time of its latest ping.
    pub async fn workers(&self) -> Result<Vec<(WorkerInfo, SystemTime)>, EmbeddedError> {
        let read = async {
            let mut database = self.database.lock().await;
            let mut work = database.begin(self.now_ms()).await?;
            let workers = work.workers().await?;
            work.commit().await?;
            let at = |ms: i64| UNIX_EPOCH + Duration::from_millis(ms.unsigned_abs());
            Ok(workers.into_iter().map(|(info, ms)| (info, at(ms))).collect())
        };
        read.await.map_err(|source| self.unreadable(source))
    }

    /// The chain's head.
    pub async fn head(&self) -> Result<i64, EmbeddedError> {
        let read = async {
            let mut database = self.database.lock().await;
            let work = database.begin(self.now_ms()).await?;
            let head = work.chain.head();
            work.commit().await?;
            Ok(head)
        };
        read.await.map_err(|source| self.unreadable(source))
    }

    fn unreadable(&self, source: DatabaseError) -> EmbeddedError {
        EmbeddedError::Database { path: self.database_path.clone(), source }
    }

    fn now_ms(&self) -> i64 {
        unix_ms((self.now)())
    }

    fn store(&self, name: &str) -> Option<&AttachedStore> {
        self.options.attached.iter().find(|store| store.name == name)
    }

    /// With what else a daemon of ours wants to know of its manager; others pass over it.
    fn basic_info(&self, store: &AttachedStore) -> StoreBasicInfo {
        let path = store.path.to_str().expect("paths of attached stores are checked when the manager is opened");
        let meta = BTreeMap::from([(META_CHAIN.to_owned(), self.chain_id.clone())]);
        StoreBasicInfo { name: store.name.clone(), path: path.to_owned(), meta: Some(meta) }
    }

    async fn answer(&self, call: Call) -> Result<Answer, Trouble> {
        Ok(match call {
            Call::StoreBasicInfo { instance } => {
                Answer::StoreBasicInfo(self.store(&instance).map(|store| self.basic_info(store)))
            }
            Call::AllocateSector(spec) => Answer::AllocateSector(self.allocate(&spec).await?),
            Call::AcquireDeals(id, spec) => Answer::AcquireDeals(self.acquire_deals(id, &spec).await?),
            Call::AssignTicket(id) => {
                let rule = |sector: &mut Sector, work: &Work<'_>| sector.assign_ticket(&work.chain, &work.beacon);
                Answer::AssignTicket(self.with_sector(id, rule).await?)
            }
            Call::SubmitPreCommit { sector: AllocatedSector { id, proof_type }, info, reset: _ } => {
                let of_deals = self.comm_d_of_deals(id).await?;
                let rule = |sector: &mut Sector, work: &Work<'_>| match of_deals {
                    Some(comm_d) if comm_d != info.comm_d => {
                        Ok(sector::rejected("comm_d is not that of the sector's deals"))
                    }
                    _ => Ok(sector.submit_pre_commit(proof_type, &info, &work.chain)),
                };
                Answer::SubmitPreCommit(self.with_sector(id, rule).await?)
            }
            Call::PollPreCommitState(id) => {
                let rule = |sector: &mut Sector, work: &Work<'_>| Ok(sector.pre_commit_state(&work.chain));
                Answer::PollPreCommitState(self.with_sector(id, rule).await?)
            }
            Call::StoreReserveSpace { sector, size, candidates } => {
                Answer::StoreReserveSpace(self.reserve(sector, size, &candidates).await?)
            }
            Call::SubmitPersistedEx { sector, instance, is_upgrade } => {
                Answer::SubmitPersistedEx(self.submit_persisted(sector, &instance, is_upgrade).await?)
            }
            Call::WaitSeed(id, proof_type) => {
                let rule =
                    |sector: &mut Sector, work: &Work<'_>| sector.wait_seed(proof_type, &work.chain, &work.beacon);
                Answer::WaitSeed(self.with_sector(id, rule).await?)
            }
            Call::SubmitProof { sector, proof, reset } => {
                Answer::SubmitProof(self.submit_proof(sector, proof.proof.0, reset).await?)
            }
            Call::PollProofState(id) => {
                let rule = |sector: &mut Sector, work: &Work<'_>| Ok(sector.proof_state(&work.chain));
                Answer::PollProofState(self.with_sector(id, rule).await?)
            }
            Call::ReportState(id, report) => {
                Answer::ReportState(self.with_sector(id, |sector, _| Ok(sector.report_state(report))).await?)
            }
            Call::ReportFinalized(id) => {
                self.with_sector(id, |sector, _| sector.finalize()).await?;
                Answer::Done
            }
            Call::ReportAborted { sector: id, reason } => {
                self.with_sector(id, |sector, _| sector.abort(reason)).await?;
                Answer::Done
            }
            Call::WorkerPing(worker) => {
                self.ping(&worker).await?;
                Answer::Done
            }
        })
    }

    /// One transaction over one sector: reads it, lets `rule` decide, saves it when it changed.
    async fn with_sector<T>(
        &self,
        id: SectorId,
        rule: impl FnOnce(&mut Sector, &Work<'_>) -> Result<T, Refusal>,
    ) -> Result<T, Trouble> {
        let mut database = self.database.lock().await;
        let mut work = database.begin(self.now_ms()).await?;
        let mut sector = known(&mut work, id).await?;
        let before = sector.clone();
        let answer = rule(&mut sector, &work)?;
        if sector != before {
            work.save(&sector).await?;
        }
        work.commit().await?;
        Ok(answer)
    }

    async fn allocate(&self, spec: &AllocateSectorSpec) -> Result<Option<AllocatedSector>, Trouble> {
        let EmbeddedOptions { miner, proof_type, .. } = self.options;
        if !sector::allows(spec, miner, proof_type) {
            return Ok(None);
        }
        let mut database = self.database.lock().await;
        let mut work = database.begin(self.now_ms()).await?;
        let id = work.new_sector(miner, proof_type).await?.id;
        work.commit().await?;
        Ok(Some(AllocatedSector { id, proof_type }))
    }

    /// Keeps room for a sector's files. A reservation stays where it is as long as it still serves the question.
    async fn reserve(
        &self,
        id: SectorId,
        bytes: u64,
        candidates: &[String],
    ) -> Result<Option<StoreBasicInfo>, Trouble> {
        let attached = self.options.attached.clone();
        let rooms = blocking(move || stores::rooms(&attached)).await?;
        let mut database = self.database.lock().await;
        let mut work = database.begin(self.now_ms()).await?;
        let mut sector = known(&mut work, id).await?;
        let serves = |it: &&Reservation| it.bytes >= bytes && (candidates.is_empty() || candidates.contains(&it.store));
        let kept = sector.reservation.as_ref().filter(serves).and_then(|it| self.store(&it.store));
        if let Some(store) = kept {
            let info = self.basic_info(store);
            work.commit().await?;
            return Ok(Some(info));
        }
        sector.refuse_if_ended()?;
        let others = work.open_reservations(id.number).await?;
        let picked = stores::pick(&rooms, &others, candidates, bytes).and_then(|name| self.store(name));
        if let Some(store) = picked {
            sector.reservation = Some(Reservation { store: store.name.clone(), bytes });
            work.save(&sector).await?;
        }
        work.commit().await?;
        Ok(picked.map(|store| self.basic_info(store)))
    }

    async fn submit_persisted(&self, id: SectorId, instance: &str, is_upgrade: bool) -> Result<bool, Trouble> {
        if is_upgrade {
            return Err(Refusal("upgraded sectors are not supported in this version".into()).into());
        }
        let size = self.with_sector(id, |sector, _| Ok(sector.proof_type.sector_size())).await?;
        let found = match self.store(instance).map(|store| store.path.clone()) {
            Some(root) => blocking(move || stores::look(&root, &SectorPaths::new(id.miner, id.number), size)).await?,
            None => Err(format!("no attached store is named {instance:?}")),
        };
        if let Err(reason) = &found {
            tracing::warn!(miner = id.miner, number = id.number, reason, "the sector's files are not complete");
        }
        self.with_sector(id, |sector, _| Ok(sector.submit_persisted(instance, found))).await
    }

    /// Verifies a proof and accepts it. The verifier works outside of any transaction, so what it was asked is
    /// compared with what would be asked when it has answered.
    async fn submit_proof(&self, id: SectorId, proof: Vec<u8>, reset: bool) -> Result<SubmitResp, Trouble> {
        let examine =
            |sector: &mut Sector, work: &Work<'_>| Ok(sector.examine_proof(&proof, reset, &work.chain, &work.beacon));
        let claim = match self.with_sector(id, examine).await? {
            ProofVerdict::Answer(answer) => return Ok(answer),
            ProofVerdict::Verify(claim) => claim,
        };
        let (verify, asked, bytes) = (self.verify.clone(), claim.clone(), proof.clone());
        let says_yes = blocking(move || verify(&asked, &bytes))
            .await?
            .map_err(|reason| Refusal(format!("the proof could not be verified: {reason}")))?;
        if !says_yes {
            return Ok(sector::rejected("the proof does not verify"));
        }
        self.with_sector(id, |sector, work| match sector.examine_proof(&proof, reset, &work.chain, &work.beacon) {
            ProofVerdict::Answer(answer) => Ok(answer),
            ProofVerdict::Verify(now) if now == claim => Ok(sector.accept_proof(proof.clone(), &work.chain)),
            ProofVerdict::Verify(_) => Err(Refusal("the sector changed while its proof was verified".into())),
        })
        .await
    }

    async fn ping(&self, worker: &WorkerInfo) -> Result<(), Trouble> {
        let mut database = self.database.lock().await;
        let mut work = database.begin(self.now_ms()).await?;
        work.ping(worker).await?;
        Ok(work.commit().await?)
    }
}

impl Manager for Embedded {
    async fn call(&self, call: Call) -> Result<Answer, ManagerError> {
        let method = call.method();
        self.answer(call).await.map_err(|trouble| match trouble {
            Trouble::Unknown(id) => ManagerError::SectorNotFound {
                method,
                message: format!("sector {} of miner {} was never handed out here", id.number, id.miner),
            },
            Trouble::Refused(Refusal(message)) => ManagerError::Refused { method, code: REFUSED, message },
            Trouble::Database(source) => {
                ManagerError::Unreachable { method, reason: self.unreadable(source).to_string() }
            }
        })
    }
}

/// Why a call has no answer, before it has the call's name.
#[derive(Debug)]
enum Trouble {
    Unknown(SectorId),
    Refused(Refusal),
    Database(DatabaseError),
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<DatabaseError> for Trouble {
    fn from(error: DatabaseError) -> Self {
        Self::Database(error)
    }
}

async fn chain_id(database: &mut Database, now_ms: i64) -> Result<String, DatabaseError> {
    let work = database.begin(now_ms).await?;
    let id = work.beacon.chain_id();
    work.commit().await?;
    Ok(id)
}

async fn known(work: &mut Work<'_>, id: SectorId) -> Result<Sector, Trouble> {
    work.sector(id).await?.ok_or(Trouble::Unknown(id))
}

/// Does what may block (disks, proofs) on a thread that may; a panic there is a refusal.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(|cut_off| match cut_off.try_into_panic() {
        Ok(panic) => Refusal(format!("a check panicked: {}", panic_text(panic.as_ref()))),
        Err(_) => Refusal("a check was cut off because the daemon is stopping".into()),
    })
}

/// Judges the options alone: no folder is looked at, nothing is made. `Embedded::open` begins with it.
///
/// # Errors
/// The first option that an embedded manager cannot be opened with.
pub fn check(options: &EmbeddedOptions) -> Result<(), EmbeddedError> {
    let proof_type = options.proof_type;
    if proof_type.is_synthetic() || proof_type.is_non_interactive() {
        return Err(EmbeddedError::ProofType(proof_type));
    }
    if i64::try_from(options.miner).is_err() {
        return Err(EmbeddedError::Miner(options.miner));
    }
    if !(EPOCH_MIN..=EPOCH_MAX).contains(&options.epoch) {
        return Err(EmbeddedError::Epoch(options.epoch));
    }
    let mut names = BTreeSet::new();
    for store in &options.attached {
        let attached = |reason| Err(EmbeddedError::Attached { name: store.name.clone(), reason });
        if !store.path.is_absolute() {
            return attached("its path is not absolute");
        }
        if store.path.to_str().is_none() {
            return attached("its path is not UTF-8");
        }
        if !names.insert(&store.name) {
            return attached("another store has the same name");
        }
    }
    Ok(())
}

/// Before 1970 the chain stands still.
fn unix_ms(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
