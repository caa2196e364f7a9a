//! From a worker configuration to running sealing threads, and back to a stop in order.
//!
//! ```text
//! check ─► listeners ─► stores (all or none) ─► children (all or none) ─► manager ─► threads: one Worker each ─► stop ─► threads join
//!                                                                                       │                           children end
//!                                                                       finished sectors ─► Report (verified once more)
//! ```
//!
//! Only this module names concrete managers and executors. Nothing on the host changes before every check has
//! passed; then every store is owned before anything else is touched, and every child is where it should be before a sector is begun. One tokio runtime serves the manager; sealing threads never enter it.

mod budget;
mod check;
mod children;
mod crash;
mod execute;
mod heartbeat;
mod hot_reload;
mod listeners;
mod long_work;
mod parts;
mod rehearsal;
mod report;
mod served;
mod service;
mod stores;
mod threads;
mod turns;

pub use check::{Findings, Host, check};
pub use children::start as start_processors;
pub use crash::CrashPoint;
pub use execute::{perform, perform_with};
pub use rehearsal::Rehearsal;
pub use report::SectorReport;
pub use served::{Listening, check_manager, serve_manager};

use super::{
    control::Board,
    pieces::Fetch,
    proofs,
    sector::Failure,
    store::{Store, StoreError},
    worker::Worker,
};
use crate::{
    sys::{process, service::watchdog},
    worker_config::{Sealing, SectorManager, WorkerConfig},
};
use heartbeat::Heart;
use hot_reload::HotReload;
use listeners::Listeners;
use service::Service;
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use threads::{Orders, Seated};
use tracing::{info, warn};

/// What the command line adds to the configuration.
#[derive(Clone, Debug)]
pub struct Options {
    /// Stop after so many finished sectors.
    pub sectors: Option<u64>,
    /// Run processors that cannot be placed as they should.
    pub allow_unpinned: bool,
    /// Our own program, which is the processors' default and places every child.
    pub program: PathBuf,
    /// Where the children's temporary folders are made.
    pub temp: PathBuf,
    /// Let a remote manager have proofs of locally generated keys.
    pub allow_local_params: bool,
    /// How long a stop waits for stages in flight.
    pub grace: Duration,
    /// Where to kill this process: for crash tests, with the embedded manager only.
    pub crash: Option<CrashPoint>,
    /// Pretend, with a manager that pretends too.
    pub rehearsal: Option<Rehearsal>,
}

/// How the daemon ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    /// As many sectors as were asked for.
    SectorsDone,
    /// By a signal. How many of the asked-for sectors were finished before.
    Stopped { finished: u64 },
    /// What is left waits for an operator, with these failures.
    AllPaused(Vec<(String, Failure)>),
    /// Sealing threads ended by a bug of ours, and the rest could not do what was asked.
    Died,
}

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    #[error("start the async runtime: {0}")]
    Runtime(std::io::Error),
    #[error(transparent)]
    Embedded(#[from] super::manager::embedded::EmbeddedError),
    #[error("manager: {0}")]
    Manager(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Attached(String),
    #[error("{0}")]
    Parameters(String),
    #[error(transparent)]
    Pc1(#[from] super::proofs::ProofsError),
    #[error(transparent)]
    Listen(#[from] super::listen::ListenError),
    #[error("{0}")]
    Token(String),
    #[error("{0}")]
    HotReload(String),
    #[error(transparent)]
    Scratch(#[from] super::processor::scratch::ScratchError),
    #[error("{0}")]
    Program(String),
    #[error("{}; with --allow-unpinned a processor that cannot be placed runs anyway", list(.0))]
    Processors(Vec<super::processor::pool::StartError>),
}

fn list(errors: &[super::processor::pool::StartError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\nerror: ")
}

/// Asks a running daemon to stop in order. Whoever collects from the threads sees it within a tenth of a second and wakes them.
#[derive(Clone, Debug, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Asks.
    pub fn request(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
    /// Whether it was asked.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Runs `config`, which `check` has found no problem in. `finished` is called for each sector that ends, on the
/// calling thread.
pub fn run(
    config: &WorkerConfig,
    options: &Options,
    stop: &StopFlag,
    finished: &mut dyn FnMut(SectorReport),
) -> Result<Ending, DaemonError> {
    if options.rehearsal.is_none() {
        check::missing_parameters(config).map_err(DaemonError::Parameters)?;
    }
    check::unlooked_parameters(config, options).map_err(DaemonError::Parameters)?;
    let listeners = Listeners::take(config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(DaemonError::Runtime)?;
    parts::on_signals(&runtime, stop.clone());
    more_open_files("for many stores");
    let stores = own_stores(config)?;
    if options.rehearsal.is_none()
        && let Some(pc1) = check::own_pc1(config)?
    {
        // A processor does this in its own process.
        proofs::prepare_pc1(&pc1)?;
    }
    let SectorManager { piece_token, piece_origins, .. } = config.sector_manager.clone();
    let fetch = Fetch::new(piece_token, piece_origins);
    let pool = Arc::new(children::start(&config.processors, fetch, options)?);
    let parts = parts::build(config, options, &runtime, pool.clone())?;
    let seat = |(store, sealing, hot)| Seated { worker: Worker::new(store, sealing, parts.clone()), hot };
    let workers: Vec<_> = stores.into_iter().map(seat).collect();
    let board = board_of(config, &workers);
    let dest = heartbeat::dest(listeners.rpc_address(), parts::own_ip(&config.sector_manager.rpc_client));
    listeners.serve(&board, &runtime);
    let (manager, name, interval) = (parts.manager.clone(), parts.instance.clone(), config.worker.ping_interval.0);
    Heart { manager, name, dest, interval, board: board.clone() }.beat(&runtime);
    let mut service = Service::new(board.clone(), watchdog(), Instant::now());
    service.ready();
    let orders = Orders { asked: options.sectors, stop, grace: options.grace };
    let ending = threads::run(workers, &orders, &board, &mut service, finished);
    pool.stop();
    // Calls in flight are safe to repeat; stages in flight are not journaled as done.
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(ending)
}

fn more_open_files(what_for: &str) {
    if let Err(errno) = process::raise_open_files() {
        warn!("the limit of open files stays as it is, which may be too few {what_for}: {}", errno.desc());
    }
}

fn board_of(config: &WorkerConfig, workers: &[Seated]) -> Board {
    let plans = config.sealing_thread.iter().map(|thread| thread.plan.to_string());
    let locations = workers.iter().map(|seated| seated.worker.location().to_owned());
    Board::new(locations.zip(plans), Instant::now())
}

/// Takes every store or none: a thread that cannot have its disk is not discovered hours later.
fn own_stores(config: &WorkerConfig) -> Result<Vec<(Store, Sealing, HotReload)>, DaemonError> {
    let mut stores = Vec::new();
    for thread in &config.sealing_thread {
        let (hot, sealing) = HotReload::begin(thread).map_err(DaemonError::HotReload)?;
        let (store, notes) = Store::open(&thread.location, &sealing)?;
        notes.iter().for_each(|note| warn!("{note}"));
        info!(location = %store.root().display(), state = %store.record().state, "store opened");
        stores.push((store, sealing, hot));
    }
    Ok(stores)
}
