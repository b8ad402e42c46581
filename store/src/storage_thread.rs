//! The thread of a log, as the program uses it.
//!
//! Invariants: it runs until it is closed or the store cannot continue.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;

use crate::counters::Statistics;
use crate::error::StoreError;
use crate::shard_log::{Request, ShardLog, Shared};

/// The thread that writes commits; it ends when it is stopped.
#[derive(Debug)]
pub struct StorageThread {
    sender: Sender<Request>,
    shared: Arc<Shared>,
    thread: JoinHandle<Result<(), StoreError>>,
}

impl StorageThread {
    pub(crate) fn new(
        sender: Sender<Request>,
        shared: Arc<Shared>,
        thread: JoinHandle<Result<(), StoreError>>,
    ) -> Self {
        Self {
            sender,
            shared,
            thread,
        }
    }

    /// A handle that appends for this shard. Each handle has separate batches.
    pub fn shard(&self, shard: u16) -> ShardLog {
        ShardLog::new(Arc::clone(&self.shared), shard, self.sender.clone())
    }

    /// The figures of the store, for metrics.
    pub fn statistics(&self) -> Statistics {
        self.shared.counters.statistics()
    }

    /// Whether the store has stopped because of an error.
    pub fn has_failed(&self) -> bool {
        self.shared.has_failed.load(Ordering::Relaxed)
    }

    /// Makes everything that was submitted durable, and ends.
    ///
    /// # Errors
    /// The store had stopped, or stops now: what was not acknowledged may be lost.
    pub fn close(self) -> Result<(), StoreError> {
        let _ended = self.sender.send(Request::Close);
        match self.thread.join() {
            Ok(result) => result,
            Err(_) => Err(StoreError::Stopped("its thread panicked".to_owned())),
        }
    }
}
