//! The records of the log: one for each event that it keeps. `encode.rs` writes records, `decode.rs` reads them.
//!
//! Invariants: a session, a publication and a delivery are identified by numbers that the caller chooses and never
//! uses again. In the first two, the upper 16 bits are a shard and the lower 48 a counter. Messages, Wills and the
//! subscriptions of a reference are bytes that the log does not interpret, except the time at which a message expires.

mod decode;
mod encode;

pub(crate) use decode::decode;
pub(crate) use encode::encode;

/// When a message expires, as [`Record::Publication`] has it; `u64::MAX` means never.
pub(crate) fn expires_ns(message: &[u8]) -> u64 {
    message
        .first_chunk()
        .map_or(u64::MAX, |bytes| u64::from_le_bytes(*bytes))
}

/// One event that the log keeps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Record<'a> {
    /// The broker was started.
    Epoch {
        /// The number of starts, including this one.
        number: u64,
        /// The number of shards of the broker.
        shards: u16,
        /// The time of the start: wall clock, milliseconds since 1970.
        started_ms: u64,
    },
    /// A session was created or changed; replaces the earlier record of the session.
    Session(Session<'a>),
    /// A session ended, with everything that belongs to it.
    SessionEnded {
        /// The number of the session.
        number: u64,
    },
    /// A subscription was created or changed.
    Subscribed {
        /// The number of the session.
        session: u64,
        /// The whole text of the Topic Filter.
        filter: &'a str,
        /// The options byte of MQTT 5.0.
        options: u8,
        /// The Subscription Identifier; 0 if there is none.
        identifier: u32,
    },
    /// A subscription of a session ended.
    Unsubscribed {
        /// The number of the session.
        session: u64,
        /// The whole text of the Topic Filter.
        filter: &'a str,
    },
    /// A message for sessions of any shard.
    Publication {
        /// The number of the publication.
        id: u64,
        /// The shards that must mark it; if a mark is missing at recovery, it is routed there again.
        shards: ShardList<'a>,
        /// Empty, or the shared subscription of which one member receives it.
        share: &'a str,
        /// The message, as the broker encodes it. Its first 8 bytes, if it has as many, are the time at which it
        /// expires: wall clock, nanoseconds since 1970, little-endian; all ones mean never.
        message: &'a [u8],
    },
    /// The sessions of a shard for which a message waits.
    References {
        /// The number of the publication.
        publication: u64,
        /// The shard whose sessions these are.
        shard: u16,
        /// The references of the sessions of this shard; there may be none.
        references: ReferenceList<'a>,
        /// Whether the shard has accepted the publication: it is not routed there again.
        mark: bool,
    },
    /// A reference was sent and has a Packet Identifier.
    InFlight {
        /// The number of the session.
        session: u64,
        /// The order number of the reference in its session.
        order: u64,
        /// Packet Identifier of the PUBLISH.
        packet_identifier: u16,
        /// Whether PUBREC has arrived, so that only PUBCOMP is awaited.
        released: bool,
    },
    /// PUBREC arrived for a reference in flight: the message is not needed any more.
    Released {
        /// The number of the session.
        session: u64,
        /// The order number of the reference in its session.
        order: u64,
    },
    /// A reference is acknowledged, expired or dropped.
    Done {
        /// The number of the session.
        session: u64,
        /// The order number of the reference in its session.
        order: u64,
    },
    /// A QoS 2 message arrived and was passed on.
    Received {
        /// The session of the publisher.
        session: u64,
        /// Packet Identifier of the PUBLISH.
        packet_identifier: u16,
    },
    /// PUBREL arrived for a QoS 2 message: its identifier is free.
    ReceivedReleased {
        /// The session of the publisher.
        session: u64,
        /// Packet Identifier of the PUBLISH.
        packet_identifier: u16,
    },
    /// A retained message was set or cleared. The highest ticket of a topic is valid; of equal ones the last.
    Retained {
        /// A number from a counter that all shards use.
        ticket: u64,
        /// The whole text of the topic.
        topic: &'a str,
        /// The message, as the broker encodes it; empty if it was cleared.
        message: &'a [u8],
    },
}

/// What is kept of a session, except its subscriptions and messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session<'a> {
    /// The number of the session.
    pub number: u64,
    /// The client whose session it is.
    pub client_identifier: &'a str,
    /// The authenticated user of the client.
    pub user: Option<&'a str>,
    /// Session Expiry Interval in seconds; 0xFFFFFFFF never.
    pub expiry_s: u32,
    /// Since when the client is disconnected, wall clock; `None` while it is connected.
    pub away_since_ms: Option<u64>,
    /// The Will that is still to be published.
    pub will: Option<Will<'a>>,
}

/// A Will that outlives its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Will<'a> {
    /// Will Delay Interval in seconds.
    pub delay_s: u32,
    /// Message Expiry Interval in seconds.
    pub expiry_s: Option<u32>,
    /// The message, as the broker encodes it.
    pub message: &'a [u8],
}

/// The fact that a message waits for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference<'a> {
    /// The number of the session.
    pub session: u64,
    /// The place in the session's order; never used again.
    pub order: u64,
    /// QoS of the delivery.
    pub qos: u8,
    /// RETAIN flag of the delivery.
    pub retain: bool,
    /// The shared subscription, if any, as the broker encodes it.
    pub via: &'a [u8],
}

/// The shards to which a publication is routed.
#[derive(Clone, Copy, Debug)]
pub enum ShardList<'a> {
    /// The numbers as the caller has them in memory.
    Numbers(&'a [u16]),
    /// The numbers as they are in a record: two bytes each.
    Encoded(&'a [u8]),
}

impl<'a> ShardList<'a> {
    /// The shards in the order in which they were given.
    pub fn iter(self) -> impl Iterator<Item = u16> + 'a {
        let (numbers, encoded): (&[u16], &[u8]) = match self {
            Self::Numbers(numbers) => (numbers, &[]),
            Self::Encoded(encoded) => (&[], encoded),
        };
        let (pairs, _) = encoded.as_chunks::<2>();
        numbers
            .iter()
            .copied()
            .chain(pairs.iter().map(|pair| u16::from_le_bytes(*pair)))
    }
}

impl PartialEq for ShardList<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

/// Sessions for which a publication waits.
#[derive(Clone, Copy, Debug)]
pub enum ReferenceList<'a> {
    /// The references as the caller has them in memory.
    Slice(&'a [Reference<'a>]),
    /// The references as they are in a record.
    Encoded(&'a [u8]),
}

impl<'a> ReferenceList<'a> {
    /// The references in the order in which they were given; ends at an encoded one that cannot be read.
    pub fn iter(self) -> impl Iterator<Item = Reference<'a>> {
        let (slice, encoded): (&[Reference<'a>], &[u8]) = match self {
            Self::Slice(slice) => (slice, &[]),
            Self::Encoded(encoded) => (&[], encoded),
        };
        slice.iter().copied().chain(decode::references(encoded))
    }
}

impl PartialEq for ReferenceList<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Record<'_> {
    fn kind(&self) -> Kind {
        match self {
            Self::Epoch { .. } => Kind::Epoch,
            Self::Session(_) => Kind::Session,
            Self::SessionEnded { .. } => Kind::SessionEnded,
            Self::Subscribed { .. } => Kind::Subscribed,
            Self::Unsubscribed { .. } => Kind::Unsubscribed,
            Self::Publication { .. } => Kind::Publication,
            Self::References { .. } => Kind::References,
            Self::InFlight { .. } => Kind::InFlight,
            Self::Released { .. } => Kind::Released,
            Self::Done { .. } => Kind::Done,
            Self::Received { .. } => Kind::Received,
            Self::ReceivedReleased { .. } => Kind::ReceivedReleased,
            Self::Retained { .. } => Kind::Retained,
        }
    }
}

/// The type of a record on the disk. The numbers never change: they are the format. There is no 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Epoch = 1,
    Session = 2,
    SessionEnded = 3,
    Subscribed = 4,
    Unsubscribed = 5,
    Publication = 6,
    References = 8,
    InFlight = 9,
    Released = 10,
    Done = 11,
    Received = 12,
    ReceivedReleased = 13,
    Retained = 14,
}

#[cfg(test)]
mod tests;
