//! How durations, QoS and protocol versions are represented in the files of outcomes, for `#[serde(with = ...)]`.
//!
//! Invariant: each of these modules reads back the value that it wrote; durations to the nanosecond, as far as an
//! `f64` of seconds represents them.

use std::time::Duration;

use mqtt::packet::QoS;
use mqtt::version::ProtocolVersion;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// For `#[serde(with = ...)]`: a duration as a number of seconds.
pub(crate) mod seconds {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(time.as_secs_f64())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// A duration in seconds, or null.
pub(crate) mod optional_seconds {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        time: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        time.map(|time| time.as_secs_f64()).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let seconds = Option::<f64>::deserialize(deserializer)?;
        let time = seconds.map(Duration::try_from_secs_f64).transpose();
        time.map_err(D::Error::custom)
    }
}

/// A QoS as 0, 1 or 2.
pub(crate) mod qos {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(qos: &QoS, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(*qos as u8)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<QoS, D::Error> {
        match u8::deserialize(deserializer)? {
            0 => Ok(QoS::AtMostOnce),
            1 => Ok(QoS::AtLeastOnce),
            2 => Ok(QoS::ExactlyOnce),
            other => Err(D::Error::custom(format!("{other} is not a QoS"))),
        }
    }
}

/// A protocol version, by its number in the title of the specification.
pub(crate) mod version {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        version: &ProtocolVersion,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(version_name(*version))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<ProtocolVersion, D::Error> {
        let name = String::deserialize(deserializer)?;
        let mut versions = VERSIONS.into_iter();
        let known = versions.find(|version| version_name(*version) == name);
        known.ok_or_else(|| D::Error::custom(format!("{name} is not a version of MQTT")))
    }

    const VERSIONS: [ProtocolVersion; 3] = [
        ProtocolVersion::V3_1,
        ProtocolVersion::V3_1_1,
        ProtocolVersion::V5,
    ];
}

/// The version's number in the title of the specification.
pub(crate) fn version_name(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::V3_1 => "3.1",
        ProtocolVersion::V3_1_1 => "3.1.1",
        ProtocolVersion::V5 => "5.0",
    }
}
