//! Messages that a client was to get and does not: they are counted, and the first of a turn are remembered.
//!
//! Invariants: each is counted once. What is remembered says which limit was reached, and its value.

use crate::limits;
use crate::logic::counters::{ClientEvent, DropReason, EventKind};
use crate::logic::delivery::Delivery;
use crate::logic::delivery::fan_out::packets_of;
use crate::logic::message::Run;
use crate::logic::routing::route::Target;
use crate::logic::session::SessionSlot;
use crate::logic::unpublishable::Unpublishable;
use crate::settings::UNLIMITED;

impl Delivery {
    /// Counts a message that the client of a session was to get and does not; the first of a turn are remembered.
    #[cold]
    pub(in crate::logic) fn drop_for(&mut self, session: SessionSlot, topic: &str, reason: DropReason) {
        self.count_dropped(reason);
        self.remember_dropped(Some(session), topic, reason, None);
    }

    /// As [`Self::drop_for`], of a message with so many payload bytes that is too large for the client, or of another
    /// one.
    #[cold]
    pub(in crate::logic) fn drop_of_size(
        &mut self,
        session: SessionSlot,
        topic: &str,
        payload_bytes: usize,
        reason: DropReason,
    ) {
        self.count_dropped(reason);
        self.remember_dropped(Some(session), topic, reason, Some(payload_bytes));
    }

    /// Counts a message that the broker does not take of the client of a session.
    #[cold]
    pub(in crate::logic) fn drop_unpublishable(
        &mut self,
        session: SessionSlot,
        topic: &str,
        why: Unpublishable,
    ) {
        let reason = why.drop_reason();
        self.count_dropped(reason);
        if self.remembers_one_more() {
            self.remember(Some(session), topic, reason, Some(why.to_string()));
        }
    }

    /// Counts a run of messages for which there is no room; it is remembered as one.
    #[cold]
    #[inline(never)]
    pub(super) fn drop_run_for(&mut self, target: &Target, run: &Run<'_>) {
        let reason = DropReason::SlowConsumer;
        self.counters().count_dropped(reason, u64::from(run.count));
        if let Some((publish, _)) = packets_of(run).next() {
            self.remember_dropped(Some(target.session), publish.topic, reason, None);
        }
    }

    /// Counts a message of a group that no member can take.
    #[cold]
    pub(in crate::logic) fn drop_for_group(&mut self, topic: &str) {
        self.count_dropped(DropReason::NoMember);
        self.remember_dropped(None, topic, DropReason::NoMember, None);
    }

    /// Counts a message that one client was to get and does not.
    #[cold]
    pub(in crate::logic) fn count_dropped(&self, reason: DropReason) {
        self.counters().count_dropped(reason, 1);
    }

    /// A turn begins: some drops of it will be remembered.
    pub(in crate::logic) fn begin_turn(&mut self) {
        self.drops_remembered = 0;
    }

    /// Remembers a drop, if it is among the first of the turn; `session` is none if it is for no single client.
    fn remember_dropped(
        &mut self,
        session: Option<SessionSlot>,
        topic: &str,
        reason: DropReason,
        payload_bytes: Option<usize>,
    ) {
        if self.remembers_one_more() {
            let detail = session.and_then(|session| self.drop_detail(session, reason, payload_bytes));
            self.remember(session, topic, reason, detail);
        }
    }

    fn remembers_one_more(&mut self) -> bool {
        self.drops_remembered += 1;
        self.drops_remembered <= limits::DROPS_REMEMBERED_A_TURN
    }

    fn remember(
        &self,
        session: Option<SessionSlot>,
        topic: &str,
        reason: DropReason,
        detail: Option<String>,
    ) {
        let session = session.and_then(|session| self.clients.session(session));
        let client = session.map_or("", |session| session.client_identifier());
        let event = ClientEvent::new(self.now, EventKind::Dropped, reason.label(), client);
        let event = event.with_topic(topic).with_detail(detail.as_deref());
        self.counters().events.add(event);
    }

    /// Which limit was reached, in words.
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
                    "the payload has {bytes} bytes, and the client takes packets of {most} bytes at most"
                ))
            }
            DropReason::SlowConsumer => {
                let bytes = connection?.waiting_bytes();
                Some(format!("{bytes} bytes wait for its socket"))
            }
            _ => None,
        }
    }
}

/// A bound of the settings, as the configuration has it.
fn named(key: &str, bound: u64) -> String {
    match bound {
        UNLIMITED => format!("{key} 0"),
        bound => format!("{key} {bound}"),
    }
}
