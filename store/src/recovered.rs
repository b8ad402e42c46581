//! The state that a recovery returns.
//!
//! Invariants: references are in the order of their order numbers, publications in the order of the log. Each reference
//! that is not released names a publication that exists.

use std::fmt;

/// Everything that was in the log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recovered {
    /// Number of this start, from 1.
    pub epoch: u64,
    /// Number of shards of the previous run; 0 if this is the first one.
    pub shards: u16,
    /// Highest session counter (lower 48 bits of the number) that was ever used.
    pub number_max: u64,
    /// Highest publication counter (lower 48 bits of the number) that was ever used.
    pub publication_max: u64,
    /// The sessions by their numbers.
    pub sessions: Vec<RecoveredSession>,
    /// Publications that a session waits for, or that a shard has not marked.
    pub publications: Vec<RecoveredPublication>,
    /// Retained messages by their topics.
    pub retained: Vec<RecoveredRetained>,
    /// What was damaged and left out.
    pub damage: Damage,
}

/// The damage to what was acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// Files that are shorter than when they were created, or cannot be read.
    pub files: u64,
    /// Commits that are missing or have no valid header.
    pub commits: u64,
    /// Records whose bytes were changed on the disk.
    pub records: u64,
    /// Records that belong to something that does not exist.
    pub orphans: u64,
    /// One sentence for each place; only the first ones.
    pub findings: Vec<String>,
}

impl Damage {
    /// Counts a file that is not a segment, or cannot be read.
    pub(crate) fn of_file(&mut self, finding: String) {
        self.files += 1;
        self.findings.push(finding);
    }

    /// Whether nothing was damaged.
    pub fn is_none(&self) -> bool {
        self.files == 0 && self.commits == 0 && self.records == 0
    }
}

/// States the amount of damage, not the places.
impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            files,
            commits,
            records,
            orphans,
            ..
        } = self;
        write!(
            f,
            "damaged: {files} files, {commits} commits, {records} records; {orphans} records without their owner"
        )
    }
}

/// A session with everything that belongs to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveredSession {
    /// The number of the session.
    pub number: u64,
    /// The client whose session it is.
    pub client_identifier: String,
    /// The authenticated user of the client.
    pub user: Option<String>,
    /// Session Expiry Interval in seconds; 0xFFFFFFFF never.
    pub expiry_s: u32,
    /// Since when the client is disconnected, wall clock; `None` if it was connected.
    pub away_since_ms: Option<u64>,
    /// The Will that is still to be published.
    pub will: Option<RecoveredWill>,
    /// The subscriptions of the session, in any order.
    pub subscriptions: Vec<RecoveredSubscription>,
    /// Messages that wait or are in flight.
    pub references: Vec<RecoveredReference>,
    /// Messages that wait after those, as the ranges of the order that contain them.
    pub rest: Vec<WaitingRange>,
    /// Packet Identifiers of QoS 2 messages that arrived and wait for PUBREL.
    pub received: Vec<u16>,
    /// The highest order number that was seen, plus one.
    pub next_order: u64,
}

/// A Will that outlives its connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveredWill {
    /// Will Delay Interval in seconds.
    pub delay_s: u32,
    /// Message Expiry Interval in seconds.
    pub expiry_s: Option<u32>,
    /// The message, as the broker encoded it.
    pub message: Vec<u8>,
}

/// A subscription of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveredSubscription {
    /// The whole text of the Topic Filter.
    pub filter: String,
    /// The options byte of MQTT 5.0.
    pub options: u8,
    /// The Subscription Identifier; 0 if there is none.
    pub identifier: u32,
}

/// Messages that wait for a session and were not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WaitingRange {
    /// The place of the first one in the session's order.
    pub from: u64,
    /// The place of the last one.
    pub to: u64,
    /// Number of messages in the range.
    pub messages: u64,
    /// Approximate number of bytes in the log.
    pub bytes: u64,
    /// Whether one of them came by a Shared Subscription.
    pub has_shared: bool,
}

/// The fact that a message waits for a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveredReference {
    /// The place in the session's order.
    pub order: u64,
    /// The number of the publication.
    pub publication: u64,
    /// QoS of the delivery.
    pub qos: u8,
    /// RETAIN flag of the delivery.
    pub retain: bool,
    /// The shared subscription, if any, as the broker encoded it.
    pub via: Vec<u8>,
    /// The Packet Identifier, if the message was sent.
    pub packet_identifier: Option<u16>,
    /// PUBREC has arrived: only PUBREL is to be sent, and the publication may no longer exist.
    pub released: bool,
}

/// A publication that is still needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveredPublication {
    /// The number of the publication.
    pub id: u64,
    /// Empty, or the shared subscription of which one member receives it.
    pub share: String,
    /// Shards that have not marked it: it must be routed there again.
    pub unmarked: Vec<u16>,
    /// The message, as the broker encoded it.
    pub message: Vec<u8>,
}

/// The valid retained message of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveredRetained {
    /// The number from the counter that all shards use.
    pub ticket: u64,
    /// The whole text of the topic.
    pub topic: String,
    /// The message, as the broker encoded it.
    pub message: Vec<u8>,
}
