//! The heartbeat: tells the manager regularly that this worker is there, where it can be asked, and what its threads do.
//!
//! Nothing depends on it. A manager that does not hear it is told of once, and once more when it does again.

use crate::runtime::{
    control::Board,
    manager::{Call, SectorManager, wire::WorkerInfo},
};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::runtime::Runtime;
use tracing::{debug, info, warn};

/// How often an outstanding answer is looked for.
const POLL: Duration = Duration::from_millis(100);

/// What does not change between two beats.
pub(super) struct Heart {
    pub manager: Arc<dyn SectorManager>,
    pub name: String,
    /// Where the worker's RPC is reached from the manager.
    pub dest: String,
    pub interval: Duration,
    pub board: Board,
}

/// Where others reach what listens at `bound`: all addresses means the one that reaches the manager.
pub(super) fn dest(bound: SocketAddr, own: IpAddr) -> String {
    let ip = if bound.ip().is_unspecified() { own } else { bound.ip() };
    SocketAddr::new(ip, bound.port()).to_string()
}

impl Heart {
    /// Beats until the runtime ends, first after one interval.
    pub(super) fn beat(self, runtime: &Runtime) {
        runtime.spawn(async move {
            let mut missed = false;
            loop {
                tokio::time::sleep(self.interval).await;
                let beat = self.once().await;
                match &beat {
                    Ok(()) if missed => info!("the manager hears this worker's pings again"),
                    Err(error) if !missed => warn!(error, "the manager does not hear this worker's pings; tried again"),
                    other => debug!(?other, "ping"),
                }
                missed = beat.is_err();
            }
        });
    }

    async fn once(&self) -> Result<(), String> {
        let ticket = self.manager.submit(Call::WorkerPing(WorkerInfo {
            name: self.name.clone(),
            dest: self.dest.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: self.board.summary(),
        }));
        loop {
            match self.manager.poll(ticket) {
                Some(answer) => return answer.map(drop).map_err(|error| error.to_string()),
                None => tokio::time::sleep(POLL).await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::manager::{Answer, CallTicket, ManagerError};
    use std::{sync::Mutex, time::Instant};

    #[test]
    fn the_address_is_one_that_can_be_reached() {
        let dest = |bound: &str| dest(bound.parse().unwrap(), "10.0.0.7".parse().unwrap());
        assert_eq!(dest("0.0.0.0:17890"), "10.0.0.7:17890");
        assert_eq!(dest("[::]:17890"), "10.0.0.7:17890");
        assert_eq!(dest("192.168.1.5:40001"), "192.168.1.5:40001");
        assert_eq!(dest("[fe80::1]:1"), "[fe80::1]:1");
    }

    /// Keeps what it hears.
    #[derive(Default)]
    struct Ear(Mutex<Vec<Call>>);

    impl SectorManager for Ear {
        fn submit(&self, call: Call) -> CallTicket {
            self.0.lock().unwrap().push(call);
            CallTicket(0)
        }
        fn poll(&self, _: CallTicket) -> Option<Result<Answer, ManagerError>> {
            Some(Ok(Answer::Done))
        }
    }

    #[test]
    fn a_beat_tells_name_address_version_and_threads() {
        let (ear, runtime) = (Arc::new(Ear::default()), Runtime::new().unwrap());
        let board = Board::new([("/a".into(), "sealer".into())], Instant::now());
        let (name, dest, interval) = ("w".into(), "10.0.0.7:17890".into(), Duration::from_millis(1));
        Heart { manager: ear.clone(), name, dest, interval, board }.beat(&runtime);
        let heard = loop {
            if let Some(heard) = ear.0.lock().unwrap().first().cloned() {
                break heard;
            }
            std::thread::yield_now();
        };
        let Call::WorkerPing(info) = heard else { panic!("{heard:?}") };
        assert_eq!((&*info.name, &*info.dest, &*info.version), ("w", "10.0.0.7:17890", env!("CARGO_PKG_VERSION")));
        assert_eq!((info.summary.threads, info.summary.empty), (1, 1));
    }
}
