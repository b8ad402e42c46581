//! Options that describe a load.
//!
//! Invariants: none.

use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use mqtt::packet::QoS;

use super::broker::BrokerArguments;
use super::objectives::ObjectiveArguments;
use super::properties::{PropertyArguments, SubscriptionArguments};
use super::words::{Rate, qos, seconds, seconds_of, topics};
use crate::scenario::payload::{CHECKED_BYTES_FROM, CHECKED_BYTES_UNASKED, PayloadText, head_bytes};
use crate::scenario::payload_sizes::PayloadSizes;
use crate::scenario::properties::Carrier;
use crate::scenario::schedule::Arrival;
use crate::scenario::topics::Topics;
use crate::scenario::{Load, Origin, Scenario, Will};
use crate::system::cpus::Cpus;

/// The options that describe a load of messages.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LoadArguments {
    /// Publishing connections [default: 100]
    #[arg(long, value_name = "N")]
    pubs: Option<u32>,
    /// Subscribing connections [default: 100]
    #[arg(long, value_name = "N")]
    subs: Option<u32>,
    /// Additional subscribers of the same topics that stop reading for the last three fifths of the measured part
    #[arg(long, value_name = "N", default_value_t = 0)]
    slow_subs: u32,
    /// Messages per second of all publishers together; `max`: closed loop; `flood`: as fast as the sockets accept
    /// [default: one per publisher]
    #[arg(long, value_name = "N|max|flood")]
    rate: Option<Rate>,
    /// Closed loop, as fast as possible: the same as --rate max
    #[arg(long, overrides_with = "rate")]
    max_rate: bool,
    /// No messages: the connections are only made and kept
    #[arg(long, conflicts_with_all = ["rate", "max_rate"])]
    idle: bool,
    /// With --rate max: largest number of messages of a publisher that some of its subscribers have not received
    #[arg(long, value_name = "N", default_value_t = 100)]
    window: u32,
    /// Exponential instead of equal intervals
    #[arg(long)]
    poisson: bool,
    /// Send each message with a separate write, even if several are due together
    #[arg(long)]
    one_per_write: bool,
    /// QoS of publishes and subscriptions
    #[arg(short, long, value_name = "0|1|2", default_value = "0", value_parser = qos)]
    qos: QoS,
    /// Payload size in bytes: one size; MIN-MAX, 16 evenly spaced sizes; or BYTES:WEIGHT,BYTES:WEIGHT,...
    #[arg(short, long, value_name = "BYTES", default_value = "64")]
    size: PayloadSizes,
    /// File whose bytes follow the stamp at the beginning of each payload, instead of --size
    #[arg(long, value_name = "FILE", conflicts_with_all = ["size", "payload"])]
    payload_file: Option<PathBuf>,
    /// Text that follows the stamp; %i is the number of the publisher
    #[arg(long, value_name = "TEXT", conflicts_with = "size")]
    payload: Option<String>,
    /// A JSON object as payload; the stamp is its first member, %i the number of the publisher, %r a random number of
    /// six digits
    #[arg(long, value_name = "OBJECT", conflicts_with_all = ["size", "payload", "payload_file"])]
    payload_json: Option<String>,
    /// Publish all messages with RETAIN
    #[arg(short, long)]
    retain: bool,
    /// pairs, fan-out, fan-in, or a topic: %i is the client's number, %c the publisher's client id, %u the user
    #[arg(short, long, value_name = "SHAPE|TOPIC", default_value = "pairs", value_parser = topics)]
    topics: Topics,
    /// Shared subscriptions: the subscribers form this many groups, each of which receives from every publisher
    #[arg(long, value_name = "GROUPS", conflicts_with = "topics")]
    share: Option<NonZeroU32>,
    /// Client identifiers: %i is the client's number, %k its kind (p, s, or z if slow), %r the run
    #[arg(long, value_name = "PATTERN")]
    client_id: Option<String>,
    /// Will Topic of each client; %i is its number
    #[arg(long, value_name = "TOPIC")]
    will_topic: Option<String>,
    /// Will Payload of each client
    #[arg(long, value_name = "TEXT", requires = "will_topic", default_value = "")]
    will_payload: String,
    /// Will QoS of each client
    #[arg(long, value_name = "0|1|2", requires = "will_topic", default_value = "0", value_parser = qos)]
    will_qos: QoS,
    /// Publish the Wills as retained messages
    #[arg(long, requires = "will_topic")]
    will_retain: bool,
    #[command(flatten)]
    properties: PropertyArguments,
    #[command(flatten)]
    subscription: SubscriptionArguments,
    /// Seconds of the measured part
    #[arg(long, value_name = "S", default_value = "10", value_parser = seconds)]
    duration: Duration,
    /// Seconds of load before the measured part
    #[arg(long, value_name = "S", default_value = "5", value_parser = seconds)]
    warmup: Duration,
    /// Longest time to wait for outstanding deliveries, seconds
    #[arg(long, value_name = "S", default_value = "10", value_parser = seconds)]
    drain: Duration,
    /// Exit 1 if the p99 of the latency is above this
    #[arg(long, value_name = "MS")]
    slo_p99_ms: Option<f64>,
    #[command(flatten)]
    objectives: ObjectiveArguments,
    /// Exit 1 if a message is lost, even where QoS 0 allows it: a flood, full sockets
    #[arg(long)]
    no_loss: bool,
    /// At QoS 0 a loss is a figure and not a failure
    #[arg(long, conflicts_with = "no_loss")]
    allow_loss: bool,
    /// Compare each message with what was sent: payload, topic, QoS, properties [default: payloads of 24 to 256 bytes
    /// at a fixed rate]
    #[arg(long, overrides_with = "no_verify")]
    verify: bool,
    /// Do not compare messages with what was sent
    #[arg(long, overrides_with = "verify")]
    no_verify: bool,
    /// Only the ledger matters: a generator that did not keep up is a warning, and its latencies are marked
    #[arg(long)]
    ledger_only: bool,
    /// QoS 1 and 2: largest number of unacknowledged messages of a publisher [default: 20, with --rate max the window]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    inflight: Option<u16>,
    /// Generator threads [default: half of the cores]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Pin the threads to these CPUs, in rotation
    #[arg(long, value_name = "LIST")]
    cpus: Option<Cpus>,
    /// Connections that are being established at the same time
    #[arg(long, value_name = "N", default_value_t = 32)]
    connect_concurrency: usize,
    /// Seconds over which the connections are spread [default: as fast as --connect-concurrency allows]
    #[arg(long, value_name = "S", value_parser = seconds)]
    ramp: Option<Duration>,
    /// Re-establish connections that break during the load
    #[arg(long)]
    reconnect: bool,
    /// Connections per second that are made and closed beside the load
    #[arg(long, value_name = "N", default_value_t = 0.0)]
    churn: f64,
    /// Local addresses to connect from, in rotation
    #[arg(long, value_name = "ADDRESSES", value_delimiter = ',')]
    bind: Vec<IpAddr>,
    /// Seconds for each connection to become ready
    #[arg(long, value_name = "S", default_value = "30", value_parser = seconds)]
    connect_timeout: Duration,
    /// Seed of phases, intervals and payloads
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Factor for publishers, subscribers and rates; the outcome records it, with the published duration of the
    /// scenario
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    scale: f64,
}

impl LoadArguments {
    /// The load that the options describe, or what is wrong with them.
    pub(crate) fn scenario(
        self,
        broker: &BrokerArguments,
        origin: Option<Origin>,
        half_the_cores: usize,
    ) -> Result<Scenario, String> {
        if !(self.scale > 0.0 && self.scale <= 1e6) {
            return Err("--scale must be more than 0".to_owned());
        }
        let load = self.load();
        let inflight = self.inflight.unwrap_or(match load {
            Load::Scheduled { .. } | Load::Flood | Load::Idle => 20,
            Load::Saturating { window } => u16::try_from(window).unwrap_or(u16::MAX).max(1),
        });
        let slo_p99 = self
            .slo_p99_ms
            .map(|limit_ms| seconds_of(limit_ms / 1e3))
            .transpose()?;
        let text = self.text()?;
        let verify = self.verifies();
        let longest = |text: &PayloadText| text.longest_bytes(head_bytes(verify));
        let payload_bytes = text.as_ref().map_or(self.size.largest(), longest);
        let payload_sizes = Some(self.size.clone()).filter(|sizes| text.is_none() && sizes.differ());
        let scale = self.scale;
        Ok(Scenario {
            origin: origin.map(|origin| Origin { scale, ..origin }),
            publishers: self.publishers(),
            subscribers: scaled(self.subs.unwrap_or(CONNECTIONS_DEFAULT), scale),
            slow_subscribers: scaled(self.slow_subs, scale),
            load,
            qos: self.qos,
            payload_bytes,
            payload_sizes,
            text,
            retain: self.retain,
            one_per_write: self.one_per_write,
            will: self.will(),
            topics: self
                .share
                .map_or(self.topics, |groups| Topics::Shared { groups: groups.get() }),
            properties: self.properties.given(CARRIERS, broker.protocol_version)?,
            subscription: self.subscription.choices(broker.protocol_version)?,
            version: broker.protocol_version,
            keep_alive_s: broker.keep_alive,
            inflight,
            warmup: self.warmup,
            duration: self.duration,
            drain: self.drain,
            threads: self.threads.map_or(half_the_cores, NonZeroUsize::get),
            cpus: self.cpus,
            connect_concurrency: self.connect_concurrency,
            connect_timeout: self.connect_timeout,
            ramp: self.ramp,
            reconnect: self.reconnect,
            churn_per_s: self.churn * scale,
            bind: self.bind,
            seed: self.seed,
            slo_p99,
            objectives: self.objectives.objectives()?,
            no_loss: self.no_loss,
            allow_loss: self.allow_loss || self.objectives.allow_loss(),
            verify,
            ledger_only: self.ledger_only,
            client_identifiers: self.client_id,
            credentials: broker.credentials()?,
        })
    }

    fn publishers(&self) -> u32 {
        scaled(self.pubs.unwrap_or(CONNECTIONS_DEFAULT), self.scale)
    }

    fn load(&self) -> Load {
        let arrival = if self.poisson {
            Arrival::Poisson
        } else {
            Arrival::Uniform
        };
        match self.rate {
            _ if self.idle => Load::Idle,
            _ if self.max_rate => Load::Saturating { window: self.window },
            Some(Rate::Max) => Load::Saturating { window: self.window },
            Some(Rate::Flood) => Load::Flood,
            Some(Rate::PerSecond(rate_per_s)) => Load::Scheduled {
                rate_per_s: rate_per_s * self.scale,
                arrival,
            },
            None => Load::Scheduled {
                rate_per_s: f64::from(self.publishers().max(1)),
                arrival,
            },
        }
    }

    /// Whether messages are compared with what was sent; by default only where the cost is negligible.
    fn verifies(&self) -> bool {
        let has_text = self.payload.is_some() || self.payload_file.is_some() || self.payload_json.is_some();
        let is_cheap =
            self.size.smallest() >= CHECKED_BYTES_FROM && self.size.largest() <= CHECKED_BYTES_UNASKED;
        let is_unasked = is_cheap && !has_text && self.publishers() <= VERIFIED_PUBLISHERS_UNASKED;
        // Without a schedule a message takes a tenth of the time, and comparing it takes a fifth of that.
        let has_schedule = matches!(self.load(), Load::Scheduled { .. });
        self.verify || (is_unasked && has_schedule && !self.no_verify)
    }

    fn text(&self) -> Result<Option<PayloadText>, String> {
        match (&self.payload_file, &self.payload) {
            (Some(file), _) => {
                let bytes = std::fs::read(file)
                    .map_err(|error| format!("--payload-file {}: {error}", file.display()))?;
                Ok(Some(PayloadText::file(bytes)))
            }
            (None, Some(text)) => Ok(Some(PayloadText::template(text.clone()))),
            (None, None) => self.payload_json.clone().map(PayloadText::json).transpose(),
        }
    }

    fn will(&self) -> Option<Will> {
        Some(Will {
            topic: self.will_topic.clone()?,
            payload: self.will_payload.clone(),
            qos: self.will_qos,
            retain: self.will_retain,
        })
    }
}

/// The packets of a load that carry properties.
const CARRIERS: &[Carrier] = &[
    Carrier::Connect,
    Carrier::Will,
    Carrier::Publish,
    Carrier::Subscribe,
];

/// The default number of publishers and of subscribers.
const CONNECTIONS_DEFAULT: u32 = 100;

/// Number of publishers up to which topics are compared by default.
const VERIFIED_PUBLISHERS_UNASKED: u32 = 100_000;

/// At least one, if there was one.
fn scaled(count: u32, scale: f64) -> u32 {
    let scaled = (f64::from(count) * scale).round() as u32;
    scaled.max(count.min(1))
}
