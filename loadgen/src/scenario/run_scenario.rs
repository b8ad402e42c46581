//! What is to be measured: one value, the same on every machine, from which a run produces an outcome.
//!
//! Invariant: a `Scenario` that passed [`Scenario::check`] can be run; nothing after it checks again. Secrets are not
//! written to files.

use std::net::IpAddr;
use std::time::Duration;

use mqtt::packet::QoS;
use mqtt::version::ProtocolVersion;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scenario::json;
use crate::scenario::objectives::Objectives;
use crate::scenario::payload::{CHECKED_BYTES_FROM, INTENDED_NS_MAX, PayloadText, STAMP_BYTES};
use crate::scenario::payload_sizes::PayloadSizes;
use crate::scenario::properties::{Carrier, GivenProperties};
use crate::scenario::schedule::Arrival;
use crate::scenario::subscription::SubscriptionChoices;
use crate::scenario::topics::Topics;
use crate::system::cpus::Cpus;

/// A load, independent of the broker that it is sent to.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Scenario {
    /// Its name and scale, if it has a name.
    pub origin: Option<Origin>,
    /// Number of publishing connections.
    pub publishers: u32,
    /// Number of subscribing connections.
    pub subscribers: u32,
    /// Additional subscribers that stop reading in the measured part; each has the topics of one of the others.
    pub slow_subscribers: u32,
    /// How messages follow each other.
    pub load: Load,
    /// QoS of publishes and of subscriptions.
    #[serde(with = "json::qos")]
    #[schemars(with = "u8")]
    pub qos: QoS,
    /// Bytes of each payload; of the longest if a text differs between publishers.
    pub payload_bytes: usize,
    /// The sizes with their weights, if messages differ in size.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub payload_sizes: Option<PayloadSizes>,
    /// What follows the stamp at the start of each payload; random bytes if absent.
    #[schemars(with = "Option<String>")]
    pub text: Option<PayloadText>,
    /// The Will of each client.
    pub will: Option<Will>,
    /// Whether messages are published with RETAIN.
    pub retain: bool,
    /// Whether each message is sent with a separate write, even if several are due together.
    pub one_per_write: bool,
    /// The topics to which each client publishes or subscribes.
    pub topics: Topics,
    /// Properties of MQTT 5.0 in the packets of the clients.
    #[schemars(with = "Vec<String>")]
    pub properties: GivenProperties,
    /// The options of subscriptions besides the QoS.
    pub subscription: SubscriptionChoices,
    /// Protocol version of MQTT.
    #[serde(with = "json::version")]
    #[schemars(with = "String")]
    pub version: ProtocolVersion,
    /// Keep Alive of each connection, in seconds; 0 is off.
    pub keep_alive_s: u16,
    /// QoS 1 and 2: largest number of unacknowledged messages of a publisher.
    pub inflight: u16,
    /// Load before the measured part.
    #[serde(rename = "warmup_s", with = "json::seconds")]
    #[schemars(with = "f64")]
    pub warmup: Duration,
    /// Length of the measured part.
    #[serde(rename = "duration_s", with = "json::seconds")]
    #[schemars(with = "f64")]
    pub duration: Duration,
    /// Longest wait for outstanding deliveries at the end.
    #[serde(rename = "drain_s", with = "json::seconds")]
    #[schemars(with = "f64")]
    pub drain: Duration,
    /// Generator threads, each with an io_uring instance.
    pub threads: usize,
    /// The CPUs that they are pinned to, in rotation.
    #[schemars(with = "Option<String>")]
    pub cpus: Option<Cpus>,
    /// Largest number of connections being opened at the same time, in total.
    pub connect_concurrency: usize,
    /// Longest time from TCP connect to ready, for each connection.
    #[serde(rename = "connect_timeout_s", with = "json::seconds")]
    #[schemars(with = "f64")]
    pub connect_timeout: Duration,
    /// Time over which the connections are spread; `None`: as fast as the concurrency allows.
    #[serde(rename = "ramp_s", default, with = "json::optional_seconds")]
    #[schemars(with = "Option<f64>")]
    pub ramp: Option<Duration>,
    /// Whether a connection that breaks during the load is opened again.
    pub reconnect: bool,
    /// Connections per second that are opened and closed besides the load.
    pub churn_per_s: f64,
    /// Local addresses to connect from, in rotation; empty: the system chooses.
    pub bind: Vec<IpAddr>,
    /// Seed of phases, arrivals and payloads.
    pub seed: u64,
    /// p99 of the latency that the run must not exceed.
    #[serde(rename = "slo_p99_s", default, with = "json::optional_seconds")]
    #[schemars(with = "Option<f64>")]
    pub slo_p99: Option<Duration>,
    /// Further objectives of the run.
    #[serde(default)]
    pub objectives: Objectives,
    /// Whether a loss is a failure even if QoS 0 allows it.
    pub no_loss: bool,
    /// Whether a loss at QoS 0 is reported but is not a failure.
    #[serde(default)]
    pub allow_loss: bool,
    /// Whether each received message is compared with what was sent.
    #[serde(default)]
    pub verify: bool,
    /// Whether a generator that is late is not a failure, because only the ledger matters.
    #[serde(default)]
    pub ledger_only: bool,
    /// Pattern of the client identifiers: `%i` is the number, `%k` the kind, `%r` the run.
    pub client_identifiers: Option<String>,
    /// User name and password; `%i` in the user name is the number of the client.
    #[serde(skip)]
    pub credentials: Credentials,
}

/// How messages follow each other.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Load {
    /// Open loop: at fixed intended times, whatever the broker does.
    #[serde(alias = "paced")]
    Scheduled {
        /// Messages per second, all publishers together.
        rate_per_s: f64,
        /// How they are spread.
        arrival: Arrival,
    },
    /// Closed loop: as fast as possible with a bounded number of messages in flight.
    Saturating {
        /// Largest number of messages of one publisher that not all its subscribers have received.
        window: u32,
    },
    /// A flood: as fast as the publishers' sockets accept data, regardless of what has been received.
    Flood,
    /// No messages: the connections are only kept open.
    Idle,
}

/// Where a scenario comes from.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Origin {
    /// Its name, or the name of its file.
    pub name: String,
    /// Factor of its publishers, subscribers and rate.
    pub scale: f64,
    /// Its published duration in seconds: what was measured may be shorter.
    pub published_duration_s: Option<f64>,
}

/// The Will of each client.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Will {
    /// Its topic; `%i` is the number of the client.
    pub topic: String,
    /// Will Payload, the same for all.
    pub payload: String,
    /// Will QoS, the same for all.
    #[serde(with = "json::qos")]
    #[schemars(with = "u8")]
    pub qos: QoS,
    /// Whether the Will is retained.
    pub retain: bool,
}

/// User name and password of the clients.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// User name; `%i` is the number of the client.
    pub user_name: Option<String>,
    /// Password, the same for all.
    pub password: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let password = self.password.as_ref().map(|_| "(hidden)");
        formatter
            .debug_struct("Credentials")
            .field("user_name", &self.user_name)
            .field("password", &password)
            .finish()
    }
}

/// Largest number of connections of one generator.
pub const CONNECTIONS_MAX: u32 = 1_000_000;

/// Largest payload: the protocol's largest packet minus space for its header and topic.
pub const PAYLOAD_BYTES_MAX: usize = 256 * 1024 * 1024 - 70_000;

/// Largest number of pairs of publisher and subscriber in the ledger, at 32 bytes each.
pub const LEDGER_PAIRS_MAX: u64 = 50_000_000;

/// The largest window of [`Load::Saturating`].
pub const WINDOW_MAX: u32 = 1 << 20;

impl Scenario {
    /// Refuses what cannot be run, in one sentence.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), String> {
        let connections = self.connections();
        let total = self
            .warmup
            .saturating_add(self.duration)
            .saturating_add(self.drain);
        let refusals = [
            (
                connections == 0,
                "there is nothing to connect: give --pubs or --subs".to_owned(),
            ),
            (
                connections > u64::from(CONNECTIONS_MAX),
                format!("at most {CONNECTIONS_MAX} connections in all"),
            ),
            (
                self.sizes().smallest() < STAMP_BYTES || self.payload_bytes > PAYLOAD_BYTES_MAX,
                format!(
                    "--size must be from {STAMP_BYTES} (the stamp at its head) to {PAYLOAD_BYTES_MAX} bytes"
                ),
            ),
            (
                self.duration.is_zero(),
                "--duration must be longer than 0".to_owned(),
            ),
            (
                total.as_nanos() > u128::from(INTENDED_NS_MAX) / 2,
                "a run may last 39 hours at most".to_owned(),
            ),
            (
                self.threads == 0 || self.threads > 1024,
                "--threads must be from 1 to 1024".to_owned(),
            ),
            (
                self.connect_concurrency == 0,
                "--connect-concurrency must be at least 1".to_owned(),
            ),
            (
                self.inflight == 0,
                "--inflight must be from 1 to 65535".to_owned(),
            ),
            (
                !(self.churn_per_s >= 0.0 && self.churn_per_s <= 100_000.0),
                "--churn must be from 0 to 100,000 connections per second".to_owned(),
            ),
            (
                self.slow_subscribers > 0
                    && (self.subscribers == 0 || matches!(self.topics, Topics::Shared { .. })),
                "--slow-subs have the topics of the others: give --subs, and not --share".to_owned(),
            ),
            (
                self.publishers == 0
                    && self.subscribers > 0
                    && matches!(self.load, Load::Saturating { .. } | Load::Flood),
                "without publishers there is nothing to send as fast as possible".to_owned(),
            ),
        ];
        if let Some((_, sentence)) = refusals.into_iter().find(|(refused, _)| *refused) {
            return Err(sentence);
        }
        if let Some(cpu) = self.cpus.as_ref().and_then(Cpus::first_forbidden) {
            return Err(format!("--cpus: this process may not use CPU {cpu}"));
        }
        self.check_properties()?;
        self.check_load()?;
        self.check_client_identifiers()?;
        self.check_topics()
    }

    fn check_properties(&self) -> Result<(), String> {
        // [MQTT-3.8.3-4]
        if self.subscription.no_local && matches!(self.topics, Topics::Shared { .. }) {
            return Err("--no-local is not for shared subscriptions".to_owned());
        }
        if self.payload_sizes.is_some() && self.properties.topic_alias().is_some() {
            return Err("a Topic Alias needs payloads of one --size".to_owned());
        }
        if self.verify && self.sizes().smallest() < CHECKED_BYTES_FROM {
            return Err(format!(
                "--verify needs a --size of at least {CHECKED_BYTES_FROM} bytes"
            ));
        }
        if self.will.is_none() && self.properties.any_of(Carrier::Will) {
            return Err("properties of the Will need --will-topic".to_owned());
        }
        Ok(())
    }

    fn check_load(&self) -> Result<(), String> {
        match self.load {
            Load::Scheduled { rate_per_s, .. } if !(rate_per_s > 0.0 && rate_per_s <= 1e9) => {
                Err("--rate must be more than 0 and at most 1,000,000,000 messages per second".to_owned())
            }
            Load::Saturating { window } if !(1..=WINDOW_MAX).contains(&window) => {
                Err(format!("--window must be from 1 to {WINDOW_MAX}"))
            }
            Load::Saturating { .. } | Load::Flood if self.subscribers == 0 => {
                Err("--rate max and flood count what subscribers receive: give --subs".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn check_client_identifiers(&self) -> Result<(), String> {
        let Some(pattern) = &self.client_identifiers else {
            return Ok(());
        };
        let both = self.subscribers > 0 && (self.publishers > 0 || self.slow_subscribers > 0);
        if (self.numbers() > 1 && !pattern.contains("%i")) || (both && !pattern.contains("%k")) {
            return Err(format!(
                "--client-id {pattern:?} is the same for several clients: it needs %i, their number, and %k, their kind"
            ));
        }
        Ok(())
    }

    fn check_topics(&self) -> Result<(), String> {
        let subscribers = u64::from(self.subscribers) + u64::from(self.slow_subscribers);
        let pairs = u64::from(self.publishers) * subscribers;
        let all_receive_from_all = match &self.topics {
            Topics::Pairs => false,
            Topics::FanOut | Topics::FanIn => true,
            // One entry for each group and publisher, and four bytes for each member.
            Topics::Shared { groups } => {
                return if *groups > self.subscribers {
                    Err(format!("--share {groups} needs as many subscribers"))
                } else {
                    Ok(())
                };
            }
            Topics::Pattern(pattern) => !pattern.contains("%i"),
        };
        if all_receive_from_all && pairs > LEDGER_PAIRS_MAX {
            return Err(format!(
                "the ledger of {pairs} pairs of publisher and subscriber takes too much memory: \
                 at most {LEDGER_PAIRS_MAX}"
            ));
        }
        let Topics::Pattern(pattern) = &self.topics else {
            return Ok(());
        };
        mqtt::topic::check_name(&crate::scenario::topics::numbered(pattern, 0)).map_err(|error| {
            format!("--topics {pattern:?} is not pairs, fan-out, fan-in or a topic name: {error}")
        })
    }

    /// The highest number of a client plus one.
    pub fn numbers(&self) -> u32 {
        self.publishers.max(self.subscribers).max(self.slow_subscribers)
    }

    /// Connections that are opened and kept.
    pub fn connections(&self) -> u64 {
        [self.publishers, self.subscribers, self.slow_subscribers]
            .map(u64::from)
            .iter()
            .sum()
    }

    /// The subscriber whose topics a slow subscriber has.
    pub fn model_of(&self, slow: u32) -> u32 {
        slow.checked_rem(self.subscribers).unwrap_or(0)
    }

    /// Mean interval between two messages of one publisher, in ns; `None` if there is no schedule.
    pub fn interval_ns(&self) -> Option<f64> {
        match self.load {
            Load::Scheduled { rate_per_s, .. } => Some(f64::from(self.publishers) * 1e9 / rate_per_s),
            Load::Saturating { .. } | Load::Flood | Load::Idle => None,
        }
    }
}

impl Load {
    /// How messages are spread in time; equal intervals if there is no schedule.
    pub fn arrival(&self) -> Arrival {
        match *self {
            Load::Scheduled { arrival, .. } => arrival,
            Load::Saturating { .. } | Load::Flood | Load::Idle => Arrival::Uniform,
        }
    }
}
