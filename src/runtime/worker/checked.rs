//! `verify_after_pc2`: what pc2 answered counts only when it can be proven.
//!
//! A bit that flipped in pc1 or pc2 shows in c1, hours and a pre-commit's deposit later, when only the sector can be given
//! up. So c1 is done at once, with a seed of our own: it makes the vanilla proofs out of the files that pc2 left (replica,
//! trees, layers) and verifies them against comm_r and comm_d. Its answer is thrown away; one that is none means pc2 again.
//!
//! The check is not journaled: after a crash in it pc2 is done again, as after any crash before `PC2Done`. A stop in order
//! waits for it as for any stage, and a pause lets it end.

use super::{Step, Worker, tasks};
use crate::runtime::{
    processor::{Output, StageError},
    sector::{Event, Failure},
    stage::{Commitment, Pc2Output, Stage},
    store::StoreError,
};
use tracing::info;

/// What the check is called where the time of stages is counted: it is no c1 of a sector.
pub(super) const NAME: &str = "pc2_check";

/// What pc2 answered, and how long it took.
pub(super) struct Unchecked {
    pub output: Pc2Output,
    pub seconds: f64,
}

impl Worker {
    /// Begins the check that is due; `None`: none is.
    pub(super) fn check_pc2(&mut self) -> Result<Option<Step>, StoreError> {
        let Some(output) = self.unchecked.as_ref().map(|unchecked| unchecked.output.clone()) else { return Ok(None) };
        if !self.has_slot(Stage::C1) {
            return Ok(Some(Step::WaitFor(Stage::C1.name())));
        }
        let Some(task) = tasks::check_pc2(&self.store, seed(&output.comm_r), output) else {
            self.unchecked = None;
            let failure = Failure::critical("the record lacks what pc2 worked with: the journal is damaged");
            return self.fail(failure).map(Some);
        };
        info!(sector = self.sector_name(), "what pc2 made is checked (verify_after_pc2)");
        Ok(Some(self.start(task, Stage::C1, None)))
    }

    /// The check came back.
    pub(super) fn checked(
        &mut self,
        Unchecked { output, seconds }: Unchecked,
        result: Result<Output, StageError>,
    ) -> Result<Step, StoreError> {
        if let Err(error) = result {
            let reason = format!("what pc2 made cannot be proven (verify_after_pc2), pc2 is done again: {error}");
            return self.fail(Failure::temporary(reason));
        }
        self.happen_and_report(Event::Pc2Done { output, seconds })?;
        self.store.unmark_pc2()?;
        Ok(Step::Progressed)
    }
}

/// Challenges that nobody chose, and the same for the same replica: a failure can be looked at again.
fn seed(comm_r: &Commitment) -> [u8; 32] {
    let hash = blake2b_simd::Params::new().hash_length(32).personal(b"pc2 check").hash(comm_r);
    hash.as_bytes().try_into().expect("a hash length of 32 was asked for")
}
