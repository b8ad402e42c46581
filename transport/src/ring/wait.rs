//! Waits for completions.
//!
//! Invariants: a wait ends when there is a completion; for further ready work the kernel is called again only for a
//! bounded time, so the caller continues whatever arrives.

use std::io;
use std::time::Duration;

use io_uring::types::Timespec;

use super::Ring;
use crate::clock::monotonic_ns;

impl Ring {
    /// Submits queued requests to the kernel and waits for a completion, at most for `timeout` (`None`: without limit,
    /// zero: not at all).
    ///
    /// # Errors
    /// The errors of `io_uring_enter(2)`; interruptions and the end of `timeout` are not errors.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let waited = self.enter(timeout).and_then(|()| self.run_task_work());
        self.reaped = self.submissions.completions().len();
        self.grown = false;
        waited
    }

    fn enter(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let is_found = !self.submissions.completions().is_empty();
        match timeout {
            _ if is_found => self.submit(),
            None => self.submissions.submit_and_wait(None),
            Some(Duration::ZERO) => self.submit(),
            Some(timeout) => self.submissions.submit_and_wait(Some(&Timespec::from(timeout))),
        }
    }

    /// A call of the kernel completes a few of the ready requests, and leaves the others to the next call. A client
    /// behind hundreds of others would wait for many turns of the caller; therefore the kernel is called again, for a
    /// limited time.
    fn run_task_work(&mut self) -> io::Result<()> {
        if !self.submissions.has_task_work() {
            return Ok(());
        }
        let until_ns = monotonic_ns() + TASK_WORK_NS_MAX;
        loop {
            let before = self.submissions.completions().len();
            self.submit()?;
            // A kernel that has no space now makes no progress: to call it again would be to spin.
            let is_stuck = self.submissions.completions().len() == before;
            if is_stuck || !self.submissions.has_task_work() || monotonic_ns() >= until_ns {
                return Ok(());
            }
        }
    }
}

/// Nanoseconds for which the kernel is called again as long as requests are ready. After that the caller continues
/// first.
const TASK_WORK_NS_MAX: u64 = 1_000_000;
