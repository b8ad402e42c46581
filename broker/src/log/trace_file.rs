//! A file that one trace of a client goes to.
//!
//! Invariants: those of `sink.rs`; a line contains no control character. A file is known as one of traces by its first
//! line, which is written when the file is made (test `a_trace_goes_to_no_file_of_others`).

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

/// An open file of a trace; another one may take its place while shards write.
#[derive(Debug)]
pub(crate) struct TraceFile(RwLock<Sink>);

impl TraceFile {
    /// Opens the file at its end, or makes it with mode 0600. A pipe or a device might never be ready.
    ///
    /// # Errors
    /// It cannot be opened, is no regular file, or something else than a trace is in it.
    pub(crate) fn open(path: &Path) -> Result<Self, LogError> {
        Ok(Self(RwLock::new(sink(path)?)))
    }

    /// Opens the file of this path for what is written from now on.
    ///
    /// # Errors
    /// As [`Self::open`]; it goes on in the file of before then.
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
    // A pipe that nobody reads is refused instead of waited for, and no file is made at the end of a link.
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
            "it is a device, a pipe or a folder, and a trace goes to a regular file",
        ));
    }
    if rustix::fs::fstatfs(&file)?.f_type == PROC_SUPER_MAGIC {
        return Err(io::Error::other("it is the system's, in /proc"));
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
            "something else is in it, and a trace goes to a new file, an empty one or that of another trace",
        ))
    }
}

/// What a file of traces begins with, whatever is shown first.
fn first_line() -> String {
    let mut line = String::new();
    // Writing to a string does not fail.
    let _written = TimePrefix::EpochSeconds.write(&mut line);
    line.push_str(HEADING);
    line.push('\n');
    line
}

/// Whether what begins so is a file of traces.
fn is_of_trace(begin: &[u8]) -> bool {
    let begin = String::from_utf8_lossy(begin);
    let (time, text) = begin.split_once(": ").unwrap_or_default();
    time.parse::<u64>().is_ok() && text.lines().next() == Some(HEADING)
}

/// The first line behind its time; no line of a log is like it.
const HEADING: &str = "Here begins a trace file of Midge.";

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of somebody else is left as it is.
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
            // What was taken once is taken again, and left as it is.
            assert_eq!(open_regular_file(&path).is_ok(), is_taken, "{name}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), now);
        }
        assert!(open_regular_file(&folder.path().join("new")).is_ok());
        assert!(open_regular_file(Path::new("/proc/self/oom_score_adj")).is_err());
    }
}
