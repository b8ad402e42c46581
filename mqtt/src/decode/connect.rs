//! CONNECT: the only packet that names its version.
//!
//! Invariant: the Connect Flags and the payload agree, except for MQTT 3.1's missing User Name.

use super::read_properties;
use crate::error::{DecodeError, DecodeErrorKind};
use crate::frame::Frame;
use crate::packet::{Connect, QoS, Will};
use crate::property::PropertySet;
use crate::version::ProtocolVersion;
use crate::wire::Reader;

/// Decodes the frame of a CONNECT by its own protocol level.
///
/// An unsupported level is [`DecodeErrorKind::UnsupportedProtocolLevel`] with the requested level: a server answers
/// those below 5 with return code 1 and the others with reason code 0x84 [MQTT-3.1.2-2].
///
/// [MQTT3-3.1.2-9], [MQTT3-3.1.2-18], [MQTT3-3.1.2-19], [MQTT3-3.1.2-20], [MQTT3-3.1.2-21], [MQTT3-3.1.3-1],
/// [MQTT3-3.1.3-3], [MQTT3-3.1.3-4], [MQTT3-3.1.3-11], [MQTT-3.1.2-9], [MQTT-3.1.2-16], [MQTT-3.1.2-17],
/// [MQTT-3.1.2-18], [MQTT-3.1.2-19], [MQTT-3.1.3-1], [MQTT-3.1.3-3], [MQTT-3.1.3-4], [MQTT-3.1.3-12]
pub fn connect<'a>(frame: &Frame<'a>) -> Result<Connect<'a>, DecodeError> {
    let mut reader = Reader::new(frame.body);
    let version = read_version(&mut reader)?;
    let flags = ConnectFlags::read(reader.u8()?, version)?;
    let keep_alive_s = reader.u16()?;
    let properties = read_properties(&mut reader, PropertySet::CONNECT, version)?;
    let client_identifier = reader.string()?;
    // MQTT 3.1: "The Client Identifier is between 1 and 23 characters"; longer ones are in use everywhere.
    if version == ProtocolVersion::V3_1 && client_identifier.is_empty() {
        return Err(DecodeErrorKind::ClientIdentifierEmpty.into());
    }
    let will = match flags.will {
        true => Some(read_will(&mut reader, flags, version)?),
        false => None,
    };
    let user_name = match flags.user_name && !is_missing(&reader, version) {
        true => Some(reader.string()?),
        false => None,
    };
    let password = match flags.password && !is_missing(&reader, version) {
        true => Some(reader.binary()?),
        false => None,
    };
    reader.finish()?;
    let clean_start = flags.clean_start;
    Ok(Connect {
        version,
        clean_start,
        keep_alive_s,
        properties,
        client_identifier,
        will,
        user_name,
        password,
    })
}

/// The version of a CONNECT, if the first bytes after its fixed header contain it: for an answer to one that is
/// malformed after that, or has not arrived completely.
#[must_use]
pub fn version_of_connect(body: &[u8]) -> Option<ProtocolVersion> {
    read_version(&mut Reader::new(body)).ok()
}

#[derive(Clone, Copy)]
struct ConnectFlags {
    user_name: bool,
    password: bool,
    will: bool,
    will_qos: QoS,
    will_retain: bool,
    clean_start: bool,
}

impl ConnectFlags {
    // [MQTT3-3.1.2-11]
    fn read(byte: u8, version: ProtocolVersion) -> Result<Self, DecodeErrorKind> {
        let will_qos = QoS::from_bits(byte >> 3).ok_or(DecodeErrorKind::WillQoS3)?;
        // In MQTT 3.1 the bits of the Will are unused in a CONNECT without a Will.
        let unused = version == ProtocolVersion::V3_1 && byte & WILL == 0;
        let flags = Self {
            user_name: byte & 0x80 != 0,
            password: byte & 0x40 != 0,
            will: byte & WILL != 0,
            will_qos: if unused { QoS::AtMostOnce } else { will_qos },
            will_retain: !unused && byte & WILL_RETAIN != 0,
            clean_start: byte & 0x02 != 0,
        };
        // [MQTT-3.1.2-3]; MQTT 3.1 calls the bit unused.
        if byte & 1 != 0 && version != ProtocolVersion::V3_1 {
            return Err(DecodeErrorKind::ConnectReservedFlag);
        }
        // [MQTT-3.1.2-11], [MQTT-3.1.2-13]
        if !flags.will && flags.will_qos != QoS::AtMostOnce {
            return Err(DecodeErrorKind::WillQoSWithoutWill);
        }
        if !flags.will && flags.will_retain {
            return Err(DecodeErrorKind::WillRetainWithoutWill);
        }
        // 3.1.1: [MQTT-3.1.2-22]; 5.0 allows it.
        if flags.password && !flags.user_name && version != ProtocolVersion::V5 {
            return Err(DecodeErrorKind::PasswordWithoutUserName);
        }
        Ok(flags)
    }
}

const WILL: u8 = 0x04;
const WILL_RETAIN: u8 = 0x20;

/// Whether a CONNECT with that body is from a mosquitto bridge: the highest bit of its level is set, 0x83 for 3.1 and
/// 0x84 for 3.1.1, which no version of the specification has (`try_private` in mosquitto.conf(5)).
#[must_use]
pub fn is_bridge(body: &[u8]) -> bool {
    let mut reader = Reader::new(body);
    reader.binary().is_ok() && reader.u8().is_ok_and(|level| level & BRIDGE != 0)
}

const BRIDGE: u8 = 0x80;

/// The version of what follows; for a bridge the version that it uses.
fn read_version(reader: &mut Reader<'_>) -> Result<ProtocolVersion, DecodeErrorKind> {
    let name = reader.binary()?;
    let levels: &[ProtocolVersion] = match name {
        b"MQTT" => &[ProtocolVersion::V3_1_1, ProtocolVersion::V5],
        b"MQIsdp" => &[ProtocolVersion::V3_1],
        _ => return Err(DecodeErrorKind::ProtocolName),
    };
    let level = reader.u8()?;
    let spoken = match level {
        0x83 | 0x84 => level & !BRIDGE,
        _ => level,
    };
    let version = levels.iter().find(|version| **version as u8 == spoken);
    version
        .copied()
        .ok_or(DecodeErrorKind::UnsupportedProtocolLevel(level))
}

fn read_will<'a>(
    reader: &mut Reader<'a>,
    flags: ConnectFlags,
    version: ProtocolVersion,
) -> Result<Will<'a>, DecodeErrorKind> {
    let properties = read_properties(reader, PropertySet::WILL, version)?;
    let topic = reader.topic_name()?;
    if topic.is_empty() {
        return Err(DecodeErrorKind::TopicNameEmpty);
    }
    let payload = reader.binary()?;
    Ok(Will {
        qos: flags.will_qos,
        retain: flags.will_retain,
        properties,
        topic,
        payload,
    })
}

/// MQTT 3.1 lets the Remaining Length take precedence over the User Name and Password flags: a server "must allow for
/// the possibility that the User Name flag is set, but the User Name string is missing".
fn is_missing(reader: &Reader<'_>, version: ProtocolVersion) -> bool {
    version == ProtocolVersion::V3_1 && reader.is_empty()
}
