//! The executor: everything that may do stage work in this daemon, under the limits of the configuration.
//!
//! ```text
//! queue ─► Ledger ─► seat ─ start ─┬─ in the daemon: a thread per task
//!                      ▲           └─ child n of the stage: a line in its pipe
//!                      └──────────────── end: the seat is free, the worker polls what came of it
//! ```
//!
//! Nothing waits inside: `granted` moves the queues on, and workers ask. A task whose child has fallen ends as a
//! temporary failure of that task; the sector goes on from its journal.

use super::{
    End, Executor, Output, Perform, Slot, StageError, Task,
    child::{Child, Events, Plan, Role},
    ledger::{Ledger, Site, Start},
    perform_guarded,
};
use crate::runtime::{
    limit::{Health, Rules},
    metrics,
    stage::Stage,
};
use nix::sys::signal::Signal;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use tracing::{debug, info, warn};

/// A stop gives children so long to end by themselves, and so long again after a SIGTERM.
const STOP_STEP: Duration = Duration::from_secs(2);
/// The kernel ends a killed process when its last system call returns: a disk that hangs keeps it.
const KILL_PATIENCE: Duration = Duration::from_secs(10);
/// A wait for a seat that is worth a line.
const LONG_WAIT: Duration = Duration::from_secs(1);

/// The daemon's executor.
pub struct Pool {
    shared: Arc<Shared>,
    children: BTreeMap<(Role, usize), Child<Slot>>,
    stopped: AtomicBool,
}

struct Shared {
    perform: Box<Perform>,
    ledger: Mutex<Ledger>,
}

/// A processor that could not be started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("processors.{role}[{index}]: {why}")]
pub struct StartError {
    pub role: Role,
    pub index: usize,
    pub why: String,
}

/// Where the children's news go.
struct News {
    shared: Arc<Shared>,
    role: Role,
    index: usize,
}

impl Pool {
    /// Starts every child and waits until all are ready. With one that is not, the others are stopped again, and each
    /// that failed is told. Stages without processors are carried out with `perform`.
    pub fn start(rules: Rules, perform: Box<Perform>, plans: Vec<Plan>) -> Result<Self, Vec<StartError>> {
        let shared = Arc::new(Shared { perform, ledger: Mutex::new(Ledger::new(rules)) });
        let (mut children, mut outcomes) = (BTreeMap::new(), Vec::new());
        for plan in plans {
            let (role, index) = (plan.role, plan.index);
            let news = News { shared: shared.clone(), role, index };
            let (child, outcome) = Child::start(plan, Box::new(news));
            children.insert((role, index), child);
            outcomes.push((role, index, outcome));
        }
        let pool = Self { shared, children, stopped: AtomicBool::new(false) };
        let failed: Vec<_> = outcomes
            .into_iter()
            .filter_map(|(role, index, outcome)| {
                let outcome = outcome.recv().unwrap_or_else(|_| Err("its supervisor ended".into()));
                outcome.err().map(|why| StartError { role, index, why })
            })
            .collect();
        if failed.is_empty() {
            return Ok(pool);
        }
        pool.stop();
        Err(failed)
    }

    /// Stops the children in order: no more requests; SIGTERM for who works on, or stays; SIGKILL. Helpers end when no stage
    /// can need them any more. Returns when none is left, or after a bound.
    pub fn stop(&self) {
        if self.stopped.swap(true, Ordering::SeqCst) {
            return;
        }
        let (helpers, stages): (Vec<_>, Vec<_>) = self.children.values().partition(|child| child.is_helper());
        stop_all(&stages);
        stop_all(&helpers);
    }
}

fn stop_all(children: &[&Child<Slot>]) {
    children.iter().for_each(|child| child.close());
    // The daemon has waited as long as it wanted to: what is in flight is done again after the next start.
    let waits_for_nothing = |child: &&&Child<Slot>| child.is_busy() || child.is_helper();
    children.iter().filter(waits_for_nothing).for_each(|child| child.signal(Signal::SIGTERM));
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        if ended_within(children, STOP_STEP) {
            break;
        }
        children.iter().filter(|child| !child.has_ended()).for_each(|child| child.signal(signal));
    }
    if ended_within(children, KILL_PATIENCE) {
        children.iter().for_each(|child| child.join());
    } else {
        warn!("children that were killed have not ended: they hang in the kernel, on a disk perhaps");
    }
}

fn ended_within(children: &[&Child<Slot>], patience: Duration) -> bool {
    let until = Instant::now() + patience;
    while !children.iter().all(|child| child.has_ended()) {
        if Instant::now() >= until {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
    true
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Executor for Pool {
    fn queue(&self, stage: Stage) -> Slot {
        self.shared.ledger().queue(stage, Instant::now())
    }

    fn granted(&self, slot: Slot) -> bool {
        self.shared.ledger().granted(slot, Instant::now())
    }

    fn start(&self, slot: Slot, task: Task) {
        let stage = task.stage();
        let Start { site, waited } = self.shared.ledger().start(slot, stage, Instant::now());
        metrics::queue_waited(stage, waited);
        if waited >= LONG_WAIT {
            info!(%stage, seconds = waited.as_secs_f32(), "waited for a slot");
        }
        match site {
            Some(Site::Daemon) => self.shared.clone().perform(slot, task),
            Some(Site::Child(index)) => {
                // Slots are counted as they are queued for.
                debug!(%stage, child = index, slot = slot.0, waited = waited.as_secs_f32(), "task");
                self.children[&(Role::Stage(stage), index)].submit(slot, task);
            }
            None => {}
        }
    }

    fn poll(&self, slot: Slot) -> Option<End> {
        self.shared.ledger().poll(slot)
    }

    fn give_up(&self, slot: Slot) {
        self.shared.ledger().give_up(slot);
    }
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn perform(self: Arc<Self>, slot: Slot, task: Task) {
        let stage = task.stage();
        // Detached on purpose: a stage may take hours, and a stopping daemon does not wait for it. What it has not
        // finished is not in the journal and is done again.
        let span = tracing::Span::current();
        thread::spawn(move || {
            let result = span.in_scope(|| perform_guarded(&self.perform, task));
            self.ended(
                slot,
                result.map_err(|flaw| StageError { stage, reason: flaw.reason, permanent: flaw.permanent }),
            );
        });
    }

    fn ended(&self, slot: Slot, result: Result<Output, StageError>) {
        self.ledger().ended(slot, result, Instant::now());
    }
}

impl News {
    fn is(&self, health: Health) {
        if let Role::Stage(stage) = self.role {
            self.shared.ledger().set_health(stage, self.index, health);
        }
    }
}

impl Events<Slot> for News {
    fn up(&self) {
        self.is(Health::Up);
    }

    fn down(&self, gone: bool) {
        self.is(if gone { Health::Gone } else { Health::Down });
    }

    fn ended(&self, slot: Slot, result: Result<Output, StageError>) {
        self.shared.ended(slot, result);
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

    fn pool(rules: Rules, perform: Box<Perform>) -> Pool {
        Pool::start(rules, perform, Vec::new()).unwrap_or_else(|errors| panic!("{errors:?}"))
    }

    fn started(executor: &Pool, task: Task) -> Slot {
        let slot = executor.queue(task.stage());
        assert!(executor.granted(slot));
        executor.start(slot, task);
        slot
    }

    fn end(executor: &Pool, slot: Slot) -> Result<Output, StageError> {
        loop {
            match executor.poll(slot) {
                Some((result, _)) => return result,
                None => thread::yield_now(),
            }
        }
    }

    #[test]
    fn a_panic_in_a_stage_is_that_stages_failure() {
        let executor = pool(Rules::default(), Box::new(|_| panic!("no such layer")));
        let error = end(&executor, started(&executor, tree_d("s"))).unwrap_err();
        assert_eq!(error.to_string(), "tree_d: panicked: no such layer");
    }

    #[test]
    fn a_full_stage_queues_in_order_and_goes_on_when_a_slot_is_free() {
        let (release, gate) = mpsc::channel::<()>();
        let gate = Mutex::new(gate);
        let rules = Rules { concurrent: BTreeMap::from([(Stage::TreeD, 1)]), ..Rules::default() };
        let perform = move |_| {
            gate.lock().unwrap().recv().expect("released");
            Ok(Output::TreeD)
        };
        let executor = pool(rules, Box::new(perform));
        let first = started(&executor, tree_d("1"));
        let (second, third) = (executor.queue(Stage::TreeD), executor.queue(Stage::TreeD));
        assert!(!executor.granted(second) && !executor.granted(third));
        executor.give_up(first);
        assert!(!executor.granted(second), "what runs is not given up");
        release.send(()).unwrap();
        assert_eq!(end(&executor, first), Ok(Output::TreeD));
        assert!(!executor.granted(third), "not before the second");
        executor.give_up(second);
        assert!(executor.granted(third), "who leaves the queue makes room");
        executor.give_up(third);
        let last = executor.queue(Stage::TreeD);
        assert!(executor.granted(last), "a slot that was given back is free");
    }
}
