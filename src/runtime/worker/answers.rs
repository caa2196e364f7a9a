//! What a manager's answer means for the sector. One table; values in, values out.

use crate::runtime::{
    manager::{Answer, Call, wire::*},
    sector::{Event, Failure},
};
use std::time::Duration;

/// The consequence of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Meaning {
    Event(Event),
    /// Not yet: ask again after `rpc_polling_interval`.
    PollAgain,
    /// Not yet, and the manager said for how long.
    WaitFor(Duration),
    /// The manager has let go of the sector: its files may go.
    Dropped,
    Failed(Failure),
}

/// A chain message that failed may be sent again after this; the field's managers need a moment to notice.
const RESUBMIT_AFTER: Duration = Duration::from_secs(30);

/// Reads `answer` to `call`.
pub(super) fn read(call: &Call, answer: Answer) -> Meaning {
    match answer {
        Answer::AssignTicket(ticket) => Meaning::Event(Event::TicketAssigned(ticket)),
        Answer::SubmitPreCommit(resp) => submitted(call, resp, Event::PreCommitSubmitted),
        Answer::SubmitProof(resp) => submitted(call, resp, Event::ProofSubmitted),
        Answer::PollPreCommitState(resp) => {
            landed(call, resp, Event::PreCommitLanded, |reason| Event::PreCommitFailed { reason })
        }
        Answer::PollProofState(resp) => landed(call, resp, Event::ProofLanded, |reason| Event::ProofFailed { reason }),
        Answer::StoreReserveSpace(Some(store)) => Meaning::Event(Event::SpaceReserved(store)),
        Answer::StoreReserveSpace(None) => Meaning::PollAgain,
        Answer::SubmitPersistedEx(true) => Meaning::Event(Event::PersistenceSubmitted),
        Answer::SubmitPersistedEx(false) => {
            Meaning::Failed(Failure::permanent("sector files are persisted but the manager does not find them sound"))
        }
        Answer::WaitSeed(resp) => seed(resp),
        Answer::Done if matches!(call, Call::ReportFinalized(_) | Call::ReportAborted { .. }) => Meaning::Dropped,
        other => Meaning::Failed(Failure::temporary(format!(
            "{}: the manager answered something else than was asked: {other:?}",
            call.method()
        ))),
    }
}

fn submitted(call: &Call, resp: SubmitResp, accepted: Event) -> Meaning {
    let said = format!("{}: {:?}: {}", call.method(), resp.res, resp.desc.unwrap_or_default());
    match resp.res {
        SubmitResult::Accepted | SubmitResult::DuplicateSubmit => Meaning::Event(accepted),
        SubmitResult::MismatchedSubmission | SubmitResult::FilesMissed => Meaning::Failed(Failure::permanent(said)),
        SubmitResult::Rejected => Meaning::Failed(Failure::abort(said)),
    }
}

fn landed(call: &Call, resp: PollStateResp, event: Event, failed: impl Fn(String) -> Event) -> Meaning {
    let said = format!("{}: {:?}: {}", call.method(), resp.state, resp.desc.unwrap_or_default());
    match resp.state {
        OnChainState::Landed => Meaning::Event(event),
        OnChainState::Pending | OnChainState::Packed => Meaning::PollAgain,
        OnChainState::Failed => Meaning::Event(failed(said)),
        OnChainState::NotFound | OnChainState::PermFailed => Meaning::Failed(Failure::permanent(said)),
        OnChainState::ShouldAbort => Meaning::Failed(Failure::abort(said)),
    }
}

fn seed(resp: WaitSeedResp) -> Meaning {
    match resp.seed {
        Some(seed) => Meaning::Event(Event::SeedAssigned(seed)),
        None if resp.should_wait && resp.delay > 0 => Meaning::WaitFor(Duration::from_secs(resp.delay)),
        None => Meaning::Failed(Failure::temporary("Venus.WaitSeed: neither a seed nor how long to wait for it")),
    }
}

/// How long a sector rests after `event` before it goes on.
pub(super) fn rest_after(event: &Event) -> Option<Duration> {
    matches!(event, Event::PreCommitFailed { .. } | Event::ProofFailed { .. }).then_some(RESUBMIT_AFTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(state: OnChainState) -> Meaning {
        let call = Call::PollPreCommitState(SectorId { miner: 1, number: 2 });
        read(&call, Answer::PollPreCommitState(PollStateResp { state, desc: Some("why".into()) }))
    }

    #[test]
    fn every_chain_state_has_its_consequence() {
        use OnChainState::*;
        assert_eq!(poll(Landed), Meaning::Event(Event::PreCommitLanded));
        assert_eq!(poll(Pending), Meaning::PollAgain);
        assert_eq!(poll(Packed), Meaning::PollAgain);
        assert!(matches!(poll(Failed), Meaning::Event(Event::PreCommitFailed { .. })));
        for state in [NotFound, PermFailed, ShouldAbort] {
            let Meaning::Failed(failure) = poll(state) else { panic!("{state:?}") };
            assert_eq!(failure.level == crate::runtime::sector::Level::Abort, state == ShouldAbort);
            assert!(failure.reason.contains("why"), "{failure}");
        }
    }

    #[test]
    fn a_seed_that_is_neither_there_nor_coming_is_a_failure() {
        let wait = |should_wait, delay| seed(WaitSeedResp { should_wait, delay, seed: None });
        assert_eq!(wait(true, 7), Meaning::WaitFor(Duration::from_secs(7)));
        assert!(matches!(wait(true, 0), Meaning::Failed(_)));
        assert!(matches!(wait(false, 7), Meaning::Failed(_)));
    }

    #[test]
    fn an_answer_to_another_question_is_not_taken() {
        let call = Call::AssignTicket(SectorId { miner: 1, number: 2 });
        assert!(matches!(read(&call, Answer::Done), Meaning::Failed(_)));
    }
}
