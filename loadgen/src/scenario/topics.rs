//! The topics of a run: where each publisher publishes, and which publishers each subscriber receives from.
//!
//! Invariant: [`TopicPlan::publishers_of`] is exactly what the filters of [`TopicPlan::filters`] match; the ledger's
//! "lost" and "foreign" depend on it. A pattern whose topics other clients use at the same time breaks it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::measure::ledger::PublisherRange;

/// How topics are distributed over publishers and subscribers.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topics {
    /// Publisher i and subscriber i share a topic; if the numbers differ, those of the smaller number repeat in
    /// rotation.
    Pairs,
    /// Every subscriber subscribes to the topic of every publisher.
    FanOut,
    /// Every subscriber receives from all publishers through one wildcard filter.
    FanIn,
    /// Publishers as in `FanIn`; the subscribers are assigned to groups of a shared subscription in rotation.
    Shared {
        /// The number of groups.
        groups: u32,
    },
    /// A topic given by the user, in which `%i` is the number of the client.
    Pattern(String),
}

/// The topics of one run.
#[derive(Clone, Debug)]
pub struct TopicPlan {
    topics: Topics,
    publishers: u32,
    subscribers: u32,
    /// A topic that no other run uses.
    root: String,
}

impl TopicPlan {
    /// A plan for a run with the number `run`.
    pub fn new(topics: Topics, publishers: u32, subscribers: u32, run: u16) -> TopicPlan {
        TopicPlan {
            topics,
            publishers,
            subscribers,
            root: format!("loadgen/{run:04x}"),
        }
    }

    /// The topic name of a publisher.
    pub fn name(&self, publisher: u32) -> String {
        match &self.topics {
            Topics::Pattern(pattern) => numbered(pattern, publisher),
            _ => self.own(publisher),
        }
    }

    /// The topic filters of one subscriber.
    pub fn filters(&self, subscriber: u32) -> Vec<String> {
        match &self.topics {
            Topics::Pattern(pattern) => vec![numbered(pattern, subscriber)],
            Topics::FanIn => vec![format!("{}/+", self.root)],
            Topics::Shared { .. } => {
                let group = self.group(subscriber).unwrap_or(0);
                vec![format!("$share/g{group}/{}/+", self.root)]
            }
            Topics::Pairs | Topics::FanOut => self
                .publishers_of(subscriber)
                .publishers()
                .map(|publisher| self.own(publisher))
                .collect(),
        }
    }

    /// The publishers that a subscriber receives from.
    pub fn publishers_of(&self, subscriber: u32) -> PublisherRange {
        let all = PublisherRange {
            first: 0,
            step: 1,
            count: self.publishers,
        };
        match &self.topics {
            Topics::FanOut | Topics::FanIn | Topics::Shared { .. } => all,
            Topics::Pattern(pattern) if !pattern.contains(NUMBER) => all,
            Topics::Pattern(_) => PublisherRange {
                first: subscriber,
                step: 1,
                count: u32::from(subscriber < self.publishers),
            },
            Topics::Pairs => self.publishers_in_pairs(subscriber),
        }
    }

    /// How many subscribers receive from a publisher.
    pub fn subscribers_of(&self, publisher: u32) -> u32 {
        match &self.topics {
            Topics::FanOut | Topics::FanIn => self.subscribers,
            Topics::Shared { groups } => *groups,
            Topics::Pattern(pattern) if !pattern.contains(NUMBER) => self.subscribers,
            Topics::Pattern(_) => u32::from(publisher < self.subscribers),
            Topics::Pairs if self.subscribers == 0 => 0,
            Topics::Pairs if self.subscribers <= self.publishers => 1,
            Topics::Pairs => (self.subscribers - publisher).div_ceil(self.publishers),
        }
    }

    /// Whether some subscriber is to receive from a publisher on another host, if client n connects to host n
    /// modulo `hosts`.
    pub fn crosses(&self, hosts: u32) -> bool {
        let hosts = hosts.max(1);
        let is_on_another_host = |subscriber: u32, publisher: u32| subscriber % hosts != publisher % hosts;
        hosts > 1
            && (0..self.subscribers).any(|subscriber| {
                let mut publishers = self.publishers_of(subscriber).publishers();
                publishers.any(|publisher| is_on_another_host(subscriber, publisher))
            })
    }

    /// The group of a subscriber; `None` if subscriptions are not shared.
    pub fn group(&self, subscriber: u32) -> Option<u32> {
        match self.topics {
            Topics::Shared { groups } => Some(subscriber % groups.max(1)),
            _ => None,
        }
    }

    /// The number of groups of Shared Subscriptions.
    pub fn groups(&self) -> u32 {
        match self.topics {
            Topics::Shared { groups } => groups,
            _ => 0,
        }
    }

    fn publishers_in_pairs(&self, subscriber: u32) -> PublisherRange {
        if self.subscribers >= self.publishers {
            let first = subscriber.checked_rem(self.publishers).unwrap_or(0);
            return PublisherRange {
                first,
                step: 1,
                count: 1.min(self.publishers),
            };
        }
        let count = (self.publishers - subscriber).div_ceil(self.subscribers);
        PublisherRange {
            first: subscriber,
            step: self.subscribers,
            count,
        }
    }

    fn own(&self, publisher: u32) -> String {
        format!("{}/{publisher}", self.root)
    }
}

/// `pattern` with the client's number in place of `%i`.
pub fn numbered(pattern: &str, number: u32) -> String {
    pattern.replace(NUMBER, &number.to_string())
}

const NUMBER: &str = "%i";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_receives_from_every_publisher_once() {
        let plan = TopicPlan::new(Topics::Shared { groups: 2 }, 3, 5, 1);
        assert_eq!(plan.filters(3), ["$share/g1/loadgen/0001/+"]);
        assert_eq!(
            [0, 1, 4].map(|subscriber| plan.group(subscriber)),
            [Some(0), Some(1), Some(0)]
        );
        assert_eq!((plan.subscribers_of(2), plan.publishers_of(4).count), (2, 3));
    }

    /// Compares the plan with the protocol's matching, for many shapes.
    #[test]
    fn publishers_and_subscribers_agree_with_topic_matching() {
        let shapes = [
            Topics::Pairs,
            Topics::FanOut,
            Topics::FanIn,
            Topics::Pattern("a/%i".into()),
            Topics::Pattern("a".into()),
        ];
        for topics in shapes {
            for (publishers, subscribers) in [
                (1, 1),
                (1, 7),
                (7, 1),
                (3, 3),
                (3, 8),
                (8, 3),
                (4, 8),
                (8, 4),
                (0, 3),
                (3, 0),
            ] {
                check(&TopicPlan::new(topics.clone(), publishers, subscribers, 0xBEEF));
            }
        }
    }

    #[test]
    fn pairs_meet_on_one_host_and_others_do_not() {
        for (topics, publishers, subscribers, crosses) in [
            (Topics::Pairs, 4, 4, false),
            (Topics::Pairs, 8, 4, false),
            (Topics::Pairs, 3, 4, true),
            (Topics::Pattern("a/%i".into()), 5, 3, false),
            (Topics::FanOut, 2, 2, true),
            (Topics::FanIn, 2, 1, true),
            (Topics::FanOut, 1, 1, false),
        ] {
            let plan = TopicPlan::new(topics, publishers, subscribers, 1);
            assert_eq!(plan.crosses(2), crosses, "{plan:?}");
            assert!(!plan.crosses(1));
        }
    }

    fn check(plan: &TopicPlan) {
        let mut counts = vec![0; plan.publishers as usize];
        for subscriber in 0..plan.subscribers {
            let filters = plan.filters(subscriber);
            let range = plan.publishers_of(subscriber);
            for publisher in 0..plan.publishers {
                let matches = filters
                    .iter()
                    .filter(|filter| mqtt::topic::matches(filter, &plan.name(publisher)))
                    .count();
                assert_eq!(
                    matches == 1,
                    range.position(publisher).is_some(),
                    "{plan:?}: {subscriber} receives from {publisher}"
                );
                assert!(matches <= 1, "{plan:?}: overlapping filters");
                counts[publisher as usize] += matches as u32;
            }
            assert!(
                range.publishers().all(|publisher| publisher < plan.publishers),
                "{plan:?}"
            );
        }
        for (publisher, &count) in counts.iter().enumerate() {
            assert_eq!(
                plan.subscribers_of(publisher as u32),
                count,
                "{plan:?}: publisher {publisher}"
            );
        }
    }
}
