//! Every bound of the broker that is not a setting, and what happens when it is reached.
//!
//! Invariant: whatever a peer can make grow has its bound here or in [`crate::settings::Settings`]. The relations
//! between the bounds are asserted at compile time, at the end.

mod bridges;
mod operators;
mod pages;
mod restraints;
mod stored_queue;
mod users;
mod work;

pub use self::bridges::*;
pub use self::operators::*;
pub use self::pages::*;
pub use self::restraints::*;
pub use self::stored_queue::*;
pub use self::users::*;
pub use self::work::*;

/// Bytes of the first packet (CONNECT) at most: mosquitto's 100,000 after the fixed header. Larger: refused before
/// anything more is read, with 0x95 if it is of 5.0.
pub const CONNECT_BYTES_MAX: u32 = 100_000 + 4;

/// Bytes of all CONNECTs of a shard that are incomplete or wait for the password check. Full: those with the most
/// bytes times age are closed until three quarters are left.
pub const PENDING_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Bytes of a PROXY header at most, including the names of a certificate.
pub const PROXY_HEADER_BYTES_MAX: usize = 4096;

/// Bytes of one WebSocket frame's payload at most; they are passed on as they arrive, so this bounds no memory.
/// Larger: the connection is closed with the code 1009.
pub const WEBSOCKET_FRAME_BYTES_MAX: u64 = PACKET_BYTES_MAX as u64;

/// Bytes of TLS and WebSocket themselves (key updates, pongs) that wait while a client reads nothing. More: it is
/// disconnected.
pub const RECORDS_BYTES_MAX: usize = 64 * 1024;

/// Bytes of one packet at most in MQTT: a fixed header of 5 bytes and a body of 268,435,455.
pub const PACKET_BYTES_MAX: u32 = 268_435_460;

/// Bytes that wait for something: publishers are paused above `high` until no more than `low` is left; above `cap`
/// nothing is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// Bytes above which publishers are paused.
    pub high: usize,
    /// Bytes at which paused publishers are resumed.
    pub low: usize,
    /// Nothing above it is added, except one message.
    pub cap: usize,
}

impl Watermarks {
    /// An eighth of each mark.
    #[must_use]
    pub const fn eighth(self) -> Self {
        Self {
            high: self.high / 8,
            low: self.low / 8,
            cap: self.cap / 8,
        }
    }
}

/// Bytes waiting for one client's socket (in `out`, and sent but not taken by the kernel). What is on its way when
/// publishers are paused fits between `high` and `cap`: what one turn receives, and [`SHARD_IN_FLIGHT_BYTES`] of other
/// shards. Full: a QoS 0 message is dropped for this client and counted; QoS 1 and 2 go to the session's queue.
pub const CLIENT_OUTPUT: Watermarks = Watermarks {
    high: 512 * 1024,
    low: 256 * 1024,
    cap: 3 * 1024 * 1024,
};

/// Bytes that the ring had received for paused connections of a shard. Full: the logic handles received bytes even
/// though their connection is paused, up to the caps.
pub const UNREAD_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Bytes waiting for all sockets of a shard; `high` and `low` do not count slow clients. While `memory_limit` is
/// reached, an eighth of it. A fan-out to very many clients at once can reach the cap before its publishers are paused.
/// Over for [`GRACE_NS`]: clients with more than an even share of `low` are slow. Full: as [`CLIENT_OUTPUT`] for each
/// client. Slow clients together above `high`: full for them. Above half of the cap: those with the most bytes are
/// disconnected.
pub const SHARD_OUTPUT: Watermarks = Watermarks {
    high: 64 * 1024 * 1024,
    low: 32 * 1024 * 1024,
    cap: 512 * 1024 * 1024,
};

/// Bytes written for clients in one turn of a shard before it flushes. More: other work waits until these bytes are
/// with the kernel.
pub const TURN_OUT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Nanoseconds that publishers wait for a client. Over: it is slow, see [`QUARANTINE_NS`].
pub const GRACE_NS: u64 = 500_000_000;

/// Nanoseconds for which no publisher waits for a slow client.
pub const QUARANTINE_NS: u64 = 60_000_000_000;

/// Nanoseconds for which a shard's publishers may have waited without effect. Spent: no publisher waits for a
/// backlogged client.
pub const GRACE_BUDGET_NS: u64 = 2_000_000_000;

/// Nanoseconds in which one nanosecond of [`GRACE_BUDGET_NS`] is restored.
pub const GRACE_BUDGET_SHARE: u64 = 20;

/// Nanoseconds without progress of a client after which its high-water mark counts once more: publishers below 20 MB/s
/// (`high` in this time) do not wait for a client that has stopped reading.
pub const STANDSTILL_NS: u64 = 25_000_000;

/// Bytes in a session's queue above which its publishers are paused, where the settings allow more than twice of it;
/// half of it is its low-water mark. The cap is the settings', and [`QUEUE_OVERRUN_BYTES`].
pub const QUEUE_HIGH_BYTES: u64 = 4 * 1024 * 1024;

/// Bytes that a session's queue accepts beyond the settings while its client is connected and not slow: what was on
/// its way when its publishers were paused. Full: the newest message is dropped and counted.
pub const QUEUE_OVERRUN_BYTES: u64 = 1024 * 1024;

/// Bytes that count in [`QUEUE_OVERRUN_BYTES`] for a queued message, beside its topic and payload.
pub const QUEUED_MESSAGE_BYTES: u64 = 64;

/// Bytes that one client can cause to wait, beside one message and what the settings allow its queue.
pub const CONSUMER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Retained messages waiting for one session after its SUBSCRIBE packets. Full: the rest of the retained messages of
/// that SUBSCRIBE is dropped for this client and counted.
pub const RETAINED_WAITING_MAX: usize = 1_000_000;

/// Nodes of the tree of retained messages that a shard visits in one turn, for all subscriptions. More: the walk
/// continues in the next turn.
pub const RETAINED_NODES_MAX: usize = 8192;

/// Requests for retained messages of each other shard whose walks begin in one turn. More: in the next turn.
pub const RETAINED_BEGUN_MAX: usize = 1024;

/// Retained messages that a shard sends to another one at once, for one subscription. More: another subscription has
/// its turn first.
pub const RETAINED_FOUND_MAX: usize = 1024;

/// Full batches that may wait for a shard while retained messages are sent to it. More: its walks pause.
pub const RETAINED_FOUND_BATCHES_MAX: usize = 2;

/// Topics of which a shard remembers that a newer message was published while its requests for retained messages are
/// open. Full: on further topics a new subscriber may get an older retained message after a newer message.
pub const RETAINED_NEWER_MAX: usize = 1_000_000;

/// Bytes of the filters of one session whose retained messages have not been found yet. Full: those of further filters
/// are dropped for this client and counted.
pub const RETAINED_FILTER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Number of packet identifiers: 1 to 65,535 [MQTT-2.2.1-3]. All in flight: nothing is sent at QoS 1 and 2 until one
/// is free, messages wait in the queue.
pub const PACKET_IDENTIFIERS: u16 = u16::MAX;

/// Bytes of publishes on their way to one shard from all others, as long as each message is small beside a batch: the
/// content of their outboxes and of its queues.
pub const SHARD_IN_FLIGHT_BYTES: usize = 2 * 1024 * 1024;

/// Bytes of publishes in one batch between two shards. Full: the next batch of the same tick is begun.
pub const BATCH_BYTES_MAX: usize = 64 * 1024;

/// Bytes of publishes in one batch, in a broker with this many shards: each other shard has its share of
/// [`SHARD_IN_FLIGHT_BYTES`]. Above 65 shards it is more than that.
#[must_use]
pub const fn batch_bytes(shards: u16) -> usize {
    let others = if shards > 1 { shards as usize - 1 } else { 1 };
    let bytes = SHARD_IN_FLIGHT_BYTES / (OUTBOX_BATCHES_MAX + SHARD_QUEUE_MESSAGES_MAX) / others;
    if bytes > 1024 { bytes } else { 1024 }
}

/// Control records in one batch between shards. Full: the next batch of the same tick is begun.
pub const BATCH_CONTROL_MAX: usize = 4096;

/// Batches that wait for one other shard. Full: the connections that fill it are not read until it is empty, because a
/// shard whose outbox is never empty would flush nothing.
pub const OUTBOX_BATCHES_MAX: usize = 16;

/// Empty batches kept for reuse. Full: a returned batch is freed.
pub const BATCHES_SPARE_MAX: usize = 64;

/// Topics in a shard's route cache. Full: the whole cache is dropped and fills again.
pub const ROUTES_MAX: usize = 65_536;

/// Sessions in one shard. Full: CONNECT is refused with 0x97 (5.0) or return code 3.
pub const SESSIONS_MAX: usize = 1 << 30;

/// Shards of one broker. More: `--shards` is refused; on a machine with more cores, this many have shards.
pub const SHARDS_MAX: u16 = 1024;

/// Subscriptions of one session, whatever `max_subscriptions` says. Full: the filter is refused with 0x97 (5.0) or
/// 0x80.
pub const SUBSCRIPTIONS_PER_SESSION_MAX: usize = 2_000_000;

/// Members of a group that are tried if each would have to queue the message. All full: it goes to another shard's
/// members that are ready, or is dropped and counted.
pub const GROUP_TRIES_MAX: usize = 16;

/// Shards through which a message for a group is passed on while members connect and disconnect. All used up: it waits
/// for [`TIMER_STEP_NS`] on its current shard, and starts again.
pub const GROUP_HOPS_MAX: u32 = 8;

/// Messages of groups whose last member left, in one shard, that wait for [`TIMER_STEP_NS`] for a new member. Full:
/// dropped and counted.
pub const UNCLAIMED_MAX: usize = 100_000;

/// Topics of which a shard remembers that their retained messages were deleted since the other shards last reached a
/// barrier. Full: a change of a further topic that is older than its deletion, and arrives later, is applied.
pub const RETAINED_REMOVED_MAX: usize = 262_144;

/// The step of the timers in nanoseconds: deadlines are met late by at most this much.
pub const TIMER_STEP_NS: u64 = 100_000_000;

/// Topic aliases that a client may set at most. The setting is reduced to it, because the map is allocated with the
/// first alias.
pub const TOPIC_ALIASES_MAX: u16 = 1024;

/// Bytes of a topic that is kept for an alias towards a client. Longer topics are always sent in full.
pub const ALIASED_TOPIC_BYTES_MAX: usize = 1024;

/// Messages (batches, connections) in the queue from one shard to another. Full of these, or of work
/// ([`SHARD_QUEUES_WORK_MAX`]): the sender keeps the rest, flushes nothing and tries again; its batches then reach
/// [`OUTBOX_BATCHES_MAX`].
pub const SHARD_QUEUE_MESSAGES_MAX: usize = 16;

/// Bytes that are read in one turn from a connection that is read to its end because a newer one waits to take over
/// its session. More: they are read when these are handled.
pub const TAKEOVER_TURN_BYTES: usize = 256 * 1024;

/// Bytes of them per read.
pub const TAKEOVER_READ_BYTES: usize = 16 * 1024;

/// Bytes received in one turn of a shard before it flushes. More: they wait for the next turn.
pub const TURN_BYTES_MAX: usize = 512 * 1024;

/// Nanoseconds that clients have to read their last bytes when the broker ends. Over: they are disconnected.
pub const DRAIN_NS_MAX: u64 = 10_000_000_000;

/// Nanoseconds that connections which exist when the broker ends have for their CONNECT, so that it can be refused.
/// Over: they are disconnected.
pub const LATE_CONNECT_NS_MAX: u64 = 1_000_000_000;

/// Nanoseconds that a client has to read its last bytes when its connection is closed while the broker continues.
/// Over: it is disconnected.
pub const LINGER_NS_MAX: u64 = 5_000_000_000;

/// Nanoseconds until accept is tried again after it failed because of missing descriptors or memory.
pub const ACCEPT_PAUSE_NS: u64 = 100_000_000;

/// Nanoseconds for which a failing accept is not logged again.
pub const ACCEPT_QUIET_NS: u64 = 1_000_000_000;

/// Bytes of memory for a packet of several reads that a connection keeps for the next one. Larger: it is freed.
pub const PARTIAL_KEPT_BYTES_MAX: usize = 256;

/// Bytes up to which an emptied output buffer is kept for the next connection. Larger: it is freed.
pub const SPARE_BUFFER_BYTES_MAX: usize = 256 * 1024;

/// Emptied output buffers that are kept. Full: the next one is freed.
pub const SPARE_BUFFERS_MAX: usize = 256;

/// Passwords that wait to be checked; one address has half of the places at most. Full: CONNECT is refused with 0x89
/// (5.0) or return code 3, and the client tries again.
pub const PASSWORD_CHECKS_MAX: usize = 16_384;

/// Bytes of the passwords that wait. Full: as [`PASSWORD_CHECKS_MAX`].
pub const PASSWORD_CHECK_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Interval, in nanoseconds, of the checks whether a client whose password is being checked is still connected.
pub const ABANDONED_LOOK_NS: u64 = 500_000_000;

/// Nanoseconds from a wrong password to its answer, at the least: longer than a check takes.
pub const WRONG_PASSWORD_NS: u64 = 1_000_000_000;

/// Wrong passwords that wait to be answered. Full: the first one is answered before its time.
pub const WRONG_ANSWERS_MAX: usize = 16_384;

/// Threads that check passwords, of low priority; one argon2id check takes 46 MiB.
pub const PASSWORD_THREADS_MAX: usize = 4;

/// Bytes of the Authentication Data that a client sends at once: more are refused with 0x87.
pub const AUTHENTICATION_DATA_BYTES_MAX: usize = 4096;

/// Bytes of an AUTH during a CONNECT: larger is refused before anything more is read.
pub const AUTH_BYTES_MAX: u32 = 8 * 1024;

/// Bytes of a line of the log. Longer: it is cut, and its end says so.
pub const LOG_LINE_BYTES_MAX: usize = 1000;

/// Lines that wait to be written to one destination of the log. Full: further ones are lost, counted and reported.
pub const LOG_LINES_WAITING_MAX: usize = 4096;

/// Nanoseconds that the process waits for its log to be written when it ends. Over: the remaining lines are lost.
pub const LOG_DRAIN_NS_MAX: u64 = 2_000_000_000;

/// Nanoseconds after which standard error reports again that a file of the log cannot be written.
pub const LOG_COMPLAINT_NS: u64 = 60_000_000_000;

/// Pairs of address and user whose wrong passwords are counted. Full: the oldest is removed; to cause that, an
/// attacker must send as many wrong passwords.
pub const BACK_OFF_PAIRS_MAX: usize = 65_536;

/// Passwords that wait for a user who has failed often, from one address. Full: CONNECT is refused with 0x9F or 3.
pub const SUSPECT_CHECKS_MAX: usize = 64;

/// Bytes of a password. Longer: it is wrong, and is not hashed.
pub const PASSWORD_BYTES_MAX: usize = 4096;

/// Iterations of PBKDF2 for one password: about ten seconds. More: the password file is refused.
pub const PBKDF2_ITERATIONS_MAX: u32 = 10_000_000;

/// KiB of memory of one argon2 check. More: the password file is refused.
pub const ARGON2_KIB_MAX: u32 = 1 << 20;

/// Passes, and lanes, of one argon2 check. More: the password file is refused.
pub const ARGON2_PASSES_MAX: u32 = 64;

/// Bytes of the salt of a hash; mosquitto 2.1 writes 64. More: the password file is refused.
pub const SALT_BYTES_MAX: usize = 1024;

/// Bytes of a password or ACL file, enough for a million users. More: it is a different file by mistake, and is
/// refused.
pub const ACCESS_FILE_BYTES_MAX: u64 = 256 << 20;

/// Bytes of a configuration file. More: it is another file by mistake, and is refused.
pub const CONFIGURATION_FILE_BYTES_MAX: u64 = 1 << 20;

/// Mistakes in files that are reported at once. More: the rest is not searched for.
pub const FILE_PROBLEMS_MAX: usize = 20;

/// Listeners of a configuration. More: the configuration is refused.
pub const LISTENERS_MAX: usize = 1000;

/// Bytes of a `mount_point`. More: the configuration is refused.
pub const MOUNT_POINT_BYTES_MAX: usize = 1000;

/// Bytes of an `auto_id_prefix`. More: the configuration is refused.
pub const ASSIGNED_PREFIX_BYTES_MAX: usize = 50;

/// Bytes of records that may wait to be written to the store. Above it publishers at QoS 1 and 2 are paused.
pub const STORE_BACKLOG_BYTES_MAX: u64 = 64 << 20;

/// How long such publishers wait before the store is checked again.
pub const STORE_RETRY_NS: u64 = 100_000_000;

/// Bytes of a 3.x client's PUBLISH packets that wait for space on the disk. Above it the client is not read.
pub const UNSTORED_BYTES_MAX: u32 = 1 << 20;

/// Such packets of all clients of a shard. Above it a client that sends another one is not read.
pub const UNSTORED_PACKETS_MAX: usize = 1000;

const _: () = {
    let marks = CLIENT_OUTPUT;
    assert!(marks.low < marks.high && marks.high < marks.cap);
    assert!(
        marks.high + TURN_BYTES_MAX + SHARD_IN_FLIGHT_BYTES <= marks.cap,
        "what is on its way finds room"
    );
    assert!(marks.cap + QUEUE_OVERRUN_BYTES as usize <= CONSUMER_BYTES_MAX);
    let marks = SHARD_OUTPUT;
    assert!(marks.low < marks.high && marks.high < marks.cap / 2);
    assert!(
        CLIENT_OUTPUT.cap < marks.eighth().high,
        "one client does not stop all"
    );
    assert!(TIMER_STEP_NS < GRACE_NS && GRACE_NS < GRACE_BUDGET_NS && GRACE_BUDGET_NS < QUARANTINE_NS);
    assert!(SHARD_IN_FLIGHT_BYTES >= (OUTBOX_BATCHES_MAX + SHARD_QUEUE_MESSAGES_MAX) * BATCH_BYTES_MAX);
    assert!(OUTBOX_BATCHES_MAX >= 2, "full must differ from empty");
    assert!(
        RETAINED_FOUND_BATCHES_MAX + 1 < OUTBOX_BATCHES_MAX && RETAINED_FOUND_MAX <= BATCH_CONTROL_MAX,
        "retained messages for a new subscription fill no outbox"
    );
    assert!(CONNECT_BYTES_MAX < PACKET_BYTES_MAX);
    assert!(AUTHENTICATION_DATA_BYTES_MAX < AUTH_BYTES_MAX as usize);
    assert!(
        SESSIONS_MAX < (u32::MAX >> 1) as usize,
        "the highest bit of a subscriber marks a shard"
    );
    assert!(
        TIMER_STEP_NS < 1_000_000_000,
        "keep alive is in seconds: the step must be well below"
    );
};
