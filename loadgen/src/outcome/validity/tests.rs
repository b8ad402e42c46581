//! Tables of runs and their verdicts.

use super::*;

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
        own_lag_p99_ns: 100_000,
        thread_cpu_percent: vec![30.0],
        latency_p99_ns: Some(2_000_000),
        steadiness,
        ..Evidence::default()
    }
}

fn verdict(change: impl FnOnce(&mut Evidence)) -> (u8, LimitedBy, String) {
    let mut evidence = good();
    change(&mut evidence);
    let verdict = assess(&evidence);
    assert_eq!(verdict.valid, verdict.limited_by != LimitedBy::Generator);
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
    let (code, limited_by, text) = verdict(|evidence| evidence.own_lag_p99_ns = OWN_LAG_NS_LIMIT + 1);
    assert_eq!((code, limited_by), (4, LimitedBy::Generator));
    assert!(text.contains("invalid"), "{text}");
    let (code, limited_by, _) = verdict(|evidence| evidence.own_lag_p50_ns = OWN_LAG_NS_MEDIAN_LIMIT + 1);
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

/// A path that carries half: what is behind has not come when the wait is over, and nothing overtook it.
#[test]
fn a_backlog_that_grows_to_the_end_is_saturation() {
    let behind = |evidence: &mut Evidence| {
        evidence.steadiness = Steadiness::of(&[200; 5], &[0, 25, 50, 75, 100]);
        evidence.drain_cut_off = Some(Duration::from_secs(10));
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
        evidence.drain_ns = 5_000_000_000;
    });
    assert_eq!(code, 5, "all came, long after the end");
    let (code, ..) = verdict(|evidence| {
        behind(evidence);
        evidence.ledger.lost = 0;
        evidence.drain_cut_off = None;
        evidence.drain_ns = 20_000_000;
    });
    assert_eq!(code, 0, "a moment's delay is no saturation");
}

/// A proxy that drops one in so many: they would look like a backlog for ever.
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
    let slow = |evidence: &mut Evidence| evidence.own_lag_p99_ns = 2 * OWN_LAG_NS_LIMIT;
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
fn busy_threads_and_steal_are_flagged() {
    let (code, _, text) = verdict(|evidence| {
        evidence.thread_cpu_percent = vec![10.0, 81.0];
        evidence.steal_percent = 2.5;
    });
    assert_eq!(code, 0);
    assert!(
        text.contains("thread 1 used 81 %") && text.contains("2.5 %"),
        "{text}"
    );
}
