//! The metrics page of a daemon, read as Prometheus reads it.

use crate::rig::{Rig, get};
use damocles_worker::runtime::metrics::TABLE;
use std::collections::BTreeMap;

/// Samples by name and labels; panics on a line that is none.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
            (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("{line}")))
        })
        .collect()
}

#[test]
fn the_page_counts_what_has_happened() {
    let rig = Rig::failing();
    let mut daemon = rig.start();
    let page = daemon.told_address("metrics at");
    daemon.until_thread(0, "PC1Done", "Paused");
    let text = get(&page, "/metrics");
    let samples = samples(&text);
    let at = |name: &str| *samples.get(name).unwrap_or_else(|| panic!("{name} is not in\n{text}"));
    assert_eq!(at("damocles_worker_stage_duration_seconds_count{stage=\"pc1\",outcome=\"ok\"}"), 1.0);
    assert_eq!(at("damocles_worker_stage_duration_seconds_count{stage=\"pc2\",outcome=\"failed\"}"), 1.0);
    assert_eq!(at("damocles_worker_queue_wait_seconds_count{stage=\"pc2\"}"), 1.0);
    assert_eq!(at("damocles_worker_threads{state=\"paused\"}"), 1.0);
    assert_eq!(at("damocles_worker_failures_total{level=\"permanent\"}"), 1.0);
    assert_eq!(at("damocles_worker_manager_calls_total{method=\"Venus.AssignTicket\",outcome=\"ok\"}"), 1.0);
    assert_eq!(at("damocles_worker_journal_writes_total{kind=\"event\"}"), rig.journal(0).lines().count() as f64);
    assert_eq!(at("damocles_worker_sectors_total{result=\"finished\"}"), 0.0);
    assert!(at("damocles_worker_rpc_calls_total{method=\"VenusWorker.WorkerList\",outcome=\"ok\"}") >= 1.0);
    for name in samples.keys() {
        let name = name.split('{').next().unwrap();
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        assert!(TABLE.iter().any(|metric| metric.name == base || metric.name == name), "{name} is not in the table");
    }
}

#[test]
fn without_enable_nothing_listens() {
    let rig = Rig::failing();
    rig.edit("enable = true", "enable = false");
    let mut daemon = rig.start();
    daemon.until_thread(0, "PC1Done", "Paused");
    assert!(!daemon.log().contains("metrics at"), "{}", daemon.log());
}
