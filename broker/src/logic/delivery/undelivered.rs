//! Records and logs messages that clients should have got but did not. The publisher of such a message usually gets no
//! error, so only operators can know of it.
//!
//! Invariants: a combination of client, cause and topic is recorded at the first message, and then once in
//! [`limits::UNDELIVERED_NS`] with the number of the others; a combination of client and cause is logged as often. So
//! a client that subscribes to everything and gets little floods nothing, and the numbers are exact. In that time
//! [`limits::UNDELIVERED_CLIENTS_MAX`] clients are recorded, with [`limits::UNDELIVERED_TOPICS_MAX`] topics for each
//! cause; further topics share a record.

use std::collections::HashMap;

use crate::limits;
use crate::log::NOTICE;
use crate::logic::counters::{ClientEvent, Denied, DropReason, EventKind};
use crate::logic::delivery::Delivery;
use crate::logic::session::{Session, SessionSlot};
use crate::time::Timestamp;

/// Why a client does not get a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UndeliveredCause {
    /// Access rules withhold it.
    Withheld,
    /// It was dropped, for this reason.
    Dropped(DropReason),
}

impl UndeliveredCause {
    fn event(self) -> (EventKind, &'static str) {
        match self {
            Self::Withheld => (EventKind::Denied, Denied::Read.label()),
            Self::Dropped(reason) => (EventKind::Dropped, reason.label()),
        }
    }
}

/// Messages that clients did not get recently.
#[derive(Debug, Default)]
pub(super) struct Undelivered {
    /// By session; without one, messages that no member of a group got.
    clients: HashMap<Option<SessionSlot>, OfClient>,
    /// When the next records are due; `None` without clients.
    due: Option<Timestamp>,
}

/// Messages that a client did not get since the time before `due`.
#[derive(Debug)]
struct OfClient {
    client: Box<str>,
    causes: Vec<OfCause>,
}

#[derive(Debug)]
struct OfCause {
    cause: UndeliveredCause,
    /// Messages that are not logged yet.
    messages: u64,
    topics: Vec<OfTopic>,
    /// Messages of further topics; the topic is that of the last one.
    others: Option<OfTopic>,
}

/// Messages that are not recorded yet.
#[derive(Debug)]
struct OfTopic {
    /// Cut to the length in events.
    topic: Box<str>,
    messages: u64,
}

/// What is new about messages that a client does not get.
#[derive(Clone, Copy, PartialEq, Eq)]
enum New {
    /// The cause is new for the client.
    Cause,
    /// The topic is new, with a known cause.
    Topic,
    /// Nothing, or they are not recorded.
    Nothing,
}

impl Undelivered {
    fn add(
        &mut self,
        session: Option<SessionSlot>,
        client: impl FnOnce() -> Option<Box<str>>,
        cause: UndeliveredCause,
        topic: &str,
        messages: u64,
    ) -> New {
        if !self.clients.contains_key(&session) {
            let has_room = self.clients.len() < limits::UNDELIVERED_CLIENTS_MAX;
            // A session that has ended is removed from the routes later.
            let Some(client) = client().filter(|_| has_room) else {
                return New::Nothing;
            };
            let causes = Vec::new();
            self.clients.insert(session, OfClient { client, causes });
        }
        self.clients
            .get_mut(&session)
            .map_or(New::Nothing, |of_client| of_client.add(cause, topic, messages))
    }
}

impl OfClient {
    fn add(&mut self, cause: UndeliveredCause, topic: &str, messages: u64) -> New {
        let topic = ClientEvent::cut(topic);
        let remembered = |topic: &str| OfTopic {
            topic: topic.into(),
            messages: 0,
        };
        let Some(known) = self.causes.iter_mut().find(|known| known.cause == cause) else {
            self.causes.push(OfCause {
                cause,
                messages: 0,
                topics: vec![remembered(topic)],
                others: None,
            });
            return New::Cause;
        };
        known.messages += messages;
        if let Some(same) = known.topics.iter_mut().find(|known| *known.topic == *topic) {
            same.messages += messages;
            return New::Nothing;
        }
        if known.topics.len() < limits::UNDELIVERED_TOPICS_MAX {
            known.topics.push(remembered(topic));
            return New::Topic;
        }
        let others = known.others.get_or_insert_with(|| remembered(topic));
        others.messages += messages;
        if *others.topic != *topic {
            others.topic = topic.into();
        }
        New::Nothing
    }
}

impl Delivery {
    /// Records messages of a topic that the client of a session, or a member of a group, does not get; `detail`
    /// describes the cause. If the cause is new for the client, `log` logs it, with the client and the detail.
    pub(super) fn note_undelivered(
        &mut self,
        session: Option<SessionSlot>,
        cause: UndeliveredCause,
        (topic, messages): (&str, u64),
        detail: impl FnOnce(&Self) -> Option<String>,
        log: impl FnOnce(&str, Option<&str>),
    ) {
        let clients = &self.clients;
        let client = || match session {
            Some(_) => clients
                .session(session)
                .map(|owner| owner.client_identifier().into()),
            None => Some(Box::default()),
        };
        let new = self.undelivered.add(session, client, cause, topic, messages);
        if new == New::Nothing {
            return;
        }
        self.undelivered
            .due
            .get_or_insert(self.now.plus_ns(limits::UNDELIVERED_NS));
        let client = clients.session(session).map_or("", Session::client_identifier);
        let detail = detail(self);
        self.remember_undelivered(client, cause, (topic, messages), detail.as_deref());
        if new == New::Cause {
            log(client, detail.as_deref());
        }
    }

    /// When the next records are due.
    pub(in crate::logic) fn undelivered_due(&self) -> Option<Timestamp> {
        self.undelivered.due
    }

    /// Records what clients did not get, if that is due.
    pub(in crate::logic) fn remember_undelivered_due(&mut self) {
        if self.undelivered.due.is_some_and(|due| due <= self.now) {
            self.undelivered.due = None;
            for (_, of_client) in std::mem::take(&mut self.undelivered.clients) {
                self.remember_others(&of_client);
            }
        }
    }

    /// A session ends: its slot may be used by another one.
    pub(super) fn forget_undelivered(&mut self, session: SessionSlot) {
        if let Some(of_client) = self.undelivered.clients.remove(&Some(session)) {
            self.remember_others(&of_client);
        }
    }

    fn remember_others(&self, of_client: &OfClient) {
        let client = &of_client.client;
        for of_cause in &of_client.causes {
            let topics = of_cause.topics.iter().map(|of_topic| (of_topic, None));
            let others = of_cause.others.as_ref();
            let others = others.map(|of_topic| (of_topic, Some("of several topics; the last one is shown")));
            for (of_topic, detail) in topics.chain(others) {
                if of_topic.messages > 0 {
                    let what = (&*of_topic.topic, of_topic.messages);
                    self.remember_undelivered(client, of_cause.cause, what, detail);
                }
            }
            let last = of_cause.others.as_ref().or(of_cause.topics.last());
            if let Some(last) = last.filter(|_| of_cause.messages > 0) {
                log_others(client, of_cause.cause, of_cause.messages, &last.topic);
            }
        }
    }

    /// Records messages that a client did not get; without a topic if that is empty.
    pub(super) fn remember_undelivered(
        &self,
        client: &str,
        cause: UndeliveredCause,
        (topic, messages): (&str, u64),
        detail: Option<&str>,
    ) {
        let (kind, reason) = cause.event();
        let event = ClientEvent::new(self.now, kind, reason, client).with_detail(detail);
        let event = match topic {
            "" => event,
            topic => event.with_topic(topic),
        };
        self.counters().events.add(ClientEvent {
            count: messages,
            ..event
        });
    }
}

fn log_others(client: &str, cause: UndeliveredCause, messages: u64, topic: &str) {
    let dropped = match cause {
        UndeliveredCause::Withheld => {
            return tracing::debug!(
                "Denied {messages} more PUBLISH packets to {client} recently, one of them for '{topic}'"
            );
        }
        UndeliveredCause::Dropped(reason) => reason.label(),
    };
    let client = Some(client).filter(|client| !client.is_empty());
    let client = client.map(|client| format!(" for client {client}"));
    tracing::info!(
        target: NOTICE,
        "More messages were dropped{} recently: {messages} ({dropped}), one of them for '{topic}'.",
        client.unwrap_or_default()
    );
}
