//! Makes the outcome from the results of the threads and the meter.
//!
//! Invariant: the figures of an outcome are all of the same measured part, that of the timeline.

use crate::generator::measure::{Measurements, WorkerOutcome};
use crate::generator::meter::Meter;
use crate::generator::state::Run;
use crate::generator::subscriber::close_group;
use crate::measure::differences::Differences;
use crate::measure::latency::{Latency, Summary};
use crate::measure::ledger::Totals;
use crate::measure::timeline::{READING_WINDOWS, WINDOWS};
use crate::outcome::background::BackgroundReport;
use crate::outcome::header::{Header, OutcomeKind};
use crate::outcome::series::Series;
use crate::outcome::steadiness::Steadiness;
use crate::outcome::validity::{Evidence, OwnEvidence, Reached, assess, own_shares};
use crate::outcome::{
    BrokerReport, ConnectReport, GeneratorReport, Histograms, LedgerReport, NeverCame, Outcome, Rates,
    SlowReport, WindowReport,
};
use crate::scenario::Load;
use crate::system::machine::{self, Machine};
use crate::target::subject::Subject;

/// Data that only the coordinator has.
#[derive(Clone, Debug)]
pub(crate) struct Circumstances {
    /// Wall clock at the beginning, seconds since 1970.
    pub(crate) started_unix_s: u64,
    /// Time from the first connection's start to the last one's readiness.
    pub(crate) connect_wall_ns: u64,
    /// The connections that were made and closed beside the load.
    pub(crate) churn: Option<BackgroundReport>,
    /// Whether a signal ended the run early.
    pub(crate) interrupted: bool,
    /// The time series of the run.
    pub(crate) series: Series,
}

/// Combines the results of the threads and the meter.
pub(crate) fn outcome(
    state: &Run,
    subject: &Subject,
    meter: &Meter,
    workers: &[WorkerOutcome],
    circumstances: Circumstances,
) -> Outcome {
    let mut measurements = Measurements::default();
    workers
        .iter()
        .for_each(|worker| measurements.merge(&worker.measurements));
    let ledger = close_ledgers(state, workers, &measurements);
    let windows = window_reports(&measurements);
    let deliveries: Vec<u64> = windows.iter().map(|window| window.deliveries).collect();
    // The windows of a run that was cut short differ in any case.
    let steadiness = if circumstances.interrupted {
        None
    } else {
        Steadiness::of(&deliveries, &meter.backlog)
    };
    let mut latency = measurements.whole_latency();
    let deliveries_measured = latency.count();
    let mut generator = generator_report(workers, &ledger, deliveries_measured, meter);
    let never_came = never_came(state, &ledger, deliveries_measured, meter);
    if let Some(never_came) = never_came {
        latency.record_many(never_came.counted_as_ns, never_came.deliveries);
    }
    let own = own_evidence(&mut generator, &latency, &measurements);
    let rates = rates(state, &ledger, deliveries_measured, meter);
    let evidence = Evidence {
        own,
        reached: reached(&rates, meter),
        steadiness,
        interrupted: circumstances.interrupted,
        churn_failed: circumstances.churn.as_ref().map_or(0, |churn| churn.failed),
        ..evidence_of(state, workers, &measurements, &ledger, meter)
    };
    let times = state.timeline.times();
    Outcome {
        header: Header::new(OutcomeKind::Run),
        started_unix_s: circumstances.started_unix_s,
        scenario: state.scenario.clone(),
        broker: broker_report(subject, meter, measurements.stages.negotiated.clone()),
        churn: circumstances.churn.clone(),
        connect: connect_report(state, &measurements, meter, circumstances.connect_wall_ns),
        rates,
        drain: meter.drain(),
        slow: slow_report(state, workers, &measurements),
        latency: latency.summary(),
        never_came,
        service: measurements.service.summary(),
        acknowledged: measurements.acknowledged.summary(),
        lag: measurements.whole_lag().summary(),
        lag_own: measurements.lag_own.summary(),
        read_delay: measurements.read_delay.summary(),
        ledger,
        windows,
        series: times.map_or(Vec::new(), |times| circumstances.series.reports(&times)),
        quantiles: latency.quantiles(),
        histograms: Histograms {
            latency,
            series: Some(circumstances.series),
        },
        steadiness,
        generator,
        machine: Machine::look(),
        verdict: assess(&evidence),
    }
}

/// The generator's figures about itself; its report gets its share of each percentile.
fn own_evidence(
    generator: &mut GeneratorReport,
    latency: &Latency,
    measurements: &Measurements,
) -> OwnEvidence {
    let own = OwnEvidence {
        threads: generator.threads.clone(),
        throttling: generator.throttling.clone(),
        latency: latency.summary(),
        lag: measurements.lag_own.summary(),
        read_delay: measurements.read_delay.summary(),
    };
    let shares = own.latency.zip(own.lag);
    generator.own_shares = shares.map_or(Vec::new(), |(latency, lag)| own_shares(&latency, &lag));
    own
}

/// The results for the objectives that are not latencies.
fn reached(rates: &Rates, meter: &Meter) -> Reached {
    let usage = meter.usage();
    Reached {
        delivered_per_s: rates.delivered_per_s,
        broker_cpu_ns: usage.and_then(|usage| usage.cpu_ns_per_delivery),
        broker_rss_bytes: usage.and_then(|usage| usage.rss_bytes_peak),
    }
}

/// Measured deliveries that never arrived, if there is a schedule: without one, a lost message delays no other.
fn never_came(state: &Run, ledger: &LedgerReport, came: u64, meter: &Meter) -> Option<NeverCame> {
    let has_schedule = matches!(state.scenario.load, Load::Scheduled { .. });
    if !has_schedule || ledger.sent == 0 || ledger.totals.lost == 0 {
        return None;
    }
    // Every message causes the same number of deliveries, except in pairs of unequal counts.
    let each = ledger.totals.expected as f64 / ledger.sent as f64;
    let expected = (ledger.sent_measured as f64 * each).round() as u64;
    let deliveries = expected.saturating_sub(came).min(ledger.totals.lost);
    (deliveries > 0).then(|| NeverCame {
        deliveries,
        percent: 100.0 * deliveries as f64 / expected as f64,
        counted_as_ns: meter.waited_ns(),
    })
}

/// The data of the scenario and the threads for the verdict.
fn evidence_of(
    state: &Run,
    workers: &[WorkerOutcome],
    measurements: &Measurements,
    ledger: &LedgerReport,
    meter: &Meter,
) -> Evidence {
    let drain = meter.drain();
    let progress = state.progress();
    Evidence {
        // Unowed messages were overtaken too.
        overtaken: progress.overtaken.saturating_sub(ledger.totals.unowed),
        ledger: ledger.totals,
        differences: ledger.differences.unwrap_or_default(),
        sent: ledger.sent_measured,
        unsent: ledger.unsent,
        steal_percent: meter.steal_percent(),
        drain_cut_off: drain.cut_off.then_some(state.scenario.drain),
        still_coming: drain.still_coming,
        drain_ns: drain.wall_ns,
        has_schedule: matches!(state.scenario.load, Load::Scheduled { .. }),
        idle: state.scenario.load == Load::Idle,
        flood: state.scenario.load == Load::Flood,
        no_loss: state.scenario.no_loss,
        allow_loss: state.scenario.allow_loss,
        subscribers: state.scenario.subscribers,
        reconnected: workers.iter().map(|worker| worker.reconnected).sum(),
        reconnects: state.scenario.reconnect,
        without_alias: workers.iter().map(|worker| worker.without_alias).sum(),
        crosses_hosts: state.plan.crosses(state.endpoint.hosts()),
        qos: Some(state.scenario.qos),
        waited_for_broker: measurements.lag_blocked.count(),
        waited_for_connection: measurements.lag_cut_off.count(),
        ledger_only: state.scenario.ledger_only,
        broken: progress.broken,
        causes: workers
            .iter()
            .flat_map(|worker| worker.broken.iter().cloned())
            .collect(),
        refused: workers.iter().map(|worker| worker.refused).sum(),
        slo_p99: state.scenario.slo_p99,
        objectives: state.scenario.objectives,
        ..Evidence::default()
    }
}

/// Messages sent by each publisher.
fn sent(state: &Run, outcomes: &[WorkerOutcome]) -> Vec<u64> {
    let mut sent = vec![0; state.scenario.publishers as usize];
    for (publisher, count) in outcomes.iter().flat_map(|outcome| &outcome.sent) {
        if let Some(entry) = sent.get_mut(*publisher as usize) {
            *entry = *count;
        }
    }
    sent
}

fn slow_report(state: &Run, outcomes: &[WorkerOutcome], measurements: &Measurements) -> Option<SlowReport> {
    let subscribers = Some(state.scenario.slow_subscribers).filter(|&count| count > 0)?;
    let sent = sent(state, outcomes);
    let mut totals = Totals::default();
    for ledger in outcomes.iter().flat_map(|outcome| &outcome.slow_ledgers) {
        let sent_by = |publisher: u32| sent.get(publisher as usize).copied().unwrap_or(0);
        totals.add(&ledger.close(sent_by, &state.interruptions));
    }
    let reading = measurements.latency_of(0..READING_WINDOWS).summary();
    let stalled = measurements.latency_of(READING_WINDOWS..WINDOWS).summary();
    let ratio = |reading: Summary, stalled: Summary| stalled.p99_ns as f64 / reading.p99_ns.max(1) as f64;
    Some(SlowReport {
        subscribers,
        disconnected: outcomes.iter().map(|outcome| outcome.slow_broken).sum(),
        ledger: totals,
        reading,
        stalled,
        p99_ratio: reading
            .zip(stalled)
            .map(|(reading, stalled)| ratio(reading, stalled)),
    })
}

fn close_ledgers(state: &Run, outcomes: &[WorkerOutcome], measurements: &Measurements) -> LedgerReport {
    let sent = sent(state, outcomes);
    let mut totals = Totals::default();
    let sent_by = |publisher: u32| sent.get(publisher as usize).copied().unwrap_or(0);
    for ledger in outcomes.iter().flat_map(|outcome| &outcome.ledgers) {
        totals.add(&ledger.close(sent_by, &state.interruptions));
    }
    for group in &state.groups {
        totals.add(&close_group(group, sent_by, &state.interruptions));
    }
    LedgerReport {
        sent: sent.iter().sum(),
        sent_measured: measurements.sent.iter().sum(),
        unsent: outcomes.iter().map(|outcome| outcome.unsent).sum(),
        given_up: outcomes.iter().map(|outcome| outcome.given_up).sum(),
        differences: state.verified.is_some().then(|| {
            let mut differences = Differences::default();
            outcomes
                .iter()
                .for_each(|outcome| differences.add(&outcome.differences));
            differences
        }),
        totals,
    }
}

fn window_reports(measurements: &Measurements) -> Vec<WindowReport> {
    let windows = measurements.sent.iter().zip(&measurements.latency);
    let report = |(&sent, latency): (&u64, &Latency)| WindowReport {
        sent,
        deliveries: latency.count(),
        latency: latency.summary(),
    };
    windows.map(report).collect()
}

fn generator_report(
    outcomes: &[WorkerOutcome],
    ledger: &LedgerReport,
    deliveries: u64,
    meter: &Meter,
) -> GeneratorReport {
    let threads: Vec<_> = outcomes.iter().map(|outcome| outcome.usage).collect();
    let cpu_ns: u64 = threads.iter().map(|thread| thread.cpu_ns).sum();
    let messages = ledger.sent_measured + deliveries;
    GeneratorReport {
        threads,
        cpu_ns_per_message: (messages > 0).then(|| cpu_ns as f64 / messages as f64),
        steal_percent: meter.steal_percent(),
        throttling: meter.throttling(),
        own_shares: Vec::new(),
    }
}

fn broker_report(subject: &Subject, meter: &Meter, tls: Option<String>) -> BrokerReport {
    BrokerReport {
        address: subject.endpoint.addresses(),
        web_socket: subject.endpoint.web_socket,
        name: subject.name.clone(),
        configuration: subject.configuration.clone(),
        tls,
        pid: subject.pid,
        sha256: subject.pid.and_then(machine::sha256_of_process),
        usage: meter.usage(),
    }
}

fn connect_report(state: &Run, measurements: &Measurements, meter: &Meter, wall_ns: u64) -> ConnectReport {
    ConnectReport {
        connections: state.scenario.connections(),
        wall_ns,
        rss: meter.rss.clone(),
        tcp: measurements.stages.tcp.summary(),
        tls: measurements.stages.tls.summary(),
        web_socket: measurements.stages.web_socket.summary(),
        connack: measurements.stages.connack.summary(),
    }
}

fn rates(state: &Run, ledger: &LedgerReport, deliveries: u64, meter: &Meter) -> Rates {
    let measured_ns = state
        .timeline
        .times()
        .map_or(0, |times| times.stop_ns.saturating_sub(times.measure_from_ns));
    let measured_s = measured_ns as f64 / 1e9;
    let per_s = |count: u64| {
        if measured_s > 0.0 {
            count as f64 / measured_s
        } else {
            0.0
        }
    };
    let offered_per_s = match state.scenario.load {
        Load::Scheduled { rate_per_s, .. } => Some(rate_per_s),
        Load::Saturating { .. } | Load::Flood | Load::Idle => None,
    };
    let came_per_s = meter
        .delivered_per_s()
        .filter(|_| state.scenario.load == Load::Flood);
    Rates {
        measured_s,
        offered_per_s,
        sent_per_s: per_s(ledger.sent_measured),
        delivered_per_s: came_per_s.unwrap_or_else(|| per_s(deliveries)),
    }
}
