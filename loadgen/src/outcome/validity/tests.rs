//! Tables of runs and their verdicts.

use super::*;
use crate::measure::latency::Summary;
use crate::outcome::testing;

fn good() -> Evidence {
    let ledger = Totals {
        expected: 1_000,
        received: 1_000,
        ..Totals::default()
    };
    let steadiness = Steadiness::of(&[200, 200, 200, 200, 200], &[3, 2, 4, 3, 2]);
    Evidence {
        has_schedule: true,
        qos: Some(QoS::AtMostOnce),
        ledger,
        sent: 1_000,
        own: OwnEvidence {
            threads: vec![thread(30)],
            latency: Some(testing::latency(1_000_000, 2_000_000)),
            lag: lag(50_000, 100_000),
            ..OwnEvidence::default()
        },
        steadiness,
        ..Evidence::default()
    }
}

fn lag(p50_ns: u64, p99_ns: u64) -> Option<Summary> {
    Some(testing::latency(p50_ns, p99_ns))
}

/// A thread that used this share of its core and never waited for it.
fn thread(cpu_percent: u64) -> ThreadUse {
    ThreadUse {
        cpu_ns: 10_000_000 * cpu_percent,
        wall_ns: 1_000_000_000,
        run_delay_ns: Some(0),
        turns: 1_000,
    }
}

fn verdict(change: impl FnOnce(&mut Evidence)) -> (u8, LimitedBy, String) {
    let mut evidence = good();
    change(&mut evidence);
    let verdict = assess(&evidence);
    let invalid = [LimitedBy::Generator, LimitedBy::Unknown].contains(&verdict.limited_by);
    assert_eq!(verdict.valid, !invalid);
    let text = verdict
        .findings
        .iter()
        .map(|finding| finding.text.as_str())
        .collect::<Vec<_>>()
        .join("\n");
    (verdict.exit_code, verdict.limited_by, text)
}

#[test]
fn a_good_run_has_nothing_to_say() {
    assert_eq!(verdict(|_| {}), (0, LimitedBy::Nothing, String::new()));
}

#[test]
fn lag_without_a_full_socket_is_the_generators() {
    let (code, limited_by, text) = verdict(|evidence| evidence.own.lag = lag(50_000, 1_000_001));
    assert_eq!((code, limited_by), (4, LimitedBy::Generator));
    assert!(text.contains("invalid"), "{text}");
    let (code, limited_by, _) = verdict(|evidence| evidence.own.lag = lag(500_001, 600_000));
    assert_eq!((code, limited_by), (4, LimitedBy::Generator));
    let (code, limited_by, _) = verdict(|evidence| evidence.unsent = 5);
    assert_eq!((code, limited_by), (4, LimitedBy::Generator));
}

#[test]
fn lag_with_a_full_socket_is_the_brokers() {
    let (code, limited_by, text) = verdict(|evidence| evidence.waited_for_broker = 500);
    assert_eq!((code, limited_by), (0, LimitedBy::Broker));
    assert!(text.contains("50.0 %"), "{text}");
    let (code, limited_by, _) = verdict(|evidence| {
        evidence.waited_for_broker = 500;
        evidence.unsent = 5;
    });
    assert_eq!((code, limited_by), (1, LimitedBy::Broker));
}

#[test]
fn losses_by_qos_and_load() {
    for (qos, waited_for_broker, code) in [
        (QoS::AtMostOnce, 0, 1),
        (QoS::AtMostOnce, 500, 0),
        (QoS::AtLeastOnce, 0, 1),
        (QoS::AtLeastOnce, 500, 1),
        (QoS::ExactlyOnce, 500, 1),
    ] {
        let (exit_code, _, text) = verdict(|evidence| {
            evidence.qos = Some(qos);
            evidence.waited_for_broker = waited_for_broker;
            evidence.ledger.lost = 1;
        });
        assert_eq!(exit_code, code, "{qos:?} {waited_for_broker}");
        assert!(
            text.contains("1 of 1000 deliveries were lost (0.100 %)"),
            "{text}"
        );
    }
}

#[test]
fn a_flood_may_lose_at_qos_0_unless_it_must_not() {
    for (qos, no_loss, code) in [
        (QoS::AtMostOnce, false, 0),
        (QoS::AtMostOnce, true, 1),
        (QoS::AtLeastOnce, false, 1),
    ] {
        let (exit_code, _, text) = verdict(|evidence| {
            evidence.has_schedule = false;
            evidence.flood = true;
            evidence.drain_cut_off = Some(Duration::from_secs(7));
            evidence.still_coming = true;
            evidence.no_loss = no_loss;
            evidence.qos = Some(qos);
            evidence.ledger.lost = 1;
            evidence.steadiness = Steadiness::of(&[200, 100, 50, 25, 12], &[0, 1_000]);
        });
        assert_eq!(exit_code, code, "{qos:?} {no_loss}");
        assert!(text.contains("lost") && !text.contains("steady"), "{text}");
        assert!(text.contains("7 s after the load"), "{text}");
    }
    let (code, ..) = verdict(|evidence| {
        evidence.waited_for_broker = 500;
        evidence.no_loss = true;
        evidence.ledger.lost = 1;
    });
    assert_eq!(code, 1, "a saturated broker must not either");
}

#[test]
fn what_is_not_as_it_was_sent_is_a_fault_and_counts_once() {
    let (code, _, text) = verdict(|evidence| {
        evidence.differences.payload = 3;
        evidence.ledger.lost = 3;
        evidence.overtaken = 3;
    });
    assert_eq!(code, 1);
    assert_eq!(text, "3 deliveries came with another payload than was sent");
}

/// A path that cuts connections, which are opened again.
#[test]
fn connections_that_break_are_neither_the_generators_nor_a_loss() {
    let (code, limited_by, text) = verdict(|evidence| {
        (evidence.broken, evidence.reconnected, evidence.reconnects) = (4, 4, true);
        evidence.waited_for_connection = 100;
        evidence.ledger.unowed = 60;
    });
    assert_eq!((code, limited_by), (0, LimitedBy::Network));
    assert!(
        text.contains("10.0 % of the messages waited until theirs"),
        "{text}"
    );
    assert!(
        text.contains("60 deliveries did not come and were not owed"),
        "{text}"
    );
    assert!(!text.contains("lost") && !text.contains("generator"), "{text}");
}

/// A path that carries half: the backlog has not arrived when the wait ends, and nothing overtook it.
#[test]
fn a_backlog_that_grows_to_the_end_is_saturation() {
    let behind = |evidence: &mut Evidence| {
        evidence.steadiness = Steadiness::of(&[200; 5], &[0, 25, 50, 75, 100]);
        evidence.drain_cut_off = Some(Duration::from_secs(10));
        evidence.still_coming = true;
        evidence.ledger.lost = 10;
    };
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        let (code, limited_by, text) = verdict(|evidence| {
            behind(evidence);
            evidence.qos = Some(qos);
        });
        assert_eq!((code, limited_by), (5, LimitedBy::Broker), "{text}");
        assert!(text.contains("did not carry the offered rate"), "{text}");
        assert!(
            text.contains("10 of 1000 deliveries had not come 10 s after"),
            "{text}"
        );
    }
    let (code, _, text) = verdict(|evidence| {
        behind(evidence);
        evidence.overtaken = 10;
    });
    assert_eq!(
        code, 1,
        "what was overtaken is lost, also where the path is slow: {text}"
    );
    let (code, ..) = verdict(|evidence| {
        behind(evidence);
        evidence.ledger.lost = 0;
        evidence.drain_cut_off = None;
        evidence.still_coming = false;
        evidence.drain_ns = 5_000_000_000;
    });
    assert_eq!(code, 5, "all came, long after the end");
    let (code, ..) = verdict(|evidence| {
        behind(evidence);
        evidence.ledger.lost = 0;
        evidence.drain_cut_off = None;
        evidence.still_coming = false;
        evidence.drain_ns = 20_000_000;
    });
    assert_eq!(code, 0, "a moment's delay is no saturation");
}

/// A proxy that drops one message in many: they would look like a backlog for ever.
#[test]
fn what_is_lost_without_a_full_socket_is_a_fault() {
    for (waited_for_broker, allow_loss, code) in [(0, false, 1), (0, true, 0), (500, false, 0)] {
        let (exit_code, _, text) = verdict(|evidence| {
            evidence.ledger.lost = 20;
            evidence.overtaken = 20;
            evidence.waited_for_broker = waited_for_broker;
            evidence.allow_loss = allow_loss;
        });
        assert_eq!(exit_code, code, "{text}");
        assert!(text.contains("20 of 1000 deliveries were lost"), "{text}");
    }
}

#[test]
fn duplicates_are_a_fault_except_at_qos_1() {
    for (qos, code) in [(QoS::AtMostOnce, 1), (QoS::AtLeastOnce, 0), (QoS::ExactlyOnce, 1)] {
        let (exit_code, ..) = verdict(|evidence| {
            evidence.qos = Some(qos);
            evidence.ledger.duplicate = 1;
        });
        assert_eq!(exit_code, code, "{qos:?}");
    }
}

#[test]
fn order_connections_and_refusals_are_faults() {
    assert_eq!(verdict(|evidence| evidence.ledger.reordered = 1).0, 1);
    assert_eq!(verdict(|evidence| evidence.broken = 1).0, 1);
    assert_eq!(verdict(|evidence| evidence.refused = 1).0, 1);
    assert_eq!(verdict(|evidence| evidence.ledger.foreign = 1).0, 0);
}

#[test]
fn a_lost_message_weighs_more_than_a_slow_generator_and_that_more_than_the_objective() {
    let slow = |evidence: &mut Evidence| evidence.own.lag = lag(50_000, 1_500_000);
    let missed = |evidence: &mut Evidence| evidence.slo_p99 = Some(Duration::from_millis(1));
    assert_eq!(verdict(missed).0, 1);
    assert_eq!(
        verdict(|evidence| {
            slow(evidence);
            missed(evidence)
        })
        .0,
        4
    );
    let (code, ..) = verdict(|evidence| {
        slow(evidence);
        evidence.qos = Some(QoS::AtLeastOnce);
        evidence.ledger.lost = 1;
    });
    assert_eq!(code, 1);
}

#[test]
fn each_objective_can_be_missed_and_what_was_not_measured_is() {
    let reach = |evidence: &mut Evidence| {
        evidence.reached = Reached {
            delivered_per_s: 200.0,
            broker_cpu_ns: Some(5_000.0),
            broker_rss_bytes: Some(10 << 20),
        };
    };
    let ms = Duration::from_millis;
    type Change = fn(&mut Objectives, f64);
    let table: [(Change, f64, f64, &str); 4] = [
        (
            |of, limit| of.loss_percent_max = Some(limit),
            1.0,
            -1.0,
            "share of lost",
        ),
        (
            |of, limit| of.broker_cpu_us_max = Some(limit),
            5.0,
            4.9,
            "CPU time",
        ),
        (
            |of, limit| of.broker_rss_mib_max = Some(limit),
            10.0,
            9.0,
            "memory",
        ),
        (
            |of, limit| of.rate_per_s_min = Some(limit),
            200.0,
            201.0,
            "deliveries per second",
        ),
    ];
    for (change, reached, missed, part) in table {
        let (code, _, text) = verdict(|evidence| {
            reach(evidence);
            change(&mut evidence.objectives, reached);
        });
        assert_eq!((code, text.as_str()), (0, ""), "{part}");
        let (code, _, text) = verdict(|evidence| {
            reach(evidence);
            change(&mut evidence.objectives, missed);
        });
        assert!(code == 1 && text.contains(part), "{text}");
    }
    let (code, _, text) = verdict(|evidence| evidence.objectives.broker_rss_mib_max = Some(1.0));
    assert!(code == 1 && text.contains("--broker-pid"), "{text}");
    assert_eq!(verdict(|evidence| evidence.objectives.p50 = Some(ms(1))).0, 0);
    let (code, _, text) = verdict(|evidence| {
        (evidence.objectives.p50, evidence.objectives.p99_9) = (Some(ms(1) / 2), Some(ms(1)));
    });
    assert!(
        code == 1 && text.contains("p50 of") && text.contains("p99.9 of"),
        "{text}"
    );
}

#[test]
fn busy_threads_and_steal_are_flagged() {
    let (code, _, text) = verdict(|evidence| {
        evidence.own.threads = vec![thread(10), thread(81)];
        evidence.steal_percent = 2.5;
    });
    assert_eq!(code, 0);
    assert!(
        text.contains("thread 1 used 81 %") && text.contains("2.5 %"),
        "{text}"
    );
}

/// A control group with a tenth of a core at QoS 1: everything waits for acknowledgements that the generator does
/// not read in time.
#[test]
fn a_starved_generator_is_no_bottleneck_of_the_broker_and_loses_nothing() {
    let starved = |evidence: &mut Evidence| {
        evidence.qos = Some(QoS::AtLeastOnce);
        evidence.own.lag = None;
        evidence.waited_for_broker = 1_000;
        evidence.unsent = 500;
        evidence.ledger.lost = 200;
        evidence.own.threads = vec![ThreadUse {
            run_delay_ns: Some(900_000_000),
            ..thread(10)
        }];
    };
    for drain_cut_off in [None, Some(Duration::from_secs(1))] {
        let (code, limited_by, text) = verdict(|evidence| {
            starved(evidence);
            evidence.drain_cut_off = drain_cut_off;
        });
        assert_eq!((code, limited_by), (4, LimitedBy::Generator), "{text}");
        assert!(text.contains("90.0 % of the time"), "{text}");
        assert!(
            !text.contains("lost") && !text.contains("broker was the bottleneck"),
            "{text}"
        );
    }
    for (has_schedule, flood) in [(false, false), (false, true), (true, false)] {
        let (code, ..) = verdict(|evidence| {
            starved(evidence);
            (evidence.has_schedule, evidence.flood) = (has_schedule, flood);
        });
        assert_eq!(code, 4, "in a closed loop and in a flood too");
    }
    let (code, _, text) = verdict(|evidence| {
        starved(evidence);
        evidence.ledger_only = true;
        evidence.unsent = 0;
    });
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("invalid"), "{text}");
    let (code, ..) = verdict(|evidence| {
        starved(evidence);
        evidence.overtaken = 200;
    });
    assert_eq!(code, 1, "what was overtaken is lost, whoever had no CPU");
}

/// Every message waited before it was sent: then there is no lag of the thread, which is not a lag of 0.
#[test]
fn where_every_message_waited_the_threads_have_to_show_that_they_kept_up() {
    for (threads, limited_by, code) in [
        (vec![thread(30)], LimitedBy::Broker, 0),
        (vec![thread(30), thread(81)], LimitedBy::Unknown, 4),
        (
            vec![ThreadUse {
                run_delay_ns: None,
                ..thread(30)
            }],
            LimitedBy::Unknown,
            4,
        ),
        (Vec::new(), LimitedBy::Unknown, 4),
    ] {
        let (exit_code, limited, text) = verdict(|evidence| {
            evidence.own.lag = None;
            evidence.waited_for_broker = 1_000;
            evidence.own.threads = threads;
        });
        assert_eq!((exit_code, limited), (code, limited_by), "{text}");
        assert_eq!(text.contains("nothing shows whether"), code == 4, "{text}");
    }
}

/// Nothing arrives any more, and the time ends before that proves a loss.
#[test]
fn a_deadline_makes_nothing_lost_and_silence_is_a_fault() {
    for (still_coming, allow_loss, code) in [(true, false, 0), (false, false, 1), (false, true, 0)] {
        let (exit_code, _, text) = verdict(|evidence| {
            evidence.ledger.lost = 10;
            evidence.drain_cut_off = Some(Duration::from_secs(1));
            (evidence.still_coming, evidence.allow_loss) = (still_coming, allow_loss);
        });
        assert_eq!(exit_code, code, "{text}");
        assert!(!text.contains("were lost"), "{text}");
        assert!(
            text.contains("10 of 1000 deliveries had not come 1 s after"),
            "{text}"
        );
    }
}

/// Before the measured part there was nothing that could have been sent in it.
#[test]
fn an_interruption_in_the_warm_up_is_no_fault() {
    for (interrupted, code) in [(false, 1), (true, 0)] {
        let (exit_code, _, text) = verdict(|evidence| {
            evidence.sent = 0;
            evidence.interrupted = interrupted;
        });
        assert_eq!(exit_code, code, "{text}");
    }
}

#[test]
fn without_deliveries_lag_has_no_latency_to_be_compared_with() {
    for (p99_ns, code) in [(OWN_LAG_NS_LIMIT, 0), (OWN_LAG_NS_LIMIT + 1, 4)] {
        let (exit_code, ..) = verdict(|evidence| {
            evidence.own.latency = None;
            evidence.own.lag = lag(50_000, p99_ns);
        });
        assert_eq!(exit_code, code);
    }
}
