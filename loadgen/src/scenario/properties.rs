//! Properties of MQTT 5.0 that the user gives, in the syntax of mosquitto_pub and mosquitto_sub: `PACKET NAME
//! VALUE [VALUE]`.
//!
//! Invariant: what is in [`GivenProperties`] was accepted: it belongs to its packet, occurs once (except user
//! properties) and has a value that the protocol allows. `%i` in it is the number of the client.

use std::num::{NonZeroU16, NonZeroU32};

use mqtt::error::EncodeError;
use mqtt::property::{PropertiesBuf, Property};
use mqtt::topic;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::scenario::topics::numbered;

/// A packet that carries properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// A property of CONNECT.
    Connect,
    /// A property of the Will in a CONNECT.
    Will,
    /// A property of each PUBLISH.
    Publish,
    /// A property of each SUBSCRIBE.
    Subscribe,
}

/// The properties of all packets of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GivenProperties(Vec<Given>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Given {
    carrier: Carrier,
    name: String,
    values: Vec<String>,
}

impl GivenProperties {
    /// Adds one property from its words: the packet, the property's name, and one or two values.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn add(&mut self, words: &[String], carriers: &[Carrier]) -> Result<(), String> {
        let refuse = |why: &str| Err(format!("-D {}: {why}", words.join(" ")));
        let [carrier, name, values @ ..] = words else {
            return refuse("it requires a packet, a property and its value");
        };
        let Some(&carrier) = carriers.iter().find(|known| known.word() == carrier) else {
            let known: Vec<_> = carriers.iter().map(|carrier| carrier.word()).collect();
            return refuse(&format!("the packet must be one of {}", known.join(", ")));
        };
        if !carrier.names().contains(&name.as_str()) {
            let names = carrier.names().join(", ");
            return refuse(&format!("the properties of {} are {names}", carrier.word()));
        }
        if name != USER_PROPERTY && self.find(carrier, name).is_some() {
            return refuse("it was already given");
        }
        let given = Given {
            carrier,
            name: name.clone(),
            values: values.to_vec(),
        };
        // The longest text that a value can become.
        let longest = given.numbered(Some(u32::MAX));
        let pushed = property(name, &longest).map(|property| PropertiesBuf::new().push(property));
        match pushed {
            Err(why) => refuse(&why),
            Ok(Err(error)) => refuse(&error.to_string()),
            Ok(Ok(())) => {
                self.0.push(given);
                Ok(())
            }
        }
    }

    /// Whether no property was given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether properties were given for a packet.
    pub fn any_of(&self, carrier: Carrier) -> bool {
        self.0.iter().any(|given| given.carrier == carrier)
    }

    /// Whether a packet has a property with this name.
    pub fn has(&self, carrier: Carrier, name: &str) -> bool {
        self.find(carrier, name).is_some()
    }

    /// The Topic Alias for publishers to use.
    pub fn topic_alias(&self) -> Option<NonZeroU16> {
        self.find(Carrier::Publish, TOPIC_ALIAS)?
            .values
            .first()?
            .parse()
            .ok()
    }

    /// The properties of a packet, except the Topic Alias, for the client with this number, if any (else `%i` stays).
    ///
    /// # Errors
    /// When they are too large together.
    pub fn of(&self, carrier: Carrier, number: Option<u32>) -> Result<PropertiesBuf, EncodeError> {
        let mut properties = PropertiesBuf::new();
        let mine = |given: &&Given| given.carrier == carrier && given.name != TOPIC_ALIAS;
        for given in self.0.iter().filter(mine) {
            // They were checked when they were added.
            if let Ok(property) = property(&given.name, &given.numbered(number)) {
                properties.push(property)?;
            }
        }
        Ok(properties)
    }

    /// The largest number of bytes of any packet's properties.
    pub fn bytes_max(&self) -> usize {
        let bytes = |given: &Given| {
            let numbers = given.numbered(Some(u32::MAX));
            PROPERTY_BYTES + numbers.iter().map(String::len).sum::<usize>()
        };
        self.0.iter().map(bytes).sum()
    }

    fn find(&self, carrier: Carrier, name: &str) -> Option<&Given> {
        let mut all = self.0.iter();
        all.find(|given| given.carrier == carrier && given.name == name)
    }
}

/// Written to result files as they were given.
impl Serialize for GivenProperties {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let words = |given: &Given| {
            format!(
                "{} {} {}",
                given.carrier.word(),
                given.name,
                given.values.join(" ")
            )
        };
        serializer.collect_seq(self.0.iter().map(words))
    }
}

/// For reports: if the words of a User Property contain blanks, its name and its value cannot be separated.
impl<'de> Deserialize<'de> for GivenProperties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<GivenProperties, D::Error> {
        let given = |words: String| {
            let mut parts = words.splitn(3, ' ');
            let (carrier, name, value) = (parts.next()?, parts.next()?, parts.next()?);
            Some(Given {
                carrier: Carrier::ALL.into_iter().find(|known| known.word() == carrier)?,
                name: name.to_owned(),
                values: vec![value.to_owned()],
            })
        };
        let all = Vec::<String>::deserialize(deserializer)?;
        let given: Option<Vec<Given>> = all.into_iter().map(given).collect();
        given.map(GivenProperties).ok_or_else(|| {
            serde::de::Error::custom("a property is a packet, a name and a value, with blanks between")
        })
    }
}

impl Given {
    fn numbered(&self, number: Option<u32>) -> Vec<String> {
        let value = |value: &String| number.map_or_else(|| value.clone(), |number| numbered(value, number));
        self.values.iter().map(value).collect()
    }
}

impl Carrier {
    const ALL: [Carrier; 4] = [
        Carrier::Connect,
        Carrier::Will,
        Carrier::Publish,
        Carrier::Subscribe,
    ];

    fn word(self) -> &'static str {
        match self {
            Carrier::Connect => "connect",
            Carrier::Will => "will",
            Carrier::Publish => "publish",
            Carrier::Subscribe => "subscribe",
        }
    }

    fn names(self) -> &'static [&'static str] {
        match self {
            Carrier::Connect => &[
                SESSION_EXPIRY_INTERVAL,
                "receive-maximum",
                "maximum-packet-size",
                "topic-alias-maximum",
                "request-problem-information",
                "request-response-information",
                USER_PROPERTY,
            ],
            Carrier::Will => &[
                "will-delay-interval",
                "message-expiry-interval",
                "content-type",
                RESPONSE_TOPIC,
                "correlation-data",
                "payload-format-indicator",
                USER_PROPERTY,
            ],
            Carrier::Publish => &[
                "message-expiry-interval",
                "content-type",
                RESPONSE_TOPIC,
                "correlation-data",
                "payload-format-indicator",
                TOPIC_ALIAS,
                USER_PROPERTY,
            ],
            Carrier::Subscribe => &["subscription-identifier", USER_PROPERTY],
        }
    }
}

fn property<'a>(name: &str, values: &'a [String]) -> Result<Property<'a>, String> {
    let values: Vec<&'a str> = values.iter().map(String::as_str).collect();
    Ok(match (name, values.as_slice()) {
        (USER_PROPERTY, &[name, value]) => Property::UserProperty(name, value),
        (USER_PROPERTY, _) => return Err("a user property requires a name and a value".to_owned()),
        (SESSION_EXPIRY_INTERVAL, &[value]) => Property::SessionExpiryInterval(number(value)?),
        ("receive-maximum", &[value]) => Property::ReceiveMaximum(number::<NonZeroU16>(value)?),
        ("maximum-packet-size", &[value]) => Property::MaximumPacketSize(number::<NonZeroU32>(value)?),
        ("topic-alias-maximum", &[value]) => Property::TopicAliasMaximum(number(value)?),
        ("request-problem-information", &[value]) => Property::RequestProblemInformation(flag(value)?),
        ("request-response-information", &[value]) => Property::RequestResponseInformation(flag(value)?),
        ("will-delay-interval", &[value]) => Property::WillDelayInterval(number(value)?),
        ("message-expiry-interval", &[value]) => Property::MessageExpiryInterval(number(value)?),
        ("content-type", &[value]) => Property::ContentType(value),
        (RESPONSE_TOPIC, &[value]) => {
            topic::check_name(value).map_err(|error| format!("not a topic name: {error}"))?;
            Property::ResponseTopic(value)
        }
        ("correlation-data", &[value]) => Property::CorrelationData(value.as_bytes()),
        ("payload-format-indicator", &[value]) => Property::PayloadFormatIndicator(flag(value)?),
        (TOPIC_ALIAS, &[value]) => Property::TopicAlias(number::<NonZeroU16>(value)?),
        ("subscription-identifier", &[value]) => {
            Property::SubscriptionIdentifier(number::<NonZeroU32>(value)?.get())
        }
        _ => return Err("it requires one value".to_owned()),
    })
}

fn number<N: std::str::FromStr<Err: std::fmt::Display>>(value: &str) -> Result<N, String> {
    value
        .parse()
        .map_err(|error| format!("{value:?} is not a valid number: {error}"))
}

fn flag(value: &str) -> Result<bool, String> {
    match value {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => Err("its value must be 0 or 1".to_owned()),
    }
}

const USER_PROPERTY: &str = "user-property";
const TOPIC_ALIAS: &str = "topic-alias";
/// The property of a PUBLISH that names the topic of the response.
pub const RESPONSE_TOPIC: &str = "response-topic";
/// The property of a CONNECT that also has a separate option.
pub const SESSION_EXPIRY_INTERVAL: &str = "session-expiry-interval";
/// Largest number of bytes of a property besides its texts: identifier, two lengths.
const PROPERTY_BYTES: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Carrier; 4] = [
        Carrier::Connect,
        Carrier::Will,
        Carrier::Publish,
        Carrier::Subscribe,
    ];

    fn given(lines: &[&str]) -> Result<GivenProperties, String> {
        let mut given = GivenProperties::default();
        for line in lines {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            given.add(&words, &ALL)?;
        }
        Ok(given)
    }

    #[test]
    fn properties_go_to_their_packets_with_the_number_of_the_client() {
        let given = given(&[
            "publish user-property a b%i",
            "publish user-property a c",
            "publish response-topic reply/%i",
            "publish topic-alias 3",
            "connect receive-maximum 7",
            "subscribe subscription-identifier 268435455",
            "will will-delay-interval 4294967295",
        ])
        .unwrap();
        let publish = given.of(Carrier::Publish, Some(12)).unwrap();
        let publish: Vec<_> = publish.as_properties().iter().collect();
        assert_eq!(
            publish,
            [
                Property::UserProperty("a", "b12"),
                Property::UserProperty("a", "c"),
                Property::ResponseTopic("reply/12")
            ],
            "the alias is added where the broker allows it"
        );
        assert_eq!(given.topic_alias(), NonZeroU16::new(3));
        let single = given.of(Carrier::Publish, None).unwrap();
        assert_eq!(single.as_properties().response_topic(), Some("reply/%i"));
        let connect = given.of(Carrier::Connect, Some(1)).unwrap();
        assert_eq!(connect.as_properties().receive_maximum(), NonZeroU16::new(7));
        let will = given.of(Carrier::Will, Some(1)).unwrap();
        assert_eq!(will.as_properties().will_delay_interval_s(), Some(u32::MAX));
        let subscribe = given.of(Carrier::Subscribe, Some(1)).unwrap();
        assert_eq!(
            subscribe.as_properties().subscription_identifier(),
            Some(268_435_455)
        );
        for carrier in ALL {
            let bytes = given
                .of(carrier, Some(u32::MAX))
                .unwrap()
                .as_properties()
                .as_bytes()
                .len();
            assert!(bytes <= given.bytes_max());
        }
        let written = serde_json::to_string(&given).unwrap();
        assert!(written.contains("\"publish user-property a b%i\""), "{written}");
    }

    /// Every name can be given, so that none is in one table only.
    #[test]
    fn every_name_of_a_packet_is_understood() {
        for carrier in ALL {
            for name in carrier.names() {
                let line = match *name {
                    USER_PROPERTY => format!("{} {name} 1 1", carrier.word()),
                    _ => format!("{} {name} 1", carrier.word()),
                };
                let given = given(&[&line]).unwrap();
                assert!(given.has(carrier, name), "{line}");
                let is_alias = usize::from(*name == TOPIC_ALIAS);
                let encoded = given.of(carrier, None).unwrap();
                assert_eq!(encoded.as_properties().iter().count(), 1 - is_alias, "{line}");
            }
        }
    }

    #[test]
    fn what_cannot_be_is_a_sentence() {
        let long = format!("publish content-type {}", "x".repeat(65_536));
        let long_with_number = format!("publish content-type {}%i", "x".repeat(65_530));
        for (lines, part) in [
            (&["publish"][..], "requires a packet"),
            (
                &["disconnect reason-string x"],
                "connect, will, publish, subscribe",
            ),
            (&["publish receive-maximum 5"], "of publish are"),
            (&["connect nonsense 5"], "of connect are session-expiry-interval"),
            (&["publish content-type"], "one value"),
            (&["publish content-type a b"], "one value"),
            (&["publish user-property a"], "a name and a value"),
            (&["publish content-type a", "publish content-type b"], "already"),
            (&["publish message-expiry-interval -1"], "number"),
            (&["publish message-expiry-interval 4294967296"], "number"),
            (&["publish topic-alias 0"], "number"),
            (&["connect receive-maximum 65536"], "number"),
            (&["connect maximum-packet-size 0"], "number"),
            (
                &["subscribe subscription-identifier 268435456"],
                "subscription-identifier",
            ),
            (&["publish payload-format-indicator 2"], "0 or 1"),
            (&["publish response-topic a/#"], "not a topic name"),
            (&[long.as_str()], "content-type"),
            (&[long_with_number.as_str()], "content-type"),
        ] {
            let error = given(lines).expect_err(lines[0]);
            assert!(error.contains(part), "{lines:?}: {error}");
        }
    }
}
