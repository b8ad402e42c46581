//! What a shard reads back from the log: messages that wait for a session and whose payloads are only on the disk, or
//! which of them have expired.
//!
//! Invariants: a request is answered when everything that its shard had submitted before it is in the log, so the
//! answer has everything that waits in the range. Each request is answered once, and the answer is in the session's
//! order.

/// Which of the messages that wait for a session are requested.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// The first ones that wait, with their content.
    #[default]
    First,
    /// Those that came by a Shared Subscription, with their content. The answer ends also behind as many messages as
    /// the log looks at for one request.
    Shared,
    /// Those that have expired at this time, without their content: wall clock, nanoseconds since 1970. The answer
    /// ends as that for [`Self::Shared`] does.
    ExpiredAt(u64),
}

/// A request for messages that wait for a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadRequest {
    /// The number of the session.
    pub session: u64,
    /// A number chosen by the caller and returned with the answer.
    pub tag: u32,
    /// Which of the messages in the range are requested.
    pub wanted: Wanted,
    /// The first place of the range in the session's order.
    pub from: u64,
    /// The last place of the range, inclusive.
    pub to: u64,
    /// The answer ends after this many messages.
    pub messages_max: usize,
    /// The answer ends with the message that makes it larger than this.
    pub bytes_max: usize,
}

/// The answer to a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadBack {
    /// The request that this answers.
    pub request: ReadRequest,
    /// Messages from the front of the range, in the session's order.
    pub messages: Vec<ReadMessage>,
    /// Where the part of the range starts that the answer does not cover; `None` if nothing waits there.
    pub next: Option<u64>,
    /// When the first of the checked messages expires that has not expired yet: wall clock, nanoseconds since 1970.
    /// `u64::MAX` if none does, or if it was not requested.
    pub expires_first_ns: u64,
}

/// A message that waits for a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadMessage {
    /// The place in the session's order.
    pub order: u64,
    /// QoS of the delivery.
    pub qos: u8,
    /// RETAIN flag of the delivery.
    pub retain: bool,
    /// The shared subscription, if any, as the broker encoded it.
    pub via: Vec<u8>,
    /// The message, as the broker encoded it; `None` if it can no longer be read, or has expired.
    pub message: Option<Vec<u8>>,
}
