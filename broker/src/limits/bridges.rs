//! Bounds of bridges.
//!
//! Invariants: those of [`crate::limits`].

/// Nanoseconds that a bridge waits for an address of the other broker, from the first packet of TCP to CONNACK. Over:
/// the next one is tried.
pub const BRIDGE_CONNECT_NS_MAX: u64 = 20_000_000_000;

/// Bytes that wait to be sent to one of the two brokers. More: the other one is not read from, unless that waits too.
pub const BRIDGE_OUTPUT_HIGH_BYTES: usize = 1024 * 1024;

/// Bytes that wait to be sent while neither broker takes any. More: messages at QoS 0 are dropped, which is logged;
/// those at QoS 1 and 2 are bounded by what may be in flight.
pub const BRIDGE_OUTPUT_CAP_BYTES: usize = 4 * 1024 * 1024;

/// Bytes that a bridge takes from one broker before it turns to the other one.
pub const BRIDGE_READ_BYTES: usize = 64 * 1024;

/// Nanoseconds between two looks whether the first address of a bridge can be connected to again.
pub const BRIDGE_PRIMARY_NS: u64 = 5_000_000_000;

/// Nanoseconds that a bridge has to take leave of both brokers. Over: its connections are cut.
pub const BRIDGE_END_NS_MAX: u64 = 2_000_000_000;
