//! Sectors with deals: taken, added, compared, and crashed at every step.

use super::*;

const DATA: PieceCid = PieceCid([7; 32]);

pub(super) fn deal(deal_id: u64, size: u64) -> SectorPiece {
    SectorPiece {
        piece: PieceInfoV2 { size, piece_cid: CidJson { cid: DATA.to_string() } },
        deal_info: DealInfoV2 { deal_id, allocation_id: 0, payload_size: 100, is_builtin_market: true },
    }
}

fn with_deals() -> Sealing {
    Sealing { enable_deals: true, ..sealing() }
}

impl Bench {
    /// Every ask for deals is answered with these.
    fn give_deals(&self, deals: Vec<SectorPiece>) {
        self.script("Venus.AcquireDeals", vec![Ok(Answer::AcquireDeals(Some(deals))); 100]);
    }
}

#[test]
fn a_sector_with_deals_has_their_pieces_and_its_own_tree_d() {
    let bench = Bench::new();
    bench.give_deals(vec![deal(1, 256), deal(2, 1024)]);
    let mut worker = bench.worker(&with_deals());
    worker.parts.static_tree_d = Arc::new([(crate::units::SectorSize::KiB2, "/nonexistent".into())].into());
    let Some(Step::Finished(record)) = bench.run(&mut worker, 1000) else { panic!("not finished") };
    assert_eq!(*bench.stages.done.lock().unwrap(), STAGES, "tree_d is built: the static one is of empty sectors");
    assert_eq!(bench.methods()[1], "Venus.AcquireDeals");
    assert_eq!(record.deals, [deal(1, 256), deal(2, 1024)]);
    let sizes: Vec<_> = record.pieces.iter().map(|piece| piece.size / 127 * 128).collect();
    assert_eq!(sizes, [256, 256, 512, 1024], "zeros between the deals");
    assert_eq!(record.pieces[0].commitment, DATA.0);
}

#[test]
fn without_deals_a_sector_stays_empty_or_waits_for_some() {
    let bench = Bench::new();
    bench.script("Venus.AcquireDeals", vec![Ok(Answer::AcquireDeals(None))]);
    let Some(Step::Finished(record)) = bench.run(&mut bench.worker(&with_deals()), 1000) else {
        panic!("not finished")
    };
    assert_eq!((record.deals.len(), record.pieces.len()), (0, 1));

    let bench = Bench::new();
    let none = vec![Ok(Answer::AcquireDeals(None)), Ok(Answer::AcquireDeals(Some(vec![])))];
    let deals = Ok(Answer::AcquireDeals(Some(vec![deal(1, 2048)])));
    bench.script("Venus.AcquireDeals", [vec![deals], none].concat());
    let settings = Sealing { disable_cc: true, ..with_deals() };
    let Some(Step::Finished(record)) = bench.run(&mut bench.worker(&settings), 1000) else { panic!("not finished") };
    assert_eq!(record.deals.len(), 1);
    assert_eq!(bench.methods().iter().filter(|method| **method == "Venus.AcquireDeals").count(), 3);
}

#[test]
fn deals_that_no_sector_can_hold_pause_the_thread_with_their_names() {
    for (deals, said) in [
        (vec![deal(4, 4096)], "beyond the sector's 2048"),
        (vec![deal(4, 128), deal(5, 128)], "sealing.max_deals is 1"),
    ] {
        let bench = Bench::new();
        bench.give_deals(deals);
        let settings = Sealing { max_deals: Some(1), ..with_deals() };
        let Some(Step::Paused(failure)) = bench.run(&mut bench.worker(&settings), 1000) else { panic!("not paused") };
        assert!(failure.level == Level::Permanent && failure.reason.contains(said), "{failure}");
    }
}

#[test]
fn another_piece_than_the_deals_is_never_sealed() {
    let bench = Bench::new();
    bench.give_deals(vec![deal(6, 2048)]);
    let other = PieceCid([9; 32]);
    *bench.pieces.other.lock().unwrap() = Some(other);
    let mut worker = bench.worker(&with_deals());
    let Some(Step::Paused(failure)) = bench.run(&mut worker, 1000) else { panic!("not paused") };
    let named = format!("deal 6: piece {DATA}: what was added is another piece, {other} (from {other})");
    assert!(failure.level == Level::Permanent && failure.reason.contains(&named), "{failure}");
    assert_eq!(worker.record().state, State::DealsAcquired, "nothing of it was kept");
    drop(worker);
    *bench.pieces.other.lock().unwrap() = None;
    let Some(Step::Finished(record)) = bench.run(&mut bench.worker(&with_deals()), 1000) else {
        panic!("not finished")
    };
    assert_eq!(record.pieces[0].commitment, DATA.0);
}

#[test]
fn a_piece_that_is_nowhere_is_looked_for_again() {
    let bench = Bench::new();
    bench.give_deals(vec![deal(6, 2048)]);
    *bench.pieces.missing.lock().unwrap() = true;
    let mut worker = bench.worker(&with_deals());
    let Some(Step::Paused(failure)) = bench.run(&mut worker, 1000) else { panic!("not paused") };
    assert_eq!(failure.reason, "deal 6: it is nowhere (tried 3 times)");
    drop(worker);
    *bench.pieces.missing.lock().unwrap() = false;
    assert!(matches!(bench.run(&mut bench.worker(&with_deals()), 1000), Some(Step::Finished(_))));
}

#[test]
fn a_crash_after_any_step_with_deals_repeats_nothing_that_was_journaled() {
    let mut crashed_at = 0;
    for steps in 0.. {
        let bench = Bench::new();
        bench.give_deals(vec![deal(1, 256), deal(2, 1024)]);
        let mut first = bench.worker(&with_deals());
        if bench.run(&mut first, steps).is_some() {
            break;
        }
        let (deals, pieces) = (first.record().deals.clone(), first.record().pieces.clone());
        let journaled: Vec<_> = first.record().seconds.keys().cloned().collect();
        drop(first);
        bench.stages.done.lock().unwrap().clear();
        bench.manager.calls.lock().unwrap().clear();
        let mut second = bench.worker(&with_deals());
        assert_eq!((&second.record().deals, &second.record().pieces), (&deals, &pieces), "crash after {steps} steps");
        let ended = bench.run(&mut second, 1000);
        let Some(Step::Finished(record)) = ended else { panic!("crash after {steps} steps: {ended:?}") };
        assert_eq!(record.deals.len(), 2, "crash after {steps} steps");
        let asked = bench.methods().contains(&"Venus.AcquireDeals");
        assert_eq!(asked, deals.is_empty(), "{steps}: asked for deals again only when none were journaled");
        let repeated = bench.stages.done.lock().unwrap();
        assert!(
            journaled.iter().all(|stage| !repeated.contains(&stage.as_str())),
            "{steps}: {journaled:?} {repeated:?}"
        );
        crashed_at = steps;
    }
    assert!(crashed_at > 40, "a sector takes many steps: {crashed_at}");
}
