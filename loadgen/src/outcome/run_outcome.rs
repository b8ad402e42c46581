//! What a run found out: one value that reports print and files hold.
//!
//! Invariants: a field that changes its meaning changes the [schema](crate::outcome::header::SCHEMA); times
//! are in ns, and their names end so.

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

/// Everything that one run found out.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Outcome {
    /// Its form, its kind and what wrote it.
    #[serde(flatten)]
    pub header: Header,
    /// Wall clock at the beginning, seconds since 1970.
    pub started_unix_s: u64,
    /// What was asked for.
    pub scenario: Scenario,
    /// The broker that was measured.
    pub broker: BrokerReport,
    /// Time and memory of connecting all clients.
    pub connect: ConnectReport,
    /// Connections that came and went beside the load.
    pub churn: Option<BackgroundReport>,
    /// Intended send time to receive.
    pub latency: Option<Summary>,
    /// Measured deliveries that never came; they are in `latency` too.
    #[serde(default)]
    pub never_came: Option<NeverCame>,
    /// Write to receive; absent without a schedule and where payloads are too short to carry it.
    pub service: Option<Summary>,
    /// Write to PUBACK or PUBCOMP.
    pub acknowledged: Option<Summary>,
    /// Intended to actual send time.
    pub lag: Option<Summary>,
    /// The same, of the messages that did not wait for the broker.
    pub lag_own: Option<Summary>,
    /// Arrival in the kernel to read, of each read of a few subscribers of each thread; absent without a schedule and
    /// where the kernel does not note arrivals.
    #[serde(default)]
    pub read_delay: Option<Summary>,
    /// Messages and deliveries counted.
    pub ledger: LedgerReport,
    /// Messages per second in the measured part.
    pub rates: Rates,
    /// What came behind the end of the load.
    pub drain: DrainReport,
    /// The slow subscribers and what they did to the others.
    pub slow: Option<SlowReport>,
    /// The measured part in five.
    pub windows: Vec<WindowReport>,
    /// The whole run in short intervals.
    pub series: Vec<IntervalReport>,
    /// The latency at many quantiles: quantile and ns.
    pub quantiles: Vec<(f64, u64)>,
    /// The histograms themselves, for files of their own.
    #[serde(skip)]
    pub histograms: Histograms,
    /// Whether they are alike.
    pub steadiness: Option<Steadiness>,
    /// The generator's own cost.
    pub generator: GeneratorReport,
    /// The machine that it ran on.
    pub machine: Machine,
    /// Whether to believe it.
    pub verdict: Verdict,
}

/// Measured deliveries of a load with a schedule that never came: nobody knows their latency, but it is no shorter than
/// the wait for them.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct NeverCame {
    /// How many there are.
    pub deliveries: u64,
    /// Their share of all measured deliveries, percent.
    pub percent: f64,
    /// The latency that each counts with, ns: how long outstanding deliveries were waited for.
    pub counted_as_ns: u64,
}

/// Histograms of a run.
#[derive(Clone, Debug, Default)]
pub struct Histograms {
    /// Intended send time to receive, of the measured part.
    pub latency: Latency,
    /// The same for each interval of the whole run.
    pub series: Option<Series>,
}

/// The broker of a run.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
pub struct BrokerReport {
    /// Its address and port; those of all hosts.
    pub address: String,
    /// What it is, if that is known.
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

/// What the broker used during the measured part.
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
    /// The highest that was seen from the beginning of the load to the end of the run, ten times a second, bytes.
    pub rss_bytes_peak: Option<u64>,
    /// When the outstanding deliveries had come, bytes.
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

/// Messages and deliveries of a run, counted.
#[derive(Clone, Copy, Debug, Default, JsonSchema, Serialize, Deserialize)]
pub struct LedgerReport {
    /// Messages sent, warm-up included.
    pub sent: u64,
    /// Messages sent in the measured part.
    pub sent_measured: u64,
    /// Messages of the schedule that never left.
    pub unsent: u64,
    /// Closed loop: messages taken for lost because nothing moved any more.
    pub given_up: u64,
    /// Messages that were not what was sent; `None` if they were not compared.
    #[serde(default)]
    pub differences: Option<Differences>,
    /// Deliveries to all subscribers but the slow ones.
    #[serde(flatten)]
    pub totals: Totals,
}

/// Messages per second in the measured part.
#[derive(Clone, Copy, Debug, Default, JsonSchema, Serialize, Deserialize)]
pub struct Rates {
    /// Length of the measured part, s.
    pub measured_s: f64,
    /// Asked for; `None` where there is no schedule.
    pub offered_per_s: Option<f64>,
    /// Messages that left, per second.
    pub sent_per_s: f64,
    /// Received by subscribers: of what was sent in it; in a flood what came in it, whenever it was sent.
    pub delivered_per_s: f64,
}

/// What came behind the end of the load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct DrainReport {
    /// Deliveries that were due and had not come when the load ended.
    pub backlog: u64,
    /// From then to the last delivery that came, to some 20 ms, ns.
    pub wall_ns: u64,
    /// Whether the time to wait for them was over before it was clear that nothing would come any more.
    pub cut_off: bool,
    /// Whether deliveries were still coming then.
    #[serde(default)]
    pub still_coming: bool,
}

/// Subscribers that stop reading, and what they do to the others.
#[derive(Clone, Copy, Debug, JsonSchema, Serialize, Deserialize)]
pub struct SlowReport {
    /// How many there are.
    pub subscribers: u32,
    /// How many of them lost their connection.
    pub disconnected: u64,
    /// Deliveries to them; what they got behind the end of the load counts.
    pub ledger: Totals,
    /// Latency of the others while all read: the first two fifths of the measured part.
    pub reading: Option<Summary>,
    /// Latency of the others while the slow ones did not read: the rest of it.
    pub stalled: Option<Summary>,
    /// The p99 of the second by that of the first.
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
    /// How control groups limit it.
    #[serde(default)]
    pub throttling: Throttling,
    /// How much of each percentile of the latency is its own.
    #[serde(default)]
    pub own_shares: Vec<OwnShare>,
}
