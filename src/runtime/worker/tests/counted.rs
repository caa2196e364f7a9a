//! What is counted of a worker's life: each thing once, when it is in the journal, under its own name.

use super::*;
use crate::runtime::metrics::recorded;

/// The number of a line of the page; 0 where it is not there.
fn number(page: &str, line: &str) -> u64 {
    let found = page.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(' '));
    found.map_or(0, |text| text.parse().unwrap())
}

#[test]
fn the_check_after_pc2_is_no_c1_of_a_sector() {
    let page = recorded(|| {
        let bench = Bench::new();
        let settings = Sealing { verify_after_pc2: true, ..sealing() };
        assert!(matches!(bench.run(&mut bench.worker(&settings), 1000), Some(Step::Finished(_))));
        assert_eq!(bench.stages.done.lock().unwrap().iter().filter(|stage| **stage == "c1").count(), 2);
    });
    for stage in ["pc2", "pc2_check", "c1"] {
        let line = format!("damocles_worker_stage_duration_seconds_count{{stage=\"{stage}\",outcome=\"ok\"}}");
        assert_eq!(number(&page, &line), 1, "{stage}:\n{page}");
    }
}

#[test]
fn every_sector_that_is_given_up_counts_once_whoever_gave_it_up() {
    let unknown = || ManagerError::SectorNotFound { method: "Venus.AssignTicket", message: "gone".into() };
    let over = SectorState { id: SectorId { miner: 1000, number: 1 }, finalized: true, abort_reason: None };
    let ended = PollStateResp { state: OnChainState::ShouldAbort, desc: None };
    let told: [(&str, Result<Answer, ManagerError>); 3] = [
        ("Venus.AssignTicket", Err(unknown())),
        ("Venus.ReportState", Ok(Answer::ReportState(over))),
        ("Venus.PollPreCommitState", Ok(Answer::PollPreCommitState(ended))),
    ];
    for (method, answer) in told {
        let page = recorded(|| {
            let bench = Bench::new();
            bench.script(method, vec![answer.clone()]);
            assert!(matches!(bench.run(&mut bench.worker(&sealing()), 1000), Some(Step::Finished(_))));
        });
        assert_eq!(number(&page, "damocles_worker_failures_total{level=\"abort\"}"), 1, "{method}:\n{page}");
        assert_eq!(number(&page, "damocles_worker_sectors_total{result=\"aborted\"}"), 1, "{method}:\n{page}");
    }
}

#[test]
fn bytes_of_a_transfer_count_once_it_is_in_the_journal() {
    let page = recorded(|| {
        let bench = Bench::new();
        let mut worker = bench.worker(&sealing());
        while worker.stage_in_flight() != Some("transfer") {
            bench.run(&mut worker, 1);
        }
        worker.store.break_journal(true);
        worker.step();
        assert_eq!(worker.held_result(), Some("Persisted"));
    });
    assert_eq!(number(&page, "damocles_worker_transferred_bytes_total"), 0, "{page}");
    let page = recorded(|| {
        let bench = Bench::new();
        assert!(matches!(bench.run(&mut bench.worker(&sealing()), 1000), Some(Step::Finished(_))));
    });
    assert!(number(&page, "damocles_worker_transferred_bytes_total") > 0, "{page}");
}
