//! The command line of `loadgen conn`.
//!
//! Invariants: none.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use super::{ConnectLoad, ConnectScenario};
use crate::options::broker::BrokerArguments;
use crate::options::measurement::{MeasurementOutput, MeasurementRequest, ScenarioArgument};
use crate::options::properties::PropertyArguments;
use crate::options::words::{seconds, seconds_of};
use crate::options::{HELP_COLUMNS, Options, half_the_cores};
use crate::scenario::Origin;
use crate::scenario::properties::Carrier;
use crate::system::cpus::Cpus;
use crate::target::request::TargetRequest;

/// Makes connections and closes them again. Without -h it starts its own broker, over TLS.
#[derive(Clone, Debug, clap::Args)]
#[command(
    disable_help_flag = true,
    disable_version_flag = true,
    args_override_self = true,
    term_width = HELP_COLUMNS,
    after_help = "Without -h it starts its own broker, over TLS."
)]
pub struct ConnectArguments {
    #[command(flatten)]
    scenario: ScenarioArgument,
    /// Connections per second, at intended times [default: as fast as --concurrency allows]
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// Connections that are in progress at the same time
    #[arg(long, value_name = "N", default_value_t = 32)]
    concurrency: u32,
    /// Seconds of the measured part
    #[arg(long, value_name = "S", default_value = "10", value_parser = seconds)]
    duration: Duration,
    /// Seconds of connections before the measured part
    #[arg(long, value_name = "S", default_value = "2", value_parser = seconds)]
    warmup: Duration,
    /// Seconds for each connection
    #[arg(long, value_name = "S", default_value = "30", value_parser = seconds)]
    connect_timeout: Duration,
    /// Exit 1 if the p99 of the time to CONNACK is above this
    #[arg(long, value_name = "MS")]
    slo_p99_ms: Option<f64>,
    /// Generator threads [default: half of the cores]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Pin the threads to these CPUs, in rotation
    #[arg(long, value_name = "LIST")]
    cpus: Option<Cpus>,
    /// Local addresses to connect from, in rotation
    #[arg(long, value_name = "ADDRESSES", value_delimiter = ',')]
    bind: Vec<IpAddr>,
    #[command(flatten)]
    properties: PropertyArguments,
    /// Seed of the phases
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    broker: BrokerArguments,
    #[command(flatten)]
    output: MeasurementOutput,
}

impl Options for ConnectArguments {
    type Request = MeasurementRequest<ConnectScenario>;

    const WORD: &'static str = "conn";

    fn request(self, origin: Option<Origin>) -> Result<Self::Request, String> {
        let half_the_cores = half_the_cores();
        let target = self.broker.target(half_the_cores)?;
        if matches!(&target, TargetRequest::OwnBroker(own) if own.users) {
            return Err("--users is for loadgen run".to_owned());
        }
        let slo_p99 = self
            .slo_p99_ms
            .map(|limit_ms| seconds_of(limit_ms / 1e3))
            .transpose()?;
        let scenario = ConnectScenario {
            origin,
            load: self.rate.map_or(
                ConnectLoad::Closed {
                    concurrency: self.concurrency,
                },
                |rate_per_s| ConnectLoad::Open { rate_per_s },
            ),
            version: self.broker.protocol_version,
            warmup: self.warmup,
            duration: self.duration,
            connect_timeout: self.connect_timeout,
            threads: self.threads.map_or(half_the_cores, NonZeroUsize::get),
            cpus: self.cpus,
            bind: self.bind,
            slo_p99,
            properties: self
                .properties
                .given(&[Carrier::Connect], self.broker.protocol_version)?,
            seed: self.seed,
            credentials: self.broker.credentials()?,
        };
        scenario.check()?;
        Ok(MeasurementRequest {
            measurement: scenario,
            target,
            json: self.output.json,
        })
    }

    fn password(&self) -> Option<&str> {
        self.broker.password()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::parse_as;
    use std::ffi::OsString;

    fn request(line: &str) -> Result<MeasurementRequest<ConnectScenario>, clap::Error> {
        parse_as::<ConnectArguments>(format!("conn {line}").split_whitespace().map(OsString::from))
    }

    #[test]
    fn loads_and_names() {
        let load = |line: &str| {
            request(line)
                .unwrap_or_else(|error| panic!("{line}: {error}"))
                .measurement
                .load
        };
        assert_eq!(load(""), ConnectLoad::Closed { concurrency: 32 });
        assert_eq!(load("--rate 50"), ConnectLoad::Open { rate_per_s: 50.0 });
        let named = request("--scenario conn-tls-rsa --duration 1").unwrap();
        assert_eq!(
            named.measurement.origin.map(|origin| origin.name).as_deref(),
            Some("conn-tls-rsa")
        );
        assert!(matches!(
            named.target,
            TargetRequest::OwnBroker(own) if own.tls && own.key == crate::target::certificates::ServerKey::Rsa2048
        ));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (line, part) in [
            ("--rate 0", "--rate"),
            ("--concurrency 0", "--concurrency"),
            ("--duration 0", "--duration"),
            ("--users", "loadgen run"),
            ("-V 5 -D publish content-type a", "one of connect"),
            ("-D connect receive-maximum 5", "-V 5"),
            ("--scenario pairs-q0", "loadgen run"),
        ] {
            let error = request(line).expect_err(line);
            assert!(error.to_string().contains(part), "{line}: {error}");
        }
    }
}
