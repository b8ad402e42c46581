//! From the TCP connection to a client that is ready: CONNECT, CONNACK, SUBSCRIBE, SUBACK.
//!
//! Invariant: a client is ready only when the broker has accepted it and granted every subscription, so that what it
//! does not receive afterwards is lost and not unasked for.

use std::num::NonZeroU16;

use mqtt::decode;
use mqtt::encode;
use mqtt::error::EncodeError;
use mqtt::frame::Frame;
use mqtt::packet::{ConnAck, Connect, Packet, QoS, RetainHandling};
use mqtt::reason::ReasonCode;

use crate::connection::Broken;
use crate::generator::identity::Who;
use crate::generator::state::Run;
use crate::scenario::Scenario;
use crate::scenario::properties::Carrier;
use crate::scenario::topics::numbered;

/// How far a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// TCP.
    Tcp,
    /// TLS.
    Tls,
    /// The upgrade to WebSocket.
    WebSocket,
    /// Waits for CONNACK.
    ConnAck,
    /// Waits for so many SUBACKs.
    SubAck(u32),
    /// May publish or receive.
    Ready,
    /// Over.
    Closed,
}

impl Stage {
    /// What it is waiting for, for messages.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Tcp => "TCP connect",
            Stage::Tls => "TLS handshake",
            Stage::WebSocket => "WebSocket upgrade",
            Stage::ConnAck => "CONNECT",
            Stage::SubAck(_) => "SUBSCRIBE",
            Stage::Ready => "load",
            Stage::Closed => "closed",
        }
    }
}

/// Appends the CONNECT of a client.
///
/// # Errors
/// A user name or password that is too long, or a password without a user name.
pub fn connect(run: &Run, who: Who, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let scenario = &run.scenario;
    let client_identifier = who.client_identifier(run);
    let user_name = scenario
        .credentials
        .user_name
        .as_deref()
        .map(|name| numbered(name, who.number()));
    let will_topic = scenario
        .will
        .as_ref()
        .map(|will| numbered(&will.topic, who.number()));
    let will = scenario.will.as_ref().zip(will_topic.as_ref());
    let number = Some(who.number());
    let properties = scenario.properties.of(Carrier::Connect, number)?;
    let will_properties = scenario.properties.of(Carrier::Will, number)?;
    let connect = Connect {
        version: scenario.version,
        clean_start: true,
        keep_alive_s: scenario.keep_alive_s,
        properties: properties.as_properties(),
        client_identifier: &client_identifier,
        will: will.map(|(will, topic)| mqtt::packet::Will {
            topic,
            payload: will.payload.as_bytes(),
            qos: will.qos,
            retain: will.retain,
            properties: will_properties.as_properties(),
        }),
        user_name: user_name.as_deref(),
        password: scenario.credentials.password.as_deref().map(str::as_bytes),
    };
    connect.encode(out)
}

/// What the broker allows a publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// Receive Maximum: messages that are not acknowledged.
    pub receive_maximum: Option<NonZeroU16>,
    /// Topic Alias Maximum; 0 if there are none.
    pub topic_alias_maximum: u16,
}

/// Reads the CONNACK.
///
/// # Errors
/// The refusal, or a packet that is not a CONNACK.
pub fn connack(run: &Run, frame: &Frame<'_>, publish_bytes: usize) -> Result<Allowed, Broken> {
    let Packet::ConnAck(ConnAck {
        reason, properties, ..
    }) = decode::packet(frame, run.scenario.version)?
    else {
        return Err(Broken::Refused(format!(
            "the broker answered CONNECT with {:?}",
            frame.packet_type
        )));
    };
    if reason != ReasonCode::Success {
        return Err(Broken::Refused(format!(
            "the broker refused the connection: {reason}"
        )));
    }
    let maximum = properties
        .maximum_packet_size()
        .map_or(u32::MAX, std::num::NonZeroU32::get);
    if u32::try_from(publish_bytes).is_ok_and(|bytes| bytes > maximum) {
        let sentence =
            format!("the broker takes packets of {maximum} bytes, and a PUBLISH has {publish_bytes}");
        return Err(Broken::Refused(sentence));
    }
    Ok(Allowed {
        receive_maximum: properties.receive_maximum(),
        topic_alias_maximum: properties.topic_alias_maximum().unwrap_or(0),
    })
}

/// Appends a subscriber's SUBSCRIBEs and says how many they are.
///
/// # Errors
/// A topic filter that is too long.
pub fn subscribe(run: &Run, subscriber: u32, out: &mut Vec<u8>) -> Result<u32, EncodeError> {
    let filters = run.plan.filters(subscriber);
    let Scenario {
        subscription, qos, ..
    } = &run.scenario;
    let options = subscription.options(*qos, RetainHandling::DoNotSend);
    let properties = run.scenario.properties.of(Carrier::Subscribe, Some(subscriber))?;
    let mut packets = 0;
    for chunk in filters.chunks(FILTERS_A_PACKET) {
        packets += 1;
        let identifier = NonZeroU16::new(packets as u16).unwrap_or(NonZeroU16::MAX);
        let filters: Vec<_> = chunk.iter().map(|filter| (filter.as_str(), options)).collect();
        let properties = properties.as_properties();
        encode::subscribe(identifier, properties, &filters, run.scenario.version, out)?;
    }
    Ok(packets)
}

/// Reads a SUBACK.
///
/// # Errors
/// A refused or downgraded subscription, or a packet that is not a SUBACK.
pub fn suback(run: &Run, frame: &Frame<'_>) -> Result<(), Broken> {
    let Packet::SubAck(suback) = decode::packet(frame, run.scenario.version)? else {
        return Err(Broken::Refused(format!(
            "the broker answered SUBSCRIBE with {:?}",
            frame.packet_type
        )));
    };
    let asked = run.scenario.qos as u8;
    match suback.reason_codes.iter().find(|&&code| code != asked) {
        None => Ok(()),
        Some(&code) if code <= QoS::ExactlyOnce as u8 => Err(Broken::Refused(format!(
            "the broker granted QoS {code} where QoS {asked} was asked for"
        ))),
        Some(&code) => Err(Broken::Refused(match ReasonCode::from_u8(code) {
            Some(reason) => format!("the broker refused a subscription: {reason}"),
            None => format!("the broker refused a subscription with 0x{code:02X}"),
        })),
    }
}

/// Topic filters in one SUBSCRIBE: keeps the packet below what brokers take by default.
const FILTERS_A_PACKET: usize = 500;
