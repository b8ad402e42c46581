//! A buffer in which properties are collected, and the encoding of each property.
//!
//! Invariant: the buffer has whole properties, and at most as many bytes as a packet may have.

use super::{Properties, Property, SUBSCRIPTION_IDENTIFIER};
use crate::error::EncodeError;
use crate::frame::REMAINING_LENGTH_MAX;
use crate::packet::QoS;
use crate::wire;

/// Properties being collected for a packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PropertiesBuf {
    bytes: Vec<u8>,
}

impl PropertiesBuf {
    /// A buffer without any property.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a property. The caller must ensure that it belongs to the packet and does not occur twice.
    ///
    /// Errors: a string or data of more than 65,535 bytes, a Subscription Identifier out of range, more than 256 MiB
    /// in total. The buffer is unchanged then.
    pub fn push(&mut self, property: Property<'_>) -> Result<(), EncodeError> {
        let before = self.bytes.len();
        let written = write_property(property, &mut self.bytes).and_then(|()| self.check_length());
        if written.is_err() {
            self.bytes.truncate(before);
        }
        written
    }

    /// Appends properties in their encoded form.
    pub fn extend_raw(&mut self, properties: Properties<'_>) -> Result<(), EncodeError> {
        let before = self.bytes.len();
        self.bytes.extend_from_slice(properties.as_bytes());
        self.check_length().inspect_err(|_| self.bytes.truncate(before))
    }

    /// Whether there is no property.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Removes everything and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// The properties in the form for a packet.
    pub fn as_properties(&self) -> Properties<'_> {
        Properties::from_validated(&self.bytes)
    }

    fn check_length(&self) -> Result<(), EncodeError> {
        if self.bytes.len() > REMAINING_LENGTH_MAX as usize {
            return Err(EncodeError::PacketTooLarge);
        }
        Ok(())
    }
}

fn write_property(property: Property<'_>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    use Property as P;
    match property {
        P::PayloadFormatIndicator(value) => out.extend([1, u8::from(value)]),
        P::MessageExpiryInterval(value) => write_u32(2, value, out),
        P::ContentType(value) => write_string(3, value, out)?,
        P::ResponseTopic(value) => write_string(8, value, out)?,
        P::CorrelationData(value) => write_binary(9, value, out)?,
        P::SubscriptionIdentifier(value) => write_subscription_identifier(value, out)?,
        P::SessionExpiryInterval(value) => write_u32(17, value, out),
        P::AssignedClientIdentifier(value) => write_string(18, value, out)?,
        P::ServerKeepAlive(value) => write_u16(19, value, out),
        P::AuthenticationMethod(value) => write_string(21, value, out)?,
        P::AuthenticationData(value) => write_binary(22, value, out)?,
        P::RequestProblemInformation(value) => out.extend([23, u8::from(value)]),
        P::WillDelayInterval(value) => write_u32(24, value, out),
        P::RequestResponseInformation(value) => out.extend([25, u8::from(value)]),
        P::ResponseInformation(value) => write_string(26, value, out)?,
        P::ServerReference(value) => write_string(28, value, out)?,
        P::ReasonString(value) => write_string(31, value, out)?,
        P::ReceiveMaximum(value) => write_u16(33, value.get(), out),
        P::TopicAliasMaximum(value) => write_u16(34, value, out),
        P::TopicAlias(value) => write_u16(35, value.get(), out),
        // Maximum QoS 2 can only be expressed by omitting the property.
        P::MaximumQoS(QoS::ExactlyOnce) => {}
        P::MaximumQoS(value) => out.extend([36, value as u8]),
        P::RetainAvailable(value) => out.extend([37, u8::from(value)]),
        P::UserProperty(name, value) => {
            write_string(38, name, out)?;
            wire::write_string(value, out)?;
        }
        P::MaximumPacketSize(value) => write_u32(39, value.get(), out),
        P::WildcardSubscriptionAvailable(value) => out.extend([40, u8::from(value)]),
        P::SubscriptionIdentifierAvailable(value) => out.extend([41, u8::from(value)]),
        P::SharedSubscriptionAvailable(value) => out.extend([42, u8::from(value)]),
    }
    Ok(())
}

fn write_subscription_identifier(identifier: u32, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    if identifier == 0 || identifier > REMAINING_LENGTH_MAX {
        return Err(EncodeError::SubscriptionIdentifier);
    }
    out.push(SUBSCRIPTION_IDENTIFIER);
    wire::write_variable_byte_integer(identifier, out);
    Ok(())
}

fn write_u16(identifier: u8, value: u16, out: &mut Vec<u8>) {
    out.push(identifier);
    out.extend(value.to_be_bytes());
}

fn write_u32(identifier: u8, value: u32, out: &mut Vec<u8>) {
    out.push(identifier);
    out.extend(value.to_be_bytes());
}

fn write_string(identifier: u8, value: &str, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    write_binary(identifier, value.as_bytes(), out)
}

fn write_binary(identifier: u8, value: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    out.push(identifier);
    wire::write_binary(value, out)
}
