//! Topic Aliases that clients send [MQTT 5.0, 3.3.2.3.4], and the other properties of a PUBLISH that apply only to
//! this network connection.
//!
//! Invariant: the map of aliases lives as long as the connection. It has an entry for an alias only after a PUBLISH
//! that had both the alias and a topic.

use mqtt::ReasonCode;
use mqtt::packet::Publish;
use mqtt::property::{Properties, PropertiesBuf, Property};

use crate::limits;
use crate::logic::handle::Handler;
use crate::logic::inconsistency::unreachable_state;

impl Handler<'_> {
    /// The Topic Alias, if there is one. On an error the connection is closed.
    pub(super) fn check_properties(&mut self, publish: &Publish<'_>) -> Result<Option<u16>, ()> {
        if publish.properties.subscription_identifier().is_some() {
            // [MQTT-3.3.4-6]
            self.protocol_error(
                ReasonCode::ProtocolError,
                "a Subscription Identifier in a client's PUBLISH",
            );
            return Err(());
        }
        let Some(alias) = publish.properties.topic_alias() else {
            return Ok(None);
        };
        let Some(listener) = self.shard.delivery.clients.listener_of(self.slot) else {
            unreachable_state("a client whose connection is gone");
            return Err(());
        };
        let alias_max = self.shard.settings().listener(listener).topic_alias_max;
        if alias.get() > alias_max.min(limits::TOPIC_ALIASES_MAX) {
            // [MQTT-3.3.2-9]
            self.protocol_error(ReasonCode::TopicAliasInvalid, "a Topic Alias above the maximum");
            return Err(());
        }
        Ok(Some(alias.get()))
    }

    /// The topic that an alias stands for, taken out of the map; a topic sent with it replaces it.
    pub(super) fn resolve_alias(&mut self, alias: u16, topic: &str) -> Option<Box<str>> {
        if !topic.is_empty() {
            return Some(topic.into());
        }
        let known = self
            .shard
            .delivery
            .clients
            .connection(self.slot)?
            .take_alias(alias);
        if known.is_none() {
            // [MQTT-3.3.2-7] and section 3.3.2.3.4.
            self.protocol_error(ReasonCode::ProtocolError, "a Topic Alias that was not set");
        }
        known
    }

    pub(super) fn set_alias(&mut self, alias: u16, topic: Box<str>) {
        let Some(connection) = self.shard.delivery.clients.connection(self.slot) else {
            return unreachable_state("a client whose connection is gone");
        };
        connection.set_alias(alias, topic);
    }
}

pub(super) fn without_alias(properties: Properties<'_>) -> PropertiesBuf {
    let mut kept = PropertiesBuf::new();
    for property in properties
        .iter()
        .filter(|property| !matches!(property, Property::TopicAlias(_)))
    {
        // Properties of one packet fit into another.
        let _ = kept.push(property);
    }
    kept
}
