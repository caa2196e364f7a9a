//! The daemon's own executor: a thread per task, under the limits of its stage, first come first served.
//!
//! Tasks queue per stage, so that a stage that is full never holds up another. Nothing waits inside:
//! `poll` moves the queues on, and workers poll.

use super::{Executor, Output, StageError, Task, TaskState, TaskTicket};
use crate::runtime::limit::Limits;
use std::{
    any::Any,
    collections::{BTreeMap, HashMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::{Duration, Instant},
};

/// Carries out one task on the calling thread; the error is a text for the operator.
pub type Perform = dyn Fn(Task) -> Result<Output, String> + Send + Sync;

/// Threads of this process that carry out tasks.
pub struct InProcess {
    shared: Arc<Shared>,
}

struct Shared {
    perform: Box<Perform>,
    state: Mutex<Queues>,
}

/// A task's result and how long it ran.
type End = (Result<Output, StageError>, Duration);

#[derive(Default)]
struct Queues {
    limits: Limits,
    waiting: BTreeMap<&'static str, VecDeque<(u64, Task)>>,
    /// Every ticket that has not been used up, with its end once it has one.
    tickets: HashMap<u64, Option<End>>,
    started: HashMap<u64, Instant>,
    next: u64,
}

impl InProcess {
    /// An executor that carries out tasks with `perform`, under `limits`.
    pub fn new(limits: Limits, perform: Box<Perform>) -> Self {
        let state = Mutex::new(Queues { limits, next: 1, ..Queues::default() });
        Self { shared: Arc::new(Shared { perform, state }) }
    }
}

impl Executor for InProcess {
    fn submit(&self, task: Task) -> TaskTicket {
        let mut queues = self.shared.queues();
        let id = queues.next;
        queues.next += 1;
        queues.tickets.insert(id, None);
        queues.waiting.entry(task.stage()).or_default().push_back((id, task));
        self.shared.start_what_may(&mut queues);
        TaskTicket(id)
    }

    fn poll(&self, ticket: TaskTicket) -> TaskState {
        let mut queues = self.shared.queues();
        self.shared.start_what_may(&mut queues);
        let ended = queues.tickets.get(&ticket.0).expect("a ticket is polled until its end, and only then").is_some();
        if ended {
            let (result, ran) = queues.tickets.remove(&ticket.0).flatten().expect("looked at just above");
            queues.started.remove(&ticket.0);
            return TaskState::Ended(result, ran);
        }
        if queues.started.contains_key(&ticket.0) { TaskState::Running } else { TaskState::Queued }
    }
}

impl Shared {
    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.state.lock().expect("no one panics while holding the queues")
    }

    fn start_what_may(self: &Arc<Self>, queues: &mut Queues) {
        let now = Instant::now();
        let stages: Vec<_> = queues.waiting.keys().copied().collect();
        for stage in stages {
            while !queues.waiting[stage].is_empty() && queues.limits.try_start(stage, now) {
                let (id, task) = queues.waiting.get_mut(stage).and_then(VecDeque::pop_front).expect("not empty");
                queues.started.insert(id, now);
                self.spawn(id, task);
            }
        }
    }

    fn spawn(self: &Arc<Self>, id: u64, task: Task) {
        let stage = task.stage();
        let shared = Arc::clone(self);
        // Detached on purpose: a stage may take hours, and a stopping daemon does not wait for it. What it
        // has not finished is not in the journal and is done again.
        thread::spawn(move || {
            let start = Instant::now();
            let result = catch_unwind(AssertUnwindSafe(|| (shared.perform)(task)))
                .unwrap_or_else(|panic| Err(format!("panicked: {}", panic_text(panic.as_ref()))))
                .map_err(|reason| StageError { stage, reason });
            let mut queues = shared.queues();
            queues.limits.end(stage);
            queues.tickets.insert(id, Some((result, start.elapsed())));
        });
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{runtime::stage::TreeDTask, units::SealProof};
    use std::sync::mpsc;

    fn tree_d(name: &str) -> Task {
        let registered_proof = SealProof::from_number(5).unwrap();
        Task::TreeD(TreeDTask { registered_proof, staged_file: name.into(), cache_dir: "c".into() })
    }

    fn wait(executor: &InProcess, ticket: TaskTicket) -> Result<Output, StageError> {
        loop {
            match executor.poll(ticket) {
                TaskState::Ended(result, _) => return result,
                _ => thread::yield_now(),
            }
        }
    }

    #[test]
    fn a_panic_in_a_stage_is_that_stages_failure() {
        let executor = InProcess::new(Limits::default(), Box::new(|_| panic!("no such layer")));
        let error = wait(&executor, executor.submit(tree_d("s"))).unwrap_err();
        assert_eq!(error.to_string(), "tree_d: panicked: no such layer");
    }

    #[test]
    fn a_full_stage_queues_and_goes_on_when_a_slot_is_free() {
        let (release, gate) = mpsc::channel::<()>();
        let gate = Mutex::new(gate);
        let limits = Limits::new(BTreeMap::from([("tree_d".into(), 1)]), BTreeMap::new());
        let perform = move |_| gate.lock().unwrap().recv().map(|()| Output::TreeD).map_err(|e| e.to_string());
        let executor = InProcess::new(limits, Box::new(perform));
        let (first, second) = (executor.submit(tree_d("1")), executor.submit(tree_d("2")));
        assert_eq!(executor.poll(first), TaskState::Running);
        assert_eq!(executor.poll(second), TaskState::Queued);
        release.send(()).unwrap();
        assert_eq!(wait(&executor, first), Ok(Output::TreeD));
        release.send(()).unwrap();
        assert_eq!(wait(&executor, second), Ok(Output::TreeD));
    }
}
