//! The public names of counters.
//!
//! Invariants: every counter of [`ShardCounters`] has a name (test `every_counter_is_shown`).

use super::{Counter, ShardCounters};

/// A public counter: its name, its meaning, and how the values of shards are combined.
#[derive(Clone, Copy, Debug)]
pub struct PublicCounter {
    /// The name of the counter's field.
    pub name: &'static str,
    /// What it counts, in one sentence.
    pub about: &'static str,
    /// Whether it only grows, and how the values of shards are combined.
    pub kind: CounterKind,
    /// Reads it from the counters of a shard.
    pub read: fn(&ShardCounters) -> &Counter,
}

/// How the value of a counter may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CounterKind {
    /// It only grows; the broker's value is the sum.
    Total,
    /// It goes up and down; the broker's value is the sum.
    Now,
    /// The broker's value is the highest.
    Highest,
}

impl PublicCounter {
    /// The combined value of all shards.
    #[must_use]
    pub fn of(&self, shards: &[ShardCounters]) -> u64 {
        let values = shards.iter().map(|counters| (self.read)(counters).get());
        match self.kind {
            CounterKind::Total | CounterKind::Now => values.fold(0, u64::wrapping_add),
            CounterKind::Highest => values.max().unwrap_or(0),
        }
    }
}

macro_rules! shown {
    ($($kind:ident $name:ident $about:literal,)*) => {
        &[$(PublicCounter {
            name: stringify!($name),
            about: $about,
            kind: CounterKind::$kind,
            read: |counters| &counters.$name,
        }),*]
    };
}

/// Every counter of a shard, in the order of the fields.
pub const SHOWN: &[PublicCounter] = shown![
    Total bytes_received "Bytes received from clients, after TLS.",
    Total bytes_sent "Bytes passed on for sending to clients, before TLS.",
    Total packets_received "Control packets received.",
    Total packets_sent "Control packets sent.",
    Total publishes_received "PUBLISH packets received.",
    Total publishes_sent "PUBLISH packets sent.",
    Total publish_bytes_received "Payload bytes of received PUBLISH packets.",
    Total publish_bytes_sent "Payload bytes of sent PUBLISH packets.",
    Total publishes_dropped "Messages dropped for one client: a bound was reached, or they were too large or expired.",
    Total connections_opened "Connections opened.",
    Total connects_accepted "CONNECT packets accepted.",
    Now clients_connected "Clients connected.",
    Highest clients_connected_max "Most clients that were connected at once in one shard.",
    Now sessions "Sessions, with or without a connection.",
    Total sessions_expired "Sessions that expired.",
    Now subscriptions "Subscriptions without Shared Subscriptions.",
    Now shared_subscriptions "Shared Subscriptions.",
    Now retained "Retained messages.",
    Now retained_bytes "Topic and payload bytes of the retained messages.",
    Now queued_messages "Messages in queues of sessions.",
    Now queued_bytes "Payload and topic bytes in queues of sessions.",
    Total batch_records_sent "Records sent from shard to shard.",
    Total protocol_errors "Connections ended because of a protocol error or a malformed packet.",
    Total inconsistencies "Impossible states found: a bug in Midge, please report it.",
    Total rates_exceeded "Times that a client waited, as it sent more than its listener allows.",
    Total flapping_bans "Clients that were banned as they connected too often (flapping_connects).",
    Total connections_without_connect "Connections that ended before their CONNECT was complete.",
    Now slow_consumers "Clients for which no publisher waits: they do not keep up, or did not in the last minute.",
    Now output_bytes "Bytes that wait for the sockets of clients.",
];
