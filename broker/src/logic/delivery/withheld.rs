//! Messages that access rules withhold from subscribers. Nobody is answered then, so operators alone can know of it.
//!
//! Invariants: every such message is counted, for each session that does not get it. A client is remembered and logged
//! at the first one, and then once in [`limits::WITHHELD_NS`] with the number of the others, so a client that
//! subscribes to everything and may read little floods nothing. Of clients, [`limits::WITHHELD_CLIENTS_MAX`] are
//! remembered in that time. Without rules there is nothing to be done here.

use std::collections::HashMap;
use std::fmt;

use mqtt::QoS;

use crate::limits;
use crate::logic::counters::{ClientEvent, Denied, EventKind};
use crate::logic::delivery::Delivery;
use crate::logic::delivery::fan_out::{message_of, packets_of};
use crate::logic::message::{Message, Run};
use crate::logic::routing::route::Target;
use crate::logic::session::SessionSlot;
use crate::time::Timestamp;

/// The clients from whom messages were withheld of late.
#[derive(Debug, Default)]
pub(super) struct Withheld {
    /// Those that were remembered since the time before `due`.
    clients: HashMap<SessionSlot, WithheldMessages>,
    /// When the others are remembered; none without clients.
    due: Option<Timestamp>,
}

/// What was withheld from a client since it was remembered.
#[derive(Debug)]
struct WithheldMessages {
    client: Box<str>,
    messages: u64,
    /// The topic of the last one, cut as in events.
    topic: String,
}

impl Delivery {
    /// Notes a message that is withheld from these subscribers.
    #[cold]
    pub(super) fn note_withheld(&mut self, from: &[Target], message: &Message<'_>, messages: u64) {
        for target in from {
            if self.is_for(target, message) {
                self.note_withheld_from(target.session, message, messages);
            }
        }
    }

    /// Notes a run of QoS 0 messages, which have one topic.
    #[cold]
    pub(super) fn note_withheld_run(
        &mut self,
        from: &[Target],
        run: &Run<'_>,
        publisher: Option<SessionSlot>,
    ) {
        // Traces show each of them.
        let at_once = if self.denials.has_room() { 1 } else { run.count };
        let publishes = packets_of(run).take((run.count / at_once.max(1)) as usize);
        for (publish, _) in publishes {
            self.note_withheld(from, &message_of(&publish, publisher), u64::from(at_once));
        }
    }

    /// Notes messages, of which this is the first, that the client of a session is not to get.
    #[cold]
    pub(in crate::logic) fn note_withheld_from(
        &mut self,
        session: SessionSlot,
        message: &Message<'_>,
        messages: u64,
    ) {
        self.counters().denied.add(Denied::Read, messages);
        self.show_withheld(session, message);
        let topic = message.topic;
        if let Some(known) = self.withheld.clients.get_mut(&session) {
            known.messages += messages;
            known.topic.clear();
            known.topic.push_str(ClientEvent::cut(topic));
            return;
        }
        let Some(owner) = self.clients.session(session) else {
            // It has ended, and is taken out of the route later.
            return;
        };
        if self.withheld.clients.len() >= limits::WITHHELD_CLIENTS_MAX {
            return;
        }
        let client: Box<str> = owner.client_identifier().into();
        tracing::debug!("{}", WithheldMessage(&client, message));
        self.remember_withheld(&client, topic, 1);
        self.withheld
            .due
            .get_or_insert(self.now.plus_ns(limits::WITHHELD_NS));
        self.withheld.clients.insert(
            session,
            WithheldMessages {
                client,
                messages: messages - 1,
                topic: ClientEvent::cut(topic).to_owned(),
            },
        );
    }

    /// When the next ones are to be remembered.
    pub(in crate::logic) fn withheld_due(&self) -> Option<Timestamp> {
        self.withheld.due
    }

    /// Remembers what was withheld, if that is due.
    pub(in crate::logic) fn remember_withheld_due(&mut self) {
        if self.withheld.due.is_some_and(|due| due <= self.now) {
            self.withheld.due = None;
            for (_, last) in std::mem::take(&mut self.withheld.clients) {
                self.remember_others(&last);
            }
        }
    }

    /// A session ends: its place may be that of another one.
    pub(super) fn forget_withheld(&mut self, session: SessionSlot) {
        if let Some(last) = self.withheld.clients.remove(&session) {
            self.remember_others(&last);
        }
    }

    fn remember_others(&self, others: &WithheldMessages) {
        let (client, messages, topic) = (&others.client, others.messages, &others.topic);
        if messages > 0 {
            tracing::debug!(
                "Denied {messages} more PUBLISH packets to {client} of late, the last one of '{topic}'"
            );
            self.remember_withheld(client, topic, messages);
        }
    }

    fn remember_withheld(&self, client: &str, topic: &str, messages: u64) {
        let event = ClientEvent::new(self.now, EventKind::Denied, Denied::Read.label(), client);
        self.counters().events.add(ClientEvent {
            count: messages,
            ..event.with_topic(topic)
        });
    }

    /// Shows it in the traces of the client.
    fn show_withheld(&mut self, session: SessionSlot, message: &Message<'_>) {
        let slot = self.clients.link(session);
        let id = slot.and_then(|slot| Some(self.clients.connections().get(slot)?.id(slot)));
        let session = self.clients.session(session);
        if let (Some(id), Some(session)) = (id, session.filter(|session| self.denials.want(session))) {
            let text = WithheldMessage(session.client_identifier(), message).to_string();
            self.denials.push(id, text);
        }
    }

    /// Whether the client would get the message, or have it queued, if it might read it.
    fn is_for(&self, target: &Target, message: &Message<'_>) -> bool {
        let is_own = target.no_local && Some(target.session) == message.publisher.session;
        let qos = if self.upgrade {
            target.qos
        } else {
            target.qos.min(message.qos)
        };
        let is_kept = qos != QoS::AtMostOnce || self.settings.queue_qos0_messages;
        !is_own && (is_kept || self.clients.link(target.session).is_some())
    }
}

/// Whom a message is withheld from, and the message, as mosquitto 2.1 words it.
struct WithheldMessage<'a>(&'a str, &'a Message<'a>);

impl fmt::Display for WithheldMessage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(client, message) = self;
        write!(
            f,
            "Denied PUBLISH to {client} (q{}, r{}, '{}', ... ({} bytes))",
            message.qos as u8,
            u8::from(message.retain),
            message.topic,
            message.payload.len()
        )
    }
}
