//! Properties of MQTT 5.0: read in place, or collected in a buffer.
//!
//! Invariant: [`Properties`] from the decoder belong to their packet, occur once (except User Property and PUBLISH's
//! Subscription Identifier) and have allowed values. [`Properties::from_validated`] and [`PropertiesBuf::push`] rely
//! on their caller for that; with wrong bytes iteration ends early.

mod buffer;
mod set;

use std::fmt;
use std::num::{NonZeroU16, NonZeroU32};

use crate::error::DecodeErrorKind;
use crate::packet::QoS;
use crate::topic;
use crate::wire::{self, Reader};

pub use buffer::PropertiesBuf;
pub(crate) use set::{
    AUTHENTICATION_DATA, AUTHENTICATION_METHOD, PropertySet, SUBSCRIPTION_IDENTIFIER, TOPIC_ALIAS,
};

/// One property (MQTT 5.0, section 2.2.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Property<'a> {
    /// Whether the payload is UTF-8 text.
    PayloadFormatIndicator(bool),
    /// Message Expiry Interval in seconds.
    MessageExpiryInterval(u32),
    /// Content Type: what kind of payload it is, for the application.
    ContentType(&'a str),
    /// Response Topic: a Topic Name.
    ResponseTopic(&'a str),
    /// Correlation Data: which request a response belongs to.
    CorrelationData(&'a [u8]),
    /// Subscription Identifier: 1 to 268,435,455.
    SubscriptionIdentifier(u32),
    /// Session Expiry Interval in seconds; 0xFFFFFFFF: never.
    SessionExpiryInterval(u32),
    /// Assigned Client Identifier: the server's choice for a client that gave none.
    AssignedClientIdentifier(&'a str),
    /// Server Keep Alive in seconds.
    ServerKeepAlive(u16),
    /// Authentication Method: the name of an enhanced authentication.
    AuthenticationMethod(&'a str),
    /// Authentication Data: what the method sends in this step.
    AuthenticationData(&'a [u8]),
    /// Request Problem Information: whether Reason Strings may be sent anywhere.
    RequestProblemInformation(bool),
    /// Will Delay Interval in seconds.
    WillDelayInterval(u32),
    /// Request Response Information: whether the client wants that in CONNACK.
    RequestResponseInformation(bool),
    /// Response Information: the base of the client's Response Topics.
    ResponseInformation(&'a str),
    /// Server Reference: another server that the client can use.
    ServerReference(&'a str),
    /// Reason String: the reason in words, for a log.
    ReasonString(&'a str),
    /// Receive Maximum: largest number of unacknowledged PUBLISH packets.
    ReceiveMaximum(NonZeroU16),
    /// Topic Alias Maximum: the highest alias that is accepted.
    TopicAliasMaximum(u16),
    /// Topic Alias: a number that stands for a Topic Name on this connection.
    TopicAlias(NonZeroU16),
    /// Maximum QoS: 0 or 1.
    MaximumQoS(QoS),
    /// Retain Available: whether the server keeps retained messages.
    RetainAvailable(bool),
    /// User Property: name and value.
    UserProperty(&'a str, &'a str),
    /// Maximum Packet Size in bytes.
    MaximumPacketSize(NonZeroU32),
    /// Wildcard Subscription Available: whether filters may have `+` and `#`.
    WildcardSubscriptionAvailable(bool),
    /// Subscription Identifiers Available: whether SUBSCRIBE may carry one.
    SubscriptionIdentifierAvailable(bool),
    /// Shared Subscription Available: whether filters may begin with `$share/`.
    SharedSubscriptionAvailable(bool),
}

/// The properties of a packet, without their length.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Properties<'a>(&'a [u8]);

impl<'a> Properties<'a> {
    /// The properties of a packet without any.
    pub const EMPTY: Self = Properties(&[]);

    /// Properties from bytes that [`Properties::as_bytes`] returned, for example from a store. Other bytes do no harm:
    /// iteration ends where they are not valid.
    pub fn from_validated(bytes: &'a [u8]) -> Self {
        Properties(bytes)
    }

    /// Whether there is no property.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The properties as on the wire, without their length.
    #[inline]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// The properties in the order of the packet.
    pub fn iter(&self) -> impl Iterator<Item = Property<'a>> + use<'a> {
        let mut reader = Reader::new(self.0);
        std::iter::from_fn(move || {
            if reader.is_empty() {
                return None;
            }
            read_property(&mut reader).ok()
        })
    }

    /// Reads and checks the properties of a packet, preceded by their length; returns them with the set of those seen.
    #[inline]
    pub(crate) fn read(
        reader: &mut Reader<'a>,
        allowed: PropertySet,
    ) -> Result<(Self, PropertySet), DecodeErrorKind> {
        let bytes = reader.variable_byte_integer()? as usize;
        if bytes == 0 {
            return Ok((Self::EMPTY, PropertySet::NONE));
        }
        let properties = Properties(reader.take(bytes)?);
        let seen = properties.check(allowed)?;
        Ok((properties, seen))
    }

    /// Bytes of the properties on the wire, including their length.
    #[inline]
    pub(crate) fn wire_bytes(&self) -> usize {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        wire::variable_byte_integer_bytes(length) + self.0.len()
    }

    fn check(self, allowed: PropertySet) -> Result<PropertySet, DecodeErrorKind> {
        let mut reader = Reader::new(self.0);
        let mut seen = PropertySet::NONE;
        while !reader.is_empty() {
            let identifier = reader.peek_u8();
            read_property(&mut reader)?;
            if !allowed.contains(identifier) {
                return Err(DecodeErrorKind::PropertyForeign);
            }
            if seen.contains(identifier) && !allowed.may_repeat(identifier) {
                return Err(DecodeErrorKind::PropertyDuplicate);
            }
            seen = seen.with(identifier);
        }
        if seen.contains(AUTHENTICATION_DATA) && !seen.contains(AUTHENTICATION_METHOD) {
            return Err(DecodeErrorKind::AuthenticationDataWithoutMethod);
        }
        Ok(seen)
    }
}

impl fmt::Debug for Properties<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

macro_rules! getters {
    ($($(#[$doc:meta])* $name:ident: $variant:ident -> $type:ty;)*) => {
        impl<'a> Properties<'a> {
            $($(#[$doc])*
            pub fn $name(&self) -> Option<$type> {
                self.iter().find_map(|property| match property {
                    Property::$variant(value) => Some(value),
                    _ => None,
                })
            })*
        }
    };
}

getters! {
    /// Payload Format Indicator: whether the payload is UTF-8.
    payload_format_indicator: PayloadFormatIndicator -> bool;
    /// Message Expiry Interval in seconds.
    message_expiry_interval_s: MessageExpiryInterval -> u32;
    /// Content Type: what kind of payload it is, for the application.
    content_type: ContentType -> &'a str;
    /// Response Topic.
    response_topic: ResponseTopic -> &'a str;
    /// Correlation Data: which request a response belongs to.
    correlation_data: CorrelationData -> &'a [u8];
    /// The first Subscription Identifier.
    subscription_identifier: SubscriptionIdentifier -> u32;
    /// Session Expiry Interval in seconds; 0xFFFFFFFF: never.
    session_expiry_interval_s: SessionExpiryInterval -> u32;
    /// Assigned Client Identifier: the server's choice for a client that gave none.
    assigned_client_identifier: AssignedClientIdentifier -> &'a str;
    /// Server Keep Alive in seconds.
    server_keep_alive_s: ServerKeepAlive -> u16;
    /// Authentication Method: the name of an enhanced authentication.
    authentication_method: AuthenticationMethod -> &'a str;
    /// Authentication Data: what the method sends in this step.
    authentication_data: AuthenticationData -> &'a [u8];
    /// Request Problem Information: whether Reason Strings may be sent anywhere.
    request_problem_information: RequestProblemInformation -> bool;
    /// Will Delay Interval in seconds.
    will_delay_interval_s: WillDelayInterval -> u32;
    /// Request Response Information: whether the client wants that in CONNACK.
    request_response_information: RequestResponseInformation -> bool;
    /// Response Information: the base of the client's Response Topics.
    response_information: ResponseInformation -> &'a str;
    /// Server Reference: another server that the client can use.
    server_reference: ServerReference -> &'a str;
    /// Reason String: the reason in words, for a log.
    reason_string: ReasonString -> &'a str;
    /// Receive Maximum: largest number of unacknowledged PUBLISH packets.
    receive_maximum: ReceiveMaximum -> NonZeroU16;
    /// Topic Alias Maximum: the highest alias that is accepted.
    topic_alias_maximum: TopicAliasMaximum -> u16;
    /// Topic Alias: a number that stands for a Topic Name on this connection.
    topic_alias: TopicAlias -> NonZeroU16;
    /// Maximum QoS.
    maximum_qos: MaximumQoS -> QoS;
    /// Retain Available: whether the server keeps retained messages.
    retain_available: RetainAvailable -> bool;
    /// Maximum Packet Size in bytes.
    maximum_packet_size: MaximumPacketSize -> NonZeroU32;
    /// Wildcard Subscription Available: whether filters may have `+` and `#`.
    wildcard_subscription_available: WildcardSubscriptionAvailable -> bool;
    /// Subscription Identifiers Available: whether SUBSCRIBE may carry one.
    subscription_identifier_available: SubscriptionIdentifierAvailable -> bool;
    /// Shared Subscription Available: whether filters may begin with `$share/`.
    shared_subscription_available: SharedSubscriptionAvailable -> bool;
}

/// Reads one property; the only check is that its value is allowed.
fn read_property<'a>(reader: &mut Reader<'a>) -> Result<Property<'a>, DecodeErrorKind> {
    let identifier = reader.variable_byte_integer()?;
    Ok(match identifier {
        1 => Property::PayloadFormatIndicator(read_bool(reader)?),
        2 => Property::MessageExpiryInterval(reader.u32()?),
        3 => Property::ContentType(reader.string()?),
        8 => Property::ResponseTopic(read_response_topic(reader)?),
        9 => Property::CorrelationData(reader.binary()?),
        11 => Property::SubscriptionIdentifier(read_subscription_identifier(reader)?),
        17 => Property::SessionExpiryInterval(reader.u32()?),
        18 => Property::AssignedClientIdentifier(reader.string()?),
        19 => Property::ServerKeepAlive(reader.u16()?),
        21 => Property::AuthenticationMethod(reader.string()?),
        22 => Property::AuthenticationData(reader.binary()?),
        23 => Property::RequestProblemInformation(read_bool(reader)?),
        24 => Property::WillDelayInterval(reader.u32()?),
        25 => Property::RequestResponseInformation(read_bool(reader)?),
        26 => Property::ResponseInformation(reader.string()?),
        28 => Property::ServerReference(reader.string()?),
        31 => Property::ReasonString(reader.string()?),
        33 => {
            let value = NonZeroU16::new(reader.u16()?);
            Property::ReceiveMaximum(value.ok_or(DecodeErrorKind::ReceiveMaximumZero)?)
        }
        34 => Property::TopicAliasMaximum(reader.u16()?),
        35 => {
            // [MQTT-3.3.2-8]
            Property::TopicAlias(NonZeroU16::new(reader.u16()?).ok_or(DecodeErrorKind::TopicAliasZero)?)
        }
        36 if read_bool(reader)? => Property::MaximumQoS(QoS::AtLeastOnce),
        36 => Property::MaximumQoS(QoS::AtMostOnce),
        37 => Property::RetainAvailable(read_bool(reader)?),
        38 => Property::UserProperty(reader.string()?, reader.string()?),
        39 => {
            let value = NonZeroU32::new(reader.u32()?);
            Property::MaximumPacketSize(value.ok_or(DecodeErrorKind::MaximumPacketSizeZero)?)
        }
        40 => Property::WildcardSubscriptionAvailable(read_bool(reader)?),
        41 => Property::SubscriptionIdentifierAvailable(read_bool(reader)?),
        42 => Property::SharedSubscriptionAvailable(read_bool(reader)?),
        _ => return Err(DecodeErrorKind::PropertyUnknown),
    })
}

/// [MQTT-3.3.2-13], [MQTT-3.3.2-14].
fn read_response_topic<'a>(reader: &mut Reader<'a>) -> Result<&'a str, DecodeErrorKind> {
    let response_topic = reader.string()?;
    topic::check_name(response_topic).map_err(|_| DecodeErrorKind::ResponseTopic)?;
    Ok(response_topic)
}

fn read_subscription_identifier(reader: &mut Reader<'_>) -> Result<u32, DecodeErrorKind> {
    match reader.variable_byte_integer()? {
        0 => Err(DecodeErrorKind::SubscriptionIdentifierZero),
        identifier => Ok(identifier),
    }
}

fn read_bool(reader: &mut Reader<'_>) -> Result<bool, DecodeErrorKind> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(DecodeErrorKind::PropertyValue),
    }
}
