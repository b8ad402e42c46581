//! Bounds of rates and bans.
//!
//! Invariants: those of `limits.rs`.

/// Bans that are in effect at once.
pub const BANS_MAX: usize = 100_000;

/// Bytes of the file that keeps them.
pub const BANS_FILE_BYTES_MAX: u64 = 64 << 20;

/// Clients of a shard whose connections are counted for `flapping_connects`; above it newcomers are not.
pub const FLAPPING_CLIENTS_MAX: usize = 100_000;

/// A client that is ahead of its rate by so much is disconnected: with less it is not read from for as long.
pub const RATE_AHEAD_NS_MAX: u64 = 30_000_000_000;
