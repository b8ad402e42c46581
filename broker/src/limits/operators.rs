//! The bounds of the operators' interfaces.
//!
//! Invariants: those of [`crate::limits`].

/// Lines of the log that wait to be published below `$SYS/broker/log`. Full: newer ones are lost there, and counted.
pub const LOG_TOPIC_LINES_MAX: usize = 1024;

/// Bytes of one packet that are decoded for the log of packets. Longer: a PUBLISH is shown with its topic only, and
/// other packets with their type only.
pub const PACKET_SHOWN_BYTES_MAX: usize = 2048;

/// Topic Filters of one packet that the log of packets shows. More: the number of the others is shown.
pub const FILTERS_SHOWN_MAX: usize = 20;

/// Entries of a list (sessions, subscriptions, retained messages) that a shard visits for one question. More: the
/// answer says where the next question continues.
pub const LIST_PLACES_MAX: usize = 500;

/// Bytes of payloads in one part of a list of retained messages, after which the part ends; the last message is
/// complete.
pub const LIST_PAYLOAD_BYTES_MAX: usize = 1 << 20;

/// Questions of operators that wait for a shard. Full: the operator is answered 503.
pub const QUESTIONS_WAITING_MAX: usize = 64;

/// Time that an operator waits for the shards. Over: 503.
pub const QUESTION_NS_MAX: u64 = 5_000_000_000;

/// Operators' requests for pages that wait to be answered. More: they are answered with 503.
pub const API_REQUESTS_MAX: usize = 32;

/// Threads of each listener of `http_api` that receive bytes, including TLS, and answer requests for health.
pub const API_THREADS_MAX: usize = 2;

/// Threads of each listener that send operators all other pages, which may be long and have slow readers.
pub const API_PAGE_THREADS_MAX: usize = 8;

/// Connections of each listener of `http_api` whose requests are incomplete, and as many whose requests wait to be
/// answered. Full: of the former the oldest is answered with 503, of the latter the newest.
pub const API_ARRIVING_MAX: usize = 256;

/// Nanoseconds from accept until an operator has begun its request, and then until it has its answer. Over: it is
/// disconnected, with 408 if it has begun.
pub const API_NS_MAX: u64 = 5_000_000_000;

/// Nanoseconds in which the header of a request that has begun must be complete; its body has the time of the answer.
/// Over: 408.
pub const API_REQUEST_NS_MAX: u64 = 1_000_000_000;

/// Nanoseconds for which the rest of a refused request is read and discarded. Over: its connection is reset.
pub const API_UNREAD_NS_MAX: u64 = 250_000_000;

/// Characters of a cell in a table of `broker ctl`. More: the rest is cut, with a mark; `--json` has everything.
pub const CELL_CHARACTERS_MAX: usize = 120;

/// Bytes of the header of an operator's request: its path may have the longest Client Identifier, with each byte
/// percent-encoded. More: 431.
pub const API_HEADER_BYTES_MAX: usize = 8192 + 3 * u16::MAX as usize;

/// Bytes of the body of an operator's request. More: 413.
pub const API_BODY_BYTES_MAX: usize = 1 << 20;

/// Threads of each listener that compute the passwords of operators; requests with a password that is already verified
/// do not wait for them.
pub const API_PASSWORD_THREADS_MAX: usize = 1;

/// Entries of one page of a list.
pub const API_PAGE_ENTRIES_MAX: usize = 1000;

/// Events of each kind that each shard keeps: refusals, denials, drops, clients that disconnected, other disconnects,
/// and clients from which messages are withheld; listeners of `http_api` keep as many of their own. More: the oldest
/// of the kind is removed.
pub const EVENTS_KEPT_MAX: usize = 256;
/// The number of these per client, in each list. More: its oldest one is removed.
pub const EVENTS_OF_CLIENT_MAX: usize = 16;

/// Topics that SIGUSR2 lists. More: the log reports the number of the others.
pub const TREE_TOPICS_MAX: usize = 1000;

/// Clients of a shard that do not get messages, because of access rules or because these are dropped, that are
/// recorded and logged in [`UNDELIVERED_NS`]. Messages for more of them are only counted.
pub const UNDELIVERED_CLIENTS_MAX: usize = EVENTS_KEPT_MAX;

/// Topics of such messages that are recorded for one client and one cause in that time. Further topics share one
/// record.
pub const UNDELIVERED_TOPICS_MAX: usize = EVENTS_OF_CLIENT_MAX;

/// Interval in which a client that does not get messages is recorded and logged: at the first message, and then once
/// in this many nanoseconds with the number of the others.
pub const UNDELIVERED_NS: u64 = 1_000_000_000;

/// Lines about denials and drops that traces show for the bytes that one connection sent at once. More: they are only
/// counted and logged.
pub const TRACE_LINES_MAX: usize = 256;

/// Bytes of a name that is recorded with a refusal, a drop or a disconnect. More: the rest is cut.
pub const EVENT_NAME_BYTES_MAX: usize = 256;

/// How long CPU time is measured for each client after an operator has asked for it.
pub const CLIENT_SAMPLING_NS: u64 = 60_000_000_000;

/// The seconds before now for which an operator may ask for the CPU time of clients. More: 400.
pub const MEASURED_SECONDS_MAX: u64 = 10;

/// Connections of a shard whose CPU time is measured individually in a second. More: the others are measured together.
pub const CLIENTS_MEASURED_MAX: usize = 1 << 14;

/// Traces that are active at once. More: the next one is refused.
pub const TRACES_MAX: usize = 16;

/// Nanoseconds for which a further client that does not read, or a further refused operator, is not logged again.
pub const SELDOM_LOGGED_NS: u64 = 1_000_000_000;

/// Nanoseconds that an operator waits for a reload. Over: 503, and the log has the result.
pub const RELOAD_NS_MAX: u64 = 20_000_000_000;

/// Bytes of the incomplete requests of a listener. More: the one with the most is answered with 503.
pub const API_ARRIVING_BYTES_MAX: usize = 16 << 20;
