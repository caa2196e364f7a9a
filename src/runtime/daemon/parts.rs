//! Builds what all sealing threads share: manager, executor, stores, the name this worker goes by.

use super::{DaemonError, Options, StopFlag, rehearsal, threads::Status};
use crate::{
    runtime::{
        manager::{
            Answer, Call, Manager, ManagerError, SectorManager,
            bridge::Bridge,
            embedded::{AttachedStore, Embedded, EmbeddedOptions},
            remote::Remote,
            wire::{StoreBasicInfo, WorkerInfo},
        },
        processor::Executor,
        worker::{Clock, Hooks, NoHooks, Parts, PersistentStore, SteadyTime},
    },
    worker_config::{EmbeddedManager, RpcClient, WorkerConfig},
};
use std::{
    fs,
    net::{SocketAddr, ToSocketAddrs, UdpSocket},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tokio::runtime::Runtime;
use tracing::{debug, info, warn};

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
    let embedded = matches!(config.sector_manager.rpc_client, RpcClient::Embedded(_));
    let stores = attach(config, embedded)?;
    let (manager, chain): (Arc<dyn SectorManager>, _) = match &config.sector_manager.rpc_client {
        RpcClient::Embedded(embedded) => {
            let manager = runtime.block_on(open_embedded(embedded, &stores, options.rehearse.is_some()))?;
            let chain = manager.chain_id();
            (Arc::new(Bridge::new(Arc::new(manager), runtime.handle().clone())), Some(chain))
        }
        RpcClient::Remote(remote) => {
            let manager = Remote::new(&remote.url, &remote.headers).map_err(|e| DaemonError::Manager(e.to_string()))?;
            known_stores(runtime, &manager, &stores)?;
            (Arc::new(Bridge::new(Arc::new(manager), runtime.handle().clone())), None)
        }
    };
    let hooks: Arc<dyn Hooks> = match options.crash.clone() {
        Some(crash) => Arc::new(crash),
        None => Arc::new(NoHooks),
    };
    Ok(Parts {
        manager,
        executor,
        clock: Arc::new(SteadyTime::new(SystemTime::now(), Instant::now())),
        hooks,
        chain,
        instance: config.worker.name.clone().unwrap_or_else(|| own_address(&config.sector_manager.rpc_client)),
        stores: Arc::new(stores),
        static_tree_d: Arc::new(config.processors.static_tree_d.clone()),
    })
}

/// The attached stores with absolute paths. With the embedded manager a missing folder is made; with a real one
/// it may be a disk that is not mounted, and writing beneath its mount point would fill the wrong disk.
fn attach(config: &WorkerConfig, embedded: bool) -> Result<Vec<PersistentStore>, DaemonError> {
    let mut stores = Vec::new();
    for attached in &config.attached {
        let location = &attached.location;
        let refuse = |what: String| DaemonError::Attached(format!("attached store {}: {what}", location.display()));
        if embedded {
            fs::create_dir_all(location).map_err(|e| refuse(format!("make the folder: {e}")))?;
        }
        let path = fs::canonicalize(location)
            .map_err(|e| refuse(format!("{e}: mount the disk, or make the folder if it is meant to be empty")))?;
        let name = attached.name.clone().unwrap_or_else(|| path.to_string_lossy().into_owned());
        stores.push(PersistentStore { name, path, readonly: attached.readonly });
    }
    Ok(stores)
}

/// The embedded manager's options as far as the configuration alone decides them.
pub(super) fn embedded_options(config: &EmbeddedManager) -> EmbeddedOptions {
    EmbeddedOptions {
        path: config.path.clone(),
        miner: config.miner,
        proof_type: config.proof_type,
        epoch: config.epoch.0,
        attached: Vec::new(),
    }
}

async fn open_embedded(
    config: &EmbeddedManager,
    stores: &[PersistentStore],
    rehearsing: bool,
) -> Result<Embedded, DaemonError> {
    rehearsal::keep_apart(&config.path, rehearsing)?;
    let attached = |store: &PersistentStore| AttachedStore {
        name: store.name.clone(),
        path: store.path.clone(),
        readonly: store.readonly,
    };
    let options = EmbeddedOptions { attached: stores.iter().map(attached).collect(), ..embedded_options(config) };
    info!(path = %config.path.display(), miner = config.miner, "embedded manager, simulated chain");
    Ok(Embedded::open(options, rehearsal::verifier(rehearsing), SystemTime::now).await?)
}

/// The manager must know every attached store by name, or finished sectors would have nowhere to go.
fn known_stores(runtime: &Runtime, manager: &Remote, stores: &[PersistentStore]) -> Result<(), DaemonError> {
    for store in stores {
        let call = Call::StoreBasicInfo { instance: store.name.clone() };
        match runtime.block_on(manager.call(call)) {
            Ok(Answer::StoreBasicInfo(Some(StoreBasicInfo { path, .. }))) => {
                debug!(store = store.name, manager_path = path, "known to the manager");
            }
            Ok(_) => {
                let what = format!(
                    "the manager knows no store of the name {:?}: add it there, or correct [[attached]]",
                    store.name
                );
                return Err(DaemonError::Attached(what));
            }
            Err(error) => return Err(DaemonError::Manager(error.to_string())),
        }
    }
    Ok(())
}

/// The address of the interface that reaches the manager: what an operator would call this worker.
fn own_address(client: &RpcClient) -> String {
    let RpcClient::Remote(remote) = client else { return "127.0.0.1".into() };
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
        Some(socket.local_addr().ok()?.ip().to_string())
    };
    address().unwrap_or_else(|| "127.0.0.1".into())
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

/// Tells the manager regularly that this worker is there. Nothing depends on it: errors are only logged.
pub(super) fn ping(runtime: &Runtime, config: &WorkerConfig, parts: &Parts, status: Status) {
    let (manager, name) = (parts.manager.clone(), parts.instance.clone());
    let interval = config.worker.ping_interval.0;
    let dest = match own_address(&config.sector_manager.rpc_client).parse() {
        Ok(address) => SocketAddr::new(address, config.worker.rpc_server.port).to_string(),
        Err(_) => String::new(),
    };
    runtime.spawn(async move {
        loop {
            tokio::time::sleep(interval).await;
            let info = WorkerInfo {
                name: name.clone(),
                dest: dest.clone(),
                version: env!("CARGO_PKG_VERSION").into(),
                summary: status.summary(),
            };
            let ticket = manager.submit(Call::WorkerPing(info));
            let answer = loop {
                match manager.poll(ticket) {
                    Some(answer) => break answer,
                    None => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            };
            if let Err(error) = answer as Result<Answer, ManagerError> {
                debug!(%error, "ping");
            }
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
        assert_eq!(own_address(&remote("http://127.0.0.1:1789")), "127.0.0.1");
        assert_eq!(own_address(&remote("http://no such host:1")), "127.0.0.1");
    }
}
