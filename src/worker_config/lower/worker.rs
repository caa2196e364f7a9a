//! `[worker]` and `[metrics]`.

use super::{doubt_long, elements, or};
use crate::worker_config::{
    addr::is_host_name,
    diagnosis::Log,
    raw,
    types::{Metrics, RpcServer, Worker},
};
use std::net::IpAddr;

pub(super) fn worker(raw: &raw::Worker, log: &mut Log) -> Worker {
    let default = Worker::default();
    if let Some(interval) = &raw.ping_interval {
        doubt_long(&interval.place, interval.value.0, log);
    }
    Worker {
        name: raw.name.as_ref().map(|at| at.value.0.clone()),
        rpc_server: rpc_server(raw, log),
        ping_interval: raw.ping_interval.as_ref().map_or(default.ping_interval, |at| at.value.0),
        local_pieces_dirs: local_pieces_dirs(raw, log),
        scan_persist_stores: elements(&raw.scan_persist_stores).unwrap_or_default(),
    }
}

fn rpc_server(raw: &raw::Worker, log: &mut Log) -> RpcServer {
    let default = RpcServer::default();
    if let Some(host) = &raw.host
        && host.value.parse::<IpAddr>().is_err()
        && !is_host_name(&host.value)
    {
        let accepted = "accepted: an IP address or a host name alone, such as \"0.0.0.0\"; the port is rpc_server.port";
        log.problem(&host.place, format!("found {:?}, which is not a host", host.value), accepted);
    }
    RpcServer {
        host: raw.host.as_ref().map_or(default.host, |at| at.value.clone()),
        port: or(&raw.port, default.port),
        token_file: raw.token_file.as_ref().map(|at| at.value.clone()),
    }
}

fn local_pieces_dirs(raw: &raw::Worker, log: &mut Log) -> Vec<std::path::PathBuf> {
    let dirs = elements(&raw.local_pieces_dirs);
    let Some(old) = &raw.local_pieces_dir else { return dirs.unwrap_or_default() };
    match dirs {
        None => {
            log.warning(&old.place, "old form", format!("write local_pieces_dirs = [{:?}]", old.value));
            vec![old.value.clone()]
        }
        Some(dirs) => {
            let found = format!("a second spelling of local_pieces_dirs: {:?}", old.value);
            let accepted = match dirs.contains(&old.value) {
                true => "local_pieces_dirs holds it already: remove this key",
                false => "it has no effect because local_pieces_dirs wins: add it there and remove this key",
            };
            log.warning(&old.place, found, accepted);
            dirs
        }
    }
}

pub(super) fn metrics(raw: &raw::Metrics, rpc: &RpcServer, log: &mut Log) -> Metrics {
    let default = Metrics::default();
    let metrics =
        Metrics { enable: or(&raw.enable, default.enable), http_listen: or(&raw.http_listen, default.http_listen) };
    // Only an address that is surely the same can be told here; the rest shows when the daemon listens.
    let same_host = rpc.host.parse::<IpAddr>().is_ok_and(|host| {
        host == metrics.http_listen.ip() || host.is_unspecified() || metrics.http_listen.ip().is_unspecified()
    });
    let same_port = rpc.port != 0 && rpc.port == metrics.http_listen.port();
    if let Some(enable) = raw.enable.as_ref().filter(|_| metrics.enable && same_host && same_port) {
        let place = raw.http_listen.as_ref().map_or(&enable.place, |at| &at.place);
        log.problem(
            place,
            format!("{} is also where worker.rpc_server listens", metrics.http_listen),
            "give one of them another port",
        );
    }
    metrics
}
