//! Every bound of the broker that is not a setting, and what happens when it is reached.
//!
//! Invariant: whatever a peer can make grow has its bound here or in [`crate::settings::Settings`]. The relations
//! between the bounds are asserted at compile time, at the end.

/// Bytes of the first packet (CONNECT) at most: larger is refused before anything more is read.
pub const CONNECT_BYTES_MAX: u32 = 64 * 1024;

/// Bytes of a PROXY header at most: room for a certificate's names.
pub const PROXY_HEADER_BYTES_MAX: usize = 4096;

/// Bytes of one WebSocket frame's payload at most; its bytes go on as they come, so this bounds no memory. Larger: the
/// connection is closed with the code 1009.
pub const WEBSOCKET_FRAME_BYTES_MAX: u64 = PACKET_BYTES_MAX as u64;

/// Bytes that TLS and WebSocket themselves have to say (key updates, pongs) while a client takes none. More: it is cut.
pub const RECORDS_BYTES_MAX: usize = 64 * 1024;

/// Requests for pages that wait to be served. Full: the connection is closed.
pub const PAGE_REQUESTS_MAX: usize = 64;

/// Requests for pages that are served at the same time, each by a thread. Full: they wait.
pub const PAGE_THREADS_MAX: usize = 8;

/// Nanoseconds that a client has to take a page. Over: it is cut.
pub const PAGE_NS_MAX: u64 = 30_000_000_000;

/// Requests of operators that wait to be answered. Full: the connection is closed.
pub const API_REQUESTS_MAX: usize = 16;

/// Threads that answer operators.
pub const API_THREADS_MAX: usize = 2;

/// Nanoseconds from accept until an operator has its answer. Over: it is cut.
pub const API_NS_MAX: u64 = 5_000_000_000;

/// Bytes of one packet at most in MQTT: a fixed header of 5 bytes and a body of 268,435,455.
pub const PACKET_BYTES_MAX: u32 = 268_435_460;

/// Bytes waiting for one client's socket (in `out`, and sent but not taken by the kernel) above which it is behind, and its
/// patience runs.
pub const OUT_PRESSURE_BYTES: usize = 1024 * 1024;

/// The same above which those who publish to it are not read from until it has caught up, when its patience begins.
pub const OUT_HOLD_BYTES: usize = 2 * 1024 * 1024;

/// What comes to [`OUT_HOLD_BYTES`] and [`QUEUE_HOLD_BYTES`] with each millisecond of the patience: who publishes slower than
/// this waits for nobody, and what they publish finds room until the patience is over.
pub const PACE_BYTES_PER_MS: usize = 20 * 1024;

/// The same for [`QUEUE_HOLD_MESSAGES`].
pub const PACE_MESSAGES_PER_MS: usize = 20;

/// Bytes waiting for one client's socket at most. What was on its way when its publishers were told to wait finds room: from
/// this shard what one turn receives, from each other shard the batches in between (at most [`OUTBOX_BATCHES_MAX`] and
/// [`SHARD_QUEUE_MESSAGES_MAX`] of [`BATCH_BYTES_MAX`], 2 MiB). So with up to seven other shards that all flood one client nothing is
/// lost.
/// Full: a QoS 0 message is dropped for this client and counted; QoS 1 and 2 go to the session's queue.
pub const OUT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The same for a client that was behind for longer than [`PATIENCE_NS`].
pub const OUT_SLOW_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes waiting for all sockets of a shard above which whoever publishes to its clients, here or in another shard, is not
/// read from until half of them are gone; slow clients' bytes do not count. Over for [`PATIENCE_NS`]: those with more than
/// [`OUT_SHARE_BYTES`] are slow.
pub const SHARD_OUT_PRESSURE_BYTES: usize = 64 * 1024 * 1024;

/// The same while `memory_limit` is reached.
pub const SHARD_OUT_PRESSURE_BYTES_LOW: usize = 8 * 1024 * 1024;

/// Bytes waiting for the sockets of all slow clients of a shard. Full: QoS 0 is dropped for them, whatever each has waiting.
pub const SHARD_OUT_SLOW_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Bytes waiting for all sockets of a shard at most: a fan-out to very many clients at once can reach it before its
/// publishers are told to wait.
/// Full: as [`OUT_BYTES_MAX`] for each of them; while `memory_limit` is reached, already at [`SHARD_OUT_PRESSURE_BYTES`]. Half
/// full when the patience is over: the slow clients with the most waiting are disconnected until a quarter is left.
pub const SHARD_OUT_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Bytes that may wait for one client when its shard is over its bound, without calling it slow.
pub const OUT_SHARE_BYTES: usize = 64 * 1024;

/// Bytes written for clients in one turn of a shard before it flushes. More: what else has come waits until they are with
/// the kernel.
pub const TURN_OUT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Nanoseconds that a client may be behind, and publishers wait for it. Over: it is slow, see [`SLOW_NS`].
pub const PATIENCE_NS: u64 = 500_000_000;

/// What is left of the patience when nobody waits at all: deadlines are met in steps of [`TIMER_STEP_NS`].
pub const PATIENCE_NS_MIN: u64 = 50_000_000;

/// Nanoseconds that nobody waits for a client that was behind for too long.
pub const SLOW_NS: u64 = 60_000_000_000;

/// Client identifiers that are known to be slow, so that another connection of theirs is too. Full: the one that has been
/// slow for longest is forgotten.
pub const SLOW_CLIENTS_MAX: usize = 4096;

/// Nanoseconds that a shard's publishers may have waited in vain. Spent: nobody waits for clients that never caught up, see [`PATIENCE_NS_MIN`].
pub const PATIENCE_BUDGET_NS: u64 = 2_000_000_000;

/// One nanosecond of [`PATIENCE_BUDGET_NS`] comes back in so many.
pub const PATIENCE_BUDGET_SHARE: u64 = 20;

/// Messages that a session's queue takes beyond its bound, and their bytes, while its client is connected and waited for:
/// those of a pace ([`PACE_MESSAGES_PER_MS`]), and those that were on their way when its publishers were told to wait. Full: as
/// the bound itself.
pub const QUEUE_OVERRUN_MESSAGES: u64 = 65_536;

/// See [`QUEUE_OVERRUN_MESSAGES`].
pub const QUEUE_OVERRUN_BYTES: u64 = 32 * 1024 * 1024;

/// Bytes in a session's queue above which a connected client is behind, and its patience runs, where the settings allow more.
pub const QUEUE_PRESSURE_BYTES: u64 = 16 * 1024 * 1024;

/// Messages and bytes above that, or above half of the settings' bounds, with which its publishers wait when the patience
/// begins.
pub const QUEUE_HOLD_MESSAGES: usize = 128;

/// See [`QUEUE_HOLD_MESSAGES`].
pub const QUEUE_HOLD_BYTES: usize = 1024 * 1024;

/// Bytes up to which a session's queue is poured into an empty `out` at once; the rest follows when they are gone.
pub const PUMP_BYTES: usize = 128 * 1024;

/// Retained messages waiting for one session after its SUBSCRIBE packets. Full: the rest of the retained messages of that
/// SUBSCRIBE is dropped for this client and counted.
pub const RETAINED_REPLAY_MAX: usize = 1_000_000;

/// Nodes of the tree of retained messages that a shard walks over in one turn, for all subscriptions. More: the walk goes on
/// in the next turn.
pub const REPLAY_NODES_MAX: usize = 8192;

/// Bytes of the filters of one session whose retained messages are still to be found. Full: those of further filters are
/// dropped for this client and counted.
pub const REPLAY_FILTER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Packet identifiers there are: 1 to 65,535 [MQTT-2.2.1-3].
/// All in flight: nothing is sent at QoS 1 and 2 until one is free, messages wait in the queue.
pub const PACKET_IDENTIFIERS: u16 = u16::MAX;

/// Bytes of publishes in one batch between shards. Full: the next batch of the same tick is begun.
pub const BATCH_BYTES_MAX: usize = 64 * 1024;

/// Control records in one batch between shards. Full: the next batch of the same tick is begun.
pub const BATCH_CONTROL_MAX: usize = 4096;

/// Batches that wait for one other shard. Full: the connections that fill it are not read from until it is half empty.
pub const OUTBOX_BATCHES_MAX: usize = 16;

/// Empty batches kept for use again. Full: a returned batch is freed.
pub const BATCHES_SPARE_MAX: usize = 64;

/// Topics in a shard's route cache. Full: the cache is dropped whole and fills again.
pub const ROUTES_MAX: usize = 65_536;

/// Sessions in one shard. Full: CONNECT is refused with 0x97 (5.0) or return code 3.
pub const SESSIONS_MAX: usize = 1 << 30;

/// Shards of one broker.
pub const SHARDS_MAX: u16 = 1024;

/// Subscriptions of one session, whatever `max_subscriptions` says. Full: the filter is refused with 0x97 (5.0) or 0x80.
pub const SUBSCRIPTIONS_PER_SESSION_MAX: usize = 2_000_000;

/// Members of a group that are tried where each would have to queue the message. All full: it goes to another shard's
/// members that are ready, or is dropped and counted.
pub const GROUP_TRIES_MAX: usize = 16;

/// Shards that a message for a group is passed on through while members come and go. All used up: it waits for
/// [`TIMER_STEP_NS`] where it is, and begins anew.
pub const GROUP_HOPS_MAX: u32 = 8;

/// Messages of groups whose last member left, in one shard, that wait for [`TIMER_STEP_NS`] for another one. Full: dropped and
/// counted.
pub const UNCLAIMED_MAX: usize = 100_000;

/// Seconds that the mark of a deleted retained message lives, so that an older one which comes later from another shard is
/// recognised. Longer than any batch waits.
pub const TOMBSTONE_S: u64 = 60;

/// Marks of deleted retained messages in one shard. Full: the oldest goes before its time. A change of that topic which has
/// been under way for longer would then be taken in where it comes last, so this is more than is deleted while a batch waits.
pub const TOMBSTONES_MAX: usize = 262_144;

/// The step of the timers in nanoseconds: deadlines are met late by at most this much.
pub const TIMER_STEP_NS: u64 = 100_000_000;

/// Topic aliases a client may set at most: the setting is cut to it, as the map is allocated when the first one comes.
pub const TOPIC_ALIASES_MAX: u16 = 1024;

/// Bytes of a topic that is kept for an alias towards a client. Longer ones are sent whole each time.
pub const ALIASED_TOPIC_BYTES_MAX: usize = 1024;

/// Messages (batches, connections) in the queue from one shard to another. Full: the sender keeps the rest, flushes nothing and
/// tries again; its batches then reach [`OUTBOX_BATCHES_MAX`].
pub const SHARD_QUEUE_MESSAGES_MAX: usize = 16;

/// Bytes received in one turn of a shard before it flushes. More: they wait for the next turn.
pub const TURN_BYTES_MAX: usize = 512 * 1024;

/// Nanoseconds from accept until it is known who the client is: TLS handshake, CONNECT, password. Over: the connection is closed.
pub const PENDING_CONNECTION_NS_MAX: u64 = 5_000_000_000;

/// Nanoseconds that clients have to take their last bytes when the broker ends. Over: they are cut.
pub const DRAIN_NS_MAX: u64 = 10_000_000_000;

/// Nanoseconds that connections which are there when the broker ends have for their CONNECT, to be told so. Over: they are cut.
pub const LATE_CONNECT_NS_MAX: u64 = 1_000_000_000;

/// Nanoseconds that a client has to take its last bytes when it is closed while the broker goes on. Over: it is cut.
pub const LINGER_NS_MAX: u64 = 5_000_000_000;

/// Nanoseconds until accept is tried again when it failed for want of descriptors or memory.
pub const ACCEPT_PAUSE_NS: u64 = 100_000_000;

/// Nanoseconds for which a failing accept is not logged again.
pub const ACCEPT_QUIET_NS: u64 = 1_000_000_000;

/// Bytes up to which a connection keeps the memory in which it gathered a packet of several reads. Larger: it is freed.
pub const PARTIAL_KEPT_BYTES_MAX: usize = 256;

/// Bytes up to which an emptied output buffer is kept for the next connection. Larger: it is freed.
pub const SPARE_BUFFER_BYTES_MAX: usize = 256 * 1024;

/// Emptied output buffers that are kept. Full: the next one is freed.
pub const SPARE_BUFFERS_MAX: usize = 256;

/// Passwords that wait to be checked; one address holds half of it at most. Full: CONNECT is refused with 0x89 (5.0) or return
/// code 3, and the client comes again.
pub const PASSWORD_CHECKS_MAX: usize = 16_384;

/// Bytes of the passwords that wait. Full: as [`PASSWORD_CHECKS_MAX`].
pub const PASSWORD_CHECK_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Threads that check passwords, of low priority; one argon2id check takes 46 MiB.
pub const PASSWORD_THREADS_MAX: usize = 4;

/// Bytes of the Authentication Data that a client sends at once: more are refused with 0x87.
pub const AUTHENTICATION_DATA_BYTES_MAX: usize = 4096;

/// Bytes of an AUTH during a CONNECT: larger is refused before anything more is read.
pub const AUTH_BYTES_MAX: u32 = 8 * 1024;

/// Addresses whose wrong passwords are counted. Full: those that were quiet for a minute are forgotten, else the new one is
/// not counted.
pub const BACK_OFF_ADDRESSES_MAX: usize = 65_536;

const _: () = {
    assert!(OUT_PRESSURE_BYTES < OUT_HOLD_BYTES && OUT_HOLD_BYTES < OUT_SLOW_BYTES_MAX);
    let patience_ms = ((PATIENCE_NS + TIMER_STEP_NS) / 1_000_000) as usize;
    let held_above = OUT_HOLD_BYTES + patience_ms * PACE_BYTES_PER_MS;
    assert!(QUEUE_HOLD_BYTES + patience_ms * PACE_BYTES_PER_MS < QUEUE_OVERRUN_BYTES as usize / 2);
    assert!(QUEUE_HOLD_MESSAGES + patience_ms * PACE_MESSAGES_PER_MS < QUEUE_OVERRUN_MESSAGES as usize / 2);
    let on_the_way = (OUTBOX_BATCHES_MAX + SHARD_QUEUE_MESSAGES_MAX) * BATCH_BYTES_MAX;
    assert!(
        held_above + TURN_BYTES_MAX + 7 * on_the_way <= OUT_BYTES_MAX,
        "what is on its way finds room"
    );
    assert!(
        OUT_SHARE_BYTES < OUT_PRESSURE_BYTES
            && SHARD_OUT_PRESSURE_BYTES_LOW < SHARD_OUT_PRESSURE_BYTES
            && SHARD_OUT_PRESSURE_BYTES + SHARD_OUT_SLOW_BYTES_MAX < SHARD_OUT_BYTES_MAX / 2
    );
    assert!(
        PUMP_BYTES < OUT_PRESSURE_BYTES,
        "a queue must be able to flow on before the client's buffer is full"
    );
    assert!(OUTBOX_BATCHES_MAX >= 2, "half empty must differ from empty");
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
