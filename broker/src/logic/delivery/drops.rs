//! Messages that are dropped: each is counted, shown in the traces of its client, recorded and logged
//! (`undelivered.rs`).
//!
//! Invariants: each is counted once. The record says which limit was reached, and its value.

use crate::log::NOTICE;
use crate::logic::counters::{ClientEvent, DropReason};
use crate::logic::delivery::Delivery;
use crate::logic::delivery::fan_out::packets_of;
use crate::logic::delivery::undelivered::UndeliveredCause;
use crate::logic::message::Run;
use crate::logic::routing::route::Target;
use crate::logic::session::ends::SessionEnd;
use crate::logic::session::messages::Undeliverable;
use crate::logic::session::{Session, SessionSlot};
use crate::logic::unpublishable::Unpublishable;
use crate::settings::UNLIMITED;

impl Delivery {
    /// Counts a message that the client of a session should have got.
    #[cold]
    pub(in crate::logic) fn drop_for(&mut self, session: SessionSlot, topic: &str, reason: DropReason) {
        self.drop_for_session(session, (topic, 1), reason, None);
    }

    /// As [`Self::drop_for`], for a message with this many payload bytes, which may be too large for the client.
    #[cold]
    pub(in crate::logic) fn drop_of_size(
        &mut self,
        session: SessionSlot,
        topic: &str,
        payload_bytes: usize,
        reason: DropReason,
    ) {
        self.drop_for_session(session, (topic, 1), reason, Some(payload_bytes));
    }

    /// Counts a message from the client of a session that the broker does not accept.
    #[cold]
    pub(in crate::logic) fn drop_unpublishable(
        &mut self,
        session: SessionSlot,
        topic: &str,
        why: Unpublishable,
    ) {
        let reason = why.drop_reason();
        self.counters().count_dropped(reason, 1);
        self.trace_lines.add(&self.clients, session, |client| {
            format!("Dropped PUBLISH from {client} ('{topic}'): {why}")
        });
        self.note_undelivered(
            Some(session),
            UndeliveredCause::Dropped(reason),
            (topic, 1),
            |_| Some(why.to_string()),
            |client, _| {
                tracing::info!(target: NOTICE, "Messages from client {client} are being dropped: {why}.");
            },
        );
    }

    /// Counts a run of messages for which there is no room.
    #[cold]
    #[inline(never)]
    pub(super) fn drop_run_for(&mut self, target: &Target, run: &Run<'_>) {
        if let Some((publish, _)) = packets_of(run).next() {
            let messages = (publish.topic, u64::from(run.count));
            self.drop_for_session(target.session, messages, DropReason::SlowConsumer, None);
        }
    }

    /// Counts a message of a group that no member can take.
    #[cold]
    pub(in crate::logic) fn drop_for_group(&mut self, group: &str, topic: &str) {
        let detail = |_: &Self| Some(format!("no member of {} could take it", ClientEvent::cut(group)));
        self.drop_messages(None, (topic, 1), DropReason::NoMember, detail);
    }

    /// Counts a retained message that a subscriber does not get because its publisher may no longer publish there.
    #[cold]
    pub(in crate::logic) fn drop_of_source(&mut self, topic: &str) {
        let why = "a retained message whose publisher may no longer publish there (check_retain_source)";
        self.drop_messages(None, (topic, 1), DropReason::NotAllowed, |_| Some(why.to_owned()));
    }

    /// Counts a Will that is published and not retained.
    #[cold]
    pub(in crate::logic) fn drop_retained_will(&mut self, client: &str, topic: &str, why: Unpublishable) {
        let reason = why.drop_reason();
        self.counters().count_dropped(reason, 1);
        let detail = format!("its Will is not retained: {why}");
        let cause = UndeliveredCause::Dropped(reason);
        self.remember_undelivered(client, cause, (topic, 1), Some(&detail));
        tracing::warn!("The Will of {client} is not retained: {why}.");
    }

    /// Counts messages of a session that the store cannot read.
    #[cold]
    pub(in crate::logic) fn drop_unreadable(&mut self, session: SessionSlot, messages: u64) {
        self.drop_for_session(session, ("", messages), DropReason::Unreadable, None);
    }

    /// Counts messages that waited for a session in the store and have expired.
    #[cold]
    pub(super) fn drop_stored_expired(&mut self, session: SessionSlot, messages: u64) {
        self.drop_for_session(session, ("", messages), DropReason::Expired, None);
    }

    /// Counts the messages that are lost because the session of their client ended.
    #[cold]
    pub(in crate::logic) fn drop_with_session(
        &mut self,
        session: &Session,
        end: SessionEnd,
        lost: &Undeliverable,
    ) {
        let messages = lost.messages();
        if messages == 0 {
            return;
        }
        let (reason, client, why) = (DropReason::SessionEnded, session.client_identifier(), end.words());
        self.counters().count_dropped(reason, messages);
        let of_topics = lost.topics.iter().map(|(topic, messages)| (&**topic, *messages));
        let others = Some(("", lost.others)).filter(|&(_, messages)| messages > 0);
        for what in of_topics.chain(others) {
            self.remember_undelivered(client, UndeliveredCause::Dropped(reason), what, Some(why));
        }
        let first = lost.topics.first().map(|(topic, _)| ClientEvent::cut(topic));
        let first = first.map(|topic| format!(", the first one to '{topic}'"));
        let first = first.unwrap_or_default();
        let text = format!("{messages} messages are dropped for client {client}{first}: {why}");
        tracing::info!(target: NOTICE, "{text}.");
        let user = session.user();
        self.trace_lines.add_of((client, user), None, || text);
    }

    /// Counts messages that the client of a session should have got, with the limit that was reached.
    fn drop_for_session(
        &mut self,
        session: SessionSlot,
        messages: (&str, u64),
        reason: DropReason,
        payload_bytes: Option<usize>,
    ) {
        self.drop_messages(Some(session), messages, reason, |delivery| {
            delivery.drop_detail(session, reason, payload_bytes)
        });
    }

    /// Counts messages of a topic; `session` is `None` if they are for no single client.
    fn drop_messages(
        &mut self,
        session: Option<SessionSlot>,
        messages: (&str, u64),
        reason: DropReason,
        detail: impl FnOnce(&Self) -> Option<String>,
    ) {
        self.counters().count_dropped(reason, messages.1);
        if let Some(session) = session {
            self.trace_lines.add(&self.clients, session, |client| {
                let reason = reason.label();
                match messages {
                    ("", number) => format!("Dropped {number} PUBLISH to {client}: {reason}"),
                    (topic, 1) => format!("Dropped PUBLISH to {client} ('{topic}'): {reason}"),
                    (topic, number) => format!("Dropped {number} PUBLISH to {client} ('{topic}'): {reason}"),
                }
            });
        }
        self.note_undelivered(
            session,
            UndeliveredCause::Dropped(reason),
            messages,
            detail,
            |client, detail| {
                let (detail, reason) = (detail.unwrap_or_default(), reason.label());
                let separator = if detail.is_empty() { "" } else { ", " };
                match session {
                    // mosquitto's wording, with the reason.
                    Some(_) => tracing::info!(
                        target: NOTICE,
                        "Outgoing messages are being dropped for client {client}: {reason}{separator}{detail}."
                    ),
                    None => tracing::info!(
                        target: NOTICE,
                        "Messages to '{}' are being dropped: {reason}{separator}{detail}.",
                        ClientEvent::cut(messages.0)
                    ),
                }
            },
        );
    }

    /// The limit that was reached, as a sentence.
    fn drop_detail(
        &self,
        session: SessionSlot,
        reason: DropReason,
        payload_bytes: Option<usize>,
    ) -> Option<String> {
        let connection = self.clients.connections().get(self.clients.link(session));
        match reason {
            DropReason::QueueFull => {
                let queue = self.clients.session(session)?.queue()?;
                let (messages, bytes) = (queue.len(), queue.bytes_all());
                let settings = self.settings();
                let (most, bytes_max) = (settings.queued_messages_max, settings.queued_bytes_max);
                let (most, bytes_max) = (
                    named("max_queued_messages", most),
                    named("max_queued_bytes", bytes_max),
                );
                Some(format!(
                    "{messages} messages with {bytes} bytes wait in its queue ({most}, {bytes_max})"
                ))
            }
            DropReason::TooLarge => {
                let (bytes, most) = (payload_bytes?, connection?.packet_bytes_max());
                Some(format!(
                    "the payload has {bytes} bytes, but the client accepts packets of {most} bytes at most"
                ))
            }
            DropReason::SlowConsumer => {
                let bytes = connection?.waiting_bytes();
                Some(format!("{bytes} bytes wait for its socket"))
            }
            DropReason::MemoryFull => Some("memory_limit is reached, so nothing is queued".to_owned()),
            _ => None,
        }
    }
}

/// A limit of the settings, as written in the configuration.
fn named(key: &str, bound: u64) -> String {
    match bound {
        UNLIMITED => format!("{key} 0"),
        bound => format!("{key} {bound}"),
    }
}
