//! One life: daemons that come and go over the same stores, until everything that was begun has ended.
//!
//! ```text
//! seed ─► plan ─► stores, chain, daemon ─► step by step: who is next in virtual time steps once ─┐
//!            ▲                                                                                  │
//!            │   crash (between steps, in the journal, in a torn line), full disk, wall clock,   │
//!            └── manager away, child dead: as the seed says, until the troubles end ◄───────────┘
//! then: nothing fails any more, and each thread must bring what it has to an end, and one more sector
//! ```
//!
//! The workers, the stores with their journals, the ledger and the limits are the shipped ones. One thread, no sleep:
//! the same seed lives the same life.

use crate::{
    chain::Chain,
    deals, disk,
    hands::{Hands, Mistake},
    orders::{Undone, Wish},
    plan::Plan,
    time::Timeline,
    watch::Watch,
};
use damocles_worker::runtime::{
    sector::{Event, Failure, Level, Record, State},
    store::Store,
    worker::{Hooks, Parts, PersistentStore, Step, Worker},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{
    collections::BTreeMap,
    fs,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// Nothing takes longer once the troubles have ended.
const CALM_MAX: Duration = Duration::from_secs(72 * 3600);
/// More steps are a loop without an end.
const STEPS_MAX: usize = 400_000;
/// So often an operator starts a paused thread again before the sector is given up.
const PATIENCE: u32 = 3;

/// What a life is like beside its seed.
#[derive(Clone, Debug, Default)]
pub struct Nature {
    pub plan: Option<Plan>,
    /// Nothing fails from the beginning.
    pub calm: bool,
    pub mistake: Option<Mistake>,
    /// Disks are full at times: only where this process does nothing else meanwhile.
    pub full_disks: bool,
    /// The daemon asks the host's wall clock.
    pub naive_clock: bool,
    /// A disk that forgets what it said was written.
    pub lying_disk: bool,
}

/// What came of a life.
#[derive(Debug, Default)]
pub struct Story {
    pub finished: u64,
    pub aborted: u64,
    pub crashes: u64,
    pub steps: usize,
    pub seen: Vec<(String, u64)>,
}

/// Lives the life of `seed`; the rules that were broken, where any were.
pub fn live(seed: u64, nature: &Nature) -> Result<Story, Vec<String>> {
    let mut life = Life::begin(seed, nature);
    life.run();
    let watch = life.watch.lock().unwrap();
    if watch.findings().is_empty() {
        let mut seen: Vec<_> = watch.seen.clone().into_iter().collect();
        seen.sort();
        Ok(Story { seen, ..life.story })
    } else {
        Err(watch.findings().to_vec())
    }
}

/// Where the journal is to be cut off, seen from the event that is about to be written.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    Before,
    After,
    /// After it, and then the line turns out to have reached the disk in part.
    Torn,
}

/// What is thrown by a worker that dies in the middle of a step.
struct Died;

/// The crash point of one thread, and the checkers' ear at its journal.
struct Ear {
    thread: usize,
    watch: Arc<Mutex<Watch>>,
    cut: Mutex<Option<Cut>>,
    dropped: Mutex<bool>,
    undone: Undone,
}

impl Ear {
    fn die_if(&self, here: &[Cut]) {
        if self.cut.lock().unwrap().is_some_and(|cut| here.contains(&cut)) {
            resume_unwind(Box::new(Died));
        }
    }
}

impl Hooks for Ear {
    fn before_journal(&self, _: &Event, _: State) {
        self.die_if(&[Cut::Before]);
    }

    fn after_journal(&self, event: &Event, state: State) {
        let sector = self.watch.lock().unwrap().state(self.thread).1;
        self.watch.lock().unwrap().journaled(self.thread, event, &state.to_string());
        // An order that turns out not to have reached the disk undoes nothing.
        if let Some(number) = sector.filter(|_| *self.cut.lock().unwrap() != Some(Cut::Torn)) {
            self.undone.after(event, number);
        }
        *self.dropped.lock().unwrap() |= matches!(event, Event::Dropped);
        self.die_if(&[Cut::After, Cut::Torn]);
    }
}

pub struct Thread {
    pub worker: Worker,
    ear: Arc<Ear>,
    pub wake: Instant,
    rest: Duration,
    paused: Option<Failure>,
    /// An operator paused it until then.
    held: Option<Instant>,
}

pub struct Life {
    nature: Nature,
    plan: Plan,
    pub rng: StdRng,
    dir: tempfile::TempDir,
    pub timeline: Arc<Timeline>,
    pub watch: Arc<Mutex<Watch>>,
    chain: Arc<Chain>,
    hands: Arc<Hands>,
    pub threads: Vec<Thread>,
    pub calm_since: Option<Instant>,
    troubles_end: Instant,
    /// How often each sector has made its thread pause.
    pauses: BTreeMap<u64, u32>,
    /// Sectors that each thread has brought to an end since the troubles ended.
    ended: Vec<u64>,
    story: Story,
}

impl Life {
    fn begin(seed: u64, nature: &Nature) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let random = Plan::random(&mut rng);
        let plan = nature.plan.clone().unwrap_or(random);
        let dir = disk::folder();
        let timeline = Timeline::new();
        let watch = Arc::new(Mutex::new(Watch::new(&plan)));
        let child = |rng: &mut StdRng| StdRng::seed_from_u64(rng.r#gen());
        let chain = Chain::new(timeline.clone(), watch.clone(), dir.path(), child(&mut rng));
        let hands = Hands::new(timeline.clone(), watch.clone(), &plan, child(&mut rng), nature.mistake);
        let troubles_end = timeline.now() + Duration::from_secs(rng.gen_range(600..6 * 3600));
        for store in ["one", "two"] {
            fs::create_dir(dir.path().join(store)).unwrap();
        }
        fs::write(dir.path().join("static-tree"), [7; 4064]).unwrap();
        let ended = vec![0; plan.threads];
        let mut life = Self {
            nature: nature.clone(),
            plan,
            rng,
            dir,
            timeline,
            watch,
            chain,
            hands,
            threads: Vec::new(),
            calm_since: None,
            troubles_end,
            pauses: BTreeMap::new(),
            ended,
            story: Story::default(),
        };
        if nature.calm {
            life.calm_down();
        }
        life.open_stores();
        life
    }

    fn run(&mut self) {
        while self.watch.lock().unwrap().findings().is_empty() && !self.is_complete() {
            self.story.steps += 1;
            if self.story.steps > STEPS_MAX {
                return self.find("end: it goes on and on without an end".into());
            }
            let Some(nth) = self.next_thread() else { continue };
            self.trouble(nth);
            self.step(nth);
        }
    }

    fn is_complete(&self) -> bool {
        (0..self.threads.len()).all(|nth| self.is_done(nth))
    }

    /// A thread that has shown that it can, and holds nothing, rests.
    fn is_done(&self, nth: usize) -> bool {
        self.calm_since.is_some() && self.ended[nth] > 0 && self.threads[nth].worker.record().state == State::Empty
    }

    fn find(&self, what: String) {
        self.watch.lock().unwrap().find(what);
    }

    /// Time passes until something happens; the thread whose turn it is then, if it is one's.
    fn next_thread(&mut self) -> Option<usize> {
        let awake = (0..self.threads.len()).filter(|nth| !self.is_done(*nth));
        let (nth, wake) = awake.map(|nth| (nth, self.threads[nth].wake)).min_by_key(|(_, wake)| *wake)?;
        let next = self.hands.next().map_or(wake, |hands| hands.min(wake));
        self.timeline.pass_to(next);
        let now = self.timeline.now();
        self.hands.tick();
        self.chain.tick();
        if self.calm_since.is_none() && now >= self.troubles_end {
            self.calm_down();
        }
        if self.calm_since.is_some_and(|since| now > since + CALM_MAX) {
            let watch = self.watch.lock().unwrap();
            let stuck: Vec<_> = (0..self.threads.len()).map(|nth| format!("{:?}", watch.state(nth))).collect();
            drop(watch);
            self.find(format!(
                "end: nothing fails any more, and after {} h it still stands at {}",
                CALM_MAX.as_secs() / 3600,
                stuck.join(", ")
            ));
            return None;
        }
        (wake <= now).then_some(nth)
    }

    fn calm_down(&mut self) {
        self.calm_since = Some(self.timeline.now());
        self.chain.calm_down();
        self.hands.calm_down();
        let now = self.timeline.now();
        self.threads.iter_mut().filter(|thread| thread.held.is_some()).for_each(|thread| thread.wake = now);
    }

    /// What goes wrong at this moment.
    fn trouble(&mut self, nth: usize) {
        if self.calm_since.is_some() {
            return;
        }
        let ear = &self.threads[nth].ear;
        match self.rng.gen_range(0..2000) {
            0..3 => self.crash(None),
            3..6 => self.stop(),
            6..12 => *ear.cut.lock().unwrap() = Some(Cut::Before),
            12..18 => *ear.cut.lock().unwrap() = Some(Cut::After),
            18..30 => *ear.cut.lock().unwrap() = Some(Cut::Torn),
            30..36 => {
                let by = Duration::from_secs(self.rng.gen_range(1..400_000));
                self.timeline.jump(self.rng.r#gen(), by);
            }
            36..38 => self.chain.go_away(Duration::from_secs(self.rng.gen_range(60..3600))),
            60..75 => self.order(nth),
            38..60 => disk::lose(&self.store(nth).join("cache"), "c1-output.json"),
            _ => {}
        }
    }

    fn step(&mut self, nth: usize) {
        if nth >= self.threads.len() {
            return;
        }
        let now = self.timeline.now();
        let held = self.threads[nth].held;
        if held.is_some_and(|until| until <= now || self.calm_since.is_some()) {
            return self.resume(nth);
        }
        *self.threads[nth].ear.dropped.lock().unwrap() = false;
        let stepped = match held {
            Some(_) => self.within_a_crash(nth, Worker::settle),
            None => self.within_a_crash(nth, |worker| Some(worker.step())),
        };
        let Some(stepped) = stepped else { return };
        let thread = &mut self.threads[nth];
        let Some(step) = stepped else {
            thread.wake = held.expect("only a pause leaves nothing to do");
            return;
        };
        let dropped = *thread.ear.dropped.lock().unwrap();
        if dropped != matches!(step, Step::Finished(_)) {
            let what = format!("thread {nth}: end: dropped in the journal: {dropped}, and the step said {step:?}");
            self.watch.lock().unwrap().find(what);
        }
        let rest = match step {
            Step::Progressed => {
                thread.rest = Duration::from_millis(10);
                Duration::from_millis(self.rng.gen_range(1..50))
            }
            Step::WaitUntil(until) => {
                let left = thread.worker.left(until);
                self.watch.lock().unwrap().waits(nth, left);
                // A daemon rests no longer than this before it looks again.
                left.min(Duration::from_secs(60))
            }
            Step::WaitFor(_) => {
                thread.rest = (thread.rest * 2).min(Duration::from_secs(30));
                thread.rest
            }
            Step::Paused(failure) => return self.pause(nth, failure),
            Step::Finished(record) => {
                self.tell(nth, &record);
                Duration::from_millis(1)
            }
        };
        self.threads[nth].wake = now + rest;
    }

    /// Lets a worker do something with a disk that may be full; `None`: it died in the middle, and so did its daemon.
    pub fn within_a_crash<T>(&mut self, nth: usize, act: impl FnOnce(&mut Worker) -> T) -> Option<T> {
        let full = self.nature.full_disks && self.calm_since.is_none() && self.rng.gen_bool(0.01);
        let worker = &mut self.threads[nth].worker;
        let limit = full.then(|| disk::limit(&journal(worker.location()), &mut self.rng));
        let acted = catch_unwind(AssertUnwindSafe(|| disk::within(limit, || act(worker))));
        if full {
            self.watch.lock().unwrap().saw("full disk");
        }
        match acted {
            Ok(done) => Some(done),
            Err(thrown) if thrown.is::<Died>() => {
                self.crash(Some(nth));
                None
            }
            Err(thrown) => resume_unwind(thrown),
        }
    }

    /// An operator pauses a thread for a while.
    fn order(&mut self, nth: usize) {
        let until = self.timeline.now() + Duration::from_secs(self.rng.gen_range(1..3600));
        self.threads[nth].held.get_or_insert(until);
        self.watch.lock().unwrap().saw("paused by an operator");
    }

    /// An operator resumes it, from an earlier state perhaps. What is refused is tried again later, with another wish.
    fn resume(&mut self, nth: usize) {
        let wish = Wish::random(&mut self.rng, self.threads[nth].worker.record().state);
        let Some(granted) = wish.tell(self, nth) else { return };
        let rest = Duration::from_millis(self.rng.gen_range(1..30_000));
        let thread = &mut self.threads[nth];
        thread.wake = self.timeline.now() + rest;
        if granted {
            (thread.held, thread.paused) = (None, None);
        }
    }

    /// The daemon is stopped in order. What is only in memory, and could not be journaled, is tried once more.
    fn stop(&mut self) {
        for nth in 0..self.threads.len() {
            let (before, full) = (self.watch.lock().unwrap().seen.get("full disk").copied(), "full disk");
            let Some(result) = self.within_a_crash(nth, |worker| {
                worker.hurry();
                worker.held_result()
            }) else {
                return;
            };
            let disk_was_full = self.watch.lock().unwrap().seen.get(full).copied() != before;
            if let Some(result) = result.filter(|result| *result != "pc2" && !disk_was_full) {
                self.find(format!("thread {nth}: lost: stopped in order with {result} in memory"));
            }
        }
        self.watch.lock().unwrap().saw("stopped in order");
        self.crash(None);
    }

    /// An operator finds a paused thread, and after a while does what the documentation says: looks, and starts again.
    fn pause(&mut self, nth: usize, failure: Failure) {
        let now = self.timeline.now();
        let ours = ["the journal is damaged", "disagree", "not found in the store"];
        if failure.level == Level::Critical && ours.iter().any(|words| failure.reason.contains(words)) {
            self.find(format!("thread {nth}: paused by a mistake of its own: {failure}"));
        }
        if self.threads[nth].paused.replace(failure).is_none() {
            self.watch.lock().unwrap().saw("paused");
            self.threads[nth].wake = now + Duration::from_secs(self.rng.gen_range(60..1200));
            return;
        }
        if let Some(id) = self.threads[nth].worker.record().id() {
            let pauses = self.pauses.entry(id.number).or_default();
            *pauses += 1;
            if *pauses >= PATIENCE {
                self.chain.give_up(id.number);
            }
        }
        if self.calm_since.is_none() && self.rng.r#gen() { self.resume(nth) } else { self.crash(None) }
    }

    /// A sector came to its end.
    fn tell(&mut self, nth: usize, record: &Record) {
        let number = record.id().map(|id| id.number);
        match record.state {
            State::Finished if number.is_some_and(|number| self.chain.is_sealed(number)) => self.story.finished += 1,
            State::Aborted if record.abort_reason.as_ref().is_some_and(|reason| !reason.is_empty()) => {
                self.story.aborted += 1
            }
            state => self.find(format!(
                "thread {nth}: end: sector {number:?} ended as {state}, reason {:?}",
                record.abort_reason
            )),
        }
        if self.calm_since.is_some() {
            self.ended[nth] += 1;
        }
    }

    /// The daemon is killed (in the middle of a step of the thread `inside`), and after a while started again.
    fn crash(&mut self, inside: Option<usize>) {
        self.story.crashes += 1;
        let torn = inside.filter(|nth| *self.threads[*nth].ear.cut.lock().unwrap() == Some(Cut::Torn));
        let root = torn.map(|nth| self.threads[nth].worker.location().to_owned());
        self.threads.clear();
        if let (Some(nth), Some(root)) = (torn, root)
            && disk::tear(&journal(&root), &mut self.rng)
        {
            self.watch.lock().unwrap().torn(nth);
        }
        if self.nature.lying_disk {
            (0..self.plan.threads).for_each(|nth| disk::forget_lines(&journal(&self.store(nth)), 3));
        }
        self.watch.lock().unwrap().died();
        self.chain.cut_off();
        self.timeline.pass_to(self.timeline.now() + Duration::from_secs(self.rng.gen_range(1..600)));
        if self.calm_since.is_none() && self.rng.gen_bool(0.3) {
            let by = Duration::from_secs(self.rng.gen_range(1..4_000_000));
            self.timeline.jump(self.rng.r#gen(), by);
        }
        let rng = StdRng::seed_from_u64(self.rng.r#gen());
        self.hands = Hands::new(self.timeline.clone(), self.watch.clone(), &self.plan, rng, self.nature.mistake);
        if self.calm_since.is_some() {
            self.hands.calm_down();
        }
        self.open_stores();
    }

    fn store(&self, nth: usize) -> PathBuf {
        self.dir.path().join(format!("store-{nth}"))
    }

    fn open_stores(&mut self) {
        let parts = self.parts();
        for nth in 0..self.plan.threads {
            let (store, _) = match Store::open(&self.store(nth), &self.plan.sealing) {
                Ok(opened) => opened,
                Err(error) => return self.find(format!("thread {nth}: lost: its store cannot be opened: {error}")),
            };
            let record = store.record();
            let (state, number) = (record.state.to_string(), record.id().map(|id| id.number));
            self.watch.lock().unwrap().opened(nth, &state, number);
            let (cut, dropped) = (Mutex::new(None), Mutex::new(false));
            let undone = Undone::new(store.root(), self.nature.mistake == Some(Mistake::KeepUndone));
            let ear = Arc::new(Ear { thread: nth, watch: self.watch.clone(), cut, dropped, undone });
            let parts = Parts { hooks: ear.clone(), ..parts.clone() };
            let worker = Worker::new(store, self.plan.sealing.clone(), parts);
            let wake = self.timeline.now() + Duration::from_millis(self.rng.gen_range(0..1000));
            self.threads.push(Thread { worker, ear, wake, rest: Duration::from_millis(10), paused: None, held: None });
        }
    }

    /// What a daemon that starts now gives its workers.
    fn parts(&self) -> Parts {
        let store =
            |name: &str| PersistentStore { name: name.into(), path: self.dir.path().join(name), readonly: false };
        let tree = (damocles_worker::units::SectorSize::KiB2, self.dir.path().join("static-tree"));
        Parts {
            manager: self.chain.clone(),
            executor: self.hands.clone(),
            pieces: deals::pieces(self.chain.clone()),
            clock: if self.nature.naive_clock { self.timeline.naive_clock() } else { self.timeline.clock() },
            hooks: Arc::new(damocles_worker::runtime::worker::NoHooks),
            chain: Some("simulated".into()),
            instance: "simulated".into(),
            stores: Arc::new(vec![store("one"), store("two")]),
            static_tree_d: Arc::new(if self.plan.static_tree_d { [tree].into() } else { BTreeMap::new() }),
        }
    }
}

fn journal(store: &Path) -> PathBuf {
    store.join("journal")
}
