//! A CONNECT packet as an owned value. It is parsed once, on the shard that received it, and travels with the
//! connection to the shard that owns the session.
//!
//! Invariants: nothing after [`FirstPacket::parse`] reads the bytes of a CONNECT again. A request owns its strings,
//! which are no larger than the packet was, so its size is bounded by [`limits::CONNECT_BYTES_MAX`]. No memory is
//! reserved for bytes that are only announced.

use std::fmt;
use std::num::{NonZeroU16, NonZeroU32};

use mqtt::frame::{Frame, PacketType};
use mqtt::packet::{Connect, Will};
use mqtt::property::{Properties, PropertiesBuf, Property};
use mqtt::{DecodeError, ProtocolVersion, QoS, ReasonCode, decode, frame};

use crate::limits;

/// The content of the first bytes of a connection.
#[derive(Debug)]
pub enum FirstPacket {
    /// The beginning of a CONNECT, or nothing yet.
    Incomplete,
    /// A complete, valid CONNECT.
    Connect(Box<ConnectRequest>),
    /// A malformed CONNECT, which is answered.
    Malformed(MalformedConnect),
    /// Anything else: closed without an answer.
    Foreign(&'static str),
}

/// The content of a CONNECT.
pub struct ConnectRequest {
    /// It is a bridge of another broker, as mosquitto's bridges indicate: its own messages are not sent back to it,
    /// and RETAIN is kept as published.
    pub is_bridge: bool,
    /// Protocol version of the whole connection.
    pub version: ProtocolVersion,
    /// Clean Start (5.0), Clean Session (3.x).
    pub clean_start: bool,
    /// Whether Request Response Information is 1.
    pub wants_response_information: bool,
    /// Request Problem Information is 0: no Reason Strings.
    pub without_reasons: bool,
    /// Keep Alive; 0 means none.
    pub keep_alive_s: u16,
    /// Topic Alias Maximum; 0 if it is missing.
    pub topic_alias_max: u16,
    /// Receive Maximum: the number of unacknowledged messages that the client accepts, if it bounds them.
    pub receive_max: Option<NonZeroU16>,
    /// Maximum Packet Size that the client accepts, if it bounds it.
    pub packet_bytes_max: Option<NonZeroU32>,
    /// Session Expiry Interval (5.0); 0 if it is missing.
    pub session_expiry_s: u32,
    /// Length of the packet in bytes.
    pub wire_bytes: u32,
    /// Client Identifier; may be empty.
    pub client_identifier: Box<str>,
    /// User Name, which is not verified yet.
    pub user_name: Option<Box<str>>,
    /// Password, until it has been checked.
    pub password: Option<Box<[u8]>>,
    /// The enhanced authentication that the client requests, if any.
    pub authentication: Option<Box<AuthenticationRequest>>,
    /// What is published for the client when its connection breaks.
    pub will: Option<Box<WillRequest>>,
}

/// The Authentication Method of a CONNECT and its data.
#[derive(Debug)]
pub struct AuthenticationRequest {
    /// Authentication Method: the name of the exchange that the client asks for.
    pub method: Box<str>,
    /// Authentication Data: the first message of the exchange, if the client sends it.
    pub data: Option<Box<[u8]>>,
}

/// The Will of a CONNECT.
#[derive(Debug)]
pub struct WillRequest {
    /// Will QoS, which the listener may forbid.
    pub qos: QoS,
    /// Will Retain: the message is retained when it is published.
    pub retain: bool,
    /// Will Topic: a topic name.
    pub topic: Box<str>,
    /// Will Payload, as it is published.
    pub payload: Box<[u8]>,
    /// The properties of the message.
    pub properties: PropertiesBuf,
    /// Will Delay Interval; 0 if it is missing.
    pub delay_s: u32,
    /// Message Expiry Interval, counted from the publication of the Will.
    pub expiry_s: Option<u32>,
}

/// What is wrong with a CONNECT.
#[derive(Clone, Copy, Debug)]
pub struct MalformedConnect {
    /// What is wrong with it, and which statement it violates.
    pub error: DecodeError,
    /// Its protocol version, if its first bytes contain one.
    pub version: Option<ProtocolVersion>,
    /// Bytes of the packet; `None` if it has no length.
    pub wire_bytes: Option<u32>,
}

impl FirstPacket {
    /// Parses the received bytes: the first packet has to be a CONNECT [MQTT-3.1.0-1].
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        match frame::split(bytes, limits::CONNECT_BYTES_MAX) {
            Ok(None) => match bytes.first() {
                Some(first) if first >> 4 != PacketType::Connect as u8 => Self::Foreign(NO_CONNECT),
                _ => Self::Incomplete,
            },
            Ok(Some(frame)) if frame.packet_type == PacketType::Connect => Self::of(&frame),
            Ok(Some(_)) => Self::Foreign(NO_CONNECT),
            Err(error) if error.reason() == ReasonCode::PacketTooLarge => Self::too_large(bytes, error),
            Err(error) if bytes.first() == Some(&FIRST_BYTE) => Self::Malformed(MalformedConnect {
                error,
                version: None,
                wire_bytes: None,
            }),
            Err(_) => Self::Foreign("the first packet is not MQTT"),
        }
    }

    /// A packet that is longer than the largest CONNECT is refused at once, with a CONNACK if the bytes so far show
    /// that it is of MQTT 5.0.
    fn too_large(bytes: &[u8], error: DecodeError) -> Self {
        if bytes.first() != Some(&FIRST_BYTE) {
            return Self::Foreign(NO_CONNECT);
        }
        // After the first byte, the length has as many bytes as have the highest bit, and one more.
        let length_bytes = bytes.iter().skip(1).take_while(|&&byte| byte & 0x80 != 0).count() + 1;
        let body = bytes.get(1 + length_bytes..).unwrap_or_default();
        match decode::version_of_connect(body) {
            Some(ProtocolVersion::V5) => Self::Malformed(MalformedConnect {
                error,
                version: Some(ProtocolVersion::V5),
                wire_bytes: None,
            }),
            _ => Self::Foreign(TOO_LARGE),
        }
    }

    fn of(frame: &Frame<'_>) -> Self {
        // Bounded by CONNECT_BYTES_MAX.
        let wire_bytes = frame.wire_bytes as u32;
        match decode::connect(frame) {
            Ok(connect) => {
                let is_bridge = decode::is_bridge(frame.body);
                Self::Connect(Box::new(ConnectRequest {
                    is_bridge,
                    ..ConnectRequest::new(&connect, wire_bytes)
                }))
            }
            Err(error) => Self::Malformed(MalformedConnect {
                error,
                version: decode::version_of_connect(frame.body),
                wire_bytes: Some(wire_bytes),
            }),
        }
    }
}

impl ConnectRequest {
    fn new(connect: &Connect<'_>, wire_bytes: u32) -> Self {
        let properties = &connect.properties;
        let authentication = properties.authentication_method().map(|method| {
            let data = properties.authentication_data().map(Box::from);
            let method = method.into();
            Box::new(AuthenticationRequest { method, data })
        });
        Self {
            version: connect.version,
            clean_start: connect.clean_start,
            wants_response_information: properties.request_response_information() == Some(true),
            without_reasons: properties.request_problem_information() == Some(false),
            keep_alive_s: connect.keep_alive_s,
            topic_alias_max: properties.topic_alias_maximum().unwrap_or(0),
            receive_max: properties.receive_maximum(),
            packet_bytes_max: properties.maximum_packet_size(),
            session_expiry_s: properties.session_expiry_interval_s().unwrap_or(0),
            wire_bytes,
            is_bridge: false,
            client_identifier: connect.client_identifier.into(),
            user_name: connect.user_name.map(Box::from),
            password: connect.password.map(Box::from),
            authentication,
            will: connect.will.as_ref().map(|will| Box::new(WillRequest::new(will))),
        }
    }
}

/// Without the password, because this may be logged.
impl fmt::Debug for ConnectRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectRequest")
            .field("version", &self.version)
            .field("clean_start", &self.clean_start)
            .field("client_identifier", &self.client_identifier)
            .field("user_name", &self.user_name)
            .finish_non_exhaustive()
    }
}

impl WillRequest {
    fn new(will: &Will<'_>) -> Self {
        Self {
            qos: will.qos,
            retain: will.retain,
            topic: will.topic.into(),
            payload: will.payload.into(),
            properties: message_properties(will.properties),
            delay_s: will.properties.will_delay_interval_s().unwrap_or(0),
            expiry_s: will.properties.message_expiry_interval_s(),
        }
    }
}

/// The properties that are sent with the message: its delay and its expiry are handled by the broker.
fn message_properties(will: Properties<'_>) -> PropertiesBuf {
    let mut properties = PropertiesBuf::new();
    for property in will.iter() {
        if !matches!(
            property,
            Property::WillDelayInterval(_) | Property::MessageExpiryInterval(_)
        ) {
            // Properties of one packet fit into another.
            let _ = properties.push(property);
        }
    }
    properties
}

const NO_CONNECT: &str = "the first packet is not CONNECT";
const TOO_LARGE: &str = "a CONNECT of more than 100,000 bytes";
const _: () = assert!(limits::CONNECT_BYTES_MAX == 100_004, "what the sentence says");
/// The first byte of a CONNECT: its flags are all 0.
const FIRST_BYTE: u8 = (PacketType::Connect as u8) << 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn connect() -> Vec<u8> {
        let mut properties = PropertiesBuf::new();
        for property in [
            Property::SessionExpiryInterval(7),
            Property::AuthenticationMethod("m"),
            Property::AuthenticationData(b"d"),
        ] {
            properties.push(property).unwrap();
        }
        let mut will_properties = PropertiesBuf::new();
        for property in [
            Property::WillDelayInterval(3),
            Property::ContentType("text"),
            Property::MessageExpiryInterval(9),
        ] {
            will_properties.push(property).unwrap();
        }
        let will = Will {
            qos: QoS::AtLeastOnce,
            retain: true,
            properties: will_properties.as_properties(),
            topic: "w",
            payload: b"gone",
        };
        let connect = Connect {
            version: ProtocolVersion::V5,
            clean_start: true,
            keep_alive_s: 5,
            properties: properties.as_properties(),
            client_identifier: "c",
            will: Some(will),
            user_name: Some("ann"),
            password: Some(b"secret"),
        };
        let mut bytes = Vec::new();
        connect.encode(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_request_owns_what_the_packet_says() {
        let bytes = connect();
        for cut in 0..bytes.len() {
            let parsed = FirstPacket::parse(&bytes[..cut]);
            assert!(matches!(parsed, FirstPacket::Incomplete), "{cut}");
        }
        let followed = [bytes.as_slice(), &[0xC0, 0]].concat();
        let FirstPacket::Connect(request) = FirstPacket::parse(&followed) else {
            panic!("a CONNECT");
        };
        assert_eq!(request.wire_bytes as usize, bytes.len());
        assert_eq!((request.session_expiry_s, request.keep_alive_s), (7, 5));
        assert_eq!(request.user_name.as_deref(), Some("ann"));
        assert_eq!(request.password.as_deref(), Some(&b"secret"[..]));
        let authentication = request.authentication.as_ref().unwrap();
        assert_eq!(
            (&*authentication.method, authentication.data.as_deref()),
            ("m", Some(&b"d"[..]))
        );
        let will = request.will.as_ref().unwrap();
        assert_eq!(
            (&*will.topic, &*will.payload, will.delay_s, will.expiry_s),
            ("w", &b"gone"[..], 3, Some(9))
        );
        let kept: Vec<_> = will.properties.as_properties().iter().collect();
        assert_eq!(kept, [Property::ContentType("text")]);
        assert!(!format!("{request:?}").contains("secret"));
    }

    #[test]
    fn what_is_no_connect_is_foreign_or_malformed() {
        let foreign = |bytes: &[u8]| matches!(FirstPacket::parse(bytes), FirstPacket::Foreign(_));
        assert!(foreign(&[0xC0]) && foreign(&[0xC0, 0]) && foreign(&[0]));
        let too_large = |level| [&[0x10, 0xA1, 0x8D, 0x06, 0, 4][..], b"MQTT", &[level]].concat();
        assert!(foreign(&too_large(4)), "3.1.1 has no words for it");
        let malformed = FirstPacket::parse(&too_large(5));
        assert!(
            matches!(malformed, FirstPacket::Malformed(wrong) if wrong.version == Some(ProtocolVersion::V5))
        );
        assert!(foreign(&too_large(5)[..8]), "nobody waits for its version");
        // A length of five bytes.
        let malformed = FirstPacket::parse(&[0x10, 0xFF, 0xFF, 0xFF, 0xFF, 1]);
        assert!(matches!(malformed, FirstPacket::Malformed(wrong) if wrong.wire_bytes.is_none()));
        let level = [0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 9, 2, 0, 0, 0, 1, b'c'];
        let malformed = FirstPacket::parse(&level);
        assert!(matches!(malformed, FirstPacket::Malformed(wrong) if wrong.wire_bytes == Some(15)));
    }
}
