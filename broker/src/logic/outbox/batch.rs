//! The data from one shard to another: one batch per turn and destination, so that a message costs no queue operation.
//!
//! Layout of a record in `publishes`: its kind (1 byte), the bytes of what follows (4), and then
//! - a run: packets (4), bytes of the largest packet (4), payload bytes of all (8), whole PUBLISH packets;
//! - a message: one whole PUBLISH packet; of a message that the store keeps its number (8) before that;
//! - a part of the exchange about retained messages: the index of its [`Control::Retain`] or [`Control::Retained`]
//!   (4). It is in the log too so that it keeps its place among the publishes;
//! - a message for a group: shards through which it was passed (4), its number in the store or 0 (8), bytes of the
//!   group's text (4), that text, one PUBLISH packet.
//!
//! Invariant: only [`Batch::push`] writes records; [`Batch::records`] ends at the first invalid one.

use std::sync::Arc;

use mqtt::ProtocolVersion;

use crate::auth::acl;
use crate::limits;
use crate::logic::message::{Run, StoredMessage};
use crate::logic::retained_note::RetainedNote;
use crate::logic::retained_quota::Ticket;
use crate::logic::routing::subscription::group::MemberCounts;
use crate::logic::store::PublicationId;
use crate::time::Timestamp;

/// The data that one shard sends to another, in order.
#[derive(Debug, Default)]
pub struct Batch {
    /// Changes of what shards know about each other.
    pub control: Vec<Control>,
    /// A flat log of encoded publish records.
    pub publishes: Vec<u8>,
    /// When the first message in it was received, by the shell's clock; for figures only.
    pub since: Timestamp,
    /// Retained messages in the control records that answer requests.
    found: usize,
    /// Approximate cost for the shard that takes it, in units of work.
    work: u64,
}

/// A change of what shards know about each other.
#[derive(Debug)]
pub enum Control {
    /// The sender has a subscription to this filter.
    InterestAdd(Box<str>),
    /// The sender has no subscription to this filter any more.
    InterestRemove(Box<str>),
    /// The sender has this many members of a group.
    Members {
        /// The whole text of the Shared Subscription.
        group: Arc<str>,
        /// The sender's members, by their standing.
        counts: MemberCounts,
    },
    /// A client of the sender is backlogged: publishers to the sender are to be paused, or resumed.
    Pause(bool),
    /// A message about finding retained messages; it is handled at its place among the records.
    Retained(RetainedNote),
    /// A retained message was set, or deleted by one without payload. It is also a publish, see its record.
    Retain {
        /// The message with the QoS at which it was published.
        message: StoredMessage,
        /// Orders it among the changes of its topic.
        ticket: Ticket,
        /// Its number, if the store keeps it for subscribers.
        publication: Option<PublicationId>,
        /// The rights of its publisher, for the owner of the topic.
        source: acl::Access,
    },
}

/// One entry of the log of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::logic) enum BatchRecord<'a> {
    /// QoS 0 PUBLISH packets of one topic, to be forwarded unchanged.
    Run(Run<'a>),
    /// One PUBLISH packet for all subscribers of its topic.
    Message {
        /// The protocol version in which the packet is encoded.
        version: ProtocolVersion,
        /// Its number, if the store keeps it.
        publication: Option<PublicationId>,
        packet: &'a [u8],
    },
    /// A change, request, answer or barrier of retained messages.
    Retained {
        /// The index of its [`Control::Retain`] or [`Control::Retained`].
        control: u32,
    },
    /// One PUBLISH packet for one member of a group.
    Shared {
        /// The protocol version in which the packet is encoded.
        version: ProtocolVersion,
        /// The number of shards that have passed the message on.
        hops: u32,
        /// Its number, if the store keeps it.
        publication: Option<PublicationId>,
        /// The whole text of the Shared Subscription.
        group: &'a str,
        packet: &'a [u8],
    },
}

const HEADER_BYTES: usize = 5;

impl Batch {
    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.control.is_empty() && self.publishes.is_empty()
    }

    /// Removes all records and keeps the memory for reuse.
    pub fn clear(&mut self) {
        self.control.clear();
        self.publishes.clear();
        self.found = 0;
        self.work = 0;
    }

    /// Approximate cost for the shard that takes it, in units of work.
    #[must_use]
    pub fn work(&self) -> u64 {
        self.work
    }

    /// Adds to the cost for the shard that takes it.
    #[inline]
    pub(super) fn add_work(&mut self, units: u64) {
        self.work += units;
    }

    /// Appends a change of what shards know about each other.
    pub(super) fn push_control(&mut self, control: Control) {
        self.work += control.work();
        self.control.push(control);
    }

    /// Appends a record to the log.
    #[inline]
    pub(super) fn push(&mut self, record: &BatchRecord<'_>) {
        self.work += record.work();
        match *record {
            BatchRecord::Run(run) => {
                let kind = 1 + form(run.version);
                let mut header = [0; 16];
                let (count, rest) = header.split_at_mut(4);
                let (largest, payload) = rest.split_at_mut(4);
                count.copy_from_slice(&run.count.to_le_bytes());
                largest.copy_from_slice(&run.packet_bytes_max.to_le_bytes());
                payload.copy_from_slice(&run.payload_bytes.to_le_bytes());
                self.log(kind, &[&header, run.packets]);
            }
            BatchRecord::Message {
                version,
                publication,
                packet,
            } => match publication {
                None => self.log(3 + form(version), &[packet]),
                Some(publication) => {
                    let publication = publication.to_u64().to_le_bytes();
                    self.log(7 + form(version), &[&publication, packet]);
                }
            },
            BatchRecord::Retained { control } => self.log(0, &[&control.to_le_bytes()]),
            BatchRecord::Shared {
                version,
                hops,
                publication,
                group,
                packet,
            } => {
                let hops = hops.to_le_bytes();
                let publication = publication.map_or(0, PublicationId::to_u64).to_le_bytes();
                let name_bytes = u32::try_from(group.len()).unwrap_or(0).to_le_bytes();
                let parts = [&hops[..], &publication, &name_bytes, group.as_bytes(), packet];
                self.log(5 + form(version), &parts);
            }
        }
    }

    /// The records of the log, in order.
    pub(in crate::logic) fn records(&self) -> impl Iterator<Item = BatchRecord<'_>> {
        let mut rest = self.publishes.as_slice();
        std::iter::from_fn(move || {
            let (&[kind, b0, b1, b2, b3], behind) = rest.split_first_chunk::<HEADER_BYTES>()?;
            let bytes = u32::from_le_bytes([b0, b1, b2, b3]) as usize;
            let (body, behind) = behind.split_at_checked(bytes)?;
            rest = behind;
            parse(kind, body)
        })
    }

    /// Appends a change of a retained message, or a part of finding some: a control record with a place in the log.
    pub(super) fn push_in_place(&mut self, control: Control) {
        if let Control::Retained(note) = &control {
            self.found += note.found();
        }
        let at = u32::try_from(self.control.len()).unwrap_or(u32::MAX);
        self.push_control(control);
        self.push(&BatchRecord::Retained { control: at });
    }

    #[inline]
    pub(super) fn is_full(&self, bytes_max: usize, work_max: u64) -> bool {
        self.publishes.len() >= bytes_max
            || self.work >= work_max
            || self.control.len() + self.found >= limits::BATCH_CONTROL_MAX
    }

    #[inline]
    fn log(&mut self, kind: u8, parts: &[&[u8]]) {
        let bytes = parts.iter().map(|part| part.len()).sum::<usize>();
        let log = &mut self.publishes;
        log.push(kind);
        log.extend_from_slice(&u32::try_from(bytes).unwrap_or(0).to_le_bytes());
        for part in parts {
            log.extend_from_slice(part);
        }
    }
}

impl BatchRecord<'_> {
    /// Approximate cost for a shard with one subscriber, in units of work.
    #[inline]
    fn work(&self) -> u64 {
        match self {
            Self::Run(run) => u64::from(run.count) + run.packets.len() as u64 / limits::COPIED_BYTES,
            Self::Message { packet, .. } | Self::Shared { packet, .. } => {
                1 + packet.len() as u64 / limits::COPIED_BYTES
            }
            Self::Retained { .. } => 1,
        }
    }
}

impl Control {
    /// Approximate cost for the shard that takes it, in units of work.
    pub(in crate::logic) fn work(&self) -> u64 {
        let text = match self {
            Self::InterestAdd(filter) | Self::InterestRemove(filter) => filter.len(),
            Self::Members { group, .. } => group.len(),
            Self::Pause(_) => 0,
            Self::Retained(note) => note.found() * FOUND_BYTES,
            Self::Retain { message, .. } => message.topic().len(),
        };
        CONTROL_WORK + (text / CONTROL_BYTES) as u64
    }
}

/// Units of work of a control record, and bytes of its text that cost one more unit.
const CONTROL_WORK: u64 = 10;
const CONTROL_BYTES: usize = 4;

/// The bytes as which a retained message of an answer is counted.
const FOUND_BYTES: usize = 8;

/// Packets of 3.1 and 3.1.1 are the same.
fn form(version: ProtocolVersion) -> u8 {
    u8::from(version != ProtocolVersion::V5)
}

fn parse(kind: u8, body: &[u8]) -> Option<BatchRecord<'_>> {
    let version = match kind {
        1 | 3 | 5 | 7 => ProtocolVersion::V5,
        _ => ProtocolVersion::V3_1_1,
    };
    Some(match kind {
        0 => BatchRecord::Retained {
            control: u32::from_le_bytes(body.try_into().ok()?),
        },
        1 | 2 => {
            let (&count, rest) = body.split_first_chunk()?;
            let (&packet_bytes_max, rest) = rest.split_first_chunk()?;
            let (&payload_bytes, packets) = rest.split_first_chunk()?;
            BatchRecord::Run(Run {
                packets,
                version,
                count: u32::from_le_bytes(count),
                packet_bytes_max: u32::from_le_bytes(packet_bytes_max),
                payload_bytes: u64::from_le_bytes(payload_bytes),
            })
        }
        3 | 4 => BatchRecord::Message {
            version,
            publication: None,
            packet: body,
        },
        7 | 8 => {
            let (&publication, packet) = body.split_first_chunk()?;
            BatchRecord::Message {
                version,
                publication: Some(PublicationId::new(u64::from_le_bytes(publication))),
                packet,
            }
        }
        5 | 6 => {
            let (&hops, rest) = body.split_first_chunk()?;
            let (&publication, rest) = rest.split_first_chunk()?;
            let (&name_bytes, rest) = rest.split_first_chunk()?;
            let publication = Some(u64::from_le_bytes(publication)).filter(|&number| number > 0);
            let (group, packet) = rest.split_at_checked(u32::from_le_bytes(name_bytes) as usize)?;
            BatchRecord::Shared {
                version,
                hops: u32::from_le_bytes(hops),
                publication: publication.map(PublicationId::new),
                group: std::str::from_utf8(group).ok()?,
                packet,
            }
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const V3: ProtocolVersion = ProtocolVersion::V3_1_1;
    const V5: ProtocolVersion = ProtocolVersion::V5;

    #[test]
    fn records_come_out_of_a_batch_as_they_went_in() {
        let packets: Vec<u8> = (0..200).collect();
        let run = |version, count: u32| {
            BatchRecord::Run(Run {
                packets: &packets[..count as usize],
                version,
                count,
                packet_bytes_max: count * 10,
                payload_bytes: u64::from(count) * 100,
            })
        };
        let long = "$share/g/".to_owned() + &"x".repeat(65_526);
        let number = |number| Some(PublicationId::new(number));
        let shared = |version, hops, group| BatchRecord::Shared {
            version,
            hops,
            publication: number(u64::from(hops)).filter(|_| hops > 0),
            group,
            packet: b"packet",
        };
        let message = |version, bytes: usize| BatchRecord::Message {
            version,
            publication: number(bytes as u64).filter(|_| bytes > 4),
            packet: &packets[..bytes],
        };
        let records = [
            run(V3, 1),
            run(V5, 2),
            message(V3, 3),
            message(V5, 4),
            message(V3, 5),
            message(V5, 200),
            BatchRecord::Retained { control: 7 },
            shared(V3, 0, "$share/g/t"),
            shared(V5, 8, &long),
        ];
        let mut batch = Batch::default();
        records.iter().for_each(|record| batch.push(record));
        assert_eq!(batch.records().collect::<Vec<_>>(), records);
        let ends = (0..batch.publishes.len()).step_by(7).chain(0..300);
        for cut in ends {
            let shorter = Batch {
                since: Timestamp::default(),
                control: Vec::new(),
                publishes: batch.publishes[..cut].to_vec(),
                found: 0,
                work: 0,
            };
            assert!(shorter.records().count() < records.len(), "a cut record is none");
            assert!(
                shorter
                    .records()
                    .zip(records)
                    .all(|(read, written)| read == written)
            );
        }
    }
}
