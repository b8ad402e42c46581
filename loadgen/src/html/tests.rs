//! Reports of folders as they are written, and what a page must not contain.

use super::*;
use crate::outcome::header::{Header, OutcomeKind};
use crate::outcome::series::{IntervalReport, Part};
use crate::outcome::testing::{latency, outcome, usage, valid};
use crate::outcome::{BrokerUse, Outcome};
use crate::search::{Point, SearchOutcome};
use crate::selftest::{Ceiling, ScheduleCheck, SelftestOutcome};
use crate::sweep::{Sweep, SweepOutcome};
use crate::system::machine::Machine;

fn interval(from_s: f64, part: Part) -> IntervalReport {
    IntervalReport {
        from_s,
        part,
        sent: 5,
        received: 5,
        backlog: 0,
        p50_ns: 50_000,
        p99_ns: 90_000,
        p99_9_ns: 95_000,
        max_ns: 99_000,
        lag_p50_ns: 2_000,
        lag_p99_ns: 4_000,
    }
}

fn run(cpu_ns: f64) -> Outcome {
    let mut run = outcome("--pubs 2 --rate 10");
    run.broker.name = "<script>alert(1)</script>".to_owned();
    run.broker.usage = Some(BrokerUse {
        cpu_ns_per_delivery: Some(cpu_ns),
        ..usage()
    });
    run.connect.connections = 10;
    run.connect.rss = vec![(1, 1_000_000), (10, 2_000_000)];
    run.latency = Some(latency(50_000, 90_000));
    run.quantiles = vec![
        (0.0, 20_000),
        (0.5, 50_000),
        (0.9, 60_000),
        (0.99, 90_000),
        (1.0, 100_000),
    ];
    run.series = vec![interval(0.0, Part::WarmUp), interval(0.5, Part::Measured)];
    run.machine.sysctls = vec![("net.core.somaxconn".to_owned(), "4096".to_owned())];
    run
}

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap()
}

fn points() -> Vec<Point> {
    let point = |rate_per_s: f64, valid: bool| Point {
        rate_per_s,
        delivered_percent: 100.0,
        p50_ns: 50_000,
        p99_ns: 90_000,
        p99_9_ns: 99_000,
        cpu_ns_per_delivery: None,
        valid,
        passed: valid,
    };
    vec![point(1_000.0, true), point(2_000.0, true), point(4_000.0, false)]
}

fn ceilings() -> SelftestOutcome {
    let ceiling = |per_s: f64, cpu_ns_per_message: f64| Ceiling {
        per_s,
        cpu_ns_per_message,
    };
    SelftestOutcome {
        header: Header::new(OutcomeKind::Selftest),
        schedule: ScheduleCheck::default(),
        single: ceiling(1e6, 900.0),
        bare: None,
        batched: ceiling(9e6, 60.0),
        received: ceiling(1e6, 700.0),
        findings: Vec::new(),
        exit_code: 0,
        machine: Machine::default(),
    }
}

fn page_of(folder: &Path) -> String {
    let html = std::fs::read_to_string(write(folder).unwrap()).unwrap();
    assert!(!html.contains("<script"), "nothing runs, whatever a file holds");
    for outside in ["src=", "href=", "@import", "url("] {
        assert!(!html.contains(outside), "{outside}");
    }
    html
}

#[test]
fn a_run_has_its_plots_and_its_verdict() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("result.json"), json(&run(5_000.0))).unwrap();
    std::fs::write(folder.path().join("command"), "loadgen --pubs 2").unwrap();
    let html = page_of(folder.path());
    for part in [
        "Latency by percentile",
        "lag over time",
        "Messages over time",
        "against connections",
        "notice good\">The run is valid.",
        "<span class=\"badge good\">valid</span>",
        "<dt>broker CPU per delivery</dt><dd>5 µs</dd>",
        "loadgen --pubs 2",
        "net.core.somaxconn",
        "&lt;script&gt;",
    ] {
        assert!(html.contains(part), "{part} in {html}");
    }
    assert_eq!(
        html.matches("<svg").count(),
        8,
        "four plots, for a wide and for a narrow page"
    );
}

#[test]
fn figures_that_are_the_generators_are_marked() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = run(5_000.0);
    (run.verdict.valid, run.verdict.exit_code) = (false, 4);
    std::fs::write(folder.path().join("result.json"), json(&run)).unwrap();
    let html = page_of(folder.path());
    assert!(
        html.contains("<span class=\"badge bad\">invalid</span>"),
        "{html}"
    );
    assert_eq!(html.matches("<div class=\"marked\">").count(), 3, "{html}");
}

#[test]
fn a_comparison_shows_every_broker() {
    let folder = tempfile::tempdir().unwrap();
    for (broker, cpu_ns) in [("midge", 1_000.0), ("mosquitto", 9_000.0)] {
        let raw = folder.path().join("raw/rate-10k-q1").join(broker);
        std::fs::create_dir_all(&raw).unwrap();
        for round in 1..=3 {
            let record = json(&run(cpu_ns + f64::from(round)));
            std::fs::write(raw.join(format!("{round}.json")), record).unwrap();
        }
    }
    std::fs::write(folder.path().join("selftest.json"), json(&ceilings())).unwrap();
    let html = page_of(folder.path());
    for part in [
        "Midge beside mosquitto",
        "Broker CPU for a delivered message",
        "latency by percentile",
        "over time",
        "better",
        "own limit",
    ] {
        assert!(html.contains(part), "{part}");
    }
}

#[test]
fn a_search_has_its_objective() {
    let folder = tempfile::tempdir().unwrap();
    let search = SearchOutcome {
        header: Header::new(OutcomeKind::Search),
        scenario: outcome("--rate 1000").scenario,
        broker: "midge".to_owned(),
        slo_p99_s: Some(0.01),
        points: points(),
        found_per_s: Some(2_000.0),
        lower_bound: true,
        machine: Machine::default(),
    };
    std::fs::write(folder.path().join("search.json"), json(&search)).unwrap();
    let html = page_of(folder.path());
    for part in ["2,000 messages per second", "Hollow", "invalid", "passed"] {
        assert!(html.contains(part), "{part}");
    }
}

#[test]
fn a_sweep_has_a_page_and_a_comparison_of_sweeps_one_plot_for_all() {
    let sweep = SweepOutcome {
        header: Header::new(OutcomeKind::Sweep),
        sweep: Sweep {
            scenario: outcome("--rate 1000").scenario,
            steps: 3,
            factor: 2.0,
        },
        broker: "midge".to_owned(),
        slo_p99_s: Some(0.01),
        points: points(),
        highest_per_s: Some(2_000.0),
        machine: Machine::default(),
        verdict: valid(),
    };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("sweep.json"), json(&sweep)).unwrap();
    let html = page_of(folder.path());
    assert!(
        html.contains("2,000 messages per second, and at every step below"),
        "{html}"
    );
    let folder = tempfile::tempdir().unwrap();
    for broker in ["midge", "mosquitto"] {
        let raw = folder.path().join("raw/hockey-p2p").join(broker);
        std::fs::create_dir_all(&raw).unwrap();
        for round in 1..=3 {
            std::fs::write(raw.join(format!("{round}.json")), json(&sweep)).unwrap();
        }
    }
    let html = page_of(folder.path());
    assert!(html.contains("hockey-p2p: latency at the offered rate"), "{html}");
    // For each broker two filled points and a hollow one, not one for each round; in a wide and in a narrow plot.
    assert_eq!(html.matches("<circle").count(), 2 * 6, "{html}");
}

#[test]
fn an_empty_folder_has_no_report() {
    let folder = tempfile::tempdir().unwrap();
    let error = write(folder.path()).unwrap_err();
    assert!(error.to_string().contains("has no results"), "{error}");
    std::fs::write(folder.path().join("result.json"), "{").unwrap();
    assert!(
        write(folder.path())
            .unwrap_err()
            .to_string()
            .contains("result.json")
    );
}

#[test]
fn a_plot_stands_alone_with_its_legend_and_colours() {
    let plot = Plot {
        legend: vec![(0, "Midge".to_owned()), (1, "a < b".to_owned())],
        svg: "<svg width=\"900\" height=\"254\"></svg>".to_owned(),
        ..Plot::default()
    };
    let svg = render_plot(&plot).unwrap();
    assert!(svg.contains("viewBox=\"0 0 900 288\""), "{svg}");
    assert!(svg.contains("a &lt; b") && svg.contains("--s1: #"), "{svg}");
}
