//! Numbers of messages that differ from what was sent.
//!
//! Invariants: none.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Numbers of messages that differ from what was sent, by the first difference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Differences {
    /// Payloads whose CRC32C is wrong.
    pub payload: u64,
    /// Topics other than the publisher's.
    pub topic: u64,
    /// A QoS that is neither the publisher's nor the subscription's.
    pub qos: u64,
    /// RETAIN set or missing against the options of the subscription.
    pub retain: u64,
    /// Properties that are missing, changed or added.
    pub properties: u64,
}

impl Differences {
    /// Adds the counts of another thread.
    pub fn add(&mut self, other: &Differences) {
        self.payload += other.payload;
        self.topic += other.topic;
        self.qos += other.qos;
        self.retain += other.retain;
        self.properties += other.properties;
    }

    /// The counts that are not 0, each with its name.
    pub fn named(&self) -> Vec<(u64, &'static str)> {
        let named = [
            (self.payload, "payload"),
            (self.topic, "topic"),
            (self.qos, "QoS"),
            (self.retain, "RETAIN flag"),
            (self.properties, "properties"),
        ];
        named.into_iter().filter(|(count, _)| *count > 0).collect()
    }
}
