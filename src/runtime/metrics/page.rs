//! `GET /metrics`: everything that was counted, in Prometheus' text form.

use super::{
    record,
    table::{Kind, TABLE},
};
use crate::runtime::control::Board;
use axum::{Router, extract::State, http::header, response::IntoResponse, routing::get};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use std::{sync::OnceLock, time::Duration};

/// Histograms keep what nobody has read yet; so often it is put into its buckets.
const UPKEEP: Duration = Duration::from_secs(15);

/// The page, from the moment on that counting began.
#[derive(Clone)]
pub struct Page(PrometheusHandle);

impl Page {
    /// Begins to count. A process counts once, however often this is called.
    pub fn begin() -> Self {
        static PAGE: OnceLock<Page> = OnceLock::new();
        let page = PAGE.get_or_init(|| {
            let recorder = recorder();
            let page = Page(recorder.handle());
            // Fails when a program around this library counts already: then the page stays empty, and that is all.
            if ::metrics::set_global_recorder(recorder).is_err() {
                tracing::warn!("metrics are recorded elsewhere: the page stays empty");
            }
            describe();
            record::begin();
            page
        });
        page.clone()
    }

    /// The text as of now.
    pub fn text(&self, board: &Board) -> String {
        record::snapshot(board);
        self.0.render()
    }

    /// Keeps the page small while nobody reads it. Runs until it is dropped.
    pub async fn upkeep(self) {
        loop {
            tokio::time::sleep(UPKEEP).await;
            self.0.run_upkeep();
        }
    }
}

fn recorder() -> PrometheusRecorder {
    let mut builder = PrometheusBuilder::new();
    for metric in TABLE {
        if let Kind::Histogram(bounds) = metric.kind {
            let name = Matcher::Full(metric.name.to_owned());
            builder =
                builder.set_buckets_for_metric(name, bounds).expect("no histogram of the table is without buckets");
        }
    }
    builder.build_recorder()
}

fn describe() {
    for metric in TABLE {
        match metric.kind {
            Kind::Counter => ::metrics::describe_counter!(metric.name, metric.help),
            Kind::Gauge => ::metrics::describe_gauge!(metric.name, metric.help),
            Kind::Histogram(_) => ::metrics::describe_histogram!(metric.name, metric.help),
        }
    }
}

/// The routes of the page.
pub fn router(page: Page, board: Board) -> Router {
    let hint = || async { "metrics are at /metrics\n" };
    Router::new().route("/", get(hint)).route("/metrics", get(metrics)).with_state((page, board))
}

async fn metrics(State((page, board)): State<(Page, Board)>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page.text(&board))
}

/// What the page of two threads says after `happen`, on a recorder of the test's own.
#[cfg(test)]
pub(crate) fn recorded(happen: impl FnOnce()) -> String {
    let recorder = recorder();
    let page = Page(recorder.handle());
    let board = Board::new([("/a".into(), "sealer".into()), ("/b".into(), "sealer".into())], std::time::Instant::now());
    ::metrics::with_local_recorder(&recorder, || {
        describe();
        record::begin();
        happen();
        page.text(&board)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{
        manager::ManagerError,
        metrics::Gauges,
        pc1_numbers::{Numbers, TaskNumbers},
        sector::{Level, State},
        stage::Stage,
    };

    #[test]
    fn everything_of_the_table_can_be_counted_and_has_its_help() {
        let text = recorded(|| {
            let second = Duration::from_secs(1);
            record::stage_ended(Stage::Pc1.name(), true, 7 * second);
            record::queue_waited(Stage::Pc2, second);
            record::failed(Level::Temporary, State::TicketAssigned);
            record::child_restarts(Stage::C2.name(), 1);
            record::transferred(4096);
            record::sector_ended(State::Finished);
            let away = ManagerError::Unreachable { method: "Venus.WaitSeed", reason: "away".into() };
            record::manager_called::<()>("Venus.WaitSeed", &Err(away), second);
            record::journaled();
            record::snapshot_written();
            record::reloaded("broken");
            record::rpc_call("VenusWorker.WorkerList", true);
            record::rpc_call("x\"y", false);
            let counted = Numbers {
                tasks: vec![Some(TaskNumbers::default())],
                buffers: [("hugepages".to_owned(), 2)].into(),
                hugepage_files: [(0, 4)].into(),
                ..Numbers::default()
            };
            Gauges::of("pc1-0").show(&counted);
        });
        for metric in TABLE {
            assert!(text.contains(&format!("# HELP {} {}", metric.name, metric.help)), "{}:\n{text}", metric.name);
        }
        for line in [
            "damocles_worker_stage_duration_seconds_bucket{stage=\"pc1\",outcome=\"ok\",le=\"5\"} 0",
            "damocles_worker_stage_duration_seconds_bucket{stage=\"pc1\",outcome=\"ok\",le=\"15\"} 1",
            "damocles_worker_retries_total{state=\"TicketAssigned\"} 1",
            "damocles_worker_failures_total{level=\"permanent\"} 0",
            "damocles_worker_child_restarts_total{stage=\"c2\",child=\"1\"} 1",
            "damocles_worker_transferred_bytes_total 4096",
            "damocles_worker_sectors_total{result=\"aborted\"} 0",
            "damocles_worker_manager_calls_total{method=\"Venus.WaitSeed\",outcome=\"unreachable\"} 1",
            "damocles_worker_threads{state=\"idle\"} 2",
            "damocles_worker_rpc_calls_total{method=\"other\",outcome=\"error\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
