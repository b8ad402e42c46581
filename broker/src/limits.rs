//! stub
#![allow(missing_docs)]
pub const INBOX_PARCELS_MAX: usize = 64;
pub const GREETING_BYTES_MAX: u32 = 65536;
pub const GREETING_NS_MAX: u64 = 5_000_000_000;
pub const YIELD_INTERVAL_NS: u64 = 5_000_000;
pub const DRAIN_NS_MAX: u64 = 10_000_000_000;
pub const LINGER_NS_MAX: u64 = 5_000_000_000;
pub const ACCEPT_PAUSE_NS: u64 = 100_000_000;
pub const SPARE_BUFFER_BYTES_MAX: usize = 256 << 10;
pub const SPARE_BUFFERS_MAX: usize = 256;
