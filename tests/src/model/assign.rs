//! Which message each PUBLISH to a member of groups is, where several look alike.
//!
//! A session that is in groups may get one message by each of them and once more by its own subscriptions, and again if
//! the publisher sends it again; nothing on the wire need distinguish those copies. Each PUBLISH is taken for one of
//! them at first. A later PUBLISH may show that this was wrong: it can be nothing but what an earlier one was taken
//! for, and that one can be another. Then they are assigned anew.
//!
//! Invariants: a message of a group, and a delivery by a session's own subscriptions, is one PUBLISH at most. A PUBLISH
//! is refused only if there is no way to assign all that were written, each to one that it may be (a matching in a
//! graph of two sides, found along its alternating paths). What one may be is decided when it is written: what came
//! before it and was owed is not overtaken whatever it turns out to be.

use std::rc::Rc;

use mqtt::packet::Publish;
use mqtt::{ProtocolVersion, QoS};

use super::Model;
use super::session::{Entry, State};
use super::waiting::{comes_before, differs};

/// A PUBLISH, and the version of the connection that it was written to.
pub(super) type Seen<'a> = (&'a Publish<'a>, ProtocolVersion);

/// A PUBLISH to a session that is or was in a group.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) session: usize,
    /// What is known of it, whatever it is.
    pub(super) entry: usize,
    /// The messages of groups that it may be.
    pub(super) may_be: Vec<usize>,
    /// The deliveries by the session's own subscriptions that it may be.
    own: Vec<usize>,
    /// The one of those that it is taken for.
    is_own: Option<usize>,
}

/// What was tried on the way.
#[derive(Debug, Default)]
struct Tried {
    shares: Vec<usize>,
    own: Vec<usize>,
}

impl Delivery {
    pub(super) fn new(session: usize, entry: usize, may_be: Vec<usize>, own: Vec<usize>) -> Self {
        Self {
            session,
            entry,
            may_be,
            own,
            is_own: None,
        }
    }

    /// Taken for that one of the session's own.
    pub(super) fn taken_for(mut self, own: usize) -> Self {
        self.is_own = Some(own);
        self
    }
}

impl Model {
    /// The deliveries by a session's own subscriptions that a PUBLISH may be: those that wait, the owed ones first.
    pub(super) fn own_like(&self, number: usize, (publish, version): Seen<'_>, now: u64) -> Vec<usize> {
        let waiting = self.sessions[number].waiting.iter().copied();
        let like = waiting.filter(|&own| differs(&self.entries[own], publish, version, now).is_none());
        let mut own: Vec<usize> = like
            .filter(|&own| !self.overtakes(number, own, |entry| entry.is_owed(now)))
            .collect();
        own.sort_by_key(|&own| !self.entries[own].is_owed(now));
        own
    }

    /// The same of those that an earlier PUBLISH was taken for; none after which another one was sent already, but for
    /// those that look like it: which of these came first does not show.
    pub(super) fn assigned_like(&self, number: usize, (publish, version): Seen<'_>, now: u64) -> Vec<usize> {
        let taken = self.deliveries.iter().enumerate().filter_map(|(at, delivery)| {
            let own = delivery.is_own.filter(|_| delivery.session == number)?;
            Some((at, own))
        });
        let is_like = |own: usize| differs(&self.entries[own], publish, version, now).is_none();
        let like = taken.filter(|&(_, own)| is_like(own));
        let in_order = like.filter(|&(at, own)| {
            let mut since = self.deliveries[at + 1..].iter();
            !since.any(|later| {
                let later = later
                    .is_own
                    .filter(|&other| later.session == number && other > own && !is_like(other));
                later.is_some_and(|later| comes_before(&self.entries[own], &self.entries[later]))
            })
        });
        in_order.map(|(_, own)| own).collect()
    }

    /// A PUBLISH that can be nothing but what an earlier one was taken for: it is that, if the earlier one may be
    /// another.
    pub(super) fn take_assigned(&mut self, number: usize, seen: Seen<'_>, now: u64) -> Option<usize> {
        let assigned = self.assigned_like(number, seen, now);
        let like = &self.entries[*assigned.first()?];
        let taken = Entry {
            message: Rc::clone(&like.message),
            identifiers: like.identifiers.clone(),
            state: State::Sent,
            received: 0,
            owed: true,
            ..*like
        };
        let entry = self.entries.len();
        if !self.place(Delivery::new(number, entry, Vec::new(), assigned)) {
            return None;
        }
        if taken.qos != QoS::AtMostOnce {
            self.sessions[number].obligations.push(entry);
        }
        self.entries.push(taken);
        Some(entry)
    }

    /// Finds what a delivery is; others may have to be others then. False if there is no way.
    pub(super) fn place(&mut self, delivery: Delivery) -> bool {
        let number = self.deliveries.len();
        self.deliveries.push(delivery);
        let placed = self.assign(number, false, &mut Tried::default())
            || self.assign(number, true, &mut Tried::default());
        if !placed {
            self.deliveries.pop();
        }
        placed
    }

    /// Only where no message of a group is free for one of them is one what its session's own subscriptions allow and
    /// nobody got yet: that is not owed, a message of a group may be.
    fn assign(&mut self, delivery: usize, or_own: bool, tried: &mut Tried) -> bool {
        for at in self.deliveries[delivery].may_be.clone() {
            if tried.shares.contains(&at) {
                continue;
            }
            tried.shares.push(at);
            let other = self.shares[at].delivery;
            if other.is_none_or(|other| self.assign(other, or_own, tried)) {
                self.shares[at].delivery = Some(delivery);
                self.deliveries[delivery].is_own = None;
                return true;
            }
        }
        for own in self.deliveries[delivery].own.clone() {
            if tried.own.contains(&own) {
                continue;
            }
            tried.own.push(own);
            let holder = self.deliveries.iter().position(|other| other.is_own == Some(own));
            let is_free = match holder {
                Some(other) => self.assign(other, or_own, tried),
                None => or_own && self.take_unsent(self.deliveries[delivery].session, own),
            };
            if is_free {
                self.deliveries[delivery].is_own = Some(own);
                return true;
            }
        }
        false
    }

    /// A delivery by a session's own subscriptions turns out to be one that was sent, if none was it before.
    fn take_unsent(&mut self, session: usize, own: usize) -> bool {
        if self.entries[own].state == State::Sent {
            return false;
        }
        // Whether it was received is notified of the other entry.
        self.entries[own].state = State::Sent;
        self.entries[own].owed = false;
        self.sessions[session].waiting.retain(|&entry| entry != own);
        true
    }

    pub(super) fn is_lost(&self, delivery: usize, now: u64) -> bool {
        let Delivery { session, entry, .. } = self.deliveries[delivery];
        let entry = &self.entries[entry];
        self.sessions[session].alive && entry.received == 0 && entry.must_arrive(now)
    }

    /// Finds a delivery that may be this message and was taken for one that nobody is owed.
    pub(super) fn claim(&mut self, at: usize, seen: &mut Vec<usize>) -> bool {
        seen.push(at);
        for other in 0..self.shares.len() {
            let Some(delivery) = self.shares[other].delivery else {
                continue;
            };
            if seen.contains(&other) || !self.deliveries[delivery].may_be.contains(&at) {
                continue;
            }
            if !self.is_owed(&self.shares[other]) {
                self.shares[other].delivery = None;
            } else if !self.claim(other, seen) {
                continue;
            }
            self.shares[at].delivery = Some(delivery);
            return true;
        }
        false
    }
}
