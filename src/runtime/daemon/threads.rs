//! A thread per worker, each a loop of steps; the calling thread collects what they finish.

use super::{Ending, SectorReport, StopFlag, budget::Budget};
use crate::runtime::{
    manager::wire::WorkerInfoSummary,
    sector::{Failure, Record, State},
    worker::{Step, Worker},
};
use std::{
    sync::{
        Arc, Mutex,
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use tracing::{info, warn};

/// The longest rest between two looks at an answer that is outstanding.
const REST_MAX: Duration = Duration::from_millis(100);
/// The first rest while an answer is outstanding; it doubles up to `REST_MAX`.
const REST_MIN: Duration = Duration::from_millis(1);
/// A stop wakes whoever rests, so a thread without work may rest for as long as its worker says, or is paused.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// What a thread is doing, for the ping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mood {
    #[default]
    Empty,
    Running,
    Waiting,
    Paused,
}

/// The moods of all threads.
#[derive(Clone, Debug)]
pub(super) struct Status(Arc<Mutex<Vec<Mood>>>);

impl Status {
    pub(super) fn new(threads: usize) -> Self {
        Self(Arc::new(Mutex::new(vec![Mood::default(); threads])))
    }

    fn set(&self, thread: usize, mood: Mood) {
        self.0.lock().expect("moods are only copied under the lock")[thread] = mood;
    }

    /// Counted for the manager.
    pub(super) fn summary(&self) -> WorkerInfoSummary {
        let moods = self.0.lock().expect("moods are only copied under the lock");
        let count = |mood| moods.iter().filter(|m| **m == mood).count();
        WorkerInfoSummary {
            threads: moods.len(),
            empty: count(Mood::Empty),
            paused: count(Mood::Paused),
            running: count(Mood::Running),
            waiting: count(Mood::Waiting),
            errors: count(Mood::Paused),
        }
    }
}

/// What a thread tells the collector.
enum News {
    Finished(Box<SectorReport>),
    Paused(String, Failure),
    Ended,
}

/// Runs every worker until the budget is used up, a stop is asked for, or (with a budget) all that is left is paused.
pub(super) fn run(
    workers: Vec<Worker>,
    asked: Option<u64>,
    stop: &StopFlag,
    grace: Duration,
    status: &Status,
    finished: &mut dyn FnMut(SectorReport),
) -> Ending {
    let (news, heard) = mpsc::channel();
    let threads = start(workers, asked, stop, grace, status, &news);
    drop(news);
    let (mut live, mut done, mut paused) = (threads.len(), 0, Vec::new());
    while live > 0 {
        match heard.recv_timeout(REST_MAX) {
            Ok(News::Finished(report)) => {
                done += u64::from(report.proof_verified);
                finished(*report);
            }
            Ok(News::Paused(location, failure)) => paused.push((location, failure)),
            Ok(News::Ended) => live -= 1,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if asked.is_some() && live > 0 && paused.len() == live {
            stop.request();
        }
    }
    let died = threads.into_iter().map(JoinHandle::join).filter(Result::is_err).count();
    ending(asked, done, died, stop.requested(), paused)
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
fn start(
    workers: Vec<Worker>,
    asked: Option<u64>,
    stop: &StopFlag,
    grace: Duration,
    status: &Status,
    news: &Sender<News>,
) -> Vec<JoinHandle<()>> {
    let budget = Arc::new(Budget::new(asked));
    let mut threads = Vec::new();
    for (index, worker) in workers.into_iter().enumerate() {
        let permitted = worker.record().state != State::Empty && budget.take();
        let (budget, stop, status, news) = (budget.clone(), stop.clone(), status.clone(), news.clone());
        threads.push(Thread { index, worker, budget, permitted, stop, grace, status, news });
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
    budget: Arc<Budget>,
    permitted: bool,
    stop: StopFlag,
    grace: Duration,
    status: Status,
    news: Sender<News>,
}

/// Tells the end of a thread, however it comes.
struct TellEnd(Sender<News>);

impl Drop for TellEnd {
    fn drop(&mut self) {
        // The collector may be gone when the process is ending.
        let _ = self.0.send(News::Ended);
    }
}

impl Thread {
    fn run(mut self) {
        let _end = TellEnd(self.news.clone());
        self.work();
        if self.worker.stage_in_flight().is_some() {
            // The stage goes on writing until the process ends: the store's lock must not be let go before.
            std::mem::forget(self.worker);
        }
    }

    fn work(&mut self) {
        let (mut paused, mut rest, mut stopping) = (false, REST_MIN, None);
        loop {
            if self.stop.requested() && self.may_stop(*stopping.get_or_insert_with(Instant::now)) {
                return;
            }
            self.permitted = self.permitted || self.budget.take();
            if !self.permitted {
                return;
            }
            match self.worker.step() {
                Step::Progressed => {
                    rest = REST_MIN;
                    self.status.set(self.index, Mood::Running);
                }
                Step::WaitUntil(until) => {
                    let empty = self.worker.record().state == State::Empty;
                    self.status.set(self.index, if empty { Mood::Empty } else { Mood::Waiting });
                    self.stop.rest(self.worker.left(until).min(IDLE_MAX));
                }
                Step::WaitFor(_) => {
                    thread::sleep(rest);
                    rest = (rest * 2).min(REST_MAX);
                }
                Step::Paused(failure) => {
                    self.status.set(self.index, Mood::Paused);
                    if !paused {
                        paused = true;
                        self.tell_paused(failure);
                    }
                    self.stop.rest(IDLE_MAX);
                }
                Step::Finished(record) => self.finish(&record),
            }
        }
    }

    /// Whether nothing is lost by leaving now, or waiting has gone on long enough.
    fn may_stop(&self, since: Instant) -> bool {
        match self.worker.stage_in_flight() {
            None => true,
            Some(stage) if since.elapsed() >= self.grace => {
                let location = self.worker.location().display();
                info!(stage, %location, "stopped inside a stage: it will be done again");
                true
            }
            Some(_) => false,
        }
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

    fn tell_paused(&self, failure: Failure) {
        let location = self.worker.location().display().to_string();
        warn!(location, "thread paused, restart the daemon to try again: {failure}");
        let _ = self.news.send(News::Paused(location, failure));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::worker::tests::Bench;

    fn run_on(bench: &Bench, stores: &[&str], asked: u64) -> (Ending, Vec<String>) {
        let workers: Vec<_> = stores.iter().map(|store| bench.worker_in(store)).collect();
        let (status, mut names) = (Status::new(workers.len()), Vec::new());
        let ending = run(workers, Some(asked), &StopFlag::default(), Duration::ZERO, &status, &mut |report| {
            names.push(report.name);
        });
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
