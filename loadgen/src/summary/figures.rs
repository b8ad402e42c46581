//! The figures of a comparison: their names, and where they are in an outcome.
//!
//! Invariants: a figure belongs to one kind of outcome; a latency is taken only from valid runs with a schedule, a
//! cost from every run.

use crate::connect::outcome::ConnectOutcome;
use crate::measure::thread_use::ThreadUse;
use crate::outcome::Outcome;
use crate::retained::RetainedOutcome;
use crate::scenario::Load;
use crate::summary::record::Record;
use crate::sweep::SweepOutcome;

/// A figure and where it is found.
pub(super) struct Figure {
    /// The name of the figure in tables.
    pub(super) name: &'static str,
    /// The unit of the figure in tables.
    pub(super) unit: &'static str,
    /// Whether lower is better; `None` if neither direction is.
    pub(super) lower_is_better: Option<bool>,
    /// Whether it is a speed, which a generator without CPU time left may limit.
    pub(super) is_speed: bool,
    source: FigureSource,
}

/// Which kind of outcome has a figure, and where in it.
enum FigureSource {
    Run(fn(&Outcome) -> Option<f64>),
    Sweep(fn(&SweepOutcome) -> Option<f64>),
    Connections(fn(&ConnectOutcome) -> Option<f64>),
    Retained(fn(&RetainedOutcome) -> Option<f64>),
}

impl Figure {
    /// The figure in a round; `None` if the round does not have it.
    pub(super) fn of(&self, record: &Record) -> Option<f64> {
        match (&self.source, record) {
            (FigureSource::Run(of), Record::Run(outcome)) => of(outcome),
            (FigureSource::Sweep(of), Record::Sweep(outcome)) => of(outcome),
            (FigureSource::Connections(of), Record::Connections(outcome)) => of(outcome),
            (FigureSource::Retained(of), Record::Retained(outcome)) => of(outcome),
            _ => None,
        }
    }

    const fn cost(name: &'static str, unit: &'static str, source: FigureSource) -> Figure {
        Figure {
            name,
            unit,
            lower_is_better: Some(true),
            is_speed: false,
            source,
        }
    }

    const fn rate(name: &'static str, source: FigureSource) -> Figure {
        Figure {
            name,
            unit: "per s",
            lower_is_better: Some(false),
            is_speed: true,
            source,
        }
    }
}

/// The names of the figures for which one direction is better.
pub(crate) fn with_direction() -> Vec<&'static str> {
    let named = FIGURES.iter().filter(|figure| figure.lower_is_better.is_some());
    let mut names: Vec<&str> = Vec::new();
    for figure in named {
        if !names.contains(&figure.name) {
            names.push(figure.name);
        }
    }
    names
}

/// The main figure of a load of messages.
pub(crate) const CPU_PER_MESSAGE: &str = "broker CPU per message";
/// The cost of opening a connection.
pub(crate) const CPU_PER_CONNECTION: &str = "broker CPU per connection";
/// The memory of an open connection.
pub(crate) const RSS_PER_CONNECTION: &str = "RSS per connection";

/// All figures, in the order of the tables.
pub(super) const FIGURES: &[Figure] = &[
    Figure::cost(
        CPU_PER_MESSAGE,
        "µs",
        FigureSource::Run(|run| Some(run.broker.usage?.cpu_ns_per_delivery? / NS_PER_US)),
    ),
    Figure {
        lower_is_better: None,
        ..Figure::cost(
            "client CPU per message",
            "µs",
            FigureSource::Run(|run| Some(client_cpu_ns(run)? / NS_PER_US)),
        )
    },
    Figure::cost(
        "broker and client CPU per message",
        "µs",
        FigureSource::Run(|run| {
            let broker_ns = run.broker.usage?.cpu_ns_per_delivery?;
            Some((broker_ns + client_cpu_ns(run)?) / NS_PER_US)
        }),
    ),
    Figure::rate(
        "delivered",
        FigureSource::Run(|run| has_no_rate(run).then_some(run.rates.delivered_per_s)),
    ),
    Figure {
        lower_is_better: None,
        is_speed: false,
        ..Figure::rate(
            "offered",
            FigureSource::Run(|run| is_flood(run).then_some(run.rates.sent_per_s)),
        )
    },
    Figure::cost(
        "peak RSS",
        "MiB",
        FigureSource::Run(|run| {
            let bytes = run.broker.usage?.rss_bytes_peak?;
            (is_flood(run) || run.slow.is_some()).then_some(bytes as f64 / BYTES_PER_MIB)
        }),
    ),
    Figure::cost(
        "p99 of the others: slow ones stalled / all reading",
        "times",
        FigureSource::Run(|run| run.slow?.p99_ratio),
    ),
    Figure::cost(
        "not delivered to the slow ones",
        "%",
        FigureSource::Run(|run| {
            let ledger = run.slow?.ledger;
            share_percent(ledger.lost, ledger.expected)
        }),
    ),
    Figure::cost(
        "last delivery after the end",
        "ms",
        FigureSource::Run(|run| is_flood(run).then_some(run.drain.wall_ns as f64 / NS_PER_MS)),
    ),
    Figure::cost(
        "not delivered",
        "%",
        FigureSource::Run(|run| {
            let totals = Some(run.ledger.totals).filter(|_| is_flood(run))?;
            share_percent(totals.lost, totals.expected)
        }),
    ),
    Figure::cost(
        "latency p50",
        "µs",
        FigureSource::Run(|run| Some(valid_latency(run)?.p50_ns as f64 / NS_PER_US)),
    ),
    Figure::cost(
        "latency p99",
        "µs",
        FigureSource::Run(|run| Some(valid_latency(run)?.p99_ns as f64 / NS_PER_US)),
    ),
    Figure::cost(
        RSS_PER_CONNECTION,
        "KiB",
        FigureSource::Run(|run| {
            let usage = run.broker.usage?;
            let grown = usage.rss_bytes_connected? as f64 - usage.rss_bytes_before? as f64;
            Some(grown / connections(run)? / BYTES_PER_KIB)
        }),
    ),
    Figure::cost(
        CPU_PER_CONNECTION,
        "µs",
        FigureSource::Run(|run| {
            Some(run.broker.usage?.connect_cpu_ns? as f64 / connections(run)? / NS_PER_US)
        }),
    ),
    Figure {
        is_speed: false,
        ..Figure::rate(
            "highest rate within the objective",
            FigureSource::Sweep(|sweep| sweep.highest_per_s),
        )
    },
    Figure::cost(
        CPU_PER_CONNECTION,
        "µs",
        FigureSource::Connections(|connections| {
            Some(connections.broker.usage?.cpu_ns_per_connection? / NS_PER_US)
        }),
    ),
    Figure::cost(
        "broker and client CPU per connection",
        "µs",
        FigureSource::Connections(|connections| {
            let made = Some(connections.rates.made).filter(|made| *made > 0)?;
            let client_ns = threads_cpu_ns(&connections.generator)? / made as f64;
            Some((connections.broker.usage?.cpu_ns_per_connection? + client_ns) / NS_PER_US)
        }),
    ),
    Figure::rate(
        "connections made",
        FigureSource::Connections(|connections| Some(connections.rates.made_per_s)),
    ),
    Figure {
        is_speed: true,
        ..Figure::cost(
            "start to CONNACK p50",
            "µs",
            FigureSource::Connections(|connections| Some(connections.whole?.p50_ns as f64 / NS_PER_US)),
        )
    },
    Figure::cost(
        "broker CPU per insert",
        "µs",
        FigureSource::Retained(|retained| Some(retained.broker.cpu_ns_per_insert? / NS_PER_US)),
    ),
    Figure::cost(
        "RSS per retained message",
        "B",
        FigureSource::Retained(|retained| retained.broker.rss_bytes_per_message),
    ),
    Figure::cost(
        "broker CPU per message to a subscriber of all",
        "µs",
        FigureSource::Retained(|retained| Some(retained.broker.cpu_ns_per_message? / NS_PER_US)),
    ),
];

const NS_PER_US: f64 = 1e3;
const NS_PER_MS: f64 = 1e6;
const BYTES_PER_KIB: f64 = 1024.0;
const BYTES_PER_MIB: f64 = 1024.0 * 1024.0;

/// Number of connections, if there are enough of them to divide by.
fn connections(run: &Outcome) -> Option<f64> {
    let connections = run.connect.connections;
    (connections >= CONNECTIONS_MIN).then_some(connections as f64)
}

const CONNECTIONS_MIN: u64 = 1_000;

/// CPU time of the generator for each delivery. On one machine the kernel's work for a message is counted on
/// either side, so the broker's time alone is not all of it.
fn client_cpu_ns(run: &Outcome) -> Option<f64> {
    let deliveries = run.broker.usage.map(|usage| usage.deliveries);
    let deliveries = deliveries.filter(|deliveries| *deliveries > 0)?;
    Some(threads_cpu_ns(&run.generator.threads)? / deliveries as f64)
}

fn threads_cpu_ns(threads: &[ThreadUse]) -> Option<f64> {
    let cpu_ns: u64 = threads.iter().map(|thread| thread.cpu_ns).sum();
    (cpu_ns > 0).then_some(cpu_ns as f64)
}

fn is_flood(run: &Outcome) -> bool {
    run.scenario.load == Load::Flood
}

/// Whether messages were sent as fast as possible, in closed loop or in a flood.
fn has_no_rate(run: &Outcome) -> bool {
    matches!(run.scenario.load, Load::Saturating { .. } | Load::Flood)
}

fn valid_latency(run: &Outcome) -> Option<crate::measure::latency::Summary> {
    let has_schedule = matches!(run.scenario.load, Load::Scheduled { .. });
    run.latency.filter(|_| has_schedule && run.verdict.valid)
}

fn share_percent(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| 100.0 * part as f64 / whole as f64)
}
