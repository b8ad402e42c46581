//! Submits requests to the kernel.
//!
//! Invariants: requests reach the kernel in the order in which they were pushed. A request names its descriptor by
//! number. If the descriptor were closed first, the next connection could get the number, and the request would read
//! or write the bytes of that one. So the socket of a waiting request is owned here and stays open until the kernel
//! has accepted the request, even if all other owners drop it. If the kernel accepts nothing for the moment (EAGAIN,
//! EBUSY), requests are delayed and none is lost; nothing spins, and what does not fit waits in `backlog`.
//! failing kernel in `tests.rs` guard this.
#![allow(unsafe_code, reason = "submission entries point to memory")]

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{CompletionQueue, IoUring, squeue};

use super::wake::RingHandle;

/// An io_uring instance and the requests that wait to be submitted.
pub(super) struct Submissions {
    io: IoUring,
    /// Requests beyond the submission queue, in order.
    backlog: VecDeque<squeue::Entry>,
    /// The descriptors that the waiting requests use.
    named: Vec<Arc<OwnedFd>>,
    /// For tests: the kernel fails with this error until it is removed.
    #[cfg(test)]
    pub(super) failure: Option<i32>,
}

impl Submissions {
    pub(super) fn new(io: IoUring) -> Self {
        Self {
            io,
            backlog: VecDeque::new(),
            named: Vec::new(),
            #[cfg(test)]
            failure: None,
        }
    }

    pub(super) fn handle(&self) -> io::Result<RingHandle> {
        RingHandle::of(&self.io)
    }

    pub(super) fn submitter(&self) -> io_uring::Submitter<'_> {
        self.io.submitter()
    }

    pub(super) fn completions(&mut self) -> CompletionQueue<'_> {
        self.io.completion()
    }

    /// Whether there are completions that were not read, in the queue or in the kernel's overflow list.
    pub(super) fn has_completions(&mut self) -> bool {
        self.io.submission().cq_overflow() || !self.io.completion().is_empty()
    }

    /// Whether the kernel has work to do for this ring (a receive, a send) at the next submit.
    pub(super) fn has_task_work(&mut self) -> bool {
        self.io.submission().taskrun()
    }

    /// Queues a request that names this descriptor, or none.
    ///
    /// # Safety
    ///
    /// The memory to which the entry points exists, and is not moved, until the completion.
    pub(super) unsafe fn push(&mut self, entry: squeue::Entry, named: Option<&Arc<OwnedFd>>) {
        self.named.extend(named.cloned());
        // SAFETY: guaranteed by the caller.
        if self.backlog.is_empty() && unsafe { self.io.submission().push(&entry) }.is_ok() {
            return;
        }
        self.backlog.push_back(entry);
        // A permanent error is returned by the next wait, whose caller can end.
        let _ = self.submit();
    }

    /// Submits the waiting requests, as far as the kernel accepts them.
    pub(super) fn submit(&mut self) -> io::Result<()> {
        loop {
            self.refill();
            let before = self.waiting();
            self.enter(0, None)?;
            let after = self.waiting();
            if after == 0 || after == before {
                return Ok(());
            }
        }
    }

    /// Submits the waiting requests, and waits for a completion or until `timeout` is over.
    pub(super) fn submit_and_wait(&mut self, timeout: Option<&Timespec>) -> io::Result<()> {
        self.refill();
        if !self.backlog.is_empty() {
            self.submit()?;
        }
        if !self.backlog.is_empty() {
            // The completions must be read first: then the kernel accepts more.
            return Ok(());
        }
        self.enter(1, timeout)
    }

    fn waiting(&mut self) -> usize {
        self.backlog.len() + self.io.submission().len()
    }

    /// Moves requests of the backlog into the submission queue.
    fn refill(&mut self) {
        while let Some(entry) = self.backlog.front() {
            // SAFETY: the caller that pushed it guaranteed that its memory stays.
            if unsafe { self.io.submission().push(entry) }.is_err() {
                return;
            }
            self.backlog.pop_front();
        }
    }

    fn enter(&mut self, wanted: usize, timeout: Option<&Timespec>) -> io::Result<()> {
        let entered = self.enter_kernel(wanted, timeout);
        if !self.named.is_empty() && self.waiting() == 0 {
            self.named.clear();
        }
        match entered {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // Interrupted, or the timeout is over.
                Some(libc::ETIME | libc::EINTR) => Ok(()),
                // Completions must be read first, or there is no memory: the requests stay in the queue.
                Some(libc::EBUSY | libc::EAGAIN) => {
                    std::thread::yield_now();
                    Ok(())
                }
                _ => Err(error),
            },
        }
    }

    fn enter_kernel(&mut self, wanted: usize, timeout: Option<&Timespec>) -> io::Result<usize> {
        #[cfg(test)]
        if let Some(error) = self.failure {
            return Err(io::Error::from_raw_os_error(error));
        }
        match timeout {
            None => self.io.submit_and_wait(wanted),
            Some(timeout) => {
                let arguments = SubmitArgs::new().timespec(timeout);
                self.io.submitter().submit_with_args(wanted, &arguments)
            }
        }
    }
}
