//! Encodes records.
//!
//! Invariants: [`super::decode()`] reads back what [`encode`] writes.

use super::{Record, Reference, ReferenceList, Session, ShardList};
use crate::bytes::{put_bytes, put_identifier, put_number};

/// Appends the body of a record; returns its type.
pub(crate) fn encode(record: &Record<'_>, out: &mut Vec<u8>) -> u8 {
    match *record {
        Record::Epoch {
            number,
            shards,
            started_ms,
        } => {
            put_number(out, number);
            put_number(out, shards.into());
            put_number(out, started_ms);
        }
        Record::Session(ref session) => {
            put_session(out, session);
        }
        Record::SessionEnded { number } => {
            put_identifier(out, number);
        }
        Record::Subscribed {
            session,
            filter,
            options,
            identifier,
        } => {
            put_identifier(out, session);
            out.push(options);
            put_number(out, identifier.into());
            out.extend_from_slice(filter.as_bytes());
        }
        Record::Unsubscribed { session, filter } => {
            put_identifier(out, session);
            out.extend_from_slice(filter.as_bytes());
        }
        Record::Publication { .. }
        | Record::References { .. }
        | Record::InFlight { .. }
        | Record::Released { .. }
        | Record::Done { .. }
        | Record::Received { .. }
        | Record::ReceivedReleased { .. }
        | Record::Retained { .. } => encode_message(record, out),
    }
    record.kind() as u8
}

/// The same for records about messages.
fn encode_message(record: &Record<'_>, out: &mut Vec<u8>) {
    match *record {
        Record::Publication {
            id,
            shards,
            share,
            message,
        } => {
            put_identifier(out, id);
            put_shards(out, shards);
            put_bytes(out, share.as_bytes());
            out.extend_from_slice(message);
        }
        Record::References {
            publication,
            shard,
            references,
            mark,
        } => {
            put_identifier(out, publication);
            put_number(out, shard.into());
            out.push(mark.into());
            put_references(out, references);
        }
        Record::InFlight {
            session,
            order,
            packet_identifier,
            released,
        } => {
            put_reference_name(out, session, order);
            put_number(out, packet_identifier.into());
            out.push(released.into());
        }
        Record::Released { session, order } => {
            put_reference_name(out, session, order);
        }
        Record::Done { session, order } => {
            put_reference_name(out, session, order);
        }
        Record::Received {
            session,
            packet_identifier,
        } => {
            put_received(out, session, packet_identifier);
        }
        Record::ReceivedReleased {
            session,
            packet_identifier,
        } => {
            put_received(out, session, packet_identifier);
        }
        Record::Retained {
            ticket,
            topic,
            message,
        } => {
            put_number(out, ticket);
            put_bytes(out, topic.as_bytes());
            out.extend_from_slice(message);
        }
        Record::Epoch { .. }
        | Record::Session(_)
        | Record::SessionEnded { .. }
        | Record::Subscribed { .. }
        | Record::Unsubscribed { .. } => {}
    }
}

fn put_session(out: &mut Vec<u8>, session: &Session<'_>) {
    put_identifier(out, session.number);
    put_bytes(out, session.client_identifier.as_bytes());
    put_number(out, session.expiry_s.into());
    put_option(out, session.user.map(str::as_bytes), put_bytes);
    put_option(out, session.away_since_ms, put_number);
    put_option(out, session.will, |out, will| {
        put_number(out, will.delay_s.into());
        put_option(out, will.expiry_s, |out, expiry_s| {
            put_number(out, expiry_s.into())
        });
        put_bytes(out, will.message);
    });
}

fn put_option<T>(out: &mut Vec<u8>, value: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
    out.push(value.is_some().into());
    if let Some(value) = value {
        put(out, value);
    }
}

fn put_shards(out: &mut Vec<u8>, shards: ShardList<'_>) {
    put_number(out, shards.iter().count() as u64);
    for shard in shards.iter() {
        out.extend_from_slice(&shard.to_le_bytes());
    }
}

fn put_references(out: &mut Vec<u8>, references: ReferenceList<'_>) {
    for reference in references.iter() {
        put_reference(out, &reference);
    }
}

/// Appends one reference as it is in the body of [`Record::References`].
pub(super) fn put_reference(out: &mut Vec<u8>, reference: &Reference<'_>) {
    let has_via = !reference.via.is_empty();
    out.push(reference.qos & 3 | u8::from(reference.retain) << 2 | u8::from(has_via) << 3);
    put_reference_name(out, reference.session, reference.order);
    if has_via {
        put_bytes(out, reference.via);
    }
}

fn put_reference_name(out: &mut Vec<u8>, session: u64, order: u64) {
    put_identifier(out, session);
    put_number(out, order);
}

fn put_received(out: &mut Vec<u8>, session: u64, packet_identifier: u16) {
    put_identifier(out, session);
    put_number(out, packet_identifier.into());
}
