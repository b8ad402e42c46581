//! The result of a connect measurement.
//!
//! Invariant: as in [`crate::outcome::header`]: a field that changes its meaning changes the schema.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::measurements::{ConnectMeasurements, ConnectState};
use super::scenario::{ConnectLoad, ConnectScenario};
use crate::measure::latency::Summary;
use crate::measure::numbers::grouped;
use crate::measure::thread_use::ThreadUse;
use crate::measure::timeline::nanoseconds;
use crate::outcome::header::{Header, OutcomeKind};
use crate::outcome::report::{fit, security, write_findings, write_table};
use crate::outcome::validity::{Findings, LimitedBy, OwnEvidence, STEAL_PERCENT_MAX, Throttling, Verdict};
use crate::system::error::{EXIT_CONNECT, EXIT_GENERATOR, EXIT_MISSED, EXIT_OK};
use crate::system::machine::{self, Machine};

/// The result of a connect measurement.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
pub struct ConnectOutcome {
    /// Its format, its kind and the program that wrote it.
    #[serde(flatten)]
    pub header: Header,
    /// Wall clock at the beginning, seconds since 1970.
    pub started_unix_s: u64,
    /// The connections that were requested.
    pub scenario: ConnectScenario,
    /// The broker, and what it used.
    pub broker: ConnectBroker,
    /// Connections per second and in total.
    pub rates: ConnectRates,
    /// Time of the TCP connect.
    pub tcp: Option<Summary>,
    /// Time of the TLS handshake.
    pub tls: Option<Summary>,
    /// Time of the upgrade to WebSocket.
    pub web_socket: Option<Summary>,
    /// Time from CONNECT to CONNACK.
    pub connack: Option<Summary>,
    /// Intended start to CONNACK.
    pub whole: Option<Summary>,
    /// Intended to actual start.
    pub lag: Option<Summary>,
    /// CPU time of each of the generator's threads.
    pub generator: Vec<ThreadUse>,
    /// The machine that it ran on.
    pub machine: Machine,
    /// Whether the result is valid.
    pub verdict: Verdict,
}

/// The broker of a connect measurement.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
pub struct ConnectBroker {
    /// Its address and port; those of all hosts.
    pub address: String,
    /// Its name, for people.
    pub name: String,
    /// Its configuration, if it is known.
    pub configuration: Option<String>,
    /// Whether MQTT travelled in WebSocket frames.
    pub web_socket: bool,
    /// TLS version and cipher suite; `None` without TLS.
    pub tls: Option<String>,
    /// SHA-256 of its program.
    pub sha256: Option<String>,
    /// CPU time and memory that it used.
    pub usage: Option<ConnectUse>,
}

/// CPU time and memory of the broker in the measured part.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct ConnectUse {
    /// CPU time of all its threads, ns.
    pub cpu_ns: u64,
    /// Length of the measured part, ns.
    pub wall_ns: u64,
    /// Connections that were closed in this time.
    pub connections: u64,
    /// CPU time for each, ns.
    pub cpu_ns_per_connection: Option<f64>,
    /// Resident memory before, bytes.
    pub rss_bytes_before: Option<u64>,
    /// Resident memory at the end, bytes.
    pub rss_bytes_after: Option<u64>,
}

/// Connections, per second and in total.
#[derive(Clone, Copy, Debug, Default, JsonSchema, Serialize, Deserialize)]
pub struct ConnectRates {
    /// Length of the measured part, s.
    pub measured_s: f64,
    /// The requested rate; `None` in closed loop.
    pub offered_per_s: Option<f64>,
    /// Made in the measured part, per second.
    pub made_per_s: f64,
    /// Connections that were made, warm-up included.
    pub made: u64,
    /// Connections that failed, warm-up included.
    pub failed: u64,
}

/// The parts that every outcome has.
pub(super) struct Frame {
    pub(super) started_unix_s: u64,
    pub(super) machine: Machine,
    pub(super) interrupted: bool,
    /// CPU time and memory of the broker in the measured part.
    pub(super) usage: Option<ConnectUse>,
    /// CPU time of the machine that the hypervisor took, percent.
    pub(super) steal_percent: f64,
    /// How control groups limited the generator.
    pub(super) throttling: Throttling,
}

pub(super) fn gather(state: &ConnectState, result: ConnectMeasurements, frame: Frame) -> ConnectOutcome {
    let scenario = &state.scenario;
    let times = state.timeline.times();
    let measured_ns = times.map_or(0, |times| times.stop_ns.saturating_sub(times.measure_from_ns));
    let measured_s = measured_ns as f64 / 1e9;
    let rates = ConnectRates {
        measured_s,
        offered_per_s: match scenario.load {
            ConnectLoad::Open { rate_per_s } => Some(rate_per_s),
            ConnectLoad::Closed { .. } => None,
        },
        made_per_s: result.whole.count() as f64 / measured_s.max(1e-9),
        made: state.counts.made.load(Ordering::Relaxed),
        failed: state.counts.failed.load(Ordering::Relaxed),
    };
    let own = OwnEvidence {
        threads: result.threads.clone(),
        throttling: frame.throttling.clone(),
        latency: result.whole.summary(),
        lag: result.lag.summary().filter(|_| rates.offered_per_s.is_some()),
        read_delay: None,
    };
    let verdict = assess(scenario, &rates, &result, &own, &frame);
    let subject = &state.subject;
    ConnectOutcome {
        header: Header::new(OutcomeKind::Connections),
        started_unix_s: frame.started_unix_s,
        scenario: scenario.clone(),
        broker: ConnectBroker {
            address: subject.endpoint.addresses(),
            web_socket: subject.endpoint.web_socket,
            name: subject.name.clone(),
            configuration: subject.configuration.clone(),
            tls: result.stages.negotiated.clone(),
            sha256: subject.pid.and_then(machine::sha256_of_process),
            usage: frame.usage,
        },
        rates,
        tcp: result.stages.tcp.summary(),
        tls: result.stages.tls.summary(),
        web_socket: result.stages.web_socket.summary(),
        connack: result.stages.connack.summary(),
        whole: result.whole.summary(),
        lag: result.lag.summary(),
        generator: result.threads,
        machine: frame.machine,
        verdict,
    }
}

fn assess(
    scenario: &ConnectScenario,
    rates: &ConnectRates,
    result: &ConnectMeasurements,
    own: &OwnEvidence,
    frame: &Frame,
) -> Verdict {
    let mut findings = Findings::default();
    let nothing = rates.made == 0;
    let reasons = own.reasons();
    let behind = !reasons.is_empty();
    if nothing {
        let causes = result.causes.join("; ");
        findings.add(true, format!("no connection was made: {causes}"));
    } else if rates.failed > 0 {
        let (failed, causes) = (rates.failed, result.causes.join("; "));
        findings.add(true, format!("{failed} connections failed: {causes}"));
    }
    if !nothing && result.whole.count() == 0 {
        findings.add(true, "no connection was made in the measured part".to_owned());
    }
    if behind {
        let reasons = reasons.join("; ");
        let text = format!(
            "the generator was the bottleneck ({reasons}): the result is invalid; lower --rate or free CPU"
        );
        findings.add(true, text);
    }
    own.note(&mut findings);
    let p99_ns = result.whole.quantile_ns(0.99);
    if let Some(slo) = scenario.slo_p99.filter(|slo| p99_ns > nanoseconds(*slo)) {
        let (p99_ms, slo_ms) = (p99_ns as f64 / 1e6, slo.as_secs_f64() * 1e3);
        findings.add(
            true,
            format!("p99 of the time to CONNACK is {p99_ms:.3} ms, above the objective of {slo_ms:.3} ms"),
        );
    }
    if frame.steal_percent > STEAL_PERCENT_MAX {
        findings.warn(format!(
            "the hypervisor took {:.1} % of the CPU time",
            frame.steal_percent
        ));
    }
    if frame.interrupted {
        findings.warn("a signal ended the measurement early".to_owned());
    }
    let faults = findings.faults() > 0;
    Verdict {
        exit_code: match (nothing, behind, faults) {
            (true, _, _) => EXIT_CONNECT,
            (_, true, _) => EXIT_GENERATOR,
            (_, _, true) => EXIT_MISSED,
            _ => EXIT_OK,
        },
        valid: !behind && !nothing,
        limited_by: if behind {
            LimitedBy::Generator
        } else {
            LimitedBy::Nothing
        },
        findings: findings.sorted(),
    }
}

/// The outcome as text.
pub fn text(outcome: &ConnectOutcome) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_all(&mut text, outcome);
    fit(&text)
}

fn write_all(out: &mut String, outcome: &ConnectOutcome) -> std::fmt::Result {
    let load = match outcome.scenario.load {
        ConnectLoad::Closed { concurrency } => format!("{concurrency} at a time, as fast as possible"),
        ConnectLoad::Open { rate_per_s } => format!("{rate_per_s} per second"),
    };
    let security = security(outcome.broker.web_socket, outcome.broker.tls.as_deref());
    writeln!(out, "connections made and closed, {load}")?;
    writeln!(
        out,
        "{} ({}), {security}\n",
        outcome.broker.address, outcome.broker.name
    )?;
    let rows = [
        ("TCP connect", outcome.tcp),
        ("TLS handshake", outcome.tls),
        ("WebSocket upgrade", outcome.web_socket),
        ("CONNECT to CONNACK", outcome.connack),
        ("start to CONNACK", outcome.whole),
        (
            "schedule lag",
            outcome.lag.filter(|_| outcome.rates.offered_per_s.is_some()),
        ),
    ];
    write_table(out, "connecting", &rows)?;
    let rates = &outcome.rates;
    writeln!(
        out,
        "{:>21} {:.0} per second over {:.1} s; {} in total, {} failed",
        "connections",
        rates.made_per_s,
        rates.measured_s,
        grouped(rates.made),
        grouped(rates.failed)
    )?;
    if let Some(usage) = outcome.broker.usage {
        let each = usage.cpu_ns_per_connection.unwrap_or_default() / 1e3;
        let share = 100.0 * usage.cpu_ns as f64 / usage.wall_ns.max(1) as f64;
        writeln!(
            out,
            "{:>21} {each:.1} µs CPU for each connection, {share:.1} % of a core",
            "broker"
        )?;
    }
    let threads: Vec<String> = outcome
        .generator
        .iter()
        .map(|thread| format!("{:.1} %", thread.cpu_percent()))
        .collect();
    writeln!(out, "{:>21} {} of a core\n", "generator", threads.join(" + "))?;
    write_findings(out, &outcome.verdict)
}

#[cfg(test)]
pub(crate) mod testing;
