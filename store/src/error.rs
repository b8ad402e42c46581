//! Why the store cannot go on.
//!
//! Invariants: every sentence names the file or folder, what is wrong, and what to do where something can be done.

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
    /// It was written by another version of the program.
    #[error(
        "{} has format {found}, this program reads format {FORMAT_VERSION}; fix: start the version that wrote it",
        file.display()
    )]
    Version {
        /// The file of the segment.
        file: PathBuf,
        /// The version that it names.
        found: u32,
    },
    /// An operation on a file or folder failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was to be done.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system reports.
        source: io::Error,
    },
    /// The disk is full, or the store has as many segments as it may have.
    #[error("no space for another segment in {}: {reason}", folder.display())]
    Full {
        /// The folder of the store.
        folder: PathBuf,
        /// The limit, or what the system reports.
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
