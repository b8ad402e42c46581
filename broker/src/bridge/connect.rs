//! What a bridge sends first to either broker, and what it learns from their CONNACKs.
//!
//! Invariants: the Packet Identifiers of a bridge's own packets are the highest ones, and they are sent before anything
//! is carried, so that their answers come first.

use std::num::NonZeroU16;

use mqtt::frame::Frame;
use mqtt::packet::{ConnAck, Connect, PacketIdentifier, Publish, RetainHandling, SubscriptionOptions, Will};
use mqtt::property::{Properties, PropertiesBuf, Property};
use mqtt::{ProtocolVersion, QoS, ReasonCode, encode};

use crate::bridge_settings::{BridgeSettings, BridgeTopic};

/// Of SUBSCRIBE and UNSUBSCRIBE.
const SUBSCRIBE: PacketIdentifier = PacketIdentifier::MAX;
/// Of the message that the bridge is connected.
pub(super) const STATE: PacketIdentifier = PacketIdentifier::MAX;

/// What a broker takes and has, by its CONNACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BrokerTerms {
    pub(super) session_present: bool,
    pub(super) qos_max: QoS,
    pub(super) retain_available: bool,
    /// Bytes that a packet to it may have.
    pub(super) packet_bytes_max: Option<u32>,
    /// Messages in flight to it.
    pub(super) receive_max: Option<NonZeroU16>,
    /// Seconds, where the broker says other ones than were asked for.
    pub(super) keep_alive_s: Option<u16>,
}

impl BrokerTerms {
    /// What a CONNACK says.
    ///
    /// # Errors
    /// The reason for which the broker refuses.
    pub(super) fn of(connack: &ConnAck<'_>) -> Result<Self, ReasonCode> {
        if connack.reason.is_error() {
            return Err(connack.reason);
        }
        let properties = &connack.properties;
        Ok(Self {
            session_present: connack.session_present,
            qos_max: properties.maximum_qos().unwrap_or(QoS::ExactlyOnce),
            retain_available: properties.retain_available().unwrap_or(true),
            packet_bytes_max: properties.maximum_packet_size().map(std::num::NonZeroU32::get),
            receive_max: properties.receive_maximum(),
            keep_alive_s: properties.server_keep_alive_s(),
        })
    }
}

/// A packet that is not the CONNACK that should come first.
pub(super) fn connack<'a>(frame: &Frame<'a>, version: ProtocolVersion) -> Result<ConnAck<'a>, String> {
    match mqtt::decode::packet(frame, version) {
        Ok(mqtt::packet::Packet::ConnAck(connack)) => Ok(connack),
        Ok(_) => Err(format!(
            "the first packet is {:?} and not CONNACK",
            frame.packet_type
        )),
        Err(error) => Err(format!("its CONNACK is malformed: {error}")),
    }
}

/// The CONNECT to the other broker; `is_private` asks to be treated as a bridge.
pub(super) fn connect_remote(
    settings: &BridgeSettings,
    is_private: bool,
    inflight_max: u16,
    packet_bytes_max: u32,
) -> Vec<u8> {
    let mut properties = PropertiesBuf::new();
    let mut add = |property: Property<'_>| {
        // Each is short, and there are few.
        let _ = properties.push(property);
    };
    if settings.version == ProtocolVersion::V5 {
        let default_s = if settings.clean_session { 0 } else { u32::MAX };
        add(Property::SessionExpiryInterval(
            settings.session_expiry_s.unwrap_or(default_s),
        ));
        let receive_max = settings.receive_max.or(NonZeroU16::new(inflight_max));
        if let Some(receive_max) = receive_max {
            add(Property::ReceiveMaximum(receive_max));
        }
        if settings.topic_alias_max > 0 {
            add(Property::TopicAliasMaximum(settings.topic_alias_max));
        }
        if let Some(bytes) = std::num::NonZeroU32::new(packet_bytes_max) {
            add(Property::MaximumPacketSize(bytes));
        }
    }
    let password = settings.remote_password.as_ref();
    let connect = Connect {
        version: settings.version,
        clean_start: settings.clean_session,
        keep_alive_s: settings.keep_alive_s,
        properties: properties.as_properties(),
        client_identifier: &settings.remote.client_identifier,
        will: settings
            .notifications
            .remote_topic()
            .map(|topic| will(topic, true)),
        user_name: settings.remote.user.as_deref(),
        password: password.map(|password| password.0.as_bytes()),
    };
    let mut packet = encoded(&connect);
    if is_private {
        mark_private(&mut packet);
    }
    packet
}

/// The CONNECT to this broker, with no more messages in flight than the other one takes.
pub(super) fn connect_local(
    settings: &BridgeSettings,
    receive_max: Option<NonZeroU16>,
    retain_available: bool,
) -> Vec<u8> {
    let mut properties = PropertiesBuf::new();
    if !settings.local_clean_session {
        let _fits = properties.push(Property::SessionExpiryInterval(u32::MAX));
    }
    if let Some(receive_max) = receive_max {
        let _fits = properties.push(Property::ReceiveMaximum(receive_max));
    }
    encoded(&Connect {
        version: ProtocolVersion::V5,
        clean_start: settings.local_clean_session,
        keep_alive_s: 0,
        properties: properties.as_properties(),
        client_identifier: &settings.local.client_identifier,
        will: settings
            .notifications
            .local_topic()
            .map(|topic| will(topic, retain_available)),
        user_name: settings.local.user.as_deref(),
        password: None,
    })
}

/// What follows the CONNECT to the other broker once it is accepted.
pub(super) fn begin_remote(settings: &BridgeSettings, accepted: &BrokerTerms, out: &mut Vec<u8>) {
    let version = settings.version;
    let incoming: Vec<_> = settings
        .topics
        .incoming()
        .map(|topic| (topic.remote.as_str(), options(topic, &topic.remote)))
        .collect();
    subscribe(&incoming, version, out);
    if settings.unsubscribes {
        let is_subscribed = |filter: &str| incoming.iter().any(|(other, _)| *other == filter);
        let outgoing = settings.topics.outgoing().map(|topic| topic.remote.as_str());
        let stale: Vec<_> = outgoing.filter(|filter| !is_subscribed(filter)).collect();
        if !stale.is_empty() {
            // They were short enough to subscribe to.
            let _fits = encode::unsubscribe(SUBSCRIBE, Properties::EMPTY, &stale, version, out);
        }
    }
    if let Some(topic) = settings.notifications.remote_topic() {
        let qos = accepted.qos_max.min(QoS::AtLeastOnce);
        publish_state(topic, CONNECTED, qos, accepted.retain_available, version, out);
    }
}

/// The SUBSCRIBE that follows the CONNECT to this broker.
pub(super) fn begin_local(settings: &BridgeSettings, out: &mut Vec<u8>) {
    let outgoing: Vec<_> = settings
        .topics
        .outgoing()
        .map(|topic| (topic.local.as_str(), options(topic, &topic.local)))
        .collect();
    subscribe(&outgoing, ProtocolVersion::V5, out);
}

/// Whether the bridge is connected, for this broker.
pub(super) fn local_state(
    settings: &BridgeSettings,
    accepted: &BrokerTerms,
    state: LocalState,
    out: &mut Vec<u8>,
) {
    if let Some(topic) = settings.notifications.local_topic() {
        let retain = accepted.retain_available;
        let (payload, qos) = match state {
            LocalState::Connected => (CONNECTED, QoS::AtLeastOnce),
            LocalState::NotConnected => (NOT_CONNECTED, QoS::AtMostOnce),
        };
        publish_state(topic, payload, qos, retain, ProtocolVersion::V5, out);
    }
}

/// What this broker is notified of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LocalState {
    Connected,
    NotConnected,
}

/// The last packets to the other broker: it is not connected any more.
pub(super) fn end_remote(settings: &BridgeSettings, accepted: &BrokerTerms, out: &mut Vec<u8>) {
    if let Some(topic) = settings.notifications.remote_topic() {
        let retain = accepted.retain_available;
        publish_state(
            topic,
            NOT_CONNECTED,
            QoS::AtMostOnce,
            retain,
            settings.version,
            out,
        );
    }
    disconnect(settings.version, out);
}

/// The last packet of a connection.
pub(super) fn disconnect(version: ProtocolVersion, out: &mut Vec<u8>) {
    let disconnect = mqtt::packet::Disconnect {
        reason: ReasonCode::Success,
        properties: Properties::EMPTY,
    };
    disconnect.encode(version, out);
}

const CONNECTED: &[u8] = b"1";
const NOT_CONNECTED: &[u8] = b"0";

fn publish_state(
    topic: &str,
    payload: &[u8],
    qos: QoS,
    retain: bool,
    version: ProtocolVersion,
    out: &mut Vec<u8>,
) {
    let publish = Publish {
        dup: false,
        qos,
        retain,
        topic,
        packet_identifier: (qos != QoS::AtMostOnce).then_some(STATE),
        properties: Properties::EMPTY,
        payload,
    };
    // Its topic is of the configuration, whose lines are shorter than a topic may be.
    let _fits = publish.encode(version, out);
}

fn will(topic: &str, retain: bool) -> Will<'_> {
    Will {
        qos: QoS::AtLeastOnce,
        retain,
        properties: Properties::EMPTY,
        topic,
        payload: NOT_CONNECTED,
    }
}

/// As mosquitto's bridges: what a bridge published does not come back, and RETAIN stays as it was published.
fn options(topic: &BridgeTopic, filter: &str) -> SubscriptionOptions {
    SubscriptionOptions {
        qos: topic.qos,
        // [MQTT-3.8.3-4]
        no_local: !filter.starts_with("$share/"),
        retain_as_published: true,
        retain_handling: RetainHandling::SendAtSubscribe,
    }
}

fn subscribe(filters: &[(&str, SubscriptionOptions)], version: ProtocolVersion, out: &mut Vec<u8>) {
    if !filters.is_empty() {
        // Lines of a configuration are short.
        let _fits = encode::subscribe(SUBSCRIBE, Properties::EMPTY, filters, version, out);
    }
}

fn encoded(connect: &Connect<'_>) -> Vec<u8> {
    let mut packet = Vec::new();
    // Lines of a configuration are short.
    let _fits = connect.encode(&mut packet);
    packet
}

/// Sets the highest bit of the protocol level, by which mosquitto's bridges of 3.1 and 3.1.1 name themselves.
fn mark_private(packet: &mut [u8]) {
    let length_bytes = packet
        .iter()
        .skip(1)
        .take_while(|byte| **byte & 0x80 != 0)
        .count()
        + 1;
    let name_at = 1 + length_bytes;
    let name_bytes = packet.get(name_at + 1).map_or(0, |low| usize::from(*low));
    if let Some(level) = packet.get_mut(name_at + 2 + name_bytes) {
        *level |= 0x80;
    }
}

#[cfg(test)]
mod tests;
