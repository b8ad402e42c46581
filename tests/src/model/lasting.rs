//! What a store keeps of sessions and messages, and whether anybody has the acknowledgement of it.
//!
//! Invariants: the changes of a key stand in their order; what is acknowledged makes all that came before it count as
//! acknowledged too, as a store has one order.

use std::rc::Rc;

use super::Model;
use super::message::{Message, WillRequest};
use super::reply::Reply;
use super::session::Subscription;

/// A change that counts from its acknowledgement on.
#[derive(Clone, Debug)]
pub(super) struct Change<K, T> {
    pub(super) key: K,
    /// How it is from then on; nothing if it is gone.
    pub(super) to: Option<T>,
    /// Packet Identifier of the request.
    pub(super) request: u16,
    pub(super) acknowledged: bool,
}

/// What of a session outlives the broker.
#[derive(Debug, Default)]
pub(super) struct Lasting {
    /// It was to outlive its connection at some time.
    pub(super) was_kept: bool,
    /// The client knows that it is there, and nothing has ended it.
    pub(super) is_certain: bool,
    /// The client knows that it has the Will of its last CONNECT, or none.
    pub(super) knows_will: bool,
    /// A client knows that it is gone.
    pub(super) is_gone: bool,
    /// Its Session Expiry Intervals since the last CONNACK.
    pub(super) expiries_s: Vec<u32>,
    /// When its client went, since the last CONNACK.
    pub(super) went: Vec<u64>,
    /// How many of both are older than the last CONNECT.
    pub(super) older: (usize, usize),
    /// All Wills that it had.
    pub(super) wills: Vec<WillRequest>,
    pub(super) subscriptions: Vec<Change<&'static str, Subscription>>,
    pub(super) received: Vec<Change<u16, ()>>,
    /// All messages that were in flight, by their Packet Identifiers.
    pub(super) flown: Vec<(u16, usize)>,
    /// Packet Identifiers whose PUBREL was written.
    pub(super) released: Vec<u16>,
}

/// A message that was published.
#[derive(Debug)]
pub(super) struct Published {
    /// Session and Packet Identifier of the publisher, at QoS 1 and 2.
    pub(super) by: Option<(usize, u16)>,
    pub(super) message: Rc<Message>,
    /// Its publisher has the acknowledgement.
    pub(super) acknowledged: bool,
    /// Its publisher sends it again at QoS 2: it is not to be there.
    pub(super) comes_again: bool,
}

impl Lasting {
    /// PUBREC or PUBCOMP was written.
    fn acknowledge_received(&mut self, identifier: u16, is_there: bool) {
        let is_it = |change: &Change<u16, ()>| change.key == identifier && change.to.is_some() == is_there;
        let last = self.received.iter().rposition(is_it);
        let until = last.map_or(0, |last| last + 1);
        let changes = self.received[..until].iter_mut();
        let of_key = changes.filter(|change| change.key == identifier);
        of_key.for_each(|change| change.acknowledged = true);
    }
}

/// What a key may be at: what was acknowledged last, and all that came after it.
pub(super) fn allowed<'a, K: PartialEq, T>(
    changes: &'a [Change<K, T>],
    key: &K,
) -> impl Iterator<Item = Option<&'a T>> {
    let of_key: Vec<&Change<K, T>> = changes.iter().filter(|change| change.key == *key).collect();
    let last = of_key.iter().rposition(|change| change.acknowledged);
    let none = last.is_none().then_some(None);
    let from = last.unwrap_or(0);
    let states = of_key.into_iter().skip(from).map(|change| change.to.as_ref());
    none.into_iter().chain(states)
}

impl Model {
    pub(super) fn publish_of(&mut self, by: Option<(usize, u16)>, message: &Rc<Message>) -> usize {
        self.publishes.push(Published {
            by,
            message: Rc::clone(message),
            acknowledged: false,
            comes_again: false,
        });
        self.publishes.len() - 1
    }

    pub(super) fn note_subscription(
        &mut self,
        session: usize,
        filter: &'static str,
        to: Option<Subscription>,
        request: u16,
    ) {
        self.sessions[session].lasting.subscriptions.push(Change {
            key: filter,
            to,
            request,
            acknowledged: false,
        });
    }

    pub(super) fn note_received(&mut self, session: usize, identifier: u16, is_there: bool) {
        self.sessions[session].lasting.received.push(Change {
            key: identifier,
            to: is_there.then_some(()),
            request: identifier,
            acknowledged: false,
        });
    }

    /// The client has the acknowledgement in its hands: what it is for is there from now on.
    pub(super) fn acknowledge(&mut self, connection: usize, reply: &Reply) {
        let Some(number) = self.connections[connection].session else {
            return;
        };
        let lasting = &mut self.sessions[number].lasting;
        match *reply {
            Reply::ConnAck { .. } => self.acknowledge_session(connection, number),
            Reply::SubAck(request, _) | Reply::UnsubAck(request, _) => {
                let changes = &mut lasting.subscriptions;
                let last = changes.iter().rposition(|change| change.request == request);
                let until = last.map_or(0, |last| last + 1);
                changes[..until]
                    .iter_mut()
                    .for_each(|change| change.acknowledged = true);
            }
            Reply::PubAck(identifier) => self.acknowledge_publish(number, identifier),
            Reply::PubRec(identifier) => {
                lasting.acknowledge_received(identifier, true);
                self.acknowledge_publish(number, identifier);
            }
            Reply::PubComp(identifier, _) => lasting.acknowledge_received(identifier, false),
            Reply::PubRel(identifier, true) => lasting.released.push(identifier),
            _ => {}
        }
    }

    fn acknowledge_publish(&mut self, session: usize, identifier: u16) {
        for published in self.publishes.iter_mut().rev() {
            if published.by == Some((session, identifier)) {
                if published.acknowledged {
                    return;
                }
                published.acknowledged = true;
            }
        }
    }

    fn acknowledge_session(&mut self, connection: usize, number: usize) {
        let is_kept = self.connections[connection].is_kept;
        let client = self.sessions[number].client.clone();
        let ended = self.connections[connection].ended;
        for (older, session) in self.sessions[..number].iter_mut().enumerate() {
            session.lasting.is_gone |= session.client == client && (is_kept || ended == Some(older));
        }
        let session = &mut self.sessions[number];
        if session.last_connection != Some(connection) {
            return;
        }
        let lasting = &mut session.lasting;
        lasting.is_certain = is_kept;
        lasting.knows_will = is_kept;
        lasting.is_gone = !is_kept;
        // What came after the CONNECT may be there or not.
        let (expiries, went) = std::mem::take(&mut lasting.older);
        lasting.expiries_s.drain(..expiries);
        lasting.went.drain(..went);
    }
}
