//! Messages that were acknowledged to their publishers before every shard had taken them: they go to the sessions of
//! the shards whose marks are missing.
//!
//! Invariants: a message goes once to a session, with the highest QoS and the identifiers of all its matching
//! subscriptions; if it is for a group, it goes to one member. Each missing mark is made, even if nobody gets the
//! message.

use std::collections::{HashMap, HashSet};

use mqtt::QoS;
use mqtt::packet::SubscriptionOptions;
use store::{Record, RecoveredReference, Reference, ReferenceList};

use crate::logic::StoredMessage;
use crate::logic::owner_shard;
use crate::logic::recover::{RecoveredState, RecoveredVia};

/// A publication that shards had not taken.
#[derive(Debug)]
pub(super) struct UnroutedPublication {
    pub(super) publication: u64,
    /// The whole text of a Shared Subscription if it is for one member of that group, otherwise empty.
    pub(super) share: String,
    /// The shards that had not taken it.
    pub(super) shards: Vec<u16>,
    /// How many shards there were.
    pub(super) shards_before: u16,
}

/// A subscription: the session that has it, and which of its subscriptions it is.
type Subscribed = (usize, usize);

/// The subscriptions of all sessions, by their filters.
struct Filters {
    /// Filters without wildcards, and shared ones by their whole text.
    exact: HashMap<String, Vec<Subscribed>>,
    wildcards: HashMap<String, Vec<Subscribed>>,
}

/// Routes each of them, and appends the result.
pub(super) fn route(
    state: &mut RecoveredState,
    unrouted: &[UnroutedPublication],
    upgrades_qos: bool,
    mut append: impl FnMut(&Record<'_>),
) {
    let filters = Filters::new(state);
    for publication in unrouted {
        let Some(message) = state.messages.get(&publication.publication).cloned() else {
            continue;
        };
        let targets = filters.targets(state, publication, &message);
        for &shard in &publication.shards {
            let mut taken = Vec::new();
            for (at, subscriptions) in &targets {
                let owner = state
                    .sessions
                    .get(*at)
                    .map(|session| owner_shard(&session.client_identifier, publication.shards_before));
                if (owner == Some(shard) || !publication.share.is_empty())
                    && let Some((session, got)) =
                        give(state, *at, subscriptions, publication, &message, upgrades_qos)
                {
                    taken.push((session, got));
                }
            }
            let references: Vec<_> = taken
                .iter()
                .map(|(session, got)| reference(*session, got))
                .collect();
            append(&Record::References {
                publication: publication.publication,
                shard,
                references: ReferenceList::Slice(&references),
                mark: true,
            });
        }
    }
}

impl Filters {
    fn new(state: &RecoveredState) -> Self {
        let mut filters = Self {
            exact: HashMap::new(),
            wildcards: HashMap::new(),
        };
        let mut clients = HashSet::new();
        for (at, session) in state.sessions.iter().enumerate() {
            if !clients.insert(&session.client_identifier) {
                // Of two sessions of one client, the newer one comes first, and the other one is about to end.
                continue;
            }
            for (number, subscription) in session.subscriptions.iter().enumerate() {
                let is_shared = !matches!(mqtt::topic::shared(&subscription.filter), Ok(None));
                let table = if is_shared || !subscription.filter.contains(['+', '#']) {
                    &mut filters.exact
                } else {
                    &mut filters.wildcards
                };
                let subscribed = table.entry(subscription.filter.clone()).or_default();
                subscribed.push((at, number));
            }
        }
        filters
    }

    /// The sessions that get a message, each with its matching subscriptions.
    fn targets(
        &self,
        state: &RecoveredState,
        publication: &UnroutedPublication,
        message: &StoredMessage,
    ) -> Vec<(usize, Vec<usize>)> {
        let mut matching: Vec<Subscribed> = Vec::new();
        if publication.share.is_empty() {
            matching.extend(self.exact.get(message.topic()).into_iter().flatten());
            let wildcards = self.wildcards.iter();
            for (_, subscribed) in
                wildcards.filter(|(filter, _)| mqtt::topic::matches(filter, message.topic()))
            {
                matching.extend(subscribed);
            }
        } else if let Some(members) = self.exact.get(&publication.share) {
            // The members take turns, by the numbers of the messages.
            let turn = publication.publication.checked_rem(members.len() as u64);
            let turn = turn.and_then(|turn| usize::try_from(turn).ok());
            matching.extend(turn.and_then(|turn| members.get(turn)));
        }
        matching.sort_unstable();
        let mut targets: Vec<(usize, Vec<usize>)> = Vec::new();
        for (at, number) in matching.into_iter().filter(|(at, _)| *at < state.sessions.len()) {
            match targets.last_mut() {
                Some((last, numbers)) if *last == at => numbers.push(number),
                _ => targets.push((at, vec![number])),
            }
        }
        targets
    }
}

/// Appends a message to the queue of a session; returns the number of the session and the entry, if it gets the
/// message.
fn give(
    state: &mut RecoveredState,
    at: usize,
    subscriptions: &[usize],
    publication: &UnroutedPublication,
    message: &StoredMessage,
    upgrades_qos: bool,
) -> Option<(u64, RecoveredReference)> {
    let session = state.sessions.get_mut(at)?;
    let mut granted = None;
    let (mut retain, mut is_foreign) = (false, false);
    let mut via = RecoveredVia::default();
    for subscription in subscriptions
        .iter()
        .filter_map(|&number| session.subscriptions.get(number))
    {
        let options = SubscriptionOptions::from_byte(subscription.options)?;
        granted = granted.max(Some(options.qos));
        retain |= options.retain_as_published && message.retain();
        is_foreign |= !options.no_local;
        via.add(subscription.identifier);
    }
    let granted = granted?;
    let qos = if upgrades_qos {
        granted
    } else {
        granted.min(message.qos())
    };
    let is_own = message.is_from(&session.client_identifier);
    if qos == QoS::AtMostOnce || (is_own && !is_foreign) {
        return None;
    }
    let order = session.next_order.max(1);
    session.next_order = order + 1;
    let got = RecoveredReference {
        order,
        publication: publication.publication,
        qos: qos as u8,
        retain,
        via: via.encode(&publication.share),
        packet_identifier: None,
        released: false,
    };
    session.references.push(got.clone());
    Some((session.number, got))
}

fn reference(session: u64, got: &RecoveredReference) -> Reference<'_> {
    Reference {
        session,
        order: got.order,
        qos: got.qos,
        retain: got.retain,
        via: &got.via,
    }
}
