//! The errors that stop the store.
//!
//! Invariants: every message names the file or folder, what is wrong, and what to do if something can be done.

use std::io;
use std::path::PathBuf;

use crate::format::segment::FORMAT_VERSION;

/// Why the store cannot be opened or has stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has it open.
    #[error("{} is in use by {owner}; fix: stop it, or choose another persistence_location", folder.display())]
    InUse {
        /// The folder of the store.
        folder: PathBuf,
        /// The process that has it open.
        owner: String,
    },
    /// It was written by a different version of the program.
    #[error(
        "{} has format {found}, and this program reads format {FORMAT_VERSION}; fix: start the version that wrote it",
        file.display()
    )]
    Version {
        /// The file of the segment.
        file: PathBuf,
        /// The version that is stated in the file.
        found: u32,
    },
    /// An operation on a file or folder failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What the store tried to do.
        action: &'static str,
        /// The file or folder of the operation.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The disk is full, or the store has reached its maximum number of segments.
    #[error("no space for another segment in {}: {reason}", folder.display())]
    Full {
        /// The folder of the store.
        folder: PathBuf,
        /// The limit, or the report of the system.
        reason: String,
    },
    /// It has stopped because of an earlier error.
    #[error("the store has stopped: {0}")]
    Stopped(String),
}

impl StoreError {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
