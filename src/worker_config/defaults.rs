//! What holds where the file says nothing, and the smallest configurations.

use super::{
    addr::{self, AddrError},
    types::*,
};
use crate::units::{HumanDuration, SealProof, SectorSize};
use std::{collections::BTreeMap, net::Ipv4Addr, path::PathBuf};

impl WorkerConfig {
    /// Everything at its default: one store to seal in, one to persist to.
    pub fn minimal(rpc_client: RpcClient, thread: impl Into<PathBuf>, attached: impl Into<PathBuf>) -> Self {
        Self {
            worker: Worker::default(),
            metrics: Metrics::default(),
            sector_manager: SectorManager { rpc_client, piece_token: None, piece_origins: Vec::new() },
            sealing: Sealing::default(),
            sealing_thread: vec![SealingThread {
                location: thread.into(),
                plan: Plan::default(),
                sealing: Sealing::default(),
            }],
            attached: vec![Attached { name: None, location: attached.into(), readonly: false }],
            processors: Processors::default(),
            planned: None,
        }
    }
}

impl Default for Worker {
    fn default() -> Self {
        Self {
            name: None,
            rpc_server: RpcServer::default(),
            ping_interval: HumanDuration::secs(30),
            local_pieces_dirs: Vec::new(),
            scan_persist_stores: Vec::new(),
        }
    }
}

impl Default for RpcServer {
    fn default() -> Self {
        Self { host: "0.0.0.0".to_owned(), port: 17_890, token_file: None }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self { enable: false, http_listen: (Ipv4Addr::UNSPECIFIED, 9_000).into() }
    }
}

impl Default for ServedManager {
    fn default() -> Self {
        Self { listen: (Ipv4Addr::LOCALHOST, 1789).into(), token_file: None }
    }
}

impl RemoteManager {
    /// The manager at a multiaddr or a URL.
    ///
    /// # Errors
    /// What part of the address is wrong.
    pub fn new(addr: &str) -> Result<Self, AddrError> {
        let url = addr::manager_url(addr)?.url;
        Ok(Self { addr: addr.to_owned(), url, headers: BTreeMap::new() })
    }
}

impl Default for EmbeddedManager {
    fn default() -> Self {
        Self {
            path: "./manager".into(),
            miner: 1000,
            proof_type: SealProof::v1_1(SectorSize::KiB2),
            epoch: HumanDuration::secs(30),
            pieces: None,
        }
    }
}

impl Default for Sealing {
    fn default() -> Self {
        Self {
            allowed_miners: Vec::new(),
            allowed_sizes: Vec::new(),
            enable_deals: false,
            disable_cc: false,
            max_deals: None,
            min_deal_space: None,
            max_retries: 5,
            seal_interval: HumanDuration::secs(30),
            recover_interval: HumanDuration::secs(60),
            rpc_polling_interval: HumanDuration::secs(180),
            ignore_proof_check: false,
            request_task_max_retries: 3,
            verify_after_pc2: false,
        }
    }
}

impl Default for Processor {
    fn default() -> Self {
        Self {
            bin: None,
            args: None,
            stable_wait: HumanDuration::secs(5),
            cgroup: Cgroup::default(),
            envs: BTreeMap::new(),
            numa_preferred: None,
            concurrent: None,
            locks: Vec::new(),
            auto_restart: true,
            inherit_envs: true,
        }
    }
}
