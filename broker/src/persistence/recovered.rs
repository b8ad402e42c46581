//! What the log brought back, as the shards take it.
//!
//! Invariants: a message that is no message is left out, and so is what waits for it.

use std::collections::HashMap;

use store::{Recovered, RecoveredPublication, RecoveredReference};

use super::reroute::Unrouted;
use crate::logic::recover::{
    RecoveredMessage, RecoveredSession, RecoveredState, RecoveredSubscription, RecoveredWill,
};
use crate::logic::store::WallClock;
use crate::logic::{FirstNumbers, StoredMessage};

/// The state, and the publications that a shard had not taken.
pub(super) fn state_of(
    recovered: Recovered,
    wall: WallClock,
    wall_ms: u64,
) -> (RecoveredState, Vec<Unrouted>) {
    let message = |bytes: &[u8]| StoredMessage::from_store(bytes, wall);
    let mut unrouted = Vec::new();
    let mut messages = HashMap::with_capacity(recovered.publications.len());
    for publication in recovered.publications {
        let RecoveredPublication {
            id,
            share,
            unmarked,
            message: bytes,
        } = publication;
        let Some(message) = message(&bytes) else { continue };
        if !unmarked.is_empty() {
            unrouted.push(Unrouted {
                publication: id,
                share,
                shards: unmarked,
                shards_before: recovered.shards,
            });
        }
        messages.insert(id, message);
    }
    let sessions = recovered.sessions.into_iter();
    let mut sessions: Vec<_> = sessions.map(|session| session_of(session, wall)).collect();
    // Of two of one client the older one was ending.
    sessions.sort_by_key(|session| std::cmp::Reverse(session.number << 16));
    let retained = recovered.retained.iter();
    let state = RecoveredState {
        sessions,
        messages,
        retained: retained
            .filter_map(|retained| message(&retained.message))
            .collect(),
        first: FirstNumbers {
            run: recovered.epoch,
            sessions: recovered.number_max,
            publications: recovered.publication_max,
        },
        wall_ms,
    };
    (state, unrouted)
}

fn session_of(session: store::RecoveredSession, wall: WallClock) -> RecoveredSession {
    RecoveredSession {
        number: session.number,
        client_identifier: session.client_identifier,
        user: session.user,
        expiry_s: session.expiry_s,
        away_since_ms: session.away_since_ms,
        will: session.will.and_then(|will| {
            Some(RecoveredWill {
                delay_s: will.delay_s,
                expiry_s: will.expiry_s,
                message: StoredMessage::from_store(&will.message, wall)?,
            })
        }),
        subscriptions: session.subscriptions.into_iter().map(subscription_of).collect(),
        messages: session.references.into_iter().map(message_of).collect(),
        received: session.received,
        orders: session.next_order.saturating_sub(1),
    }
}

fn subscription_of(subscription: store::RecoveredSubscription) -> RecoveredSubscription {
    RecoveredSubscription {
        filter: subscription.filter,
        options: subscription.options,
        identifier: subscription.identifier,
    }
}

fn message_of(reference: RecoveredReference) -> RecoveredMessage {
    RecoveredMessage {
        order: reference.order,
        publication: reference.publication,
        qos: reference.qos,
        retain: reference.retain,
        via: reference.via,
        packet_identifier: reference.packet_identifier,
        released: reference.released,
    }
}
