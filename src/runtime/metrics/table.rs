//! Every metric: name, kind, labels, help. docs/metrics.md says the same for operators, and tests/tidy compares.

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It comes and goes.
    Gauge,
    /// Durations in seconds, with these upper bounds.
    Histogram(&'static [f64]),
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

/// From a tree-d of 2 KiB to a PC1 of 64 GiB on an old processor.
const STAGE_SECONDS: &[f64] = &[
    0.1, 1.0, 5.0, 15.0, 60.0, 180.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 10800.0, 14400.0, 21600.0, 28800.0,
    43200.0,
];
/// From an embedded manager to one that is about to time out.
const CALL_SECONDS: &[f64] = &[0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

pub const BUILD_INFO: &str = "damocles_worker_build_info";
pub const THREADS: &str = "damocles_worker_threads";
pub const STAGE_DURATION: &str = "damocles_worker_stage_duration_seconds";
pub const QUEUE_WAIT: &str = "damocles_worker_queue_wait_seconds";
pub const RETRIES: &str = "damocles_worker_retries_total";
pub const FAILURES: &str = "damocles_worker_failures_total";
pub const CHILD_RESTARTS: &str = "damocles_worker_child_restarts_total";
pub const TRANSFERRED: &str = "damocles_worker_transferred_bytes_total";
pub const SECTORS: &str = "damocles_worker_sectors_total";
pub const MANAGER_CALLS: &str = "damocles_worker_manager_calls_total";
pub const MANAGER_CALL_DURATION: &str = "damocles_worker_manager_call_duration_seconds";
pub const JOURNAL_WRITES: &str = "damocles_worker_journal_writes_total";
pub const RELOADS: &str = "damocles_worker_config_reloads_total";
pub const RPC_CALLS: &str = "damocles_worker_rpc_calls_total";
pub const PC1_SECTOR: &str = "damocles_worker_pc1_sector";
pub const PC1_LAYER: &str = "damocles_worker_pc1_layer";
pub const PC1_LAYERS: &str = "damocles_worker_pc1_layers";
pub const PC1_LAYER_PART: &str = "damocles_worker_pc1_layer_part";
pub const PC1_NODES_PER_SECOND: &str = "damocles_worker_pc1_nodes_per_second";
pub const PC1_SECONDS_LEFT: &str = "damocles_worker_pc1_seconds_left";
pub const PC1_LAYERS_HASHED: &str = "damocles_worker_pc1_layers_hashed_total";
pub const PC1_BUFFERS: &str = "damocles_worker_pc1_buffers_total";
pub const PC1_HUGEPAGE_FILES: &str = "damocles_worker_pc1_hugepage_files";

/// All of them.
pub const TABLE: &[Metric] = &[
    metric(BUILD_INFO, Kind::Gauge, &["version"], "always 1; the version is a label"),
    metric(THREADS, Kind::Gauge, &["state"], "sealing threads by what they do: idle, running, waiting, paused"),
    metric(
        STAGE_DURATION,
        Kind::Histogram(STAGE_SECONDS),
        &["stage", "outcome"],
        "how long a task of a stage ran, by whether it ended well",
    ),
    metric(QUEUE_WAIT, Kind::Histogram(STAGE_SECONDS), &["stage"], "how long a task waited for its slot"),
    metric(RETRIES, Kind::Counter, &["state"], "temporary failures that are tried again, by the sector's state"),
    metric(FAILURES, Kind::Counter, &["level"], "failures by their consequence: temporary, permanent, critical, abort"),
    metric(CHILD_RESTARTS, Kind::Counter, &["stage", "child"], "external processors that fell and are started again"),
    metric(TRANSFERRED, Kind::Counter, &[], "bytes of sectors brought into persistent stores"),
    metric(SECTORS, Kind::Counter, &["result"], "sectors that have ended: finished, aborted"),
    metric(
        MANAGER_CALLS,
        Kind::Counter,
        &["method", "outcome"],
        "calls to the sector manager: ok, refused, not_found, unreachable",
    ),
    metric(MANAGER_CALL_DURATION, Kind::Histogram(CALL_SECONDS), &["method"], "how long a call to the manager took"),
    metric(JOURNAL_WRITES, Kind::Counter, &["kind"], "writes that were synced to a store: event, snapshot"),
    metric(RELOADS, Kind::Counter, &["outcome"], "config.toml of a store: taken, removed, broken"),
    metric(RPC_CALLS, Kind::Counter, &["method", "outcome"], "calls of the worker's own RPC: ok, error"),
    metric(PC1_SECTOR, Kind::Gauge, &["processor", "task"], "the number of the sector that a pc1 task hashes"),
    metric(PC1_LAYER, Kind::Gauge, &["processor", "task"], "the layer in work, from 1"),
    metric(PC1_LAYERS, Kind::Gauge, &["processor", "task"], "how many layers it will be"),
    metric(PC1_LAYER_PART, Kind::Gauge, &["processor", "task"], "the part of that layer that is done, from 0 to 1"),
    metric(PC1_NODES_PER_SECOND, Kind::Gauge, &["processor", "task"], "nodes hashed a second since the layer began"),
    metric(PC1_SECONDS_LEFT, Kind::Gauge, &["processor", "task"], "seconds until the last layer, at that rate"),
    metric(PC1_LAYERS_HASHED, Kind::Counter, &["processor"], "layers finished since the daemon began"),
    metric(
        PC1_BUFFERS,
        Kind::Counter,
        &["processor", "memory"],
        "rooms for a layer that were taken, by where they lie",
    ),
    metric(
        PC1_HUGEPAGE_FILES,
        Kind::Gauge,
        &["processor", "node"],
        "hugepage files that could be used when the processor began",
    ),
];

const fn metric(name: &'static str, kind: Kind, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind, labels, help }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_say_what_they_count() {
        for (index, metric) in TABLE.iter().enumerate() {
            assert!(metric.name.starts_with("damocles_worker_"), "{}", metric.name);
            assert!(TABLE[..index].iter().all(|other| other.name != metric.name), "{} twice", metric.name);
            let (total, seconds) = (metric.name.ends_with("_total"), metric.name.ends_with("_seconds"));
            match metric.kind {
                Kind::Counter => assert!(total, "{}", metric.name),
                Kind::Histogram(bounds) => {
                    assert!(seconds && bounds.is_sorted_by(|a, b| a < b), "{}", metric.name);
                }
                Kind::Gauge => assert!(!total, "{}", metric.name),
            }
        }
    }
}
