//! What others reach this daemon by: the worker's RPC and the metrics page. Taken before anything is begun.

use super::DaemonError;
use crate::{
    runtime::{
        control::Board,
        listen::{self, Bound, Limits, ListenError},
        metrics,
        rpc::{self, Service},
    },
    sys::token::{Token, TokenError},
    worker_config::WorkerConfig,
};
use axum::Router;
use std::{future::pending, net::SocketAddr};
use tokio::runtime::Runtime;
use tracing::{error, info};

const TOKEN_KEY: &str = "worker.rpc_server.token_file";

/// Every listener, with nobody served yet.
pub(super) struct Listeners {
    rpc: Bound,
    token: Option<Token>,
    metrics: Option<Bound>,
}

/// Takes or tries an address: `listen::bind` or `listen::try_bind`.
type Bind<T> = fn(&'static str, &str, u16) -> Result<T, ListenError>;

fn rpc<T>(config: &WorkerConfig, bind: Bind<T>) -> Result<T, ListenError> {
    let server = &config.worker.rpc_server;
    bind("worker.rpc_server", &server.host, server.port)
}

fn page<T>(config: &WorkerConfig, bind: Bind<T>) -> Option<Result<T, ListenError>> {
    let at = config.metrics.http_listen;
    config.metrics.enable.then(|| bind("metrics.http_listen", &at.ip().to_string(), at.port()))
}

fn token(config: &WorkerConfig) -> Result<Option<Token>, TokenError> {
    config.worker.rpc_server.token_file.as_deref().map(Token::read).transpose()
}

impl Listeners {
    /// Takes all of them or none. Counting begins with the metrics page.
    pub(super) fn take(config: &WorkerConfig) -> Result<Self, DaemonError> {
        let token = token(config).map_err(|error| DaemonError::Token(format!("{TOKEN_KEY}: {error}")))?;
        Ok(Self { token, rpc: rpc(config, listen::bind)?, metrics: page(config, listen::bind).transpose()? })
    }

    /// Where the RPC listens.
    pub(super) fn rpc_address(&self) -> SocketAddr {
        self.rpc.address
    }

    /// Answers from now on.
    pub(super) fn serve(self, board: &Board, runtime: &Runtime) {
        let elsewhere = if self.token.is_some() { "everything with the token" } else { "reading only" };
        info!(address = %self.rpc.address, elsewhere, "worker RPC");
        let service = Service::new(board.clone(), self.token);
        serve(self.rpc, rpc::router(service), runtime);
        if let Some(bound) = self.metrics {
            let page = metrics::Page::begin();
            info!(address = %bound.address, "metrics at /metrics");
            runtime.spawn(page.clone().upkeep());
            serve(bound, metrics::router(page, board.clone()), runtime);
        }
    }
}

/// Until the runtime ends.
fn serve(bound: Bound, routes: Router, runtime: &Runtime) {
    let address = bound.address;
    runtime.spawn(async move {
        if let Err(error) = bound.serve(routes, Limits::WORKER, pending()).await {
            error!(%address, "nobody is answered here: {error}");
        }
    });
}

/// What would keep the listeners from being taken: problems, and warnings about what may pass.
pub(super) fn judge(config: &WorkerConfig) -> (Vec<String>, Vec<String>) {
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    let tried = [Some(rpc(config, listen::try_bind)), page(config, listen::try_bind)];
    for error in tried.into_iter().flatten().filter_map(Result::err) {
        if error.is_in_use() {
            // By the very daemon of this file, perhaps, whose next version is being judged.
            warnings.push(format!("{error}; while it does, a start is refused"));
        } else {
            problems.push(error.to_string());
        }
    }
    if let Err(error) = token(config) {
        problems.push(format!("{TOKEN_KEY}: {error}"));
    }
    (problems, warnings)
}
