//! Summaries of made-up outcomes.

use super::*;
use serde_json::json;

/// A load's outcome with these figures.
pub(crate) fn outcome(cpu_ns: f64, p99_ns: u64, valid: bool) -> Value {
    json!({
        "scenario": {"load": {"paced": {"rate_per_s": 10.0}}},
        "broker": {"usage": {"cpu_ns_per_delivery": cpu_ns}},
        "latency": {"p50_ns": p99_ns / 2, "p99_ns": p99_ns},
        "connect": {"connections": 10},
        "ledger": {"lost": 1, "duplicate": 0, "reordered": 0},
        "verdict": {"valid": valid, "findings": [{"gravity": "warning", "text": "12.5 % of 3 waited"}]},
    })
}

fn rounds() -> Rounds {
    let contender = |cpu_ns: f64, valid| {
        (0..3)
            .map(|round| outcome(cpu_ns + f64::from(round), 5_000, valid))
            .collect()
    };
    let contenders = [
        ("midge".to_owned(), contender(1_000.0, true)),
        ("mosquitto".to_owned(), contender(9_000.0, false)),
    ];
    Rounds::from([
        ("b".to_owned(), contenders.into()),
        ("a".to_owned(), BTreeMap::new()),
    ])
}

#[test]
fn figures_are_compared_and_latencies_of_invalid_runs_left_out() {
    let summary = sum_up(&rounds(), &["b".to_owned(), "a".to_owned()]);
    assert_eq!(summary.rows.len(), 2);
    let row = &summary.rows[0];
    assert_eq!(row.scenario, "b");
    let cpu = &row.figures[0];
    assert_eq!(
        (cpu.figure, cpu.verdict("mosquitto")),
        (CPU_PER_MESSAGE, "better")
    );
    assert!((cpu.values["midge"].median - 1.001).abs() < 1e-9);
    let p99 = row
        .figures
        .iter()
        .find(|figure| figure.figure == "latency p99")
        .unwrap();
    assert_eq!(p99.rounds.keys().collect::<Vec<_>>(), ["midge"]);
    assert_eq!(row.wrong["midge"], 3);
    assert_eq!(row.findings["midge"]["# % of # waited"], 3);
    assert!(
        row.figures
            .iter()
            .all(|figure| figure.figure != RSS_PER_CONNECTION),
        "ten are not many"
    );
}

#[test]
fn a_flood_has_figures_of_its_own_and_what_was_offered_is_no_merit() {
    let flood = |offered: f64| {
        json!({
            "scenario": {"load": "flood"},
            "rates": {"sent_per_s": offered, "delivered_per_s": 1_000.0},
            "broker": {"usage": {"rss_bytes_peak": 2 << 20}},
            "drain": {"wall_ns": 1_500_000_000_u64},
            "ledger": {"expected": 200, "lost": 1},
        })
    };
    let contenders = [
        ("midge".to_owned(), vec![flood(1.0); 3]),
        ("mosquitto".to_owned(), vec![flood(9.0); 3]),
    ];
    let summary = sum_up(&Rounds::from([("flood-q0".to_owned(), contenders.into())]), &[]);
    let figures: Vec<_> = summary.rows[0]
        .figures
        .iter()
        .map(|figure| {
            (
                figure.figure,
                figure.values["midge"].median,
                figure.verdict("mosquitto"),
            )
        })
        .collect();
    assert_eq!(
        figures,
        [
            ("delivered", 1_000.0, "no difference"),
            ("offered", 1.0, ""),
            ("RSS at most", 2.0, "no difference"),
            ("last delivery after the end", 1_500.0, "no difference"),
            ("lost, or not come while it was waited for", 0.5, "no difference"),
        ]
    );
}

#[test]
fn what_was_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join("raw/b/midge");
    fs::create_dir_all(&raw).unwrap();
    for round in ["1", "2"] {
        fs::write(
            raw.join(format!("{round}.json")),
            outcome(7.0, 1, true).to_string(),
        )
        .unwrap();
    }
    fs::write(raw.join("1.hgrm"), "not json").unwrap();
    assert_eq!(read(folder.path()).unwrap()["b"]["midge"].len(), 2);
    fs::write(raw.join("3.json"), "not json").unwrap();
    assert!(read(folder.path()).unwrap_err().to_string().contains("3.json"));
}

#[test]
fn nobody_is_worse_by_what_was_the_generators_limit() {
    let run = |made_per_s: f64, cpu_ns: u64| {
        json!({
            "kind": "connections",
            "rates": {"made_per_s": made_per_s},
            "generator": [{"cpu_ns": cpu_ns, "wall_ns": 1_000}],
        })
    };
    let verdict = |ours: f64, cpu_ns: u64| {
        let contenders = [
            (
                "midge".to_owned(),
                vec![run(ours, cpu_ns), run(ours + 1.0, cpu_ns), run(ours, cpu_ns)],
            ),
            (
                "mosquitto".to_owned(),
                vec![run(500.0, 900), run(501.0, 900), run(500.0, 900)],
            ),
        ];
        let summary = sum_up(&Rounds::from([("storm".to_owned(), contenders.into())]), &[]);
        let figure = &summary.rows[0].figures[0];
        assert_eq!(figure.figure, "connections made");
        figure.verdict("mosquitto")
    };
    assert_eq!(verdict(400.0, 900), "worse");
    assert_eq!(verdict(400.0, 990), "generator-limited");
    assert_eq!(verdict(600.0, 990), "better", "at least");
}
