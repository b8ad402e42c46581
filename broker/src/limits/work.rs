//! The bounds of work, which is counted by [`crate::turn::WorkBudget`].
//!
//! Invariants: those of [`crate::limits`].

use crate::turn::WorkLimits;

/// Work in one turn of a shard, see [`crate::turn::WorkBudget`]: 1.6 milliseconds for what clients send, as much again
/// for what had to wait, and half a millisecond for each walk. Spent: further work waits for the next turn; a
/// connection that has spent its share waits behind all others.
pub const WORK: WorkLimits = WorkLimits {
    turn: 24_576,
    share: 4096,
    quiet: 128,
    walk: 8192,
};

/// Bytes of the largest packet that is handled within the allowance of a quiet client although the turn is over: 1 KB
/// of properties costs about as much. A larger one waits for its turn before it is decoded.
pub const MEAGER_PACKET_BYTES: usize = 1024;

/// Nanoseconds that a unit of work takes. Work that takes longer by the clock is charged more units.
pub const UNIT_NS: u64 = 64;

/// Nanoseconds of one flush; a full turn has several. Over: the other connections wait for the next flushes, in which
/// they take turns with connections that have new output.
pub const FLUSH_NS_MAX: u64 = 2_000_000;

/// Connections that are flushed between two readings of the clock.
pub const FLUSHED_BETWEEN_LOOKS: u32 = 8;

/// Bytes that are passed to one socket at once. More: the others have their turn first.
pub const SENT_AT_ONCE_BYTES: usize = 128 * 1024;

/// Turns for which receive buffers count as scarce when a receive has found none.
pub const SCARCITY_TURNS: u64 = 64;

/// Bytes of new clients for which a turn had no time. Above it, a new client that found no receive buffer and has sent
/// much does not ask for one again.
pub const POSTPONED_BYTES_MANY: usize = 1 << 20;

/// Bytes of a new client up to which it takes precedence over others for which a turn had no time: most CONNECTs, and
/// the beginning of a TLS handshake.
pub const SMALL_CONNECT_BYTES: usize = 2048;

/// New clients that found no receive buffer and ask again in one turn: this many that have sent little, and as many
/// others.
pub const RECEIVES_AGAIN_MAX: usize = 32;

/// Connections with output in one turn above which those that get an answer are flushed before those that get messages.
pub const FLUSHED_IN_ORDER_MAX: usize = 64;

/// Bytes of a message that cost a unit of work for each session that gets a copy: they are written, and later sent.
pub const COPIED_BYTES: u64 = 256;

/// Bytes from which an output buffer grows by a factor of its own.
pub const OUT_BYTES_LARGE: usize = 32 * 1024;

/// Bytes of the smallest PUBLISH, of which a sequence of QoS 0 messages may have many.
pub const PUBLISH_BYTES_MIN: u64 = 5;

/// Bytes of properties that cost a unit of work: the size of the smallest property that may occur more than once.
pub const PROPERTY_BYTES: usize = 5;

/// Bytes of incomplete packets that each shard may keep, however small `memory_limit` is.
pub const PARTIAL_BYTES_MIN: usize = 16 << 20;

/// Bytes of incomplete packets in one shard: a quarter of its part of `memory_limit`, and not less than room for a
/// few. Full: the connections with the most bytes times the time since they last sent any are closed (0x97) until
/// three quarters are left.
#[must_use]
pub fn partial_bytes(memory_bytes_max: u64, shards: u16, packet_bytes_max: u32) -> usize {
    let few_packets = 2 * u64::from(packet_bytes_max);
    let share = memory_bytes_max / 4 / u64::from(shards.max(1));
    usize::try_from(share.clamp(PARTIAL_BYTES_MIN as u64, 1 << 30).max(few_packets)).unwrap_or(usize::MAX)
}

/// Units of work up to which a session ends at once. More: it continues in later turns.
pub const END_WORK_AT_ONCE: u64 = 2048;

/// Messages in the queue of a session that ends which are dropped in one step of its end.
pub const QUEUED_DROPPED_AT_ONCE: usize = 6;

/// Units of work of a message that is denied: it is counted, recorded and logged.
pub const DENIAL_WORK: u64 = 16;

/// Sessions that are visited in one step of a walk over all of them.
pub const SESSIONS_LOOKED_AT_MAX: usize = 256;

/// Units of work to find the member of a group for a message.
pub const GROUP_WORK: u64 = 4;

/// Units of work of a new connection.
pub const CONNECTION_WORK: u64 = 64;

/// Places in the tree of filters with wildcards that the filters of one session may cause a walk to visit, for any
/// topic: the different sequences of `+` and other levels with which they begin. More: the filter is refused with 0x97
/// (5.0) or 0x80.
pub const BRANCHES_PER_SESSION_MAX: usize = 8192;

/// Filters with wildcards of a session from which its branches are counted.
pub const BRANCHES_COUNTED_FROM: u8 = 8;

/// Suspended walks over the filters, in one shard, that wait until their connections have their turn again. Full: a
/// further walk starts again when one of them is over.
pub const MATCHES_SUSPENDED_MAX: usize = 16;

/// Turns after which a suspended walk that is not continued may be replaced by a new one.
pub const MATCH_IDLE_TURNS_MAX: u64 = 64;

/// Units of work (see [`WORK`]) of all batches in the queues to one shard, from all other shards. More: the sender
/// keeps the rest, as if the queue were full.
pub const SHARD_QUEUES_WORK_MAX: u64 = 24_576;

/// Units of work in the queue from one shard to another one, in a broker with this many shards.
#[must_use]
pub const fn queue_work(shards: u16) -> u64 {
    let others = if shards > 1 { shards as u64 - 1 } else { 1 };
    SHARD_QUEUES_WORK_MAX / others
}

/// Units of work in one batch between two shards in a broker with this many shards. Full: the next batch of the same
/// tick is begun.
#[must_use]
pub const fn batch_work(shards: u16) -> u64 {
    let units = queue_work(shards) / 4;
    if units > 256 { units } else { 256 }
}

/// Units of work (see [`WORK`]) in the batches that wait for one other shard, in a broker with this many shards. Full:
/// as [`crate::limits::OUTBOX_BATCHES_MAX`].
#[must_use]
pub const fn outbox_work(shards: u16) -> u64 {
    let units = queue_work(shards);
    if units > 8192 { units } else { 8192 }
}
