//! The daemon's own executor: a thread per task, under the limits of its stage, first come first served.
//!
//! Slots queue per stage, so that a stage that is full never holds up another. Nothing waits inside:
//! `granted` moves the queues on, and workers ask.

use super::{End, Executor, Output, Slot, StageError, Task};
use crate::runtime::{limit::Limits, words::panic_text};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::Instant,
};

/// Carries out one task on the calling thread.
pub type Perform = dyn Fn(Task) -> Result<Output, Flaw> + Send + Sync;

/// Why a task could not be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// For the operator, without the stage's name.
    pub reason: String,
    /// Trying the same again cannot help.
    pub permanent: bool,
}

/// Threads of this process that carry out tasks.
pub struct InProcess {
    shared: Arc<Shared>,
}

struct Shared {
    perform: Box<Perform>,
    state: Mutex<Queues>,
}

#[derive(Default)]
struct Queues {
    limits: Limits,
    waiting: BTreeMap<&'static str, VecDeque<Slot>>,
    slots: HashMap<Slot, Place>,
    next: u64,
}

enum Place {
    Waiting(&'static str),
    Granted(&'static str),
    Running,
    Ended(End),
}

impl InProcess {
    /// An executor that carries out tasks with `perform`, under `limits`.
    pub fn new(limits: Limits, perform: Box<Perform>) -> Self {
        let state = Mutex::new(Queues { limits, ..Queues::default() });
        Self { shared: Arc::new(Shared { perform, state }) }
    }
}

impl Executor for InProcess {
    fn queue(&self, stage: &'static str) -> Slot {
        let mut queues = self.shared.queues();
        queues.next += 1;
        let slot = Slot(queues.next);
        queues.slots.insert(slot, Place::Waiting(stage));
        queues.waiting.entry(stage).or_default().push_back(slot);
        slot
    }

    fn granted(&self, slot: Slot) -> bool {
        let mut queues = self.shared.queues();
        queues.grant_what_may(Instant::now());
        matches!(queues.slots.get(&slot), Some(Place::Granted(_)))
    }

    fn start(&self, slot: Slot, task: Task) {
        let mut queues = self.shared.queues();
        let place = queues.slots.insert(slot, Place::Running);
        assert!(
            matches!(place, Some(Place::Granted(stage)) if stage == task.stage()),
            "a task starts in a slot of its stage"
        );
        drop(queues);
        self.shared.spawn(slot, task);
    }

    fn poll(&self, slot: Slot) -> Option<End> {
        let mut queues = self.shared.queues();
        match queues.slots.remove(&slot).expect("a slot is polled until its end, and only then") {
            Place::Ended(end) => Some(end),
            place => {
                queues.slots.insert(slot, place);
                None
            }
        }
    }

    fn give_up(&self, slot: Slot) {
        let mut queues = self.shared.queues();
        match queues.slots.remove(&slot) {
            Some(Place::Waiting(stage)) => queues.waiting.entry(stage).or_default().retain(|waiting| *waiting != slot),
            Some(Place::Granted(stage)) => queues.limits.end(stage),
            Some(place) => {
                queues.slots.insert(slot, place);
            }
            None => {}
        }
    }
}

impl Queues {
    fn grant_what_may(&mut self, now: Instant) {
        for (stage, waiting) in &mut self.waiting {
            while let Some(slot) = waiting.front().copied()
                && self.limits.try_start(stage, now)
            {
                waiting.pop_front();
                self.slots.insert(slot, Place::Granted(stage));
            }
        }
    }
}

impl Shared {
    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn spawn(self: &Arc<Self>, slot: Slot, task: Task) {
        let stage = task.stage();
        let shared = Arc::clone(self);
        // Detached on purpose: a stage may take hours, and a stopping daemon does not wait for it. What it
        // has not finished is not in the journal and is done again.
        thread::spawn(move || {
            let start = Instant::now();
            let result = catch_unwind(AssertUnwindSafe(|| (shared.perform)(task)))
                .unwrap_or_else(|panic| {
                    let reason = format!("panicked: {}", panic_text(panic.as_ref()));
                    Err(Flaw { reason, permanent: false })
                })
                .map_err(|Flaw { reason, permanent }| StageError { stage, reason, permanent });
            let mut queues = shared.queues();
            queues.limits.end(stage);
            queues.slots.insert(slot, Place::Ended((result, start.elapsed())));
        });
    }
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

    fn started(executor: &InProcess, task: Task) -> Slot {
        let slot = executor.queue(task.stage());
        assert!(executor.granted(slot));
        executor.start(slot, task);
        slot
    }

    fn end(executor: &InProcess, slot: Slot) -> Result<Output, StageError> {
        loop {
            match executor.poll(slot) {
                Some((result, _)) => return result,
                None => thread::yield_now(),
            }
        }
    }

    #[test]
    fn a_panic_in_a_stage_is_that_stages_failure() {
        let executor = InProcess::new(Limits::default(), Box::new(|_| panic!("no such layer")));
        let error = end(&executor, started(&executor, tree_d("s"))).unwrap_err();
        assert_eq!(error.to_string(), "tree_d: panicked: no such layer");
    }

    #[test]
    fn a_full_stage_queues_in_order_and_goes_on_when_a_slot_is_free() {
        let (release, gate) = mpsc::channel::<()>();
        let gate = Mutex::new(gate);
        let limits = Limits::new(BTreeMap::from([("tree_d".into(), 1)]), BTreeMap::new());
        let perform = move |_| {
            gate.lock().unwrap().recv().expect("released");
            Ok(Output::TreeD)
        };
        let executor = InProcess::new(limits, Box::new(perform));
        let first = started(&executor, tree_d("1"));
        let (second, third) = (executor.queue("tree_d"), executor.queue("tree_d"));
        assert!(!executor.granted(second) && !executor.granted(third));
        release.send(()).unwrap();
        assert_eq!(end(&executor, first), Ok(Output::TreeD));
        assert!(!executor.granted(third), "not before the second");
        executor.give_up(second);
        assert!(executor.granted(third), "who leaves the queue makes room");
        executor.give_up(third);
        assert!(executor.granted(executor.queue("tree_d")), "a slot that was given back is free");
    }
}
