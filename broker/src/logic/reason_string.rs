//! Reason Strings for MQTT 5.0 clients. This is the only file with the sentences for acknowledgements. A DISCONNECT,
//! and a CONNACK that refuses a malformed packet, contain the sentence of the log.
//!
//! Invariant: a sentence contains nothing that its receiver may not know, such as whether a user or a topic exists.

use mqtt::ReasonCode;
use mqtt::frame::PacketType;

use crate::auth::enhanced::Refusal;

/// The listener accepts no anonymous clients.
pub(super) const ANONYMOUS: &str = "anonymous clients are not allowed";
/// The Client Identifier does not begin with `clientid_prefixes`.
pub(super) const CLIENT_IDENTIFIER_PREFIX: &str =
    "the Client Identifier does not begin with the required prefix";
/// What waits in the session of a bridge is for the other broker alone.
pub(super) const BRIDGE_CLIENT: &str = "the Client Identifier is that of a bridge of the broker";
/// A session belongs to the user that created it.
pub(super) const OTHERS_SESSION: &str = "the Client Identifier belongs to another user";
/// A session that outlives its connection is stored.
pub(super) const NO_SPACE: &str = "the broker has no space on its disk for another session";
/// `memory_limit` is reached, or nearly.
pub(super) const NO_MEMORY: &str = "the broker has no memory for another client at present, try again later";
/// The limit `global_max_clients` is reached.
pub(super) const TOO_MANY_CLIENTS: &str = "the broker has reached its limit of clients";
/// The limit `global_max_connections` is reached.
pub(super) const TOO_MANY_CONNECTIONS: &str = "the broker has reached its limit of connections";
/// The limit `max_sessions_per_user` is reached.
pub(super) const TOO_MANY_SESSIONS_OF_USER: &str = "the user has reached the limit of sessions";
/// The rights to publish apply to Wills too.
pub(super) const WILL_DENIED: &str = "the client may not publish to its Will Topic";

/// A refusal in CONNACK with its sentence.
pub(super) fn refusal(reason: ReasonCode) -> Refusal {
    let why = of(PacketType::ConnAck, reason).unwrap_or(reason.name());
    Refusal { reason, why }
}

/// The sentence for a reason code in a packet; `None` if there is nothing to fix.
pub(super) fn of(packet_type: PacketType, reason: ReasonCode) -> Option<&'static str> {
    if !reason.is_error() {
        return None;
    }
    match packet_type {
        PacketType::ConnAck => connack(reason),
        PacketType::PubAck | PacketType::PubRec => publish(reason),
        PacketType::PubRel | PacketType::PubComp => Some("the Packet Identifier is not in use"),
        PacketType::SubAck | PacketType::UnsubAck => subscribe(reason),
        _ => None,
    }
}

/// The sentence for the first error among the codes of a SUBACK or UNSUBACK.
pub(super) fn of_first(packet_type: PacketType, codes: &[u8]) -> Option<&'static str> {
    let mut reasons = codes.iter().filter_map(|&code| ReasonCode::from_u8(code));
    reasons.find_map(|reason| of(packet_type, reason))
}

fn connack(reason: ReasonCode) -> Option<&'static str> {
    Some(match reason {
        ReasonCode::UnsupportedProtocolVersion => "this listener does not accept this protocol version",
        ReasonCode::ClientIdentifierNotValid => "the Client Identifier or the Keep Alive is not allowed",
        ReasonCode::BadUserNameOrPassword => "the user name or the password is wrong",
        ReasonCode::ServerBusy => "too many clients connect at once, try again later",
        ReasonCode::Banned => "an operator of this broker, or one of its rules, does not let this client in",
        ReasonCode::BadAuthenticationMethod => "the Authentication Method is not supported",
        ReasonCode::TopicNameInvalid => "the Will Topic is too long",
        ReasonCode::QuotaExceeded => TOO_MANY_CLIENTS,
        ReasonCode::PayloadFormatInvalid => {
            "the Will Payload is not UTF-8, although its Payload Format Indicator says so"
        }
        ReasonCode::RetainNotSupported => "retained messages are not available, but the Will is one",
        ReasonCode::QoSNotSupported => "the Will QoS is above the Maximum QoS of this listener",
        ReasonCode::ConnectionRateExceeded => {
            "too many wrong passwords for this user from this address, try again later"
        }
        _ => return None,
    })
}

fn publish(reason: ReasonCode) -> Option<&'static str> {
    Some(match reason {
        ReasonCode::ImplementationSpecificError => "the payload is larger than this broker accepts",
        ReasonCode::NotAuthorized => "the client may not publish to this topic",
        ReasonCode::QuotaExceeded => {
            "the broker has no memory or no space on its disk for another such message"
        }
        ReasonCode::PayloadFormatInvalid => {
            "the payload is not UTF-8, although its Payload Format Indicator says so"
        }
        _ => return None,
    })
}

fn subscribe(reason: ReasonCode) -> Option<&'static str> {
    Some(match reason {
        ReasonCode::NotAuthorized => "the client may not read any topic that a filter matches",
        ReasonCode::TopicFilterInvalid => {
            "a filter has too many levels, or is not a valid shared subscription"
        }
        ReasonCode::QuotaExceeded => {
            "the session has reached its limit of subscriptions, or the disk has no space for more"
        }
        ReasonCode::SharedSubscriptionsNotSupported => "shared subscriptions are not available",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_short_and_for_errors_alone() {
        let packet_types = [
            PacketType::ConnAck,
            PacketType::PubAck,
            PacketType::PubRec,
            PacketType::PubRel,
            PacketType::PubComp,
            PacketType::SubAck,
            PacketType::UnsubAck,
        ];
        for packet_type in packet_types {
            for &reason in ReasonCode::ALL {
                let sentence = of(packet_type, reason).unwrap_or_default();
                assert!(sentence.len() <= 100, "{sentence}");
                assert!(reason.is_error() || sentence.is_empty(), "{reason:?}");
            }
        }
        let codes = [0, 2, ReasonCode::NotAuthorized as u8, 0xFF];
        assert_eq!(
            of_first(PacketType::SubAck, &codes),
            of(PacketType::SubAck, ReasonCode::NotAuthorized)
        );
        assert_eq!(of_first(PacketType::UnsubAck, &[0, 0x11]), None);
    }
}
