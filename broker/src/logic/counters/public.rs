//! The names under which counters are shown.
//!
//! Invariants: every counter of [`ShardCounters`] has a name (test `every_counter_is_shown`).

use super::{Counter, ShardCounters};

/// A counter as it is shown outside: its name, its meaning, and how shards' values become one.
#[derive(Clone, Copy, Debug)]
pub struct PublicCounter {
    /// The name of the counter's field.
    pub name: &'static str,
    /// What it counts, in one sentence.
    pub about: &'static str,
    /// Whether it grows only, and how shards add up.
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
    /// The values of all shards as one.
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
    Total bytes_sent "Bytes handed over for sending to clients, before TLS.",
    Total packets_received "Control packets received.",
    Total packets_sent "Control packets sent.",
    Total publishes_received "PUBLISH packets received.",
    Total publishes_sent "PUBLISH packets sent.",
    Total publish_bytes_received "Payload bytes of received PUBLISH packets.",
    Total publish_bytes_sent "Payload bytes of sent PUBLISH packets.",
    Total publishes_dropped "Messages dropped for one client: a bound was reached, too large for it, or expired.",
    Total connections_opened "Connections opened.",
    Total connects_accepted "CONNECT packets accepted.",
    Now clients_connected "Clients connected.",
    Highest clients_connected_max "Most clients that were connected at once in one shard.",
    Now sessions "Sessions, with or without a connection.",
    Total sessions_expired "Sessions that expired.",
    Now subscriptions "Subscriptions, those that are shared not counted.",
    Now shared_subscriptions "Shared Subscriptions.",
    Now retained "Retained messages.",
    Now retained_bytes "Topic and payload bytes of the retained messages.",
    Now queued_messages "Messages in queues of sessions.",
    Now queued_bytes "Payload and topic bytes in queues of sessions.",
    Total batch_records_sent "Messages and notes that went from shard to shard.",
    Total protocol_errors "Connections ended for a protocol error or a malformed packet.",
    Total inconsistencies "States found that cannot be: an error in Midge, please report it.",
    Total connections_without_connect "Connections that ended before their CONNECT had come whole.",
    Now slow_consumers "Clients for which no publisher waits: they do not keep up, or did not in the last minute.",
    Now output_bytes "Bytes that wait for the sockets of clients.",
];
