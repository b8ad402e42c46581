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

use super::kept::{Kept, KeptRetained, KeptSession};
use super::lasting::{Change, allowed};
use super::message::{Message, WillRequest};
use super::retained::Write;
use super::session::{Session, Subscription};
use super::shared::is_shared;
use super::{Checked, Model, Moment, NEVER};

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
        self.restart_shares(&adopted);
        for (&number, kept) in adopted.iter().zip(&kept.sessions) {
            self.adopt_messages(number, &kept.messages, at.now)?;
        }
        self.adopt_retained(&kept.retained, at.now)?;
        self.begin_again(&adopted, kept, at);
        self.is_stopped = false;
        Ok(())
    }

    /// The session that one which was taken back is.
    fn adopt_session(&mut self, kept: &KeptSession, now: u64) -> Checked<usize> {
        let mut refused = None;
        // Of several that look alike it is the one that must be there, or else the newest one.
        let mut numbers: Vec<usize> = (0..self.sessions.len()).rev().collect();
        numbers.sort_by_key(|&number| {
            let session = &self.sessions[number];
            !(session.alive && session.lasting.is_certain)
        });
        for number in numbers {
            let session = &self.sessions[number];
            let lasting = &session.lasting;
            if session.client != kept.client || lasting.is_gone || !lasting.was_kept {
                continue;
            }
            match check_session(session, kept, now, self.is_stopped) {
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
        // The whole seconds are taken off what is left.
        session.disconnected_at = now.saturating_sub(kept.away_ms.unwrap_or(0) % 1000 * 1_000_000);
        // What had ended comes back without what was sent since.
        let before = std::mem::replace(&mut session.subscriptions, subscriptions);
        for subscription in &mut session.subscriptions {
            let mut before = before.iter();
            let same = before.find(|before| before.number == subscription.number);
            subscription.known_since = same.map_or(NEVER, |same| same.known_since);
        }
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
    fn adopt_retained(&mut self, kept: &[KeptRetained], now: u64) -> Checked {
        let mut topics = self.retained_topics();
        topics.extend(kept.iter().map(|retained| retained.topic.clone()));
        for topic in topics {
            let found = kept.iter().find(|retained| retained.topic == topic);
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
                    Some(found) => {
                        // A 3.x client that sends it again sends it without its interval.
                        !message.payload.is_empty()
                            && message.payload.as_bytes() == found.payload
                            && (message.qos, message.expiry_s.is_some()) == (found.qos, found.expires)
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
                // Of groups, what was sent before counts too.
                subscription.known_since = match is_shared(subscription.filter) {
                    true => subscription.known_since.min(at.cause),
                    false => 0,
                };
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
            lasting.went.extend([session.disconnected_at, at.now]);
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
fn check_session(
    session: &Session,
    kept: &KeptSession,
    now: u64,
    is_stopped: bool,
) -> Checked<Vec<Subscription>> {
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
        (Some(_), None) if is_stopped => return Err("its Will was published and is there".to_owned()),
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
