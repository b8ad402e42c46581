//! Waits for completions.
//!
//! Invariants: a wait ends when there is a completion; the kernel is called again for what is ready for a bounded time
//! alone, so the caller has its turn whatever comes.

use std::io;
use std::time::Duration;

use io_uring::types::Timespec;

use super::Ring;
use crate::clock::monotonic_ns;

impl Ring {
    /// Hands queued requests to the kernel and waits for a completion, at most for `timeout` (`None`: without end,
    /// zero: not at all).
    ///
    /// # Errors
    /// What `io_uring_enter(2)` gives; interruptions and the end of `timeout` are not errors.
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

    /// A call of the kernel does a few of the requests that can go on, and leaves the others to the next call. Somebody
    /// behind hundreds of others would wait for many turns of the caller, so the kernel is called again, for a while.
    fn run_task_work(&mut self) -> io::Result<()> {
        if !self.submissions.has_task_work() {
            return Ok(());
        }
        let until_ns = monotonic_ns() + TASK_WORK_NS_MAX;
        loop {
            let before = self.submissions.completions().len();
            self.submit()?;
            // A kernel that has no room now brings nothing: to call it again would be to spin.
            let is_stuck = self.submissions.completions().len() == before;
            if is_stuck || !self.submissions.has_task_work() || monotonic_ns() >= until_ns {
                return Ok(());
            }
        }
    }
}

/// Nanoseconds for which the kernel is called again as long as requests can go on. Over: the caller has its turn first.
const TASK_WORK_NS_MAX: u64 = 1_000_000;
