//! One destination of the log: a bounded queue of lines, and a thread that writes them.
//!
//! Invariants: the code that logs never waits, whatever happens to the destination. A line is written as a whole, and
//! lines keep their order. Lines that are not written are counted, in [`lost_lines`] for the whole process, and
//! reported in the destination once it accepts lines again. The thread ends with the last line of a sink that is
//! dropped.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::line::LineForm;
use super::types::LogTypes;
use crate::limits;

/// A destination that accepts lines without delay.
#[derive(Debug)]
pub(super) struct Sink {
    lines: SyncSender<Box<[u8]>>,
    state: Arc<SinkState>,
}

#[derive(Debug, Default)]
struct SinkState {
    /// Lines that are in the queue or being written.
    waiting: AtomicUsize,
    /// Lines that were lost and not reported yet.
    lost: AtomicU64,
    /// Why the last line could not be written, if it failed.
    cause: Mutex<Option<io::Error>>,
}

/// Log lines that were lost in this process.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Number of log lines that were lost since the process began.
#[must_use]
pub fn lost_lines() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// Counts a line that a destination without a sink does not accept.
pub(super) fn count_lost() {
    LOST.fetch_add(1, Ordering::Relaxed);
}

impl Sink {
    /// Starts the thread of a destination; `name` is for messages, `form` that of the report of lost lines.
    ///
    /// # Errors
    /// The operating system provides no thread.
    pub(super) fn start(
        name: String,
        destination: impl Write + Send + 'static,
        form: Arc<LineForm>,
    ) -> io::Result<Self> {
        let (lines, queue) = sync_channel(limits::LOG_LINES_WAITING_MAX);
        let state = Arc::new(SinkState::default());
        let writer = SinkWriter {
            name,
            destination,
            form,
            state: Arc::clone(&state),
            reported_at: None,
        };
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || writer.write_all(&queue))?;
        Ok(Self { lines, state })
    }

    /// Takes a line, or counts it as lost if too many wait.
    pub(super) fn take(&self, line: &[u8]) {
        self.state.waiting.fetch_add(1, Ordering::AcqRel);
        if self.lines.try_send(line.into()).is_err() {
            self.state.waiting.fetch_sub(1, Ordering::AcqRel);
            self.state.count_lost(None);
        }
    }

    /// Waits until the lines so far are written, or the time is over.
    pub(super) fn drain(&self, until: Instant) {
        while self.state.waiting.load(Ordering::Acquire) > 0 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl SinkState {
    fn count_lost(&self, cause: Option<io::Error>) {
        count_lost();
        self.lost.fetch_add(1, Ordering::Relaxed);
        if cause.is_some() {
            *self.cause.lock().unwrap_or_else(PoisonError::into_inner) = cause;
        }
    }

    /// The report about lost lines, if there are any.
    fn report(&self) -> Option<String> {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost == 0 {
            return None;
        }
        let cause = self.cause.lock().unwrap_or_else(PoisonError::into_inner).take();
        Some(match cause {
            Some(cause) => format!("Warning: {lost} log lines were lost here: {cause}.\n"),
            None => format!("Warning: {lost} log lines were lost here: they were not written in time.\n"),
        })
    }
}

/// The side of the thread that writes.
struct SinkWriter<W> {
    name: String,
    destination: W,
    form: Arc<LineForm>,
    state: Arc<SinkState>,
    /// When standard error last reported that the destination accepts no lines.
    reported_at: Option<Instant>,
}

impl<W: Write> SinkWriter<W> {
    fn write_all(mut self, queue: &Receiver<Box<[u8]>>) {
        while let Ok(line) = queue.recv() {
            self.write(&line);
            self.state.waiting.fetch_sub(1, Ordering::AcqRel);
        }
    }

    fn write(&mut self, line: &[u8]) {
        if let Err(cause) = self
            .destination
            .write_all(line)
            .and_then(|()| self.destination.flush())
        {
            self.complain(&cause);
            self.state.count_lost(Some(cause));
            return;
        }
        if let Some(report) = self.state.report()
            && let Err(cause) = self
                .destination
                .write_all(&self.form.whole(LogTypes::WARNING, report.as_bytes()))
        {
            self.state.count_lost(Some(cause));
        }
    }

    /// Reports on standard error, not each time, why the log is not written.
    fn complain(&mut self, cause: &io::Error) {
        let quiet = Duration::from_nanos(limits::LOG_COMPLAINT_NS);
        if self.name == STDERR || self.reported_at.is_some_and(|at| at.elapsed() < quiet) {
            return;
        }
        self.reported_at = Some(Instant::now());
        let name = &self.name;
        let _nowhere_left = writeln!(
            io::stderr(),
            "Error: the log cannot be written to {name}: {cause}; lines are lost until this works again."
        );
    }
}

/// The name of standard error, which needs no report of itself.
pub(super) const STDERR: &str = "stderr";

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;
    use crate::log::settings::LogFormat;
    use crate::log::time_prefix::TimePrefix;

    /// A destination that accepts a line each time that it is allowed to, or refuses it.
    struct Slow {
        allowed: Receiver<bool>,
        taken: Sender<String>,
    }

    impl Write for Slow {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            match self.allowed.recv() {
                Ok(true) => {
                    self.taken
                        .send(String::from_utf8_lossy(line).into_owned())
                        .unwrap();
                    Ok(line.len())
                }
                _ => Err(io::ErrorKind::StorageFull.into()),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn slow(format: LogFormat) -> (Sink, Sender<bool>, Receiver<String>) {
        let ((allow, allowed), (taken, lines)) = (channel(), channel());
        let timestamp = TimePrefix::EpochSeconds;
        let form = LineForm { timestamp, format };
        let sink = Sink::start("test".to_owned(), Slow { allowed, taken }, Arc::new(form)).unwrap();
        (sink, allow, lines)
    }

    /// The code that logs does not wait for a destination that nobody reads.
    #[test]
    fn lines_beyond_the_bound_are_counted_and_reported() {
        let (sink, allow, lines) = slow(LogFormat::Text);
        let lost_before = lost_lines();
        let begun = Instant::now();
        for number in 0..limits::LOG_LINES_WAITING_MAX + 100 {
            sink.take(format!("{number}\n").as_bytes());
        }
        assert!(begun.elapsed() < Duration::from_secs(5));
        assert!(lost_lines() - lost_before >= 99);
        sink.drain(Instant::now() + Duration::from_millis(20));
        (0..limits::LOG_LINES_WAITING_MAX + 2).for_each(|_| allow.send(true).unwrap());
        assert_eq!(lines.recv().unwrap(), "0\n");
        let report = lines.recv().unwrap();
        let (time, report) = report.split_once(": ").unwrap();
        assert!(time.parse::<u64>().is_ok());
        assert!(report.contains("log lines were lost here: they"), "{report}");
        assert_eq!(lines.recv().unwrap(), "1\n");
        sink.drain(Instant::now() + Duration::from_secs(20));
        let written = lines.try_iter().count() + 2;
        assert!((limits::LOG_LINES_WAITING_MAX..limits::LOG_LINES_WAITING_MAX + 2).contains(&written));
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_reported() {
        let (sink, allow, lines) = slow(LogFormat::Json);
        for (line, is_allowed) in [("a\n", true), ("b\n", false), ("c\n", false), ("d\n", true)] {
            sink.take(line.as_bytes());
            allow.send(is_allowed).unwrap();
        }
        allow.send(true).unwrap();
        let written: Vec<_> = (0..3).map(|_| lines.recv().unwrap()).collect();
        assert_eq!(written[..2], ["a\n", "d\n"]);
        assert!(
            written[2].contains("2 log lines were lost here"),
            "{}",
            written[2]
        );
        // A line like all others.
        let report: serde_json::Value = serde_json::from_str(&written[2]).unwrap();
        assert!(
            report["time"].is_string() && report["type"] == "warning",
            "{report}"
        );
    }
}
