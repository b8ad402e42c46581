//! Reports the progress of the start while the store is read: to the log, and to systemd, which would end a start that
//! takes long.
//!
//! Invariants: systemd waits longer only while something is read.

use std::time::{Duration, Instant};

use store::Progress;

use crate::systemd;

/// When the last reports were made.
#[derive(Debug)]
pub(super) struct ProgressReport {
    logged: Instant,
    notified: Option<Instant>,
}

impl ProgressReport {
    pub(super) fn new() -> Self {
        Self {
            logged: Instant::now(),
            notified: None,
        }
    }

    /// Reports that more was read.
    pub(super) fn report(&mut self, progress: Progress) {
        if self
            .notified
            .is_some_and(|notified| notified.elapsed() < NOTIFY_PAUSE)
        {
            return;
        }
        let status = match progress {
            Progress::Segments { read, all } => format!("Reading the store: {read} of {all} segments"),
            Progress::Messages { read, all } => format!("Reading the store: {read} of {all} messages"),
        };
        systemd::notify_starting(&status);
        self.notified = Some(Instant::now());
        if self.logged.elapsed() >= LOG_PAUSE {
            tracing::info!("{status}.");
            self.logged = Instant::now();
        }
    }
}

/// How often systemd is notified.
const NOTIFY_PAUSE: Duration = Duration::from_millis(500);
/// Between lines in the log. Most starts end before the first.
const LOG_PAUSE: Duration = Duration::from_secs(2);
