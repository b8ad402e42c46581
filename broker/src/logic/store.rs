//! Where a shard's state goes to survive the process: the logic reports what happened, a store writes it.
//!
//! Invariants: records come in the order in which things happened in this shard, and only of sessions that outlive
//! their connection, of messages for them, and of retained messages. Numbers are given out by the logic and never used
//! again: a session's number, a publication's, and in each session the order of what it gets. What is handed over by
//! one [`Store::submit`] is durable as a whole or not at all, and an acknowledgement that promises durability waits for
//! the batch that is being filled when it is written (`delivery/deferred.rs`).

use std::num::NonZeroU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::time::Timestamp;

/// One thing that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreRecord<'a> {
    /// A session is there, or something of it changed. What belongs to it stays.
    Session(SessionRecord<'a>),
    /// A session ended, with all that belonged to it.
    SessionEnded {
        /// The number of the session.
        session: u64,
    },
    /// A subscription is there, or changed.
    Subscribed {
        /// The number of the session.
        session: u64,
        /// The whole text of the Topic Filter.
        filter: &'a str,
        /// As they were granted, in the bits of a SUBSCRIBE of MQTT 5.0.
        options: u8,
        /// The Subscription Identifier; 0 if there is none.
        identifier: u32,
    },
    /// A subscription is gone.
    Unsubscribed {
        /// The number of the session.
        session: u64,
        /// The whole text of the Topic Filter.
        filter: &'a str,
    },
    /// A message that sessions are to get. It is kept until each of the shards has noted what it took of it, and the
    /// last reference is done.
    Publication {
        /// The number of the publication.
        publication: u64,
        /// The shards that are to note what they take of it.
        shards: &'a [u16],
        /// The whole text of a Shared Subscription if the message is for one member of that group, else empty.
        share: &'a str,
        /// The message, see [`crate::logic::StoredMessage`].
        message: &'a [u8],
    },
    /// What sessions of a shard get of a publication; also if that is nothing.
    References {
        /// The number of the publication.
        publication: u64,
        /// The shard that notes it.
        shard: u16,
        /// One for each session.
        references: &'a [Reference<'a>],
    },
    /// A message is in flight.
    InFlight {
        /// The number of the session.
        session: u64,
        /// The order of its reference.
        order: u64,
        /// The Packet Identifier of the message.
        packet_identifier: u16,
    },
    /// PUBREC came for a message in flight: only PUBREL is to be sent again.
    Released {
        /// The number of the session.
        session: u64,
        /// The order of its reference.
        order: u64,
    },
    /// A message is done: acknowledged, expired or dropped.
    Done {
        /// The number of the session.
        session: u64,
        /// The order of its reference.
        order: u64,
    },
    /// A QoS 2 message came in and was passed on.
    Received {
        /// The number of the session.
        session: u64,
        /// The Packet Identifier of the message.
        packet_identifier: u16,
    },
    /// PUBREL came for a QoS 2 message: its identifier is free.
    ReceivedReleased {
        /// The number of the session.
        session: u64,
        /// The Packet Identifier of the message.
        packet_identifier: u16,
    },
    /// A retained message was set, or deleted.
    Retained {
        /// The higher one stands; of equal ones the later record.
        ticket: u64,
        /// The Topic Name of the message.
        topic: &'a str,
        /// The message; empty if it was deleted.
        message: &'a [u8],
    },
}

/// What a store keeps of a session by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionRecord<'a> {
    /// The number of the session.
    pub session: u64,
    /// The client whose session it is.
    pub client_identifier: &'a str,
    /// The user whose session it is, where the user was proved.
    pub user: Option<&'a str>,
    /// Session Expiry Interval in seconds; 0xFFFFFFFF never.
    pub expiry_s: u32,
    /// Since when it has no connection, in milliseconds of the wall clock; none while it has one.
    pub away_since_ms: Option<u64>,
    /// The Will of its connection, or one that waits.
    pub will: Option<WillRecord<'a>>,
}

/// A Will that may be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WillRecord<'a> {
    /// Will Delay Interval in seconds.
    pub delay_s: u32,
    /// Message Expiry Interval in seconds.
    pub expiry_s: Option<u32>,
    /// The message as it is stored.
    pub message: &'a [u8],
}

/// What one session gets of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference<'a> {
    /// The number of the session.
    pub session: u64,
    /// Its place in the order of what the session gets.
    pub order: u64,
    /// QoS of the delivery.
    pub qos: u8,
    /// RETAIN flag of the delivery.
    pub retain: bool,
    /// By which subscriptions it comes, see [`crate::logic::recover`].
    pub via: &'a [u8],
}

/// The number of a message that the store keeps, as it goes from shard to shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicationId(NonZeroU64);

impl PublicationId {
    /// Numbers begin at 1.
    pub(in crate::logic) fn new(number: u64) -> Self {
        Self(NonZeroU64::new(number).unwrap_or(NonZeroU64::MIN))
    }

    pub(in crate::logic) fn to_u64(self) -> u64 {
        self.0.get()
    }
}

/// Keeps records, in the order in which they come.
pub trait Store: std::fmt::Debug {
    /// Takes a record into the batch that is being filled.
    fn append(&mut self, record: &StoreRecord<'_>);

    /// Hands the batch over; its number. Batches are numbered from 1, and one without a record is none: then it is
    /// the number of the one before.
    fn submit(&mut self) -> u64;

    /// All batches up to this number are durable.
    fn durable(&self) -> u64;

    /// Whether so much waits to be written that publishers are to be paused.
    fn is_backlogged(&self) -> bool {
        false
    }
}

/// The wall clock beside the monotonic one: what a store keeps is read after a restart, when monotonic times mean
/// something else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WallClock {
    /// Nanoseconds from the monotonic to the wall clock.
    offset_ns: u64,
}

impl WallClock {
    /// The wall clock shows `wall` at `now`.
    #[must_use]
    pub fn new(now: Timestamp, wall: SystemTime) -> Self {
        let since_epoch = wall.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let wall_ns = u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX);
        Self {
            offset_ns: wall_ns.saturating_sub(now.0),
        }
    }

    /// A time by the wall clock, in nanoseconds; never stays never.
    #[must_use]
    pub fn wall_ns(self, at: Timestamp) -> u64 {
        at.0.saturating_add(self.offset_ns)
    }

    /// A time by the monotonic clock; what was before its beginning is its beginning.
    #[must_use]
    pub fn timestamp(self, wall_ns: u64) -> Timestamp {
        match wall_ns {
            u64::MAX => Timestamp::NEVER,
            wall_ns => Timestamp(wall_ns.saturating_sub(self.offset_ns)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_by_the_wall_clock_are_kept_over_a_restart() {
        let wall = |ns| UNIX_EPOCH + Duration::from_nanos(ns);
        let before = WallClock::new(Timestamp(5_000), wall(1_000_000));
        let after = WallClock::new(Timestamp(10), wall(1_500_000));
        let kept = before.wall_ns(Timestamp(905_000));
        assert_eq!(after.timestamp(kept), Timestamp(400_010));
        assert_eq!(
            after.timestamp(before.wall_ns(Timestamp(0))),
            Timestamp(0),
            "it was before"
        );
        assert_eq!(
            after.timestamp(before.wall_ns(Timestamp::NEVER)),
            Timestamp::NEVER
        );
    }
}
