//! A whole run that pretends: every stage is a rehearsal's, in the daemon and in our own children, and so is the manager.
//!
//! What keeps it apart from real sealing: a rehearsal's chain says so in its id, every sector's record carries that id,
//! and a daemon takes no sector of another chain. A manager that is none of a rehearsal is refused before it is asked for
//! anything, and a manager of a rehearsal accepts the rehearsed proof and no other.

use crate::runtime::{
    manager::embedded::is_rehearsal,
    pieces::Fetch,
    processor::{
        Perform,
        rehearse::{self, Script},
    },
    sector::Record,
};
use std::{str::FromStr, sync::Arc};

/// How a run pretends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rehearsal {
    /// As it was written: children are started with the same words.
    words: String,
    script: Script,
}

impl FromStr for Rehearsal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self { words: text.to_owned(), script: text.parse()? })
    }
}

impl Rehearsal {
    /// Who carries out the stages that run in the daemon.
    pub(super) fn performer(&self, fetch: Fetch) -> Arc<Perform> {
        rehearse::performer(&self.script, fetch)
    }

    /// What our own processors are told.
    pub(super) fn args(&self) -> [String; 2] {
        ["--rehearse".into(), self.words.clone()]
    }
}

/// The verdict on a rehearsed sector's proof; `None`: the sector is a real one.
pub(super) fn verdict(record: &Record) -> Option<Result<(), String>> {
    is_rehearsal(record.chain.as_deref()?).then(|| match &record.proof {
        Some(proof) if proof.0 == rehearse::PROOF => Ok(()),
        _ => Err("no rehearsed proof".into()),
    })
}
