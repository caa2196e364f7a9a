//! A rehearsal's simulated chain is kept apart from real ones: what pretended to be sealed must never pass for it.
//!
//! The folder of the embedded manager bears a mark from before its first sector. A daemon that proves refuses a folder with
//! the mark, one that rehearses a folder without it.

use super::DaemonError;
use crate::{
    runtime::{manager::embedded::SealVerifier, processor::rehearse::PROOF, proofs},
    sys::durable,
};
use std::{fs, os::unix::fs::DirBuilderExt, path::Path, sync::Arc};

const MARK: &str = "rehearsal";

/// Refuses the embedded manager's folder where it is of the other kind; marks a new one of a rehearsal.
pub(super) fn keep_apart(folder: &Path, rehearsing: bool) -> Result<(), DaemonError> {
    let (mark, begun) = (folder.join(MARK), folder.join("manager.db").exists());
    let refuse = |what: &str| {
        let folder = folder.display();
        Err(DaemonError::Manager(format!("{folder} {what}: choose another sector_manager.embedded.path")))
    };
    match (rehearsing, mark.exists()) {
        (true, true) | (false, false) => Ok(()),
        (false, true) => refuse("holds sectors that were only rehearsed"),
        (true, false) if begun => refuse("holds real sectors, and this is a rehearsal"),
        (true, false) => {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.map_err(|error| DaemonError::Manager(format!("make {}: {error}", folder.display())))?;
            let text = b"the sectors of this chain were rehearsed, none was sealed\n";
            durable::write_atomic(&mark, text).map_err(|error| DaemonError::Manager(error.to_string()))
        }
    }
}

/// Who says yes to a proof before the embedded manager takes it.
pub(super) fn verifier(rehearsing: bool) -> SealVerifier {
    if rehearsing {
        return Arc::new(|_, proof| Ok(proof == PROOF));
    }
    Arc::new(|claim, proof| proofs::verify_seal(claim, proof).map_err(|error| error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rehearsed_chain_and_a_real_one_do_not_meet() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("manager");
        keep_apart(&folder, false).unwrap();
        assert!(!folder.exists());
        keep_apart(&folder, true).unwrap();
        keep_apart(&folder, true).unwrap();
        let said = keep_apart(&folder, false).unwrap_err().to_string();
        assert!(said.contains("only rehearsed: choose another"), "{said}");
        fs::write(folder.join("manager.db"), "").unwrap();
        keep_apart(&folder, true).unwrap();
        fs::remove_file(folder.join(MARK)).unwrap();
        let said = keep_apart(&folder, true).unwrap_err().to_string();
        assert!(said.contains("holds real sectors"), "{said}");
    }
}
