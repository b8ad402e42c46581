//! Shared Subscriptions: each message belongs to one member of each group, and nothing says to which until it is
//! written to a connection.
//!
//! Invariants: a message of a group is free, or it is the one delivery that was written to a session. It is free again
//! if that was at QoS 1, not acknowledged, and the session has ended; at QoS 2 it is not [MQTT-4.8.2-5]. It must have
//! reached somebody in the end if there is a member that was notified of its subscription before the message was sent
//! and has stayed. What the broker does with it in between (queues, hands over) does not show.

use std::collections::BTreeSet;
use std::rc::Rc;

use mqtt::packet::SubscriptionOptions;
use mqtt::{ProtocolVersion, QoS};

use super::assign::{Delivery, Seen};
use super::message::Message;
use super::session::{Awaits, Entry, Flight, Session, State};
use super::waiting::differs;
use super::{Checked, Model, Moment, NEVER};

/// A time in which a session was a member of a group, with the same options.
#[derive(Clone, Debug)]
pub(super) struct Membership {
    filter: &'static str,
    options: SubscriptionOptions,
    identifier: Option<u32>,
    until: u64,
}

/// A message for one member of a group.
#[derive(Debug)]
pub(super) struct Share {
    pub(super) message: Rc<Message>,
    /// The whole text of the filter, with `$share`.
    pub(super) filter: &'static str,
    /// Which message it is of all that were published: a publisher that sends one again publishes another.
    pub(super) publication: usize,
    /// Which change of the model published it.
    published: u64,
    cause: u64,
    expires_at: (u64, u64),
    /// Which delivery it is.
    pub(super) delivery: Option<usize>,
    /// Nobody can know whether somebody has it.
    pub(super) unclear: bool,
}

impl Share {
    /// The message, and when it expires at the earliest and at the latest.
    pub(super) fn message_and_expiry(&self) -> (&Rc<Message>, (u64, u64)) {
        (&self.message, self.expires_at)
    }
}

impl Session {
    /// Whether it is or was a member of a group.
    pub(super) fn shares(&self) -> bool {
        !self.memberships.is_empty()
    }

    /// Whether it is in a group now.
    pub(super) fn is_member(&self) -> bool {
        self.filters_of_groups().next().is_some()
    }

    /// The groups that it is in now.
    pub(super) fn filters_of_groups(&self) -> impl Iterator<Item = &'static str> {
        let members = self
            .memberships
            .iter()
            .filter(|membership| membership.until == u64::MAX);
        members.map(|membership| membership.filter)
    }

    /// The groups that it is or was in.
    pub(super) fn filters_of_memberships(&self) -> impl Iterator<Item = &'static str> {
        self.memberships.iter().map(|membership| membership.filter)
    }

    /// Whether it is in a group now, with these options.
    pub(super) fn is_member_by(
        &self,
        filter: &str,
        options: SubscriptionOptions,
        identifier: Option<u32>,
    ) -> bool {
        self.memberships.iter().any(|membership| {
            let by = (membership.filter, membership.options, membership.identifier);
            membership.until == u64::MAX && by == (filter, options, identifier)
        })
    }

    pub(super) fn memberships_since(&self, share: &Share) -> impl Iterator<Item = &Membership> + use<'_> {
        let (filter, since) = (share.filter, share.published);
        self.memberships
            .iter()
            .filter(move |membership| membership.filter == filter && membership.until >= since)
    }
}

/// Whether a filter is that of a Shared Subscription.
pub(super) fn is_shared(filter: &str) -> bool {
    filter.starts_with("$share/")
}

/// The Topic Filter of a Shared Subscription.
pub(super) fn inner(filter: &str) -> &str {
    filter.splitn(3, '/').nth(2).unwrap_or_default()
}

impl Model {
    /// A session joins a group, or does so with other options.
    pub(super) fn join(
        &mut self,
        session: usize,
        filter: &'static str,
        options: SubscriptionOptions,
        identifier: Option<u32>,
    ) {
        self.leave(session, filter);
        self.sessions[session].memberships.push(Membership {
            filter,
            options,
            identifier,
            until: u64::MAX,
        });
    }

    /// A session leaves a group, if it is in it.
    pub(super) fn leave(&mut self, session: usize, filter: &str) {
        self.changes += 1;
        for membership in &mut self.sessions[session].memberships {
            if membership.filter == filter {
                membership.until = membership.until.min(self.changes);
            }
        }
    }

    /// A session ends: what it has not acknowledged at QoS 1 is for another member.
    pub(super) fn leave_all(&mut self, session: usize) {
        self.changes += 1;
        let ended = &mut self.sessions[session];
        for membership in &mut ended.memberships {
            membership.until = membership.until.min(self.changes);
        }
        let (ended, entries) = (&self.sessions[session], &self.entries);
        let like = |entry: usize, other: usize| {
            let (entry, other) = (&entries[entry], &entries[other]);
            entry.qos == other.qos
                && entry.message.topic == other.message.topic
                && entry.message.payload == other.message.payload
        };
        let mut unclear_which: Vec<usize> = Vec::new();
        for share in &mut self.shares {
            let delivery = share.delivery.map(|delivery| &self.deliveries[delivery]);
            // It may be in flight to the one that ended, and have waited for the disk: then it is for nobody else.
            let mut at_qos2 = ended.memberships_since(share).map(|by| entry_of(share, by).qos);
            share.unclear |= delivery.is_none() && at_qos2.any(|qos| qos == QoS::ExactlyOnce);
            let Some(delivery) = delivery.filter(|delivery| delivery.session == session) else {
                continue;
            };
            let waits = |flight: &&Flight| flight.awaits == Awaits::Acknowledged;
            let own = |flight: &Flight| flight.entry == delivery.entry;
            let flights = ended.flights.iter().filter(waits);
            let unacknowledged = flights.clone().any(own);
            // Which of two that look alike was acknowledged does not show.
            let twins = ended.written.iter().filter(|&&entry| like(entry, delivery.entry));
            let unclear = twins.count() > 1 && flights.clone().any(|f| like(f.entry, delivery.entry));
            if unclear {
                unclear_which.extend(&delivery.may_be);
            }
            if unacknowledged || unclear {
                share.delivery = None;
            }
        }
        for at in unclear_which {
            self.shares[at].unclear = true;
        }
    }

    /// A message is published: it is one for each group.
    pub(super) fn share(&mut self, publication: usize, message: &Rc<Message>, at: Moment) {
        self.changes += 1;
        let memberships = self.sessions.iter().flat_map(|session| &session.memberships);
        let groups: BTreeSet<&'static str> = memberships
            .map(|membership| membership.filter)
            .filter(|filter| mqtt::topic::matches(inner(filter), &message.topic))
            .collect();
        for filter in groups {
            // Which shards' clocks it meets does not show, nor how long it waits.
            let expires_at = match message.expiry_s {
                None => (NEVER, NEVER),
                Some(_) => (0, NEVER - 1),
            };
            self.shares.push(Share {
                message: Rc::clone(message),
                filter,
                publication,
                published: self.changes,
                cause: at.cause,
                expires_at,
                delivery: None,
                unclear: false,
            });
        }
    }

    /// The messages of groups that a PUBLISH to a session may be, and the deliveries that it then is.
    pub(super) fn shares_like(
        &self,
        number: usize,
        (publish, version): Seen<'_>,
        now: u64,
    ) -> (Vec<usize>, Vec<Entry>) {
        let session = &self.sessions[number];
        let like = self.shares.iter().enumerate().filter(|(_, share)| {
            let message = &share.message;
            message.topic == publish.topic && message.payload.as_bytes() == publish.payload
        });
        let fitting = like.filter_map(|(at, share)| {
            let mut entries = session.memberships_since(share).map(|m| entry_of(share, m));
            let entry = entries.find(|entry| differs(entry, publish, version, now).is_none())?;
            Some((at, entry))
        });
        fitting.unzip()
    }

    /// The message of a group that a PUBLISH to a session is, if it may be one: the session holds it from now on.
    pub(super) fn take_share(
        &mut self,
        number: usize,
        (publish, version): Seen<'_>,
        own: &[usize],
        now: u64,
    ) -> Option<usize> {
        let (mut may_be, mut entries) = self.shares_like(number, (publish, version), now);
        let mut taken = entries.pop()?;
        // What 3.x does not show may be by another membership.
        taken.lenient = version != ProtocolVersion::V5;
        let entry = self.entries.len();
        if !self.sessions[number].alive && taken.qos == QoS::AtLeastOnce {
            // Written before the session ended, and seen after that: another member may have it already.
            self.entries.push(taken);
            return Some(entry);
        }
        // Of those that look alike it is rather the one that somebody waits for.
        may_be.sort_by_key(|&at| !self.is_owed(&self.shares[at]));
        // One of its own is as good, unless others would count as dropped by it.
        let as_good = own
            .first()
            .is_some_and(|&own| !self.overtakes(number, own, |_| true));
        if as_good && !may_be.first().is_some_and(|&at| self.is_owed(&self.shares[at])) {
            return None;
        }
        let assigned = self.assigned_like(number, (publish, version), now);
        let own = own.iter().copied().chain(assigned).collect();
        if !self.place(Delivery::new(number, entry, may_be, own)) {
            return None;
        }
        self.entries.push(taken);
        Some(entry)
    }

    /// A message of a group at QoS 2 that went to a session and that nobody saw: that is how it is lost.
    pub(super) fn take_unseen_share(&mut self, number: usize) -> Option<usize> {
        let session = &self.sessions[number];
        let shares = self.shares.iter().enumerate();
        let at_qos2 = shares.filter_map(|(at, share)| {
            let mut entries = session.memberships_since(share).map(|by| entry_of(share, by));
            Some((at, entries.find(|entry| entry.qos == QoS::ExactlyOnce)?))
        });
        let (may_be, mut entries): (Vec<_>, Vec<_>) = at_qos2.unzip();
        let mut taken = entries.pop()?;
        taken.owed = false;
        let entry = self.entries.len();
        let is_placed = self.place(Delivery::new(number, entry, may_be, Vec::new()));
        is_placed.then(|| {
            self.entries.push(taken);
            entry
        })
    }

    /// All messages of groups that had a member all the time, at QoS 1 and 2, have reached one.
    pub(super) fn check_shares(&mut self, now: u64) -> Checked {
        for at in 0..self.shares.len() {
            let share = &self.shares[at];
            if !self.is_owed(share) {
                continue;
            }
            let is_missing = match share.delivery {
                Some(delivery) => self.is_lost(delivery, now),
                None => !self.claim(at, &mut Vec::new()),
            };
            if is_missing {
                let Share { message, filter, .. } = &self.shares[at];
                return Err(format!("{message:?} did not reach {filter}"));
            }
        }
        Ok(())
    }

    /// Whether a member that is there now was notified of its subscription before the message was sent, and none was
    /// there meanwhile that may have lost it.
    pub(super) fn is_owed(&self, share: &Share) -> bool {
        let stayed = |session: &Session| {
            let subscriptions = &mut session.subscriptions.iter();
            session.alive
                && subscriptions.any(|own| own.filter == share.filter && own.known_since < share.cause)
        };
        let may_lose = |session: &Session| {
            let mut memberships = session.memberships_since(share);
            memberships.any(|membership| session.was_small || membership.options.qos == QoS::AtMostOnce)
        };
        share.message.qos != QoS::AtMostOnce
            && !share.unclear
            && share.message.expiry_s.is_none()
            && self.bounds.queued_messages_max >= QUEUE_OF_ALL
            && self.sessions.iter().any(stayed)
            && !self.sessions.iter().any(may_lose)
    }
}

/// The delivery that a message is by a membership.
pub(super) fn entry_of(share: &Share, membership: &Membership) -> Entry {
    Entry {
        message: Rc::clone(&share.message),
        qos: membership.options.qos.min(share.message.qos),
        state: State::Sent,
        received: 0,
        published: usize::MAX,
        retain: share.message.retain && membership.options.retain_as_published,
        identifiers: membership.identifier.into_iter().collect(),
        owed: true,
        promised: true,
        request: None,
        was_retained: false,
        lenient: false,
        expires_at: share.expires_at,
    }
}

/// A bound of queues that no run reaches.
const QUEUE_OF_ALL: usize = 1000;
