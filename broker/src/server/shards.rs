//! One thread with a glommio executor for each shard.
//!
//! Invariants: if a shard ends or cannot start, for any reason, the others end too.

use std::io;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use glommio::{GlommioError, LocalExecutor, LocalExecutorBuilder};
use transport::clock::monotonic_ns;
use transport::ring::{Ring, RingError, RingOptions};

use super::error::ServerError;
use super::locked_memory::{EXECUTOR_MEMORY_BYTES, EXECUTOR_RING_DEPTH};
use crate::bind::Listening;
use crate::logic::{Shard, ShardCounters};
use crate::persistence::{Persisted, ShardPersistence};
use crate::shard::{ShardLoop, ShardQueues, Shared, allowed_cpus, placement};
use crate::time::Timestamp;

/// The threads of the shards, by shard number.
pub(super) struct ShardThreads {
    threads: Vec<JoinHandle<Result<(), String>>>,
    /// All shards serve clients.
    pub(super) all_started: bool,
}

/// What the thread of a shard starts with.
struct ShardStart {
    shard: u16,
    count: u16,
    ring: RingOptions,
    cpus: Vec<usize>,
    counters: Arc<[ShardCounters]>,
    listening: Vec<Listening>,
    persistence: Option<ShardPersistence>,
    shared: Shared,
}

/// Starts a thread for each shard, and waits until all of them serve clients or one could not start.
///
/// # Errors
/// A thread cannot be started.
pub(super) fn start_shards(
    count: NonZeroU16,
    ring: &RingOptions,
    shared: &Shared,
    listening: &[Listening],
    counters: &Arc<[ShardCounters]>,
    persisted: Option<&Persisted>,
) -> Result<ShardThreads, ServerError> {
    let count = count.get();
    let cpus = allowed_cpus();
    let (started, starts) = channel();
    let mut threads = Vec::with_capacity(usize::from(count));
    for shard in 0..count {
        let start = ShardStart {
            shard,
            count,
            ring: *ring,
            cpus: cpus.clone(),
            counters: Arc::clone(counters),
            listening: listening.to_vec(),
            persistence: persisted.map(|persisted| persisted.shard(shard)),
            shared: shared.clone(),
        };
        let (started, others) = (started.clone(), StopOthersOnDrop::new(shard, shared));
        let name = format!("shard-{shard}");
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            let _others = others;
            start.run(started)
        });
        match thread {
            Ok(thread) => threads.push(thread),
            Err(source) => {
                for thread in threads {
                    // What failed is the thread that could not be started.
                    drop(thread.join());
                }
                return Err(ServerError::Thread { shard, source });
            }
        }
    }
    drop(started);
    // Ends when each shard has started or failed; if one has failed, the others end.
    let all_started = starts.iter().count() == usize::from(count);
    Ok(ShardThreads { threads, all_started })
}

impl ShardStart {
    /// Serves clients until the end; sends `started` when it begins.
    fn run(self, started: Sender<()>) -> Result<(), String> {
        let Some((executor, ring)) = self.rings()? else {
            return Ok(());
        };
        executor.run(async move {
            let settings = Arc::clone(&self.shared.current.get().settings);
            let shard = self.shard;
            let mut logic = Shard::new(shard, self.count, settings, self.counters);
            if let Some(persistence) = self.persistence {
                let senseless = persistence.give_to(&mut logic, Timestamp(monotonic_ns()));
                if senseless > 0 {
                    tracing::error!("Shard {shard} skipped {senseless} records that are not valid.");
                }
            }
            let shard = ShardLoop::new(shard, self.count, ring, logic, self.listening, self.shared);
            // The receiver is gone only if the start was given up.
            let _unsent = started.send(());
            drop(started);
            shard.run().await.map_err(|error| error.to_string())
        })
    }

    /// The executor of the thread and its ring. Shortly after another program of this user has ended, its locked
    /// memory may still be counted, because the kernel releases rings later: this waits for it. `None` if the broker
    /// is shut down in the meantime.
    fn rings(&self) -> Result<Option<(LocalExecutor, Ring)>, String> {
        let begun = Instant::now();
        loop {
            let error = match self.try_rings() {
                Ok(rings) => return Ok(Some(rings)),
                Err(error) => error,
            };
            if self.shared.shut_down.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let waits = begun.elapsed() < LOCKED_MEMORY_WAIT_MAX;
            if !waits || !matches!(error, RingError::LockedMemory(_)) {
                return Err(error.to_string());
            }
            std::thread::sleep(LOCKED_MEMORY_RETRY);
        }
    }

    fn try_rings(&self) -> Result<(LocalExecutor, Ring), RingError> {
        let executor = LocalExecutorBuilder::new(placement(self.shard, self.count, &self.cpus))
            .io_memory(EXECUTOR_MEMORY_BYTES)
            .ring_depth(EXECUTOR_RING_DEPTH as usize)
            .preempt_timer(PREEMPT_TIMER)
            .make()
            .map_err(|error| match error {
                GlommioError::IoError(error) => RingError::from(error),
                error => RingError::Other(io::Error::other(error.to_string())),
            })?;
        Ok((executor, Ring::new(&self.ring)?))
    }
}

/// When a shard ends, for any reason, the others end too: a broker never runs with a part of its shards.
struct StopOthersOnDrop {
    queues: Arc<ShardQueues>,
    shut_down: Arc<AtomicBool>,
    shard: u16,
}

impl StopOthersOnDrop {
    fn new(shard: u16, shared: &Shared) -> Self {
        Self {
            queues: Arc::clone(&shared.queues),
            shut_down: Arc::clone(&shared.shut_down),
            shard,
        }
    }
}

impl Drop for StopOthersOnDrop {
    fn drop(&mut self) {
        self.shut_down.store(true, Ordering::Relaxed);
        self.queues.end(self.shard);
    }
}

impl ShardThreads {
    /// Waits for all shards; the first failure is the broker's.
    ///
    /// # Errors
    /// A shard failed.
    pub(super) fn join(self) -> Result<(), ServerError> {
        let mut result = Ok(());
        for (shard, thread) in (0u16..).zip(self.threads) {
            let detail = match thread.join() {
                Ok(Ok(())) => continue,
                Ok(Err(detail)) => detail,
                Err(_) => "it panicked, which is a bug in Midge".to_owned(),
            };
            result = result.and(Err(ServerError::Shard { shard, detail }));
        }
        result
    }
}

/// Practically never: if this timer fires between glommio's poll and its check of the task queue, glommio parks
/// although a task is ready. A shard would not start, or would sleep until something else wakes it.
const PREEMPT_TIMER: Duration = Duration::from_secs(24 * 3600);
/// How long a start waits for locked memory that other programs release.
const LOCKED_MEMORY_WAIT_MAX: Duration = Duration::from_secs(10);
const LOCKED_MEMORY_RETRY: Duration = Duration::from_millis(20);
