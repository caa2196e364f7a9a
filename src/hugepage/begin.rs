//! The beginning of every command that changes something: alone, with the record, and with nothing half done left.
//!
//! ```text
//! lock the record ─ lock the pools ─ load ─ take back a killed run ─ finish a killed release ─► Begun
//! ```

use super::{
    error::{InitError, Refusal},
    init::{Talk, World},
    pool,
    recover::{self, Undone},
    remove,
    state::{State, Store},
};
use crate::sys::{Root, hugetlb, hugetlbfs};
use std::path::Path;

/// What a command begins with.
pub struct Begun {
    pub store: Store,
    pub state: State,
    /// What a killed run had left.
    pub recovered: Option<Undone>,
}

/// That the record can be kept where it is asked for: on a hugetlbfs, there now or about to be mounted at `new`, it cannot.
pub fn check_record(root: &Root, record: &Path, new: Option<&Path>) -> Result<(), Refusal> {
    let there = record.ancestors().skip(1).find(|folder| root.path(folder).exists()).unwrap_or(Path::new("/"));
    let is_on_hugetlbfs = hugetlbfs::look(root, there).is_ok_and(|found| found.is_some());
    // Through links, as the kernel will go.
    let missing = record.strip_prefix(there).unwrap_or(record);
    let real = root.follow(there).map_or_else(|_| record.to_owned(), |there| there.join(missing));
    if is_on_hugetlbfs || new.is_some_and(|at| real.starts_with(at)) {
        return Err(Refusal::RecordOnHugetlbfs(record.to_owned()));
    }
    Ok(())
}

/// Says in a dry run that a real one would first put something in order.
pub fn note_unfinished(state: &State, world: &World) {
    let (run, removal) = (state.run.as_ref().map(|run| run.pid), state.removal.as_ref().map(|removal| removal.pid));
    for (pid, what) in [(run, "is taken back"), (removal, "is finished")] {
        if let Some(pid) = pid {
            let text = format!("process {pid} is at work; if it was killed, what it left half done {what} first");
            (world.talk)(Talk::Note(text));
        }
    }
}

/// Waits until no other command is at work, and puts in order what a killed one left.
pub fn begin(world: &World) -> Result<Begun, InitError> {
    check_record(world.root, world.state, None)?;
    let waiting = |path: &Path| {
        (world.talk)(Talk::Note(format!("another hugepage command is at work (it holds {}); waiting", path.display())));
    };
    let mut store = Store::open(world.root, world.state, world.stop, waiting)?;
    for page_bytes in hugetlb::page_sizes(world.root)? {
        store.also_lock(&hugetlb::lock_file(world.root, page_bytes), world.stop, waiting)?;
    }
    let mut state = store.load()?;
    let recovered = take_back_killed(&mut state, &store, world)?;
    finish_killed(&mut state, &store, world)?;
    Ok(Begun { store, state, recovered })
}

/// `1 file`, `2 files`
fn counted(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

fn finish_killed(state: &mut State, store: &Store, world: &World) -> Result<(), InitError> {
    let Some(pid) = state.removal.as_ref().map(|removal| removal.pid) else { return Ok(()) };
    let removed = remove::finish(world, state, store)?;
    let (files, pages) = (counted(removed.files.len() as u64, "file"), pool::pages(removed.pages()));
    let text = format!(
        "process {pid} was killed while it removed; that was finished first: {files} and {pages} of the pools went now"
    );
    (world.talk)(Talk::Note(text));
    removed.stays.iter().for_each(|stays| (world.talk)(Talk::Note(format!("of it stays: {stays}"))));
    Ok(())
}

fn take_back_killed(state: &mut State, store: &Store, world: &World) -> Result<Option<Undone>, InitError> {
    let Some(run) = state.run.clone() else { return Ok(None) };
    let undone = recover::undo(world.root, state, store);
    if !undone.left.is_empty() {
        let cause = Refusal::Unfinished { run: run.id, pid: run.pid, record: world.state.to_owned() };
        return Err(InitError::NotUndone { cause: Box::new(cause.into()), left: undone.left });
    }
    undone.settle(state, &run);
    store.save(state)?;
    let (files, pages) = (counted(undone.files_removed, "finished file"), pool::pages(undone.pages_returned));
    (world.talk)(Talk::Note(format!(
        "run {} of process {} was killed; it was taken back first: {files} and {pages} of the pools went",
        undone.run, undone.pid
    )));
    undone.stays.iter().for_each(|stays| (world.talk)(Talk::Note(format!("what others use by now stays: {stays}"))));
    Ok(Some(undone))
}
