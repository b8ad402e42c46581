//! Why clients were refused and why connections ended, and other labels.
//!
//! Invariants: those of `causes.rs`. A reason without its own label is counted as unspecified.

use mqtt::frame::PacketType;
use mqtt::{QoS, ReasonCode};

use super::{CounterLabel, CountersByCause};

impl CounterLabel for PacketType {
    const LABELS: &'static [&'static str] = &[
        "connect",
        "connack",
        "publish",
        "puback",
        "pubrec",
        "pubrel",
        "pubcomp",
        "subscribe",
        "suback",
        "unsubscribe",
        "unsuback",
        "pingreq",
        "pingresp",
        "disconnect",
        "auth",
    ];

    fn index(self) -> usize {
        self as usize - 1
    }
}

impl CounterLabel for QoS {
    const LABELS: &'static [&'static str] = &["0", "1", "2"];

    fn index(self) -> usize {
        self as usize
    }
}

/// The reason code of a CONNACK that refused a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectRefusal(pub ReasonCode);

impl CounterLabel for ConnectRefusal {
    const LABELS: &'static [&'static str] = &[
        "unspecified_error",
        "malformed_packet",
        "protocol_error",
        "implementation_specific_error",
        "unsupported_protocol_version",
        "client_identifier_not_valid",
        "bad_user_name_or_password",
        "not_authorized",
        "server_unavailable",
        "server_busy",
        "banned",
        "bad_authentication_method",
        "topic_name_invalid",
        "packet_too_large",
        "quota_exceeded",
        "payload_format_invalid",
        "retain_not_supported",
        "qos_not_supported",
        "connection_rate_exceeded",
    ];

    fn index(self) -> usize {
        place_of(self.0, &REFUSAL_CODES)
    }
}

impl ConnectRefusal {
    /// The value of the label.
    #[must_use]
    pub fn label(self) -> &'static str {
        Self::LABELS.get(self.index()).copied().unwrap_or_default()
    }
}

/// The codes of [`ConnectRefusal::LABELS`].
const REFUSAL_CODES: [u8; ConnectRefusal::LABELS.len()] = [
    0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97, 0x99, 0x9A,
    0x9B, 0x9F,
];

/// Why the connection of a client ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisconnectCause {
    /// The client sent DISCONNECT.
    Client,
    /// It sent DISCONNECT and requested its Will.
    ClientWithWill,
    /// It closed the stream without DISCONNECT.
    Closed,
    /// The socket or TLS reported an error.
    ConnectionError,
    /// It did not read what TLS had to send.
    TookTooLong,
    /// An operator ended it.
    Operator,
    /// The broker ended it, in MQTT 5.0 with that code in DISCONNECT.
    Broker(ReasonCode),
}

impl CounterLabel for DisconnectCause {
    const LABELS: &'static [&'static str] = &[
        "client",
        "client_with_will",
        "closed_without_disconnect",
        "connection_error",
        "took_too_long",
        "operator",
        "unspecified_error",
        "malformed_packet",
        "protocol_error",
        "implementation_specific_error",
        "not_authorized",
        "server_busy",
        "server_shutting_down",
        "keep_alive_timeout",
        "session_taken_over",
        "topic_filter_invalid",
        "topic_name_invalid",
        "receive_maximum_exceeded",
        "topic_alias_invalid",
        "packet_too_large",
        "message_rate_too_high",
        "quota_exceeded",
        "administrative_action",
        "payload_format_invalid",
        "retain_not_supported",
        "qos_not_supported",
        "use_another_server",
        "server_moved",
        "shared_subscriptions_not_supported",
        "connection_rate_exceeded",
        "maximum_connect_time",
        "subscription_identifiers_not_supported",
        "wildcard_subscriptions_not_supported",
    ];

    fn index(self) -> usize {
        match self {
            Self::Client => 0,
            Self::ClientWithWill => 1,
            Self::Closed => 2,
            Self::ConnectionError => 3,
            Self::TookTooLong => 4,
            Self::Operator => 5,
            Self::Broker(reason) => FIRST_OF_BROKER + place_of(reason, &DISCONNECT_CODES),
        }
    }
}

impl DisconnectCause {
    /// The value of the label.
    #[must_use]
    pub fn label(self) -> &'static str {
        Self::LABELS.get(self.index()).copied().unwrap_or_default()
    }
}

/// The index of the first label of [`DisconnectCause::Broker`].
const FIRST_OF_BROKER: usize = 6;

/// The codes of [`DisconnectCause::LABELS`] from that index on.
const DISCONNECT_CODES: [u8; DisconnectCause::LABELS.len() - FIRST_OF_BROKER] = [
    0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98,
    0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
];

/// The first code is the unspecified error.
fn place_of(reason: ReasonCode, codes: &[u8]) -> usize {
    codes
        .iter()
        .position(|code| *code == reason as u8)
        .unwrap_or_default()
}

/// The result of a TLS handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// TLS 1.2 was negotiated.
    Tls12,
    /// TLS 1.3 was negotiated.
    Tls13,
    /// One side refused the other, or broke the protocol.
    Failed,
    /// It did not end in time, or the client disconnected during it.
    Unfinished,
}

impl CounterLabel for Handshake {
    const LABELS: &'static [&'static str] = &["TLSv1.2", "TLSv1.3", "failed", "unfinished"];

    fn index(self) -> usize {
        self as usize
    }
}

impl CountersByCause<PacketType> {
    /// Counts a packet by its first byte; only for the shard that owns it.
    #[inline]
    pub fn add_packet(&self, first_byte: u8) {
        self.add_at(usize::from(first_byte >> 4).wrapping_sub(1), 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_label_is_that_of_its_code() {
        let name = |code: u8| {
            let name = ReasonCode::from_u8(code).unwrap().to_string();
            let name = name.split(" (").next().unwrap().to_lowercase();
            name.replace([' ', '-'], "_")
        };
        for (code, label) in REFUSAL_CODES.iter().zip(ConnectRefusal::LABELS) {
            assert_eq!(name(*code), *label);
        }
        for (code, label) in DISCONNECT_CODES
            .iter()
            .zip(&DisconnectCause::LABELS[FIRST_OF_BROKER..])
        {
            assert_eq!(name(*code), *label);
            let cause = DisconnectCause::Broker(ReasonCode::from_u8(*code).unwrap());
            assert_eq!(cause.label(), *label);
        }
        assert_eq!(
            DisconnectCause::Broker(ReasonCode::BadUserNameOrPassword).label(),
            "unspecified_error"
        );
        assert_eq!(DisconnectCause::Operator.label(), "operator");
    }
}
