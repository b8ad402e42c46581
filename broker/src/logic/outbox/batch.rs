//! What goes from one shard to another: one batch a tick and destination, so that a message costs no queue operation.
//!
//! Layout of a record in `publishes`: kind (1 byte), packets (4), bytes of the largest packet (4), payload bytes (8), bytes of
//! all (4), then
//! whole PUBLISH packets. A `Retain` record has no packets: the number of packets is the index of its
//! [`Control::Retain`]; it stands in the log too so that it keeps its place among the other publishes. A `Shared` record has
//! the text of its group in front of its one packet: the number of packets is the bytes of that text, and above them (from
//! bit 16 on) how many shards it came through.
//! Invariant: only [`Outbox`] writes records; [`Batch::records`] ends at the first that makes no sense.

use std::collections::VecDeque;
use std::sync::Arc;

use mqtt::ProtocolVersion;

use crate::auth::acl::Access;
use crate::limits;
use crate::logic::message::StoredMessage;
use crate::logic::retained::Stamp;
use crate::logic::routing::subscription::group::MemberCounts;

/// What one shard tells another, in order.
#[derive(Debug, Default)]
pub struct Batch {
    /// Changes of what the shards know of one another.
    pub control: Vec<Control>,
    /// A flat log of encoded publish records.
    pub publishes: Vec<u8>,
}

/// A change of what the shards know of one another.
#[derive(Debug)]
pub enum Control {
    /// The sender has a subscription to this filter.
    InterestAdd(Box<str>),
    /// It has none any more.
    InterestRemove(Box<str>),
    /// The sender has so many members of a group.
    Members {
        /// The whole text of the Shared Subscription.
        group: Arc<str>,
        /// How many.
        counts: MemberCounts,
    },
    /// A client of the sender is behind: publishers to the sender are to be held back, or no more.
    Hold(bool),
    /// A retained message was set, or deleted by one without payload. It is also a publish, see its record.
    Retain {
        /// The message with the QoS it was published at.
        message: StoredMessage,
        /// Orders it among the changes of its topic.
        stamp: Stamp,
        /// What its publisher may do.
        source: Access,
    },
}

/// Which packets a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::logic) enum Kind {
    /// QoS 0 PUBLISH packets of one topic, to be passed on as they are: of MQTT 3.x, or of 5.0.
    Run(ProtocolVersion),
    /// One PUBLISH packet.
    Message(ProtocolVersion),
    /// A retained message: the [`Control::Retain`] of that index.
    Retain,
    /// A group and one PUBLISH packet, which is for one of its members.
    Shared(ProtocolVersion),
}

#[derive(Clone, Copy, Debug)]
pub(in crate::logic) struct Record<'a> {
    pub(in crate::logic) kind: Kind,
    /// Packets; for [`Kind::Retain`] the index, for [`Kind::Shared`] see the layout above.
    pub(in crate::logic) count: u32,
    pub(in crate::logic) packet_bytes_max: u32,
    /// Sum over the packets.
    pub(in crate::logic) payload_bytes: u64,
    pub(in crate::logic) packets: &'a [u8],
}

const HEADER_BYTES: usize = 21;
const HOPS_SHIFT: u32 = 16;

impl<'a> Record<'a> {
    /// Of a [`Kind::Shared`]: the shards that it came through, the group and the packet.
    pub(in crate::logic) fn shared(&self) -> Option<(u32, &'a str, &'a [u8])> {
        let name_bytes = (self.count & 0xFFFF) as usize;
        let (name, packet) = self.packets.split_at_checked(name_bytes)?;
        Some((self.count >> HOPS_SHIFT, std::str::from_utf8(name).ok()?, packet))
    }
}

impl Batch {
    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.control.is_empty() && self.publishes.is_empty()
    }

    /// Empties it for use again.
    pub fn clear(&mut self) {
        self.control.clear();
        self.publishes.clear();
    }

    /// The records of the log, in order.
    pub(in crate::logic) fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let mut rest = self.publishes.as_slice();
        std::iter::from_fn(move || {
            let (
                &[
                    kind,
                    c0,
                    c1,
                    c2,
                    c3,
                    m0,
                    m1,
                    m2,
                    m3,
                    p0,
                    p1,
                    p2,
                    p3,
                    p4,
                    p5,
                    p6,
                    p7,
                    b0,
                    b1,
                    b2,
                    b3,
                ],
                behind,
            ) = rest.split_first_chunk::<HEADER_BYTES>()?;
            let bytes = u32::from_le_bytes([b0, b1, b2, b3]) as usize;
            let (packets, behind) = behind.split_at_checked(bytes)?;
            rest = behind;
            Some(Record {
                kind: Kind::from_byte(kind)?,
                count: u32::from_le_bytes([c0, c1, c2, c3]),
                packet_bytes_max: u32::from_le_bytes([m0, m1, m2, m3]),
                payload_bytes: u64::from_le_bytes([p0, p1, p2, p3, p4, p5, p6, p7]),
                packets,
            })
        })
    }

    fn is_full(&self) -> bool {
        self.publishes.len() >= limits::BATCH_BYTES_MAX || self.control.len() >= limits::BATCH_CONTROL_MAX
    }
}

impl Kind {
    fn to_byte(self) -> u8 {
        match self {
            Self::Retain => 0,
            Self::Run(ProtocolVersion::V5) => 1,
            Self::Run(_) => 2,
            Self::Message(ProtocolVersion::V5) => 3,
            Self::Message(_) => 4,
            Self::Shared(ProtocolVersion::V5) => 5,
            Self::Shared(_) => 6,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Retain,
            1 => Self::Run(ProtocolVersion::V5),
            2 => Self::Run(ProtocolVersion::V3_1_1),
            3 => Self::Message(ProtocolVersion::V5),
            4 => Self::Message(ProtocolVersion::V3_1_1),
            5 => Self::Shared(ProtocolVersion::V5),
            6 => Self::Shared(ProtocolVersion::V3_1_1),
            _ => return None,
        })
    }
}

/// The batches that wait for one other shard.
#[derive(Debug, Default)]
pub(in crate::logic) struct Outbox {
    full: VecDeque<Batch>,
    current: Batch,
    /// The shard asked for its publishers to be held back.
    pub(in crate::logic) held: bool,
}

impl Outbox {
    /// Appends a control record.
    pub(in crate::logic) fn control(&mut self, control: Control, spare: &mut Vec<Batch>) {
        self.make_room(spare);
        self.current.control.push(control);
    }

    /// Appends a publish record.
    #[inline]
    pub(in crate::logic) fn publish(&mut self, record: Record<'_>, spare: &mut Vec<Batch>) {
        self.make_room(spare);
        self.log(record, &[]);
    }

    /// Appends a message for one member of a group.
    pub(in crate::logic) fn share(
        &mut self,
        version: ProtocolVersion,
        hops: u32,
        group: &str,
        packet: &[u8],
        spare: &mut Vec<Batch>,
    ) {
        self.make_room(spare);
        // A filter is a string of a packet: its length fits into 16 bits.
        let name_bytes = u32::try_from(group.len()).unwrap_or(0) & 0xFFFF;
        let record = Record {
            kind: Kind::Shared(version),
            count: hops << HOPS_SHIFT | name_bytes,
            packet_bytes_max: 0,
            payload_bytes: 0,
            packets: group.as_bytes(),
        };
        self.log(record, packet);
    }

    /// Appends a retained message, to both parts.
    pub(in crate::logic) fn retain(
        &mut self,
        message: StoredMessage,
        stamp: Stamp,
        source: Access,
        spare: &mut Vec<Batch>,
    ) {
        self.make_room(spare);
        let count = u32::try_from(self.current.control.len()).unwrap_or(u32::MAX);
        self.current.control.push(Control::Retain {
            message,
            stamp,
            source,
        });
        self.log(
            Record {
                kind: Kind::Retain,
                count,
                packet_bytes_max: 0,
                payload_bytes: 0,
                packets: &[],
            },
            &[],
        );
    }

    /// Batches that wait.
    pub(in crate::logic) fn len(&self) -> usize {
        self.full.len() + usize::from(!self.current.is_empty())
    }

    pub(in crate::logic) fn pop(&mut self, spare: &mut Vec<Batch>) -> Option<Batch> {
        if let Some(batch) = self.full.pop_front() {
            return Some(batch);
        }
        if self.current.is_empty() {
            return None;
        }
        Some(std::mem::replace(
            &mut self.current,
            spare.pop().unwrap_or_default(),
        ))
    }

    #[inline]
    fn log(&mut self, record: Record<'_>, behind: &[u8]) {
        let log = &mut self.current.publishes;
        log.push(record.kind.to_byte());
        log.extend_from_slice(&record.count.to_le_bytes());
        log.extend_from_slice(&record.packet_bytes_max.to_le_bytes());
        log.extend_from_slice(&record.payload_bytes.to_le_bytes());
        let bytes = record.packets.len() + behind.len();
        log.extend_from_slice(&u32::try_from(bytes).unwrap_or(0).to_le_bytes());
        log.extend_from_slice(record.packets);
        log.extend_from_slice(behind);
    }

    #[inline]
    fn make_room(&mut self, spare: &mut Vec<Batch>) {
        if self.current.is_full() {
            let next = spare.pop().unwrap_or_default();
            self.full.push_back(std::mem::replace(&mut self.current, next));
        }
    }
}
