//! Retained messages: which one a SUBSCRIBE may bring, and which one it must.
//!
//! The changes of a topic stand in the order in which the shards handled them, whichever shards those were: the naive
//! broker writes them into one list. A SUBSCRIBE brings of each topic what was retained at some moment between its
//! handling and the end of its answer, or nothing if something newer came as a message. So
//! - nothing comes that is older than what its shard had been sent, or somebody had the acknowledgement of;
//! - nothing comes that is older than what came as a message;
//! - when all is at rest, whoever has subscribed has got the last one, as a message or as retained.
//!
//! Invariants: the three statements above, checked at each PUBLISH and when all is at rest.

use std::collections::BTreeSet;
use std::rc::Rc;

use mqtt::packet::{Publish, SubscriptionOptions};
use mqtt::{ProtocolVersion, QoS};

use super::flow::PLENTY;
use super::message::Message;
use super::session::{Entry, State, Subscription};
use super::waiting::differs;
use super::{Checked, Model, Moment, NEVER, SECOND_NS};

/// A change of a topic's retained message.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) message: Rc<Message>,
    pub(super) shard: usize,
    pub(super) number: u64,
    pub(super) expires_at: u64,
    /// The step at which the publisher read the acknowledgement.
    pub(super) known_since: u64,
    /// Which publish it is.
    pub(super) published: usize,
}

/// A SUBSCRIBE that asks for retained messages.
#[derive(Debug)]
pub(super) struct RetainedRequest {
    session: usize,
    /// The connection that it came by.
    connection: Option<usize>,
    filter: String,
    /// The number of the subscription.
    subscription: u64,
    options: SubscriptionOptions,
    identifier: Option<u32>,
    /// Changes made from now on may be what it brings.
    is_open: bool,
    /// What must come, once it is not open any more: the last ones.
    due: Vec<Rc<Message>>,
}

impl RetainedRequest {
    /// What has not come does not come any more.
    pub(super) fn close(&mut self) {
        self.is_open = false;
        self.due.clear();
    }
}

impl Model {
    pub(super) fn write_retained(
        &mut self,
        (shard, number): (usize, u64),
        published: usize,
        message: &Rc<Message>,
        at: Moment,
    ) {
        self.writes.push(Write {
            message: Rc::clone(message),
            shard,
            number,
            expires_at: message
                .expiry_s
                .map_or(NEVER, |s| at.now + u64::from(s) * SECOND_NS),
            known_since: NEVER,
            published,
        });
        let write = self.writes.len() - 1;
        for request in 0..self.requests.len() {
            let asked = &self.requests[request];
            if asked.is_open && mqtt::topic::matches(&asked.filter, &message.topic) {
                self.allow_retained(request, write);
            }
        }
    }

    /// The publisher has read the acknowledgement of a retained message: who subscribes after that gets it.
    pub fn puback_read(&mut self, message: &Rc<Message>, step: u64) {
        for write in &mut self.writes {
            if Rc::ptr_eq(&write.message, message) {
                write.known_since = write.known_since.min(step);
            }
        }
    }

    /// Topics that ever had a retained message.
    #[must_use]
    pub fn retained_topics(&self) -> BTreeSet<String> {
        self.writes
            .iter()
            .map(|write| write.message.topic.clone())
            .collect()
    }

    /// The retained messages that a SUBSCRIBE asks for.
    pub(super) fn request_retained(&mut self, session: usize, subscription: &Subscription, at: Moment) {
        let Subscription {
            number,
            filter,
            options,
            identifier,
            ..
        } = *subscription;
        let shard = self.sessions[session].shard;
        let request = self.requests.len();
        self.requests.push(RetainedRequest {
            session,
            connection: self.sessions[session].connection,
            filter: filter.to_owned(),
            subscription: number,
            options,
            identifier,
            is_open: true,
            due: Vec::new(),
        });
        let is_known = |write: &Write| {
            write.shard == shard
                || self.arrived[shard][write.shard] >= write.number
                || write.known_since < at.cause
        };
        let is_replaced = |number: usize, write: &Write| {
            let mut later = self.writes[number + 1..].iter();
            later.any(|later| later.message.topic == write.message.topic && is_known(later))
        };
        let writes = self.writes.iter().enumerate();
        let allowed: Vec<usize> = writes
            .filter(|(_, write)| mqtt::topic::matches(filter, &write.message.topic))
            .filter(|(number, write)| write.expires_at > at.now && !is_replaced(*number, write))
            .map(|(number, _)| number)
            .collect();
        for write in allowed {
            self.allow_retained(request, write);
        }
    }

    /// A change may be what a request brings.
    fn allow_retained(&mut self, request: usize, write: usize) {
        let RetainedRequest {
            session,
            options,
            identifier,
            ..
        } = self.requests[request];
        let Write {
            ref message,
            expires_at,
            ..
        } = self.writes[write];
        let is_own = options.no_local && message.publisher == self.sessions[session].client;
        if message.payload.is_empty() || is_own || !self.sessions[session].alive {
            return;
        }
        let entry = Entry {
            message: Rc::clone(message),
            qos: options.qos.min(message.qos),
            state: State::Waiting,
            received: 0,
            published: usize::MAX,
            retain: true,
            identifiers: identifier.into_iter().collect(),
            owed: false,
            promised: false,
            request: Some(request),
            was_retained: false,
            lenient: false,
            expires_at: (expires_at, expires_at),
        };
        self.add(session, entry);
    }

    /// A session gets a retained message: it is not older than what came as a message, and of its topic no other one
    /// comes by that SUBSCRIBE.
    pub(super) fn take_retained(&mut self, number: usize, taken: usize) -> Checked {
        if self.entries[taken].request.is_none() {
            return Ok(());
        }
        let message = Rc::clone(&self.entries[taken].message);
        let of_topic = |entry: &Entry| entry.message.topic == message.topic;
        let requests = self.requests.iter();
        let asked = requests.filter(|request| {
            request.session == number && mqtt::topic::matches(&request.filter, &message.topic)
        });
        let asked = asked.count();
        let of_session = || {
            let entries = self.sessions[number].entries.iter();
            entries
                .map(|&entry| &self.entries[entry])
                .filter(|entry| of_topic(entry))
        };
        // Which of its requests brought which one does not show, nor whether it was one that was passed on with RETAIN.
        let brought = of_session().filter(|entry| entry.request.is_some() && entry.state == State::Sent);
        let alike = of_session().filter(|entry| entry.request.is_none() && entry.retain);
        if brought.count() >= asked + alike.count() {
            return Err(format!(
                "to {} went retained {message:?}, one more than it asked for",
                self.sessions[number].client
            ));
        }
        // A message that was sent again was written again, and two that look alike cannot be distinguished.
        let is_it = |message: &Rc<Message>, write: &Write| {
            message.topic == write.message.topic && message.payload == write.message.payload
        };
        let first = |message| self.writes.iter().position(|write| is_it(message, write));
        let last = |message| self.writes.iter().rposition(|write| is_it(message, write));
        let came = || {
            let entries = self.sessions[number].entries.iter();
            let entries = entries.map(|&entry| &self.entries[entry]);
            entries.filter(|entry| entry.request.is_none() && entry.message.topic == message.topic)
        };
        if came().any(|entry| entry.retain && entry.message.payload == message.payload) {
            // By Retain As Published the message itself looks like this.
            return Ok(());
        }
        let qos = self.entries[taken].qos;
        let newer = came().find(|entry| {
            entry.message.retain
                && entry.message.payload != message.payload
                && entry.state == State::Sent
                && entry.qos == qos
                && first(&entry.message) > last(&message)
        });
        newer.map_or(Ok(()), |newer| {
            Err(format!(
                "to {} went retained {message:?} after {:?}, which is newer",
                self.sessions[number].client, newer.message
            ))
        })
    }

    /// A PUBLISH that looks like what an earlier one was taken for: of a retained message and one that was passed on
    /// with RETAIN, which nothing distinguished, that one was the other.
    pub(super) fn take_twin_of_retained(
        &mut self,
        number: usize,
        publish: &Publish<'_>,
        version: ProtocolVersion,
        now: u64,
    ) -> Option<usize> {
        let entries = &self.sessions[number].entries;
        let like = entries.iter().copied().find(|&entry| {
            let entry = &self.entries[entry];
            let was_passed_on = entry.request.is_none() && entry.state == State::Dropped;
            let may_be_other = was_passed_on || (entry.state == State::Sent && entry.lenient);
            entry.retain && may_be_other && differs(entry, publish, version, now).is_none()
        })?;
        let is_other = |&other: &usize| {
            let (like, other) = (&self.entries[like], &self.entries[other]);
            // One that was passed on counts as dropped once another message of its publisher came.
            let is_free = match other.state {
                State::Waiting => true,
                State::Dropped => other.request.is_none(),
                State::Sent => false,
            };
            is_free
                && other.retain
                && other.request.is_some() != like.request.is_some()
                && (&other.message.topic, &other.message.payload)
                    == (&like.message.topic, &like.message.payload)
                && other.qos == like.qos
        };
        let taken = match self.entries[like].state {
            State::Sent => entries.iter().copied().find(is_other)?,
            _ => like,
        };
        let entry = &mut self.entries[taken];
        entry.state = State::Sent;
        entry.owed = true;
        entry.lenient = true;
        self.sessions[number].waiting.retain(|&entry| entry != taken);
        Some(taken)
    }

    /// Whether a SUBSCRIBE is being answered.
    #[must_use]
    pub fn awaits_retained(&self) -> bool {
        self.requests.iter().any(|request| request.is_open)
    }

    /// All that shards sent one another has arrived, and nobody looks for retained messages any more: every answer is
    /// complete.
    pub fn retained_answered(&mut self) {
        for request in self.requests.iter_mut().filter(|request| request.is_open) {
            request.is_open = false;
            for (number, write) in self.writes.iter().enumerate() {
                let message = &write.message;
                let mut later = self.writes[number + 1..].iter();
                let is_last = !later.any(|later| later.message.topic == message.topic);
                if is_last && mqtt::topic::matches(&request.filter, &message.topic) {
                    request.due.push(Rc::clone(message));
                }
            }
        }
    }

    /// Whoever subscribed has got the last retained message of each topic, in one way or the other; `number` is idle.
    pub(super) fn check_retained(&mut self, number: usize, now: u64) -> Checked {
        for request in 0..self.requests.len() {
            let asked = &self.requests[request];
            if asked.session != number || asked.is_open {
                continue;
            }
            let missing = asked
                .due
                .iter()
                .find(|message| self.is_missing(asked, message, now));
            if let Some(message) = missing {
                return Err(format!(
                    "{} subscribed to {} and did not get {message:?}",
                    self.sessions[number].client, asked.filter
                ));
            }
            self.requests[request].due.clear();
            for &waiting in &self.sessions[number].waiting {
                let entry = &mut self.entries[waiting];
                if entry.request == Some(request) {
                    entry.state = State::Dropped;
                }
            }
        }
        let entries = &self.entries;
        self.sessions[number]
            .waiting
            .retain(|&entry| entries[entry].state == State::Waiting);
        Ok(())
    }

    fn is_missing(&self, asked: &RetainedRequest, message: &Rc<Message>, now: u64) -> bool {
        let session = &self.sessions[asked.session];
        let write = self
            .writes
            .iter()
            .find(|write| Rc::ptr_eq(&write.message, message));
        let is_over = write.is_none_or(|write| write.expires_at <= now);
        let mut subscriptions = session.subscriptions.iter();
        let Some(subscription) = subscriptions.find(|subscription| subscription.number == asked.subscription)
        else {
            return false;
        };
        // Its options may have been replaced since.
        let no_local = asked.options.no_local || subscription.was_no_local;
        let is_own = no_local && message.publisher == session.client;
        if message.payload.is_empty() || is_over || is_own {
            return false;
        }
        // A copy of a group looks the same; what is too large, or finds no room, is dropped.
        let is_small = self.bounds.queued_messages_max < 1000;
        if session.shares() || session.was_small || is_small {
            return false;
        }
        let qos = asked.options.qos.min(subscription.lowest_qos).min(message.qos);
        let is_tight = self.is_tight() || self.bounds.shard_output.high < PLENTY;
        if qos == QoS::AtMostOnce && (is_tight || session.connection != asked.connection) {
            return false;
        }
        let mut entries = session.entries.iter().map(|&entry| &self.entries[entry]);
        !entries.any(|entry| {
            let other = &entry.message;
            other.topic == message.topic && other.payload == message.payload && entry.state == State::Sent
        })
    }
}
