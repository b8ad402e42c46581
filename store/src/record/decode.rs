//! Decodes records.
//!
//! Invariants: any bytes are decoded or refused. Nothing panics, and no more memory is allocated than there are bytes.

use super::{Kind, Record, Reference, ReferenceList, Session, ShardList, Will};
use crate::bytes::Reader;

/// The record of a type with this body; `None` if the type is unknown or the body is not valid for it.
pub(crate) fn decode(kind: u8, body: &[u8]) -> Option<Record<'_>> {
    let mut reader = Reader::new(body);
    let record = read(Kind::from_number(kind)?, &mut reader)?;
    reader.is_empty().then_some(record)
}

fn read<'a>(kind: Kind, from: &mut Reader<'a>) -> Option<Record<'a>> {
    Some(match kind {
        Kind::Epoch => Record::Epoch {
            number: from.number()?,
            shards: from.small()?,
            started_ms: from.number()?,
        },
        Kind::Session => Record::Session(session(from)?),
        Kind::SessionEnded => Record::SessionEnded {
            number: from.identifier()?,
        },
        Kind::Subscribed => Record::Subscribed {
            session: from.identifier()?,
            options: from.byte()?,
            identifier: from.small()?,
            filter: std::str::from_utf8(from.rest()).ok()?,
        },
        Kind::Unsubscribed => Record::Unsubscribed {
            session: from.identifier()?,
            filter: std::str::from_utf8(from.rest()).ok()?,
        },
        Kind::Publication => Record::Publication {
            id: from.identifier()?,
            shards: shards(from)?,
            share: from.text()?,
            message: from.rest(),
        },
        Kind::References => Record::References {
            publication: from.identifier()?,
            shard: from.small()?,
            mark: from.byte()? != 0,
            references: all_references(from)?,
        },
        Kind::InFlight => Record::InFlight {
            session: from.identifier()?,
            order: from.number()?,
            packet_identifier: from.small()?,
            released: from.byte()? != 0,
        },
        Kind::Released => Record::Released {
            session: from.identifier()?,
            order: from.number()?,
        },
        Kind::Done => Record::Done {
            session: from.identifier()?,
            order: from.number()?,
        },
        Kind::Received => Record::Received {
            session: from.identifier()?,
            packet_identifier: from.small()?,
        },
        Kind::ReceivedReleased => Record::ReceivedReleased {
            session: from.identifier()?,
            packet_identifier: from.small()?,
        },
        Kind::Retained => Record::Retained {
            ticket: from.number()?,
            topic: from.text()?,
            message: from.rest(),
        },
    })
}

fn session<'a>(from: &mut Reader<'a>) -> Option<Session<'a>> {
    Some(Session {
        number: from.identifier()?,
        client_identifier: from.text()?,
        expiry_s: from.small()?,
        user: option(from, Reader::text)?,
        away_since_ms: option(from, Reader::number)?,
        will: option(from, will)?,
    })
}

fn will<'a>(from: &mut Reader<'a>) -> Option<Will<'a>> {
    Some(Will {
        delay_s: from.small()?,
        expiry_s: option(from, Reader::small)?,
        message: from.bytes()?,
    })
}

/// The outer option is `None` if the bytes are wrong.
#[expect(clippy::option_option, reason = "the value is absent, or the bytes are wrong")]
fn option<'a, T>(
    from: &mut Reader<'a>,
    read: impl FnOnce(&mut Reader<'a>) -> Option<T>,
) -> Option<Option<T>> {
    match from.byte()? {
        0 => Some(None),
        _ => read(from).map(Some),
    }
}

fn shards<'a>(from: &mut Reader<'a>) -> Option<ShardList<'a>> {
    let count: usize = from.small()?;
    Some(ShardList::Encoded(from.take(count.checked_mul(2)?)?))
}

fn all_references<'a>(from: &mut Reader<'a>) -> Option<ReferenceList<'a>> {
    let encoded = from.rest();
    let mut reader = Reader::new(encoded);
    while !reader.is_empty() {
        reference(&mut reader)?;
    }
    Some(ReferenceList::Encoded(encoded))
}

/// The references in the body of [`Record::References`], up to one that cannot be read.
pub(super) fn references(encoded: &[u8]) -> impl Iterator<Item = Reference<'_>> {
    let mut reader = Reader::new(encoded);
    std::iter::from_fn(move || reference(&mut reader))
}

fn reference<'a>(from: &mut Reader<'a>) -> Option<Reference<'a>> {
    let flags = from.byte()?;
    Some(Reference {
        session: from.identifier()?,
        order: from.number()?,
        qos: flags & 3,
        retain: flags & 4 != 0,
        via: if flags & 8 == 0 { &[] } else { from.bytes()? },
    })
}

impl Kind {
    fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Epoch,
            2 => Self::Session,
            3 => Self::SessionEnded,
            4 => Self::Subscribed,
            5 => Self::Unsubscribed,
            6 => Self::Publication,
            8 => Self::References,
            9 => Self::InFlight,
            10 => Self::Released,
            11 => Self::Done,
            12 => Self::Received,
            13 => Self::ReceivedReleased,
            14 => Self::Retained,
            _ => return None,
        })
    }
}
