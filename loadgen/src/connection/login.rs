//! Writes CONNECT and checks CONNACK, SUBACK and the broker's DISCONNECT.
//!
//! Invariant: a client is accepted only by a CONNACK with the reason Success. Every other answer is an error with the
//! broker's reason and, in MQTT 5.0, its Reason String.

use std::num::{NonZeroU16, NonZeroU32};

use mqtt::decode;
use mqtt::frame::Frame;
use mqtt::packet::{ConnAck, Connect, Disconnect, Packet, QoS, Will};
use mqtt::property::Properties;
use mqtt::reason::ReasonCode;
use mqtt::version::ProtocolVersion;

use super::broken::Broken;
use crate::scenario::Credentials;
use crate::scenario::topics::numbered;

/// The fields of a client's CONNECT.
#[derive(Clone, Copy, Debug)]
pub struct Login<'a> {
    /// Protocol version of MQTT.
    pub version: ProtocolVersion,
    /// Whether the broker discards an earlier session.
    pub clean_start: bool,
    /// Keep Alive of the connection, s.
    pub keep_alive_s: u16,
    /// Client Identifier; at most 23 characters for MQTT 3.1.
    pub client_identifier: &'a str,
    /// User name and password.
    pub credentials: &'a Credentials,
    /// The client's number, which replaces `%i` in the user name.
    pub number: Option<u32>,
    /// Properties of the CONNECT, for MQTT 5.0.
    pub properties: Properties<'a>,
    /// The Will, if the client has one.
    pub will: Option<Will<'a>>,
}

impl Login<'_> {
    /// Appends the CONNECT.
    ///
    /// # Errors
    /// A user name or password that is too long, or a password without a user name.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), Broken> {
        let user_name = self.credentials.user_name.as_deref();
        let user_name = user_name.map(|name| match self.number {
            Some(number) => numbered(name, number),
            None => name.to_owned(),
        });
        let connect = Connect {
            version: self.version,
            clean_start: self.clean_start,
            keep_alive_s: self.keep_alive_s,
            properties: self.properties,
            client_identifier: self.client_identifier,
            will: self.will,
            user_name: user_name.as_deref(),
            password: self.credentials.password.as_deref().map(str::as_bytes),
        };
        Ok(connect.encode(out)?)
    }
}

/// The broker's limits for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Receive Maximum: number of unacknowledged messages.
    pub receive_maximum: u16,
    /// The largest packet that the broker accepts.
    pub packet_bytes_max: u32,
    /// The highest QoS that it accepts.
    pub maximum_qos: QoS,
    /// Whether the broker supports retained messages.
    pub retain_available: bool,
    /// Topic Alias Maximum; 0 if there are none.
    pub topic_alias_maximum: u16,
    /// The Keep Alive that the broker sets instead of the client's, s.
    pub server_keep_alive_s: Option<u16>,
}

/// Reads the CONNACK.
///
/// # Errors
/// The refusal, or a packet that is not a CONNACK.
pub fn connack(frame: &Frame<'_>, version: ProtocolVersion) -> Result<Granted, Broken> {
    let (reason, properties) = match decode::packet(frame, version)? {
        Packet::ConnAck(ConnAck {
            reason, properties, ..
        }) => (reason, properties),
        Packet::Disconnect(disconnect) => return Err(disconnected(&disconnect)),
        _ => {
            return Err(Broken::Refused(format!(
                "the broker answered CONNECT with {:?}",
                frame.packet_type
            )));
        }
    };
    if reason != ReasonCode::Success {
        return Err(Broken::Refused(refusal(reason, properties)));
    }
    let bytes = properties.maximum_packet_size();
    Ok(Granted {
        receive_maximum: properties.receive_maximum().map_or(u16::MAX, NonZeroU16::get),
        packet_bytes_max: bytes.map_or(u32::MAX, NonZeroU32::get),
        maximum_qos: properties.maximum_qos().unwrap_or(QoS::ExactlyOnce),
        retain_available: properties.retain_available().unwrap_or(true),
        topic_alias_maximum: properties.topic_alias_maximum().unwrap_or(0),
        server_keep_alive_s: properties.server_keep_alive_s(),
    })
}

fn refusal(reason: ReasonCode, properties: Properties<'_>) -> String {
    let hint = match reason {
        ReasonCode::BadUserNameOrPassword | ReasonCode::NotAuthorized => {
            "; check the user name (-u) and the password (-P); the broker's log says more"
        }
        ReasonCode::UnsupportedProtocolVersion => "; try another version with -V",
        ReasonCode::ClientIdentifierNotValid => "; try another client identifier (-i, --client-id)",
        _ => "",
    };
    format!(
        "the broker refused the connection: {}{hint}",
        detailed(reason, properties)
    )
}

/// Reads a SUBACK for filters that were all requested with the same QoS.
///
/// # Errors
/// A refused or downgraded subscription, or a packet that is not a SUBACK.
pub fn suback(frame: &Frame<'_>, version: ProtocolVersion, asked: QoS) -> Result<(), Broken> {
    let Packet::SubAck(suback) = decode::packet(frame, version)? else {
        return Err(Broken::Refused(format!(
            "the broker answered SUBSCRIBE with {:?}",
            frame.packet_type
        )));
    };
    let other = suback.reason_codes.iter().find(|&&code| code != asked as u8);
    match other {
        None => Ok(()),
        Some(&code) if is_granted(code) => Err(Broken::Refused(format!(
            "the broker granted QoS {code} instead of the requested QoS {}",
            asked as u8
        ))),
        Some(&code) => Err(Broken::Refused(format!(
            "the broker refused a subscription: {}",
            named(code)
        ))),
    }
}

/// Whether a code of a SUBACK grants a subscription.
pub fn is_granted(code: u8) -> bool {
    code <= QoS::ExactlyOnce as u8
}

/// The name of a code that the broker sent.
pub fn named(code: u8) -> String {
    match ReasonCode::from_u8(code) {
        Some(reason) => reason.to_string(),
        None => format!("0x{code:02X}"),
    }
}

/// The error for a DISCONNECT of the broker.
pub fn disconnected(disconnect: &Disconnect<'_>) -> Broken {
    let Disconnect { reason, properties } = *disconnect;
    Broken::Disconnected(reason, detailed(reason, properties))
}

/// A reason with the broker's Reason String.
pub fn detailed(reason: ReasonCode, properties: Properties<'_>) -> String {
    match properties.reason_string() {
        Some(words) => format!("{reason} ({})", words.escape_debug()),
        None => reason.to_string(),
    }
}

/// Appends a DISCONNECT with the reason Normal disconnection.
pub fn disconnect(version: ProtocolVersion, out: &mut Vec<u8>) {
    let disconnect = Disconnect {
        reason: ReasonCode::NormalDisconnection,
        properties: Properties::EMPTY,
    };
    disconnect.encode(version, out);
}
