//! Restores the state of the shards from what a store recovered, before the first client connects.
//!
//! Invariants: each shard takes the sessions and retained messages that it owns, and the interest of the other shards'
//! sessions, so no message is published before all shards know where it has to go. A session that was connected when
//! the process ended is treated as disconnected at recovery. Invalid entries are skipped and counted; they never
//! prevent the start.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use mqtt::packet::SubscriptionOptions;
use mqtt::property::Property;
use mqtt::{PacketIdentifier, QoS};
use store::{RecoveredReference, RecoveredSession, RecoveredSubscription, WaitingRange};

use crate::auth::acl::Access;
use crate::logic::clients::Clients;
use crate::logic::delivery::Delivery;
use crate::logic::delivery::journal::FirstNumbers;

use crate::logic::inconsistency::unreachable_state;
use crate::logic::message::StoredMessage;
use crate::logic::outbox::Outboxes;
use crate::logic::owner_shard::owner_shard;
use crate::logic::routing::Routing;
use crate::logic::routing::subscription::group::MemberCounts;
use crate::logic::routing::subscription::{SessionPosition, Subscriber};
use crate::logic::session::ends::SessionEnd;
use crate::logic::session::inflight::{Awaits, InflightEntry};
use crate::logic::session::queue::{Bounds, Queued};
use crate::logic::session::will::Will;
use crate::logic::session::{NEVER_EXPIRES, Session, SessionSlot};
use crate::logic::timer::Timer;
use crate::logic::via::Via;
use crate::logic::{Shard, Timestamp};
use crate::settings::UNLIMITED;

/// The state of all shards as in the store, with the messages in the form of the logic.
#[derive(Clone, Debug, Default)]
pub struct RecoveredState {
    /// Sessions, in any order.
    pub sessions: Vec<RecoveredSession>,
    /// Their messages, by the numbers of the publications.
    pub messages: HashMap<u64, StoredMessage>,
    /// Retained messages, one for each topic.
    pub retained: Vec<StoredMessage>,
    /// The first numbers of this run.
    pub first: FirstNumbers,
    /// The wall clock now, in milliseconds.
    pub wall_ms: u64,
}

/// The subscriptions by which a message that is routed anew was matched.
#[derive(Debug, Default)]
pub struct RecoveredVia(Via);

impl RecoveredVia {
    /// Adds the identifier of one of the subscriptions, if it is not 0.
    pub fn add(&mut self, identifier: u32) {
        if identifier > 0 {
            // Five bytes each, and at most as many as the session has subscriptions.
            let _ = self
                .0
                .identifiers
                .push(Property::SubscriptionIdentifier(identifier));
        }
    }

    /// Decodes the form of the store.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Self {
        let via = Via::decode(bytes).and_then(Rc::into_inner);
        Self(via.unwrap_or_default())
    }

    /// The Subscription Identifiers of the matching subscriptions.
    pub fn identifiers(&self) -> impl Iterator<Item = u32> {
        let properties = self.0.identifiers.as_properties().iter();
        properties.filter_map(|property| match property {
            Property::SubscriptionIdentifier(identifier) => Some(identifier),
            _ => None,
        })
    }

    /// The whole text of the Shared Subscription, if it was matched by one.
    #[must_use]
    pub fn share(&self) -> Option<&str> {
        self.0.group.as_deref()
    }

    /// Encodes the form of the store, with the whole text of a Shared Subscription, or none.
    #[must_use]
    pub fn encode(mut self, share: &str) -> Vec<u8> {
        let mut encoded = Vec::new();
        self.0.group = Some(share).filter(|share| !share.is_empty()).map(Into::into);
        if self.0.group.is_some() || !self.0.identifiers.is_empty() {
            self.0.encode(&mut encoded);
        }
        encoded
    }
}

/// Whether a message came by a Shared Subscription: by what it came, as a store had it.
#[must_use]
pub fn is_shared(via: &[u8]) -> bool {
    !via.is_empty() && RecoveredVia::decode(via).share().is_some()
}

impl Shard {
    /// Takes this shard's part of the stored state; returns the number of invalid entries. The store must be open
    /// already, because sessions may end here.
    pub fn recover(&mut self, now: Timestamp, state: &RecoveredState) -> u64 {
        self.begin(now);
        let shards = self.delivery.all_counters().len();
        let shards = u16::try_from(shards).unwrap_or(1).max(1);
        let (mut senseless, mut expired) = (0, Vec::new());
        // A shard announces a filter once, regardless of the number of its sessions with it.
        let mut interests: HashSet<(u16, &str)> = HashSet::new();
        // Groups get their slots in a reproducible order.
        let mut remote_members: BTreeMap<(u16, &str), u32> = BTreeMap::new();
        // Of two of one client the older one, which was about to end, is the last one there.
        for session in state.sessions.iter().rev() {
            let owner = owner_shard(&session.client_identifier, shards);
            if owner == self.index {
                if let Some(older) = self.end_older_session(session) {
                    expired.retain(|slot| *slot != older);
                }
                let restored = self.restore_session(session, state, &mut senseless);
                if let Some((slot, true)) = restored {
                    expired.push(slot);
                }
                continue;
            }
            for RecoveredSubscription { filter, .. } in &session.subscriptions {
                match mqtt::topic::shared(filter) {
                    Ok(None) if interests.insert((owner, filter)) => {
                        self.routing.add_interest(owner, filter);
                    }
                    Ok(None) => {}
                    Ok(Some(_)) => *remote_members.entry((owner, filter)).or_default() += 1,
                    Err(_) => {}
                }
            }
        }
        for ((owner, group), all) in remote_members {
            let counts = MemberCounts {
                all,
                ..MemberCounts::NONE
            };
            self.routing.set_members(owner, group, counts);
        }
        let counters = self.delivery.counters();
        self.retained.restore(&state.retained, counters, &mut self.timers);
        // The other shards take the same state, and need not be notified of it.
        self.outboxes.drop_all();
        for session in expired {
            self.expire_session(session);
        }
        senseless
    }

    /// Ends an older session of the same client: a CONNECT with Clean Start had ended it, and its messages of groups
    /// were not with others yet.
    fn end_older_session(&mut self, recovered: &RecoveredSession) -> Option<SessionSlot> {
        let clients = &mut self.delivery.clients;
        let older = clients.sessions().find(&recovered.client_identifier)?;
        clients.cancel_session_timers(&mut self.timers, older);
        let (delivery, routing) = (&mut self.delivery, &mut self.routing);
        self.endings
            .begin(older, SessionEnd::CleanStart, delivery, routing);
        Some(older)
    }

    /// Makes a session, of which there is none; whether it has expired while the process was not there, or was to end
    /// with its connection.
    fn restore_session(
        &mut self,
        recovered: &RecoveredSession,
        state: &RecoveredState,
        senseless: &mut u64,
    ) -> Option<(SessionSlot, bool)> {
        let client_identifier = &*recovered.client_identifier;
        let user = recovered.user.as_deref().map(Into::into);
        let slot = self.delivery.begin_session(client_identifier, user);
        for subscription in &recovered.subscriptions {
            *senseless += u64::from(!self.routing.restore_subscription(
                &mut self.delivery,
                &mut self.outboxes,
                slot,
                subscription,
            ));
        }
        let away_ms = recovered
            .away_since_ms
            .map_or(0, |since| state.wall_ms.saturating_sub(since));
        let away_s = u32::try_from(away_ms / 1000).unwrap_or(u32::MAX);
        // The seconds are subtracted from the rest, because the monotonic clock may have begun after the client
        // disconnected.
        let away_since = Timestamp(self.now.0.saturating_sub(away_ms % 1000 * NS_PER_MS));
        let wall = self.delivery.journal.wall;
        let session = self.delivery.clients.session_mut(slot)?;
        session.set_number(recovered.number);
        session.set_order(recovered.next_order.saturating_sub(1));
        session.set_since(away_since);
        let never = recovered.expiry_s == NEVER_EXPIRES;
        let left_s = recovered.expiry_s.saturating_sub(away_s);
        session.set_expiry(if never { NEVER_EXPIRES } else { left_s.max(1) });
        for &packet_identifier in &recovered.received {
            session.begin_release(packet_identifier);
        }
        let will = recovered.will.as_ref().and_then(|will| {
            Some(Will {
                message: StoredMessage::from_store(&will.message, wall)?,
                delay_s: will.delay_s.saturating_sub(away_s),
                expiry_s: will.expiry_s,
                access: Access::default(),
            })
        });
        let will_due = will
            .as_ref()
            .map(|will| away_since.plus_s(u64::from(will.delay_s)));
        session.set_will(will.map(Box::new));
        let expires_at = session.expires_at();
        if recovered.away_since_ms.is_none() {
            // From now on, across further starts too.
            self.delivery.note_session(slot);
        }
        let clients = &mut self.delivery.clients;
        let (messages, bytes) = clients.restore_messages(slot, recovered, state, senseless);
        let counters = self.delivery.counters();
        counters.queued_messages.add(messages);
        counters.queued_bytes.add(bytes);
        self.delivery.watch_queue(slot);
        self.timers
            .set(expires_at, Timer::SessionExpiry { session: slot });
        if let Some(due) = will_due {
            self.timers.set(due, Timer::WillDelay { session: slot });
        }
        Some((slot, !never && left_s == 0))
    }
}

impl Routing {
    /// Restores a subscription of a session; false if it is invalid.
    fn restore_subscription(
        &mut self,
        delivery: &mut Delivery,
        outboxes: &mut Outboxes,
        session: SessionSlot,
        recovered: &RecoveredSubscription,
    ) -> bool {
        let filter = &*recovered.filter;
        let options = SubscriptionOptions::from_byte(recovered.options);
        let shared = mqtt::topic::check_filter(filter)
            .ok()
            .and_then(|()| mqtt::topic::shared(filter).ok());
        let (Some(options), Some(shared)) = (options, shared) else {
            return false;
        };
        let identifier = Some(recovered.identifier).filter(|&identifier| identifier > 0);
        if shared.is_none() {
            let slot = self.find_or_insert(filter);
            if self.subscription_of(&delivery.clients, session, slot).is_some() {
                return false;
            }
            let listed = delivery.clients.session(session);
            let first = SessionPosition::from_index(0);
            let listed_at = listed.map_or(first, Session::next_listed_at);
            let subscriber = Subscriber::new(session, listed_at, options, identifier);
            self.add_subscription(delivery, outboxes, slot, filter, subscriber);
            return true;
        }
        let group = self.find_or_insert_group(filter);
        if self.share_of(&delivery.clients, session, group).is_some() {
            return false;
        }
        let subscriber = Subscriber::new(session, SessionPosition::from_index(0), options, None);
        let mut via = Via {
            group: self.group(group).map(|group| Arc::clone(&group.name)),
            ..Via::default()
        };
        if let Some(identifier) = identifier {
            // A single identifier is short enough.
            let _ = via.identifiers.push(Property::SubscriptionIdentifier(identifier));
        }
        self.join_group(delivery, outboxes, group, subscriber, Rc::new(via));
        self.member_disconnected(delivery, outboxes, session);
        true
    }
}

impl Clients {
    /// Restores the messages of a session: those in flight and those in its queue. Returns the number and bytes of the
    /// queued ones.
    fn restore_messages(
        &mut self,
        slot: SessionSlot,
        recovered: &RecoveredSession,
        state: &RecoveredState,
        senseless: &mut u64,
    ) -> (u64, u64) {
        let bounds = Bounds {
            messages_max: UNLIMITED,
            bytes_max: UNLIMITED,
        };
        let (mut messages, mut bytes) = (0, 0);
        let last_stored = recovered.rest.last().map_or(0, |range| range.to);
        let Some(session) = self.session_mut(slot) else {
            unreachable_state("a session that was just made");
            return (0, 0);
        };
        let mut later = Vec::new();
        for reference in &recovered.references {
            let message = state.messages.get(&reference.publication);
            if let Some((identifier, entry)) = in_flight(reference, message)
                && session.restore_in_flight(identifier, entry)
            {
                continue;
            }
            match queued(reference, message) {
                None => *senseless += 1,
                Some(queued) if last_stored > 0 && queued.order > last_stored => {
                    // It was routed by this start, and the store has it like those before it.
                    later.push(WaitingRange {
                        from: queued.order,
                        to: queued.order,
                        messages: 1,
                        bytes: queued.message.queue_bytes(),
                        has_shared: queued.is_of_group(),
                    });
                }
                Some(queued) => {
                    let queued_bytes = queued.message.queue_bytes();
                    let queue = session.queue_to_fill();
                    if queue.push(queued, bounds, UNLIMITED, None) {
                        messages += 1;
                        bytes += queued_bytes;
                    }
                }
            }
        }
        for &range in recovered.rest.iter().chain(&later) {
            session.queue_to_fill().restore_range(range);
            messages += range.messages;
            bytes += range.bytes;
        }
        (messages, bytes)
    }
}

/// A message in flight, if the entry is valid.
fn in_flight(
    reference: &RecoveredReference,
    message: Option<&StoredMessage>,
) -> Option<(PacketIdentifier, InflightEntry)> {
    let identifier = PacketIdentifier::new(reference.packet_identifier?)?;
    let qos = QoS::from_bits(reference.qos).filter(|&qos| qos > QoS::AtMostOnce)?;
    if reference.released && qos == QoS::ExactlyOnce {
        let mut entry = InflightEntry::new(qos, reference.retain, None, None).of_order(reference.order);
        entry.awaits = Awaits::PubComp;
        return Some((identifier, entry));
    }
    let message = message?;
    let via = Via::decode(&reference.via);
    let entry = InflightEntry::new(qos, reference.retain, Some(message.clone()), via);
    let entry = entry.of_bytes(message.payload().len());
    Some((identifier, entry.of_order(reference.order)))
}

/// The queue entry of a message that waits for the session; `None` if the message is missing in the store.
fn queued(reference: &RecoveredReference, message: Option<&StoredMessage>) -> Option<Queued> {
    Some(Queued {
        message: message?.clone(),
        via: Via::decode(&reference.via),
        qos: QoS::from_bits(reference.qos)?,
        retain: reference.retain,
        order: reference.order,
        retained: false,
        is_overrun: false,
    })
}

/// Nanoseconds of a millisecond.
const NS_PER_MS: u64 = 1_000_000;
