//! Why layers could not be made: doing what, to what, what happened, what to do.

use crate::{sys::durable::DurableError, units::Bytes};
use std::{io, path::PathBuf};

/// An engine's task that ended without its layers. What was finished before stays and is used again.
#[derive(Debug, thiserror::Error)]
pub enum SdrError {
    /// It was asked to stop.
    #[error("stopped before the last layer; what is finished is kept")]
    Stopped,
    /// A layer's file could not be written, read or named.
    #[error(transparent)]
    File(#[from] DurableError),
    /// The parent cache is not one for this sector.
    #[error("mapping the parent cache {}: {what}; remove it, it is made again", path.display())]
    Parents { path: PathBuf, what: String },
    /// The memory of a layer could not be had.
    #[error("taking {bytes} of memory for a layer: {source}; free memory or run fewer pc1 tasks at once")]
    Memory { bytes: Bytes, source: io::Error },
    /// Less memory is there than the layers need: going on would have the kernel kill something.
    #[error(
        "pc1 needs {needed} for two layers and {available} are available; free memory or run fewer pc1 tasks at once"
    )]
    TooLittleMemory { needed: Bytes, available: Bytes },
    /// Hugepages are required and there are too few files.
    #[error(
        "--require-hugepages: {missing} of 2 hugepage files of {size} are missing: {why}; make more with `damocles-worker \
         store hugepage-file-init`, or run fewer pc1 tasks at once"
    )]
    TooFewHugepages { size: Bytes, missing: usize, why: String },
    /// A thread of ours ended by a bug of ours.
    #[error("the hashing thread ended by itself; this is a bug, please report it with the lines before this one")]
    Died,
}
