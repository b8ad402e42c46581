//! The counters of a shard, which `$SYS` and the metrics show; causes.rs has those that are divided by cause.
//!
//! Invariants: only the shard itself writes its [`ShardCounters`], so a plain load and store is exact; any thread may
//! read them. The map of users is behind a lock that is taken when a session begins or ends, and at no other time. Each
//! shard's counters have cache lines of their own, so that counting on one core does not slow another one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

mod causes;

pub use self::causes::{CounterLabel, CountersByCause, Denied, DropReason};
use super::retained::quota::RetainedQuota;

/// One number that its shard writes and everybody reads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// The value, which may be a moment old on another core.
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

    /// Sets it; only for the shard that owns it.
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
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
    /// MQTT Control Packets received from clients.
    pub packets_received: Counter,
    /// MQTT Control Packets sent to clients.
    pub packets_sent: Counter,
    /// PUBLISH packets received from clients.
    pub publishes_received: Counter,
    /// PUBLISH packets sent to clients.
    pub publishes_sent: Counter,
    /// Payload bytes of received PUBLISH packets.
    pub publish_bytes_received: Counter,
    /// Payload bytes of sent PUBLISH packets.
    pub publish_bytes_sent: Counter,
    /// Messages dropped for one client: its queue or buffer was full, too large for it, or expired.
    pub publishes_dropped: Counter,
    /// Connections that came to their shard.
    pub connections_opened: Counter,
    /// CONNECT packets answered with success.
    pub connects_accepted: Counter,
    /// CONNECT packets answered with an error.
    pub connects_refused: Counter,
    /// Now: clients with an accepted CONNECT.
    pub clients_connected: Counter,
    /// Most clients connected at once in this shard.
    pub clients_connected_max: Counter,
    /// Present number of sessions, with or without a connection.
    pub sessions: Counter,
    /// Sessions whose Session Expiry Interval ran out.
    pub sessions_expired: Counter,
    /// Now: subscriptions, those that are shared not counted.
    pub subscriptions: Counter,
    /// Now: Shared Subscriptions of all sessions.
    pub shared_subscriptions: Counter,
    /// Now: retained messages that the shard owns.
    pub retained: Counter,
    /// Now: topic and payload bytes of those.
    pub retained_bytes: Counter,
    /// Present number of messages in the queues of sessions.
    pub queued_messages: Counter,
    /// Now: payload and topic bytes in sessions' queues.
    pub queued_bytes: Counter,
    /// Records sent to other shards.
    pub batch_records_sent: Counter,
    /// Connections ended for a protocol error or malformed packet.
    pub protocol_errors: Counter,
    /// States that were found although they cannot occur.
    pub inconsistencies: Counter,
    /// Dropped messages by reason; their sum is `publishes_dropped`.
    pub dropped: CountersByCause<DropReason>,
    /// What access rules denied.
    pub denied: CountersByCause<Denied>,
    /// Now: sessions of each user who was proved.
    users: Mutex<HashMap<Box<str>, u64>>,
    /// Of the topics that the shard owns; all shards write it.
    pub(super) retained_quota: RetainedQuota,
}

impl ShardCounters {
    /// Counts messages that were dropped.
    pub fn count_dropped(&self, reason: DropReason, messages: u64) {
        self.publishes_dropped.add(messages);
        self.dropped.add(reason, messages);
    }

    /// Sessions that a user has in this shard.
    #[must_use]
    pub fn sessions_of(&self, user: &str) -> u64 {
        self.users().get(user).copied().unwrap_or(0)
    }

    /// A user's session begins or ends.
    pub(super) fn count_session_of(&self, user: &str, begins: bool) {
        let mut users = self.users();
        match (users.get_mut(user), begins) {
            (Some(count), true) => *count += 1,
            (Some(count), false) if *count > 1 => *count -= 1,
            (None, true) => drop(users.insert(user.into(), 1)),
            (_, false) => drop(users.remove(user)),
        }
    }

    fn users(&self) -> MutexGuard<'_, HashMap<Box<str>, u64>> {
        // Whoever panicked with it left it whole.
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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
    Total connects_refused "CONNECT packets refused.",
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
];

/// Makes the counters of `shards` shards.
#[must_use]
pub fn shard_counters(shards: u16) -> std::sync::Arc<[ShardCounters]> {
    (0..shards).map(|_| ShardCounters::default()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_is_shown() {
        let fields = format!("{:#?}", ShardCounters::default());
        let fields: Vec<_> = fields
            .lines()
            .filter_map(|line| line.strip_prefix("    ")?.split_once(": Counter("))
            .map(|(name, _)| name)
            .collect();
        let shown: Vec<_> = SHOWN.iter().map(|shown| shown.name).collect();
        assert_eq!(fields, shown);
    }

    #[test]
    fn shards_become_one_number() {
        let shards = shard_counters(3);
        for (counters, value) in shards.iter().zip([5, 7, 6]) {
            counters.packets_sent.add(value);
            counters.clients_connected_max.raise(value);
        }
        let of = |name: &str| SHOWN.iter().find(|shown| shown.name == name).unwrap().of(&shards);
        let highest = of("clients_connected_max");
        assert_eq!((of("packets_sent"), highest, of("sessions")), (18, 7, 0));
    }
}
