//! The clients of a run: their numbers, client identifiers and topics.
//!
//! Invariant: two consecutive runs share no client identifier and no topic, unless the user asked for that.

use crate::scenario::Scenario;
use crate::scenario::topics::{Topics, numbered};

/// A client of the run: a publisher or a subscriber with its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The publisher with this number.
    Publisher(u32),
    /// The subscriber with this number.
    Subscriber(u32),
    /// The slow subscriber with this number.
    Slow(u32),
}

impl Who {
    pub(super) fn client_identifier(self, scenario: &Scenario, run: u16) -> String {
        if let Some(pattern) = &scenario.client_identifiers {
            return numbered(&client_pattern(pattern, run, self.kind()), self.number());
        }
        // At most 20 characters: MQTT 3.1 allows 23.
        match self {
            Who::Publisher(number) => format!("lg{run:04x}p{number}"),
            Who::Subscriber(number) => format!("lg{run:04x}s{number}"),
            Who::Slow(number) => format!("lg{run:04x}z{number}"),
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Who::Publisher(_) => "p",
            Who::Subscriber(_) => "s",
            Who::Slow(_) => "z",
        }
    }

    /// The number among the publishers or among the subscribers.
    pub fn number(self) -> u32 {
        match self {
            Who::Publisher(number) | Who::Subscriber(number) | Who::Slow(number) => number,
        }
    }
}

impl std::fmt::Display for Who {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Who::Publisher(number) => write!(formatter, "publisher {number}"),
            Who::Subscriber(number) => write!(formatter, "subscriber {number}"),
            Who::Slow(number) => write!(formatter, "slow subscriber {number}"),
        }
    }
}

/// A scenario's topics with everything inserted except the client's number: `%u` is the user name, `%c` the client
/// identifier of the publisher.
pub fn named_topics(scenario: &Scenario, run: u16) -> Topics {
    let Topics::Pattern(pattern) = &scenario.topics else {
        return scenario.topics.clone();
    };
    let user_name = scenario.credentials.user_name.as_deref().unwrap_or_default();
    let identifiers = scenario
        .client_identifiers
        .as_deref()
        .unwrap_or(DEFAULT_IDENTIFIERS);
    let client_identifier = client_pattern(identifiers, run, "p");
    Topics::Pattern(pattern.replace("%u", user_name).replace("%c", &client_identifier))
}

fn client_pattern(pattern: &str, run: u16, kind: &str) -> String {
    pattern.replace("%k", kind).replace("%r", &format!("{run:04x}"))
}

/// The default pattern of client identifiers.
const DEFAULT_IDENTIFIERS: &str = "lg%r%k%i";
