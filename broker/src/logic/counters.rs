//! What a shard counts, for `$SYS` and metrics.
//!
//! Invariant: only its own shard writes a [`ShardCounters`], so a plain load and store is exact; anybody may read. Each
//! has its own cache lines, so that counting on one core does not slow another.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// One number that its shard writes and everybody reads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// The value now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Adds; only for the shard that owns it.
    #[inline]
    pub fn add(&self, amount: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(amount), Relaxed);
    }

    /// Takes away; only for the shard that owns it.
    #[inline]
    pub fn sub(&self, amount: u64) {
        self.0.store(self.0.load(Relaxed).saturating_sub(amount), Relaxed);
    }

    /// Raises it to `value` if it is lower; only for the shard that owns it.
    pub fn raise(&self, value: u64) {
        if value > self.get() {
            self.0.store(value, Relaxed);
        }
    }
}

/// The counters of one shard: sums since the start unless said.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ShardCounters {
    /// Bytes received from clients, after TLS.
    pub bytes_received: Counter,
    /// Bytes handed over for sending to clients, before TLS.
    pub bytes_sent: Counter,
    /// Control packets received.
    pub packets_received: Counter,
    /// Control packets sent.
    pub packets_sent: Counter,
    /// PUBLISH packets received.
    pub publishes_received: Counter,
    /// PUBLISH packets sent.
    pub publishes_sent: Counter,
    /// Payload bytes received.
    pub publish_bytes_received: Counter,
    /// Payload bytes sent.
    pub publish_bytes_sent: Counter,
    /// Messages dropped for one client: its queue or buffer was full, too large for it, or expired.
    pub publishes_dropped: Counter,
    /// Connections opened.
    pub connections_opened: Counter,
    /// CONNECT packets accepted.
    pub connects_accepted: Counter,
    /// CONNECT packets refused.
    pub connects_refused: Counter,
    /// Now: clients connected.
    pub clients_connected: Counter,
    /// Most clients connected at once in this shard.
    pub clients_connected_max: Counter,
    /// Now: sessions, connected or not.
    pub sessions: Counter,
    /// Sessions that expired.
    pub sessions_expired: Counter,
    /// Now: subscriptions, those that are shared not counted.
    pub subscriptions: Counter,
    /// Now: Shared Subscriptions.
    pub shared_subscriptions: Counter,
    /// Now: retained messages (the same in every shard, once they have converged).
    pub retained: Counter,
    /// Now: messages in sessions' queues.
    pub queued_messages: Counter,
    /// Now: payload and topic bytes in sessions' queues.
    pub queued_bytes: Counter,
    /// Records sent to other shards.
    pub batch_records_sent: Counter,
    /// Connections ended for a protocol error or malformed packet.
    pub protocol_errors: Counter,
}

/// Makes the counters of `shards` shards.
#[must_use]
pub fn shard_counters(shards: u16) -> std::sync::Arc<[ShardCounters]> {
    (0..shards).map(|_| ShardCounters::default()).collect()
}
