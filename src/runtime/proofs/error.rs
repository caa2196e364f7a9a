//! Why a stage has no answer: the stage, the path, what happened, what to do.

use crate::{runtime::sdr::SdrError, sys::durable::DurableError};
use std::path::{Path, PathBuf};

/// A stage of the proofs that ended without an answer.
#[derive(Debug, thiserror::Error)]
pub enum ProofsError {
    /// A file that is missing, short or cannot be read.
    #[error("{stage}: {}: {what}; {hint}", path.display())]
    File { stage: &'static str, path: PathBuf, what: String, hint: &'static str },
    /// The library answered with an error.
    #[error("{stage}: {}: the proofs library refused: {message}; {hint}", path.display())]
    Library { stage: &'static str, path: PathBuf, message: String, hint: &'static str },
    /// The library panicked: one of its assumptions does not hold, mostly a damaged or missing file.
    #[error("{stage}: {}: the proofs library panicked: {message}; {hint}", path.display())]
    Panicked { stage: &'static str, path: PathBuf, message: String, hint: &'static str },
    /// An input that is not what this stage can work on.
    #[error("{stage}: {what}; {hint}")]
    Input { stage: &'static str, what: String, hint: &'static str },
    /// A deal's piece that cannot be had from where it should be.
    #[error("{stage}: piece from {from}: {what}")]
    Piece { stage: &'static str, from: String, what: String, permanent: bool },
    /// A value of the library's that does not read or write as JSON.
    #[error("{stage}: {what} is not what this library version writes: {source}; run the stage before it again")]
    Value { stage: &'static str, what: &'static str, source: serde_json::Error },
    /// Our own layers could not be made.
    #[error("{stage}: {source}")]
    Layers { stage: &'static str, source: SdrError },
    /// A file could not be written for good.
    #[error("{stage}: {source}")]
    Durable { stage: &'static str, source: DurableError },
}

impl ProofsError {
    /// Whether trying the same again can never help: the input itself is refused.
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Input { .. } | Self::Value { .. } | Self::Piece { permanent: true, .. })
    }

    /// The stage it happened in; `parent cache` and `unseal` besides those of a sector's way.
    pub fn stage(&self) -> &'static str {
        match self {
            Self::File { stage, .. }
            | Self::Library { stage, .. }
            | Self::Panicked { stage, .. }
            | Self::Input { stage, .. }
            | Self::Piece { stage, .. }
            | Self::Value { stage, .. }
            | Self::Layers { stage, .. }
            | Self::Durable { stage, .. } => stage,
        }
    }

    /// The text without the stage before it, for whoever names the stage himself.
    pub fn reason(&self) -> String {
        let text = self.to_string();
        text.strip_prefix(self.stage()).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(&text).to_owned()
    }

    pub(super) fn io(stage: &'static str, path: &Path, doing: &'static str, source: std::io::Error) -> Self {
        Self::Durable { stage, source: DurableError::new(doing, path, source) }
    }
}

/// Gives a durable-file error the stage it happened in.
pub(super) trait InStage<T> {
    fn in_stage(self, stage: &'static str) -> Result<T, ProofsError>;
}

impl<T> InStage<T> for Result<T, DurableError> {
    fn in_stage(self, stage: &'static str) -> Result<T, ProofsError> {
        self.map_err(|source| ProofsError::Durable { stage, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_does_not_repeat_the_stage() {
        let piece = |permanent| {
            let (from, what) = ("http://m/x".to_owned(), "is gone".to_owned());
            ProofsError::Piece { stage: "add_pieces", from, what, permanent }
        };
        let error = piece(true);
        assert_eq!(error.to_string(), "add_pieces: piece from http://m/x: is gone");
        assert_eq!((error.stage(), error.reason().as_str()), ("add_pieces", &error.to_string()[12..]));
        assert!(error.is_permanent() && !piece(false).is_permanent());
    }
}
