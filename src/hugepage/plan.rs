//! Facts and an order → what a run is about to do: folder by folder, pool by pool, file by file.
//!
//! The answer is the record of the run, so that what is planned, what is written down before anything changes, and what is
//! taken back after a failure are one value.
//!
//! Pure, but for `survey`, which looks at what is there already.

use super::{
    error::{InitError, Refusal},
    look::Facts,
    mounts::{self, Place},
    placement::{self, Found, Problem},
    pool,
    request::{Order, Target, pages_per_file},
    state::{MadeFolder, MadeMount, Raise, Run, RunFile},
};
use crate::{
    sys::{Root, hugetlb, hugetlb_limit},
    units::{Bytes, NodeId},
};
use nix::unistd::{AccessFlags, access, geteuid};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// A target and what is there of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    pub target: Target,
    pub place: Place,
    /// Of the mount, where it is there.
    pub device: Option<u64>,
    /// Pages of each file.
    pub pages_per_file: u64,
    /// Folders on the mount that are missing, outermost first.
    pub folders: Vec<PathBuf>,
    pub complete: Vec<PathBuf>,
    pub missing: Vec<PathBuf>,
}

/// Everything that is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub run: Run,
    /// Files that are there and will do.
    pub kept: Vec<PathBuf>,
}

impl Plan {
    /// Whether all is there.
    pub fn is_empty(&self) -> bool {
        self.run.files.is_empty()
    }
}

/// Where the folder of each target lies, or will.
pub fn places(root: &Root, order: &Order, facts: &Facts) -> Result<Vec<Place>, InitError> {
    let mount = match &order.mount {
        None => None,
        Some(at) => {
            if !order.targets.iter().any(|target| target.folder.starts_with(at)) {
                return Err(Refusal::MountElsewhere(at.clone()).into());
            }
            mounts::missing_folders(root, at)?;
            Some(mounts::asked_for(&facts.mounts, at, order.page_bytes, &facts.page_sizes)?)
        }
    };
    let place = |target: &Target| match &mount {
        Some(place) if place.is_new && target.folder.starts_with(&place.mount) => Ok(place.clone()),
        _ => {
            // A link first: a folder behind one may look as if it lay elsewhere.
            mounts::missing_folders(root, &target.folder)?;
            Ok(mounts::place(&facts.mounts, &target.folder, order.page_bytes)?)
        }
    };
    order.targets.iter().map(place).collect()
}

/// Looks at what is there of every target; files that are not as they should be are all named.
pub fn survey(root: &Root, order: &Order, facts: &Facts, places: Vec<Place>) -> Result<Vec<Survey>, InitError> {
    let (mut surveys, mut problems) = (Vec::new(), Vec::new());
    refuse_twice(order)?;
    for (target, place) in order.targets.iter().zip(places) {
        facts.usable(target.node)?;
        let pages_per_file = pages_per_file(target.file_bytes, place.page_bytes)?;
        let folders = if place.is_new { new_folders(target, &place) } else { there(root, target, &place)? };
        let device = mounts::device(root, &place);
        let mut survey = Survey {
            target: target.clone(),
            device,
            place,
            pages_per_file,
            folders,
            complete: vec![],
            missing: vec![],
        };
        survey.look_at_files(root, &mut problems)?;
        surveys.push(survey);
    }
    if problems.is_empty() { Ok(surveys) } else { Err(InitError::Problems(problems)) }
}

impl Survey {
    fn look_at_files(&mut self, root: &Root, problems: &mut Vec<Problem>) -> Result<(), InitError> {
        let Target { node, file_bytes, .. } = self.target;
        // On a mount that is yet to be made nothing is there, whatever may be there now under its name.
        let is_bare = self.place.is_new || !self.folders.is_empty();
        for path in self.target.paths() {
            let found = match is_bare {
                true => Found::Missing,
                false => placement::judge(root, &path, file_bytes, node, self.place.page_bytes)?,
            };
            match found {
                Found::Missing => self.missing.push(path),
                Found::Complete(_) => self.complete.push(path),
                Found::Wrong(problem) => problems.push(problem),
            }
        }
        Ok(())
    }

    fn pages(&self) -> Result<u64, Refusal> {
        self.pages_per_file.checked_mul(self.missing.len() as u64).ok_or(Refusal::TooMuch)
    }
}

fn refuse_twice(order: &Order) -> Result<(), Refusal> {
    let mut seen = BTreeSet::new();
    let twice = order.targets.iter().flat_map(Target::paths).find(|path| !seen.insert(path.clone()));
    twice.map_or(Ok(()), |path| Err(Refusal::Twice(path)))
}

fn new_folders(target: &Target, place: &Place) -> Vec<PathBuf> {
    let below = target.folder.ancestors().take_while(|folder| *folder != place.mount).map(Path::to_owned);
    let mut folders: Vec<_> = below.collect();
    folders.reverse();
    folders
}

pub(super) fn there(root: &Root, target: &Target, place: &Place) -> Result<Vec<PathBuf>, InitError> {
    let (there, folders) = mounts::missing_folders(root, &target.folder)?;
    mounts::check_on_mount(root, &there, place)?;
    Ok(folders)
}

/// What is to be done for `surveys`, under the name `id`.
pub fn plan(surveys: &[Survey], facts: &Facts, points: Vec<PathBuf>, id: &str) -> Result<Plan, Refusal> {
    let work: Vec<_> = surveys.iter().filter(|survey| !survey.missing.is_empty()).collect();
    let kept = surveys.iter().flat_map(|survey| survey.complete.clone()).collect();
    let mut run = Run { id: id.to_owned(), pid: std::process::id(), pools: raises(&work, facts)?, ..Run::default() };
    if let Some(place) = work.iter().map(|survey| &survey.place).find(|place| place.is_new) {
        let (at, page_bytes) = (place.mount.clone(), place.page_bytes);
        run.mount = Some(MadeMount { at, page_bytes, source: format!("damocles-worker-{id}") });
        run.points = points.into_iter().map(MadeFolder::planned).collect();
    }
    // Sorted by name, a folder stands before what lies in it.
    let stagings: BTreeSet<_> = work.iter().map(|survey| staging(&survey.place.mount, id)).collect();
    let folders: BTreeSet<_> = work.iter().flat_map(|survey| survey.folders.clone()).collect();
    run.stagings = stagings.into_iter().collect();
    run.folders = folders.into_iter().map(MadeFolder::planned).collect();
    for survey in &work {
        for path in &survey.missing {
            let staged = staging(&survey.place.mount, id).join(format!("file-{}", run.files.len()));
            run.files.push(RunFile {
                mount: survey.place.mount.clone(),
                path: path.clone(),
                staged,
                node: survey.target.node,
                page_bytes: survey.place.page_bytes,
                bytes: survey.target.file_bytes,
                device: survey.device,
                replaces: None,
                id: None,
            });
        }
    }
    Ok(Plan { run, kept })
}

/// Where files of a run are made on a mount. PC1 takes the number before a slash for a node: this name ends with a letter.
pub(super) fn staging(mount: &Path, id: &str) -> PathBuf {
    mount.join(format!(".damocles-init-{id}-staging"))
}

fn raises(work: &[&Survey], facts: &Facts) -> Result<Vec<Raise>, Refusal> {
    let mut needs: BTreeMap<Bytes, BTreeMap<NodeId, u64>> = BTreeMap::new();
    for survey in work {
        let need = needs.entry(survey.place.page_bytes).or_default().entry(survey.target.node).or_default();
        *need = need.checked_add(survey.pages()?).ok_or(Refusal::TooMuch)?;
    }
    let mut raises = Vec::new();
    for (page_bytes, needs) in needs {
        let pools: BTreeMap<_, _> =
            facts.nodes.iter().filter_map(|(id, node)| Some((*id, *node.pool(page_bytes)?))).collect();
        let reserved = facts.reserved.get(&page_bytes).copied().unwrap_or(0);
        for (node, missing) in pool::raises(&needs, &pools, reserved) {
            let has = || facts.page_sizes.clone();
            let found = pools.get(&node).ok_or_else(|| Refusal::NoPageSize { page: page_bytes, has: has() })?;
            raises.push(pool::raise_of(node, found, missing));
        }
    }
    Ok(raises)
}

/// Folders to make before a new mount. What is there must be an empty folder: a mount hides what lies in it.
pub fn points(root: &Root, places: &[Place]) -> Result<Vec<PathBuf>, InitError> {
    let Some(place) = places.iter().find(|place| place.is_new) else { return Ok(Vec::new()) };
    let (_, missing) = mounts::missing_folders(root, &place.mount)?;
    let is_empty = || fs::read_dir(root.path(&place.mount)).is_ok_and(|mut entries| entries.next().is_none());
    if missing.is_empty() && !is_empty() {
        return Err(Refusal::MountHides(place.mount.clone()).into());
    }
    Ok(missing)
}

/// What would stand in the way of a plan, seen before anything is changed.
pub fn check(root: &Root, plan: &Plan, facts: &Facts) -> Result<(), InitError> {
    for raise in &plan.run.pools {
        check_room(raise, facts)?;
        hugetlb::may_change(root, raise.node, raise.page_bytes).map_err(|(path, errno)| Refusal::PoolNotWritable {
            node: raise.node,
            path,
            errno,
        })?;
    }
    if plan.run.mount.is_some() && !geteuid().is_root() {
        return Err(Refusal::MayNotMount.into());
    }
    check_limits(root, plan)?;
    for mount in plan.run.files.iter().map(|file| &file.mount).collect::<BTreeSet<_>>() {
        check_mount(root, plan, mount)?;
    }
    Ok(())
}

// More than the whole memory of a node is not even asked for: the kernel would press everything else out first.
fn check_room(raise: &Raise, facts: &Facts) -> Result<(), InitError> {
    let Some(node) = facts.nodes.get(&raise.node) else { return Ok(()) };
    let held: u64 = node.pools.iter().map(|pool| pool.pages.saturating_mul(pool.page_bytes.0)).sum();
    let asked = raise.target.saturating_sub(raise.before + raise.surplus);
    if asked.saturating_mul(raise.page_bytes.0) <= node.memory.0.saturating_sub(held) {
        return Ok(());
    }
    Err(InitError::NoRoom { node: raise.node, asked, page: raise.page_bytes, memory: node.memory, held: Bytes(held) })
}

fn check_limits(root: &Root, plan: &Plan) -> Result<(), InitError> {
    let mut sizes: BTreeMap<Bytes, u64> = BTreeMap::new();
    for file in &plan.run.files {
        let bytes = sizes.entry(file.page_bytes).or_default();
        *bytes = bytes.saturating_add(file.bytes.0);
    }
    for (page, bytes) in sizes {
        if let Some(limit) = hugetlb_limit::narrowest(root, page)?.filter(|limit| limit.left().0 < bytes) {
            return Err(InitError::CgroupLimit { bytes: Bytes(bytes), page, limit });
        }
    }
    Ok(())
}

fn check_mount(root: &Root, plan: &Plan, mount: &Path) -> Result<(), InitError> {
    if plan.run.mount.as_ref().is_some_and(|new| new.at == mount) {
        return Ok(());
    }
    let asked: u64 =
        plan.run.files.iter().filter(|file| file.mount == mount).map(|file| file.bytes.0).fold(0, u64::saturating_add);
    let left = crate::sys::hugetlbfs::look(root, mount)?.and_then(|found| found.left);
    if let Some(left) = left.filter(|left| left.0 < asked) {
        return Err(InitError::MountLimit { bytes: Bytes(asked), mount: mount.to_owned(), left });
    }
    access(&root.path(mount), AccessFlags::W_OK | AccessFlags::X_OK)
        .map_err(|errno| Refusal::NotWritable { path: mount.to_owned(), errno }.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        hugepage::{look::Node, request::Pattern},
        sys::memory::Pool,
    };

    fn facts(free: u64) -> Facts {
        let pool = Pool { page_bytes: Bytes::gib(1), pages: free, free, surplus: 0 };
        let node = Node { memory: Bytes::gib(256), pools: vec![pool], ..Node::default() };
        Facts {
            nodes: BTreeMap::from([(NodeId(0), node.clone()), (NodeId(1), node)]),
            page_sizes: vec![Bytes::gib(1)],
            allowed: BTreeSet::from([NodeId(0), NodeId(1)]),
            ..Facts::default()
        }
    }

    fn survey(node: u32, folder: &str, missing: &[u64], is_new: bool) -> Survey {
        let node = NodeId(node);
        let folder = Pattern::of_path(Path::new(folder)).unwrap().folder(node);
        let target = Target { node, folder: folder.clone(), files: 2, file_bytes: Bytes::gib(32) };
        let paths: Vec<_> = target.paths().collect();
        let (missing, complete) = (0..2).partition::<Vec<u64>, _>(|n| missing.contains(n));
        let pick = |numbers: Vec<u64>| numbers.into_iter().map(|n| paths[n as usize].clone()).collect();
        Survey {
            target,
            place: Place { mount: "/mnt/huge_1g".into(), page_bytes: Bytes::gib(1), is_new },
            device: None,
            pages_per_file: 32,
            folders: vec![folder.parent().unwrap().to_owned(), folder],
            complete: pick(complete),
            missing: pick(missing),
        }
    }

    #[test]
    fn the_example_of_the_field_becomes_two_raised_pools_and_four_files() {
        let surveys = [survey(0, "/mnt/huge_1g/pc1_1", &[0, 1], true), survey(1, "/mnt/huge_1g/pc1_2", &[0, 1], true)];
        let plan = plan(&surveys, &facts(4), vec!["/mnt/huge_1g".into()], "c0ffee").unwrap();
        let pools: Vec<_> = plan.run.pools.iter().map(|raise| (raise.node.0, raise.before, raise.target)).collect();
        assert_eq!(pools, [(0, 4, 64), (1, 4, 64)]);
        let mount = plan.run.mount.as_ref().unwrap();
        assert_eq!((mount.at.as_path(), mount.source.as_str()), (Path::new("/mnt/huge_1g"), "damocles-worker-c0ffee"));
        let files: Vec<_> = plan.run.files.iter().map(|file| file.path.display().to_string()).collect();
        assert_eq!(
            files,
            [
                "/mnt/huge_1g/pc1_1/numa_0/32.0_GiB_0",
                "/mnt/huge_1g/pc1_1/numa_0/32.0_GiB_1",
                "/mnt/huge_1g/pc1_2/numa_1/32.0_GiB_0",
                "/mnt/huge_1g/pc1_2/numa_1/32.0_GiB_1",
            ]
        );
        assert_eq!(plan.run.stagings, [Path::new("/mnt/huge_1g/.damocles-init-c0ffee-staging")]);
        assert_eq!(plan.run.folders.len(), 4);
        let staged: BTreeSet<_> = plan.run.files.iter().map(|file| &file.staged).collect();
        assert_eq!(staged.len(), 4, "each has a name of its own while it is made");
    }

    #[test]
    fn what_is_complete_is_kept_and_costs_nothing() {
        let kept = plan(&[survey(0, "/mnt/huge_1g/a", &[], false)], &facts(0), vec![], "x").unwrap();
        assert!(kept.is_empty() && kept.kept.len() == 2 && kept.run.pools.is_empty() && kept.run.folders.is_empty());
        let half = plan(&[survey(0, "/mnt/huge_1g/a", &[1], false)], &facts(0), vec![], "x").unwrap();
        assert_eq!((half.run.pools[0].target, half.run.files.len(), half.run.mount), (32, 1, None));
    }

    #[test]
    fn two_folders_of_one_node_share_one_pool() {
        let surveys = [survey(0, "/mnt/huge_1g/a", &[0, 1], false), survey(0, "/mnt/huge_1g/b", &[0], false)];
        let plan = plan(&surveys, &facts(0), vec![], "x").unwrap();
        assert_eq!(plan.run.pools.iter().map(|raise| raise.target).collect::<Vec<_>>(), [96]);
    }

    #[test]
    fn more_than_the_memory_of_a_node_is_not_even_asked_for() {
        let mut survey = survey(0, "/mnt/huge_1g/a", &[0, 1], false);
        survey.pages_per_file = 129;
        let plan = plan(&[survey], &facts(0), vec![], "x").unwrap();
        let error = check_room(&plan.run.pools[0], &facts(0)).unwrap_err();
        assert!(error.is_answer() && error.to_string().contains("node 0 has 256 GiB of memory"), "{error}");
    }

    #[test]
    fn no_name_in_the_making_looks_like_a_nodes() {
        let name = staging(Path::new("/mnt"), "c0ffee12").file_name().unwrap().to_string_lossy().into_owned();
        assert!(name.ends_with(|last: char| last.is_ascii_alphabetic()) && !name.starts_with("numa_"), "{name}");
    }

    #[test]
    fn a_file_that_is_asked_for_twice_is_refused() {
        let target = survey(0, "/mnt/huge_1g/a", &[], false).target;
        let order = Order { targets: vec![target.clone(), target], ..Order::default() };
        assert!(refuse_twice(&order).unwrap_err().to_string().contains("32.0_GiB_0 is asked for twice"));
    }
}
