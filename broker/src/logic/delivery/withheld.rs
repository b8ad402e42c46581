//! Messages that access rules withhold from subscribers. Nobody gets an error then, so only operators can know of it.
//!
//! Invariants: every such message is counted, for each session that does not get it, and recorded and logged by
//! `undelivered.rs`. Without rules there is no work here.

use std::fmt;

use mqtt::QoS;

use crate::logic::counters::Denied;
use crate::logic::delivery::Delivery;
use crate::logic::delivery::fan_out::{message_of, packets_of};
use crate::logic::delivery::undelivered::UndeliveredCause;
use crate::logic::message::{Message, Run};
use crate::logic::routing::route::Target;
use crate::logic::session::SessionSlot;

impl Delivery {
    /// Records a message that is withheld from these subscribers.
    #[cold]
    pub(super) fn note_withheld(&mut self, from: &[Target], message: &Message<'_>, messages: u64) {
        for target in from {
            if self.is_for(target, message) {
                self.note_withheld_from(target.session, message, messages);
            }
        }
    }

    /// Records a run of QoS 0 messages, which have one topic.
    #[cold]
    pub(super) fn note_withheld_run(
        &mut self,
        from: &[Target],
        run: &Run<'_>,
        publisher: Option<SessionSlot>,
    ) {
        // Traces show each of them.
        let at_once = if self.trace_lines.has_room() { 1 } else { run.count };
        let publishes = packets_of(run).take((run.count / at_once.max(1)) as usize);
        for (publish, _) in publishes {
            self.note_withheld(from, &message_of(&publish, publisher), u64::from(at_once));
        }
    }

    /// Records messages, of which this is the first, that are withheld from the client of a session.
    #[cold]
    pub(in crate::logic) fn note_withheld_from(
        &mut self,
        session: SessionSlot,
        message: &Message<'_>,
        messages: u64,
    ) {
        self.counters().denied.add(Denied::Read, messages);
        self.trace_lines.add(&self.clients, session, |client| {
            WithheldMessage(client, message).to_string()
        });
        self.note_undelivered(
            Some(session),
            UndeliveredCause::Withheld,
            (message.topic, messages),
            |_| None,
            |client, _| tracing::debug!("{}", WithheldMessage(client, message)),
        );
    }

    /// Whether the client would get the message, or have it queued, if it had the right to read it.
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

/// A client and the message that is withheld from it, in the wording of mosquitto 2.1.
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
