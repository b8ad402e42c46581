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

/// Bytes of payloads in one part of a list of retained messages, beyond which the part ends; the last message is whole.
pub const LIST_PAYLOAD_BYTES_MAX: usize = 1 << 20;

/// Questions of operators that wait for a shard. Full: the operator is answered 503.
pub const QUESTIONS_WAITING_MAX: usize = 64;

/// Time that an operator waits for the shards. Over: 503.
pub const QUESTION_NS_MAX: u64 = 5_000_000_000;

/// Requests of operators for pages that wait to be answered. More: they are answered with 503.
pub const API_REQUESTS_MAX: usize = 32;

/// Threads of each listener of `http_api` that take what comes, TLS included, and answer requests for health.
pub const API_THREADS_MAX: usize = 2;

/// Threads of each listener that send operators all other pages, which may be long and their readers slow.
pub const API_PAGE_THREADS_MAX: usize = 8;

/// Connections of each listener of `http_api` whose requests have not come whole, and as many whose requests wait to
/// be answered. Full: of the first the oldest is answered with 503, of the others the newest.
pub const API_ARRIVING_MAX: usize = 256;

/// Nanoseconds from accept until an operator has begun its request, and then until it has its answer. Over: it is cut,
/// with 408 if it has begun.
pub const API_NS_MAX: u64 = 5_000_000_000;

/// Nanoseconds in which the header of a request that has begun has to come whole; its body has the time of the answer.
/// Over: 408.
pub const API_REQUEST_NS_MAX: u64 = 1_000_000_000;

/// Nanoseconds for which the rest of a request that was refused is read and dropped. Over: its connection is reset.
pub const API_UNREAD_NS_MAX: u64 = 250_000_000;

/// Characters of a cell in a table of `broker ctl`. More: the rest is cut, and the cell says so; `--json` has all.
pub const CELL_CHARACTERS_MAX: usize = 120;

/// Bytes of the header of an operator's request: the longest Client Identifier may be in its path, each byte
/// percent-encoded. More: 431.
pub const API_HEADER_BYTES_MAX: usize = 8192 + 3 * u16::MAX as usize;

/// Bytes of the body of an operator's request. More: 413.
pub const API_BODY_BYTES_MAX: usize = 1 << 20;

/// Threads of each listener that compute the passwords of operators; answers to those whose password is known do not
/// wait for them.
pub const API_PASSWORD_THREADS_MAX: usize = 1;

/// Entries of one page of a list.
pub const API_PAGE_ENTRIES_MAX: usize = 1000;

/// Events of each kind that each shard remembers: refusals, denials, drops, clients that left, other disconnects, and
/// clients from whom messages are withheld; listeners of `http_api` have as many of their own. More: the oldest of the
/// kind goes.
pub const EVENTS_KEPT_MAX: usize = 256;
/// Of them those of one client, in each list. Where it has more, its oldest goes.
pub const EVENTS_OF_CLIENT_MAX: usize = 16;

/// Topics that SIGUSR2 lists. More: the log says how many entries they have.
pub const TREE_TOPICS_MAX: usize = 1000;

/// Clients of a shard that do not get messages, because of access rules or because these are dropped, that are
/// remembered and logged in [`UNDELIVERED_NS`]. Messages for more of them are counted alone.
pub const UNDELIVERED_CLIENTS_MAX: usize = EVENTS_KEPT_MAX;

/// Topics of such messages that are remembered for one client and one cause in that time. Those of more topics are
/// remembered together.
pub const UNDELIVERED_TOPICS_MAX: usize = EVENTS_OF_CLIENT_MAX;

/// How often a client that does not get messages is remembered and logged at most: at the first one, and then once in
/// so many nanoseconds with the number of the others.
pub const UNDELIVERED_NS: u64 = 1_000_000_000;

/// Lines about denials and drops that traces show of what one connection sent at once. More are counted and logged
/// alone.
pub const TRACE_LINES_MAX: usize = 256;

/// Bytes of a name that is remembered with a refusal, a drop or a disconnect. More: the rest is cut.
pub const EVENT_NAME_BYTES_MAX: usize = 256;

/// How long CPU time is measured for each client after an operator has asked for it.
pub const CLIENT_SAMPLING_NS: u64 = 60_000_000_000;

/// The last seconds that an operator may ask for the CPU time of clients of. More: 400.
pub const MEASURED_SECONDS_MAX: u64 = 10;

/// Connections of a shard whose CPU time is measured one by one in a second. More: the others are measured together.
pub const CLIENTS_MEASURED_MAX: usize = 1 << 14;

/// Traces that are switched on at once. More: the next one is refused.
pub const TRACES_MAX: usize = 16;

/// Nanoseconds for which another new client that does not read, or an operator that is refused, is not logged again.
pub const SELDOM_LOGGED_NS: u64 = 1_000_000_000;

/// Nanoseconds that an operator waits for a reload. Over: 503, and the log has how it went.
pub const RELOAD_NS_MAX: u64 = 20_000_000_000;

/// Bytes of the requests of a listener that have not come whole. More: that with the most is answered
/// with 503.
pub const API_ARRIVING_BYTES_MAX: usize = 16 << 20;
