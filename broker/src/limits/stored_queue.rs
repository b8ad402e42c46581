//! How much of a session's queue is in memory if a store has all of it, and when expired messages are removed from a
//! queue.
//!
//! Invariants: more messages are read back before those in memory have been sent.

/// How much of a queue is in memory. More: it is only in the store, and is read back when it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadedQueue {
    /// Messages, and their bytes, while the client is connected.
    pub messages: usize,
    /// The bytes of them.
    pub bytes: u64,
    /// Messages while the client is disconnected, and after a start.
    pub away_messages: usize,
    /// The bytes of them.
    pub away_bytes: u64,
    /// If fewer messages are in memory, more are read back.
    pub low_messages: usize,
    /// Messages that are read back at once.
    pub read_messages: usize,
    /// Their bytes; they may be exceeded by one message.
    pub read_bytes: usize,
}

/// How much of a queue the broker keeps in memory.
pub const LOADED_QUEUE: LoadedQueue = LoadedQueue {
    messages: 128,
    bytes: 128 * 1024,
    away_messages: 16,
    away_bytes: 16 * 1024,
    low_messages: 64,
    read_messages: 128,
    read_bytes: 128 * 1024,
};

/// Answers of the store without a message that it must have. More: the missing messages are dropped and counted.
pub const EMPTY_ANSWERS_MAX: u8 = 3;

/// Smallest interval in nanoseconds between two searches of a queue for expired messages. A message of a disconnected
/// client is deleted late by this much at most.
pub const QUEUE_EXPIRY_NS: u64 = 1_000_000_000;

/// Number of messages of a queue that are checked without a check of the turn's work.
pub const QUEUE_EXPIRY_PIECE: usize = 512;

const _: () = assert!(
    LOADED_QUEUE.low_messages < LOADED_QUEUE.messages
        && LOADED_QUEUE.away_messages <= LOADED_QUEUE.low_messages
);

/// How long a PUBLISH of a 3.x client waits for space on the disk. Then its connection is closed.
pub const UNSTORED_WAIT_NS: u64 = 20_000_000_000;

/// How long such packets wait before the store is looked at again.
pub const UNSTORED_RETRY_NS: u64 = 50_000_000;
