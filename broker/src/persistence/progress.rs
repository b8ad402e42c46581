//! Reports how far the start is, while the store is read: to the log, and to systemd, which would end a start that
//! takes long.
//!
//! Invariants: systemd waits on only while something is read.

use std::time::{Duration, Instant};

use store::Progress;

use crate::systemd;

/// When what was reported.
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

    /// Something more was read.
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

/// How often the manager is notified.
const NOTIFY_PAUSE: Duration = Duration::from_millis(500);
/// Between lines in the log. Most starts are over before the first.
const LOG_PAUSE: Duration = Duration::from_secs(2);
