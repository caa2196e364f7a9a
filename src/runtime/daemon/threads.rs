//! A thread per worker, each a loop of steps; the calling thread collects what they finish.
//!
//! ```text
//! board ─ orders ─► thread: obey, reload, step, show ─ news ─► collector ─► reports, the service manager, the ending
//!   ▲                                     │
//!   └──────────── what it does ───────────┘
//! ```
//!
//! A stop has a bound: `grace` for stages in flight, `STOP_PATIENCE` more for threads whose disk does not answer.

use super::{
    Ending, SectorReport, StopFlag, budget::Budget, hot_reload::HotReload, long_work::LongWork, service::Service,
    turns::Desk,
};
use crate::runtime::{
    control::{Answer, Board, Doing, View, Wish},
    sector::{Failure, Record, State},
    worker::{Step, Worker},
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use tracing::{error, info, info_span, warn};

/// The longest a thread rests while an answer is outstanding, and the collector before it looks at the stop flag again.
const REST_MAX: Duration = Duration::from_millis(100);
/// The first rest while an answer is outstanding; it doubles up to `REST_MAX`.
const REST_MIN: Duration = Duration::from_millis(1);
/// The longest rest of a thread that has nothing to do. Orders, stops and its turn to ask for a sector end it; a file of its
/// settings that has changed does not.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// The call whose answer is a sector.
const ALLOCATE: &str = "Venus.AllocateSector";
/// So often a stop tries again to journal a result that could not be journaled.
const STOP_RETRY: Duration = Duration::from_secs(1);
/// A step takes milliseconds. A thread that is in one for longer hangs on its disk, and the stop goes on without it.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// What a thread tells the collector.
enum News {
    Finished(Box<SectorReport>),
    Paused(usize, String, Failure),
    Resumed(usize),
    Ended(usize),
}

/// A worker and what may change its settings between two sectors.
pub(super) struct Seated {
    pub worker: Worker,
    pub hot: HotReload,
}

/// What the threads are run with.
pub(super) struct Orders<'a> {
    /// Stop after so many finished sectors.
    pub asked: Option<u64>,
    pub stop: &'a StopFlag,
    /// How long a stop waits for stages in flight.
    pub grace: Duration,
}

/// Runs every worker until the budget is used up, a stop is asked for, or (with a budget) all that is left is paused.
pub(super) fn run(
    workers: Vec<Seated>,
    orders: &Orders,
    board: &Board,
    service: &mut Service,
    finished: &mut dyn FnMut(SectorReport),
) -> Ending {
    let (news, heard) = mpsc::channel();
    let threads = start(workers, orders, board, &news);
    drop(news);
    let (mut done, mut paused): (u64, Vec<(usize, String, Failure)>) = (0, Vec::new());
    let (mut ended, mut stopping) = (vec![false; threads.len()], None);
    let live = |ended: &[bool]| ended.iter().filter(|ended| !**ended).count();
    while live(&ended) > 0 {
        match heard.recv_timeout(REST_MAX) {
            Ok(News::Finished(report)) => {
                done += u64::from(report.proof_verified);
                finished(*report);
            }
            Ok(News::Paused(thread, location, failure)) => paused.push((thread, location, failure)),
            Ok(News::Resumed(thread)) => paused.retain(|(paused, ..)| *paused != thread),
            Ok(News::Ended(thread)) => ended[thread] = true,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        service.tick(done, Instant::now());
        if orders.asked.is_some() && live(&ended) > 0 && paused.len() == live(&ended) {
            orders.stop.request();
        }
        if orders.stop.requested() {
            let since = *stopping.get_or_insert_with(|| {
                service.stopping();
                board.wake();
                Instant::now()
            });
            if since.elapsed() > orders.grace + STOP_PATIENCE {
                error!(
                    threads = live(&ended),
                    "sealing threads do not answer, their disks may hang: stopped without them"
                );
                break;
            }
        }
    }
    // A thread that hangs is not waited for; it ends with the process, and its store is owned until then.
    let over = threads.into_iter().zip(ended).filter(|(_, ended)| *ended).map(|(thread, _)| thread);
    let died = over.map(JoinHandle::join).filter(Result::is_err).count();
    let paused = paused.into_iter().map(|(_, location, failure)| (location, failure)).collect();
    ending(orders.asked, done, died, orders.stop.requested(), paused)
}

fn ending(asked: Option<u64>, done: u64, died: usize, stopped: bool, paused: Vec<(String, Failure)>) -> Ending {
    match asked {
        Some(asked) if done >= asked => Ending::SectorsDone,
        Some(_) if !paused.is_empty() => Ending::AllPaused(paused),
        _ if stopped && died == 0 => Ending::Stopped { finished: done },
        _ => Ending::Died,
    }
}

/// Sectors that are on their way come first: they get their permits before any thread can take a new one.
fn start(workers: Vec<Seated>, orders: &Orders, board: &Board, news: &Sender<News>) -> Vec<JoinHandle<()>> {
    let (budget, desk) = (Arc::new(Budget::new(orders.asked)), Arc::new(Desk::new(board.clone())));
    let mut threads = Vec::new();
    for (index, Seated { worker, hot }) in workers.into_iter().enumerate() {
        let permitted = worker.record().state != State::Empty && budget.take();
        threads.push(Thread {
            index,
            worker,
            hot,
            budget: budget.clone(),
            permitted,
            held: false,
            paused: false,
            asked: false,
            desk: desk.clone(),
            stop: orders.stop.clone(),
            grace: orders.grace,
            board: board.clone(),
            news: news.clone(),
        });
    }
    let spawn = |thread: Thread| {
        let name = format!("sealing-{}", thread.index);
        thread::Builder::new().name(name).spawn(move || thread.run()).expect("threads can be made")
    };
    threads.into_iter().map(spawn).collect()
}

struct Thread {
    index: usize,
    worker: Worker,
    hot: HotReload,
    budget: Arc<Budget>,
    permitted: bool,
    /// An operator paused it.
    held: bool,
    /// A failure paused it.
    paused: bool,
    /// It has asked for a sector, and the answer was not seen yet.
    asked: bool,
    desk: Arc<Desk>,
    stop: StopFlag,
    grace: Duration,
    board: Board,
    news: Sender<News>,
}

/// Tells the end of a thread, however it comes.
struct TellEnd {
    thread: usize,
    board: Board,
    desk: Arc<Desk>,
    news: Sender<News>,
}

impl Drop for TellEnd {
    fn drop(&mut self) {
        let fault = "the thread ended by itself, a fault of this program: restart the daemon";
        self.desk.leave(self.thread);
        self.board.close(self.thread, thread::panicking().then_some(fault), Instant::now());
        // The collector may be gone when the process is ending.
        let _ = self.news.send(News::Ended(self.thread));
    }
}

impl Thread {
    fn run(mut self) {
        let (board, desk) = (self.board.clone(), self.desk.clone());
        let _end = TellEnd { thread: self.index, board, desk, news: self.news.clone() };
        let _span = info_span!("thread", n = self.index).entered();
        let worked = catch_unwind(AssertUnwindSafe(|| self.work()));
        if self.worker.stage_in_flight().is_some() {
            // The stage goes on writing until the process ends: the store's lock must not be let go before.
            std::mem::forget(self.worker);
        } else {
            drop(self.worker);
        }
        if let Err(panic) = worked {
            resume_unwind(panic);
        }
    }

    fn work(&mut self) {
        let (mut rest, mut stopping, mut long) = (REST_MIN, None, LongWork::default());
        loop {
            if self.stop.requested() {
                let since = *stopping.get_or_insert_with(Instant::now);
                self.worker.hurry();
                if self.may_stop(since) {
                    return;
                }
            }
            self.permitted = self.permitted || self.budget.take();
            if !self.permitted {
                return;
            }
            self.obey();
            let step = self.step();
            self.show(step.as_ref());
            long.tell(self.worker.stage_in_flight(), self.worker.sector(), Instant::now());
            match step {
                Some(Step::Progressed) => rest = REST_MIN,
                Some(Step::WaitFor(_)) => {
                    self.board.rest(self.index, rest);
                    rest = (rest * 2).min(REST_MAX);
                }
                Some(Step::WaitUntil(until)) => {
                    let most = if stopping.is_some() { STOP_RETRY } else { IDLE_MAX };
                    self.board.rest(self.index, self.worker.left(until).min(most));
                }
                Some(Step::Paused(failure)) => {
                    self.tell_paused(failure);
                    self.board.rest(self.index, IDLE_MAX);
                }
                Some(Step::Finished(record)) => self.finish(&record),
                None => self.board.rest(self.index, IDLE_MAX),
            }
        }
    }

    /// One step; `None` where a pause or a stop leaves nothing to do, or where another asks for a sector.
    fn step(&mut self) -> Option<Step> {
        if self.held || self.stop.requested() {
            self.desk.leave(self.index);
            return self.worker.settle();
        }
        if self.worker.between_sectors() {
            if let Some(sealing) = self.hot.look() {
                self.worker.set_sealing(sealing);
            }
            // One that a failure has paused asks for nothing.
            if !self.paused && !self.desk.may_ask(self.index, self.worker.sealing()) {
                return None;
            }
        }
        let step = self.worker.step();
        let asks = self.worker.busy_with() == Some(ALLOCATE);
        if self.asked && !asks {
            self.desk.asked(self.index, self.worker.record().state != State::Empty);
        }
        self.asked = asks;
        Some(step)
    }

    fn obey(&mut self) {
        while let Some(order) = self.board.next(self.index) {
            let answer = match order.wish {
                Wish::Pause => Ok(self.pause()),
                Wish::Resume(state) => self.resume(state),
            };
            // Whoever asks next sees what was answered.
            self.show(None);
            order.answer(answer);
        }
    }

    fn pause(&mut self) -> bool {
        if !self.held {
            self.held = true;
            info!("paused by an operator; a stage that is being worked on goes on");
        }
        true
    }

    fn resume(&mut self, state: Option<State>) -> Answer {
        if !self.held && !self.paused {
            return Ok(false);
        }
        self.worker.resume(state)?;
        info!("resumed by an operator");
        if self.paused {
            let _ = self.news.send(News::Resumed(self.index));
        }
        (self.held, self.paused) = (false, false);
        Ok(true)
    }

    /// Tells the board what the thread does after a step; `None`: what it did before goes on.
    fn show(&self, step: Option<&Step>) {
        let doing = match (step, self.worker.busy_with()) {
            _ if self.held || self.paused => Doing::Paused,
            (Some(Step::Paused(_)), _) => Doing::Paused,
            (Some(Step::WaitUntil(_)), _) => Doing::Waiting,
            (_, Some(busy)) => Doing::Running(busy),
            // Between two things, or queued for a slot.
            _ => Doing::Waiting,
        };
        let view = View {
            doing,
            sector: self.worker.sector(),
            state: self.worker.record().state,
            stage: self.worker.stage(),
            last_error: self.worker.last_error().map(str::to_owned),
        };
        self.board.show(self.index, view, Instant::now());
    }

    /// Whether nothing is lost by leaving now, or waiting has gone on long enough.
    fn may_stop(&self, since: Instant) -> bool {
        let Some(at_risk) = self.worker.stage_in_flight().or_else(|| self.worker.held_result()) else { return true };
        if since.elapsed() < self.grace {
            return false;
        }
        let location = self.worker.location().display();
        match self.worker.held_result() {
            Some(result) => {
                warn!(result, %location, "stopped with a result that is not journaled: the stage will be done again");
            }
            None => info!(stage = at_risk, %location, "stopped inside a stage: it will be done again"),
        }
        true
    }

    fn finish(&mut self, record: &Record) {
        self.permitted = false;
        let report = SectorReport::of(record, self.worker.stores());
        if !report.as_ref().is_some_and(|report| report.proof_verified) {
            self.budget.give_back();
        }
        if let Some(report) = report {
            let _ = self.news.send(News::Finished(Box::new(report)));
        }
    }

    fn tell_paused(&mut self, failure: Failure) {
        if self.paused {
            return;
        }
        self.paused = true;
        self.desk.leave(self.index);
        let location = self.worker.location().display().to_string();
        let index = self.index;
        warn!(location, "thread paused; remove the cause, then `damocles-worker worker resume {index}`: {failure}");
        let _ = self.news.send(News::Paused(index, location, failure));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::worker::tests::Bench;

    fn seated(bench: &Bench, stores: &[&str]) -> (Vec<Seated>, Board) {
        let workers: Vec<_> = stores.iter().map(|store| bench.worker_in(store)).collect();
        let threads = workers.iter().map(|worker| (worker.location().to_owned(), "sealer".to_owned()));
        let board = Board::new(threads, Instant::now());
        let seat = |worker: Worker| Seated { hot: HotReload::none(worker.location()), worker };
        (workers.into_iter().map(seat).collect(), board)
    }

    fn run_on(bench: &Bench, stores: &[&str], asked: u64) -> (Ending, Vec<String>) {
        let (workers, board) = seated(bench, stores);
        let (stop, mut names) = (StopFlag::default(), Vec::new());
        let orders = Orders { asked: Some(asked), stop: &stop, grace: Duration::ZERO };
        let mut service = Service::new(board.clone(), None, Instant::now());
        let ending = run(workers, &orders, &board, &mut service, &mut |report| names.push(report.name));
        (ending, names)
    }

    #[test]
    fn a_panicking_thread_is_not_a_finished_sector() {
        let bench = Bench::new();
        bench.panic_at("Venus.AssignTicket");
        let (ending, names) = run_on(&bench, &["a"], 1);
        assert_eq!((ending, names.len()), (Ending::Died, 0));
    }

    #[test]
    fn a_panicking_thread_gives_its_slot_back() {
        let bench = Bench::new();
        // Asked in a slot of pc1.
        bench.panic_at("Venus.AssignTicket");
        run_on(&bench, &["a"], 1);
        assert_eq!(bench.given_up(), ["pc1"]);
    }

    /// Runs a thread of this worker that is asked to stop before its first step.
    fn stopped(worker: Worker, grace: Duration) -> Ending {
        let board = Board::new([(worker.location().to_owned(), "sealer".to_owned())], Instant::now());
        let (stop, seat) = (StopFlag::default(), Seated { hot: HotReload::none(worker.location()), worker });
        stop.request();
        let mut service = Service::new(board.clone(), None, Instant::now());
        run(vec![seat], &Orders { asked: None, stop: &stop, grace }, &board, &mut service, &mut |_| {})
    }

    #[test]
    fn a_stop_journals_a_result_that_was_kept_for_a_later_try() {
        let bench = Bench::new();
        let mut worker = bench.holding_a_result("a");
        worker.mend_journal();
        assert_eq!(stopped(worker, Duration::ZERO), Ending::Stopped { finished: 0 });
        assert_eq!(bench.worker_in("a").record().state, State::PC1Done, "not done again after the restart");
    }

    #[test]
    fn a_stop_waits_for_the_check_of_what_pc2_made_as_for_any_stage() {
        let bench = Bench::new();
        let worker = bench.holding_an_unchecked_pc2("a");
        assert_eq!(stopped(worker, Duration::from_secs(600)), Ending::Stopped { finished: 0 });
        assert_eq!(bench.worker_in("a").record().state, State::PC2Done, "not done again after the restart");
    }

    #[test]
    fn a_result_that_nothing_can_journal_holds_a_stop_no_longer_than_its_bound() {
        let bench = Bench::new();
        assert_eq!(stopped(bench.holding_a_result("a"), Duration::ZERO), Ending::Stopped { finished: 0 });
        assert_eq!(bench.worker_in("a").record().state, State::TicketAssigned);
    }

    #[test]
    fn what_is_left_paused_is_told_with_its_place() {
        let bench = Bench::new();
        bench.refuse_persisted_files();
        let (ending, _) = run_on(&bench, &["a", "b"], 2);
        let Ending::AllPaused(paused) = ending else { panic!("{ending:?}") };
        assert_eq!(paused.len(), 2);
        assert!(paused.iter().any(|(location, _)| location.ends_with("/a")));
    }

    #[test]
    fn a_sector_on_its_way_comes_before_a_new_one() {
        let bench = Bench::new();
        let mut begun = bench.worker_in("b");
        while begun.record().state != State::PC1Done {
            begun.step();
        }
        drop(begun);
        bench.refuse_persisted_files();
        let (ending, _) = run_on(&bench, &["a", "b"], 1);
        let Ending::AllPaused(paused) = ending else { panic!("{ending:?}") };
        assert!(paused.len() == 1 && paused[0].0.ends_with("/b"), "{paused:?}");
    }

    /// Runs eight threads until `holds` of what they show, and says how often they asked for a sector.
    fn asks_until(bench: &Bench, holds: impl Fn(&Board) -> bool + Sync) -> usize {
        let (workers, board) = seated(bench, &["a", "b", "c", "d", "e", "f", "g", "h"]);
        let (stop, watched) = (StopFlag::default(), board.clone());
        let orders = Orders { asked: None, stop: &stop, grace: Duration::ZERO };
        let mut service = Service::new(board.clone(), None, Instant::now());
        thread::scope(|scope| {
            scope.spawn(|| {
                while !holds(&watched) {
                    thread::sleep(REST_MIN);
                }
                stop.request();
            });
            run(workers, &orders, &board, &mut service, &mut |_| {});
        });
        bench.asks(ALLOCATE)
    }

    /// Time stands still in this bench: who has asked once does not ask again.
    #[test]
    fn of_threads_without_work_one_asks() {
        let bench = Bench::new();
        bench.nothing_to_seal();
        let all_rest = |board: &Board| board.list(Instant::now()).iter().all(|told| told.view.doing == Doing::Waiting);
        assert_eq!(asks_until(&bench, |board| all_rest(board) && bench.asks(ALLOCATE) > 0), 1);
    }

    #[test]
    fn of_threads_with_work_all_have_it_at_once() {
        let all_have_one = |board: &Board| board.list(Instant::now()).iter().all(|told| told.view.sector.is_some());
        let bench = Bench::new();
        bench.refuse_persisted_files();
        assert_eq!(asks_until(&bench, all_have_one), 8);
    }

    #[test]
    fn the_ending_follows_from_what_was_asked_and_done() {
        let paused = || vec![("s".to_owned(), Failure::permanent("x"))];
        assert_eq!(ending(Some(2), 2, 0, false, vec![]), Ending::SectorsDone);
        assert_eq!(ending(Some(2), 1, 0, true, vec![]), Ending::Stopped { finished: 1 });
        assert_eq!(ending(Some(2), 1, 1, false, vec![]), Ending::Died);
        assert_eq!(ending(Some(2), 1, 0, true, paused()), Ending::AllPaused(paused()));
        assert_eq!(ending(None, 7, 0, true, paused()), Ending::Stopped { finished: 7 });
        assert_eq!(ending(None, 7, 2, true, vec![]), Ending::Died);
    }
}
