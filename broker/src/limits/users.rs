//! Bounds of users that change at run time: dynamic security and tokens.
//!
//! Invariants: none.

/// Commands of dynamic security in one message. More: those behind are answered with an error.
pub const DYNAMIC_COMMANDS_MAX: usize = 10_000;

/// Access rules of one type in a role, as each message may be compared with all. More: `addRoleACL` is refused.
pub const DYNAMIC_ACLS_MAX: usize = 10_000;

/// Bytes of a token. Longer: the client is refused.
pub const TOKEN_BYTES_MAX: usize = 16_384;

/// Tokens that wait to be checked. More: their clients are refused as the server is busy.
pub const TOKEN_CHECKS_MAX: usize = 10_000;

/// Keys of a JWKS; those behind are passed over. A token that names no key is compared with some of them.
pub const TOKEN_KEYS_MAX: usize = 256;
/// Keys that a token is compared with at most.
pub const TOKEN_KEYS_TRIED_MAX: usize = 8;

/// Bytes of a JWKS. More: it is not taken.
pub const TOKEN_KEYS_BYTES_MAX: u64 = 1 << 20;

/// Seconds between two looks at the keys that unknown keys of tokens are the reason of.
pub const TOKEN_KEYS_PAUSE_S: u64 = 5;
/// Seconds until keys that could not be fetched are asked for again, at most.
pub const TOKEN_KEYS_RETRY_S: u64 = 10;

/// Messages with commands of dynamic security that wait for their turn. More: they are dropped, with a line in the log;
/// mosquitto_ctrl says after a while that no answer came.
pub const DYNAMIC_REQUESTS_MAX: usize = 1_000;
