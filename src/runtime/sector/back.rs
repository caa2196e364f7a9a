//! Where an operator may send a sector back to, and what of its record that undoes.
//!
//! A sector never goes forward by an order: what was not done is not there. It goes back only to where nothing that the
//! chain may have seen is made anew:
//!
//! ```text
//! Allocated … PC2Done │ PC2Done, and a pre-commit was sent; PCSubmitted │ PCLanded … ProofSubmitted │ Finished, Aborted
//!  ◄── to any before  │  ◄─ PC2Done                                     │  ◄── to PCSubmitted       │  stay
//! ```
//!
//! The replica belongs to the commitment that was submitted: once it was, or may have been, no stage before pc2's end is
//! done again. What is submitted a second time replaces a message (`reset`).
//!
//! What the undone stages made is not used again: `undone` stands in the record until the store has removed it, so that a
//! crash in between changes nothing. The files of what was not undone are in the store until the sector is dropped.

use super::{Record, State};

/// The states that `record` may go on from, its own included, in the order of a sector's life. Empty: there is no sector.
pub fn legal(record: &Record) -> Vec<State> {
    use State::*;
    let floor = match record.state {
        PC2Done if record.pre_commit_sent => PC2Done,
        PCSubmitted if record.pre_commit_landed => PCSubmitted,
        now => floor(now),
    };
    between(floor, record.state)
}

/// What was legal in any version: a journal holds what its own version allowed.
fn floor(now: State) -> State {
    use State::*;
    match now {
        Empty | Finished | Aborted => now,
        PCSubmitted => PC2Done,
        _ if place(now) > place(PCSubmitted) => PCSubmitted,
        _ => Allocated,
    }
}

fn between(floor: State, now: State) -> Vec<State> {
    use State::*;
    if now == Empty {
        return Vec::new();
    }
    let kept = State::ALL.into_iter().filter(|state| place(floor) <= place(*state) && place(*state) <= place(now));
    // An operator may give a sector up, except one that has ended.
    let given_up = (now != Finished && now != Aborted).then_some(Aborted);
    kept.chain(given_up).collect()
}

/// The record sent back to `to`; `None` where that is not legal, or not a way back.
pub(super) fn set_back(mut record: Record, to: State) -> Option<Record> {
    use State::*;
    if to == Aborted || !between(floor(record.state), record.state).contains(&to) {
        return None;
    }
    let from = record.state;
    let before = |state: State| place(to) < place(state);
    // Pc2 has encoded the replica in place: it is made again from the staged file before pc2 runs again.
    record.pc2_dirty |= before(PC2Done) && place(from) >= place(PC2Done);
    record.reset |= from == PCSubmitted && to == PC2Done
        || from == ProofSubmitted && !before(PCSubmitted) && before(ProofSubmitted);
    record.undone |= before(from);
    if before(TicketAssigned) {
        // With a ticket the state is reached: the same one given again would be no news.
        record.ticket = None;
    }
    if before(DealsAcquired) {
        // The manager is asked again, and may give others.
        record.deals.clear();
    }
    if before(PieceAdded) {
        record.pieces.clear();
    }
    if before(PC1Done) {
        record.pc1 = None;
    }
    if before(PC2Done) {
        record.pc2 = None;
    }
    if before(Persisted) {
        record.persisted_in = None;
    }
    if before(SeedAssigned) {
        record.seed = None;
    }
    if before(C1Done) {
        record.c1_digest = None;
    }
    if before(C2Done) {
        record.proof = None;
    }
    record.reserved = None;
    record.state = to;
    Some(record)
}

/// The record once the files of the undone stages are gone; `None` where none were to be removed.
pub(super) fn undone_removed(mut record: Record) -> Option<Record> {
    // Without a replica there is none to restore: pc1 makes it anew.
    record.pc2_dirty &= place(record.state) >= place(State::PC1Done);
    std::mem::take(&mut record.undone).then_some(record)
}

fn place(state: State) -> usize {
    State::ALL.iter().position(|other| *other == state).expect("every state is in ALL")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(state: State) -> Record {
        Record { state, ..Record::default() }
    }

    #[test]
    fn before_a_submission_everything_earlier_is_legal_and_nothing_later() {
        use State::*;
        assert_eq!(legal(&at(TreeDBuilt)), [Allocated, DealsAcquired, PieceAdded, TreeDBuilt, Aborted]);
        assert!(set_back(at(TreeDBuilt), PC1Done).is_none());
        assert_eq!(legal(&at(Empty)), []);
    }

    #[test]
    fn what_the_chain_may_have_seen_is_not_made_anew() {
        use State::*;
        assert_eq!(legal(&at(PCSubmitted)), [PC2Done, PCSubmitted, Aborted]);
        assert_eq!(
            legal(&at(SeedAssigned)),
            [PCSubmitted, PCLanded, Persisted, PersistanceSubmitted, SeedAssigned, Aborted]
        );
        assert_eq!(legal(&at(Finished)), [Finished]);
        assert_eq!(legal(&at(Aborted)), [Aborted]);
    }

    #[test]
    fn a_replica_that_pc2_encoded_is_made_again_before_pc2_runs() {
        use State::*;
        assert!(set_back(at(PC2Done), PC1Done).unwrap().pc2_dirty);
        assert!(set_back(at(PC2Done), TreeDBuilt).unwrap().pc2_dirty);
        assert!(!set_back(at(PC1Done), TreeDBuilt).unwrap().pc2_dirty);
        assert!(!set_back(at(PC2Done), PC2Done).unwrap().pc2_dirty);
    }

    #[test]
    fn a_replica_whose_commitment_the_chain_may_have_seen_stays_though_the_manager_did_not_answer() {
        use State::*;
        let sent = Record { pre_commit_sent: true, ..at(PC2Done) };
        assert_eq!(legal(&sent), [PC2Done, Aborted]);
        assert_eq!(legal(&at(PC2Done)).len(), 8, "before that everything is legal");
        let landed = Record { pre_commit_landed: true, ..at(PCSubmitted) };
        assert_eq!(legal(&landed), [PCSubmitted, Aborted], "it is not submitted a second time");
        // An older version allowed it, and its journals are read.
        assert_eq!(set_back(sent, TreeDBuilt).unwrap().state, TreeDBuilt);
    }

    #[test]
    fn undone_stands_until_the_files_are_gone_and_with_them_goes_the_torn_replica() {
        use State::*;
        let back = set_back(Record { pc2_dirty: true, ..at(PC1Done) }, TreeDBuilt).unwrap();
        assert!(back.undone && back.pc2_dirty);
        let removed = undone_removed(back).unwrap();
        assert!(!removed.undone && !removed.pc2_dirty);
        assert!(undone_removed(removed).is_none(), "once is enough");
        let restored = undone_removed(set_back(at(PC2Done), PC1Done).unwrap()).unwrap();
        assert!(restored.pc2_dirty, "the replica is still there, encoded");
    }

    #[test]
    fn a_second_submission_replaces_the_first_message() {
        use State::*;
        assert!(set_back(at(PCSubmitted), PC2Done).unwrap().reset);
        assert!(set_back(at(ProofSubmitted), C2Done).unwrap().reset);
        assert!(set_back(at(ProofSubmitted), SeedAssigned).unwrap().reset, "another proof will be another message");
        assert!(!set_back(at(ProofSubmitted), ProofSubmitted).unwrap().reset);
        assert!(!set_back(at(C2Done), C1Done).unwrap().reset);
    }
}
