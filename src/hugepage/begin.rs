//! The beginning of every command that changes something: alone, with the record, and with nothing half done left.
//!
//! ```text
//! lock the record ─ lock the pools ─ load ─ take back a killed run ─ finish a killed release ─► Begun
//! ```

use super::{
    error::{InitError, Refusal},
    init::{Talk, World},
    recover::{self, Undone},
    remove,
    state::{State, Store},
};
use crate::sys::hugetlb;
use std::path::Path;

/// What a command begins with.
pub struct Begun {
    pub store: Store,
    pub state: State,
    /// What a killed run had left.
    pub recovered: Option<Undone>,
}

/// Waits until no other command is at work, and puts in order what a killed one left.
pub fn begin(world: &World) -> Result<Begun, InitError> {
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

fn finish_killed(state: &mut State, store: &Store, world: &World) -> Result<(), InitError> {
    let Some(pid) = state.removal.as_ref().map(|removal| removal.pid) else { return Ok(()) };
    let removed = remove::finish(world, state, store)?;
    let (files, pages) = (removed.files.len(), removed.pages());
    let text = format!(
        "the removal that process {pid} had begun was finished first: {files} more files and {pages} pages of it"
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
    (world.talk)(Talk::Note(format!(
        "run {} of process {} had been killed: took back {} files and {} pages of it",
        undone.run, undone.pid, undone.files_removed, undone.pages_returned
    )));
    undone.stays.iter().for_each(|stays| (world.talk)(Talk::Note(format!("what others use by now stays: {stays}"))));
    Ok(Some(undone))
}
