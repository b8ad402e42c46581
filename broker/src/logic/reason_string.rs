//! Reason Strings for MQTT 5.0 clients. This is the only file with the sentences for acknowledgements. A DISCONNECT,
//! and a CONNACK that refuses a malformed packet, carry the sentence that the log has.
//!
//! Invariant: a sentence contains nothing that its receiver may not know, such as whether a user or a topic exists.

use mqtt::ReasonCode;
use mqtt::frame::PacketType;

use crate::auth::enhanced::Refusal;

/// The listener takes no anonymous clients.
pub(super) const ANONYMOUS: &str = "anonymous clients may not connect here";
/// The Client Identifier has none of `clientid_prefixes`.
pub(super) const CLIENT_IDENTIFIER_PREFIX: &str =
    "the Client Identifier begins with a prefix that may not connect here";
/// A session is the user's who made it.
pub(super) const OTHERS_SESSION: &str = "the Client Identifier is another user's";
/// A session that outlives its connection is stored.
pub(super) const NO_SPACE: &str = "the broker has no space on its disk for another session";
/// `memory_limit` is reached, or nearly.
pub(super) const NO_MEMORY: &str = "the broker has no memory for another client now, try again later";
/// There are as many sessions as `global_max_clients` lets in.
pub(super) const TOO_MANY_CLIENTS: &str = "the broker has as many clients as it may have";
/// There are as many connections as `global_max_connections` lets in.
pub(super) const TOO_MANY_CONNECTIONS: &str = "the broker has as many connections as it may have";
/// The user has as many sessions as `max_sessions_per_user` allows.
pub(super) const TOO_MANY_SESSIONS_OF_USER: &str = "the user has as many sessions as it may have";
/// A Will is a message like others.
pub(super) const WILL_DENIED: &str = "the client may not publish to its Will Topic";

/// A refusal in CONNACK with its sentence.
pub(super) fn refusal(reason: ReasonCode) -> Refusal {
    let why = of(PacketType::ConnAck, reason).unwrap_or(reason.name());
    Refusal { reason, why }
}

/// The sentence for a reason code in a packet; none where there is nothing to fix.
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
        ReasonCode::UnsupportedProtocolVersion => "this listener does not take this protocol version",
        ReasonCode::ClientIdentifierNotValid => "the Client Identifier or the Keep Alive is not allowed here",
        ReasonCode::BadUserNameOrPassword => "the user name or the password is wrong",
        ReasonCode::ServerBusy => "too many clients connect at once, try again later",
        ReasonCode::BadAuthenticationMethod => "the Authentication Method is not offered here",
        ReasonCode::TopicNameInvalid => "the Will Topic is too long",
        ReasonCode::QuotaExceeded => TOO_MANY_CLIENTS,
        ReasonCode::PayloadFormatInvalid => {
            "the Will Payload is not UTF-8 as its Payload Format Indicator says"
        }
        ReasonCode::RetainNotSupported => "retained messages are not available, and the Will is one",
        ReasonCode::QoSNotSupported => "the Will QoS is above the Maximum QoS of this listener",
        ReasonCode::ConnectionRateExceeded => {
            "too many wrong passwords for this user from this address, try again later"
        }
        _ => return None,
    })
}

fn publish(reason: ReasonCode) -> Option<&'static str> {
    Some(match reason {
        ReasonCode::ImplementationSpecificError => "the payload is larger than this broker takes",
        ReasonCode::NotAuthorized => "the client may not publish to this topic",
        ReasonCode::QuotaExceeded => {
            "the broker has no memory or no space on its disk for another such message"
        }
        ReasonCode::PayloadFormatInvalid => "the payload is not UTF-8 as its Payload Format Indicator says",
        _ => return None,
    })
}

fn subscribe(reason: ReasonCode) -> Option<&'static str> {
    Some(match reason {
        ReasonCode::NotAuthorized => "the client may read nothing under a filter",
        ReasonCode::TopicFilterInvalid => "a filter has too many levels, or is no shared subscription",
        ReasonCode::QuotaExceeded => {
            "the session has as many subscriptions as it may have, or the disk has no space for more"
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
