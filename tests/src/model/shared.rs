//! Shared Subscriptions: each message belongs to one member of each group, and nothing says to which until it is written to a
//! connection.
//!
//! Invariants: a message of a group is free, or it is the one delivery that was written to a session. It is free again if that
//! was at QoS 1, not acknowledged, and the session has ended; at QoS 2 it is not [MQTT-4.8.2-5]. It must have reached
//! somebody in the end if there is a member that was told of its subscription before the message was sent and has
//! stayed. What the broker does with it in between (queues, hands over) does not show. Nor does it show of which group a
//! PUBLISH is where a session is in several: so what was taken for one may turn out to be of another.

use std::collections::BTreeSet;
use std::rc::Rc;

use mqtt::packet::{Publish, SubscriptionOptions};
use mqtt::{ProtocolVersion, QoS};

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
    message: Rc<Message>,
    /// The whole text.
    filter: &'static str,
    /// Which change of the model published it.
    published: u64,
    cause: u64,
    expires_at: (u64, u64),
    /// Which delivery it is.
    delivery: Option<usize>,
    /// Nobody can tell whether somebody has it.
    excused: bool,
}

/// A PUBLISH to a session that is of a group.
#[derive(Debug)]
pub(super) struct Delivery {
    session: usize,
    entry: usize,
    /// The messages that it may be.
    may_be: Vec<usize>,
    /// What it may be by the session's own subscriptions.
    own: Option<usize>,
}

impl Session {
    /// Whether it is or was a member of a group.
    pub(super) fn shares(&self) -> bool {
        !self.memberships.is_empty()
    }

    fn memberships_since(&self, share: &Share) -> impl Iterator<Item = &Membership> {
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

fn inner(filter: &str) -> &str {
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
            self.shares[at].excused = true;
        }
    }

    /// A message is published: it is one for each group.
    pub(super) fn share(&mut self, message: &Rc<Message>, at: Moment) {
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
                published: self.changes,
                cause: at.cause,
                expires_at,
                delivery: None,
                excused: false,
            });
        }
    }

    /// The message of a group that a PUBLISH to a session is, if it may be one: the session holds it from now on.
    pub(super) fn take_share(
        &mut self,
        number: usize,
        (publish, version): (&Publish<'_>, ProtocolVersion),
        own: Option<usize>,
        now: u64,
    ) -> Option<usize> {
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
        let (mut may_be, mut entries): (Vec<usize>, Vec<Entry>) = fitting.unzip();
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
        let as_good = own.is_some_and(|own| !self.overtakes(number, own, |_| true));
        if as_good && !may_be.first().is_some_and(|&at| self.is_owed(&self.shares[at])) {
            return None;
        }
        self.deliveries.push(Delivery {
            session: number,
            entry,
            may_be,
            own: None,
        });
        let delivery = self.deliveries.len() - 1;
        if !self.assign(delivery, false, &mut Vec::new()) && !self.assign(delivery, true, &mut Vec::new()) {
            return None;
        }
        self.deliveries[delivery].own = own;
        self.entries.push(taken);
        Some(entry)
    }

    /// Finds the message that a delivery is; others that it was taken for may have to be others. Only where no message is
    /// free for one of them is one what its session's own subscriptions allow: that is not owed, a message of a group may be.
    fn assign(&mut self, delivery: usize, or_own: bool, seen: &mut Vec<usize>) -> bool {
        for at in self.deliveries[delivery].may_be.clone() {
            if seen.contains(&at) {
                continue;
            }
            seen.push(at);
            let other = self.shares[at].delivery;
            if other.is_none_or(|other| self.assign(other, or_own, seen)) {
                self.shares[at].delivery = Some(delivery);
                return true;
            }
        }
        if !or_own {
            return false;
        }
        let own = self.deliveries[delivery].own.take();
        let own = own.filter(|&own| self.entries[own].state != State::Sent);
        if let Some(own) = own {
            // Whether it was received is told of the other entry.
            self.entries[own].state = State::Sent;
            self.entries[own].owed = false;
            let session = self.deliveries[delivery].session;
            self.sessions[session].waiting.retain(|&entry| entry != own);
        }
        own.is_some()
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

    fn is_lost(&self, delivery: usize, now: u64) -> bool {
        let Delivery { session, entry, .. } = self.deliveries[delivery];
        let entry = &self.entries[entry];
        self.sessions[session].alive && entry.received == 0 && entry.must_arrive(now)
    }

    /// Finds a delivery that may be this message and was taken for one that nobody is owed.
    fn claim(&mut self, at: usize, seen: &mut Vec<usize>) -> bool {
        seen.push(at);
        for other in 0..self.shares.len() {
            let Some(delivery) = self.shares[other].delivery else {
                continue;
            };
            if seen.contains(&other) || !self.deliveries[delivery].may_be.contains(&at) {
                continue;
            }
            if !self.is_owed(&self.shares[other]) || self.claim(other, seen) {
                self.shares[other].delivery = None;
                self.shares[at].delivery = Some(delivery);
                return true;
            }
        }
        false
    }

    /// Whether a member that is there now was told of its subscription before the message was sent, and none was there
    /// meanwhile that may have lost it.
    fn is_owed(&self, share: &Share) -> bool {
        let stayed = |session: &Session| {
            let subscriptions = &mut session.subscriptions.iter();
            session.alive
                && subscriptions.any(|held| held.filter == share.filter && held.known_since < share.cause)
        };
        let may_lose = |session: &Session| {
            let mut memberships = session.memberships_since(share);
            memberships.any(|membership| session.was_small || membership.options.qos == QoS::AtMostOnce)
        };
        share.message.qos != QoS::AtMostOnce
            && !share.excused
            && share.message.expiry_s.is_none()
            && self.bounds.queued_messages_max >= QUEUE_OF_ALL
            && self.sessions.iter().any(stayed)
            && !self.sessions.iter().any(may_lose)
    }
}

/// The delivery that a message is by a membership.
fn entry_of(share: &Share, membership: &Membership) -> Entry {
    Entry {
        message: Rc::clone(&share.message),
        qos: membership.options.qos.min(share.message.qos),
        state: State::Sent,
        received: 0,
        retain: share.message.retain && membership.options.retain_as_published,
        identifiers: membership.identifier.into_iter().collect(),
        owed: true,
        replay: false,
        lenient: false,
        expires_at: share.expires_at,
    }
}

/// A bound of queues that no run reaches.
const QUEUE_OF_ALL: usize = 1000;
