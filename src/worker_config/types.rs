//! `WorkerConfig`: damocles-worker.toml with every default filled in.
//!
//! What can be absent here is what has no default (a name, a cpuset); nothing else is an `Option`.
//! Field names are the keys of the file. Units are types: sizes, durations and cpu lists have parsed.

use crate::units::{Bytes, CpuList, HumanDuration, NodeId, ParseError, Prover, SealProof, SectorSize, Suite};
use std::{collections::BTreeMap, fmt, net::SocketAddr, path::PathBuf, str::FromStr};

/// A whole worker configuration, valid in itself (not yet judged against a machine).
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerConfig {
    pub worker: Worker,
    pub metrics: Metrics,
    pub sector_manager: SectorManager,
    /// The common settings; each sealing thread carries its own merged copy.
    pub sealing: Sealing,
    pub sealing_thread: Vec<SealingThread>,
    pub attached: Vec<Attached>,
    pub processors: Processors,
    /// What a planner planned it for; absent: nobody says.
    pub planned: Option<Planned>,
}

/// `[planned]`: whose proofs the file was planned for. Other builds of the daemon ignore it, ours too: `plan verify`,
/// `plan simulate` and `hwinfo cpuset -c` judge the file by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Planned {
    /// Default own.
    pub prover: Prover,
    /// Default stock.
    pub suite: Suite,
}

/// `[worker]`
#[derive(Clone, Debug, PartialEq)]
pub struct Worker {
    /// The instance name; absent: the address of the interface that reaches the manager.
    pub name: Option<String>,
    pub rpc_server: RpcServer,
    /// How often the worker reports itself to the manager. Default 30s.
    pub ping_interval: HumanDuration,
    /// Folders with piece files, searched in order before the manager is asked.
    pub local_pieces_dirs: Vec<PathBuf>,
    /// Folders searched for persistent stores at start.
    pub scan_persist_stores: Vec<PathBuf>,
}

/// `[worker.rpc_server]`
#[derive(Clone, Debug, PartialEq)]
pub struct RpcServer {
    /// Default 0.0.0.0.
    pub host: String,
    /// Default 17890.
    pub port: u16,
    /// The file with the token that callers from other hosts must send to change anything. Absent: they only read.
    pub token_file: Option<PathBuf>,
}

/// `[metrics]`
#[derive(Clone, Debug, PartialEq)]
pub struct Metrics {
    /// Default false.
    pub enable: bool,
    /// Default 0.0.0.0:9000.
    pub http_listen: SocketAddr,
}

/// `[sector_manager]`
#[derive(Clone, Debug, PartialEq)]
pub struct SectorManager {
    pub rpc_client: RpcClient,
    /// The token for piece downloads.
    pub piece_token: Option<String>,
    /// Where a manager may send piece downloads on to: `https://HOST` or `https://HOST:PORT`, http as well.
    pub piece_origins: Vec<String>,
}

/// Where the sector manager is: `sector_manager.rpc_client.addr` decides.
#[derive(Clone, Debug, PartialEq)]
pub enum RpcClient {
    /// The literal `"embedded"`, with `[sector_manager.embedded]`.
    Embedded(EmbeddedManager),
    /// A manager over HTTP.
    Remote(RemoteManager),
}

/// A manager over HTTP.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteManager {
    /// As written in the file (multiaddr or URL), so that rendering keeps the operator's form.
    pub addr: String,
    /// `addr` as an http(s) URL without the `/rpc/v0` path.
    pub url: String,
    /// Extra HTTP headers.
    pub headers: BTreeMap<String, String>,
}

/// `[sector_manager.embedded]`: a manager inside the daemon, against a simulated chain.
#[derive(Clone, Debug, PartialEq)]
pub struct EmbeddedManager {
    /// Its database and chain. Default `./manager`.
    pub path: PathBuf,
    /// The miner whose sectors it hands out. Default 1000.
    pub miner: u64,
    /// The proof type of its sectors. Default StackedDrg2KiBV1_1.
    pub proof_type: SealProof,
    /// The length of one chain epoch. Default 30s, the network's.
    pub epoch: HumanDuration,
    /// A folder whose files it offers as deals.
    pub pieces: Option<PathBuf>,
}

/// What `damocles-worker manager` is told: the embedded manager, and where it is served.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ManagerConfig {
    pub embedded: EmbeddedManager,
    pub served: ServedManager,
    pub attached: Vec<Attached>,
    /// Folders searched for persistent stores at start.
    pub scan_persist_stores: Vec<PathBuf>,
}

/// `[sector_manager.served]`: where `damocles-worker manager` listens.
#[derive(Clone, Debug, PartialEq)]
pub struct ServedManager {
    /// Default 127.0.0.1:1789.
    pub listen: SocketAddr,
    /// The file of the token that other hosts need for changes.
    pub token_file: Option<PathBuf>,
}

/// `[sealing]` and, merged over it, `sealing.*` of a thread.
#[derive(Clone, Debug, PartialEq)]
pub struct Sealing {
    /// Empty: sectors of any miner.
    pub allowed_miners: Vec<u64>,
    /// Empty: sectors of any size.
    pub allowed_sizes: Vec<SectorSize>,
    /// Default false.
    pub enable_deals: bool,
    /// With `enable_deals`: wait for deals instead of sealing an empty sector. Default false.
    pub disable_cc: bool,
    pub max_deals: Option<u32>,
    pub min_deal_space: Option<Bytes>,
    /// Tries after a temporary failure before it counts as permanent. Default 5.
    pub max_retries: u32,
    /// Pause between an idle thread's asks for work. Default 30s.
    pub seal_interval: HumanDuration,
    /// Pause before a temporary failure is tried again. Default 60s.
    pub recover_interval: HumanDuration,
    /// Pause between polls of the manager. Default 180s.
    pub rpc_polling_interval: HumanDuration,
    /// Do not wait for the proof to land. Default false.
    pub ignore_proof_check: bool,
    /// Asks for work before a thread rests for `seal_interval`. Default 3.
    pub request_task_max_retries: u32,
    /// Check the replica after PC2. Default false.
    pub verify_after_pc2: bool,
}

/// `[[sealing_thread]]`
#[derive(Clone, Debug, PartialEq)]
pub struct SealingThread {
    /// The store this thread owns alone.
    pub location: PathBuf,
    pub plan: Plan,
    /// `[sealing]` with this thread's `sealing.*` merged over it.
    pub sealing: Sealing,
}

/// What a sealing thread does with a sector. Others that the field knows are refused by the loader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Plan {
    /// From an empty sector to a proven one.
    #[default]
    Sealer,
}

/// `[[attached]]`: a persistent store.
#[derive(Clone, Debug, PartialEq)]
pub struct Attached {
    /// The name shared with the manager. Absent: the absolute path of `location`.
    pub name: Option<String>,
    pub location: PathBuf,
    /// Default false.
    pub readonly: bool,
}

/// A stage that limits and processors can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StageName {
    AddPieces,
    TreeD,
    Pc1,
    Pc2,
    SynthProof,
    C2,
    SnapEncode,
    SnapProve,
    Transfer,
    Unseal,
    WindowPost,
}

/// `[processors]`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Processors {
    pub limitation: Limitation,
    /// Named locks and how many may hold each.
    pub ext_locks: BTreeMap<String, u32>,
    /// A ready tree-d file for empty sectors, by size.
    pub static_tree_d: BTreeMap<SectorSize, PathBuf>,
    /// `[[processors.STAGE]]`, in the order of the file. A stage that is absent runs inside the daemon;
    /// one that is there has at least one processor.
    pub stages: BTreeMap<StageName, Vec<Processor>>,
    /// `[[processors.sealing_daemons]]`: helpers that run beside the stages for as long as the daemon does.
    pub sealing_daemons: Vec<Processor>,
}

/// `[processors.limitation]`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limitation {
    /// At most so many tasks of a stage at once.
    pub concurrent: BTreeMap<StageName, u32>,
    /// At least so long between two starts of a stage.
    pub staggered: BTreeMap<StageName, HumanDuration>,
}

/// `[[processors.STAGE]]`: one external processor.
#[derive(Clone, Debug, PartialEq)]
pub struct Processor {
    /// Absent: the daemon's own executable.
    pub bin: Option<PathBuf>,
    /// Absent: `processor STAGE`.
    pub args: Option<Vec<String>>,
    /// How long a child may take to say that it is ready. Default 5s.
    pub stable_wait: HumanDuration,
    pub cgroup: Cgroup,
    pub envs: BTreeMap<String, String>,
    pub numa_preferred: Option<NodeId>,
    /// How many tasks it takes at once. Absent: no limit of its own.
    pub concurrent: Option<u32>,
    pub locks: Vec<String>,
    /// Default true.
    pub auto_restart: bool,
    /// Default true.
    pub inherit_envs: bool,
}

/// `[processors.STAGE.cgroup]`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cgroup {
    pub group_name: Option<String>,
    pub cpuset: Option<CpuList>,
}

impl Plan {
    /// The name in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sealer => "sealer",
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl StageName {
    /// Every stage, in the order of a sector's life.
    pub const ALL: [Self; 11] = [
        Self::AddPieces,
        Self::TreeD,
        Self::Pc1,
        Self::Pc2,
        Self::SynthProof,
        Self::C2,
        Self::SnapEncode,
        Self::SnapProve,
        Self::Transfer,
        Self::Unseal,
        Self::WindowPost,
    ];

    /// The name in the file and on the processors' wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AddPieces => "add_pieces",
            Self::TreeD => "tree_d",
            Self::Pc1 => "pc1",
            Self::Pc2 => "pc2",
            Self::SynthProof => "synth_proof",
            Self::C2 => "c2",
            Self::SnapEncode => "snap_encode",
            Self::SnapProve => "snap_prove",
            Self::Transfer => "transfer",
            Self::Unseal => "unseal",
            Self::WindowPost => "window_post",
        }
    }

    /// All names, for messages.
    pub(super) fn list() -> String {
        Self::ALL.map(Self::name).join(", ")
    }
}

impl fmt::Display for StageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for StageName {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::ALL
            .into_iter()
            .find(|stage| stage.name() == text)
            .ok_or_else(|| ParseError::new(text, "a stage", Self::list()))
    }
}
