//! How far a recovery is.
//!
//! Invariants: each step counts up to its end, and one follows the other.

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
    /// What messages live is known, and they are read.
    Messages {
        /// Messages that were read.
        read: usize,
        /// Messages that are still needed.
        all: usize,
    },
}

/// Called while a recovery reads, often.
pub type Report<'a> = &'a mut dyn FnMut(Progress);
