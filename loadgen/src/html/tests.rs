//! Reports of folders as they are written, and what a page must not do.

use serde_json::json;

use super::*;

fn outcome(broker: f64) -> serde_json::Value {
    json!({
        "scenario": {"publishers": 2, "load": {"paced": {"rate_per_s": 10.0}}},
        "broker": {"name": "<script>alert(1)</script>", "usage": {"cpu_ns_per_delivery": broker}},
        "connect": {"connections": 10, "rss": [[1, 1_000_000], [10, 2_000_000]]},
        "latency": {"p50_ns": 50_000, "p90_ns": 60_000, "p99_ns": 90_000, "p99_9_ns": 99_000, "max_ns": 100_000, "mean_ns": 55_000.0},
        "quantiles": [[0.0, 20_000], [0.5, 50_000], [0.9, 60_000], [0.99, 90_000], [1.0, 100_000]],
        "series": [
            {"from_s": 0.0, "part": "warm_up", "sent": 5, "received": 5, "backlog": 0, "p50_ns": 50_000, "p99_ns": 90_000, "lag_p99_ns": 4_000},
            {"from_s": 0.5, "part": "measured", "sent": 5, "received": 5, "backlog": 0, "p50_ns": 51_000, "p99_ns": 91_000, "lag_p99_ns": 4_000},
        ],
        "ledger": {"sent": 10, "lost": 0, "duplicate": 0, "reordered": 0},
        "machine": {"cpu": "a CPU", "sysctls": [["net.core.somaxconn", "4096"]]},
        "verdict": {"valid": true, "findings": []},
    })
}

fn page_of(folder: &Path) -> String {
    let html = std::fs::read_to_string(write(folder).unwrap()).unwrap();
    assert!(!html.contains("<script"), "nothing runs, whatever a file holds");
    for elsewhere in ["src=", "href=", "@import", "url("] {
        assert!(!html.contains(elsewhere), "{elsewhere}");
    }
    html
}

#[test]
fn a_run_has_its_plots_and_its_verdict() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("result.json"), outcome(5_000.0).to_string()).unwrap();
    std::fs::write(folder.path().join("command"), "loadgen --pubs 2").unwrap();
    let html = page_of(folder.path());
    for part in [
        "Latency by percentile",
        "lag over time",
        "Messages over time",
        "against connections",
        "The run is valid",
        "loadgen --pubs 2",
        "net.core.somaxconn",
        "&lt;script&gt;",
    ] {
        assert!(html.contains(part), "{part} in {html}");
    }
    assert_eq!(html.matches("<svg").count(), 4);
}

#[test]
fn a_comparison_shows_every_broker() {
    let folder = tempfile::tempdir().unwrap();
    for (broker, cpu_ns) in [("midge", 1_000.0), ("mosquitto", 9_000.0)] {
        let raw = folder.path().join("raw/paced-10k-q1").join(broker);
        std::fs::create_dir_all(&raw).unwrap();
        for round in 1..=3 {
            let outcome = outcome(cpu_ns + f64::from(round)).to_string();
            std::fs::write(raw.join(format!("{round}.json")), outcome).unwrap();
        }
    }
    let selftest = json!({
        "pacer": {"lag_p50_ns": 9_000, "lag_p99_ns": 50_000}, "single": {"cpu_ns_per_message": 900.0},
        "batched": {"per_s": 9e6, "cpu_ns_per_message": 60.0}, "received": {"per_s": 1e6, "cpu_ns_per_message": 700.0},
    });
    std::fs::write(folder.path().join("selftest.json"), selftest.to_string()).unwrap();
    let html = page_of(folder.path());
    for part in [
        "Midge beside mosquitto",
        "Broker CPU for a delivered message",
        "latency by percentile",
        "over time",
        "better",
        "own ceiling",
    ] {
        assert!(html.contains(part), "{part}");
    }
}

#[test]
fn a_search_has_its_objective() {
    let folder = tempfile::tempdir().unwrap();
    let point = |rate: f64, valid: bool| json!({"rate_per_s": rate, "p50_ns": 50_000, "p99_ns": 90_000, "p99_9_ns": 99_000, "delivered_percent": 100.0, "valid": valid, "passed": valid});
    let search = json!({"slo_p99_s": 0.01, "found_per_s": 2_000.0, "points": [point(1_000.0, true), point(2_000.0, true), point(4_000.0, false)]});
    std::fs::write(folder.path().join("search.json"), search.to_string()).unwrap();
    let html = page_of(folder.path());
    for part in ["2,000 messages per second", "Hollow", "invalid", "passed"] {
        assert!(html.contains(part), "{part}");
    }
}

#[test]
fn a_sweep_has_a_page_and_a_comparison_of_sweeps_one_plot_for_all() {
    let point = |rate: f64, valid: bool| json!({"rate_per_s": rate, "p50_ns": 50_000, "p99_ns": 90_000, "p99_9_ns": 99_000, "delivered_percent": 100.0, "valid": valid, "passed": valid});
    let sweep = json!({"kind": "sweep", "slo_p99_s": 0.01, "highest_per_s": 2_000.0, "points": [point(1_000.0, true), point(2_000.0, true), point(4_000.0, false)]});
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("sweep.json"), sweep.to_string()).unwrap();
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
            std::fs::write(raw.join(format!("{round}.json")), sweep.to_string()).unwrap();
        }
    }
    let html = page_of(folder.path());
    assert!(html.contains("hockey-p2p: latency at the offered rate"), "{html}");
    // Of each broker two filled points and a hollow one, not one for each round.
    assert_eq!(html.matches("<circle").count(), 6, "{html}");
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
