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

/// Places of a list (sessions, subscriptions, retained messages) that a shard looks at for one question. More: the
/// answer says where the next question goes on.
pub const LIST_PLACES_MAX: usize = 500;

/// Questions of operators that wait for a shard. Full: the operator is answered 503.
pub const QUESTIONS_WAITING_MAX: usize = 64;

/// Time that an operator waits for the shards. Over: 503.
pub const QUESTION_NS_MAX: u64 = 5_000_000_000;

/// Bytes of the body of an operator's request. More: 413.
pub const API_BODY_BYTES_MAX: usize = 1 << 20;

/// Entries of one page of a list.
pub const API_PAGE_ENTRIES_MAX: usize = 1000;

/// Refusals, drops and disconnects that each shard remembers. More: the oldest goes.
pub const EVENTS_KEPT_MAX: usize = 256;

/// Dropped messages that are remembered in one turn. More are counted, and not remembered one by one.
pub const DROPS_REMEMBERED_A_TURN: u32 = 8;

/// Bytes of a name that is remembered with a refusal, a drop or a disconnect. More: the rest is cut.
pub const EVENT_NAME_BYTES_MAX: usize = 256;

/// Traces that are switched on at once. More: the next one is refused.
pub const TRACES_MAX: usize = 16;
