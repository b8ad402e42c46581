//! Where a shard's state goes to survive the process: the logic reports what happened, a store writes it.
//!
//! Invariants: records come in the order in which things happened in this shard, and only of sessions that outlive
//! their connection, and of retained messages. A record is complete: a store needs nothing else. A store numbers the
//! records and reports up to which of them all is durable; an acknowledgement that promises durability waits for
//! that.

use mqtt::packet::SubscriptionOptions;
use mqtt::{PacketIdentifier, QoS};

use crate::logic::message::StoredMessage;

/// One thing that happened.
#[derive(Clone, Copy, Debug)]
pub enum StoreRecord<'a> {
    /// A session is there, or its expiry changed.
    Session {
        /// The client whose session it is.
        client_identifier: &'a str,
        /// Session Expiry Interval in seconds; 0xFFFFFFFF never.
        expiry_s: u32,
    },
    /// A session ended, with all that belonged to it.
    SessionEnded {
        /// The client whose session it is.
        client_identifier: &'a str,
    },
    /// A subscription is there, or changed.
    Subscribed {
        /// The client whose session it is.
        client_identifier: &'a str,
        /// The whole text of the Topic Filter.
        filter: &'a str,
        /// As they were granted.
        options: SubscriptionOptions,
        /// The Subscription Identifier, if there is one.
        identifier: Option<u32>,
    },
    /// A subscription is gone.
    Unsubscribed {
        /// The client whose session it is.
        client_identifier: &'a str,
        /// The whole text of the Topic Filter.
        filter: &'a str,
    },
    /// A message waits for a session.
    Queued {
        /// The client whose session it is.
        client_identifier: &'a str,
        /// The message with all its properties.
        message: &'a StoredMessage,
        /// QoS of the delivery.
        qos: QoS,
        /// RETAIN flag of the delivery.
        retain: bool,
    },
    /// The first waiting message of a session left the queue: sent, expired or too large.
    Dequeued {
        /// The client whose session it is.
        client_identifier: &'a str,
    },
    /// A message is in flight.
    Sent {
        /// The client whose session it is.
        client_identifier: &'a str,
        /// The Packet Identifier of the message.
        packet_identifier: PacketIdentifier,
        /// The message with all its properties.
        message: &'a StoredMessage,
        /// QoS of the delivery.
        qos: QoS,
        /// RETAIN flag of the delivery.
        retain: bool,
    },
    /// PUBREC came for a message in flight: only PUBREL is to be sent again.
    Released {
        /// The client whose session it is.
        client_identifier: &'a str,
        /// The Packet Identifier of the message.
        packet_identifier: PacketIdentifier,
    },
    /// A message in flight is done.
    Completed {
        /// The client whose session it is.
        client_identifier: &'a str,
        /// The Packet Identifier of the message.
        packet_identifier: PacketIdentifier,
    },
    /// A QoS 2 message came in and was passed on.
    Received {
        /// The client whose session it is.
        client_identifier: &'a str,
        /// The Packet Identifier of the message.
        packet_identifier: PacketIdentifier,
    },
    /// PUBREL came for a QoS 2 message: its identifier is free.
    ReceivedReleased {
        /// The client whose session it is.
        client_identifier: &'a str,
        /// The Packet Identifier of the message.
        packet_identifier: PacketIdentifier,
    },
    /// A retained message was set; deleted if it has no payload.
    Retained {
        /// The message with all its properties.
        message: &'a StoredMessage,
    },
}

/// Keeps records, in the order in which they come.
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
