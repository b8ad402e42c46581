//! Compares a message that was received with the message that was sent: payload, topic, QoS, RETAIN and properties.
//!
//! Invariants: what a broker may change is not compared: the Message Expiry Interval, Topic Aliases, Subscription
//! Identifiers, the order of different properties [MQTT-3.3.2-18].

use mqtt::packet::{Publish, QoS};
use mqtt::property::{Properties, PropertiesBuf, Property};

use crate::measure::differences::Differences;
use crate::scenario::Scenario;
use crate::scenario::json_payload;
use crate::scenario::payload::{self, PayloadText};
use crate::scenario::properties::Carrier;
use crate::scenario::topics::TopicPlan;

/// The expected properties of each message of a run.
#[derive(Debug)]
pub struct Expected {
    qos: QoS,
    retain: bool,
    json: bool,
    /// The topic of each publisher.
    topics: Vec<String>,
    /// The properties of each publisher's messages; empty if there are none.
    properties: Vec<PropertiesBuf>,
}

impl Expected {
    /// The expectations for a scenario; `None` if messages are not verified.
    pub fn new(scenario: &Scenario, plan: &TopicPlan) -> Option<Expected> {
        let publishers = || 0..scenario.publishers;
        let properties = publishers().map(|number| scenario.properties.of(Carrier::Publish, Some(number)));
        let properties: Vec<PropertiesBuf> = if scenario.properties.any_of(Carrier::Publish) {
            // A packet that cannot be encoded is refused before anything is sent.
            properties.map(Result::unwrap_or_default).collect()
        } else {
            Vec::new()
        };
        scenario.verify.then(|| Expected {
            qos: scenario.qos,
            retain: scenario.retain && scenario.subscription.retain_as_published,
            json: scenario.text.as_ref().is_some_and(PayloadText::is_json),
            topics: publishers().map(|number| plan.name(number)).collect(),
            properties,
        })
    }

    /// Counts a message of `publisher` if it differs from what was sent; returns whether it is the same.
    #[inline]
    pub fn check(&self, publisher: u32, received: &Publish<'_>, differences: &mut Differences) -> bool {
        let place = publisher as usize;
        let topic = self.topics.get(place);
        let counter = match () {
            () if !self.is_whole(received.payload) => &mut differences.payload,
            // A Topic Alias replaces a topic that was checked with the first message.
            () if !received.topic.is_empty() && topic.is_none_or(|topic| topic != received.topic) => {
                &mut differences.topic
            }
            () if received.qos != self.qos => &mut differences.qos,
            // A retained message has RETAIN when a client reconnects.
            () if self.retain && !received.retain => &mut differences.retain,
            () if !self.has_properties(place, received.properties) => &mut differences.properties,
            () => return true,
        };
        *counter += 1;
        false
    }

    fn is_whole(&self, received: &[u8]) -> bool {
        if self.json {
            json_payload::is_whole(received)
        } else {
            payload::is_whole(received)
        }
    }

    fn has_properties(&self, place: usize, received: Properties<'_>) -> bool {
        if received.is_empty() && self.properties.is_empty() {
            return true;
        }
        let sent = self.properties.get(place).map(PropertiesBuf::as_properties);
        is_alike(sent.unwrap_or(Properties::EMPTY), received)
    }
}

/// Whether two messages have the same properties, as far as a broker must forward them unchanged.
fn is_alike(sent: Properties<'_>, received: Properties<'_>) -> bool {
    let expires = match (
        sent.message_expiry_interval_s(),
        received.message_expiry_interval_s(),
    ) {
        (Some(before), Some(left)) => left <= before,
        (before, left) => before == left,
    };
    expires
        && sent.payload_format_indicator() == received.payload_format_indicator()
        && sent.content_type() == received.content_type()
        && sent.response_topic() == received.response_topic()
        && sent.correlation_data() == received.correlation_data()
        && user_properties(sent).eq(user_properties(received))
}

fn user_properties<'a>(of: Properties<'a>) -> impl Iterator<Item = (&'a str, &'a str)> {
    of.iter().filter_map(|property| match property {
        Property::UserProperty(name, value) => Some((name, value)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::payload::{Stamp, filler};

    fn buffer(properties: &[Property<'_>]) -> PropertiesBuf {
        let mut buffer = PropertiesBuf::new();
        properties
            .iter()
            .for_each(|property| buffer.push(*property).unwrap());
        buffer
    }

    #[test]
    fn every_part_of_a_message_is_compared() {
        let line = "loadgen --pubs 2 --subs 2 -q 1 -V 5 -D publish content-type text --verify --topics a/%i";
        let scenario = crate::options::parse(line.split(' ').map(Into::into))
            .unwrap()
            .scenario;
        let plan = TopicPlan::new(scenario.topics.clone(), 2, 2, 1);
        let expected = Expected::new(&scenario, &plan).unwrap();
        let mut whole = filler(64, 1);
        let stamp = Stamp {
            run: 1,
            intended_ns: 5,
            publisher: 1,
            sequence: 0,
            lag_ns: Some(3),
        };
        stamp.write(&mut whole);
        payload::seal(payload::crc_of_filler(&whole), &mut whole);
        let mut flipped = whole.clone();
        flipped[40] ^= 1;
        let properties = buffer(&[Property::ContentType("text"), Property::SubscriptionIdentifier(7)]);
        let good = Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: false,
            topic: "a/1",
            packet_identifier: None,
            properties: properties.as_properties(),
            payload: &whole,
        };
        let check = |received: &Publish<'_>| {
            let mut differences = Differences::default();
            let is_right = expected.check(1, received, &mut differences);
            let named = differences.named();
            assert_eq!(is_right, named.is_empty());
            named.first().map(|(_, what)| *what)
        };
        assert_eq!(check(&good), None);
        let payload = &flipped;
        assert_eq!(check(&Publish { payload, ..good }), Some("payload"));
        assert_eq!(check(&Publish { topic: "a/0", ..good }), Some("topic"));
        assert_eq!(check(&Publish { topic: "", ..good }), None, "an alias");
        let qos = QoS::AtMostOnce;
        assert_eq!(check(&Publish { qos, ..good }), Some("QoS"));
        let properties = Properties::EMPTY;
        assert_eq!(check(&Publish { properties, ..good }), Some("properties"));
        let added = buffer(&[Property::ContentType("text"), Property::UserProperty("a", "b")]);
        let properties = added.as_properties();
        assert_eq!(check(&Publish { properties, ..good }), Some("properties"));
    }

    #[test]
    fn a_message_may_have_waited_and_its_user_properties_keep_their_order() {
        let of = |seconds, first, second| {
            buffer(&[
                Property::MessageExpiryInterval(seconds),
                Property::UserProperty(first, "x"),
                Property::UserProperty(second, "x"),
            ])
        };
        let sent = of(60, "a", "b");
        for (received, alike) in [
            (of(60, "a", "b"), true),
            (of(58, "a", "b"), true),
            (of(61, "a", "b"), false),
            (of(60, "b", "a"), false),
        ] {
            assert_eq!(is_alike(sent.as_properties(), received.as_properties()), alike);
        }
    }
}
