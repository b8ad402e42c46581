//! What of a session's queue is in memory where a store has all of it.
//!
//! Invariants: what is read back is asked for before what is in memory has been sent.

/// Messages of a queue, and their bytes, that are in memory while the client is connected. More: they are in the store
/// alone, and are read back when their turn comes.
pub const QUEUE_LOADED_MAX: usize = 128;
/// The bytes of them.
pub const QUEUE_LOADED_BYTES_MAX: u64 = 128 * 1024;

/// The same while the client is away, and after a start.
pub const QUEUE_LOADED_AWAY_MAX: usize = 16;
/// The bytes of them.
pub const QUEUE_LOADED_AWAY_BYTES_MAX: u64 = 16 * 1024;

/// With fewer messages of a queue in memory more are read back.
pub const QUEUE_LOADED_LOW: usize = 64;

/// Messages that are read back at once, and their bytes; beyond the latter by one message.
pub const READ_BACK_MAX: usize = 256;
/// The bytes of them.
pub const READ_BACK_BYTES_MAX: usize = 256 * 1024;

const _: () = assert!(QUEUE_LOADED_LOW < QUEUE_LOADED_MAX && QUEUE_LOADED_AWAY_MAX <= QUEUE_LOADED_LOW);
