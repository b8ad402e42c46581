//! The destinations of the log.
//!
//! Invariants: a line is written as a whole. The code that logs never waits for a destination, and a destination that
//! cannot be written never stops the broker.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

use super::line::LineForm;
use super::settings::{LogDestination, LogFormat, LogSettings};
use super::sink::{STDERR, Sink};
use super::syslog::Syslog;
use super::time_prefix::TimePrefix;
use super::topic::topic_lines;
use super::types::{LogTypes, type_of};
use crate::limits;

/// The log could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A file cannot be opened.
    #[error("the log file {} cannot be opened: {cause}; fix: check log_dest and the permissions of the \
             folder", path.display())]
    File {
        /// The path of the file.
        path: PathBuf,
        /// The error of the operating system.
        cause: io::Error,
    },
    /// The file of a trace cannot be opened.
    #[error("the trace file {} cannot be opened: {cause}; fix: name a regular file in a folder that the broker's \
             user may write to", path.display())]
    TraceFile {
        /// The path of the file.
        path: PathBuf,
        /// The error of the operating system.
        cause: io::Error,
    },
    /// The system's log has no socket.
    #[error("the system log cannot be reached: {0}; fix: choose another log_dest")]
    Syslog(#[source] io::Error),
    /// The operating system provides no thread.
    #[error("cannot start a thread for the log: {0}")]
    Thread(#[source] io::Error),
    /// The process has a log already.
    #[error("the log was started twice")]
    Started,
}

/// Where lines go and how they begin; shared, so that both can change while lines are written.
#[derive(Clone, Debug)]
pub(super) struct LogOutput(Arc<RwLock<Arc<OpenLog>>>);

/// The destinations that lines are written to.
#[derive(Debug)]
pub(super) struct OpenLog {
    /// The settings with which they were opened, to reopen them.
    settings: LogSettings,
    form: Arc<LineForm>,
    destinations: Destinations,
}

impl LogOutput {
    /// Opens the destinations.
    ///
    /// # Errors
    /// One of them cannot be opened.
    pub(super) fn open(settings: &LogSettings) -> Result<Self, LogError> {
        Ok(Self(Arc::new(RwLock::new(Arc::new(OpenLog::new(settings)?)))))
    }

    /// Lines that begin after this call go to `open`.
    pub(super) fn replace(&self, open: Arc<OpenLog>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = open;
    }

    /// Reopens the same destinations.
    ///
    /// # Errors
    /// One of them cannot be opened; lines go to the previous ones.
    pub(super) fn reopen(&self) -> Result<(), LogError> {
        self.replace(Arc::new(OpenLog::new(&self.get().settings)?));
        Ok(())
    }

    /// Waits, for a bounded time, until the lines so far are written.
    pub(super) fn drain(&self) {
        let until = Instant::now() + Duration::from_nanos(limits::LOG_DRAIN_NS_MAX);
        for sink in &self.get().destinations.sinks {
            sink.drain(until);
        }
    }

    fn get(&self) -> Arc<OpenLog> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl OpenLog {
    /// Opens the destinations.
    ///
    /// # Errors
    /// One of them cannot be opened.
    pub(super) fn new(settings: &LogSettings) -> Result<Self, LogError> {
        let form = Arc::new(LineForm {
            timestamp: TimePrefix::new(&settings.timestamp),
            format: settings.format,
        });
        let destinations = Destinations::open(settings, &form)?;
        Ok(Self {
            settings: settings.clone(),
            form,
            destinations,
        })
    }
}

impl OpenLog {
    fn write(&self, types: LogTypes, line: &[u8]) {
        let destinations = &self.destinations;
        let whole = self.form.whole(types, line);
        if let Some(syslog) = &destinations.syslog {
            // It has its own time.
            let is_text = self.form.format == LogFormat::Text;
            syslog.send(types, if is_text { line } else { &whole });
        }
        for sink in &destinations.sinks {
            sink.take(&whole);
        }
        if destinations.topic {
            topic_lines().take(types, &whole);
        }
    }
}

/// The open destinations. A line that a destination does not accept is lost there.
#[derive(Debug)]
struct Destinations {
    syslog: Option<Syslog>,
    /// The topics below `$SYS/broker/log`.
    topic: bool,
    /// Standard output, standard error and files.
    sinks: Vec<Sink>,
}

impl Destinations {
    fn open(settings: &LogSettings, form: &Arc<LineForm>) -> Result<Self, LogError> {
        let destinations = &settings.destinations;
        let files: Vec<_> = settings
            .files()
            .map(|path| Ok((path.display().to_string(), open_file(path)?)))
            .collect::<Result<_, _>>()?;
        let wants_syslog = destinations.contains(&LogDestination::Syslog);
        let syslog = wants_syslog
            .then(|| Syslog::open(settings.facility))
            .transpose()
            .map_err(LogError::Syslog)?;
        let mut sinks = Vec::new();
        if destinations.contains(&LogDestination::Stdout) {
            sinks.push(Sink::start("stdout".to_owned(), io::stdout(), Arc::clone(form)));
        }
        if destinations.contains(&LogDestination::Stderr) {
            sinks.push(Sink::start(STDERR.to_owned(), io::stderr(), Arc::clone(form)));
        }
        sinks.extend(
            files
                .into_iter()
                .map(|(name, file)| Sink::start(name, file, Arc::clone(form))),
        );
        let sinks = sinks.into_iter().collect::<Result<_, _>>();
        Ok(Self {
            syslog,
            topic: destinations.contains(&LogDestination::Topic),
            sinks: sinks.map_err(LogError::Thread)?,
        })
    }
}

pub(super) fn open_file(path: &Path) -> Result<File, LogError> {
    let opened = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path);
    opened.map_err(|cause| LogError::File {
        path: path.to_owned(),
        cause,
    })
}

impl<'a> MakeWriter<'a> for LogOutput {
    type Writer = LineWriter;

    fn make_writer(&'a self) -> LineWriter {
        LineWriter {
            open: self.get(),
            types: LogTypes::INFORMATION,
        }
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> LineWriter {
        LineWriter {
            open: self.get(),
            types: type_of(event),
        }
    }
}

/// Takes one complete line, without its time.
pub(super) struct LineWriter {
    open: Arc<OpenLog>,
    types: LogTypes,
}

/// The line, or the part of it for which there is room.
fn bounded(line: &[u8]) -> Cow<'_, [u8]> {
    if line.len() <= limits::LOG_LINE_BYTES_MAX {
        return Cow::Borrowed(line);
    }
    let text = String::from_utf8_lossy(line);
    let end = (0..=limits::LOG_LINE_BYTES_MAX).rfind(|&end| text.is_char_boundary(end));
    let kept = text.get(..end.unwrap_or_default()).unwrap_or_default();
    Cow::Owned(format!("{kept}... ({} bytes, cut)\n", line.len()).into_bytes())
}

impl io::Write for LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let taken = line.len();
        let line = &*bounded(line);
        self.open.write(self.types, line);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
