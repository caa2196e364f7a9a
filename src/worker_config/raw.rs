//! The configuration as written: every key optional, old forms beside new ones, every value with its place.

use super::{
    diagnosis::{Log, Place},
    read::{At, Entry, Read, Refusal, Section},
    suggest::nearest,
    tree::Value,
    types::{Plan, StageName},
    values::{Interval, Name, Positive, ProofType, Secret},
};
use crate::units::{Bytes, CpuList, HumanDuration, Prover, SectorSize, Suite};
use std::{net::SocketAddr, path::PathBuf};

/// A list, and each of its elements, with their places.
pub(super) type List<T> = Option<At<Vec<At<T>>>>;

#[derive(Default)]
pub(super) struct Config {
    pub worker: Worker,
    pub metrics: Metrics,
    pub sector_manager: SectorManager,
    pub sealing: Sealing,
    pub sealing_thread: Option<At<Vec<SealingThread>>>,
    /// Whether the key is there at all, readable or not: what is unreadable is not also missing.
    pub has_sealing_thread: bool,
    pub attached: Vec<Attached>,
    pub has_attached: bool,
    /// Old: `[remote_store]`.
    pub remote_store: Vec<Attached>,
    pub processors: Processors,
    pub planned: Option<Planned>,
}

pub(super) struct Planned {
    pub prover: Option<At<Prover>>,
    pub suite: Option<At<Suite>>,
}

#[derive(Default)]
pub(super) struct Worker {
    pub name: Option<At<Name>>,
    pub host: Option<At<String>>,
    pub port: Option<At<u16>>,
    pub token_file: Option<At<PathBuf>>,
    pub ping_interval: Option<At<Interval>>,
    pub local_pieces_dirs: List<PathBuf>,
    /// Old: a single folder.
    pub local_pieces_dir: Option<At<PathBuf>>,
    pub scan_persist_stores: List<PathBuf>,
    pub has_scan_persist_stores: bool,
}

#[derive(Default)]
pub(super) struct Metrics {
    pub enable: Option<At<bool>>,
    pub http_listen: Option<At<SocketAddr>>,
}

#[derive(Default)]
pub(super) struct SectorManager {
    pub place: Place,
    pub addr: Option<At<Secret>>,
    pub has_addr: bool,
    pub headers: Vec<Entry<Secret>>,
    pub piece_token: Option<At<Secret>>,
    pub piece_origins: List<Secret>,
    pub embedded: Option<Embedded>,
    /// Read by `damocles-worker manager`; a daemon knows that it may be there.
    pub served: Served,
}

#[derive(Default)]
pub(super) struct Served {
    pub listen: Option<At<SocketAddr>>,
    pub token_file: Option<At<PathBuf>>,
}

pub(super) struct Embedded {
    pub place: Place,
    pub path: Option<At<PathBuf>>,
    pub miner: Option<At<u64>>,
    pub proof_type: Option<At<ProofType>>,
    pub epoch: Option<At<Interval>>,
    pub pieces: Option<At<PathBuf>>,
}

#[derive(Default)]
pub(super) struct Sealing {
    pub allowed_miners: List<u64>,
    pub allowed_sizes: List<SectorSize>,
    pub enable_deals: Option<At<bool>>,
    pub disable_cc: Option<At<bool>>,
    pub max_deals: Option<At<Positive>>,
    pub min_deal_space: Option<At<Bytes>>,
    pub max_retries: Option<At<u32>>,
    pub seal_interval: Option<At<Interval>>,
    pub recover_interval: Option<At<HumanDuration>>,
    pub rpc_polling_interval: Option<At<Interval>>,
    pub ignore_proof_check: Option<At<bool>>,
    pub request_task_max_retries: Option<At<u32>>,
    pub verify_after_pc2: Option<At<bool>>,
}

pub(super) struct SealingThread {
    pub place: Place,
    pub location: Option<At<PathBuf>>,
    pub plan: Option<At<Plan>>,
    pub sealing: Sealing,
}

/// `config.toml` in the store of a sealing thread: what a `[[sealing_thread]]` holds, at the top level.
pub(super) struct ThreadOverlay {
    /// Written although it changes nothing.
    pub location: Option<Place>,
    pub plan: Option<At<Plan>>,
    pub sealing: Sealing,
}

pub(super) struct Attached {
    pub name: Option<At<Name>>,
    pub location: Option<At<PathBuf>>,
    pub readonly: Option<At<bool>>,
    pub place: Place,
}

#[derive(Default)]
pub(super) struct Processors {
    pub concurrent: Vec<(StageName, At<Positive>)>,
    pub staggered: Vec<(StageName, At<HumanDuration>)>,
    /// Old: `limitation.concurrent`.
    pub limit: Vec<(StageName, At<Positive>)>,
    pub ext_locks: Vec<Entry<Positive>>,
    pub static_tree_d: Vec<Entry<PathBuf>>,
    pub stages: Vec<(StageName, Vec<Processor>)>,
    pub sealing_daemons: Vec<Processor>,
}

pub(super) struct Processor {
    pub place: Place,
    pub bin: Option<At<PathBuf>>,
    pub args: List<String>,
    pub stable_wait: Option<At<Interval>>,
    pub group_name: Option<At<Name>>,
    pub cpuset: Option<At<CpuList>>,
    pub envs: Vec<Entry<String>>,
    pub numa_preferred: Option<At<u32>>,
    pub concurrent: Option<At<Positive>>,
    pub locks: List<Name>,
    pub auto_restart: Option<At<bool>>,
    pub inherit_envs: Option<At<bool>>,
}

impl Config {
    /// Reads the tree; whatever is wrong with a value or unknown is in `log`.
    pub fn read(root: &Value, log: &mut Log) -> Self {
        Section::read(root, Place::default(), log, "a table", |s| Self {
            worker: s.table("worker", Worker::read).unwrap_or_default(),
            metrics: s.table("metrics", Metrics::read).unwrap_or_default(),
            sector_manager: s
                .table("sector_manager", SectorManager::read)
                .unwrap_or_else(|| SectorManager { has_addr: s.has("sector_manager"), ..Default::default() }),
            sealing: s.table("sealing", Sealing::read).unwrap_or_default(),
            has_sealing_thread: s.has("sealing_thread"),
            sealing_thread: s.tables("sealing_thread", SealingThread::read),
            has_attached: s.has("attached") || s.has("remote_store"),
            attached: s.tables("attached", Attached::read).map_or_else(Vec::new, |at| at.value),
            remote_store: s.table_or_tables("remote_store", Attached::read),
            processors: s.table("processors", Processors::read).unwrap_or_default(),
            planned: s.table("planned", Planned::read),
        })
        .unwrap_or_default()
    }

    /// Reads what a manager is told: its own tables, and the stores. The tables that only a daemon reads may be there,
    /// so that one file can serve both.
    pub fn read_manager(root: &Value, log: &mut Log) -> Self {
        Section::read(root, Place::default(), log, "a table", |s| {
            s.known(&["metrics", "sealing", "sealing_thread", "processors"]);
            Self {
                worker: s.table("worker", Worker::read).unwrap_or_default(),
                sector_manager: s.table("sector_manager", SectorManager::read).unwrap_or_default(),
                has_attached: s.has("attached") || s.has("remote_store"),
                attached: s.tables("attached", Attached::read).map_or_else(Vec::new, |at| at.value),
                remote_store: s.table_or_tables("remote_store", Attached::read),
                ..Self::default()
            }
        })
        .unwrap_or_default()
    }
}

impl Planned {
    fn read(s: &mut Section) -> Self {
        Self { prover: s.get("prover"), suite: s.get("suite") }
    }
}

impl Worker {
    fn read(s: &mut Section) -> Self {
        let rpc_server = s.table("rpc_server", |s| (s.get("host"), s.get("port"), s.get("token_file")));
        let (host, port, token_file) = rpc_server.unwrap_or_default();
        Self {
            name: s.get("name"),
            host,
            port,
            token_file,
            ping_interval: s.get("ping_interval"),
            local_pieces_dirs: s.list("local_pieces_dirs"),
            local_pieces_dir: s.get("local_pieces_dir"),
            scan_persist_stores: s.list("scan_persist_stores"),
            has_scan_persist_stores: s.has("scan_persist_stores"),
        }
    }
}

impl Metrics {
    fn read(s: &mut Section) -> Self {
        Self { enable: s.get("enable"), http_listen: s.get("http_listen") }
    }
}

impl SectorManager {
    fn read(s: &mut Section) -> Self {
        let client = s.table("rpc_client", |s| (s.has("addr"), s.get("addr"), s.map("headers").unwrap_or_default()));
        let (has_addr, addr, headers) = client.unwrap_or_else(|| (s.has("rpc_client"), None, Vec::new()));
        let piece_token = s.get("piece_token");
        Self {
            place: s.place.clone(),
            addr,
            has_addr,
            headers,
            piece_token,
            piece_origins: s.list("piece_origins"),
            embedded: s.table("embedded", Embedded::read),
            served: s
                .table("served", |s| Served { listen: s.get("listen"), token_file: s.get("token_file") })
                .unwrap_or_default(),
        }
    }
}

impl Embedded {
    fn read(s: &mut Section) -> Self {
        Self {
            place: s.place.clone(),
            path: s.get("path"),
            miner: s.get("miner"),
            proof_type: s.get("proof_type"),
            epoch: s.get("epoch"),
            pieces: s.get("pieces"),
        }
    }
}

impl Sealing {
    fn read(s: &mut Section) -> Self {
        Self {
            allowed_miners: s.list("allowed_miners"),
            allowed_sizes: s.list("allowed_sizes"),
            enable_deals: s.get("enable_deals"),
            disable_cc: s.get("disable_cc"),
            max_deals: s.get("max_deals"),
            min_deal_space: s.get("min_deal_space"),
            max_retries: s.get("max_retries"),
            seal_interval: s.get("seal_interval"),
            recover_interval: s.get("recover_interval"),
            rpc_polling_interval: s.get("rpc_polling_interval"),
            ignore_proof_check: s.get("ignore_proof_check"),
            request_task_max_retries: s.get("request_task_max_retries"),
            verify_after_pc2: s.get("verify_after_pc2"),
        }
    }
}

impl SealingThread {
    fn read(s: &mut Section) -> Self {
        Self {
            place: s.place.clone(),
            location: s.require("location"),
            plan: s.get("plan"),
            sealing: s.table("sealing", Sealing::read).unwrap_or_default(),
        }
    }
}

impl ThreadOverlay {
    /// Reads the tree; whatever is wrong with a value or unknown is in `log`.
    pub fn read(root: &Value, log: &mut Log) -> Option<Self> {
        Section::read(root, Place::default(), log, "the keys of a [[sealing_thread]]", |s| Self {
            location: s.get::<PathBuf>("location").map(|at| at.place),
            plan: s.get("plan"),
            sealing: s.table("sealing", Sealing::read).unwrap_or_default(),
        })
    }
}

impl Attached {
    fn read(s: &mut Section) -> Self {
        Self {
            place: s.place.clone(),
            name: s.get("name"),
            location: s.require("location"),
            readonly: s.get("readonly"),
        }
    }
}

impl Processors {
    fn read(s: &mut Section) -> Self {
        let limitation = s.table("limitation", |s| (by_stage(s, "concurrent"), by_stage(s, "staggered")));
        let (concurrent, staggered) = limitation.unwrap_or_default();
        let mut stages = Vec::new();
        for stage in StageName::ALL {
            if let Some(processors) = s.tables(stage.name(), Processor::read) {
                stages.push((stage, processors.value));
            }
        }
        Self {
            concurrent,
            staggered,
            limit: by_stage(s, "limit"),
            ext_locks: s.map("ext_locks").unwrap_or_default(),
            static_tree_d: s.map("static_tree_d").unwrap_or_default(),
            stages,
            sealing_daemons: s.tables("sealing_daemons", Processor::read).map_or_else(Vec::new, |at| at.value),
        }
    }
}

impl Processor {
    fn read(s: &mut Section) -> Self {
        let cgroup = s.table("cgroup", |s| (s.get("group_name"), s.get("cpuset")));
        let (group_name, cpuset) = cgroup.unwrap_or_default();
        Self {
            place: s.place.clone(),
            bin: s.get("bin"),
            args: s.list("args"),
            stable_wait: s.get("stable_wait"),
            group_name,
            cpuset,
            envs: s.map("envs").unwrap_or_default(),
            numa_preferred: s.get("numa_preferred"),
            concurrent: s.get("concurrent"),
            locks: s.list("locks"),
            auto_restart: s.get("auto_restart"),
            inherit_envs: s.get("inherit_envs"),
        }
    }
}

/// A table from stages to values. A name that is no stage has no effect and is told.
fn by_stage<T: Read>(s: &mut Section, key: &'static str) -> Vec<(StageName, At<T>)> {
    let mut known = Vec::new();
    for Entry { name, place, value } in s.map(key).unwrap_or_default() {
        match (name.parse::<StageName>(), value) {
            (Ok(stage), Some(value)) => known.push((stage, At { value, place })),
            (Ok(_), None) => {}
            (Err(_), _) => {
                let accepted = match nearest(&name, StageName::ALL.map(StageName::name)) {
                    _ if name == "c1" => "it has no effect: the daemon does c1 itself".to_owned(),
                    Some(stage) => format!("it has no effect; did you mean {stage}?"),
                    None => format!("it has no effect; stages: {}", StageName::list()),
                };
                s.log.warning(&place, "unknown stage", accepted);
            }
        }
    }
    known
}

impl Read for Plan {
    const ACCEPTED: &'static str = "\"sealer\" (the default)";

    fn read(value: &Value) -> Result<Self, Refusal> {
        let text = String::read(value)?;
        match text.as_str() {
            "sealer" => Ok(Self::Sealer),
            "snapup" | "rebuild" | "unseal" | "wdpost" | "niporep" => {
                Err(Refusal::value("is not supported in this version", format!("accepted: {}", Self::ACCEPTED)))
            }
            _ => Err(Refusal::value("is not a plan", format!("accepted: {}", Self::ACCEPTED))),
        }
    }
}
