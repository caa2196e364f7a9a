//! Who does the stages' work in the simulation: the shipped ledger, and children that take their time, fail, and fall.
//!
//! A task changes files at its start and at its end, as the real stage would: what a crash leaves in between is half done.
//! Each stage looks at what it finds. One that would work on something torn, or on another sector's files, is a finding.

use crate::{deals, plan::Plan, time::Timeline, watch::Watch};
use damocles_worker::runtime::{
    limit::{Health, Rules},
    processor::{
        End, Executor, Output, Slot, StageError, Task,
        ledger::{Ledger, Site},
        restart::{Pace, Restarts},
    },
    stage::{C2Output, Opaque, Pc1Task, Pc2Output, Pc2Task, PieceInfo, Stage, TREE_D, layout::zero_commitment},
    store::transfer::transfer,
};
use damocles_worker::{runtime::manager::wire::SectorId, units::SealProof};
use rand::{Rng, rngs::StdRng};
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// What the hands do wrong on purpose, so that a test sees the checkers find it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mistake {
    /// The ledger does not know of this rule.
    NoConcurrent,
    NoStaggered,
    NoRooms,
    NoLocks,
    /// An interrupted pc2 is not undone, only said to be.
    NoRestore,
    /// Every c2 works for ever.
    EndlessC2,
    /// What the undone stages made stays.
    KeepUndone,
}

/// 32 bytes that belong to a sector and something else.
pub fn seal_of(id: SectorId, with: &[u8]) -> [u8; 32] {
    digest(&[&id.miner.to_le_bytes(), &id.number.to_le_bytes(), with])
}

/// The beginning of every proof that verifies; what follows is chance, as in a real one.
pub fn proof_of(comm_r: &[u8; 32], seed: &[u8; 32]) -> [u8; 32] {
    digest(&[comm_r, seed])
}

/// The bytes of a finished replica.
pub fn replica_of(name: &str, ticket: &[u8; 32]) -> String {
    format!("replica of {name} with {ticket:02x?}")
}

/// The commitment of a deal's data.
pub fn piece_of(deal: u64) -> [u8; 32] {
    digest(&[b"piece", &deal.to_le_bytes()])
}

/// A stage's file as it is when it is whole. Like the shipped stages, the hands take one that they find as it is, so a bit
/// that flipped in it (`disk::flip`) goes on into whatever is made of it.
fn tree_of(name: &str) -> String {
    format!("tree of {name}")
}

fn layers_of(name: &str, ticket: &[u8; 32]) -> String {
    format!("layers of {name} with {ticket:02x?}")
}

/// The last layer, in a sector's cache folder.
pub const LAYERS: &str = "sc-02-data-layer-2.dat";
/// What pc1 found out: the sector's name and number, its ticket, the commitment of its data.
type Labels = (String, u64, [u8; 32], [u8; 32]);

fn unsealed(name: &str) -> String {
    format!("unsealed {name}")
}

pub fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut state = blake2b_simd::Params::new().hash_length(32).to_state();
    for part in parts {
        state.update(part);
    }
    state.finalize().as_bytes().try_into().expect("32 bytes were asked for")
}

/// The executor of one daemon, from its start to its end.
pub struct Hands {
    timeline: Arc<Timeline>,
    watch: Arc<Mutex<Watch>>,
    mistake: Option<Mistake>,
    /// Whether what pc2 answers is checked: a wrong answer may come then.
    verified: bool,
    inner: Mutex<Inner>,
}

struct Inner {
    ledger: Ledger,
    rng: StdRng,
    troubled: bool,
    working: BTreeMap<Slot, Working>,
    queued: BTreeMap<Slot, Stage>,
    granted: BTreeMap<Slot, Stage>,
    children: BTreeMap<(Stage, usize), Life>,
}

struct Working {
    task: Task,
    site: Site,
    over: Instant,
    fails: Option<bool>,
}

/// A child, as its supervisor sees it.
struct Life {
    restarts: Restarts,
    since: Instant,
    /// When it comes back, if it is down.
    back: Option<Instant>,
}

impl Hands {
    /// A daemon starts: its children come up one after the other.
    pub fn new(
        timeline: Arc<Timeline>,
        watch: Arc<Mutex<Watch>>,
        plan: &Plan,
        mut rng: StdRng,
        mistake: Option<Mistake>,
    ) -> Arc<Self> {
        let (rules, verified) = (&plan.rules, plan.sealing.verify_after_pc2);
        let now = timeline.now();
        let kinds = rules.processors.iter().flat_map(|(stage, rooms)| (0..rooms.len()).map(|index| (*stage, index)));
        let children = kinds
            .map(|kind| {
                let back = Some(now + Duration::from_millis(rng.gen_range(0..3000)));
                (kind, Life { restarts: Restarts::new(Pace::DEFAULT), since: now, back })
            })
            .collect();
        let ledger = Ledger::new(forgetting(rules.clone(), mistake));
        let inner = Inner {
            ledger,
            rng,
            troubled: true,
            working: BTreeMap::new(),
            queued: BTreeMap::new(),
            granted: BTreeMap::new(),
            children,
        };
        Arc::new(Self { timeline, watch, mistake, verified, inner: Mutex::new(inner) })
    }

    /// From now on no task fails and no child falls.
    pub fn calm_down(&self) {
        self.inner.lock().unwrap().troubled = false;
    }

    /// The next moment at which something happens by itself.
    pub fn next(&self) -> Option<Instant> {
        let inner = self.inner.lock().unwrap();
        let ends = inner.working.values().map(|working| working.over);
        ends.chain(inner.children.values().filter_map(|life| life.back)).min()
    }

    /// Tasks end, children fall and come back.
    pub fn tick(&self) {
        let now = self.timeline.now();
        let mut inner = self.inner.lock().unwrap();
        let inner = &mut *inner;
        let back: Vec<_> = inner
            .children
            .iter()
            .filter(|(_, life)| life.back.is_some_and(|back| back <= now))
            .map(|(kind, _)| *kind)
            .collect();
        for kind in back {
            let life = inner.children.get_mut(&kind).expect("just seen");
            (life.back, life.since) = (None, now);
            inner.ledger.set_health(kind.0, kind.1, Health::Up);
            self.watch.lock().unwrap().child(kind.0, kind.1, true);
        }
        while let Some(slot) = inner.working.iter().find(|(_, working)| working.over <= now).map(|(slot, _)| *slot) {
            let working = inner.working.remove(&slot).expect("just seen");
            self.end(inner, slot, working, now);
        }
        if inner.troubled && !inner.children.is_empty() && inner.rng.gen_bool(0.002) {
            let nth = inner.rng.gen_range(0..inner.children.len());
            let kind = *inner.children.keys().nth(nth).expect("there are so many");
            self.fall(inner, kind, now);
        }
        self.look_for_grants(inner, now);
    }

    fn end(&self, inner: &mut Inner, slot: Slot, working: Working, now: Instant) {
        let stage = working.task.stage();
        let refused = |permanent| Err(StageError { stage, reason: "simulated failure".into(), permanent });
        let result = match working.fails {
            Some(permanent) => refused(permanent),
            None => self.finish(&working.task, inner.troubled, &mut inner.rng).map_err(|reason| StageError {
                stage,
                reason,
                permanent: false,
            }),
        };
        if let (Task::C1(_), Ok(_), Some(thread)) = (&working.task, &result, thread_of(&working.task)) {
            self.watch.lock().unwrap().proven(thread);
        }
        self.watch.lock().unwrap().ends(slot);
        inner.ledger.ended(slot, result, now);
    }

    /// A child dies: what it had has failed, and it comes back after a pause.
    fn fall(&self, inner: &mut Inner, kind: (Stage, usize), now: Instant) {
        let life = inner.children.get_mut(&kind).expect("it is one of them");
        if life.back.is_some() {
            return;
        }
        life.back = Some(now + life.restarts.pause(now - life.since));
        self.watch.lock().unwrap().child(kind.0, kind.1, false);
        self.watch.lock().unwrap().saw("child died");
        inner.ledger.set_health(kind.0, kind.1, Health::Down);
        let at_it = |working: &Working| working.task.stage() == kind.0 && working.site == Site::Child(kind.1);
        let lost: Vec<_> = inner.working.iter().filter(|(_, working)| at_it(working)).map(|(slot, _)| *slot).collect();
        for slot in lost {
            inner.working.remove(&slot);
            let reason = "its child was killed".to_owned();
            inner.ledger.ended(slot, Err(StageError { stage: kind.0, reason, permanent: false }), now);
            self.watch.lock().unwrap().ends(slot);
        }
        // Seats in which nothing had begun are taken back.
        let taken: Vec<_> =
            inner.granted.iter().filter(|(_, stage)| **stage == kind.0).map(|(slot, _)| *slot).collect();
        for slot in taken.into_iter().rev() {
            if !inner.ledger.granted(slot, now) {
                inner.granted.remove(&slot);
                inner.queued.insert(slot, kind.0);
                self.watch.lock().unwrap().put_back(slot, kind.0);
            }
        }
    }

    /// Tells the watch of every slot that has been given meanwhile, in the order in which they were queued for.
    fn look_for_grants(&self, inner: &mut Inner, now: Instant) {
        for (slot, stage) in inner.queued.clone() {
            if inner.ledger.granted(slot, now) {
                inner.queued.remove(&slot);
                inner.granted.insert(slot, stage);
                self.watch.lock().unwrap().granted(slot, stage, now);
            }
        }
    }

    fn find(&self, what: String) {
        self.watch.lock().unwrap().find(format!("files: {what}"));
    }

    /// What a stage does to the files before it is done.
    fn begin(&self, task: &Task) -> std::io::Result<()> {
        match task {
            Task::AddPieces(task) => fs::write(&task.staged_filepath, "unsea"),
            Task::TreeD(task) => {
                let tree = task.cache_dir.join(TREE_D);
                if is_whole(&tree, &tree_of(&name_of(&task.staged_file))) {
                    return Ok(());
                }
                fs::write(tree, "half a tree")
            }
            Task::Pc1(task) => fs::write(&task.out_path, "unsea"),
            Task::RestoreReplica(task) => fs::write(&task.sealed_file, "unsea"),
            Task::Pc2(task) => {
                self.look_at_layers(task)?;
                let name = name_of(&task.sealed_file);
                let found = fs::read_to_string(&task.sealed_file)?;
                if found != unsealed(&name) {
                    self.find(format!("pc2 would encode {name}, which is {found:?} already"));
                }
                fs::write(&task.sealed_file, "half encoded")
            }
            Task::C1(_) | Task::C2(_) | Task::Transfer(_) => Ok(()),
        }
    }

    fn look_at_layers(&self, task: &Pc2Task) -> std::io::Result<()> {
        let (name, _, ticket, _): Labels = task.pc1out.read()?;
        let found = fs::read_to_string(task.cache_dir.join(LAYERS))?;
        if found != layers_of(&name, &ticket) {
            self.find(format!("pc2 of {name} uses other layers than its own: {found:?}"));
        }
        Ok(())
    }

    /// The layers, with the tree that they are for looked at.
    fn label(&self, task: &Pc1Task) -> std::io::Result<Labels> {
        let name = name_of(&task.out_path);
        let data = deals::data_among(&task.piece_infos);
        let tree = fs::read_to_string(task.cache_path.join(TREE_D))?;
        let of_all_empty_sectors = data.is_empty() && tree.len() == 4064;
        if tree != tree_of(&name) && !of_all_empty_sectors {
            self.find(format!("pc1 of {name} uses another tree than its own: {tree:?}"));
        }
        let (layers, whole) = (task.cache_path.join(LAYERS), layers_of(&name, &task.ticket));
        if !is_whole(&layers, &whole) {
            fs::write(layers, whole)?;
        }
        fs::copy(&task.in_path, &task.out_path)?;
        Ok((name, task.sector_id, task.ticket, deals::comm_d_of(&data)))
    }

    /// What a stage leaves when it is done, and its answer.
    fn finish(&self, task: &Task, troubled: bool, rng: &mut StdRng) -> Result<Output, String> {
        let io = |error: std::io::Error| error.to_string();
        Ok(match task {
            Task::AddPieces(task) => {
                fs::write(&task.staged_filepath, unsealed(&name_of(&task.staged_filepath))).map_err(io)?;
                Output::AddPieces(if task.pieces.is_empty() {
                    vec![PieceInfo { commitment: zero_commitment(2048), size: 2032 }]
                } else {
                    deals::added(&task.pieces, troubled && rng.gen_bool(0.02))
                })
            }
            Task::TreeD(task) => {
                let (tree, whole) = (task.cache_dir.join(TREE_D), tree_of(&name_of(&task.staged_file)));
                if !is_whole(&tree, &whole) {
                    fs::write(tree, whole).map_err(io)?;
                }
                Output::TreeD
            }
            Task::Pc1(task) => {
                Output::Pc1(Opaque::new(&self.label(task).map_err(io)?).map_err(|error| error.to_string())?)
            }
            Task::RestoreReplica(task) => {
                if self.mistake != Some(Mistake::NoRestore) {
                    fs::copy(&task.staged_file, &task.sealed_file).map_err(io)?;
                }
                Output::RestoreReplica
            }
            Task::Pc2(task) => {
                let (name, number, ticket, comm_d): Labels = task.pc1out.read().map_err(|error| error.to_string())?;
                fs::write(&task.sealed_file, replica_of(&name, &ticket)).map_err(io)?;
                for file in ["p_aux", "t_aux", "sc-02-data-tree-r-last.dat"] {
                    fs::write(task.cache_dir.join(file), format!("{file} of {name} {ticket:02x?}")).map_err(io)?;
                }
                let id = SectorId { miner: crate::chain::MINER, number };
                let registered_proof = SealProof::from_number(5).expect("2 KiB");
                // A bit that flips in memory: the files are sound, and what is said of them is not.
                let flipped = self.verified && troubled && rng.gen_bool(0.2);
                let comm_r = if flipped { [0; 32] } else { seal_of(id, &ticket) };
                Output::Pc2(Pc2Output { registered_proof, comm_r, comm_d })
            }
            Task::C1(task) => {
                let name = name_of(&task.sealed_file);
                if fs::read_to_string(&task.sealed_file).map_err(io)? != replica_of(&name, &task.ticket) {
                    self.find(format!("c1 of {name} finds no replica of its own"));
                }
                let id = SectorId { miner: crate::chain::MINER, number: task.sector_id };
                if task.pc2out.comm_r != seal_of(id, &task.ticket) {
                    self.watch.lock().unwrap().saw("flipped bit found");
                    return Err("the vanilla proofs do not verify".into());
                }
                Output::C1(Opaque::new(&(task.pc2out.comm_r, task.seed)).map_err(|error| error.to_string())?)
            }
            Task::C2(task) => {
                let (comm_r, seed): ([u8; 32], [u8; 32]) = task.c1out.read().map_err(|error| error.to_string())?;
                let chance: [u8; 16] = rng.r#gen();
                Output::C2(C2Output { proof: [&proof_of(&comm_r, &seed)[..], &chance].concat() })
            }
            Task::Transfer(task) => {
                transfer(task).map_err(|error| error.to_string())?;
                Output::Transfer
            }
        })
    }
}

/// The rules without the one that is to be broken.
fn forgetting(mut rules: Rules, mistake: Option<Mistake>) -> Rules {
    let rooms = |rules: &mut Rules, change: &dyn Fn(&mut damocles_worker::runtime::limit::Room)| {
        rules.processors.values_mut().flatten().for_each(change);
    };
    match mistake {
        Some(Mistake::NoConcurrent) => rules.concurrent.clear(),
        Some(Mistake::NoStaggered) => rules.staggered.clear(),
        Some(Mistake::NoRooms) => rooms(&mut rules, &|room| room.concurrent = None),
        Some(Mistake::NoLocks) => rooms(&mut rules, &|room| room.locks.clear()),
        _ => {}
    }
    rules
}

/// Whether a file of an earlier run is taken for this one: whole, whatever bits have flipped in it.
fn is_whole(file: &Path, whole: &str) -> bool {
    fs::read_to_string(file).is_ok_and(|found| found.starts_with(whole))
}

fn name_of(file: &Path) -> String {
    file.file_name().expect("files have names").to_string_lossy().into_owned()
}

/// The thread whose store a task works in: the folder `store-N` above its files; c2 has none.
fn thread_of(task: &Task) -> Option<usize> {
    let file = match task {
        Task::AddPieces(task) => &task.staged_filepath,
        Task::TreeD(task) => &task.staged_file,
        Task::Pc1(task) => &task.in_path,
        Task::RestoreReplica(task) => &task.staged_file,
        Task::Pc2(task) => &task.sealed_file,
        Task::C1(task) => &task.sealed_file,
        Task::Transfer(task) => &task.routes.first()?.src.uri,
        Task::C2(_) => return None,
    };
    file.components().find_map(|part| part.as_os_str().to_str()?.strip_prefix("store-")?.parse().ok())
}

fn sector_of(task: &Task) -> Option<u64> {
    if let Task::C2(task) = task { Some(task.sector_id) } else { None }
}

impl Executor for Hands {
    fn queue(&self, stage: Stage) -> Slot {
        let mut inner = self.inner.lock().unwrap();
        let slot = inner.ledger.queue(stage, self.timeline.now());
        inner.queued.insert(slot, stage);
        self.watch.lock().unwrap().queued(slot, stage);
        slot
    }

    fn granted(&self, slot: Slot) -> bool {
        let now = self.timeline.now();
        let mut inner = self.inner.lock().unwrap();
        let granted = inner.ledger.granted(slot, now);
        self.look_for_grants(&mut inner, now);
        granted
    }

    fn start(&self, slot: Slot, task: Task) {
        let now = self.timeline.now();
        let mut inner = self.inner.lock().unwrap();
        let stage = task.stage();
        inner.granted.remove(&slot);
        inner.queued.remove(&slot);
        let Some(site) = inner.ledger.start(slot, stage, now).site else {
            return self.watch.lock().unwrap().left(slot);
        };
        {
            let mut watch = self.watch.lock().unwrap();
            let by_sector = || sector_of(&task).and_then(|number| watch.thread_with(number));
            match thread_of(&task).or_else(by_sector) {
                Some(thread) => watch.begins(slot, stage, site, thread, now),
                None => watch.find(format!("{stage} works for a sector that no thread has")),
            }
        }
        if let Err(error) = self.begin(&task) {
            self.find(format!("{stage} finds its files not prepared: {error}"));
        }
        let fails = inner.troubled.then(|| inner.rng.gen_range(0..1000)).and_then(|dice| match dice {
            0..40 => Some(false),
            40 => Some(true),
            _ => None,
        });
        let endless = self.mistake == Some(Mistake::EndlessC2) && stage == Stage::C2;
        let length = Duration::from_millis(inner.rng.gen_range(500..600_000));
        let over = now + if endless { Duration::from_secs(1_000_000_000) } else { length };
        inner.working.insert(slot, Working { task, site, over, fails });
    }

    fn poll(&self, slot: Slot) -> Option<End> {
        self.inner.lock().unwrap().ledger.poll(slot)
    }

    fn give_up(&self, slot: Slot) {
        let mut inner = self.inner.lock().unwrap();
        inner.ledger.give_up(slot);
        if !inner.working.contains_key(&slot) {
            inner.queued.remove(&slot);
            inner.granted.remove(&slot);
            self.watch.lock().unwrap().left(slot);
        }
    }
}
