//! The time in which the storage thread lets more records come before it writes.
//!
//! A thread that is woken for each small batch takes more time from the shards than what it writes, and each commit
//! takes at least a block of the disk. So what nobody waits for is not written at once.
//!
//! Invariants: the time is bounded. It ends when somebody waits for what has come: whoever submits that looks, after it
//! has been sent, whether the thread gathers, and the thread looks for it after it has said that it gathers.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::thread::{self, Thread};
use std::time::Duration;

/// Whether the storage thread waits for more, and which thread that is.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    is_on: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Gathering {
    /// The calling thread is about to [`Self::wait`], and looks once more whether it may.
    pub(crate) fn begin(&self) {
        self.thread.get_or_init(thread::current);
        self.is_on.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Waits, unless somebody has ended it since it began.
    pub(crate) fn wait(&self) {
        if self.is_on.load(Ordering::Relaxed) {
            thread::park_timeout(GATHER);
        }
        self.is_on.store(false, Ordering::Relaxed);
    }

    /// Somebody waits for what was sent to the thread.
    pub(crate) fn end(&self) {
        fence(Ordering::SeqCst);
        if self.is_on.load(Ordering::Relaxed)
            && self.is_on.swap(false, Ordering::Relaxed)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }
}

/// How long more may come.
const GATHER: Duration = Duration::from_millis(1);
