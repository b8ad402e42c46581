//! A file that one trace of a client goes to.
//!
//! Invariants: those of `sink.rs`; a line contains no control character.

use std::fmt::{self, Write as _};
use std::path::Path;

use super::line::{Escaped, TimePrefix};
use super::output::{LogError, open_file};
use super::sink::Sink;

/// An open file of a trace.
#[derive(Debug)]
pub(crate) struct TraceFile(Sink);

impl TraceFile {
    /// Opens the file at its end, or makes it with mode 0600.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(crate) fn open(path: &Path) -> Result<Self, LogError> {
        let file = open_file(path)?;
        Sink::start(path.display().to_string(), file)
            .map(Self)
            .map_err(LogError::Thread)
    }

    /// Writes a line, without delay.
    pub(crate) fn write(&self, text: fmt::Arguments<'_>) {
        let mut line = String::new();
        // Writing to a string does not fail.
        let _written = TimePrefix::EpochSeconds.write(&mut line);
        let _written = Escaped(&mut line).write_fmt(text);
        line.push('\n');
        self.0.take(line.as_bytes());
    }
}
