//! The counters of a shard, which `$SYS` and the metrics show. `causes.rs` has counters that are divided by cause,
//! `reasons.rs` more such labels, `histogram.rs` durations, `events.rs` recent events, and `public.rs` the names of
//! all.
//!
//! Invariants: only the shard itself writes its [`ShardCounters`], so a plain load and store is exact; any thread may
//! read them. The map of users is behind a lock that is taken only when a session begins or ends. Each shard's
//! counters have their own cache lines, so that counting on one core does not slow down another.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

mod causes;
mod events;
mod histogram;
mod public;
mod reasons;

use mqtt::QoS;
use mqtt::frame::PacketType;

pub use self::causes::{CounterLabel, CountersByCause, Denied, DropReason};
pub use self::events::{ClientEvent, EventKind, Events};
pub use self::histogram::Histogram;
pub use self::public::{CounterKind, PublicCounter, SHOWN};
pub use self::reasons::{ConnectRefusal, DisconnectCause, Handshake};
use super::retained_quota::RetainedQuota;

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

    /// Subtracts; only for the shard that owns it.
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

/// The counters of one shard: sums since the start, unless stated otherwise.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ShardCounters {
    /// Bytes received from clients, after TLS.
    pub bytes_received: Counter,
    /// Bytes passed on for sending to clients, before TLS.
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
    /// Connections that reached their owner.
    pub connections_opened: Counter,
    /// CONNECT packets answered with success.
    pub connects_accepted: Counter,
    /// Current number of clients with an accepted CONNECT.
    pub clients_connected: Counter,
    /// Most clients connected at once in this shard.
    pub clients_connected_max: Counter,
    /// Current number of sessions, with or without a connection.
    pub sessions: Counter,
    /// Sessions whose Session Expiry Interval ran out.
    pub sessions_expired: Counter,
    /// Current number of subscriptions without Shared Subscriptions.
    pub subscriptions: Counter,
    /// Current number of Shared Subscriptions of all sessions.
    pub shared_subscriptions: Counter,
    /// Current number of retained messages that the shard owns.
    pub retained: Counter,
    /// Topic and payload bytes of those.
    pub retained_bytes: Counter,
    /// Current number of messages in the queues of sessions.
    pub queued_messages: Counter,
    /// Current payload and topic bytes in the queues of sessions.
    pub queued_bytes: Counter,
    /// Records sent to other shards.
    pub batch_records_sent: Counter,
    /// Connections ended because of a protocol error or a malformed packet.
    pub protocol_errors: Counter,
    /// Impossible states that were found.
    pub inconsistencies: Counter,
    /// Times that a client was not read from for a while, as it sent more than its rate.
    pub rates_exceeded: Counter,
    /// Clients that were banned as they connected too often.
    pub flapping_bans: Counter,
    /// Connections that ended before their CONNECT was complete.
    pub connections_without_connect: Counter,
    /// Current number of clients for which no publisher waits, because they have not kept up.
    pub slow_consumers: Counter,
    /// Current number of bytes that wait for the sockets of all clients.
    pub output_bytes: Counter,
    /// Dropped messages by reason; their sum is `publishes_dropped`.
    pub dropped: CountersByCause<DropReason>,
    /// CONNECT packets answered with an error, by its code.
    pub connects_refused: CountersByCause<ConnectRefusal>,
    /// Connections of clients that ended, by their cause.
    pub disconnects: CountersByCause<DisconnectCause>,
    /// Received packets by type, except PUBLISH, which is counted by QoS.
    received: CountersByCause<PacketType>,
    /// Sent packets by type, except PUBLISH.
    sent: CountersByCause<PacketType>,
    /// Received PUBLISH packets at QoS 1 and 2; the rest is QoS 0.
    received_at: CountersByCause<QoS>,
    /// Sent PUBLISH packets at QoS 1 and 2; the rest is QoS 0.
    sent_at: CountersByCause<QoS>,
    /// Sent PUBLISH packets that came out of the queue of a session.
    sent_from_queue: CountersByCause<QoS>,
    /// TLS handshakes by their result.
    pub handshakes: CountersByCause<Handshake>,
    /// Time from the receipt of messages until they were passed to the socket, without those of queues.
    pub latency: [Histogram; 3],
    /// Duration of turns, without the time in which the shard waited.
    pub turns: Histogram,
    /// The last refusals, drops and disconnects.
    pub events: Events,
    /// Denials by access rules.
    pub denied: CountersByCause<Denied>,
    /// Current number of sessions of each authenticated user.
    users: Mutex<HashMap<Box<str>, u64>>,
    /// Quota of the topics that the shard owns; all shards write it.
    pub(super) retained_quota: RetainedQuota,
}

impl ShardCounters {
    /// Counts messages that were dropped.
    pub fn count_dropped(&self, reason: DropReason, messages: u64) {
        self.publishes_dropped.add(messages);
        self.dropped.add(reason, messages);
    }

    /// Counts a received packet other than PUBLISH.
    #[inline]
    pub fn count_received(&self, packet_type: PacketType) {
        self.received.add(packet_type, 1);
    }

    /// Counts a sent packet other than PUBLISH, by its first byte.
    #[inline]
    pub fn count_sent(&self, first_byte: u8) {
        self.packets_sent.add(1);
        self.sent.add_packet(first_byte);
    }

    /// Counts a received PUBLISH by its QoS, if that is not 0.
    #[inline]
    pub fn count_received_at(&self, qos: QoS) {
        if qos != QoS::AtMostOnce {
            self.received_at.add(qos, 1);
        }
    }

    /// Counts a sent PUBLISH by its QoS, if that is not 0.
    #[inline]
    pub fn count_sent_at(&self, qos: QoS) {
        if qos != QoS::AtMostOnce {
            self.sent_at.add(qos, 1);
        }
    }

    /// Counts a sent PUBLISH that was in the queue of a session.
    #[inline]
    pub fn count_sent_from_queue(&self, qos: QoS) {
        self.count_sent_at(qos);
        self.sent_from_queue.add(qos, 1);
    }

    /// Received and sent packets by type.
    #[must_use]
    pub fn packets_by_type(&self) -> [Vec<(&'static str, u64)>; 2] {
        let of = |counters: &CountersByCause<PacketType>, publishes: &Counter| {
            let values = counters.values().map(|(label, value)| match label {
                "publish" => (label, publishes.get()),
                _ => (label, value),
            });
            values.collect()
        };
        [
            of(&self.received, &self.publishes_received),
            of(&self.sent, &self.publishes_sent),
        ]
    }

    /// Received and sent PUBLISH packets by QoS.
    #[must_use]
    pub fn publishes_by_qos(&self) -> [[u64; 3]; 2] {
        let of = |all: &Counter, at: &CountersByCause<QoS>| {
            let (at1, at2) = (at.get(QoS::AtLeastOnce), at.get(QoS::ExactlyOnce));
            [all.get().saturating_sub(at1 + at2), at1, at2]
        };
        [
            of(&self.publishes_received, &self.received_at),
            of(&self.publishes_sent, &self.sent_at),
        ]
    }

    /// Sent copies by QoS, without those that had waited in queues.
    #[must_use]
    pub fn sent_at_once(&self) -> [u64; 3] {
        let [_, mut sent] = self.publishes_by_qos();
        for (sent, (_, queued)) in sent.iter_mut().zip(self.sent_from_queue.values()) {
            *sent = sent.saturating_sub(queued);
        }
        sent
    }

    /// Number of sessions of a user in this shard.
    #[must_use]
    pub fn sessions_of(&self, user: &str) -> u64 {
        self.users().get(user).copied().unwrap_or(0)
    }

    /// Counts the beginning or end of a user's session.
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
        // The state is consistent even after a panic.
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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
            // The fields of histograms are indented deeper.
            .filter(|name| !name.starts_with(' '))
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
