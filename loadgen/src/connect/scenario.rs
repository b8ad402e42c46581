//! The request of a connect measurement.
//!
//! Invariant: a scenario that passed [`ConnectScenario::check`] can be run.

use std::net::IpAddr;
use std::time::Duration;

use mqtt::version::ProtocolVersion;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scenario::properties::GivenProperties;
use crate::scenario::{Credentials, Origin, json};
use crate::system::cpus::Cpus;

/// The connections that were requested.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct ConnectScenario {
    /// Its name, if it has one.
    pub origin: Option<Origin>,
    /// The rate, or the number of connections at a time.
    #[serde(alias = "pace")]
    pub load: ConnectLoad,
    /// Protocol version of MQTT.
    #[serde(with = "json::version")]
    #[schemars(with = "String")]
    pub version: ProtocolVersion,
    /// Length of the part before the measured one.
    #[serde(rename = "warmup_s", with = "json::seconds")]
    #[schemars(with = "f64")]
    pub warmup: Duration,
    /// Length of the measured part.
    #[serde(rename = "duration_s", with = "json::seconds")]
    #[schemars(with = "f64")]
    pub duration: Duration,
    /// Longest time for one connection, from TCP to CONNACK.
    #[serde(rename = "connect_timeout_s", with = "json::seconds")]
    #[schemars(with = "f64")]
    pub connect_timeout: Duration,
    /// How many threads make connections.
    pub threads: usize,
    /// The CPUs that they are pinned to, in turns.
    #[schemars(with = "Option<String>")]
    pub cpus: Option<Cpus>,
    /// Local addresses from which connections are made, in rotation.
    pub bind: Vec<IpAddr>,
    /// p99 of the time to CONNACK that must not be exceeded.
    #[serde(rename = "slo_p99_s", default, with = "json::optional_seconds")]
    #[schemars(with = "Option<f64>")]
    pub slo_p99: Option<Duration>,
    /// Properties of MQTT 5.0 in the CONNECT.
    #[schemars(with = "Vec<String>")]
    pub properties: GivenProperties,
    /// Seed of the random phases of the schedule.
    pub seed: u64,
    /// User name and password.
    #[serde(skip)]
    pub credentials: Credentials,
}

/// When connections are started.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectLoad {
    /// This many are always in progress.
    Closed {
        /// Connections that are open at a time, over all threads.
        concurrency: u32,
    },
    /// At intended times, whatever the broker does.
    Open {
        /// Connections per second, all threads together.
        rate_per_s: f64,
    },
}

/// Largest number of connections that are in progress at the same time.
pub const CONCURRENCY_MAX: u32 = 100_000;

impl ConnectScenario {
    /// Refuses a scenario that cannot be run, with one sentence.
    ///
    /// # Errors
    /// The first mistake.
    pub fn check(&self) -> Result<(), String> {
        let refusals = [
            (
                matches!(self.load, ConnectLoad::Closed { concurrency }
                    if !(1..=CONCURRENCY_MAX).contains(&concurrency)),
                format!("--concurrency must be from 1 to {CONCURRENCY_MAX}"),
            ),
            (
                matches!(self.load, ConnectLoad::Open { rate_per_s } if !(rate_per_s > 0.0 && rate_per_s <= 1e6)),
                "--rate must be more than 0 and at most 1,000,000 connections per second".to_owned(),
            ),
            (
                self.duration.is_zero(),
                "--duration must be longer than 0".to_owned(),
            ),
            (
                self.warmup.saturating_add(self.duration) > Duration::from_secs(86_400),
                "the measurement may last at most one day".to_owned(),
            ),
            (
                self.threads == 0 || self.threads > 1024,
                "--threads must be from 1 to 1024".to_owned(),
            ),
        ];
        if let Some((_, sentence)) = refusals.into_iter().find(|(refused, _)| *refused) {
            return Err(sentence);
        }
        match self.cpus.as_ref().and_then(Cpus::first_forbidden) {
            Some(cpu) => Err(format!("--cpus: this process may not use CPU {cpu}")),
            None => Ok(()),
        }
    }

    /// The part of one of `threads` threads.
    pub fn load_of_one(&self) -> ConnectLoad {
        let threads = u32::try_from(self.threads.max(1)).unwrap_or(u32::MAX);
        match self.load {
            ConnectLoad::Closed { concurrency } => ConnectLoad::Closed {
                concurrency: concurrency.div_ceil(threads),
            },
            ConnectLoad::Open { rate_per_s } => ConnectLoad::Open {
                rate_per_s: rate_per_s / f64::from(threads),
            },
        }
    }
}
