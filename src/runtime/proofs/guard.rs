//! Calls into the library: its errors and its panics both become ours.

use super::ProofsError;
use crate::runtime::words::panic_text;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

/// Runs `call` of the library for `stage` on `path`. `hint` says what to do when it does not succeed.
///
/// A panic is no reason to take the daemon's other sectors down. The library's statics that a panic may
/// poison (a lock around its parameter cache) make later calls fail in turn, with a message of their own.
pub(super) fn call<T>(
    stage: &'static str,
    path: &Path,
    hint: &'static str,
    call: impl FnOnce() -> anyhow::Result<T>,
) -> Result<T, ProofsError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            Err(ProofsError::Library { stage, path: path.to_owned(), message: format!("{error:#}"), hint })
        }
        Err(payload) => {
            let message = panic_text(payload.as_ref()).to_owned();
            Err(ProofsError::Panicked { stage, path: path.to_owned(), message, hint })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_the_library_becomes_an_error_with_stage_path_and_hint() {
        let error = call::<()>("pc1", Path::new("/c"), "look", || panic!("index {}", 7)).unwrap_err();
        assert_eq!(error.to_string(), "pc1: /c: the proofs library panicked: index 7; look");
        let error = call::<()>("pc2", Path::new("/c"), "look", || anyhow::bail!("no")).unwrap_err();
        assert_eq!(error.to_string(), "pc2: /c: the proofs library refused: no; look");
    }
}
