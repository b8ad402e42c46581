//! Topic Aliases towards one client (MQTT 5.0, section 3.3.2.3.4): a topic that is sent repeatedly is replaced by a
//! number.
//!
//! Invariants: a connection has a table only if its client announced a Topic Alias Maximum, and the table ends with the
//! connection. No alias is 0 or above that maximum [MQTT-3.3.2-11], [MQTT-3.1.2-26], [MQTT-3.1.2-27]. An alias is valid
//! once the PUBLISH that defines it is in `out`; the caller confirms that with [`Aliases::commit`], so a packet that
//! was encoded but not sent changes nothing. A full table takes a new topic only when that topic comes again soon, so
//! topics that are sent once do not replace those that are sent often.

use std::hash::BuildHasher as _;
use std::num::NonZeroU16;

use foldhash::fast::FixedState;
use mqtt::property::{Properties, PropertiesBuf, Property};
use mqtt::publish_template::PublishTemplate;
use mqtt::{ProtocolVersion, QoS};

use crate::limits;

/// The Topic Aliases that this connection's client has been given.
#[derive(Debug)]
pub(in crate::logic) struct Aliases {
    /// Hashes of the topics; alias 1 is first. Kept separately, because they are searched.
    hashes: Vec<u64>,
    topics: Vec<Box<str>>,
    /// Whether the alias was used since the hand last passed.
    used: Vec<bool>,
    hand: usize,
    /// Recent topics without an alias, by a part of their hashes.
    lately: [u64; LATELY],
    alias_max: u16,
    pending: Option<Pending>,
    hasher: FixedState,
    /// Properties of the packet being encoded, reused.
    extra: PropertiesBuf,
}

/// The content of one PUBLISH, apart from its Topic Alias.
#[derive(Clone, Copy, Debug)]
pub(in crate::logic) struct Outgoing<'a> {
    pub(in crate::logic) qos: QoS,
    pub(in crate::logic) retain: bool,
    pub(in crate::logic) topic: &'a str,
    pub(in crate::logic) properties: Properties<'a>,
    /// The Subscription Identifiers of the subscriber, encoded.
    pub(in crate::logic) identifiers: Properties<'a>,
    pub(in crate::logic) payload: &'a [u8],
}

/// An alias that was encoded with its topic but not sent yet.
#[derive(Debug)]
struct Pending {
    index: usize,
    hash: u64,
    topic: Box<str>,
}

const LATELY: usize = 8;
/// Bytes of a Topic Alias property: shorter topics are shorter than their alias.
const ALIAS_BYTES: usize = 3;

impl Aliases {
    /// For a client with this Topic Alias Maximum; `None` if aliases would be of no use.
    pub(in crate::logic) fn new(alias_max: u16, seed: u64) -> Option<Box<Aliases>> {
        let alias_max = alias_max.min(limits::TOPIC_ALIASES_MAX);
        (alias_max > 0).then(|| {
            Box::new(Self {
                hashes: Vec::new(),
                topics: Vec::new(),
                used: Vec::new(),
                hand: 0,
                lately: [0; LATELY],
                alias_max,
                pending: None,
                hasher: FixedState::with_seed(seed),
                extra: PropertiesBuf::new(),
            })
        })
    }

    /// Encodes a PUBLISH with an alias; false if the topic gets none, or the packet became too large because of it.
    pub(in crate::logic) fn encode(
        &mut self,
        outgoing: &Outgoing<'_>,
        bytes_max: u32,
        template: &mut PublishTemplate,
    ) -> bool {
        let Some((alias, is_known)) = self.choose(outgoing.topic) else {
            return false;
        };
        self.extra.clear();
        let extra = self
            .extra
            .extend_raw(outgoing.identifiers)
            .and_then(|()| self.extra.push(Property::TopicAlias(alias)));
        let topic = if is_known { "" } else { outgoing.topic };
        let encoded = extra.and_then(|()| {
            template.encode(
                ProtocolVersion::V5,
                outgoing.qos,
                outgoing.retain,
                topic,
                outgoing.properties,
                self.extra.as_properties(),
                outgoing.payload,
            )
        });
        let fits = encoded.is_ok() && template.bytes() <= bytes_max as usize;
        if !fits {
            // It is sent with its whole topic, or not at all.
            self.pending = None;
        }
        fits
    }

    /// Confirms that the last encoded packet is being sent.
    pub(in crate::logic) fn commit(&mut self) {
        let Some(Pending { index, hash, topic }) = self.pending.take() else {
            // The client knows the alias already, or the packet has none.
            return;
        };
        match (
            self.hashes.get_mut(index),
            self.topics.get_mut(index),
            self.used.get_mut(index),
        ) {
            (Some(known), Some(name), Some(used)) => (*known, *name, *used) = (hash, topic, true),
            _ => {
                self.hashes.push(hash);
                self.topics.push(topic);
                self.used.push(true);
            }
        }
    }

    /// The alias of a topic, and whether the client knows it.
    fn choose(&mut self, topic: &str) -> Option<(NonZeroU16, bool)> {
        self.pending = None;
        if !(ALIAS_BYTES + 1..=limits::ALIASED_TOPIC_BYTES_MAX).contains(&topic.len()) {
            return None;
        }
        let hash = self.hasher.hash_one(topic);
        let known = self.hashes.iter().position(|&known| known == hash);
        if let Some(index) =
            known.filter(|&index| self.topics.get(index).is_some_and(|name| **name == *topic))
        {
            if let Some(used) = self.used.get_mut(index) {
                *used = true;
            }
            return Some((alias(index)?, true));
        }
        let index = self.place_for(hash)?;
        let alias = alias(index)?;
        self.pending = Some(Pending {
            index,
            hash,
            topic: topic.into(),
        });
        Some((alias, false))
    }

    /// The place for a topic without an alias: a free one, or the place of a topic that has not been used for long.
    fn place_for(&mut self, hash: u64) -> Option<usize> {
        if self.hashes.len() < usize::from(self.alias_max) {
            return Some(self.hashes.len());
        }
        let lately = self.lately.get_mut(hash as usize % LATELY)?;
        if std::mem::replace(lately, hash) != hash {
            return None;
        }
        // At most two rounds: a used place loses its mark in the first one.
        for _ in 0..2 * self.used.len() {
            let index = self.hand;
            self.hand = (self.hand + 1) % self.used.len().max(1);
            match self.used.get_mut(index) {
                Some(used) if *used => *used = false,
                _ => return Some(index),
            }
        }
        None
    }
}

fn alias(index: usize) -> Option<NonZeroU16> {
    NonZeroU16::new(u16::try_from(index + 1).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(aliases: &mut Aliases, topic: &str) -> Option<(u16, bool)> {
        let chosen = aliases.choose(topic);
        aliases.commit();
        chosen.map(|(alias, is_known)| (alias.get(), is_known))
    }

    /// [MQTT-3.3.2-8], [MQTT-3.3.2-11]
    #[test]
    fn topics_get_aliases_up_to_the_maximum() {
        let mut aliases = Aliases::new(2, 0).unwrap();
        assert_eq!(send(&mut aliases, "topic/one"), Some((1, false)));
        assert_eq!(send(&mut aliases, "topic/one"), Some((1, true)));
        assert_eq!(send(&mut aliases, "topic/two"), Some((2, false)));
        assert_eq!(send(&mut aliases, "topic/three"), None, "it has come once");
        assert_eq!(send(&mut aliases, "a/b"), None, "shorter than its alias");
        let long = "x".repeat(limits::ALIASED_TOPIC_BYTES_MAX);
        let mut aliases = Aliases::new(2, 0).unwrap();
        assert_eq!(
            send(&mut aliases, &(long.clone() + "x")),
            None,
            "too long to be kept"
        );
        assert_eq!(send(&mut aliases, &long), Some((1, false)));
        assert!(Aliases::new(0, 0).is_none());
    }

    #[test]
    fn what_comes_often_drives_out_what_does_not() {
        let mut aliases = Aliases::new(2, 0).unwrap();
        for topic in ["topic/one", "topic/two"] {
            send(&mut aliases, topic);
        }
        assert_eq!(send(&mut aliases, "topic/three"), None);
        let (alias, is_known) = send(&mut aliases, "topic/three").unwrap();
        assert!(!is_known && (1..=2).contains(&alias));
        assert_eq!(send(&mut aliases, "topic/three"), Some((alias, true)));
        let stays = if alias == 1 { "topic/two" } else { "topic/one" };
        assert_eq!(send(&mut aliases, stays), Some((3 - alias, true)));
    }

    #[test]
    fn topics_that_come_once_take_nothing() {
        let mut aliases = Aliases::new(2, 0).unwrap();
        send(&mut aliases, "topic/one");
        send(&mut aliases, "topic/two");
        for number in 0..1000 {
            assert_eq!(send(&mut aliases, &format!("once/{number}")), None);
        }
        assert_eq!(send(&mut aliases, "topic/one"), Some((1, true)));
    }

    #[test]
    fn what_is_not_sent_is_not_known() {
        let mut aliases = Aliases::new(2, 0).unwrap();
        assert_eq!(aliases.choose("topic/one").map(|chosen| chosen.1), Some(false));
        assert_eq!(send(&mut aliases, "topic/two"), Some((1, false)));
        assert_eq!(send(&mut aliases, "topic/one"), Some((2, false)));
        assert_eq!(send(&mut aliases, "topic/one"), Some((2, true)));
    }
}
