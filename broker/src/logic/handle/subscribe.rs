//! Handles SUBSCRIBE.
//!
//! Invariants: the SUBACK has one code for each filter, in the order of the filters [MQTT-3.8.4-6], and precedes the
//! retained messages in `out`. Before that, the other shards' outboxes have this shard's interest. A filter that is
//! refused changes nothing. A Shared Subscription gets no retained messages [MQTT 5.0, 4.8.2].

use std::rc::Rc;
use std::sync::Arc;

use mqtt::frame::PacketType;
use mqtt::packet::{PacketIdentifier, RetainHandling, Subscribe, SubscribeFilters, SubscriptionOptions};
use mqtt::property::Property;
use mqtt::{ProtocolVersion, ReasonCode};

use crate::log;
use crate::logic::counters::Denied;
use crate::logic::filters_begun::{FILTERS_AT_ONCE, FiltersBegun};
use crate::logic::handle::Handler;
use crate::logic::handle::filters::filter_work;
use crate::logic::mount_point::mounted_filter;
use crate::logic::reason_string;
use crate::logic::retained_note::RetainedRequest;
use crate::logic::routing::subscription::{SessionPosition, Subscriber};
use crate::logic::session::Session;
use crate::logic::store::Record;
use crate::logic::via::Via;

/// One filter of a SUBSCRIBE with its options.
#[derive(Clone, Copy, Debug)]
struct Asked<'a> {
    filter: &'a str,
    options: SubscriptionOptions,
    identifier: Option<u32>,
}

/// The outcome of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SubscribeOutcome {
    New,
    Replaced,
    Shared,
}

impl Handler<'_> {
    /// Subscribes, answers, and sends the retained messages; false if it continues later.
    ///
    /// [MQTT3-3.8.4-1], [MQTT3-3.8.4-4], [MQTT3-3.9.3-1], [MQTT-3.8.4-1], [MQTT-3.8.4-5], [MQTT-3.9.3-1]
    pub(in crate::logic) fn handle_subscribe(
        &mut self,
        subscribe: &Subscribe<'_>,
        mut begun: FiltersBegun,
    ) -> bool {
        let identifier = subscribe.properties.subscription_identifier();
        if begun.reasons.is_empty() && !self.answer_fits(subscribe.filters.iter().count()) {
            return true;
        }
        let is_bridge = self.is_bridge();
        for (named, options) in subscribe.filters.after(begun.bytes).iter() {
            if begun.may_stop() && self.shard.work.is_spent() {
                return self.keep_unfinished(begun);
            }
            begun.bytes += SubscribeFilters::bytes_of(named);
            let delivery = &self.shard.delivery;
            let filter = mounted_filter(&delivery.clients, delivery.settings(), self.slot, named);
            let mut options = options;
            // As in mosquitto for the subscriptions of its own bridges.
            options.no_local |= is_bridge;
            options.retain_as_published |= is_bridge;
            let asked = Asked {
                filter: &filter,
                options,
                identifier,
            };
            self.shard
                .work
                .spend(filter_work(&filter, self.shard.outboxes.shards()));
            match self.subscribe(asked) {
                Ok(made) => {
                    self.log_subscribed(&asked);
                    begun.reasons.push(options.qos as u8);
                    if sends_retained(options.retain_handling, made) {
                        begun.requests.push(request(&asked));
                    }
                }
                Err(reason) => {
                    self.note_denied(&asked, reason);
                    begun.reasons.push(reason as u8);
                }
            }
        }
        if !begun.is_answered {
            begun.is_answered = true;
            begun.requests.reverse();
            self.answer_subscribe(subscribe.packet_identifier, &begun.reasons);
        }
        while let Some(request) = begun.requests.pop() {
            self.shard.work.spend(REQUEST_WORK);
            let shard = &mut *self.shard;
            let (delivery, outboxes) = (&mut shard.delivery, &mut shard.outboxes);
            shard
                .retained
                .request_retained(delivery, outboxes, self.session, request);
            if begun.requests.len() > FILTERS_AT_ONCE && self.shard.work.is_spent() {
                return self.keep_unfinished(begun);
            }
        }
        let shard = &mut *self.shard;
        shard
            .retained
            .walk(&mut shard.delivery, &shard.routing, &mut shard.outboxes);
        true
    }

    fn answer_subscribe(&mut self, packet_identifier: PacketIdentifier, reasons: &[u8]) {
        let why = reason_string::of_first(PacketType::SubAck, reasons);
        self.shard
            .delivery
            .send_explained_promise(self.slot, why, |out, version, properties| {
                mqtt::encode::suback(packet_identifier, properties, reasons, version, out);
            });
    }

    /// Whether the client is a bridge of another broker.
    fn is_bridge(&mut self) -> bool {
        let connection = self.shard.delivery.clients.connection(self.slot);
        connection.is_some_and(|connection| connection.is_bridge())
    }

    fn log_subscribed(&self, asked: &Asked<'_>) {
        if let Some(session) = self.shard.delivery.clients.session(self.session) {
            let client = session.client_identifier();
            tracing::info!(target: log::SUBSCRIBE, "{client} {} {}", asked.options.qos as u8, asked.filter);
        }
    }

    /// Subscribes; returns the outcome, or why it is refused.
    ///
    /// [MQTT-3.2.2-10]
    fn subscribe(&mut self, asked: Asked<'_>) -> Result<SubscribeOutcome, ReasonCode> {
        let is_shared = self.check_filter(asked.filter)?;
        self.check_rights(asked.filter)?;
        let made = if is_shared {
            self.subscribe_shared(&asked)?
        } else {
            self.subscribe_alone(&asked)?
        };
        self.record_subscribed(asked);
        Ok(made)
    }

    fn subscribe_alone(&mut self, asked: &Asked<'_>) -> Result<SubscribeOutcome, ReasonCode> {
        let session = self.session;
        let filter = self.shard.routing.find_or_insert(asked.filter);
        let listed = self
            .shard
            .routing
            .subscription_of(&self.shard.delivery.clients, session, filter);
        if listed.is_none() && !self.has_room_for(asked.filter) {
            self.shard.routing.drop_unused(filter);
            return Err(ReasonCode::QuotaExceeded);
        }
        let subscriber = |listed_at| Subscriber::new(session, listed_at, asked.options, asked.identifier);
        let made = match listed {
            Some((listed_at, listed)) => {
                let subscriber = subscriber(listed_at);
                self.shard.routing.replace(filter, listed.position, subscriber);
                SubscribeOutcome::Replaced
            }
            None => {
                let listed = self.shard.delivery.clients.session(session);
                let first = SessionPosition::from_index(0);
                let subscriber = subscriber(listed.map_or(first, Session::next_listed_at));
                let shard = &mut *self.shard;
                let (delivery, outboxes) = (&mut shard.delivery, &mut shard.outboxes);
                shard
                    .routing
                    .add_subscription(delivery, outboxes, filter, asked.filter, subscriber);
                SubscribeOutcome::New
            }
        };
        Ok(made)
    }

    fn subscribe_shared(&mut self, asked: &Asked<'_>) -> Result<SubscribeOutcome, ReasonCode> {
        let session = self.session;
        let group = self.shard.routing.find_or_insert_group(asked.filter);
        let listed_at = self
            .shard
            .routing
            .share_of(&self.shard.delivery.clients, session, group);
        if listed_at.is_none() && !self.has_room_for(asked.filter) {
            self.shard.routing.drop_unused_group(group);
            return Err(ReasonCode::QuotaExceeded);
        }
        let place = listed_at.unwrap_or(SessionPosition::from_index(0));
        let subscriber = Subscriber::new(session, place, asked.options, None);
        let name = self
            .shard
            .routing
            .group(group)
            .map(|group| Arc::clone(&group.name));
        let via = Rc::new(via(asked, name));
        let shard = &mut *self.shard;
        let (delivery, routing) = (&mut shard.delivery, &mut shard.routing);
        match listed_at {
            Some(_) => routing.replace_member(&delivery.clients, group, subscriber, via),
            None => routing.join_group(delivery, &mut shard.outboxes, group, subscriber, via),
        }
        Ok(SubscribeOutcome::Shared)
    }

    /// Whether the session may have another subscription, with that filter.
    fn has_room_for(&mut self, filter: &str) -> bool {
        !self.is_full() && {
            let clients = &mut self.shard.delivery.clients;
            clients.has_room_for_branches(self.session, filter)
        }
    }

    /// Whether the session has its maximum number of subscriptions, or the store has no space for another one.
    fn is_full(&self) -> bool {
        let delivery = &self.shard.delivery;
        let is_stored = || {
            delivery
                .clients
                .session(self.session)
                .is_some_and(Session::is_stored)
        };
        delivery.clients.subscriptions_of(self.session) >= self.shard.settings().subscriptions_max
            || (delivery.journal.is_full() && is_stored())
    }

    fn record_subscribed(&mut self, asked: Asked<'_>) {
        let Asked {
            filter,
            options,
            identifier,
        } = asked;
        let delivery = &mut self.shard.delivery;
        delivery.record(self.session, |session| Record::Subscribed {
            session,
            filter,
            options: options.to_byte(ProtocolVersion::V5),
            identifier: identifier.unwrap_or(0),
        });
    }

    /// Logs and counts a Topic Filter that is refused.
    #[cold]
    fn note_denied(&mut self, asked: &Asked<'_>, reason: ReasonCode) {
        let (filter, qos) = (asked.filter, asked.options.qos as u8);
        let why = match reason {
            // This is the meaning of a denial.
            ReasonCode::NotAuthorized => None,
            ReasonCode::QuotaExceeded => Some(self.full_in_words()),
            ReasonCode::TopicFilterInvalid => {
                let levels_max = self.shard.settings().topic_levels_max;
                Some(format!(
                    "it has more levels than max_topic_levels, {levels_max}, or is not a valid shared subscription"
                ))
            }
            other => Some(other.name().to_owned()),
        };
        let delivery = &mut self.shard.delivery;
        let what = format_args!("(q{qos}, '{filter}')");
        delivery.note_denied(self.session, Denied::Subscribe, filter, what, why.as_deref());
    }

    /// Why the session may not have another subscription.
    fn full_in_words(&self) -> String {
        let most = self.shard.settings().subscriptions_max;
        if self.shard.delivery.clients.subscriptions_of(self.session) >= most {
            format!("it has {most} subscriptions, the limit that max_subscriptions sets")
        } else if self.is_full() {
            "the disk has no space for more".to_owned()
        } else {
            "the wildcards of its filters are at too many different levels".to_owned()
        }
    }

    /// A filter is refused if the client may not read any topic that it matches.
    fn check_rights(&self, filter: &str) -> Result<(), ReasonCode> {
        let session = self.shard.delivery.clients.session(self.session);
        let rights = session.and_then(|session| session.rights());
        match rights {
            Some(rights) if !rights.access().may_subscribe(filter) => Err(ReasonCode::NotAuthorized),
            // `$CONTROL` is available only to clients to which a rule of an ACL file gives it.
            None if is_control(filter) => Err(ReasonCode::NotAuthorized),
            _ => Ok(()),
        }
    }

    /// Checks whether the broker accepts the filter; returns whether it is shared [MQTT-4.8.2-1], [MQTT-4.8.2-2].
    fn check_filter(&self, filter: &str) -> Result<bool, ReasonCode> {
        let levels_max = usize::from(self.shard.settings().topic_levels_max);
        let shared = mqtt::topic::shared(filter).map_err(|_| ReasonCode::TopicFilterInvalid)?;
        if mqtt::topic::slashes(shared.map_or(filter, |shared| shared.filter)) > levels_max {
            return Err(ReasonCode::TopicFilterInvalid);
        }
        Ok(shared.is_some())
    }
}

/// Whether a filter is below `$CONTROL`, shared or not.
fn is_control(filter: &str) -> bool {
    let shared = mqtt::topic::shared(filter).ok().flatten();
    let filter = shared.map_or(filter, |shared| shared.filter);
    mqtt::topic::levels(filter).next() == Some("$CONTROL")
}

fn sends_retained(handling: RetainHandling, made: SubscribeOutcome) -> bool {
    match handling {
        _ if made == SubscribeOutcome::Shared => false,
        // [MQTT-3.3.1-9] to [MQTT-3.3.1-11]
        RetainHandling::SendAtSubscribe => true,
        RetainHandling::SendIfNew => made == SubscribeOutcome::New,
        RetainHandling::DoNotSend => false,
    }
}

/// The request for the retained messages.
fn request(asked: &Asked<'_>) -> RetainedRequest {
    RetainedRequest {
        filter: asked.filter.into(),
        qos: asked.options.qos,
        no_local: asked.options.no_local,
        via: asked.identifier.map(|_| Rc::new(via(asked, None))),
    }
}

/// Units of work to request the retained messages of a filter.
const REQUEST_WORK: u64 = 12;

fn via(asked: &Asked<'_>, group: Option<Arc<str>>) -> Via {
    let mut via = Via {
        group,
        ..Via::default()
    };
    if let Some(identifier) = asked.identifier {
        // It was decoded from a packet, so it is in its range.
        let _ = via.identifiers.push(Property::SubscriptionIdentifier(identifier));
    }
    via
}
