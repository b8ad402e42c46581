//! A message as JSON, with the names of mosquitto_sub's `%j` and `%J`.
//!
//! Invariants: none.

use mqtt::packet::Publish;
use mqtt::property::{Properties, Property};
use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};
use serde_json::value::RawValue;

use super::format::Printed;

/// The form of the payload in the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PayloadForm {
    /// As a string, whatever it contains.
    Text,
    /// As the JSON value itself.
    Json,
}

/// The object; `None` if the payload should be JSON but is not.
pub(super) fn json_form(printed: Printed<'_>, form: PayloadForm) -> Option<Vec<u8>> {
    let payload = printed.publish.payload;
    let object = Object {
        printed,
        payload: match form {
            PayloadForm::Text => Payload::Text(String::from_utf8_lossy(payload).into_owned()),
            PayloadForm::Json => Payload::Json(serde_json::from_slice(payload).ok()?),
        },
    };
    let written = match printed.pretty {
        true => serde_json::to_vec_pretty(&object),
        false => serde_json::to_vec(&object),
    };
    written.ok()
}

struct Object<'a> {
    printed: Printed<'a>,
    payload: Payload<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Payload<'a> {
    Text(String),
    Json(&'a RawValue),
}

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Publish {
            qos,
            retain,
            packet_identifier,
            properties,
            payload,
            ..
        } = self.printed.publish;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("tst", &self.printed.at.format(TIME).to_string())?;
        map.serialize_entry("topic", self.printed.topic)?;
        map.serialize_entry("qos", &(*qos as u8))?;
        map.serialize_entry("retain", &u8::from(*retain))?;
        map.serialize_entry("payloadlen", &payload.len())?;
        if let Some(identifier) = packet_identifier {
            map.serialize_entry("mid", &identifier.get())?;
        }
        if !properties.is_empty() {
            map.serialize_entry("properties", &PropertyMap(*properties))?;
        }
        map.serialize_entry("payload", &self.payload)?;
        map.end()
    }
}

/// The properties by mosquitto_pub's names.
struct PropertyMap<'a>(Properties<'a>);

impl Serialize for PropertyMap<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for property in self.0.iter() {
            match property {
                Property::PayloadFormatIndicator(is_text) => {
                    map.serialize_entry("payload-format-indicator", &u8::from(is_text))?;
                }
                Property::MessageExpiryInterval(seconds) => {
                    map.serialize_entry("message-expiry-interval", &seconds)?;
                }
                Property::ContentType(text) => map.serialize_entry("content-type", text)?,
                Property::ResponseTopic(topic) => map.serialize_entry("response-topic", topic)?,
                Property::CorrelationData(data) => {
                    map.serialize_entry("correlation-data", &String::from_utf8_lossy(data))?;
                }
                Property::SubscriptionIdentifier(identifier) => {
                    map.serialize_entry("subscription-identifier", &identifier)?;
                }
                Property::TopicAlias(alias) => map.serialize_entry("topic-alias", &alias.get())?,
                // User properties are grouped, and a PUBLISH has no others.
                _ => {}
            }
        }
        let users = UserPropertyMap(self.0);
        if users.pairs().next().is_some() {
            map.serialize_entry("user-properties", &users)?;
        }
        map.end()
    }
}

/// User Properties; a name may occur several times, as in the packet.
struct UserPropertyMap<'a>(Properties<'a>);

impl<'a> UserPropertyMap<'a> {
    fn pairs(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.0.iter().filter_map(|property| match property {
            Property::UserProperty(name, value) => Some((name, value)),
            _ => None,
        })
    }
}

impl Serialize for UserPropertyMap<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.pairs())
    }
}

/// mosquitto_sub's form, with a Z before the offset.
const TIME: &str = "%Y-%m-%dT%H:%M:%S.%6fZ%z";
