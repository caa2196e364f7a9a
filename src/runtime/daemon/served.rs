//! The embedded manager as a service of its own: judged, opened, served until a signal, closed in order.
//!
//! ```text
//! check ─► token ─► stores ─► folder and database ─► listener ─► serve ─► stop: answer what was asked ─► database closed
//! ```

use super::{DaemonError, Findings, StopFlag, parts, stores};
use crate::{
    runtime::{
        listen::{self, Bound, Limits},
        manager::{
            embedded::{self, Embedded, EmbeddedOptions},
            served,
        },
        proofs::{
            self,
            params::{self, ParamsKind},
        },
        store::scan,
    },
    sys::token::Token,
    worker_config::ManagerConfig,
};
use serde::Serialize;
use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};
use tracing::{info, warn};

/// How long a stop waits for calls that were begun.
const GRACE: Duration = Duration::from_secs(10);
/// How often a stop is looked for.
const LOOK: Duration = Duration::from_millis(50);

/// A manager that listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listening {
    /// What workers write as `sector_manager.rpc_client.addr`.
    pub url: String,
    pub miner: u64,
    pub proof_type: crate::units::SealProof,
    /// Its folder.
    pub path: PathBuf,
    /// The simulated chain that it is.
    pub chain: String,
    /// The names of its stores.
    pub stores: Vec<String>,
    /// Whether other hosts may change something, with the token.
    pub changes_from_elsewhere: bool,
}

fn options(config: &ManagerConfig, rehearsal: bool) -> EmbeddedOptions {
    EmbeddedOptions { rehearsal, ..parts::embedded_options(&config.embedded) }
}

/// Judges what a manager is told. Looks at files and folders; changes nothing, opens no port.
pub fn check_manager(config: &ManagerConfig) -> Findings {
    let mut found = Findings::default();
    if let Err(error) = embedded::check(&options(config, false)) {
        found.problem(error.to_string());
    }
    found.problems.extend(super::check::piece_folder(&config.embedded));
    if config.attached.is_empty() && config.scan_persist_stores.is_empty() {
        found.problem(
            "no store: finished sectors have nowhere to go; add an [[attached]], or --attach NAME=PATH".into(),
        );
    }
    for attached in &config.attached {
        let path = attached.location.display();
        match std::fs::metadata(&attached.location) {
            Ok(meta) if !meta.is_dir() => found.problem(format!("attached {path}: is not a folder")),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                found.warning(format!("attached {path}: is not there yet; the manager will make it"));
            }
            Err(error) => found.problem(format!("attached {path}: {error}")),
        }
    }
    if let Err(error) = scan::scan(&config.scan_persist_stores) {
        found.problem(error.to_string());
    }
    found.warnings.extend(no_keys(config));
    let listen = config.served.listen;
    match &config.served.token_file {
        Some(path) => {
            if let Err(error) = Token::read(path) {
                found.problem(format!("token file {error}"));
            }
        }
        None if !listen.ip().to_canonical().is_loopback() => found.warning(format!(
            "listens on {listen} without a token file: workers on other machines can seal nothing; give it --token-file"
        )),
        None => {}
    }
    found
}

/// Without keys no proof can be verified, and every sector waits at its last step.
fn no_keys(config: &ManagerConfig) -> Option<String> {
    let proof = config.embedded.proof_type;
    (params::kind(proof) == ParamsKind::Missing).then(|| {
        let size = proof.sector_size();
        format!("proof keys of {size} are not there, and proofs are verified with them; get them with: damocles-worker params fetch --sector-size {size}")
    })
}

/// Serves the manager until a signal. `listening` is called once it can be asked.
///
/// # Errors
/// It could not be started.
pub fn serve_manager(
    config: &ManagerConfig,
    rehearsal: bool,
    stop: &StopFlag,
    listening: &mut dyn FnMut(Listening),
) -> Result<(), DaemonError> {
    let token = config.served.token_file.as_deref().map(Token::read).transpose();
    let token = token.map_err(|error| DaemonError::Manager(format!("token file {error}")))?;
    no_keys(config).filter(|_| !rehearsal).iter().for_each(|warning| warn!("{warning}"));
    let stores = stores::attach(&config.attached, &config.scan_persist_stores, true, Some(config.embedded.miner))?;
    let options = EmbeddedOptions { attached: stores::for_manager(&stores), ..options(config, rehearsal) };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(DaemonError::Runtime)?;
    parts::on_signals(&runtime, stop.clone());
    super::more_open_files("for many connections");
    let manager = Arc::new(runtime.block_on(open(options))?);
    let listen = config.served.listen;
    let bound = listen::bind("sector_manager.served.listen", &listen.ip().to_string(), listen.port())?;
    listening(Listening {
        url: format!("http://{}", reachable(bound.address)),
        miner: config.embedded.miner,
        proof_type: config.embedded.proof_type,
        path: config.embedded.path.clone(),
        chain: manager.chain_id(),
        stores: stores.iter().map(|store| store.name.clone()).collect(),
        changes_from_elsewhere: token.is_some(),
    });
    let (access, has) = (Arc::new(served::access(token)), manager.clone());
    let pieces = served::pieces::router(Box::new(move |cid| has.piece(cid)), access.clone());
    let routes = served::router(manager.clone(), access).merge(pieces);
    let ended = runtime.block_on(until_stopped(bound, routes, stop.clone()));
    runtime.shutdown_timeout(Duration::from_secs(1));
    drop(manager);
    ended.map_err(|error| DaemonError::Manager(format!("listen on {listen}: {error}")))?;
    info!("stopped in order");
    Ok(())
}

/// Opens the embedded manager with the verifier that it is to have.
pub(super) async fn open(options: EmbeddedOptions) -> Result<Embedded, DaemonError> {
    let verify = if options.rehearsal {
        embedded::rehearsed_proofs_only()
    } else {
        Arc::new(|claim: &_, proof: &[u8]| proofs::verify_seal(claim, proof).map_err(|e| e.to_string()))
    };
    Ok(Embedded::open(options, verify, std::time::SystemTime::now).await?)
}

/// Serves until the stop, and then for at most as long as the grace.
async fn until_stopped(bound: Bound, routes: axum::Router, stop: StopFlag) -> io::Result<()> {
    let asked = stop.clone();
    let wait = async move {
        while !asked.requested() {
            tokio::time::sleep(LOOK).await
        }
    };
    let mut serving = std::pin::pin!(bound.serve(routes, Limits::MANAGER, wait));
    let given_up = async {
        while !stop.requested() {
            tokio::time::sleep(LOOK).await;
        }
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        ended = &mut serving => ended,
        () = given_up => {
            warn!("calls were cut off after {} s: workers ask again", GRACE.as_secs());
            Ok(())
        }
    }
}

/// An address that listens everywhere is reached here at the loopback one.
fn reachable(address: SocketAddr) -> SocketAddr {
    let here = match address {
        SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    };
    if address.ip().is_unspecified() { SocketAddr::new(here, address.port()) } else { address }
}
