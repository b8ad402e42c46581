//! Shared Subscriptions: one member of each group in the whole broker receives a message, and nothing is lost when
//! members join and leave.

use std::collections::BTreeSet;

use mqtt::frame::PacketType;

use super::*;
use broker::limits;
use broker::logic::DropReason;
use broker::settings::{Settings, SharedSubscriptionStrategy};
use broker::turn::WorkLimits;

/// This many members of `$share/g/t`, on all shards.
fn members(cluster: &mut Cluster, count: usize, qos: QoS) -> Vec<Client> {
    (0..count)
        .map(|number| {
            let member = cluster.join(V5, &format!("member-{number}"));
            cluster.subscribe(member, "$share/g/t", qos);
            member
        })
        .collect()
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

fn publish_numbers(cluster: &mut Cluster, publisher: Client, qos: QoS, range: std::ops::Range<usize>) {
    for number in range {
        cluster.publish(publisher, "t", qos, &number.to_string());
        match qos {
            QoS::AtMostOnce => {}
            _ => drop(cluster.expect(publisher)),
        }
        if qos == QoS::ExactlyOnce {
            cluster.acknowledge(publisher, PacketType::PubRel, 9);
            cluster.expect(publisher);
        }
    }
}

#[test]
fn each_message_goes_to_one_member_in_turn_wherever_they_are() {
    // [MQTT-4.8.2-1], [MQTT-4.8.2-2]
    for shards in [1, 2, 4] {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let mut cluster = Cluster::new(shards);
            let publisher = cluster.join(V3, "p");
            let members = members(&mut cluster, 5, qos);
            publish_numbers(&mut cluster, publisher, qos, 0..50);
            let mut all = Vec::new();
            for &member in &members {
                let got = cluster.payloads(member);
                assert_eq!(got.len(), 10, "{shards} shards, {qos:?}: {got:?}");
                assert!(got.is_sorted_by_key(|number| number.parse::<u32>().unwrap()));
                all.extend(got);
            }
            all.sort_by_key(|number| number.parse::<u32>().unwrap());
            assert_eq!(all, numbers(0..50));
        }
    }
}

#[test]
fn groups_and_ordinary_subscriptions_each_get_their_copy() {
    for shards in [1, 3] {
        let mut cluster = Cluster::new(shards);
        let publisher = cluster.join(V5, "p");
        let both = cluster.join(V5, "both");
        let other = cluster.join(V5, "other");
        cluster.subscribe_with(both, "$share/g/a/+", options(QoS::AtMostOnce), Some(1));
        cluster.subscribe_with(both, "$share/h/a/#", options(QoS::AtMostOnce), Some(2));
        cluster.subscribe_with(both, "a/b", options(QoS::AtMostOnce), Some(3));
        cluster.subscribe(other, "$share/h/other", QoS::AtMostOnce);
        cluster.publish(publisher, "a/b", QoS::AtMostOnce, "x");
        let mut identifiers: Vec<_> = std::iter::from_fn(|| cluster.got(both))
            .filter_map(|got| got.properties.as_properties().subscription_identifier())
            .collect();
        identifiers.sort_unstable();
        assert_eq!(identifiers, [1, 2, 3]);
        cluster.expect_nothing(other);
    }
}

#[test]
fn a_member_gets_the_qos_that_was_granted_to_it() {
    // [MQTT-4.8.2-3]
    let mut cluster = Cluster::new(2);
    let publisher = cluster.join(V5, "p");
    let members: Vec<_> = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]
        .into_iter()
        .map(|qos| {
            let member = cluster.join(V5, &format!("{qos:?}"));
            cluster.subscribe(member, "$share/g/t", qos);
            (member, qos)
        })
        .collect();
    publish_numbers(&mut cluster, publisher, QoS::ExactlyOnce, 0..9);
    for &(member, qos) in &members {
        let got: Vec<_> = std::iter::from_fn(|| cluster.got(member))
            .map(|got| got.qos)
            .collect();
        assert_eq!(got, [qos; 3]);
    }
}

#[test]
fn older_clients_share_too_and_no_name_is_refused() {
    // [MQTT-4.8.2-1], [MQTT-4.8.2-2]
    for (version, refused) in [(V3, 0x80), (V5, 0x8F)] {
        let mut cluster = Cluster::new(1);
        let member = cluster.join(version, "m");
        for filter in ["$share//a", "$share/+/a", "$share/g", "$share/g/", "$share"] {
            let mut bytes = Vec::new();
            let filters = [(filter, options(QoS::AtMostOnce))];
            mqtt::encode::subscribe(id(3), Properties::EMPTY, &filters, version, &mut bytes).unwrap();
            cluster.send(member, &bytes);
            match cluster.expect(member).packet() {
                Some(Packet::SubAck(suback)) => assert_eq!(suback.reason_codes, [refused], "{filter}"),
                other => panic!("{other:?}"),
            }
        }
        cluster.subscribe(member, "$share/g//", QoS::AtMostOnce);
        cluster.publish(member, "/", QoS::AtMostOnce, "x");
        assert_eq!(cluster.payloads(member), ["x"]);
    }
}

#[test]
fn no_retained_messages_but_the_flag_as_published() {
    for shards in [1, 3] {
        let mut cluster = Cluster::new(shards);
        let publisher = cluster.join(V5, "p");
        cluster.publish_with(publisher, &retained("t", QoS::AtMostOnce, "old"));
        let member = cluster.join(V5, "m");
        let as_published = SubscriptionOptions {
            retain_as_published: true,
            ..options(QoS::AtMostOnce)
        };
        cluster.subscribe_with(member, "$share/g/t", as_published, None);
        cluster.expect_nothing(member);
        cluster.publish_with(publisher, &retained("t", QoS::AtMostOnce, "new"));
        let got = cluster.got(member).unwrap();
        assert_eq!((got.payload.as_str(), got.retain), ("new", true));
        cluster.expect_nothing(member);
    }
}

#[test]
fn no_local_on_a_shared_subscription_is_a_protocol_error() {
    // [MQTT-3.8.3-4]
    let mut cluster = Cluster::new(1);
    let client = cluster.join(V5, "c");
    let no_local = SubscriptionOptions {
        no_local: true,
        ..options(QoS::AtMostOnce)
    };
    let mut bytes = Vec::new();
    let filters = [("a", options(QoS::AtMostOnce)), ("$share/g/t", no_local)];
    mqtt::encode::subscribe(id(3), Properties::EMPTY, &filters, V5, &mut bytes).unwrap();
    cluster.send(client, &bytes);
    cluster.expect_disconnect(client, ReasonCode::ProtocolError);
    assert_eq!(cluster.count(|counters| counters.subscriptions.get()), 0);
}

#[test]
fn unsubscribe_goes_by_the_whole_text() {
    let mut cluster = Cluster::new(2);
    let publisher = cluster.join(V5, "p");
    let client = cluster.join(V5, "c");
    cluster.subscribe(client, "$share/g/t", QoS::AtMostOnce);
    for filter in ["t", "$share/h/t", "$share/g/u", "$share/g/+", "$share/g"] {
        assert_eq!(cluster.unsubscribe(client, filter), [0x11], "{filter}");
    }
    cluster.subscribe(client, "t", QoS::AtMostOnce);
    cluster.publish(publisher, "t", QoS::AtMostOnce, "x");
    assert_eq!(cluster.payloads(client), ["x", "x"]);
    assert_eq!(cluster.unsubscribe(client, "$share/g/t"), [0]);
    assert_eq!(cluster.unsubscribe(client, "$share/g/t"), [0x11]);
    cluster.publish(publisher, "t", QoS::AtMostOnce, "y");
    assert_eq!(cluster.payloads(client), ["y"]);
    assert_eq!(cluster.unsubscribe(client, "t"), [0]);
    cluster.publish(publisher, "t", QoS::AtMostOnce, "z");
    cluster.expect_nothing(client);
    let counts = cluster.count(|c| c.subscriptions.get() + c.shared_subscriptions.get());
    assert_eq!(counts, 0);
}

#[test]
fn subscribing_again_changes_the_options() {
    // [MQTT-3.8.4-3]
    let mut cluster = Cluster::new(1);
    let client = cluster.join(V5, "c");
    cluster.subscribe_with(client, "$share/g/t", options(QoS::ExactlyOnce), Some(1));
    cluster.subscribe_with(client, "$share/g/t", options(QoS::AtMostOnce), Some(2));
    cluster.publish(client, "t", QoS::AtMostOnce, "x");
    let got = cluster.got(client).unwrap();
    assert_eq!(got.properties.as_properties().subscription_identifier(), Some(2));
    cluster.expect_nothing(client);
    assert_eq!(cluster.count(|counters| counters.shared_subscriptions.get()), 1);
}

#[test]
fn what_a_member_did_not_acknowledge_goes_to_another_when_its_session_ends() {
    // [MQTT-4.8.2-4], [MQTT-4.8.2-5]
    for shards in [1, 2, 4] {
        for (qos, goes_on) in [(QoS::AtLeastOnce, true), (QoS::ExactlyOnce, false)] {
            let mut cluster = Cluster::new(shards);
            let publisher = cluster.join(V5, "p");
            let members = members(&mut cluster, 2, qos);
            publish_numbers(&mut cluster, publisher, qos, 0..10);
            let (left, stays) = (members[0], members[1]);
            let inflight = cluster.payloads(left);
            let mut got = cluster.payloads(stays);
            assert_eq!((inflight.len(), got.len()), (5, 5));
            cluster.cut(left);
            let handed: Vec<_> = std::iter::from_fn(|| cluster.got(stays)).collect();
            assert!(handed.iter().all(|got| !got.dup));
            got.extend(handed.into_iter().map(|got| got.payload));
            if goes_on {
                assert_eq!(got.split_off(5), inflight, "in their order");
            }
            assert_eq!(got.len(), 5);
            // What another member receives is not a drop, nor is what was sent and would not have been sent again.
            let dropped = cluster.count(|counters| counters.dropped.get(DropReason::SessionEnded));
            assert_eq!(dropped, 0);
        }
    }
}

#[test]
fn acknowledged_or_refused_goes_to_nobody_else() {
    // [MQTT-4.8.2-6]
    let mut cluster = Cluster::new(1);
    let publisher = cluster.join(V5, "p");
    let members = members(&mut cluster, 2, QoS::AtLeastOnce);
    publish_numbers(&mut cluster, publisher, QoS::AtLeastOnce, 0..4);
    for &member in &members {
        assert_eq!(cluster.payloads(member).len(), 2);
    }
    let mut refusal = Vec::new();
    let reason = ReasonCode::UnspecifiedError;
    mqtt::encode::ack(PacketType::PubAck, id(1), reason, V5, &mut refusal);
    cluster.send(members[0], &refusal);
    cluster.acknowledge(members[0], PacketType::PubAck, 2);
    cluster.expect_nothing(members[1]);
    cluster.cut(members[0]);
    cluster.expect_nothing(members[1]);
}

#[test]
fn a_message_in_its_handshake_is_finished_with_that_member() {
    // [MQTT-4.8.2-4]
    let mut cluster = Cluster::new(2);
    let publisher = cluster.join(V5, "p");
    let kept = Connect {
        clean_start: false,
        ..connect(V3, "kept")
    };
    let member = cluster.join_with(&kept);
    cluster.subscribe(member, "$share/g/t", QoS::ExactlyOnce);
    publish_numbers(&mut cluster, publisher, QoS::ExactlyOnce, 0..1);
    assert_eq!(cluster.payloads(member), ["0"]);
    cluster.cut(member);
    let other = cluster.join(V5, "other");
    cluster.subscribe(other, "$share/g/t", QoS::ExactlyOnce);
    cluster.expect_nothing(other);
    let member = cluster.join_with(&kept);
    let got = cluster.got(member).unwrap();
    assert_eq!((got.payload.as_str(), got.dup), ("0", true));
    cluster.expect_nothing(other);
}

#[test]
fn connected_members_come_first_and_then_those_that_are_away() {
    for shards in [1, 3] {
        let mut cluster = Cluster::new(shards);
        let publisher = cluster.join(V5, "p");
        let kept = |name| Connect {
            clean_start: false,
            ..connect(V3, name)
        };
        let away = cluster.join_with(&kept("away"));
        cluster.subscribe(away, "$share/g/t", QoS::AtLeastOnce);
        let member = cluster.join(V5, "member");
        cluster.subscribe(member, "$share/g/t", QoS::AtLeastOnce);
        cluster.cut(away);
        publish_numbers(&mut cluster, publisher, QoS::AtLeastOnce, 0..5);
        assert_eq!(cluster.payloads(member), numbers(0..5));
        // Its session ends with it: its messages go to the disconnected member.
        cluster.cut(member);
        publish_numbers(&mut cluster, publisher, QoS::AtLeastOnce, 5..8);
        publish_numbers(&mut cluster, publisher, QoS::AtMostOnce, 8..9);
        let away = cluster.join_with(&kept("away"));
        assert_eq!(cluster.payloads(away), numbers(0..8));
    }
}

#[test]
fn what_waits_for_a_member_goes_to_others_when_its_session_ends() {
    for shards in [1, 2, 4] {
        let mut cluster = Cluster::new(shards);
        let publisher = cluster.join(V5, "p");
        let kept = Connect {
            clean_start: false,
            ..connect(V3, "away")
        };
        let away = cluster.join_with(&kept);
        cluster.subscribe(away, "$share/g/t", QoS::ExactlyOnce);
        cluster.cut(away);
        publish_numbers(&mut cluster, publisher, QoS::ExactlyOnce, 0..30);
        let members = members(&mut cluster, 3, QoS::ExactlyOnce);
        cluster.expect_nothing(members[0]);
        // A clean start ends the session.
        cluster.join(V3, "away");
        let mut got: Vec<_> = members
            .iter()
            .flat_map(|&member| cluster.payloads(member))
            .collect();
        got.sort_by_key(|number| number.parse::<u32>().unwrap());
        assert_eq!(got, numbers(0..30), "{shards} shards");
    }
}

#[test]
fn a_full_window_is_passed_over() {
    for shards in [1, 2, 4] {
        let mut cluster = Cluster::new(shards);
        let publisher = cluster.join(V5, "p");
        let members = members(&mut cluster, 3, QoS::AtLeastOnce);
        let mut total = 0;
        // The first one acknowledges nothing: when its window of 20 is full, the others receive everything.
        for round in 0..60 {
            publish_numbers(
                &mut cluster,
                publisher,
                QoS::AtLeastOnce,
                round * 3..round * 3 + 3,
            );
            for &member in &members[1..] {
                for got in std::iter::from_fn(|| cluster.got(member)).collect::<Vec<_>>() {
                    cluster.acknowledge(member, PacketType::PubAck, got.identifier.unwrap().get());
                    total += 1;
                }
            }
        }
        assert_eq!(cluster.payloads(members[0]).len(), 20, "{shards} shards");
        assert_eq!(total, 160);
        // It receives again when half of its window is free.
        for identifier in 1..=10 {
            cluster.acknowledge(members[0], PacketType::PubAck, identifier);
        }
        publish_numbers(&mut cluster, publisher, QoS::AtLeastOnce, 0..3);
        assert_eq!(cluster.payloads(members[0]).len(), 1, "{shards} shards");
    }
}

#[test]
fn a_sticky_group_keeps_to_one_member_until_it_goes() {
    for shards in [1, 2, 4] {
        let settings = Settings {
            sys_interval_s: 0,
            shared_subscription_strategy: SharedSubscriptionStrategy::Sticky,
            ..Settings::default()
        };
        let mut cluster = Cluster::with_settings(shards, settings);
        let publishers = [
            cluster.join(V5, "p"),
            cluster.join(V5, "q"),
            cluster.join(V5, "r"),
        ];
        let mut members = Vec::new();
        for number in 0..4 {
            cluster.advance_ms(10);
            let member = cluster.join(V5, &format!("member-{number}"));
            cluster.subscribe(member, "$share/g/t", QoS::AtLeastOnce);
            members.push(member);
        }
        for gone in 0..4 {
            for publisher in publishers {
                publish_numbers(&mut cluster, publisher, QoS::AtMostOnce, 0..5);
            }
            for (number, &member) in members.iter().enumerate() {
                let got = cluster.payloads(member).len();
                assert_eq!(
                    got,
                    if number == gone { 15 } else { 0 },
                    "{shards} shards, {gone} gone"
                );
            }
            cluster.cut(members[gone]);
        }
    }
}

#[test]
fn a_message_that_finds_no_member_is_passed_on() {
    // The publisher's shard chooses a member that has left meanwhile.
    let mut cluster = Cluster::new(4);
    let publisher = cluster.join(V5, "p");
    let members = members(&mut cluster, 8, QoS::AtLeastOnce);
    let shards: BTreeSet<_> = members.iter().map(|&member| cluster.shard_of(member)).collect();
    assert!(shards.len() > 2, "members on {shards:?}");
    cluster.delay_batches(true);
    for number in 0..80 {
        cluster.publish(publisher, "t", QoS::AtLeastOnce, &number.to_string());
        cluster.expect(publisher);
    }
    for &gone in &members[1..] {
        cluster.cut(gone);
    }
    cluster.delay_batches(false);
    let mut got = BTreeSet::new();
    loop {
        let more: Vec<_> = std::iter::from_fn(|| cluster.got(members[0])).collect();
        if more.is_empty() {
            break;
        }
        for message in more {
            cluster.acknowledge(members[0], PacketType::PubAck, message.identifier.unwrap().get());
            assert!(
                got.insert(message.payload.clone()),
                "{} came twice",
                message.payload
            );
        }
    }
    assert_eq!(got.len(), 80);
}

#[test]
fn whoever_comes_at_once_after_the_last_member_gets_what_that_one_left() {
    for shards in [1, 3] {
        let mut cluster = Cluster::new(shards);
        let publisher = cluster.join(V5, "p");
        let first = members(&mut cluster, 1, QoS::AtLeastOnce)[0];
        publish_numbers(&mut cluster, publisher, QoS::AtLeastOnce, 0..3);
        cluster.cut(first);
        let second = cluster.join(V5, "second");
        cluster.subscribe(second, "$share/g/t", QoS::AtLeastOnce);
        cluster.advance_ms(200);
        assert_eq!(cluster.payloads(second), numbers(0..3));
        // Nobody joins: nothing remains.
        publish_numbers(&mut cluster, publisher, QoS::AtLeastOnce, 3..5);
        cluster.cut(second);
        cluster.cut(publisher);
        cluster.advance_ms(200);
        for shard in 0..usize::from(shards) {
            assert!(cluster.shard(shard).unwrap().resource_counts().is_bare());
        }
    }
}

/// Even if the walk over those that waited takes many turns.
#[test]
fn what_waited_for_a_member_comes_before_newer_messages() {
    for walk in [limits::WORK.walk, 40] {
        let settings = Settings {
            work: WorkLimits { walk, ..limits::WORK },
            ..Settings::default()
        };
        let mut cluster = Cluster::with_settings(1, settings);
        cluster.bound_work();
        let publisher = cluster.join(V5, "p");
        let first = members(&mut cluster, 1, QoS::AtLeastOnce)[0];
        publish_numbers(&mut cluster, publisher, QoS::AtLeastOnce, 0..8);
        cluster.cut(first);
        let second = cluster.join(V5, "second");
        cluster.subscribe(second, "$share/g/t", QoS::AtLeastOnce);
        publish_numbers(&mut cluster, publisher, QoS::AtLeastOnce, 8..16);
        cluster.advance_ms(500);
        assert_eq!(cluster.payloads(second), numbers(0..16), "{walk} units of work");
    }
}

#[test]
fn a_member_for_whom_it_is_too_large_is_passed_over() {
    let mut cluster = Cluster::new(1);
    let publisher = cluster.join(V5, "p");
    let mut properties = PropertiesBuf::new();
    let bytes_max = std::num::NonZeroU32::new(30).unwrap();
    properties.push(Property::MaximumPacketSize(bytes_max)).unwrap();
    let small = cluster.join_with(&Connect {
        properties: properties.as_properties(),
        ..connect(V5, "small")
    });
    cluster.subscribe(small, "$share/g/t", QoS::AtLeastOnce);
    let large = cluster.join(V5, "large");
    cluster.subscribe(large, "$share/g/t", QoS::AtLeastOnce);
    for _ in 0..4 {
        cluster.publish(publisher, "t", QoS::AtLeastOnce, &"x".repeat(40));
    }
    cluster.expect_nothing(small);
    assert_eq!(cluster.payloads(large).len(), 4);
    assert_eq!(cluster.count(|counters| counters.publishes_dropped.get()), 0);
}

/// Their publishers are paused for them: what was on its way by then is queued beyond the limit.
#[test]
fn members_with_full_queues_get_what_was_on_its_way() {
    let settings = Settings {
        sys_interval_s: 0,
        queued_messages_max: 5,
        inflight_messages_max: 2,
        ..Settings::default()
    };
    let mut cluster = Cluster::with_settings(2, settings);
    let publisher = cluster.join(V5, "p");
    let members = members(&mut cluster, 2, QoS::AtLeastOnce);
    publish_numbers(&mut cluster, publisher, QoS::AtLeastOnce, 0..20);
    for member in members {
        assert_eq!(cluster.payloads(member).len(), 2);
    }
    assert_eq!(cluster.count(|counters| counters.queued_messages.get()), 16);
    assert_eq!(cluster.count(|counters| counters.publishes_dropped.get()), 0);
}
