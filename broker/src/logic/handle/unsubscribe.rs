//! Handles UNSUBSCRIBE.
//!
//! Invariants: after the UNSUBACK no message that is published later goes to the session because of the filter
//! [MQTT-3.10.4-2]. Messages in flight or in the queue are still delivered [MQTT-3.10.4-3], including those of a
//! group. A Shared Subscription is found by its whole text, including `$share/...`. Removing a subscription takes a
//! fixed number of steps.

use mqtt::ReasonCode;
use mqtt::frame::PacketType;
use mqtt::packet::{Unsubscribe, UnsubscribeFilters};

use crate::log;
use crate::logic::Shard;
use crate::logic::counters::Denied;
use crate::logic::filters_begun::FiltersBegun;
use crate::logic::handle::Handler;
use crate::logic::handle::filters::filter_work;
use crate::logic::mount_point::mounted_filter;
use crate::logic::reason_string;
use crate::logic::session::SessionSlot;
use crate::logic::store::Record;

impl Handler<'_> {
    /// Removes subscriptions, filter by filter [MQTT-3.10.4-6]; false if it continues later.
    ///
    /// [MQTT3-3.10.4-5], [MQTT3-3.10.4-6], [MQTT-3.10.4-4], [MQTT-3.11.3-1]
    pub(in crate::logic) fn handle_unsubscribe(
        &mut self,
        unsubscribe: &Unsubscribe<'_>,
        mut begun: FiltersBegun,
    ) -> bool {
        if begun.reasons.is_empty() && !self.answer_fits(unsubscribe.filters.iter().count()) {
            return true;
        }
        for named in unsubscribe.filters.after(begun.bytes).iter() {
            if begun.may_stop() && self.shard.work.is_spent() {
                return self.keep_unfinished(begun);
            }
            begun.bytes += UnsubscribeFilters::bytes_of(named);
            let delivery = &self.shard.delivery;
            let filter = mounted_filter(&delivery.clients, delivery.settings(), self.slot, named);
            self.shard
                .work
                .spend(filter_work(&filter, self.shard.outboxes.shards()));
            let reason = self.unsubscribe(&filter);
            begun.reasons.push(reason as u8);
        }
        let (packet_identifier, reasons) = (unsubscribe.packet_identifier, &begun.reasons);
        let why = reason_string::of_first(PacketType::UnsubAck, reasons);
        self.shard
            .delivery
            .send_explained_promise(self.slot, why, |out, version, properties| {
                mqtt::encode::unsuback(packet_identifier, properties, reasons, version, out);
            });
        true
    }

    // [MQTT3-3.10.4-1]
    fn unsubscribe(&mut self, filter: &str) -> ReasonCode {
        if !self.may_unsubscribe(filter) {
            return ReasonCode::NotAuthorized;
        }
        let shard = &mut *self.shard;
        if !shard.drop_subscription(self.session, filter) {
            return ReasonCode::NoSubscriptionExisted;
        }
        let delivery = &mut self.shard.delivery;
        if let Some(session) = delivery.clients.session(self.session) {
            tracing::info!(target: log::UNSUBSCRIBE, "{} {filter}", session.client_identifier());
        }
        delivery.record(self.session, |session| Record::Unsubscribed { session, filter });
        ReasonCode::Success
    }

    /// Whether the rules allow the client to end it; logs and counts a denial.
    fn may_unsubscribe(&mut self, filter: &str) -> bool {
        let delivery = &mut self.shard.delivery;
        let session = delivery.clients.session(self.session);
        let rights = session.and_then(|session| session.rights());
        let may = rights.is_none_or(|rights| rights.access().may_unsubscribe(filter));
        if !may {
            let what = format_args!("(UNSUBSCRIBE '{filter}')");
            delivery.note_denied(self.session, Denied::Subscribe, filter, what, None);
        }
        may
    }
}

impl Shard {
    /// Removes the subscription with that whole text; returns whether it existed.
    pub(in crate::logic) fn drop_subscription(&mut self, session: SessionSlot, filter: &str) -> bool {
        let (delivery, routing, outboxes) = (&mut self.delivery, &mut self.routing, &mut self.outboxes);
        if let Some(group) = routing.find_group(filter) {
            let at = routing.share_of(&delivery.clients, session, group);
            return at
                .inspect(|&at| routing.leave_group(delivery, outboxes, session, at))
                .is_some();
        }
        let filter = routing.find(filter);
        let listed = filter.and_then(|filter| routing.subscription_of(&delivery.clients, session, filter));
        listed
            .inspect(|&(at, _)| routing.drop_subscription(delivery, outboxes, session, at))
            .is_some()
    }
}
