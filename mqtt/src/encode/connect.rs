//! CONNECT and CONNACK.
//!
//! Invariant: the Connect Flags describe the payload.

use super::{begin, begin_checked, fitting, properties_bytes, whole, write_properties};
use crate::error::EncodeError;
use crate::frame::PacketType;
use crate::packet::{ConnAck, Connect, Will};
use crate::version::ProtocolVersion;
use crate::wire::{write_binary, write_string};

impl Connect<'_> {
    /// Appends the packet in its own version.
    ///
    /// Errors: a field of more than 65,535 bytes, a packet that is too large, and in 3.x a Password without a User
    /// Name.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if self.password.is_some() && self.user_name.is_none() && self.version != ProtocolVersion::V5 {
            return Err(EncodeError::PasswordWithoutUserName);
        }
        let body_bytes = self.body_bytes();
        whole(out, |out| {
            begin(PacketType::Connect.first_byte(), body_bytes, out)?;
            write_string(protocol_name(self.version), out)?;
            out.extend_from_slice(&[self.version as u8, self.flags()]);
            out.extend_from_slice(&self.keep_alive_s.to_be_bytes());
            write_properties(self.properties, self.version, out);
            write_string(self.client_identifier, out)?;
            self.will
                .map_or(Ok(()), |will| write_will(will, self.version, out))?;
            self.user_name
                .map_or(Ok(()), |user_name| write_string(user_name, out))?;
            self.password
                .map_or(Ok(()), |password| write_binary(password, out))
        })
    }

    fn flags(&self) -> u8 {
        let will = self.will.map_or(0, |will| {
            0x04 | ((will.qos as u8) << 3) | (u8::from(will.retain) << 5)
        });
        (u8::from(self.user_name.is_some()) << 7)
            | (u8::from(self.password.is_some()) << 6)
            | (u8::from(self.clean_start) << 1)
            | will
    }

    fn body_bytes(&self) -> usize {
        let will = self.will.map_or(0, |will| {
            properties_bytes(will.properties, self.version) + 4 + will.topic.len() + will.payload.len()
        });
        let variable_header =
            2 + protocol_name(self.version).len() + 4 + properties_bytes(self.properties, self.version);
        variable_header
            + 2
            + self.client_identifier.len()
            + will
            + self.user_name.map_or(0, |user_name| 2 + user_name.len())
            + self.password.map_or(0, |password| 2 + password.len())
    }
}

impl ConnAck<'_> {
    /// Appends the packet; in 3.x with the return code that is nearest to the reason.
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        // [MQTT-3.2.2-6]; MQTT 3.1 does not have Session Present.
        let session_present = self.session_present && !self.reason.is_error();
        let flags = u8::from(session_present && version != ProtocolVersion::V3_1);
        let first = PacketType::ConnAck.first_byte();
        if version != ProtocolVersion::V5 {
            out.extend_from_slice(&[first, 2, flags, self.reason.to_v3_return_code()]);
            return;
        }
        let properties = fitting(self.properties);
        begin_checked(first, 2 + properties.wire_bytes(), out);
        out.extend_from_slice(&[flags, self.reason as u8]);
        write_properties(properties, version, out);
    }
}

fn protocol_name(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::V3_1 => "MQIsdp",
        _ => "MQTT",
    }
}

fn write_will(will: Will<'_>, version: ProtocolVersion, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    write_properties(will.properties, version, out);
    write_string(will.topic, out)?;
    write_binary(will.payload, out)
}
