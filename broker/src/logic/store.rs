//! Where a shard's state goes to survive the process: the logic reports what happened, a store writes it.
//!
//! Invariants: records come in the order in which things happened in this shard, and only of sessions that outlive their
//! connection, and of retained messages. A record is complete: a store needs nothing else. A store numbers the
//! records and reports up to which of them all is durable; an acknowledgement that promises durability waits for that.

use mqtt::packet::SubscriptionOptions;
use mqtt::{PacketIdentifier, QoS};

use crate::logic::message::StoredMessage;

/// One thing that happened.
#[derive(Clone, Copy, Debug)]
pub enum StoreRecord<'a> {
    /// A session is there, or its expiry changed.
    Session {
        /// Whose.
        client_identifier: &'a str,
        /// Session Expiry Interval in seconds; 0xFFFFFFFF never.
        expiry_s: u32,
    },
    /// A session ended, with all that belonged to it.
    SessionEnded {
        /// Whose.
        client_identifier: &'a str,
    },
    /// A subscription is there, or changed.
    Subscribed {
        /// Whose.
        client_identifier: &'a str,
        /// Topic Filter.
        filter: &'a str,
        /// Its options.
        options: SubscriptionOptions,
        /// Subscription Identifier.
        identifier: Option<u32>,
    },
    /// A subscription is gone.
    Unsubscribed {
        /// Whose.
        client_identifier: &'a str,
        /// Topic Filter.
        filter: &'a str,
    },
    /// A message waits for a session.
    Queued {
        /// Whose.
        client_identifier: &'a str,
        /// What.
        message: &'a StoredMessage,
        /// QoS of the delivery.
        qos: QoS,
        /// RETAIN flag of the delivery.
        retain: bool,
    },
    /// The first waiting message of a session left the queue: sent, expired or too large.
    Dequeued {
        /// Whose.
        client_identifier: &'a str,
    },
    /// A message is in flight.
    Sent {
        /// Whose.
        client_identifier: &'a str,
        /// Its identifier.
        packet_identifier: PacketIdentifier,
        /// What.
        message: &'a StoredMessage,
        /// QoS of the delivery.
        qos: QoS,
        /// RETAIN flag of the delivery.
        retain: bool,
    },
    /// PUBREC came for a message in flight: only PUBREL is to be sent again.
    Released {
        /// Whose.
        client_identifier: &'a str,
        /// Its identifier.
        packet_identifier: PacketIdentifier,
    },
    /// A message in flight is done.
    Completed {
        /// Whose.
        client_identifier: &'a str,
        /// Its identifier.
        packet_identifier: PacketIdentifier,
    },
    /// A QoS 2 message came in and was passed on.
    Received {
        /// Whose.
        client_identifier: &'a str,
        /// Its identifier.
        packet_identifier: PacketIdentifier,
    },
    /// Its PUBREL came.
    ReceivedReleased {
        /// Whose.
        client_identifier: &'a str,
        /// Its identifier.
        packet_identifier: PacketIdentifier,
    },
    /// A retained message was set; deleted if it has no payload.
    Retained {
        /// What.
        message: &'a StoredMessage,
    },
}

/// Keeps records.
pub trait Store: std::fmt::Debug {
    /// Takes a record; returns its number, from 1.
    fn append(&mut self, record: StoreRecord<'_>) -> u64;

    /// All records up to this number are durable.
    fn durable(&self) -> u64;
}

/// Keeps nothing, and so has everything durable at once: sessions live as long as the process.
#[derive(Debug, Default)]
pub struct MemoryStore {
    appended: u64,
}

impl Store for MemoryStore {
    fn append(&mut self, _record: StoreRecord<'_>) -> u64 {
        self.appended += 1;
        self.appended
    }

    fn durable(&self) -> u64 {
        self.appended
    }
}
