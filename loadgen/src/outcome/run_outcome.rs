//! The result of a run: one value that reports print and files contain.
//!
//! Invariants: a field that changes its meaning changes the [schema](crate::outcome::header::SCHEMA); times are in ns,
//! and their names end with the unit.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::measure::differences::Differences;
use crate::measure::latency::{Latency, Summary};
use crate::measure::ledger::Totals;
use crate::measure::thread_use::ThreadUse;
use crate::outcome::background::BackgroundReport;
use crate::outcome::header::Header;
use crate::outcome::series::{IntervalReport, Series};
use crate::outcome::steadiness::Steadiness;
use crate::outcome::validity::{OwnShare, Throttling, Verdict};
use crate::scenario::Scenario;
use crate::system::machine::Machine;

/// The complete result of one run.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Outcome {
    /// Its format, its kind and the program that wrote it.
    #[serde(flatten)]
    pub header: Header,
    /// Wall clock at the beginning, seconds since 1970.
    pub started_unix_s: u64,
    /// The load that was requested.
    pub scenario: Scenario,
    /// The broker that was measured.
    pub broker: BrokerReport,
    /// Time and memory of connecting all clients.
    pub connect: ConnectReport,
    /// Connections that were made and closed beside the load.
    pub churn: Option<BackgroundReport>,
    /// Time from the intended send to the receipt.
    pub latency: Option<Summary>,
    /// Measured deliveries that never arrived; they are in `latency` too.
    #[serde(default)]
    pub never_came: Option<NeverCame>,
    /// Time from the write to the receipt; absent without a schedule and if payloads are too short to contain it.
    pub service: Option<Summary>,
    /// Time from the write to PUBACK or PUBCOMP.
    pub acknowledged: Option<Summary>,
    /// Time from the intended to the actual send.
    pub lag: Option<Summary>,
    /// The same for messages that did not wait for the broker.
    pub lag_own: Option<Summary>,
    /// Time from the arrival in the kernel to the read, for each read of a few subscribers of each thread; absent
    /// without a schedule and if the kernel does not record arrivals.
    #[serde(default)]
    pub read_delay: Option<Summary>,
    /// Numbers of messages and deliveries.
    pub ledger: LedgerReport,
    /// Messages per second in the measured part.
    pub rates: Rates,
    /// Deliveries that arrived after the end of the load.
    pub drain: DrainReport,
    /// The slow subscribers and their effect on the others.
    pub slow: Option<SlowReport>,
    /// The measured part in five parts.
    pub windows: Vec<WindowReport>,
    /// The whole run in short intervals.
    pub series: Vec<IntervalReport>,
    /// The latency at many quantiles: quantile and ns.
    pub quantiles: Vec<(f64, u64)>,
    /// The histograms themselves, for separate files.
    #[serde(skip)]
    pub histograms: Histograms,
    /// Whether these parts are alike.
    pub steadiness: Option<Steadiness>,
    /// The generator's own cost.
    pub generator: GeneratorReport,
    /// The machine that it ran on.
    pub machine: Machine,
    /// Whether the result is valid.
    pub verdict: Verdict,
}

/// Measured deliveries of a load with a schedule that never arrived: their latency is not known, but it is at least
/// the time for which they were waited for.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct NeverCame {
    /// Number of these deliveries.
    pub deliveries: u64,
    /// Their share of all measured deliveries, percent.
    pub percent: f64,
    /// The latency with which each counts, ns: the time for which outstanding deliveries were waited for.
    pub counted_as_ns: u64,
}

/// Histograms of a run.
#[derive(Clone, Debug, Default)]
pub struct Histograms {
    /// Time from the intended send to the receipt, in the measured part.
    pub latency: Latency,
    /// The same for each interval of the whole run.
    pub series: Option<Series>,
}

/// The broker of a run.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
pub struct BrokerReport {
    /// Its address and port; those of all hosts.
    pub address: String,
    /// Its name, if it is known.
    pub name: String,
    /// Its configuration file, if it is known.
    pub configuration: Option<String>,
    /// Whether MQTT travelled in WebSocket frames.
    pub web_socket: bool,
    /// TLS version and cipher suite; `None` without TLS.
    pub tls: Option<String>,
    /// The number of its process.
    pub pid: Option<u32>,
    /// SHA-256 of its program.
    pub sha256: Option<String>,
    /// CPU time and memory that it used.
    pub usage: Option<BrokerUse>,
}

/// CPU time and memory of the broker in the measured part.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct BrokerUse {
    /// CPU time of all its threads, ns.
    pub cpu_ns: u64,
    /// Wall time of the same part, ns.
    pub wall_ns: u64,
    /// Deliveries in the measured part.
    pub deliveries: u64,
    /// CPU time for each delivery, ns; `None` without deliveries.
    pub cpu_ns_per_delivery: Option<f64>,
    /// Resident memory before the first connection, bytes.
    pub rss_bytes_before: Option<u64>,
    /// With all connections ready and idle, bytes.
    pub rss_bytes_connected: Option<u64>,
    /// At the end of the load, bytes.
    pub rss_bytes_loaded: Option<u64>,
    /// The highest value from the beginning of the load to the end of the run, read ten times a second, bytes.
    pub rss_bytes_peak: Option<u64>,
    /// When the outstanding deliveries had arrived, bytes.
    pub rss_bytes_drained: Option<u64>,
    /// CPU time while connecting, ns.
    pub connect_cpu_ns: Option<u64>,
}

/// Time and memory of connecting all clients.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
pub struct ConnectReport {
    /// Connections that were made before the load began.
    pub connections: u64,
    /// Wall time for all, ns.
    pub wall_ns: u64,
    /// The broker's resident memory while they were made: connections and bytes.
    pub rss: Vec<(u64, u64)>,
    /// Time of the TCP connect.
    pub tcp: Option<Summary>,
    /// Time of the TLS handshake.
    pub tls: Option<Summary>,
    /// Time of the upgrade to WebSocket.
    pub web_socket: Option<Summary>,
    /// Time from CONNECT to CONNACK.
    pub connack: Option<Summary>,
}

/// Numbers of messages and deliveries of a run.
#[derive(Clone, Copy, Debug, Default, JsonSchema, Serialize, Deserialize)]
pub struct LedgerReport {
    /// Messages sent, warm-up included.
    pub sent: u64,
    /// Messages sent in the measured part.
    pub sent_measured: u64,
    /// Messages of the schedule that were never sent.
    pub unsent: u64,
    /// Closed loop: messages considered lost because there was no progress.
    pub given_up: u64,
    /// Messages that differ from what was sent; `None` if they were not compared.
    #[serde(default)]
    pub differences: Option<Differences>,
    /// Deliveries to all subscribers except the slow ones.
    #[serde(flatten)]
    pub totals: Totals,
}

/// Messages per second in the measured part.
#[derive(Clone, Copy, Debug, Default, JsonSchema, Serialize, Deserialize)]
pub struct Rates {
    /// Length of the measured part, s.
    pub measured_s: f64,
    /// The requested rate; `None` without a schedule.
    pub offered_per_s: Option<f64>,
    /// Messages sent per second.
    pub sent_per_s: f64,
    /// Deliveries of messages sent in this part; in a flood, deliveries that arrived in it, whenever they were sent.
    pub delivered_per_s: f64,
}

/// Deliveries that arrived after the end of the load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct DrainReport {
    /// Deliveries that were due but had not arrived when the load ended.
    pub backlog: u64,
    /// Time from then to the last delivery that arrived, within about 20 ms, ns.
    pub wall_ns: u64,
    /// Whether the waiting time was over before it was clear that nothing more would arrive.
    pub cut_off: bool,
    /// Whether deliveries were still arriving then.
    #[serde(default)]
    pub still_coming: bool,
}

/// Subscribers that stop reading, and their effect on the others.
#[derive(Clone, Copy, Debug, JsonSchema, Serialize, Deserialize)]
pub struct SlowReport {
    /// Number of slow subscribers.
    pub subscribers: u32,
    /// Number of these that lost their connection.
    pub disconnected: u64,
    /// Deliveries to them, including those after the end of the load.
    pub ledger: Totals,
    /// Latency of the others while all read: the first two fifths of the measured part.
    pub reading: Option<Summary>,
    /// Latency of the others while the slow ones did not read: the rest of the measured part.
    pub stalled: Option<Summary>,
    /// The p99 of the latter divided by that of the former.
    pub p99_ratio: Option<f64>,
}

/// One of the parts of the measured part.
#[derive(Clone, Copy, Debug, JsonSchema, Serialize, Deserialize)]
pub struct WindowReport {
    /// Messages sent in it.
    pub sent: u64,
    /// Deliveries of the messages that were sent in it.
    pub deliveries: u64,
    /// Latency of these deliveries.
    pub latency: Option<Summary>,
}

/// The generator's own cost.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
pub struct GeneratorReport {
    /// CPU and wall time of each thread.
    pub threads: Vec<ThreadUse>,
    /// CPU time for each message sent or received, ns.
    pub cpu_ns_per_message: Option<f64>,
    /// CPU time of the machine that the hypervisor took, percent.
    pub steal_percent: f64,
    /// How control groups limit its CPU time.
    #[serde(default)]
    pub throttling: Throttling,
    /// The share of each percentile of the latency that is caused by the generator.
    #[serde(default)]
    pub own_shares: Vec<OwnShare>,
}
