//! `hugepage-file-init`: from an order to files that are whole, on their node, and proven; or to nothing at all.
//!
//! ```text
//! lock ─ load ─ take back what a killed run left ─ look, plan, check ─┬─ all there: done
//!                                                                     └─ record the run
//!        ┌────────────────────────────────────────────────────────────────────┘
//!        └─► folders, mount ─► record ─► pools ─► staged files: create, fill, verify ─► record ─► publish ─► commit
//!                  └─────────────────────┴──── any failure, any signal: undo ──────────────┴─────────┘
//! ```
//!
//! Always holds: before a pool, a mount or a file changes, the record on disk says so; a file gets its final name after every one of
//! its pages was seen on its node, and the record knows its inode by then.

use super::{
    begin::{self, Begun, begin},
    chosen,
    error::{InitError, Refusal},
    files::{self, How, Job},
    folders,
    look::{self, Facts},
    mounts,
    placement::{self, ProblemKind},
    plan::{self, Plan},
    pool::{self, Raised},
    recover::{self, Undone},
    remove::{self, CutReport},
    request::Order,
    state::{self, Cut, Folder, MadeFile, Raise, Removal, Run, RunFile, State, Store},
    steps::{self, Step},
    verify,
};
use crate::{
    sys::{
        Root, hugetlb, hugetlb_limit,
        hugetlbfs::{self, FileError},
        mempolicy::PagesError,
        stop::Stop,
        users::FileId,
    },
    units::{Bytes, NodeId},
};
use nix::errno::Errno;
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

/// What a run needs of the world.
pub struct World<'a> {
    pub root: &'a Root,
    /// The record; beside it the lock.
    pub state: &'a Path,
    pub stop: &'a Stop,
    pub talk: &'a (dyn Fn(Talk) + Sync),
}

/// What a run says while it is at work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Talk {
    Note(String),
    /// So many bytes of all have been done.
    Raising {
        node: NodeId,
        done: Bytes,
        all: Bytes,
    },
    Filling {
        done: Bytes,
        all: Bytes,
    },
}

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    pub made: Vec<FileReport>,
    /// Files that were there, verified again.
    pub kept: Vec<PathBuf>,
    pub pools: Vec<PoolReport>,
    /// Pages that a repair needed only while old and new files were there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub given_back: Vec<CutReport>,
    pub mounted: Option<PathBuf>,
    /// What a killed run had left and this one took back first.
    pub recovered: Option<Undone>,
    pub seconds_raising: f64,
    pub seconds_filling: f64,
}

/// A file that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileReport {
    pub path: PathBuf,
    pub node: NodeId,
    pub bytes: Bytes,
    pub page_bytes: Bytes,
    pub pages: u64,
}

/// A pool that was raised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PoolReport {
    pub node: NodeId,
    pub page_bytes: Bytes,
    pub before: u64,
    pub after: u64,
}

/// The steps that `init` would take now. Nothing is changed, no lock is taken.
pub fn preview(order: &Order, world: &World) -> Result<(Vec<Step>, Vec<PathBuf>), InitError> {
    begin::note_unfinished(&state::peek(world.root, world.state)?, world);
    let (plan, _) = make_plan(order, world)?;
    let pool_file = |node, page_bytes| hugetlb::pool_file(world.root, node, page_bytes);
    Ok((steps::steps(&plan.run, pool_file), plan.kept))
}

/// Makes what is ordered, all of it or nothing.
pub fn init(order: &Order, world: &World) -> Result<Report, InitError> {
    // What is refused is refused before there is a lock or a folder for it, unless a killed run is in the way.
    if state::peek(world.root, world.state)?.is_settled() {
        make_plan(order, world)?;
    }
    let Begun { store, state, recovered } = begin(world)?;
    let (plan, facts) = make_plan(order, world)?;
    let mut report = Report { kept: plan.kept.clone(), recovered, ..Report::default() };
    if !plan.is_empty() {
        carry_out(order, plan, &facts, state, &store, world, &mut report)?;
    }
    Ok(report)
}

fn make_plan(order: &Order, world: &World) -> Result<(Plan, Facts), InitError> {
    let facts = look::look(world.root)?;
    for target in &order.targets {
        facts.usable(target.node)?;
    }
    let known = state::peek(world.root, world.state)?;
    for folder in &known.folders {
        // Files of one name on two mounts of one place would be one to the record.
        if order.targets.iter().any(|target| target.folder.starts_with(&folder.mount)) {
            mounts::refuse_hidden(world.root, &facts.mounts, &folder.mount, &known.mounts, folder.device())?;
        }
    }
    let places = plan::places(world.root, order, &facts)?;
    let new = places.iter().find(|place| place.is_new).map(|place| place.mount.as_path());
    begin::check_record(world.root, world.state, new)?;
    let points = plan::points(world.root, &places)?;
    let surveys = plan::survey(world.root, order, &facts, places)?;
    let plan = plan::plan(&surveys, &facts, points, &chance(world.root)?)?;
    plan::check(world.root, &plan, &facts)?;
    Ok((plan, facts))
}

/// A name that no other run has.
pub(super) fn chance(root: &Root) -> Result<String, InitError> {
    let uuid = root.read("/proc/sys/kernel/random/uuid")?;
    Ok(uuid.chars().filter(char::is_ascii_hexdigit).take(12).collect())
}

/// Writes down what is about to happen, does it, and either commits it or takes it back.
pub(super) fn carry_out(
    order: &Order,
    plan: Plan,
    facts: &Facts,
    before: State,
    store: &Store,
    world: &World,
    report: &mut Report,
) -> Result<(), InitError> {
    let mut state = before.clone();
    state.run = Some(plan.run);
    let mut work = Work { order, facts, state, store, world };
    let Err(cause) = work.whole(report) else {
        // It is decided: what was replaced goes, and should that fail, it is the next one's to do. There is no way back from here.
        report.given_back = remove::finish(world, &mut work.state, store)?.pools;
        return Ok(());
    };
    let mut undone = recover::undo(world.root, &mut work.state, store);
    // Only when nothing is left to be taken back the record may forget the run.
    if undone.left.is_empty() {
        let mut after = before;
        undone.settle(&mut after, work.run());
        undone.left.extend(store.save(&after).err().map(|error| error.to_string()));
    }
    let cause = with_pool_after(world.root, cause);
    let cause = match undone.stays.is_empty() {
        true => cause,
        false => InitError::Stays { cause: Box::new(cause), what: undone.stays },
    };
    match undone.left.is_empty() {
        true => {
            let what = if matches!(cause, InitError::Stays { .. }) { "everything else" } else { "everything" };
            (world.talk)(Talk::Note(format!("{what} of this run was taken back")));
            Err(cause)
        }
        false => Err(InitError::NotUndone { cause: Box::new(cause), left: undone.left }),
    }
}

/// A shortfall with what the pool really has now.
fn with_pool_after(root: &Root, cause: InitError) -> InitError {
    let InitError::Short(mut short) = cause else { return cause };
    if let Ok(pool) = pool::read(root, short.node, short.page_bytes) {
        short.after = pool::own(&pool);
    }
    InitError::Short(short)
}

/// A run at work.
struct Work<'a> {
    order: &'a Order,
    facts: &'a Facts,
    state: State,
    store: &'a Store,
    world: &'a World<'a>,
}

impl Work<'_> {
    fn run(&mut self) -> &mut Run {
        self.state.run.as_mut().expect("a run at work is in its record")
    }

    fn save(&self) -> Result<(), InitError> {
        Ok(self.store.save(&self.state)?)
    }

    fn whole(&mut self, report: &mut Report) -> Result<(), InitError> {
        self.save()?;
        self.mount()?;
        let began = Instant::now();
        self.raise()?;
        report.seconds_raising = began.elapsed().as_secs_f64();
        self.stage(report)?;
        self.save()?;
        self.publish()?;
        self.commit(report)
    }

    fn check_stop(&self) -> Result<(), InitError> {
        self.world.stop.asked().map_or(Ok(()), |by| Err(InitError::Stopped(by)))
    }

    fn mount(&mut self) -> Result<(), InitError> {
        let root = self.world.root;
        let points = folders::of_points(self.run());
        if !points.is_empty() {
            folders::make(root, &mut self.run().points, &points)?;
            self.save()?;
            folders::publish(root, &points)?;
        }
        let Some(made) = self.run().mount.clone() else { return Ok(()) };
        hugetlbfs::mount_at(root, &made.at, made.page_bytes, &made.source)?;
        match hugetlbfs::look(root, &made.at)? {
            Some(found) if found.page_bytes == made.page_bytes => Ok(()),
            _ => Err(Refusal::Hidden(made.at).into()),
        }
    }

    fn raise(&mut self) -> Result<(), InitError> {
        let world = self.world;
        let added = |raise: &Raise| raise.target.saturating_sub(raise.before + raise.surplus) * raise.page_bytes.0;
        let (all, mut before) = (Bytes(self.run().pools.iter().map(added).sum()), 0);
        for index in 0..self.run().pools.len() {
            // Only a pool that we began to raise is lowered should we be killed: by then others may have added to it.
            self.run().pools[index].is_begun = true;
            self.save()?;
            let raise = self.run().pools[index].clone();
            // Of all nodes together: whoever shows it shows one thing that grows.
            let mut told = |pages: u64| {
                let done = Bytes(before + pages.saturating_mul(raise.page_bytes.0));
                (world.talk)(Talk::Raising { node: raise.node, done, all });
            };
            match pool::raise(world.root, &raise, world.stop, &mut told)? {
                Raised::Reached => {}
                Raised::Stopped(by) => return Err(InitError::Stopped(by)),
                Raised::Short(granted) => {
                    let boot_line = self.boot_line(raise.page_bytes);
                    return Err(InitError::Short(Box::new(pool::shortfall(world.root, &raise, granted, boot_line)?)));
                }
            }
            before += added(&raise);
        }
        Ok(())
    }

    /// What every node's pool of this size would have to be, the untouched ones included.
    fn boot_line(&mut self, page_bytes: Bytes) -> String {
        let now = self.facts.nodes.iter().filter_map(|(id, node)| Some((*id, node.pool(page_bytes)?)));
        let mut pools: BTreeMap<_, _> = now.map(|(id, pool)| (id, pool.pages.saturating_sub(pool.surplus))).collect();
        let raises = self.run().pools.iter().filter(|raise| raise.page_bytes == page_bytes);
        pools.extend(raises.map(|raise| (raise.node, raise.target)));
        pool::boot_line(page_bytes, &pools)
    }

    /// Makes the files under passing names, and proves them.
    fn stage(&mut self, report: &mut Report) -> Result<(), InitError> {
        let root = self.world.root;
        self.run().stagings.iter().try_for_each(|staging| hugetlbfs::make_folder(root, staging))?;
        let folders = folders::of_files(self.run());
        folders::make(root, &mut self.run().folders, &folders)?;
        let jobs = self.create()?;
        let ids: Vec<_> = jobs.iter().map(|job| job.file.metadata().map(|stat| FileId::of(&stat))).collect();
        let keep: Vec<_> = jobs.iter().map(|job| job.file.try_clone()).collect();
        let began = Instant::now();
        self.fill(jobs)?;
        report.seconds_filling = began.elapsed().as_secs_f64();
        for (index, (id, file)) in ids.into_iter().zip(keep).enumerate() {
            self.check_stop()?;
            let planned = self.run().files[index].clone();
            let failed = |source| InitError::Pages { path: planned.staged.clone(), source: PagesError::Stat(source) };
            report.made.push(prove(&planned, &file.map_err(failed)?)?);
            let failed = |source| InitError::Pages { path: planned.staged.clone(), source: PagesError::Stat(source) };
            self.run().files[index].id = Some(id.map_err(failed)?);
        }
        Ok(())
    }

    fn create(&mut self) -> Result<Vec<Job>, InitError> {
        let root = self.world.root;
        let create = |file: &RunFile| {
            Ok(Job {
                file: hugetlbfs::create(root, &file.staged, file.bytes)?,
                path: file.staged.clone(),
                bytes: file.bytes,
                page_bytes: file.page_bytes,
                node: file.node,
            })
        };
        self.run().files.iter().map(create).collect()
    }

    fn fill(&mut self, jobs: Vec<Job>) -> Result<(), InitError> {
        let world = self.world;
        let (all, done) = (Bytes(jobs.iter().map(|job| job.bytes.0).sum()), AtomicU64::new(0));
        let told = |bytes| {
            let done = Bytes(done.fetch_add(bytes, Ordering::Relaxed) + bytes);
            (world.talk)(Talk::Filling { done, all });
        };
        let cpus = self.facts.nodes.iter().map(|(id, node)| (*id, node.cpus.clone())).collect();
        let how = How { cpus: &cpus, threads: self.order.threads, stop: world.stop, told: &told };
        files::fill(world.root, jobs, &how).map_err(|error| self.explain(error))
    }

    /// "No space left" of a pool that had enough: a cgroup's limit, or somebody was quicker.
    fn explain(&mut self, error: InitError) -> InitError {
        let InitError::File(FileError { path, source, .. }) = &error else { return error };
        if source.raw_os_error() != Some(Errno::ENOSPC as i32) {
            return error;
        }
        let bytes = Bytes(self.run().files.iter().map(|file| file.bytes.0).sum());
        let Some(file) = self.run().files.iter().find(|file| file.staged == *path).cloned() else { return error };
        match hugetlb_limit::narrowest(self.world.root, file.page_bytes) {
            Ok(Some(limit)) if limit.left() < file.page_bytes => {
                InitError::CgroupLimit { bytes, page: file.page_bytes, limit }
            }
            _ => InitError::Taken { node: file.node, path: file.path },
        }
    }

    /// Gives the files their names.
    fn publish(&mut self) -> Result<(), InitError> {
        let root = self.world.root;
        self.refuse_used()?;
        folders::publish(root, &folders::of_files(self.run()))?;
        for file in self.run().files.clone() {
            self.check_stop()?;
            if let Some(old) = file.replaces {
                hugetlbfs::set_aside(root, &file.path, &file.aside(), old)?;
            }
            hugetlbfs::publish(root, &file.staged, &file.path)?;
        }
        for staging in self.run().stagings.clone() {
            hugetlbfs::remove_folder(root, &staging)?;
        }
        Ok(())
    }

    /// Files that make way were asked about before the filling, which takes minutes: by now somebody may have begun to use them.
    fn refuse_used(&mut self) -> Result<(), InitError> {
        let root = self.world.root;
        let replaced = self.run().files.iter().filter_map(|file| Some((file.path.clone(), file.replaces?)));
        let replaced: BTreeMap<PathBuf, FileId> = replaced.collect();
        let users = chosen::users_of(root, &replaced.values().copied().collect::<Vec<_>>())?;
        verify::refuse_mapped(root, &replaced, &users, false)
    }

    /// From here on the files stay: one record says so, and forgets the run.
    fn commit(&mut self, report: &mut Report) -> Result<(), InitError> {
        let mut after = self.state.clone();
        let run = after.run.take().expect("a run at work is in its record");
        let cuts = spare(&run, |file| allocated(self.world.root, &file.aside()));
        for folder in made_folders(&run, &cuts) {
            after.add(folder);
        }
        after.points.extend(run.points);
        after.mounts.extend(run.mount.clone());
        let replaces = run.files.iter().any(|file| file.replaces.is_some());
        let trees = run.stagings.clone();
        after.removal = replaces.then(|| Removal { pid: run.pid, trees, cuts, ..Removal::default() });
        self.store.save(&after)?;
        self.state = after;
        report.mounted = run.mount.map(|mount| mount.at);
        report.pools = run
            .pools
            .iter()
            .map(|raise| PoolReport {
                node: raise.node,
                page_bytes: raise.page_bytes,
                before: raise.before,
                after: raise.target,
            })
            .collect();
        Ok(())
    }
}

/// That every page of a file lies on its node.
fn prove(planned: &RunFile, file: &File) -> Result<FileReport, InitError> {
    let failed = |source| InitError::Pages { path: planned.staged.clone(), source };
    let pages = placement::count(file, planned.page_bytes).map_err(failed)?;
    let on_node = pages.get(&planned.node).copied().unwrap_or(0);
    if pages.len() != 1 || on_node != planned.bytes.0 / planned.page_bytes.0 {
        let kind = ProblemKind::Misplaced { pages, wanted: planned.node };
        return Err(InitError::Misplaced { path: planned.path.clone(), kind });
    }
    Ok(FileReport {
        path: planned.path.clone(),
        node: planned.node,
        bytes: planned.bytes,
        page_bytes: planned.page_bytes,
        pages: on_node,
    })
}

/// What a pool was raised by only because old files were there beside the new ones: no more than they have, and no more than
/// the raise. Pages of theirs on another node cannot be had here, and are then not taken.
pub(super) fn spare(run: &Run, allocated: impl Fn(&RunFile) -> Bytes) -> Vec<Cut> {
    let spare = |raise: &Raise| {
        let of_pool = |file: &&RunFile| (file.node, file.page_bytes) == (raise.node, raise.page_bytes);
        let old = run.files.iter().filter(|file| file.replaces.is_some()).filter(of_pool);
        let pages: u64 = old.map(|file| allocated(file).0 / file.page_bytes.0.max(1)).fold(0, u64::saturating_add);
        let by = pages.min(raise.target.saturating_sub(raise.before + raise.surplus));
        (by > 0).then_some(Cut { node: raise.node, page_bytes: raise.page_bytes, by, before: None })
    };
    run.pools.iter().filter_map(spare).collect()
}

/// What the pages of a file take; of one that cannot be looked at, nothing.
pub(super) fn allocated(root: &Root, path: &Path) -> Bytes {
    use std::os::unix::fs::MetadataExt;
    let stat = std::fs::symlink_metadata(root.path(path));
    stat.map_or(Bytes(0), |stat| if stat.is_file() { Bytes(stat.blocks() * 512) } else { Bytes(0) })
}

/// What a finished run made, folder by folder. The pages that a pool was raised by are counted to the folders in turn, to none
/// more than its files have.
fn made_folders(run: &Run, cuts: &[Cut]) -> Vec<Folder> {
    let spared = |raise: &Raise| {
        let of_pool = cuts.iter().filter(|cut| (cut.node, cut.page_bytes) == (raise.node, raise.page_bytes));
        of_pool.map(|cut| cut.by).sum::<u64>()
    };
    let mut added: BTreeMap<_, _> = run
        .pools
        .iter()
        .map(|raise| ((raise.node, raise.page_bytes), (raise.target - raise.before).saturating_sub(spared(raise))))
        .collect();
    let keys: BTreeSet<_> = run.files.iter().map(|file| (&file.mount, file.path.parent())).collect();
    let mut made = Vec::new();
    for (mount, folder) in keys {
        let Some(folder) = folder else { continue };
        let files: Vec<_> =
            run.files.iter().filter(|file| file.mount == *mount && file.path.parent() == Some(folder)).collect();
        let Some(first) = files.first() else { continue };
        let pages = files.iter().map(|file| file.bytes.0 / file.page_bytes.0).sum::<u64>();
        let pool = added.entry((first.node, first.page_bytes)).or_default();
        let pages_added = pages.min(*pool);
        *pool -= pages_added;
        let record = |file: &&RunFile| {
            let name = file.path.file_name()?.to_string_lossy().into_owned();
            Some(MadeFile { name, bytes: file.bytes, id: file.id? })
        };
        made.push(Folder {
            mount: mount.clone(),
            folder: folder.to_owned(),
            node: first.node,
            page_bytes: first.page_bytes,
            pages_added,
            folders_made: run.folders.iter().filter(|made| folder.starts_with(&made.path)).cloned().collect(),
            files: files.iter().filter_map(record).collect(),
        });
    }
    // What is left was raised for promises that others hold: it goes with the last folder of that node.
    for ((node, page_bytes), rest) in added.into_iter().filter(|(_, rest)| *rest > 0) {
        if let Some(folder) = made.iter_mut().rev().find(|made| made.node == node && made.page_bytes == page_bytes) {
            folder.pages_added += rest;
        }
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hugepage::state::MadeFolder;

    fn file(folder: &str, node: u32, inode: u64) -> RunFile {
        RunFile {
            mount: "/m".into(),
            path: Path::new(folder).join(inode.to_string()),
            staged: "/m/.staging/x".into(),
            node: NodeId(node),
            page_bytes: Bytes::gib(1),
            bytes: Bytes::gib(2),
            device: None,
            replaces: None,
            id: Some(FileId { device: 1, inode }),
        }
    }

    fn raised(node: u32, by: u64) -> Raise {
        Raise {
            node: NodeId(node),
            page_bytes: Bytes::gib(1),
            before: 5,
            surplus: 0,
            target: 5 + by,
            is_begun: true,
            before_undo: None,
        }
    }

    #[test]
    fn a_page_on_another_node_is_no_proof() {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, vec![1; 4 * 4096]).unwrap();
        let stored = File::open(&path).unwrap();
        let lies = placement::count(&stored, Bytes(4096)).unwrap();
        let (node, pages) = lies.into_iter().next().unwrap();
        let planned = |node, bytes| RunFile { node, bytes, page_bytes: Bytes(4096), ..file("/m/numa_0", 0, 1) };
        if pages == 4 {
            assert_eq!(prove(&planned(node, Bytes::kib(16)), &stored).unwrap().pages, 4);
        }
        for wrong in [planned(NodeId(node.0 + 1), Bytes::kib(16)), planned(node, Bytes::kib(20))] {
            let error = prove(&wrong, &stored).unwrap_err();
            assert!(matches!(&error, InitError::Misplaced { .. }), "{error}");
            assert!(error.to_string().contains(&format!("they should all lie on node {}", wrong.node)), "{error}");
        }
    }

    #[test]
    fn what_a_repair_needs_for_a_moment_only_is_spare_and_not_counted_to_a_folder() {
        let id = FileId { device: 1, inode: 9 };
        let old = RunFile { replaces: Some(id), ..file("/m/a/numa_0", 0, 1) };
        let run = Run {
            pools: vec![raised(0, 3), raised(1, 4)],
            files: vec![old, file("/m/a/numa_1", 1, 2)],
            ..Run::default()
        };
        let by = |gib| spare(&run, |_| Bytes::gib(gib)).iter().map(|cut| (cut.node.0, cut.by)).collect::<Vec<_>>();
        assert_eq!((by(2), by(9), by(0)), (vec![(0, 2)], vec![(0, 3)], vec![]));
        let made = made_folders(&run, &spare(&run, |_| Bytes::gib(2)));
        assert_eq!(made.iter().map(|made| made.pages_added).collect::<Vec<_>>(), [1, 4]);
    }

    #[test]
    fn the_pages_that_were_added_are_counted_to_the_folders_once() {
        let run = Run {
            pools: vec![raised(0, 5), raised(1, 7)],
            folders: ["/m/a", "/m/a/numa_0", "/m/a/numa_1"].map(|path| MadeFolder::planned(path.into())).into(),
            files: vec![
                file("/m/a/numa_0", 0, 1),
                file("/m/a/numa_0", 0, 2),
                file("/m/b/numa_0", 0, 3),
                file("/m/a/numa_1", 1, 4),
            ],
            ..Run::default()
        };
        let made = made_folders(&run, &[]);
        let added: Vec<_> = made.iter().map(|made| (made.folder.to_str().unwrap(), made.pages_added)).collect();
        // Four pages' worth in the first folder, one of two in the next; node 1 had been raised for a promise too.
        assert_eq!(added, [("/m/a/numa_0", 4), ("/m/a/numa_1", 7), ("/m/b/numa_0", 1)]);
        assert_eq!(made[0].folders_made, run.folders[..2]);
        assert!(made[2].folders_made.is_empty(), "it was there");
        assert_eq!(made[0].files.iter().map(|file| file.id.inode).collect::<Vec<_>>(), [1, 2]);
    }
}
