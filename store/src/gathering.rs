//! The time during which the storage thread waits for more records before it writes.
//!
//! A thread that is woken for each small batch takes more time from the shards than writing takes, and each commit
//! uses at least a block of the disk. Therefore records that nobody waits for are not written at once.
//!
//! Invariants: the time is bounded, and so is the amount of records. It ends when somebody waits for what has been
//! submitted: after such a submission has been sent, its shard checks whether the thread gathers; and after the thread
//! has announced that it gathers, it checks for such submissions.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::thread::{self, Thread};
use std::time::Duration;

use crate::options::Durability;

/// Whether the storage thread waits for more records, and which thread that is.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    is_on: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Gathering {
    /// The calling thread is about to [`Self::wait`]; it must check once more whether it may.
    pub(crate) fn begin(&self) {
        self.thread.get_or_init(thread::current);
        self.is_on.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Waits for this time at most, unless somebody has ended it since it began.
    pub(crate) fn wait(&self, time: Duration) {
        if self.is_on.load(Ordering::Relaxed) {
            thread::park_timeout(time);
        }
        self.stop();
    }

    /// The thread does not wait any more.
    pub(crate) fn stop(&self) {
        self.is_on.store(false, Ordering::Relaxed);
    }

    /// Somebody waits for what was sent to the thread, or enough for one write has been sent.
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
    /// How long to wait for more. If acknowledgements wait for durability, a packet may wait for a batch although this
    /// was not known when the batch was submitted.
    pub(crate) fn gathering_time(self) -> Duration {
        match self {
            Self::Sync => Duration::from_millis(1),
            Self::Interval(interval) => (interval / 4).min(UNAWAITED_TIME),
            Self::None => UNAWAITED_TIME,
        }
    }
}

/// How long to wait for more if no acknowledgement waits.
const UNAWAITED_TIME: Duration = Duration::from_millis(10);
/// Bytes of records above which no more are gathered.
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
        // Ending while the thread does not gather has no later effect.
        gathering.end();
        gathering.begin();
        gathering.wait(Duration::from_millis(1));
    }
}
