//! The broker ends and starts again: what was acknowledged is there, and nothing is there that never was.
//!
//! What a store may lose does not show: so the model is given what the broker took back, checks it, and goes on from
//! it. A change that nobody has the acknowledgement of may be there or not.
//!
//! Invariants: what was acknowledged is there, or what came after it; a message at QoS 2 that was written is there with
//! its Packet Identifier, so that it comes once; what a publisher would send again at QoS 2 is there only if its
//! identifier is known. What is kept of a session has an order, and messages of one publisher, topic and QoS keep
//! theirs.

use std::rc::Rc;

use mqtt::QoS;
use mqtt::packet::SubscriptionOptions;

use super::lasting::{Change, allowed};
use super::message::{Message, WillRequest};
use super::retained::Write;
use super::session::{Session, Subscription};
use super::{Checked, Model, Moment, NEVER};

/// All that the broker took back.
#[derive(Debug, Default)]
pub struct Kept {
    /// Sessions, one for each client at most.
    pub sessions: Vec<KeptSession>,
    /// Retained messages: topic, payload and QoS.
    pub retained: Vec<(String, Vec<u8>, QoS)>,
}

/// A session that the broker took back.
#[derive(Clone, Debug)]
pub struct KeptSession {
    /// Client Identifier that owns it.
    pub client: String,
    /// Session Expiry Interval in seconds; 0xFFFFFFFF never.
    pub expiry_s: u32,
    /// For so many milliseconds its client is away; nothing if it was connected.
    pub away_ms: Option<u64>,
    /// Payload of its Will, and the Will Delay Interval in seconds.
    pub will: Option<(Vec<u8>, u32)>,
    /// Topic Filters with options and Subscription Identifier.
    pub subscriptions: Vec<(String, SubscriptionOptions, Option<u32>)>,
    /// Messages that wait or are in flight, in their order.
    pub messages: Vec<KeptMessage>,
    /// Packet Identifiers of QoS 2 messages that came in and wait for PUBREL.
    pub received: Vec<u16>,
}

/// A message that waits for a session or is in flight.
#[derive(Clone, Debug)]
pub struct KeptMessage {
    /// Topic and payload; not there if only PUBREL is to be sent.
    pub content: Option<(String, Vec<u8>)>,
    /// QoS of the delivery.
    pub qos: QoS,
    /// RETAIN flag of the delivery.
    pub retain: bool,
    /// The Subscription Identifiers that it came by.
    pub identifiers: Vec<u32>,
    /// There if it was sent.
    pub packet_identifier: Option<u16>,
}

impl Model {
    /// The broker ended and took that back; nobody is connected.
    ///
    /// # Errors
    /// When that cannot be.
    pub fn restart(&mut self, kept: &Kept, at: Moment) -> Checked {
        for connected in &mut self.connections {
            connected.closed = true;
            connected.lost = true;
            connected.replies.clear();
        }
        for session in &mut self.sessions {
            session.connection = None;
            session.unsettled = false;
            session.resend.clear();
        }
        self.ending = None;
        for request in &mut self.requests {
            request.close();
        }
        let mut adopted = Vec::new();
        for kept in &kept.sessions {
            adopted.push(self.adopt_session(kept, at.now)?);
        }
        for number in 0..self.sessions.len() {
            let session = &mut self.sessions[number];
            if adopted.contains(&number) {
                continue;
            }
            if session.lasting.is_certain && session.alive {
                return Err(format!("the session of {} is lost", session.client));
            }
            session.alive = false;
            session.subscriptions.clear();
        }
        self.decide_publishers(&adopted, kept);
        // What was on its way is routed again.
        for from in 0..self.shards {
            for to in (0..self.shards).filter(|&to| to != from) {
                self.arrive(from, to, self.published[from], at.now);
            }
        }
        for (&number, kept) in adopted.iter().zip(&kept.sessions) {
            self.adopt_messages(number, &kept.messages, at.now)?;
        }
        self.adopt_retained(&kept.retained, at.now)?;
        self.begin_again(&adopted, kept, at);
        Ok(())
    }

    /// The session that one which was taken back is.
    fn adopt_session(&mut self, kept: &KeptSession, now: u64) -> Checked<usize> {
        let mut refused = None;
        for number in (0..self.sessions.len()).rev() {
            let session = &self.sessions[number];
            let lasting = &session.lasting;
            if session.client != kept.client || lasting.is_gone || !lasting.was_kept {
                continue;
            }
            match check_session(session, kept, now) {
                // The newest one is the likeliest.
                Err(what) => refused = refused.or(Some(format!("{}: {what}", session.client))),
                Ok(subscriptions) => {
                    self.adopt(number, kept, subscriptions, now);
                    return Ok(number);
                }
            }
        }
        Err(refused
            .unwrap_or_else(|| format!("a session of {} is there that never was, or is gone", kept.client)))
    }

    fn adopt(&mut self, number: usize, kept: &KeptSession, subscriptions: Vec<Subscription>, now: u64) {
        let session = &mut self.sessions[number];
        session.alive = true;
        session.disconnected_at = now;
        session.subscriptions = subscriptions;
        session.unreleased.clone_from(&kept.received);
        let away_s = u32::try_from(kept.away_ms.unwrap_or(0) / 1000).unwrap_or(u32::MAX);
        session.expiry_s = match kept.expiry_s {
            u32::MAX => u32::MAX,
            // Nothing is left where it is 0; it ends at once.
            expiry_s => expiry_s.saturating_sub(away_s),
        };
        let wills = session.lasting.wills.iter();
        let will = kept.will.as_ref().and_then(|(payload, delay_s)| {
            let mut alike = wills.filter(|will| will.message.payload.as_bytes() == payload);
            let message = Rc::clone(&alike.next()?.message);
            let delay_s = delay_s.saturating_sub(away_s);
            Some(WillRequest { message, delay_s })
        });
        session.will = will;
    }

    /// A publisher whose identifier is known does not publish again, and one whose identifier is not does.
    fn decide_publishers(&mut self, adopted: &[usize], kept: &Kept) {
        for published in &mut self.publishes {
            let Some((session, identifier)) =
                published.by.filter(|_| published.message.qos == QoS::ExactlyOnce)
            else {
                continue;
            };
            let Some(at) = adopted.iter().position(|&number| number == session) else {
                continue;
            };
            if published.acknowledged {
                continue;
            }
            let changes = &self.sessions[session].lasting.received;
            let last = changes.iter().rfind(|change| change.key == identifier);
            let is_known = kept.sessions[at].received.contains(&identifier);
            if is_known {
                published.acknowledged = true;
            } else if last.is_some_and(|last| last.to.is_some()) {
                published.comes_again = true;
            }
        }
    }

    /// Of each topic there is what was acknowledged last, or what came after it.
    fn adopt_retained(&mut self, kept: &[(String, Vec<u8>, QoS)], now: u64) -> Checked {
        let mut topics = self.retained_topics();
        topics.extend(kept.iter().map(|(topic, ..)| topic.clone()));
        for topic in topics {
            let found = kept.iter().find(|(other, ..)| *other == topic);
            let of_topic: Vec<usize> = (0..self.writes.len())
                .filter(|&write| self.writes[write].message.topic == topic)
                .collect();
            let is_acknowledged = |&write: &usize| self.publishes[self.writes[write].published].acknowledged;
            let last = of_topic.iter().rposition(is_acknowledged);
            let allowed = &of_topic[last.unwrap_or(0)..];
            let is_it = |&&write: &&usize| {
                let Write {
                    message, expires_at, ..
                } = &self.writes[write];
                let is_nothing = message.payload.is_empty() || *expires_at <= now;
                match found {
                    None => is_nothing,
                    Some((_, payload, qos)) => {
                        !message.payload.is_empty()
                            && message.payload.as_bytes() == payload
                            && message.qos == *qos
                    }
                }
            };
            let it = allowed.iter().rfind(is_it).copied();
            if it.is_none() && (last.is_some() || found.is_some()) {
                let message = last.map(|last| &self.writes[of_topic[last]].message);
                return Err(format!(
                    "of {topic} {found:?} is retained, acknowledged was {message:?}"
                ));
            }
            self.write_again(&topic, it, of_topic.last().copied());
        }
        Ok(())
    }

    /// What is retained now is known to all shards, and stands behind what is lost.
    fn write_again(&mut self, topic: &str, it: Option<usize>, last: Option<usize>) {
        if let Some(it) = it.filter(|_| it == last) {
            self.writes[it].known_since = 0;
            return;
        }
        let (message, expires_at) = match it {
            Some(it) => (Rc::clone(&self.writes[it].message), self.writes[it].expires_at),
            None => {
                let Some(last) = last else { return };
                let nothing = Message {
                    payload: String::new(),
                    topic: topic.to_owned(),
                    ..(*self.writes[last].message).clone()
                };
                (Rc::new(nothing), NEVER)
            }
        };
        let published = self.publish_of(None, &message);
        self.writes.push(Write {
            message,
            shard: 0,
            number: 0,
            expires_at,
            known_since: 0,
            published,
        });
    }

    /// What was taken back is acknowledged from now on, and known to all shards. What has expired ends.
    fn begin_again(&mut self, adopted: &[usize], kept: &Kept, at: Moment) {
        for (&number, kept) in adopted.iter().zip(&kept.sessions) {
            let session = &mut self.sessions[number];
            let subscriptions = session.subscriptions.iter_mut().map(|subscription| {
                subscription.known_since = 0;
                Change {
                    key: subscription.filter,
                    to: Some(subscription.clone()),
                    request: 0,
                    acknowledged: true,
                }
            });
            let subscriptions = subscriptions.collect();
            let received = kept.received.iter().map(|&key| Change {
                key,
                to: Some(()),
                request: key,
                acknowledged: true,
            });
            let lasting = &mut session.lasting;
            lasting.subscriptions = subscriptions;
            lasting.received = received.collect();
            lasting.is_certain = true;
            lasting.knows_will = true;
            lasting.is_gone = false;
            // A record of before may be what the next start finds.
            lasting.expiries_s = vec![kept.expiry_s, session.expiry_s];
            lasting.went.push(at.now);
            lasting.older = (0, 0);
        }
        for shard in 0..self.shards {
            for &number in adopted {
                let session = &self.sessions[number];
                if session.shard == shard && session.expiry_s == 0 {
                    self.end_session(number, at);
                }
            }
        }
    }
}

/// Whether a session may be as it was taken back; its subscriptions then.
fn check_session(session: &Session, kept: &KeptSession, now: u64) -> Checked<Vec<Subscription>> {
    let lasting = &session.lasting;
    if !lasting.expiries_s.contains(&kept.expiry_s) {
        return Err(format!("the expiry is {} s", kept.expiry_s));
    }
    // Milliseconds of the clock, and not of the difference.
    let fits = |&went: &u64| {
        let away_ms = (now / 1_000_000).saturating_sub(went / 1_000_000);
        kept.away_ms == Some(away_ms)
    };
    if kept.away_ms.is_some() && !lasting.went.iter().any(fits) {
        return Err(format!("it is away since {:?} ms", kept.away_ms));
    }
    let is_known = |payload: &[u8]| {
        lasting
            .wills
            .iter()
            .any(|will| will.message.payload.as_bytes() == payload)
    };
    match (&kept.will, &session.will) {
        (Some((payload, _)), _) if !is_known(payload) => return Err("its Will is another one".to_owned()),
        (None, Some(will)) if lasting.knows_will => {
            return Err(format!("its Will {:?} is lost", will.message));
        }
        _ => {}
    }
    let ids = lasting
        .received
        .iter()
        .map(|change| change.key)
        .chain(kept.received.iter().copied());
    for id in ids {
        let is_there = kept.received.contains(&id);
        if !allowed(&lasting.received, &id).any(|state| state.is_some() == is_there) {
            let is_there = if is_there { "still" } else { "not" };
            return Err(format!(
                "the identifier {id} of its publisher is {is_there} known"
            ));
        }
    }
    check_subscriptions(session, kept)
}

fn check_subscriptions(session: &Session, kept: &KeptSession) -> Checked<Vec<Subscription>> {
    let changes = &session.lasting.subscriptions;
    let mut subscriptions: Vec<Subscription> = Vec::new();
    for (filter, options, identifier) in &kept.subscriptions {
        let known = changes.iter().find(|change| change.key == filter);
        let known = known.ok_or_else(|| format!("it never subscribed to {filter}"))?;
        let states: Vec<&Subscription> = allowed(changes, &known.key).flatten().collect();
        let mut states = states.into_iter().rev();
        let is_it = |state: &&Subscription| state.options == *options && state.identifier == *identifier;
        let found = states.find(is_it);
        let found =
            found.ok_or_else(|| format!("its subscription to {filter} is {options:?} {identifier:?}"))?;
        subscriptions.push(found.clone());
    }
    for change in changes {
        let is_there = subscriptions.iter().any(|other| other.filter == change.key);
        if !is_there && !allowed(changes, &change.key).any(|state| state.is_none()) {
            return Err(format!("its subscription to {} is lost", change.key));
        }
    }
    Ok(subscriptions)
}
