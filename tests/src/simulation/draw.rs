//! What clients draw: CONNECT packets, Wills, messages, options.
//!
//! Invariants: none.

use std::rc::Rc;

use mqtt::packet::{RetainHandling, SubscriptionOptions};
use mqtt::property::{PropertiesBuf, Property};
use mqtt::{ProtocolVersion, QoS};

use super::profile::{chance, pick};
use super::world::World;
use crate::model::{ConnectRequest, Message, WillRequest};

pub(super) const TOPICS: [&str; 6] = ["a", "a/b", "a/cc", "b/c", "a/b/c", "$x/y"];
pub(super) const FILTERS: [&str; 11] = [
    "a", "a/b", "b/c", "a/+", "+/c", "#", "a/#", "+/+", "+", "$x/#", "w/#",
];
/// Filters that are shared: some sets of topics by two groups, some that clients have to themselves too.
pub(super) const SHARED: [&str; 5] = [
    "$share/g/a/b",
    "$share/g/a/+",
    "$share/h/a/+",
    "$share/g/#",
    "$share/h/b/c",
];
const VERSIONS: [ProtocolVersion; 4] = [
    ProtocolVersion::V3_1,
    ProtocolVersion::V3_1_1,
    ProtocolVersion::V5,
    ProtocolVersion::V5,
];
const LEVELS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

impl World {
    pub(super) fn draw_connect(&mut self, client: usize) -> ConnectRequest {
        let name = self.clients[client].name.clone();
        let rng = &mut self.rng;
        let clean_start = chance(rng, self.profile.clean) || self.clients[client].owes_clean_start;
        let version = pick(rng, &VERSIONS);
        let session_expiry_s = match rng.u32(0..10) {
            0..=1 => 0,
            2..=5 => rng.u32(1..30),
            _ => u32::MAX,
        };
        let receive_max = chance(rng, 30).then(|| rng.u16(1..4));
        let packet_bytes_max = chance(rng, 10).then(|| rng.u32(40..90));
        let topic_alias_max = chance(rng, 40).then(|| rng.u16(1..4));
        let keep_alive_s = if chance(rng, 40) { rng.u16(1..20) } else { 0 };
        let with_will = chance(rng, 30);
        ConnectRequest {
            version,
            client: name,
            clean_start,
            keep_alive_s,
            session_expiry_s,
            receive_max,
            packet_bytes_max,
            topic_alias_max,
            will: with_will.then(|| self.draw_will(client, version)),
        }
    }

    fn draw_will(&mut self, client: usize, version: ProtocolVersion) -> WillRequest {
        let mut message = self.draw_message(client, version, true);
        let delay_s = match version {
            ProtocolVersion::V5 if self.rng.bool() => self.rng.u32(1..15),
            _ => 0,
        };
        if message.retain {
            // Wills of one tick come in any order, so each has its own topic.
            message.topic = format!("w/{}", self.clients[client].name);
        }
        WillRequest {
            message: Rc::new(message),
            delay_s,
        }
    }

    pub(super) fn draw_message(&mut self, client: usize, version: ProtocolVersion, is_will: bool) -> Message {
        self.ran.published += 1;
        let rng = &mut self.rng;
        let retain = chance(rng, 25);
        let mut properties = PropertiesBuf::new();
        let mut expiry_s = None;
        if version == ProtocolVersion::V5 {
            if chance(rng, 20) {
                let longest_s = pick(rng, &[3, 20]);
                expiry_s = Some(rng.u32(1..longest_s));
            }
            if chance(rng, 20) {
                let pushed = properties.push(Property::UserProperty("n", "v"));
                debug_assert!(pushed.is_ok());
            }
        }
        let padding = pick(
            rng,
            &["", "", "", "...............................................", " "],
        );
        let mut topic = pick(rng, &TOPICS);
        let deletes = retain && !is_will && chance(rng, 25);
        if deletes && self.profile.shared > 0 {
            // Of messages that look alike nothing would show which one a group got: on this topic none is shared.
            topic = "$x/y";
        }
        let payload = if deletes {
            String::new()
        } else {
            format!("m{}{padding}", self.ran.published)
        };
        Message {
            topic: topic.to_owned(),
            payload,
            qos: pick(rng, &LEVELS),
            retain,
            properties,
            expiry_s,
            publisher: self.clients[client].name.clone(),
            is_will,
        }
    }
}

/// Options of a subscription; those of 5.0 only there.
pub(super) fn draw_options(rng: &mut fastrand::Rng, v5: bool) -> SubscriptionOptions {
    let handling = [
        RetainHandling::SendAtSubscribe,
        RetainHandling::SendIfNew,
        RetainHandling::DoNotSend,
    ];
    SubscriptionOptions {
        qos: pick(rng, &LEVELS),
        no_local: v5 && chance(rng, 20),
        retain_as_published: v5 && chance(rng, 30),
        retain_handling: if v5 { pick(rng, &handling) } else { handling[0] },
    }
}
