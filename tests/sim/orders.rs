//! An operator's orders: threads are paused for a while, resumed, sent back to states that the documentation allows, and to
//! others, which is refused. What was undone must not be used again: every bit of it has flipped meanwhile.

use crate::{disk, hands::LAYERS, life::Life, watch::ORDER};
use damocles_worker::runtime::{
    sector::{Event, State},
    stage::{SectorPaths, TREE_D},
};
use rand::{Rng, rngs::StdRng, seq::SliceRandom};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
};

/// From where a thread is to go on; nowhere else than where it is, mostly.
#[derive(Debug)]
pub struct Wish(Option<State>);

impl Wish {
    pub fn random(rng: &mut StdRng, now: State) -> Self {
        let place = State::ALL.iter().position(|state| *state == now).expect("every state is one of all");
        Self(match rng.gen_range(0..100) {
            0..40 => None,
            // Nearby: what is far back costs a whole life, and comes by itself.
            40..75 => Some(State::ALL[rng.gen_range(place.saturating_sub(4)..=place)]),
            75..97 => State::ALL.choose(rng).copied().filter(|state| *state != State::Aborted),
            _ => Some(State::Aborted),
        })
    }

    /// Tells the thread; whether it obeyed. `None`: its daemon died of it.
    pub fn tell(&self, life: &mut Life, nth: usize) -> Option<bool> {
        // Whoever made a wish that cannot be granted makes another one in calm.
        let to = self.0.filter(|_| life.calm_since.is_none());
        let allowed = to.is_none_or(|to| life.watch.lock().unwrap().may_go_to(nth, &to.to_string()));
        let before = life.threads[nth].worker.record().clone();
        let answer = life.within_a_crash(nth, |worker| worker.resume(to))?;
        let mut watch = life.watch.lock().unwrap();
        match &answer {
            Ok(()) if !allowed => watch.find(format!("thread {nth}: order: {before:?} may not go on from {to:?}")),
            Ok(()) => watch.saw(if to.is_some() { "sent to a state" } else { "resumed" }),
            Err(reason) => {
                watch.saw("order refused");
                if *life.threads[nth].worker.record() != before {
                    watch.find(format!("thread {nth}: order: refused, and the record has changed: {reason}"));
                }
                if allowed && reason.contains("cannot go on from") {
                    watch.find(format!("thread {nth}: order: refused against the documentation: {reason}"));
                }
            }
        }
        Some(answer.is_ok())
    }
}

/// What becomes of the files of undone stages in one store.
pub struct Undone {
    store: PathBuf,
    /// On purpose: what was removed comes back.
    keeps: bool,
    kept: Mutex<Vec<(PathBuf, String)>>,
}

impl Undone {
    pub fn new(store: &Path, keeps: bool) -> Self {
        Self { store: store.to_owned(), keeps, kept: Mutex::default() }
    }

    /// An event of this sector is on the disk.
    pub fn after(&self, event: &Event, number: u64) {
        match event {
            Event::SetBack { to } => {
                for file in self.made_after(&to.to_string(), number) {
                    disk::flip(&file);
                    if let Some(text) = fs::read_to_string(&file).ok().filter(|_| self.keeps) {
                        self.kept.lock().unwrap().push((file, text));
                    }
                }
            }
            Event::UndoneRemoved => {
                for (file, text) in self.kept.lock().unwrap().drain(..) {
                    fs::create_dir_all(file.parent().expect("files are in folders")).unwrap();
                    fs::write(file, text).unwrap();
                }
            }
            _ => {}
        }
    }

    /// The files that stages after this state make, and that must not be taken for new ones.
    fn made_after(&self, state: &str, number: u64) -> Vec<PathBuf> {
        let paths = SectorPaths::new(crate::chain::MINER, number);
        let made = [
            ("DealsAcquired", paths.staged()),
            ("PieceAdded", paths.prepared().join(TREE_D)),
            ("TicketAssigned", paths.cache().join(LAYERS)),
            ("PC1Done", paths.sealed()),
        ];
        let place = |state: &str| ORDER.iter().position(|known| *known == state);
        let later = made.into_iter().filter(|(begins_in, _)| place(state) <= place(begins_in));
        later.map(|(_, path)| self.store.join(path)).collect()
    }
}
