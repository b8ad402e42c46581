//! The progress of a recovery.
//!
//! Invariants: each step counts up to its end, and the steps follow each other.

/// What a recovery has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The log is read.
    Segments {
        /// Segments that were read.
        read: usize,
        /// Segments that have commits.
        all: usize,
    },
    /// It is known which messages are live, and they are read.
    Messages {
        /// Messages that were read.
        read: usize,
        /// Messages that are still needed.
        all: usize,
    },
}

/// Called frequently while a recovery reads.
pub type Report<'a> = &'a mut dyn FnMut(Progress);
