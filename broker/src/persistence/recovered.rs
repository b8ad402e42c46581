//! The recovered state of the log, in the form for the shards.
//!
//! Invariants: an invalid message is skipped, and so is what waits for it. Messages that are routed anew are in the
//! order in which they were published, regardless of their place in the log.

use std::collections::HashMap;

use store::{Recovered, RecoveredPublication};

use super::reroute::UnroutedPublication;
use crate::logic::recover::RecoveredState;
use crate::logic::store::{WallClock, count_of};
use crate::logic::{FirstNumbers, StoredMessage};

/// The state, and the publications that a shard had not taken.
pub(super) fn state_of(
    recovered: Recovered,
    wall: WallClock,
    wall_ms: u64,
) -> (RecoveredState, Vec<UnroutedPublication>) {
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
            unrouted.push(UnroutedPublication {
                publication: id,
                share,
                shards: unmarked,
                shards_before: recovered.shards,
            });
        }
        messages.insert(id, message);
    }
    unrouted.sort_by_key(|unrouted| count_of(unrouted.publication));
    let mut sessions = recovered.sessions;
    // Of two sessions of one client, the older one was ending.
    sessions.sort_by_key(|session| std::cmp::Reverse(count_of(session.number)));
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
