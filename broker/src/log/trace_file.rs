//! The file of one trace.
//!
//! Invariants: those of `sink.rs`; a line contains no control character. A trace file is recognized by its first line,
//! which is written when the file is created (test `a_trace_goes_to_no_file_of_others`).

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use rustix::fs::{OFlags, PROC_SUPER_MAGIC};

use super::line::{Escaped, LineForm};
use super::output::LogError;
use super::settings::LogFormat;
use super::sink::Sink;
use super::time_prefix::TimePrefix;

/// An open trace file; it can be replaced while shards write.
#[derive(Debug)]
pub(crate) struct TraceFile(RwLock<Sink>);

impl TraceFile {
    /// Opens the file for appending, or creates it with mode 0600. A pipe or a device might never be ready.
    ///
    /// # Errors
    /// It cannot be opened, is not a regular file, or contains something other than a trace.
    pub(crate) fn open(path: &Path) -> Result<Self, LogError> {
        Ok(Self(RwLock::new(sink(path)?)))
    }

    /// Reopens the path; later lines go to the new file.
    ///
    /// # Errors
    /// As [`Self::open`]; lines then go to the previous file.
    pub(crate) fn reopen(&self, path: &Path) -> Result<(), LogError> {
        let anew = sink(path)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = anew;
        Ok(())
    }

    /// Writes a line, without delay.
    pub(crate) fn write(&self, text: fmt::Arguments<'_>) {
        let mut line = String::new();
        // Writing to a string does not fail.
        let _written = TimePrefix::EpochSeconds.write(&mut line);
        let _written = Escaped(&mut line).write_fmt(text);
        line.push('\n');
        let sink = self.0.read().unwrap_or_else(PoisonError::into_inner);
        sink.take(line.as_bytes());
    }
}

fn sink(path: &Path) -> Result<Sink, LogError> {
    let file = open_regular_file(path).map_err(|cause| LogError::TraceFile {
        path: path.to_owned(),
        cause,
    })?;
    let form = Arc::new(LineForm {
        timestamp: TimePrefix::EpochSeconds,
        format: LogFormat::Text,
    });
    Sink::start(path.display().to_string(), file, form).map_err(LogError::Thread)
}

fn open_regular_file(path: &Path) -> io::Result<File> {
    // A pipe that nobody reads is refused instead of waited for, and no file is created through a link.
    let flags = (OFlags::NONBLOCK | OFlags::NOFOLLOW).bits().cast_signed();
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(flags)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other(
            "it is a device, a pipe or a folder, but a trace needs a regular file",
        ));
    }
    if rustix::fs::fstatfs(&file)?.f_type == PROC_SUPER_MAGIC {
        return Err(io::Error::other("it is a file of the system, in /proc"));
    }
    let mut begin = [0; 64];
    let read = file.read_at(&mut begin, 0)?;
    if read == 0 {
        (&file).write_all(first_line().as_bytes())?;
        return Ok(file);
    }
    if is_of_trace(begin.get(..read).unwrap_or_default()) {
        Ok(file)
    } else {
        Err(io::Error::other(
            "it contains something else, but a trace needs a new file, an empty one or that of another trace",
        ))
    }
}

/// The first bytes of every trace file.
fn first_line() -> String {
    let mut line = String::new();
    // Writing to a string does not fail.
    let _written = TimePrefix::EpochSeconds.write(&mut line);
    line.push_str(HEADING);
    line.push('\n');
    line
}

/// Whether a file with this beginning is a trace file.
fn is_of_trace(begin: &[u8]) -> bool {
    let begin = String::from_utf8_lossy(begin);
    let (time, text) = begin.split_once(": ").unwrap_or_default();
    time.parse::<u64>().is_ok() && text.lines().next() == Some(HEADING)
}

/// The first line after its time; no log line is like it.
const HEADING: &str = "Here begins a trace file of Midge.";

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with other content is left unchanged.
    #[test]
    fn a_trace_goes_to_no_file_of_others() {
        let folder = tempfile::tempdir().unwrap();
        for (name, content, is_taken) in [
            ("empty", "", true),
            ("passwords", "u:$7$101$abc\n", false),
            ("log", "1700000000: Midge starting\n", false),
            ("short", "1", false),
            ("other", "1700000000: Received PINGREQ from a\n", false),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            assert_eq!(open_regular_file(&path).is_ok(), is_taken, "{name}");
            let now = std::fs::read_to_string(&path).unwrap();
            assert_eq!(now == content, !is_taken, "{name}");
            // A file that was accepted once is accepted again, unchanged.
            assert_eq!(open_regular_file(&path).is_ok(), is_taken, "{name}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), now);
        }
        assert!(open_regular_file(&folder.path().join("new")).is_ok());
        assert!(open_regular_file(Path::new("/proc/self/oom_score_adj")).is_err());
    }
}
