//! Carries packets between the two brokers of a bridge, without I/O.
//!
//! A message keeps its Packet Identifier, and each acknowledgement is passed on: so the sessions of the two brokers are
//! the two ends of one exchange, whatever breaks between them, and the bridge itself has nothing to remember. What one
//! side cannot take as it came is exchanged here instead: see `flow.rs`.
//!
//! Invariants: a message at QoS 1 or 2 is acknowledged where it came from once it is acknowledged where it went, or
//! when it is not carried, which is logged. What the two directions have in flight does not mix: acknowledgements of
//! one are never those of the other.

use mqtt::frame::{Frame, PacketType};
use mqtt::packet::{Ack, Packet, PacketIdentifier, Publish};
use mqtt::property::{Properties, PropertiesBuf, Property};
use mqtt::{DecodeError, ProtocolVersion, QoS, ReasonCode, decode};
use std::borrow::Cow;
use std::sync::Arc;

use super::connect::BrokerTerms;
use super::flow::{AckOwner, Flow};
use crate::bridge_settings::BridgeSettings;
use crate::limits;

/// One of the two brokers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// The broker that the bridge belongs to.
    Local,
    /// The broker that the bridge leads to.
    Remote,
}

/// What a packet came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Handled {
    /// A message was carried.
    Carried,
    /// A message was not carried: why, and its topic.
    Dropped(NotCarried, String),
    /// The other broker did not accept a message that was carried.
    Refused(ReasonCode),
    /// An answer to a SUBSCRIBE, with its Reason Codes.
    Subscribed(Vec<u8>),
    /// The broker ends the connection.
    Disconnected(ReasonCode),
    /// Nothing that anybody else has to know.
    Nothing,
}

/// Why a message is not carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotCarried {
    /// No topic of the bridge has it, or its name on the other side would be none.
    NoTopic,
    /// It is larger than a packet may be there.
    TooLarge,
    /// Neither broker takes anything.
    Stalled,
}

/// What a broker sent that it may not send.
#[derive(Debug, thiserror::Error)]
pub(super) enum PipeError {
    #[error("a malformed packet: {0}")]
    Malformed(#[from] DecodeError),
    #[error("a packet that no server sends: {0:?}")]
    Foreign(PacketType),
    #[error("a Topic Alias that it has not set")]
    Alias,
}

/// Where packets go: back to where one came from, and on to the other broker.
pub(super) struct PipeOutputs<'a> {
    pub(super) back: &'a mut Vec<u8>,
    pub(super) onward: &'a mut Vec<u8>,
}

/// The exchange between two brokers that both have accepted the bridge.
pub(super) struct Pipe {
    settings: Arc<BridgeSettings>,
    to_remote: Flow,
    to_local: Flow,
    /// Topics that the other broker has given numbers.
    aliases: Vec<Option<Box<str>>>,
}

impl Pipe {
    pub(super) fn new(settings: Arc<BridgeSettings>, local: &BrokerTerms, remote: &BrokerTerms) -> Self {
        let mut to_remote = Flow::new(settings.version, remote);
        let mut to_local = Flow::new(ProtocolVersion::V5, local);
        let bound = settings.packet_bytes_max;
        to_remote.bound_packets(bound);
        // One of them has forgotten what the other one still remembers: its identifiers begin anew.
        if remote.session_present && !local.session_present {
            to_remote.release_before_use();
        }
        if local.session_present && !remote.session_present {
            to_local.release_before_use();
        }
        if !settings.outgoing_retain {
            to_remote.retain_available = false;
        }
        if settings.notifications.remote_topic().is_some() && to_remote.qos_max > QoS::AtMostOnce {
            to_remote.awaits_own();
        }
        if settings.notifications.local_topic().is_some() {
            to_local.awaits_own();
        }
        Self {
            to_remote,
            to_local,
            aliases: Vec::new(),
            settings,
        }
    }

    /// Handles a packet of a broker.
    ///
    /// # Errors
    /// It is none that a server may send.
    pub(super) fn handle(
        &mut self,
        from: Side,
        frame: &Frame<'_>,
        out: &mut PipeOutputs<'_>,
    ) -> Result<Handled, PipeError> {
        let version = match from {
            Side::Local => ProtocolVersion::V5,
            Side::Remote => self.settings.version,
        };
        match decode::packet(frame, version)? {
            Packet::Publish(publish) => self.publish(from, &publish, out),
            Packet::PubRel(ack) => {
                if let Some(answer) = self.onward(from).release(ack.packet_identifier) {
                    encode(PacketType::PubComp, &answer, version, out.back);
                } else {
                    let to = self.onward(from).version;
                    encode(PacketType::PubRel, &plain(&ack), to, out.onward);
                }
                Ok(Handled::Nothing)
            }
            Packet::PubAck(ack) => Ok(self.acknowledge(from, PacketType::PubAck, &ack, out)),
            Packet::PubRec(ack) => Ok(self.acknowledge(from, PacketType::PubRec, &ack, out)),
            Packet::PubComp(ack) => Ok(self.acknowledge(from, PacketType::PubComp, &ack, out)),
            Packet::SubAck(ack) => Ok(Handled::Subscribed(ack.reason_codes.to_vec())),
            Packet::UnsubAck(_) | Packet::PingResp => Ok(Handled::Nothing),
            Packet::Disconnect(disconnect) => Ok(Handled::Disconnected(disconnect.reason)),
            _ => Err(PipeError::Foreign(frame.packet_type)),
        }
    }

    /// An acknowledgement of what was carried to the broker that it comes from.
    fn acknowledge(
        &mut self,
        from: Side,
        packet_type: PacketType,
        ack: &Ack<'_>,
        out: &mut PipeOutputs<'_>,
    ) -> Handled {
        let to = self.onward(from).version;
        match self.back(from).acknowledged(packet_type, ack.packet_identifier) {
            AckOwner::Own => return Handled::Nothing,
            AckOwner::AsOnce => encode(PacketType::PubRec, &plain(ack), to, out.onward),
            AckOwner::Carried => encode(packet_type, &plain(ack), to, out.onward),
        }
        match ack.reason.is_error() && packet_type != PacketType::PubComp {
            true => Handled::Refused(ack.reason),
            false => Handled::Nothing,
        }
    }

    fn publish(
        &mut self,
        from: Side,
        publish: &Publish<'_>,
        out: &mut PipeOutputs<'_>,
    ) -> Result<Handled, PipeError> {
        let aliased;
        let topic = match from {
            Side::Local => publish.topic,
            Side::Remote => {
                aliased = self.resolve(publish)?;
                &*aliased
            }
        };
        let name = match from {
            Side::Local => self.settings.topics.to_remote(topic),
            Side::Remote => self.settings.topics.to_local(topic),
        };
        let Some(name) = name.map(Cow::into_owned) else {
            return Ok(self.drop_message(from, NotCarried::NoTopic, publish, topic, out));
        };
        let flow = self.onward(from);
        let qos = publish.qos.min(flow.qos_max);
        let properties = message_properties(publish.properties);
        let carried = Publish {
            dup: publish.dup && qos != QoS::AtMostOnce,
            qos,
            retain: publish.retain && flow.retain_available,
            topic: &name,
            packet_identifier: publish.packet_identifier,
            properties: properties.as_properties(),
            payload: publish.payload,
        };
        if qos == QoS::AtMostOnce && out.onward.len() > limits::BRIDGE_OUTPUT_CAP_BYTES {
            return Ok(self.drop_message(from, NotCarried::Stalled, publish, topic, out));
        }
        if !flow.append(&carried, publish.qos, out.onward) {
            return Ok(self.drop_message(from, NotCarried::TooLarge, publish, topic, out));
        }
        if qos == QoS::AtMostOnce {
            self.answer(from, publish, ReasonCode::Success, out);
        }
        Ok(Handled::Carried)
    }

    /// Acknowledges a message that goes nowhere, so that it does not come again.
    fn drop_message(
        &mut self,
        from: Side,
        why: NotCarried,
        publish: &Publish<'_>,
        topic: &str,
        out: &mut PipeOutputs<'_>,
    ) -> Handled {
        let reason = match why {
            NotCarried::NoTopic => ReasonCode::Success,
            NotCarried::TooLarge | NotCarried::Stalled => ReasonCode::ImplementationSpecificError,
        };
        self.answer(from, publish, reason, out);
        Handled::Dropped(why, topic.to_owned())
    }

    /// Acknowledges a message here, for nobody else will.
    fn answer(&mut self, from: Side, publish: &Publish<'_>, reason: ReasonCode, out: &mut PipeOutputs<'_>) {
        let version = self.back(from).version;
        let Some(packet_identifier) = publish.packet_identifier else {
            // QoS 0.
            return;
        };
        let answer = Ack {
            packet_identifier,
            reason,
            properties: Properties::EMPTY,
        };
        if publish.qos == QoS::AtLeastOnce {
            return encode(PacketType::PubAck, &answer, version, out.back);
        }
        encode(PacketType::PubRec, &answer, version, out.back);
        if version != ProtocolVersion::V5 || !reason.is_error() {
            self.onward(from).expect_release(packet_identifier);
        }
    }

    /// The topic of a message of the other broker, which may be a number that it has set.
    fn resolve(&mut self, publish: &Publish<'_>) -> Result<Box<str>, PipeError> {
        let Some(alias) = publish.properties.topic_alias() else {
            return Ok(publish.topic.into());
        };
        if alias.get() > self.settings.topic_alias_max {
            return Err(PipeError::Alias);
        }
        let index = usize::from(alias.get()) - 1;
        if self.aliases.len() <= index {
            self.aliases.resize(index + 1, None);
        }
        let place = self.aliases.get_mut(index).ok_or(PipeError::Alias)?;
        if !publish.topic.is_empty() {
            *place = Some(publish.topic.into());
        }
        place.clone().ok_or(PipeError::Alias)
    }

    /// What goes to the broker that a packet did not come from.
    fn onward(&mut self, from: Side) -> &mut Flow {
        match from {
            Side::Local => &mut self.to_remote,
            Side::Remote => &mut self.to_local,
        }
    }

    /// What goes to the broker that a packet came from.
    fn back(&mut self, from: Side) -> &mut Flow {
        match from {
            Side::Local => &mut self.to_local,
            Side::Remote => &mut self.to_remote,
        }
    }

    /// Whether the bridge has nothing to exchange by itself.
    #[cfg(test)]
    fn is_idle(&self) -> bool {
        self.to_local.is_idle() && self.to_remote.is_idle()
    }
}

/// Those that belong to the message, and not to the connection that it came by.
fn message_properties(properties: Properties<'_>) -> PropertiesBuf {
    let mut kept = PropertiesBuf::new();
    let is_of_connection = |property: &Property<'_>| {
        matches!(
            property,
            Property::TopicAlias(_) | Property::SubscriptionIdentifier(_)
        )
    };
    for property in properties.iter().filter(|property| !is_of_connection(property)) {
        // What was in one packet fits in another one.
        let _fits = kept.push(property);
    }
    kept
}

/// An acknowledgement without what only its own connection is to know.
fn plain<'a>(ack: &Ack<'_>) -> Ack<'a> {
    Ack {
        packet_identifier: ack.packet_identifier,
        reason: ack.reason,
        properties: Properties::EMPTY,
    }
}

fn encode(packet_type: PacketType, ack: &Ack<'_>, version: ProtocolVersion, out: &mut Vec<u8>) {
    ack.encode(packet_type, version, out);
}

/// An identifier as an acknowledgement of success.
pub(super) fn success(packet_identifier: PacketIdentifier) -> Ack<'static> {
    Ack {
        packet_identifier,
        reason: ReasonCode::Success,
        properties: Properties::EMPTY,
    }
}

#[cfg(test)]
mod tests;
