//! The values of members of a query or a body of an operation.
//!
//! Invariants: an accepted value is valid; a refusal says which values are allowed.

use std::net::IpAddr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use mqtt::frame::PacketType;
use mqtt::topic::{self, TopicError};
use mqtt::{QoS, ReasonCode};
use serde::Deserialize;

use crate::limits;
use crate::logic::EventKind;
use crate::logic::operator::ListPlace;

/// The largest number of entries of a page.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Limit(pub(super) usize);

impl Default for Limit {
    fn default() -> Self {
        Self(100)
    }
}

impl TryFrom<String> for Limit {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let most = limits::API_PAGE_ENTRIES_MAX;
        let number = text.parse().ok().filter(|number| (1..=most).contains(number));
        number
            .map(Self)
            .ok_or_else(|| format!("must be a number from 1 to {most}"))
    }
}

/// The number of seconds of a measurement.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Seconds(pub(super) u64);

impl Default for Seconds {
    fn default() -> Self {
        Self(5)
    }
}

impl TryFrom<String> for Seconds {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let most = limits::MEASURED_SECONDS_MAX;
        let number = text.parse().ok().filter(|number| (1..=most).contains(number));
        number
            .map(Self)
            .ok_or_else(|| format!("must be a number from 1 to {most}"))
    }
}

/// Where a page begins: the shard, and the position in its list.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Cursor {
    pub(super) shard: u16,
    pub(super) from: ListPlace,
}

impl TryFrom<String> for Cursor {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let parse = || {
            let mut numbers = text.split('.');
            let shard = numbers.next()?.parse().ok()?;
            let slot = numbers.next()?.parse().ok()?;
            let entry = numbers.next()?.parse().ok()?;
            let from = ListPlace { slot, entry };
            numbers.next().is_none().then_some(Self { shard, from })
        };
        parse().ok_or(NO_CURSOR)
    }
}

/// Where a page of events begins: after this many of those with that time.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct EventsCursor {
    pub(super) at: u64,
    pub(super) shown: usize,
}

impl TryFrom<String> for EventsCursor {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let parse = || {
            let (at, shown) = text.split_once('.')?;
            let (at, shown) = (at.parse().ok()?, shown.parse().ok()?);
            Some(Self { at, shown })
        };
        parse().ok_or(NO_CURSOR)
    }
}

/// Where a page of traces begins: after the one with this number.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct TracesCursor(pub(super) u64);

impl TryFrom<String> for TracesCursor {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self).map_err(|_| NO_CURSOR)
    }
}

/// Where a page of bans begins: behind so many.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct BansCursor(pub(super) u64);

impl TryFrom<String> for BansCursor {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self).map_err(|_| NO_CURSOR)
    }
}

const NO_CURSOR: &str = "must be the `next` of another page";

/// The topic of a message.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct TopicName(pub(super) String);

impl TryFrom<String> for TopicName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        topic::check_name(&text)
            .map_err(|error| format!("{error}; fix: give a Topic Name, such as site/door"))?;
        Ok(Self(text))
    }
}

/// A Topic Filter that topics are compared with.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct AskedFilter(pub(super) String);

impl Default for AskedFilter {
    fn default() -> Self {
        Self("#".to_owned())
    }
}

impl TryFrom<String> for AskedFilter {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        topic::check_filter(&text).map_err(no_filter)?;
        Ok(Self(text))
    }
}

fn no_filter(error: TopicError) -> String {
    format!("{error}; fix: give a Topic Filter, such as site/+/door or site/#")
}

/// A Topic Filter of a SUBSCRIBE, which may be shared.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct SubscribedFilter(pub(super) String);

impl TryFrom<String> for SubscribedFilter {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if topic::shared(&text).map_err(no_filter)?.is_none() {
            topic::check_filter(&text).map_err(no_filter)?;
        }
        Ok(Self(text))
    }
}

/// The address of a client.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct AskedAddress(pub(super) IpAddr);

impl TryFrom<String> for AskedAddress {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let address = text.parse();
        address
            .map(Self)
            .map_err(|_| "must be an IP address without a port, such as 192.0.2.1 or 2001:db8::1")
    }
}

/// A kind of events, by its name.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct KindOfEvent(pub(super) EventKind);

impl TryFrom<String> for KindOfEvent {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let found = EventKind::ALL.into_iter().find(|kind| kind.name() == text);
        found.map(Self).ok_or_else(|| {
            let names = EventKind::ALL.map(EventKind::name);
            format!("must be one of {}", names.join(", "))
        })
    }
}

/// The reason for disconnecting a client, by its code; codes below 0x80 are for clients only (MQTT 5.0, 3.14.2.1).
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "u64")]
pub(super) struct DisconnectReason(pub(super) ReasonCode);

impl Default for DisconnectReason {
    fn default() -> Self {
        Self(ReasonCode::AdministrativeAction)
    }
}

impl TryFrom<u64> for DisconnectReason {
    type Error = &'static str;

    fn try_from(code: u64) -> Result<Self, Self::Error> {
        let reason = u8::try_from(code).ok().and_then(ReasonCode::from_u8);
        let reason =
            reason.filter(|reason| reason.belongs_to(PacketType::Disconnect) && *reason as u8 >= 0x80);
        reason
            .map(Self)
            .ok_or("must be the number of a reason code that a server may send in DISCONNECT, such as 152")
    }
}

/// A QoS, by its number.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "u64")]
pub(super) struct AskedQos(pub(super) QoS);

impl Default for AskedQos {
    fn default() -> Self {
        Self(QoS::AtMostOnce)
    }
}

impl TryFrom<u64> for AskedQos {
    type Error = &'static str;

    fn try_from(number: u64) -> Result<Self, Self::Error> {
        match number {
            0 => Ok(Self(QoS::AtMostOnce)),
            1 => Ok(Self(QoS::AtLeastOnce)),
            2 => Ok(Self(QoS::ExactlyOnce)),
            _ => Err("must be 0, 1 or 2"),
        }
    }
}

/// Bytes that are written in base64.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Base64(pub(super) Vec<u8>);

impl TryFrom<String> for Base64 {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let bytes = BASE64_STANDARD.decode(text);
        bytes
            .map(Self)
            .map_err(|error| format!("must be base64 with padding: {error}"))
    }
}
