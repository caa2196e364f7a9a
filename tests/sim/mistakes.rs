//! Lives in which one rule is broken on purpose: the checkers say which.

use crate::{
    hands::Mistake,
    life::{Nature, live},
    plan::Plan,
};

/// What is found in one of a few lives of this nature.
fn found(nature: Nature) -> String {
    let found = (0..20).find_map(|seed| live(seed, &nature).err());
    found.unwrap_or_else(|| panic!("nothing was found in twenty lives of {nature:?}")).join("\n")
}

fn crowded(mistake: Mistake) -> String {
    found(Nature { plan: Some(Plan::crowded()), calm: true, mistake: Some(mistake), ..Nature::default() })
}

#[test]
fn without_mistakes_a_crowd_is_in_order() {
    for seed in 0..5 {
        let nature = Nature { plan: Some(Plan::crowded()), calm: true, ..Nature::default() };
        live(seed, &nature).unwrap_or_else(|findings| panic!("{findings:?}"));
    }
}

#[test]
fn a_limit_that_is_forgotten_is_found() {
    assert!(crowded(Mistake::NoConcurrent).contains("limit: 2 tasks of "));
}

#[test]
fn a_gap_that_is_forgotten_is_found() {
    assert!(crowded(Mistake::NoStaggered).contains("gap: add_pieces began"));
}

#[test]
fn a_room_that_is_forgotten_is_found() {
    assert!(crowded(Mistake::NoRooms).contains("room: 2 tasks are at transfer[0]"));
}

#[test]
fn a_lock_that_is_forgotten_is_found() {
    assert!(crowded(Mistake::NoLocks).contains("lock: gpu0 is held by 2"));
}

#[test]
fn a_stage_without_an_end_is_found() {
    assert!(crowded(Mistake::EndlessC2).contains("end: nothing fails any more, and after 72 h it still stands at"));
}

#[test]
fn a_replica_that_is_not_restored_is_found() {
    let said = found(Nature { mistake: Some(Mistake::NoRestore), ..Nature::default() });
    assert!(said.contains("files: pc2 would encode"), "{said}");
}

#[test]
fn a_disk_that_forgets_lines_is_found() {
    let said = found(Nature { lying_disk: true, ..Nature::default() });
    assert!(said.contains("lost: the journal said"), "{said}");
}

#[test]
fn a_daemon_that_trusts_the_wall_clock_is_found() {
    let said = found(Nature { naive_clock: true, ..Nature::default() });
    assert!(said.contains("waits for"), "{said}");
}

#[test]
fn files_of_undone_stages_that_come_back_are_found() {
    let said = found(Nature { mistake: Some(Mistake::KeepUndone), ..Nature::default() });
    assert!(said.contains("flipped bit"), "{said}");
}
