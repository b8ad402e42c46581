//! A publisher: its schedule, its encoded PUBLISH, and its messages in flight.
//!
//! Invariants: the packet of a message is the template with its stamp and Packet Identifier patched. What breaks
//! them: a payload that is shorter than the stamp, which [`crate::scenario::Scenario::check`] refuses.

use std::num::NonZeroU16;

use mqtt::error::EncodeError;
use mqtt::packet::QoS;
use mqtt::property::{Properties, PropertiesBuf, Property};
use mqtt::publish_template::PublishTemplate;

use crate::generator::flights::Flights;
use crate::generator::packets::{Mixture, Packet};
use crate::generator::window::Outstanding;
use crate::measure::timeline::Times;
use crate::scenario::Scenario;
use crate::scenario::json_payload;
use crate::scenario::payload::{self, LAG_BYTES_FROM, PayloadText, Stamp};
use crate::scenario::properties::Carrier;
use crate::scenario::schedule::{self, Schedule};

/// One publishing client: its schedule, its window and its messages in flight.
#[derive(Debug)]
pub struct Publisher {
    number: u32,
    run: u16,
    packet: Packet,
    /// If payloads differ in size.
    mixture: Option<Box<Mixture>>,
    /// The next message registers the alias with the broker.
    registers_alias: bool,
    aliased: Option<Box<Aliased>>,
    /// If the payload is JSON.
    json: Option<JsonFields>,
    sent: u64,
    /// Its QoS 1 and 2 messages; `None` at QoS 0.
    pub flights: Option<Flights>,
    /// Its send times; `None` in closed loop.
    pub schedule: Option<Schedule>,
    /// The window of this publisher, for the closed loop.
    pub outstanding: Outstanding,
    /// Whether the socket or the in-flight window blocked it since its last message.
    pub blocked: bool,
    /// Whether its connection broke since its last message that was sent in time.
    pub cut_off: bool,
    /// When its closed-loop window last made progress, CLOCK_MONOTONIC ns.
    pub progress_at_ns: u64,
    /// Whether it waits for its next intended time.
    pub scheduled: bool,
    /// Whether it has sent all of its messages.
    pub finished: bool,
    /// How many subscribers receive each of its messages.
    pub subscribers: u32,
}

impl Publisher {
    /// The publisher with the number `number`, which publishes to `topic`.
    ///
    /// # Errors
    /// The PUBLISH would be larger than the protocol allows.
    pub fn new(scenario: &Scenario, run: u16, number: u32, topic: &str) -> Result<Publisher, EncodeError> {
        let own_seed = scenario.seed ^ u64::from(number);
        let random = || (payload::filler(scenario.payload_bytes, own_seed), Vec::new());
        let text = scenario.text.as_ref();
        let (payload, random_at) = text.map_or_else(random, |text| {
            text.payload(number, payload::head_bytes(scenario.verify))
        });
        let properties = scenario.properties.of(Carrier::Publish, Some(number))?;
        let encode = |topic: &str, alias: Properties<'_>, payload: &[u8]| {
            let mut template = PublishTemplate::new();
            let (version, qos, retain) = (scenario.version, scenario.qos, scenario.retain);
            let properties = properties.as_properties();
            template.encode(version, qos, retain, topic, properties, alias, payload)?;
            Ok::<_, EncodeError>(template)
        };
        let packet_of = |payload: &[u8]| {
            Packet::new(payload, scenario.verify, |payload| {
                encode(topic, Properties::EMPTY, payload)
            })
        };
        let packet = packet_of(&payload)?;
        let sizes = scenario.payload_sizes.as_ref();
        let mixture = sizes.map(|sizes| {
            Mixture::new(sizes, own_seed, |bytes| {
                packet_of(payload.get(..bytes).unwrap_or_default())
            })
        });
        let mixture = mixture.transpose()?;
        let alias = scenario.properties.topic_alias();
        let encode = |topic: &str, alias: Properties<'_>| encode(topic, alias, &payload);
        let aliased = alias
            .map(|alias| Aliased::new(alias, topic, encode))
            .transpose()?;
        let Scenario { load, seed, .. } = *scenario;
        let schedule = scenario
            .interval_ns()
            .map(|interval_ns| Schedule::new(load.arrival(), interval_ns, schedule::random_of(seed, number)));
        Ok(Publisher {
            number,
            run,
            packet,
            mixture: mixture.map(Box::new),
            registers_alias: false,
            aliased: aliased.map(Box::new),
            json: text.is_some_and(PayloadText::is_json).then(|| JsonFields {
                random_at,
                random: fastrand::Rng::with_seed(own_seed),
            }),
            sent: 0,
            flights: (scenario.qos != QoS::AtMostOnce).then(|| Flights::new(scenario.inflight)),
            schedule,
            outstanding: Outstanding::default(),
            blocked: false,
            cut_off: false,
            progress_at_ns: 0,
            scheduled: false,
            finished: false,
            subscribers: 0,
        })
    }

    /// The number of this publisher.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Messages sent so far.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Length of the largest PUBLISH in bytes.
    pub fn packet_bytes(&self) -> usize {
        let aliased = self.aliased.as_ref();
        aliased.map_or(self.packet.template.bytes(), |aliased| aliased.first.bytes())
    }

    /// A connection begins whose broker accepts aliases up to this one: if the requested alias is within that, the
    /// first message registers it and the others have it instead of their topic [MQTT-3.3.2-7], [MQTT-3.3.2-9].
    pub fn begin_aliases(&mut self, topic_alias_maximum: u16) {
        let Some(aliased) = &mut self.aliased else {
            return;
        };
        aliased.allowed = aliased.alias.get() <= topic_alias_maximum;
        self.registers_alias = aliased.allowed;
        let template = if aliased.allowed {
            &aliased.first
        } else {
            &aliased.without
        };
        self.packet.template.clone_from(template);
    }

    /// Whether an alias was requested that the broker does not accept.
    pub fn lacks_alias(&self) -> bool {
        self.aliased.as_ref().is_some_and(|aliased| !aliased.allowed)
    }

    /// The first message with the alias is sent: the others are shorter.
    #[cold]
    fn end_registration(&mut self) {
        self.registers_alias = false;
        if let Some(aliased) = &self.aliased {
            self.packet.template.clone_from(&aliased.others);
        }
    }

    /// Intended time of its next message, CLOCK_MONOTONIC ns; the start of the load in closed loop.
    #[inline]
    pub fn next_at_ns(&self, times: &Times) -> u64 {
        times.start_ns + self.schedule.as_ref().map_or(0, Schedule::next_ns)
    }

    /// Advances to the next send time.
    #[inline]
    pub fn advance(&mut self) {
        if let Some(schedule) = &mut self.schedule {
            schedule.advance();
        }
    }

    /// Counts the send times before the end of the load at which nothing was sent, and skips them.
    pub fn unsent(&mut self, times: &Times) -> u64 {
        let mut unsent = 0;
        while self.schedule.is_some() && self.next_at_ns(times) < times.stop_ns {
            self.advance();
            unsent += 1;
        }
        unsent
    }

    /// Whether acknowledgements allow another message.
    #[inline]
    pub fn may_publish(&self) -> bool {
        self.flights.as_ref().is_none_or(Flights::has_room)
    }

    /// Discards the messages in flight, because the connection is gone; returns their number.
    pub fn forget_flights(&mut self) -> u64 {
        let Some(flights) = &mut self.flights else {
            return 0;
        };
        let count = flights.count() as u64;
        *flights = flights.emptied();
        count
    }

    /// Appends the next message. `intended_ns` counts from the run's epoch, `lag_ns` is the delay after it, `now_ns`
    /// is CLOCK_MONOTONIC.
    #[inline]
    pub fn publish(&mut self, intended_ns: u64, lag_ns: u64, now_ns: u64, out: &mut Vec<u8>) {
        let drawn = self.mixture.as_mut().and_then(|mixture| mixture.draw());
        let packet = drawn.unwrap_or(&self.packet);
        match self.flights.as_mut().and_then(|flights| flights.start(now_ns)) {
            None => packet.template.append(out),
            Some(identifier) => packet.template.append_with_identifier(identifier, false, out),
        }
        let stamp = Stamp {
            run: self.run,
            intended_ns,
            publisher: self.number,
            sequence: self.sent as u32,
            lag_ns: (packet.payload_bytes >= LAG_BYTES_FROM)
                .then(|| u32::try_from(lag_ns).unwrap_or(u32::MAX)),
        };
        let payload_at = out.len().saturating_sub(packet.payload_bytes);
        let payload = out.get_mut(payload_at..).unwrap_or_default();
        if let Some(json) = &mut self.json {
            json_payload::draw(&json.random_at, &mut json.random, payload);
            json_payload::write(&stamp, packet.crc_of_filler.is_some(), payload);
        } else {
            stamp.write(payload);
            if let Some(crc) = packet.crc_of_filler {
                payload::seal(crc, payload);
            }
        }
        self.sent += 1;
        if self.registers_alias {
            self.end_registration();
        }
    }
}

/// The parts of a publisher's messages that differ besides the stamp.
#[derive(Debug)]
struct JsonFields {
    random_at: Vec<usize>,
    random: fastrand::Rng,
}

/// The packets of a publisher with a Topic Alias.
#[derive(Debug)]
struct Aliased {
    alias: NonZeroU16,
    /// The topic, with the alias that it registers.
    first: PublishTemplate,
    /// The alias instead of the topic.
    others: PublishTemplate,
    /// The topic only, for a broker that does not accept the alias.
    without: PublishTemplate,
    /// Whether the broker's Topic Alias Maximum allows the alias.
    allowed: bool,
}

impl Aliased {
    fn new(
        alias: NonZeroU16,
        topic: &str,
        encode: impl Fn(&str, Properties<'_>) -> Result<PublishTemplate, EncodeError>,
    ) -> Result<Aliased, EncodeError> {
        let mut property = PropertiesBuf::new();
        property.push(Property::TopicAlias(alias))?;
        Ok(Aliased {
            alias,
            first: encode(topic, property.as_properties())?,
            others: encode("", property.as_properties())?,
            without: encode(topic, Properties::EMPTY)?,
            allowed: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mqtt::version::ProtocolVersion;

    /// The parts of one message: its topic, its alias, and the stamp.
    fn published(publisher: &mut Publisher, sequence: u32) -> (String, Option<u16>) {
        let mut out = Vec::new();
        publisher.publish(5, 0, 7, &mut out);
        let frame = mqtt::frame::split(&out, u32::MAX).unwrap().unwrap();
        assert_eq!(frame.wire_bytes, out.len());
        let publish = mqtt::decode::publish(&frame, ProtocolVersion::V5).unwrap();
        assert_eq!(publish.properties.content_type(), Some("text"));
        assert_eq!(publish.payload.len(), 64);
        let stamp = Stamp::read(publish.payload).unwrap();
        assert_eq!(
            (stamp.publisher, stamp.sequence, stamp.intended_ns),
            (3, sequence, 5)
        );
        let alias = publish.properties.topic_alias().map(NonZeroU16::get);
        (publish.topic.to_owned(), alias)
    }

    #[test]
    fn sizes_are_drawn_by_their_weights_and_each_has_its_stamp_and_checksum() {
        let line = "loadgen --size 24:3,300:1 --rate 1 --verify";
        let request = crate::options::parse(line.split(' ').map(Into::into)).unwrap();
        let mut publisher = Publisher::new(&request.scenario, 9, 3, "t").unwrap();
        let mut large = 0;
        for sequence in 0..1000 {
            let mut out = Vec::new();
            publisher.publish(5, 0, 7, &mut out);
            assert!(out.len() <= publisher.packet_bytes());
            let frame = mqtt::frame::split(&out, u32::MAX).unwrap().unwrap();
            let publish = mqtt::decode::publish(&frame, ProtocolVersion::V3_1_1).unwrap();
            assert!([24, 300].contains(&publish.payload.len()));
            large += usize::from(publish.payload.len() == 300);
            assert_eq!(Stamp::read(publish.payload).unwrap().sequence, sequence);
            assert!(payload::is_whole(publish.payload));
        }
        assert!((200..300).contains(&large), "{large}");
    }

    /// [MQTT-3.3.2-7], [MQTT-3.3.2-9]
    #[test]
    fn an_alias_is_registered_on_each_connection_whose_broker_takes_it() {
        for qos in ["0", "1"] {
            let line = format!("loadgen -V 5 -q {qos} -D publish topic-alias 2 -D publish content-type text");
            let request = crate::options::parse(line.split(' ').map(Into::into)).unwrap();
            let mut publisher = Publisher::new(&request.scenario, 9, 3, "a/long/topic").unwrap();
            let topic = || "a/long/topic".to_owned();
            publisher.begin_aliases(2);
            assert!(!publisher.lacks_alias());
            assert_eq!(published(&mut publisher, 0), (topic(), Some(2)));
            assert_eq!(published(&mut publisher, 1), (String::new(), Some(2)));
            assert_eq!(published(&mut publisher, 2), (String::new(), Some(2)));
            publisher.begin_aliases(u16::MAX);
            assert_eq!(published(&mut publisher, 3), (topic(), Some(2)));
            assert_eq!(published(&mut publisher, 4), (String::new(), Some(2)));
            publisher.begin_aliases(1);
            assert!(publisher.lacks_alias());
            assert_eq!(published(&mut publisher, 5), (topic(), None));
            assert_eq!(published(&mut publisher, 6), (topic(), None));
        }
    }
}
