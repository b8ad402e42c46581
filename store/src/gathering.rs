//! The time in which the storage thread lets more records come before it writes.
//!
//! A thread that is woken for each small batch takes more time from the shards than what it writes, and each commit
//! takes at least a block of the disk. So what nobody waits for is not written at once.
//!
//! Invariants: the time is bounded, and so is what comes meanwhile. It ends when somebody waits for what has come:
//! whoever submits that looks, after it has been sent, whether the thread gathers, and the thread looks for it after it
//! has said that it gathers.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::thread::{self, Thread};
use std::time::Duration;

use crate::options::Durability;

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

    /// Waits so long at most, unless somebody has ended it since it began.
    pub(crate) fn wait(&self, time: Duration) {
        if self.is_on.load(Ordering::Relaxed) {
            thread::park_timeout(time);
        }
        self.stop();
    }

    /// The thread does not wait.
    pub(crate) fn stop(&self) {
        self.is_on.store(false, Ordering::Relaxed);
    }

    /// Somebody waits for what was sent to the thread, or it is as much as is to be written at once.
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

impl Durability {
    /// How long more may come. Where acknowledgements wait for what is durable, a packet may wait for a batch of which
    /// that was not known when it was submitted.
    pub(crate) fn gathering_time(self) -> Duration {
        match self {
            Self::Sync => Duration::from_millis(1),
            Self::Interval(interval) => (interval / 4).min(UNAWAITED_TIME),
            Self::None => UNAWAITED_TIME,
        }
    }
}

/// How long more may come where no acknowledgement waits.
const UNAWAITED_TIME: Duration = Duration::from_millis(10);
/// Bytes of records of which no more are gathered.
pub(crate) const GATHERED_BYTES: u64 = 256 << 10;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn it_ends_when_somebody_waits_before_or_meanwhile() {
        let gathering = Arc::new(Gathering::default());
        let began = Instant::now();
        gathering.begin();
        gathering.end();
        gathering.wait(LONG);
        let other = Arc::clone(&gathering);
        gathering.begin();
        let ends = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            other.end();
        });
        gathering.wait(LONG);
        ends.join().unwrap();
        assert!(began.elapsed() < LONG);
        // Whoever comes when the thread does not gather leaves nothing behind.
        gathering.end();
        gathering.begin();
        gathering.wait(Duration::from_millis(1));
    }
}
