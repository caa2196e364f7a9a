//! The checkers: they know the rules from the documentation, see everything that happens, and share no code with what decides.
//!
//! A broken rule is a finding in words; a life with a finding has failed. The table of transitions, the counting of tasks,
//! locks and gaps, and who may have waited for how long are written here a second time on purpose.

use crate::{deals, plan::Plan};
use damocles_worker::runtime::{limit::Rules, processor::Slot, processor::ledger::Site, sector::Event, stage::Stage};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

/// Which event may be journaled in which state, and where it leads.
const LEGAL: &[(&str, &str, &str)] = &[
    ("Allocated", "Empty", "Allocated"),
    ("DealsAcquired", "Allocated", "DealsAcquired"),
    ("PiecesAdded", "DealsAcquired", "PieceAdded"),
    ("TreeDBuilt", "PieceAdded", "TreeDBuilt"),
    ("TicketAssigned", "TreeDBuilt", "TicketAssigned"),
    ("TicketAssigned", "TicketAssigned", "TicketAssigned"),
    ("PC1Done", "TicketAssigned", "PC1Done"),
    ("ReplicaRestored", "PC1Done", "PC1Done"),
    ("PC2Done", "PC1Done", "PC2Done"),
    ("Submitting", "PC2Done", "PC2Done"),
    ("PreCommitSubmitted", "PC2Done", "PCSubmitted"),
    ("PreCommitFailed", "PCSubmitted", "PC2Done"),
    ("PreCommitLanded", "PCSubmitted", "PCLanded"),
    ("Persisted", "PCLanded", "Persisted"),
    ("PersistenceSubmitted", "Persisted", "PersistanceSubmitted"),
    ("SeedAssigned", "PersistanceSubmitted", "SeedAssigned"),
    ("C1Done", "SeedAssigned", "C1Done"),
    ("C1Lost", "C1Done", "SeedAssigned"),
    ("C2Done", "C1Done", "C2Done"),
    ("Submitting", "C2Done", "C2Done"),
    ("ProofSubmitted", "C2Done", "ProofSubmitted"),
    ("ProofFailed", "ProofSubmitted", "C2Done"),
    ("ProofLanded", "ProofSubmitted", "Finished"),
    ("Dropped", "Finished", "Empty"),
    ("Dropped", "Aborted", "Empty"),
];

/// In which state a stage may begin, and what says that it is done.
const STAGES: &[(&str, &str, &str)] = &[
    ("add_pieces", "DealsAcquired", "PiecesAdded"),
    ("tree_d", "PieceAdded", "TreeDBuilt"),
    ("pc1", "TicketAssigned", "PC1Done"),
    ("restore_replica", "PC1Done", "-"),
    ("pc2", "PC1Done", "PC2Done"),
    ("transfer", "PCLanded", "Persisted"),
    ("c1", "SeedAssigned", "C1Done"),
    ("c2", "C1Done", "C2Done"),
];

/// The states in the order of a sector's life, as the documentation has them.
pub const ORDER: [&str; 16] = [
    "Allocated",
    "DealsAcquired",
    "PieceAdded",
    "TreeDBuilt",
    "TicketAssigned",
    "PC1Done",
    "PC2Done",
    "PCSubmitted",
    "PCLanded",
    "Persisted",
    "PersistanceSubmitted",
    "SeedAssigned",
    "C1Done",
    "C2Done",
    "ProofSubmitted",
    "Finished",
];

fn place(state: &str) -> Option<usize> {
    ORDER.iter().position(|known| *known == state)
}

/// No wait that a worker asks for is longer: the longest that a manager or a setting names is minutes.
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// What the journal of a thread's store says, as far as it was seen to be written.
#[derive(Clone, Debug)]
struct Page {
    state: String,
    sector: Option<u64>,
    done: BTreeSet<&'static str>,
    intent: Option<&'static str>,
    /// The data of its deals.
    data: Vec<[u8; 32]>,
    /// A pre-commit is, or may be, on its way.
    sent: bool,
    /// The pre-commit is on the chain.
    landed: bool,
    /// It was sent back, and what was made later is still in its store.
    undone: bool,
    /// What pc2 answered was found to be provable.
    proven: bool,
}

impl Page {
    fn empty() -> Self {
        Self {
            state: "Empty".into(),
            sector: None,
            done: BTreeSet::new(),
            intent: None,
            data: Vec::new(),
            sent: false,
            landed: false,
            undone: false,
            proven: false,
        }
    }
}

impl Page {
    fn may_go_back(&self, to: &str) -> bool {
        let floor = match self.state.as_str() {
            "PC2Done" if self.sent => "PC2Done",
            "PCSubmitted" if self.landed => "PCSubmitted",
            "PCSubmitted" => "PC2Done",
            state if place(state) > place("PCSubmitted") => "PCSubmitted",
            _ => "Allocated",
        };
        place(to).is_some() && place(floor) <= place(to) && place(to) <= place(&self.state)
    }

    /// What an event says beside the state; the rules that it breaks.
    fn learn(&mut self, event: &Event, from: &str, led_to: &str, verify: bool) -> Vec<String> {
        let mut broken = Vec::new();
        match event {
            Event::SetBack { to } => {
                let to = to.to_string();
                if led_to != to || !self.may_go_back(&to) {
                    broken.push(format!("transition: sent back from {from} to {to}, leading to {led_to}"));
                }
                let again = |begins_in: &str| place(&to) <= place(begins_in);
                self.done.retain(|done| STAGES.iter().any(|(stage, begins_in, _)| stage == done && !again(begins_in)));
                if to == "Allocated" {
                    self.data.clear();
                }
                self.undone = true;
            }
            Event::UndoneRemoved => {
                let was_undone = std::mem::take(&mut self.undone) && led_to == from;
                let wrong = || format!("transition: nothing was undone in {from}, and was removed");
                broken.extend((!was_undone).then(wrong));
            }
            Event::Aborted { .. } => self.undone = false,
            Event::DealsTaken { deals } => self.data = deals::data_of(deals),
            Event::PiecesAdded { pieces, .. } if deals::data_among(pieces) != self.data => {
                broken.push("deals: other pieces were added than those of the deals".into());
            }
            Event::Submitting => self.sent = true,
            Event::PreCommitLanded => self.landed = true,
            Event::PreCommitFailed { .. } => self.landed = false,
            Event::PreCommitSubmitted | Event::ProofSubmitted if !self.sent => {
                broken.push(format!("intent: {} without a word before it", event.name()));
            }
            Event::Pc2Done { .. } if verify && !std::mem::take(&mut self.proven) => {
                broken.push("unchecked: pc2's answer counts, and nobody has proven it".into());
            }
            _ => {}
        }
        broken
    }
}

/// Who waits at the head of a stage's line, since when it could have gone, and who went before it, by lock.
#[derive(Debug, Default)]
struct Head {
    slot: Option<Slot>,
    passed_by: BTreeMap<String, u32>,
}

/// Sees everything.
pub struct Watch {
    rules: Rules,
    /// Whether pc2's answers are checked before they count.
    verify: bool,
    pages: Vec<(Page, Page)>,
    /// Sectors whose proof an operator had made again when the first may have been sent.
    proven_again: BTreeSet<u64>,
    running: BTreeMap<Slot, (Stage, Site)>,
    begun: BTreeMap<Stage, Instant>,
    up: BTreeSet<(Stage, usize)>,
    waiting: BTreeMap<Stage, Vec<Slot>>,
    seats: BTreeMap<Slot, (Stage, Option<usize>)>,
    heads: BTreeMap<Stage, Head>,
    findings: Vec<String>,
    /// How often each thing was seen, to tell that a life was worth living.
    pub seen: HashMap<String, u64>,
}

impl Watch {
    pub fn new(plan: &Plan) -> Self {
        Self {
            rules: plan.rules.clone(),
            verify: plan.sealing.verify_after_pc2,
            pages: vec![(Page::empty(), Page::empty()); plan.threads],
            proven_again: BTreeSet::new(),
            running: BTreeMap::new(),
            begun: BTreeMap::new(),
            up: BTreeSet::new(),
            waiting: BTreeMap::new(),
            seats: BTreeMap::new(),
            heads: BTreeMap::new(),
            findings: Vec::new(),
            seen: HashMap::new(),
        }
    }

    /// The rules that were broken so far.
    pub fn findings(&self) -> &[String] {
        &self.findings
    }

    pub fn find(&mut self, what: String) {
        self.findings.push(what);
    }

    pub fn saw(&mut self, what: &str) {
        *self.seen.entry(what.to_owned()).or_default() += 1;
    }

    /// `event` is on the disk of this thread.
    pub fn journaled(&mut self, thread: usize, event: &Event, led_to: &str) {
        self.saw(event.name());
        if matches!(event, Event::DealsTaken { .. }) {
            self.saw("sectors with deals");
        }
        let (before, page) = &mut self.pages[thread];
        *before = page.clone();
        let (from, name) = (page.state.clone(), event.name());
        let mut broken = Vec::new();
        if page.undone && !matches!(event, Event::SetBack { .. } | Event::UndoneRemoved | Event::Aborted { .. }) {
            broken.push(format!("undone: {name} comes before what was undone is removed"));
        }
        if let Event::StageStarted { stage } = event {
            let stage = stage.name();
            let known = STAGES.iter().find(|(named, ..)| *named == stage);
            if known.is_none_or(|(_, state, _)| *state != from || led_to != from) {
                broken.push(format!("transition: {stage} was begun in {from}, leading to {led_to}"));
            }
            if page.done.contains(stage) {
                broken.push(format!("repeated: {stage} was journaled as done and is begun again"));
            }
            page.intent = known.map(|(named, ..)| *named);
            page.proven = false;
        } else if matches!(event, Event::SetBack { .. } | Event::UndoneRemoved) {
            page.intent = None;
        } else {
            let aborts = name == "Aborted" && from != "Empty" && from != "Finished" && led_to == "Aborted";
            if !aborts && !LEGAL.contains(&(name, from.as_str(), led_to)) {
                broken.push(format!("transition: {name} led from {from} to {led_to}"));
            }
            page.intent = None;
        }
        if let Some((stage, ..)) = STAGES.iter().find(|(.., done)| *done == name) {
            page.done.insert(stage);
        }
        broken.extend(page.learn(event, &from, led_to, self.verify));
        if let (Event::SetBack { .. }, Some(sector)) = (event, page.sector)
            && place(&from) >= place("C2Done")
        {
            self.proven_again.insert(sector);
        }
        match event {
            Event::Allocated { sector, .. } => page.sector = Some(sector.id.number),
            Event::C1Lost { .. } => {
                page.done.remove("c1");
            }
            Event::Dropped => *page = Page::empty(),
            _ => {}
        }
        page.state = led_to.to_owned();
        let sector = page.sector;
        let twice = self
            .pages
            .iter()
            .enumerate()
            .filter(|(at, (_, page))| *at != thread && sector.is_some() && page.sector == sector);
        broken.extend(twice.map(|(at, _)| format!("sector {sector:?} is sealed by the threads {at} and {thread}")));
        broken.into_iter().for_each(|what| self.findings.push(format!("thread {thread}: {what}")));
    }

    /// Whether an operator may send this thread's sector to `to`, by the documentation.
    pub fn may_go_to(&self, thread: usize, to: &str) -> bool {
        let page = &self.pages[thread].1;
        match (page.state.as_str(), to) {
            ("Empty", _) => false,
            ("Finished" | "Aborted", to) => to == page.state,
            (_, "Aborted") => true,
            (_, to) => page.may_go_back(to),
        }
    }

    /// The data of this sector's deals; nothing of a sector that no thread has.
    pub fn data_of(&self, number: u64) -> Option<Vec<[u8; 32]>> {
        self.thread_with(number).map(|thread| self.pages[thread].1.data.clone())
    }

    /// Whether more than one proof of this sector may be on its way.
    pub fn proves_again(&self, number: u64) -> bool {
        self.proven_again.contains(&number)
    }

    /// A c1 has come out well: c1 itself, or the check of what pc2 made.
    pub fn proven(&mut self, thread: usize) {
        self.pages[thread].1.proven = true;
    }

    /// The last line of this thread's journal never reached the disk whole.
    pub fn torn(&mut self, thread: usize) {
        self.saw("torn line");
        let (before, page) = &mut self.pages[thread];
        *page = before.clone();
    }

    /// A thread's store was opened and its record stands here.
    pub fn opened(&mut self, thread: usize, state: &str, sector: Option<u64>) {
        let page = &mut self.pages[thread].1;
        (page.intent, page.proven) = (None, false);
        if page.state != state || page.sector != sector {
            let was = format!("{} of sector {:?}", page.state, page.sector);
            self.findings.push(format!(
                "thread {thread}: lost: the journal said {was}, and after a restart the record stands at {state} of {sector:?}"
            ));
        }
    }

    /// Where the journal of a thread stands.
    pub fn state(&self, thread: usize) -> (&str, Option<u64>) {
        let page = &self.pages[thread].1;
        (&page.state, page.sector)
    }

    /// The thread that has this sector.
    pub fn thread_with(&self, number: u64) -> Option<usize> {
        self.pages.iter().position(|(_, page)| page.sector == Some(number))
    }

    /// A worker wants to wait so long.
    pub fn waits(&mut self, thread: usize, left: Duration) {
        if left > WAIT_MAX {
            self.findings.push(format!("thread {thread}: waits for {} h", left.as_secs() / 3600));
        }
    }

    pub fn queued(&mut self, slot: Slot, stage: Stage) {
        self.waiting.entry(stage).or_default().push(slot);
    }

    /// A slot was given. Which child it belongs to shows when its task begins; until then it may be any that is up.
    pub fn granted(&mut self, slot: Slot, stage: Stage, now: Instant) {
        let line = self.waiting.entry(stage).or_default();
        line.retain(|other| *other != slot);
        self.seats.insert(slot, (stage, None));
        for (other, slots) in &self.waiting {
            let Some(first) = slots.first().filter(|_| *other != stage && self.could_go(*other, now)) else { continue };
            let (theirs, ours) = (self.locks_of(*other), self.locks_of(stage));
            let head = self.heads.entry(*other).or_default();
            if head.slot != Some(*first) {
                *head = Head { slot: Some(*first), passed_by: BTreeMap::new() };
            }
            for lock in theirs.intersection(&ours) {
                *head.passed_by.entry(lock.clone()).or_default() += 1;
            }
        }
        let sharing = self.rules.processors.len() as u32;
        let most = 4 * sharing + self.rules.locks.values().sum::<u32>();
        if let Some(head) = self.heads.remove(&stage).filter(|head| head.slot == Some(slot))
            && let Some((lock, count)) = head.passed_by.iter().find(|(_, count)| **count > most)
            && self.locks_of(stage).len() == 1
        {
            self.findings
                .push(format!("starved: {stage} at the head of its line was passed by {count} times at {lock}"));
        }
    }

    /// Whether nothing but locks can keep a stage from a slot.
    fn could_go(&self, stage: Stage, now: Instant) -> bool {
        let seats = || self.seats.values().filter(|(at, _)| *at == stage);
        let below = self.rules.concurrent.get(&stage).is_none_or(|most| seats().count() < *most as usize);
        let gap = self.rules.staggered.get(&stage).copied().unwrap_or_default();
        let rested = self.begun.get(&stage).is_none_or(|begun| now >= *begun + gap);
        let rooms = self.rules.processors.get(&stage).map(Vec::as_slice).unwrap_or_default();
        let has_room = rooms.iter().enumerate().any(|(index, room)| {
            let at = seats().filter(|(_, child)| child.is_none_or(|child| child == index)).count();
            self.up.contains(&(stage, index)) && room.concurrent.is_none_or(|most| at < most as usize)
        });
        below && rested && (gap.is_zero() || seats().count() == 0) && has_room
    }

    fn locks_of(&self, stage: Stage) -> BTreeSet<String> {
        let rooms = self.rules.processors.get(&stage).map(Vec::as_slice).unwrap_or_default();
        rooms.iter().flat_map(|room| room.locks.iter().cloned()).collect()
    }

    /// A slot was left, used or not.
    pub fn left(&mut self, slot: Slot) {
        self.waiting.values_mut().for_each(|line| line.retain(|other| *other != slot));
        self.seats.remove(&slot);
    }

    /// A seat in which nothing had begun was taken back: who had it waits again, at the front.
    pub fn put_back(&mut self, slot: Slot, stage: Stage) {
        self.seats.remove(&slot);
        self.waiting.entry(stage).or_default().insert(0, slot);
    }

    /// A task begins for this thread's sector.
    pub fn begins(&mut self, slot: Slot, stage: Stage, site: Site, thread: usize, now: Instant) {
        self.saw(stage.name());
        let page = &self.pages[thread].1;
        let mut broken = Vec::new();
        let checks = self.verify && stage == Stage::C1 && page.state == "PC1Done" && page.intent == Some("pc2");
        if page.intent != Some(stage.name()) && !checks {
            broken.push(format!("intent: {stage} begins, and the journal does not say that it was to begin"));
        }
        if page.done.contains(stage.name()) {
            broken.push(format!("repeated: {stage} is worked on again after it was done"));
        }
        let gap = self.rules.staggered.get(&stage).copied().unwrap_or_default();
        if let Some(last) = self.begun.insert(stage, now)
            && now.saturating_duration_since(last) < gap
        {
            broken.push(format!(
                "gap: {stage} began {} s after the last one",
                now.saturating_duration_since(last).as_secs()
            ));
        }
        if let Site::Child(index) = site {
            self.seats.insert(slot, (stage, Some(index)));
            if !self.up.contains(&(stage, index)) {
                broken.push(format!("{stage}[{index}] is given a task and is not there"));
            }
        }
        self.running.insert(slot, (stage, site));
        broken.extend(self.exceeded());
        broken.into_iter().for_each(|what| self.findings.push(format!("thread {thread}: {what}")));
    }

    /// Every limit that what runs at this moment exceeds.
    fn exceeded(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for (stage, most) in &self.rules.concurrent {
            let count = self.running.values().filter(|(at, _)| at == stage).count();
            if count > *most as usize {
                broken.push(format!("limit: {count} tasks of {stage} run, {most} may"));
            }
        }
        let mut held: BTreeMap<&str, u32> = BTreeMap::new();
        for (stage, rooms) in &self.rules.processors {
            for (index, room) in rooms.iter().enumerate() {
                let here = self.running.values().filter(|task| **task == (*stage, Site::Child(index))).count() as u32;
                if room.concurrent.is_some_and(|most| here > most) {
                    broken.push(format!("room: {here} tasks are at {stage}[{index}]"));
                }
                room.locks.iter().for_each(|lock| *held.entry(lock).or_default() += here);
            }
        }
        for (lock, count) in held {
            if self.rules.locks.get(lock).is_some_and(|most| count > *most) {
                broken.push(format!("lock: {lock} is held by {count}"));
            }
        }
        broken
    }

    pub fn ends(&mut self, slot: Slot) {
        self.running.remove(&slot);
        self.left(slot);
    }

    pub fn child(&mut self, stage: Stage, index: usize, up: bool) {
        if up {
            self.up.insert((stage, index));
        } else {
            self.up.remove(&(stage, index));
            // Whose turn it is begins anew.
            self.heads.clear();
        }
    }

    /// The daemon is gone, and everything that it ran.
    pub fn died(&mut self) {
        self.saw("daemon died");
        self.running.clear();
        self.begun.clear();
        self.up.clear();
        self.waiting.clear();
        self.seats.clear();
        self.heads.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use damocles_worker::runtime::limit::Room;

    fn gpu_for_two() -> Watch {
        let room = || vec![Room { concurrent: None, locks: ["gpu".to_owned()].into() }];
        let rules = Rules {
            locks: BTreeMap::from([("gpu".into(), 1)]),
            processors: BTreeMap::from([(Stage::Pc2, room()), (Stage::C2, room())]),
            ..Rules::default()
        };
        let mut watch = Watch::new(&Plan { threads: 1, rules, ..Plan::crowded() });
        watch.child(Stage::Pc2, 0, true);
        watch.child(Stage::C2, 0, true);
        watch
    }

    #[test]
    fn a_stage_that_is_always_passed_by_is_found() {
        let (mut watch, now) = (gpu_for_two(), Instant::now());
        watch.queued(Slot(0), Stage::C2);
        for n in 1..40 {
            watch.queued(Slot(n), Stage::Pc2);
            watch.granted(Slot(n), Stage::Pc2, now);
            watch.left(Slot(n));
        }
        watch.granted(Slot(0), Stage::C2, now);
        assert!(watch.findings()[0].contains("starved: c2"), "{:?}", watch.findings());
    }

    #[test]
    fn a_jump_over_states_and_a_stage_without_intent_are_found() {
        let mut watch = gpu_for_two();
        watch.journaled(0, &Event::DealsAcquired, "DealsAcquired");
        assert!(watch.findings()[0].contains("transition: DealsAcquired led from Empty"), "{:?}", watch.findings());
        let mut watch = gpu_for_two();
        watch.begins(Slot(0), Stage::Pc2, Site::Child(0), 0, Instant::now());
        assert!(watch.findings()[0].contains("intent: pc2"), "{:?}", watch.findings());
    }
}
