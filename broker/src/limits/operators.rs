//! The bounds of what operators see and ask for.
//!
//! Invariants: those of [`crate::limits`].

/// Lines of the log that wait to be published below `$SYS/broker/log`. Full: newer ones are lost there, and counted.
pub const LOG_TOPIC_LINES_MAX: usize = 1024;

/// Bytes of one packet that are looked at for the log of packets. Longer: only a PUBLISH is shown by its topic, and
/// other packets by their type.
pub const PACKET_SHOWN_BYTES_MAX: usize = 2048;

/// Topic Filters of one packet that the log of packets shows. More: their number stands for the rest.
pub const FILTERS_SHOWN_MAX: usize = 20;
