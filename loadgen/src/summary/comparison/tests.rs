//! Summaries of invented outcomes.

use super::*;
use crate::measure::ledger::Totals;
use crate::measure::thread_use::ThreadUse;
use crate::outcome::testing::{latency, outcome, usage, valid};
use crate::outcome::validity::{Finding, Gravity};
use crate::outcome::{BrokerUse, Outcome};
use crate::summary::figures::{CPU_PER_MESSAGE, RSS_PER_CONNECTION};

/// The outcome of a load with a schedule and these figures.
pub(crate) fn scheduled(cpu_ns: f64, p99_ns: u64, valid: bool) -> Record {
    let mut run = outcome("--rate 10");
    run.broker.usage = Some(BrokerUse {
        cpu_ns_per_delivery: Some(cpu_ns),
        ..usage()
    });
    run.latency = Some(latency(p99_ns / 2, p99_ns));
    run.connect.connections = 10;
    run.ledger.totals.lost = 1;
    run.verdict.valid = valid;
    run.verdict.findings.push(Finding {
        gravity: Gravity::Warning,
        text: "12.5 % of 3 waited".to_owned(),
    });
    Record::Run(run.into())
}

fn rounds() -> Rounds {
    let broker = |cpu_ns: f64, valid| {
        (0..9)
            .map(|round| scheduled(cpu_ns + f64::from(round), 5_000, valid))
            .collect()
    };
    let brokers = [
        ("midge".to_owned(), broker(1_000.0, true)),
        ("mosquitto".to_owned(), broker(9_000.0, false)),
    ];
    Rounds::from([
        ("b".to_owned(), brokers.into()),
        ("a".to_owned(), BTreeMap::new()),
    ])
}

#[test]
fn figures_are_compared_and_latencies_of_invalid_runs_left_out() {
    let summary = sum_up(&rounds(), MIDGE, &["b".to_owned(), "a".to_owned()]);
    assert_eq!(summary.rows.len(), 2);
    let row = &summary.rows[0];
    assert_eq!(row.scenario, "b");
    let cpu = &row.figures[0];
    assert_eq!(
        (cpu.figure.as_str(), cpu.verdict(MIDGE, "mosquitto").as_str()),
        (CPU_PER_MESSAGE, "better")
    );
    assert!((cpu.values["midge"].median - 1.004).abs() < 1e-9);
    let p99 = row
        .figures
        .iter()
        .find(|figure| figure.figure == "latency p99")
        .unwrap();
    assert_eq!(p99.rounds.keys().collect::<Vec<_>>(), ["midge"]);
    assert_eq!(row.wrong["midge"], 9);
    assert_eq!(row.findings["midge"]["12.5 % of 3 waited"], 9);
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
        let mut run: Outcome = outcome("--rate flood");
        run.rates.sent_per_s = offered;
        run.rates.delivered_per_s = 1_000.0;
        run.broker.usage = Some(BrokerUse {
            rss_bytes_peak: Some(2 << 20),
            ..usage()
        });
        run.drain.wall_ns = 1_500_000_000;
        run.ledger.totals = Totals {
            expected: 200,
            received: 199,
            lost: 1,
            ..Totals::default()
        };
        Record::Run(run.into())
    };
    let brokers = [
        ("midge".to_owned(), vec![flood(1.0); 9]),
        ("mosquitto".to_owned(), vec![flood(9.0); 9]),
    ];
    let summary = sum_up(
        &Rounds::from([("flood-q0".to_owned(), brokers.into())]),
        MIDGE,
        &[],
    );
    let figures: Vec<_> = summary.rows[0]
        .figures
        .iter()
        .map(|figure| {
            (
                figure.figure.as_str(),
                figure.values["midge"].median,
                figure.verdict(MIDGE, "mosquitto"),
            )
        })
        .collect();
    assert_eq!(
        figures,
        [
            ("delivered", 1_000.0, "no difference".to_owned()),
            ("offered", 1.0, String::new()),
            ("peak RSS", 2.0, "no difference".to_owned()),
            ("last delivery after the end", 1_500.0, "no difference".to_owned()),
            ("not delivered", 0.5, "no difference".to_owned()),
        ]
    );
}

#[test]
fn a_peer_that_delivered_nothing_makes_nobody_better() {
    let run = |cpu_ns: f64, received: u64| {
        let Record::Run(mut run) = scheduled(cpu_ns, 5_000, true) else {
            panic!("it is a run")
        };
        run.ledger.totals.expected = 100;
        run.ledger.totals.received = received;
        Record::Run(run)
    };
    let verdict = |ours: u64, theirs: u64| {
        let brokers = [
            ("midge".to_owned(), vec![run(1_000.0, ours); 9]),
            (
                "nats".to_owned(),
                [vec![run(9_000.0, theirs)], vec![run(9_000.0, 100); 8]].concat(),
            ),
        ];
        let summary = sum_up(&Rounds::from([("a".to_owned(), brokers.into())]), MIDGE, &[]);
        summary.rows[0].figures[0].verdict(MIDGE, "nats")
    };
    assert_eq!(verdict(100, 100), "better");
    assert_eq!(verdict(100, 0), "peer delivered nothing");
    assert_eq!(verdict(0, 100), "Midge delivered nothing");
}

#[test]
fn scenarios_have_the_order_of_the_summary_that_was_written() {
    let folder = tempfile::tempdir().unwrap();
    assert!(order(folder.path()).unwrap().is_empty());
    let summary = serde_json::to_string(&sum_up(&rounds(), MIDGE, &["b".to_owned()])).unwrap();
    fs::write(folder.path().join("summary.json"), summary).unwrap();
    assert_eq!(order(folder.path()).unwrap(), ["b", "a"]);
}

#[test]
fn nobody_is_worse_by_what_was_the_generators_limit() {
    let run = |made_per_s: f64, cpu_ns: u64| {
        let mut run = crate::connect::outcome::testing::outcome("");
        run.rates.made_per_s = made_per_s;
        run.rates.made = 1_000;
        run.generator = vec![ThreadUse {
            cpu_ns,
            wall_ns: 1_000,
            ..ThreadUse::default()
        }];
        run.verdict = valid();
        Record::Connections(run.into())
    };
    let verdict = |ours: f64, cpu_ns: u64| {
        let brokers = [
            ("midge".to_owned(), vec![run(ours, cpu_ns); 9]),
            ("mosquitto".to_owned(), vec![run(500.0, 900); 9]),
        ];
        let summary = sum_up(
            &Rounds::from([("connections".to_owned(), brokers.into())]),
            MIDGE,
            &[],
        );
        let figure = &summary.rows[0].figures[0];
        assert_eq!(figure.figure, "connections made");
        figure.verdict(MIDGE, "mosquitto")
    };
    assert_eq!(verdict(400.0, 900), "worse");
    assert_eq!(verdict(400.0, 990), "worse (generator at its limit with Midge)");
    assert_eq!(verdict(600.0, 990), "better", "at least");
}

/// A round that failed with one broker is left out for both, and the other rounds stay paired.
#[test]
fn rounds_are_pairs_and_too_few_give_no_verdict() {
    let failed = || {
        Record::Failed(crate::summary::record::RunFailure {
            error: "it does not start".to_owned(),
        })
    };
    let noise = [1.0, 8.0, 2.0, 9.0, 3.0, 7.0, 1.5, 6.0, 4.0, 5.0];
    let runs = |factor: f64| -> Vec<Record> {
        let run = |noise: f64| scheduled(1_000.0 * factor * noise, 5_000, false);
        noise.map(run).into()
    };
    let summary = |rounds: usize, lost: usize| {
        let (mut ours, mut theirs) = (runs(1.0), runs(1.1));
        theirs[lost] = failed();
        ours.truncate(rounds);
        theirs.truncate(rounds);
        let brokers = [("midge".to_owned(), ours), ("mosquitto".to_owned(), theirs)];
        sum_up(&Rounds::from([("a".to_owned(), brokers.into())]), MIDGE, &[])
    };
    let verdict = |rounds, lost| summary(rounds, lost).rows[0].figures[0].verdict(MIDGE, "mosquitto");
    assert_eq!(
        verdict(10, 3),
        "better",
        "a tenth less in each round, whatever the noise"
    );
    assert_eq!(verdict(6, 3), "5 rounds: no verdict (6 needed)");
}

/// Two brokers without ours: the other one is compared with the first that was named.
#[test]
fn any_broker_can_be_the_first() {
    let runs = |cpu_ns: f64| vec![scheduled(cpu_ns, 5_000, false); 9];
    let brokers = [
        ("nats".to_owned(), runs(1_000.0)),
        ("mosquitto".to_owned(), runs(2_000.0)),
    ];
    let summary = sum_up(&Rounds::from([("a".to_owned(), brokers.into())]), "nats", &[]);
    let cpu = &summary.rows[0].figures[0];
    assert_eq!(cpu.verdict("nats", "mosquitto"), "better");
    assert!((cpu.comparisons["mosquitto"].ratio.median - 0.5).abs() < 1e-9);
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(first(folder.path()).unwrap(), MIDGE);
    fs::write(
        folder.path().join("summary.json"),
        serde_json::to_string(&summary).unwrap(),
    )
    .unwrap();
    assert_eq!(first(folder.path()).unwrap(), "nats");
}
