//! One glommio executor for each shard.
//!
//! Invariants: a shard that ends, in whatever way, ends the others too.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use glommio::{ExecutorJoinHandle, LocalExecutorBuilder};
use transport::clock::monotonic_ns;

use super::error::ServerError;
use crate::bind::Listening;
use crate::logic::{Shard, ShardCounters};
use crate::persistence::Persisted;
use crate::shard::{ShardLoop, ShardQueues, Shared, allowed_cpus, placement};
use crate::time::Timestamp;

/// The thread of a shard.
pub(super) type ShardHandle = ExecutorJoinHandle<Result<(), String>>;

/// Starts a thread for each shard.
///
/// # Errors
/// An executor cannot be made.
pub(super) fn start_shards(
    shards: NonZeroU16,
    shared: &Shared,
    listening: &[Listening],
    counters: &Arc<[ShardCounters]>,
    persisted: Option<&Persisted>,
) -> Result<Vec<ShardHandle>, ServerError> {
    let count = shards.get();
    let cpus = allowed_cpus();
    let start = |shard: u16| {
        let (counters, shared) = (Arc::clone(counters), shared.clone());
        let listening = listening.to_vec();
        let persistence = persisted.map(|persisted| persisted.shard(shard));
        LocalExecutorBuilder::new(placement(shard, count, &cpus))
            .name(&format!("shard-{shard}"))
            .io_memory(GLOMMIO_IO_MEMORY_BYTES)
            .preempt_timer(PREEMPT_TIMER)
            .spawn(move || async move {
                let _others = StopOthersOnDrop {
                    queues: Arc::clone(&shared.queues),
                    shut_down: Arc::clone(&shared.shut_down),
                    shard,
                };
                let settings = Arc::clone(&shared.current.get().settings);
                let mut logic = Shard::new(shard, count, settings, counters);
                if let Some(persistence) = persistence {
                    let senseless = persistence.give_to(&mut logic, Timestamp(monotonic_ns()));
                    if senseless > 0 {
                        tracing::error!("Shard {shard} left {senseless} records out that made no sense.");
                    }
                }
                let shard = ShardLoop::new(shard, count, logic, listening, shared);
                match shard {
                    Ok(shard) => shard.run().await.map_err(|error| error.to_string()),
                    Err(error) => Err(error.to_string()),
                }
            })
            .map_err(|source| ServerError::Executor { shard, source })
    };
    (0..count).map(start).collect()
}

/// A shard that ends, in whatever way, ends the others too: half a broker is none.
struct StopOthersOnDrop {
    queues: Arc<ShardQueues>,
    shut_down: Arc<AtomicBool>,
    shard: u16,
}

impl Drop for StopOthersOnDrop {
    fn drop(&mut self) {
        self.shut_down.store(true, Ordering::Relaxed);
        self.queues.end(self.shard);
    }
}

/// Waits for all shards; the first failure is the broker's.
///
/// # Errors
/// A shard failed.
pub(super) fn join_all(executors: Vec<ShardHandle>) -> Result<(), ServerError> {
    let mut result = Ok(());
    for (shard, executor) in (0u16..).zip(executors) {
        let detail = match executor.join() {
            Ok(Ok(())) => continue,
            Ok(Err(detail)) => detail,
            Err(error) => error.to_string(),
        };
        result = result.and(Err(ServerError::Shard { shard, detail }));
    }
    result
}

/// Never, in effect: when this timer fires between glommio's poll and its look at the task queue, glommio parks
/// although a task is ready. A shard would not start, or would sleep until something else wakes it.
const PREEMPT_TIMER: Duration = Duration::from_secs(24 * 3600);
/// Registered memory for glommio's own files: the smallest it takes.
const GLOMMIO_IO_MEMORY_BYTES: usize = 64 << 10;
