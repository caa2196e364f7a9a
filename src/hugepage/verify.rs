//! `hugepage-verify`: are the files still what they were made to be? And `--repair`, which makes the wrong ones anew.
//!
//! ```text
//! folder ─ names of ours ─► judge each: length, every page allocated, every page on the node ─► Verdict
//!                                                                                               │ --repair
//! new files beside them, proven ─► old ones set aside, new ones named ─► record ─► old ones removed
//!          └── any failure: the old ones get their names back ──┘
//! ```
//!
//! A repair is a run like that of `init`, with the same record and the same way back. Old and new are there at the same time, so it
//! takes the pages of both for a moment. What a process has mapped is not touched.

use super::{
    begin::{self, Begun, begin},
    chosen::{self, Choice, Chosen},
    error::{InitError, Mapped, Refusal},
    init::{self, Report, World},
    look::{self, Facts},
    mounts,
    placement::{self, Found, Problem, ProblemKind},
    plan::{self, Plan, Survey},
    request::{Order, Target, pages_per_file},
    state::{self, Cut, State},
    steps::{self, Step},
};
use crate::{
    sys::{
        Root,
        ffi::lease::is_open_elsewhere,
        hugetlb, hugetlbfs,
        users::{FileId, Users},
    },
    units::{Bytes, NodeId},
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::OpenOptions,
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

/// So often it is asked whether a file is still open.
const TRIES: u32 = 5;
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    pub folders: Vec<PathBuf>,
    pub right: Vec<RightFile>,
    pub problems: Vec<Problem>,
    /// What lies there under other names. Nobody knows what it should be.
    pub passed_over: Vec<PathBuf>,
}

/// A file all of whose pages lie on its node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RightFile {
    pub path: PathBuf,
    pub node: NodeId,
    pub bytes: Bytes,
    pub page_bytes: Bytes,
}

/// What a repair would do, or did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Repair {
    pub repaired: Vec<Problem>,
    pub report: Report,
}

/// Looks at every file that is meant.
pub fn verify(choice: &Choice, root: &Root, record: &Path) -> Result<Verdict, InitError> {
    let facts = look::look(root)?;
    let state = state::peek(root, record)?;
    let chosen = meant(root, choice, &facts, &state, record)?;
    judge(root, &chosen)
}

fn meant(root: &Root, choice: &Choice, facts: &Facts, state: &State, record: &Path) -> Result<Vec<Chosen>, InitError> {
    let chosen = chosen::chosen(root, choice, facts, state)?;
    if chosen.iter().all(|chosen| chosen.known.as_ref().is_none_or(|known| known.files.is_empty())) {
        let is_empty = |chosen: &Chosen| chosen.items(root).map(|items| items.is_empty());
        let mut empty = true;
        for chosen in &chosen {
            empty &= is_empty(chosen)?;
        }
        if empty {
            return Err(chosen::nothing(choice, state, record).into());
        }
    }
    Ok(chosen)
}

fn judge(root: &Root, chosen: &[Chosen]) -> Result<Verdict, InitError> {
    let mut verdict = Verdict::default();
    for chosen in chosen {
        verdict.folders.push(chosen.folder.clone());
        let items = chosen.items(root)?;
        for item in &items {
            let (Some(wanted), Some(place)) = (item.wanted(chosen.known.as_ref()), &chosen.place) else {
                verdict.passed_over.push(item.path.clone());
                continue;
            };
            match placement::judge(root, &item.path, wanted, chosen.node, place.page_bytes)? {
                Found::Missing => {}
                Found::Wrong(problem) => verdict.problems.push(problem),
                Found::Complete(_) => verdict.right.push(RightFile {
                    path: item.path.clone(),
                    node: chosen.node,
                    bytes: wanted,
                    page_bytes: place.page_bytes,
                }),
            }
        }
        let is_there = |name: &str| items.iter().any(|item| item.name == name);
        let recorded = chosen.known.iter().flat_map(|known| &known.files);
        let missing = recorded.filter(|file| !is_there(&file.name));
        let problem = |name: &String| Problem { path: chosen.folder.join(name), kind: ProblemKind::Missing };
        verdict.problems.extend(missing.map(|file| problem(&file.name)));
    }
    Ok(verdict)
}

/// Makes every wrong file anew, or changes nothing. Gives nothing where nothing is wrong.
pub fn repair(choice: &Choice, world: &World) -> Result<Option<Repair>, InitError> {
    begin::check_record(world.root, world.state, None)?;
    // What is refused is refused before anything is written, unless a killed run is in the way.
    if state::peek(world.root, world.state)?.is_settled() {
        let state = state::peek(world.root, world.state)?;
        if make_plan(choice, world, &state)?.is_none() {
            return Ok(None);
        }
    }
    let Begun { store, state, recovered } = begin(world)?;
    let Some(Work { plan, facts, problems }) = make_plan(choice, world, &state)? else { return Ok(None) };
    let mut repair = Repair { repaired: problems, report: Report { recovered, ..Report::default() } };
    init::carry_out(&Order::default(), plan, &facts, state, &store, world, &mut repair.report)?;
    Ok(Some(repair))
}

/// The steps that a repair would take now.
pub fn preview(choice: &Choice, world: &World) -> Result<Vec<Step>, InitError> {
    begin::check_record(world.root, world.state, None)?;
    let state = state::peek(world.root, world.state)?;
    begin::note_unfinished(&state, world);
    let Some(work) = make_plan(choice, world, &state)? else { return Ok(Vec::new()) };
    let pool_file = |node, page_bytes| hugetlb::pool_file(world.root, node, page_bytes);
    let run = &work.plan.run;
    let mut steps = steps::steps(run, pool_file);
    let spare = init::spare(run, |file| init::allocated(world.root, &file.path));
    let raised = |cut: &Cut| {
        let raise = run.pools.iter().find(|raise| (raise.node, raise.page_bytes) == (cut.node, cut.page_bytes));
        raise.map_or(0, |raise| raise.target)
    };
    steps.extend(steps::lower_steps(&spare, raised, pool_file));
    Ok(steps)
}

struct Work {
    plan: Plan,
    facts: Facts,
    problems: Vec<Problem>,
}

fn make_plan(choice: &Choice, world: &World, state: &State) -> Result<Option<Work>, InitError> {
    let root = world.root;
    let facts = look::look(root)?;
    let chosen = meant(root, choice, &facts, state, world.state)?;
    let problems = judge(root, &chosen)?.problems;
    if problems.is_empty() {
        return Ok(None);
    }
    let (stuck, _): (Vec<_>, Vec<_>) =
        problems.iter().cloned().partition(|problem| matches!(problem.kind, ProblemKind::NoFile));
    if !stuck.is_empty() {
        return Err(InitError::Unrepairable(stuck));
    }
    let ids = identities(root, &problems)?;
    refuse_mapped(root, &ids, &chosen::users_of(root, &ids.values().copied().collect::<Vec<_>>())?, false)?;
    let surveys = surveys(root, &chosen, &problems, &facts)?;
    let mut plan = plan::plan(&surveys, &facts, Vec::new(), &init::chance(root)?)?;
    for file in &mut plan.run.files {
        file.replaces = ids.get(&file.path).copied();
    }
    plan::check(root, &plan, &facts)?;
    Ok(Some(Work { plan, facts, problems }))
}

fn identities(root: &Root, problems: &[Problem]) -> Result<BTreeMap<PathBuf, FileId>, InitError> {
    let mut ids = BTreeMap::new();
    for problem in problems {
        if let Some(id) = hugetlbfs::identify(root, &problem.path)? {
            ids.insert(problem.path.clone(), id);
        }
    }
    Ok(ids)
}

/// That nobody has any of these files mapped, by /proc and by the kernel: in a PID namespace of its own /proc shows no other
/// process at all, so the kernel is asked in any case whether somebody has a file open, though it does not say who.
pub(super) fn refuse_mapped(
    root: &Root,
    files: &BTreeMap<PathBuf, FileId>,
    users: &Users,
    may_force: bool,
) -> Result<(), InitError> {
    let mapped = mapped(files, users);
    if !mapped.is_empty() {
        return Err(InitError::Mapped { files: mapped, may_force });
    }
    for (path, id) in files {
        match is_open(&root.path(path), *id) {
            Some(false) => {}
            Some(true) => {
                return Err(Refusal::UsedByUnasked { path: path.clone(), by: users.unread.clone(), may_force }.into());
            }
            None => return Err(Refusal::Unasked { by: users.unread.clone(), may_force }.into()),
        }
    }
    Ok(())
}

/// Whether anybody has this very file open; nothing where the kernel does not tell. A file that is gone is nobody's.
fn is_open(path: &Path, id: FileId) -> Option<bool> {
    let file = match OpenOptions::new().read(true).custom_flags(nix::libc::O_NOFOLLOW).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Some(false),
        opened => opened.ok()?,
    };
    if FileId::of(&file.metadata().ok()?) != id {
        return Some(false);
    }
    // Whoever only asks where its pages lie, as hugepage-status does, has it open for a moment.
    for _ in 0..TRIES {
        if !is_open_elsewhere(&file).ok()? {
            return Some(false);
        }
        thread::sleep(BETWEEN_TRIES);
    }
    Some(true)
}

/// The files that somebody has mapped.
pub(super) fn mapped(files: &BTreeMap<PathBuf, FileId>, users: &Users) -> Vec<Mapped> {
    let of = |(path, id): (&PathBuf, &FileId)| {
        let by: Vec<_> = users.of(*id).into_iter().cloned().collect();
        (!by.is_empty()).then(|| Mapped { path: path.clone(), by })
    };
    files.iter().filter_map(of).collect()
}

/// The wrong files as what is missing, folder by folder and size by size.
fn surveys(root: &Root, chosen: &[Chosen], problems: &[Problem], facts: &Facts) -> Result<Vec<Survey>, InitError> {
    let mut surveys = Vec::new();
    for chosen in chosen {
        let wrong: BTreeSet<_> = problems.iter().map(|problem| &problem.path).collect();
        let wrong: Vec<_> = wrong.into_iter().filter(|path| path.parent() == Some(&chosen.folder)).collect();
        if wrong.is_empty() {
            continue;
        }
        let gone = || Refusal::MountGone(chosen.known.as_ref().map_or_else(PathBuf::new, |known| known.mount.clone()));
        chosen.place.as_ref().ok_or_else(gone)?;
        facts.usable(chosen.node)?;
        let place = mounts::place(&facts.mounts, &chosen.folder, None)?;
        let items = chosen.items(root)?;
        let mut sizes: BTreeMap<Bytes, Vec<PathBuf>> = BTreeMap::new();
        for path in wrong {
            sizes.entry(wanted(chosen, &items, path)).or_default().push(path.clone());
        }
        for (file_bytes, missing) in sizes {
            let target = Target { node: chosen.node, folder: chosen.folder.clone(), files: 0, file_bytes };
            surveys.push(Survey {
                pages_per_file: pages_per_file(file_bytes, place.page_bytes)?,
                folders: plan::there(root, &target, &place)?,
                target,
                device: mounts::device(root, &place),
                place: place.clone(),
                complete: Vec::new(),
                missing,
            });
        }
    }
    Ok(surveys)
}

fn wanted(chosen: &Chosen, items: &[chosen::Item], path: &Path) -> Bytes {
    let known = chosen.known.as_ref();
    let item = items.iter().find(|item| item.path == path);
    let recorded = || {
        let name = path.file_name()?.to_string_lossy();
        known?.files.iter().find(|file| file.name == name).map(|file| file.bytes)
    };
    item.and_then(|item| item.wanted(known)).or_else(recorded).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};

    #[test]
    fn whom_proc_does_not_show_the_kernel_sees() {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let (path, root) = (folder.path().join("8.0_MiB_0"), Root::at("/"));
        fs::write(&path, "x").unwrap();
        let id = FileId::of(&fs::metadata(&path).unwrap());
        let files = BTreeMap::from([(path.clone(), id)]);
        let ask = || refuse_mapped(&root, &files, &Users::default(), false);
        ask().unwrap();
        let open = File::open(&path).unwrap();
        let refused = ask().unwrap_err();
        assert!(refused.is_answer(), "{refused}");
        assert!(
            refused.to_string().contains("is in use by somebody whom /proc does not show, as in another container")
        );
        drop(open);
        ask().unwrap();
        fs::remove_file(&path).unwrap();
        ask().unwrap();
    }
}
