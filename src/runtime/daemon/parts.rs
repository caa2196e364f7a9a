//! Builds what all sealing threads share: manager, executor, stores, the name this worker goes by.

use super::{DaemonError, Options, StopFlag, served, stores};
use crate::{
    runtime::{
        manager::{
            SectorManager,
            bridge::Bridge,
            embedded::{Embedded, EmbeddedOptions},
            remote::Remote,
        },
        pieces::{AskManager, Pieces, url_at},
        processor::Executor,
        stage::PieceFile,
        worker::{Clock, Hooks, NoHooks, Parts, PersistentStore, SteadyTime},
    },
    worker_config::{EmbeddedManager, RpcClient, WorkerConfig},
};
use std::{
    net::{IpAddr, Ipv4Addr, ToSocketAddrs, UdpSocket},
    sync::Arc,
    time::{Instant, SystemTime},
};
use tokio::runtime::Runtime;
use tracing::{info, warn};

impl Clock for SteadyTime {
    fn now(&self) -> SystemTime {
        self.at(Instant::now())
    }
}

/// Builds the shared parts; with a remote manager, asks it about every attached store first.
pub(super) fn build(
    config: &WorkerConfig,
    options: &Options,
    runtime: &Runtime,
    executor: Arc<dyn Executor>,
) -> Result<Parts, DaemonError> {
    let stores = attached(config)?;
    let (manager, chain, ask): (Arc<dyn SectorManager>, _, AskManager) = match &config.sector_manager.rpc_client {
        RpcClient::Embedded(embedded) => {
            let manager = Arc::new(runtime.block_on(open_embedded(embedded, &stores, options))?);
            let (chain, has) = (manager.chain_id(), manager.clone());
            let ask: AskManager = Box::new(move |cid| has.piece(cid).map(PieceFile::Local));
            (Arc::new(Bridge::new(manager, runtime.handle().clone())), Some(chain), ask)
        }
        RpcClient::Remote(remote) => {
            let manager = Remote::new(&remote.url, &remote.headers).map_err(|e| DaemonError::Manager(e.to_string()))?;
            let chain = stores::known(runtime, &manager, &stores, options)?;
            let url = remote.url.clone();
            let ask: AskManager = Box::new(move |cid| Some(PieceFile::Url(url_at(&url, cid))));
            (Arc::new(Bridge::new(Arc::new(manager), runtime.handle().clone())), chain, ask)
        }
    };
    let hooks: Arc<dyn Hooks> = match options.crash.clone() {
        Some(crash) => Arc::new(crash),
        None => Arc::new(NoHooks),
    };
    Ok(Parts {
        manager,
        executor,
        pieces: Arc::new(Pieces::new(config.worker.local_pieces_dirs.clone(), ask)),
        clock: Arc::new(SteadyTime::new(SystemTime::now(), Instant::now())),
        hooks,
        chain,
        instance: config.worker.name.clone().unwrap_or_else(|| own_ip(&config.sector_manager.rpc_client).to_string()),
        stores: Arc::new(stores),
        static_tree_d: Arc::new(config.processors.static_tree_d.clone()),
    })
}

/// The persistent stores that the configuration leads to.
fn attached(config: &WorkerConfig) -> Result<Vec<PersistentStore>, DaemonError> {
    let (ours, miner) = match &config.sector_manager.rpc_client {
        RpcClient::Embedded(embedded) => (true, Some(embedded.miner)),
        RpcClient::Remote(_) => (false, None),
    };
    stores::attach(&config.attached, &config.worker.scan_persist_stores, ours, miner)
}

/// The embedded manager's options as far as the configuration alone decides them.
pub(super) fn embedded_options(config: &EmbeddedManager) -> EmbeddedOptions {
    EmbeddedOptions {
        path: config.path.clone(),
        miner: config.miner,
        proof_type: config.proof_type,
        epoch: config.epoch.0,
        attached: Vec::new(),
        pieces: config.pieces.clone(),
        rehearsal: false,
    }
}

async fn open_embedded(
    config: &EmbeddedManager,
    stores: &[PersistentStore],
    options: &Options,
) -> Result<Embedded, DaemonError> {
    let rehearsal = options.rehearsal.is_some();
    let options = EmbeddedOptions { attached: stores::for_manager(stores), rehearsal, ..embedded_options(config) };
    info!(path = %config.path.display(), miner = config.miner, "embedded manager, simulated chain");
    served::open(options).await
}

/// The address of the interface that reaches the manager: what an operator would call this worker. Without a network, or
/// with a manager whose name is not known here, it is this host alone.
pub(super) fn own_ip(client: &RpcClient) -> IpAddr {
    let RpcClient::Remote(remote) = client else { return Ipv4Addr::LOCALHOST.into() };
    let address = || {
        let (_, rest) = remote.url.split_once("://")?;
        let authority = rest.split('/').next()?;
        let with_port = if authority.rsplit(':').next()?.parse::<u16>().is_ok() {
            authority.to_owned()
        } else {
            format!("{authority}:80")
        };
        let target = with_port.to_socket_addrs().ok()?.next()?;
        let socket = UdpSocket::bind(if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).ok()?;
        // A UDP connect sends nothing: it only chooses the interface.
        socket.connect(target).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    address().unwrap_or_else(|| {
        warn!("no interface of this host reaches the manager: set worker.name, or this worker goes by 127.0.0.1");
        Ipv4Addr::LOCALHOST.into()
    })
}

/// The first signal asks for a stop in order, the second ends the process at once.
pub(super) fn on_signals(runtime: &Runtime, stop: StopFlag) {
    use tokio::signal::unix::{SignalKind, signal};
    let _guard = runtime.enter();
    let streams = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    let (Ok(mut interrupt), Ok(mut terminate)) = streams else {
        warn!("signals cannot be caught: a stop will be a crash, which loses no finished stage");
        return;
    };
    runtime.spawn(async move {
        loop {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
            if stop.requested() {
                std::process::exit(130);
            }
            info!("stopping in order; once more to stop at once");
            stop.request();
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker_config::RemoteManager;

    #[test]
    fn a_workers_name_is_the_address_that_reaches_the_manager() {
        let remote = |url: &str| {
            RpcClient::Remote(RemoteManager { addr: url.into(), url: url.into(), headers: Default::default() })
        };
        assert_eq!(own_ip(&remote("http://127.0.0.1:1789")).to_string(), "127.0.0.1");
        assert_eq!(own_ip(&remote("http://[::1]")).to_string(), "::1");
        assert_eq!(own_ip(&remote("http://no such host:1")).to_string(), "127.0.0.1");
    }
}
