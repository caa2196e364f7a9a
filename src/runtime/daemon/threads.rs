//! A thread per worker, each a loop of steps; the calling thread collects what they finish.

use super::{Ending, SectorReport, StopFlag, budget::Budget};
use crate::runtime::{
    manager::wire::WorkerInfoSummary,
    sector::{Failure, State},
    worker::{PersistentStore, Step, Worker},
};
use std::{
    sync::{
        Arc, Mutex,
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};
use tracing::{info, warn};

/// The longest a thread rests before it looks at the stop flag again.
const REST_MAX: Duration = Duration::from_millis(100);
/// The first rest while an answer is outstanding; it doubles up to `REST_MAX`.
const REST_MIN: Duration = Duration::from_millis(1);

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
    budget: Budget,
    stop: &StopFlag,
    grace: Duration,
    status: &Status,
    finished: &mut dyn FnMut(SectorReport),
) -> Ending {
    let (news, heard) = mpsc::channel();
    let budget = Arc::new(budget);
    let limited = budget.is_limited();
    let threads: Vec<_> = workers
        .into_iter()
        .enumerate()
        .map(|(index, worker)| {
            let thread = Thread {
                index,
                worker,
                budget: budget.clone(),
                stop: stop.clone(),
                grace,
                status: status.clone(),
                news: news.clone(),
            };
            thread::Builder::new()
                .name(format!("sealing-{index}"))
                .spawn(move || thread.run())
                .expect("threads can be made")
        })
        .collect();
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
        if limited && live > 0 && paused.len() == live {
            stop.request();
        }
    }
    for thread in threads {
        if thread.join().is_err() {
            warn!("a sealing thread panicked; its journal stands at the last finished step");
        }
    }
    if !paused.is_empty() && limited {
        Ending::AllPaused(paused)
    } else if stop.requested() {
        Ending::Stopped { finished: done }
    } else {
        Ending::SectorsDone
    }
}

struct Thread {
    index: usize,
    worker: Worker,
    budget: Arc<Budget>,
    stop: StopFlag,
    grace: Duration,
    status: Status,
    news: Sender<News>,
}

impl Thread {
    fn run(mut self) {
        self.work();
        // The collector may be gone when the process is ending.
        let _ = self.news.send(News::Ended);
    }

    fn work(&mut self) {
        let (mut permitted, mut paused, mut rest, mut stopping) = (false, false, REST_MIN, None);
        loop {
            if self.stop.requested() {
                let since = *stopping.get_or_insert_with(Instant::now);
                if self.worker.stage_in_flight().is_none() {
                    return;
                }
                if since.elapsed() >= self.grace {
                    let stage = self.worker.stage_in_flight();
                    info!(stage, location = %self.worker.location().display(), "stopped inside a stage: it will be done again");
                    return;
                }
            }
            if !permitted {
                permitted = self.budget.take();
                if !permitted {
                    return;
                }
            }
            match self.worker.step() {
                Step::Progressed => {
                    rest = REST_MIN;
                    self.status.set(self.index, Mood::Running);
                }
                Step::WaitUntil(until) => {
                    let empty = self.worker.record().state == State::Empty;
                    self.status.set(self.index, if empty { Mood::Empty } else { Mood::Waiting });
                    let left = until.duration_since(SystemTime::now()).unwrap_or_default();
                    thread::sleep(left.min(REST_MAX));
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
                    thread::sleep(REST_MAX);
                }
                Step::Finished(record) => {
                    permitted = false;
                    let report = SectorReport::of(&record, self.stores());
                    if !report.as_ref().is_some_and(|report| report.proof_verified) {
                        self.budget.give_back();
                    }
                    if let Some(report) = report {
                        let _ = self.news.send(News::Finished(Box::new(report)));
                    }
                }
            }
        }
    }

    fn stores(&self) -> &[PersistentStore] {
        self.worker.stores()
    }

    fn tell_paused(&self, failure: Failure) {
        let location = self.worker.location().display().to_string();
        warn!(location, "thread paused, restart the daemon to try again: {failure}");
        let _ = self.news.send(News::Paused(location, failure));
    }
}
