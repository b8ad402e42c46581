//! Shared Subscriptions over the wire, with members on one shard and on several.

use std::collections::BTreeSet;

use mqtt::packet::{RetainHandling, SubscriptionOptions};
use mqtt::property::Properties;
use mqtt::{PacketIdentifier, ProtocolVersion, QoS, ReasonCode};

use crate::harness::{Broker, Client, Options, Setup, eventually};

const SHARDS: [u16; 3] = [1, 2, 4];

fn broker(shards: u16) -> Broker {
    Setup::default().shards(shards).start()
}

/// So many members of `$share/g/t`, of all versions, whichever shards own them.
fn members(broker: &Broker, count: usize, qos: QoS) -> Vec<Client> {
    let version = |number: usize| match number % 2 {
        0 => ProtocolVersion::V5,
        _ => ProtocolVersion::V3_1_1,
    };
    (0..count)
        .map(|number| {
            let options = Options::new(&format!("member-{number}")).version(version(number));
            let mut member = Client::connect(broker, &options);
            assert_eq!(member.subscribe("$share/g/t", qos), qos as u8);
            member
        })
        .collect()
}

fn publish_numbers(publisher: &mut Client, numbers: std::ops::Range<usize>, qos: QoS) {
    for number in numbers {
        publisher.publish("t", number.to_string().as_bytes(), qos);
    }
    publisher.ping();
}

fn numbers(payloads: &[String]) -> Vec<usize> {
    payloads.iter().map(|payload| payload.parse().unwrap()).collect()
}

/// [MQTT-4.8.2-1], [MQTT-4.8.2-2], [MQTT-4.8.2-3]
#[test]
fn members_take_turns_wherever_they_are() {
    for shards in SHARDS {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let broker = broker(shards);
            let mut members = members(&broker, 6, qos);
            let mut publisher = Client::connect(&broker, &Options::new("p"));
            publish_numbers(&mut publisher, 0..60, qos);
            let mut all = BTreeSet::new();
            for member in &mut members {
                let got = numbers(&member.payloads(10));
                assert!(got.is_sorted(), "{shards} shards, {qos:?}: {got:?}");
                all.extend(got);
                member.expect_nothing();
            }
            assert_eq!(all.len(), 60, "{shards} shards, {qos:?}");
        }
    }
}

/// [MQTT-4.8.2-4], [MQTT-4.8.2-5]
#[test]
fn what_a_member_that_is_cut_did_not_acknowledge_goes_to_the_others() {
    for shards in SHARDS {
        for (qos, handed) in [(QoS::AtLeastOnce, 40), (QoS::ExactlyOnce, 30)] {
            let broker = broker(shards);
            let mut members = members(&broker, 4, qos);
            let mut publisher = Client::connect(&broker, &Options::new("p"));
            publish_numbers(&mut publisher, 0..40, qos);
            let gone = members.remove(0);
            let mut got = Vec::new();
            for member in &mut members {
                got.extend(member.payloads(10));
            }
            gone.cut();
            eventually("the other members get what was left", || {
                for member in &mut members {
                    got.extend(member.arrived());
                }
                got.len() >= handed
            });
            for member in &mut members {
                member.expect_nothing();
            }
            let different: BTreeSet<_> = got.iter().collect();
            assert_eq!(
                (got.len(), different.len()),
                (handed, handed),
                "{shards} shards, {qos:?}"
            );
        }
    }
}

#[test]
fn members_that_come_and_go_lose_and_repeat_nothing() {
    for shards in SHARDS {
        let broker = broker(shards);
        let mut publisher = Client::connect(&broker, &Options::new("p"));
        let mut stays = Client::connect(&broker, &Options::new("stays").v5());
        stays.subscribe("$share/g/t", QoS::AtLeastOnce);
        let mut got = BTreeSet::new();
        for round in 0..20 {
            let mut others = members(&broker, 3, QoS::AtLeastOnce);
            publish_numbers(&mut publisher, round * 20..round * 20 + 20, QoS::AtLeastOnce);
            for payload in others[0].arrived() {
                assert!(got.insert(payload), "it was acknowledged already");
            }
            // What a connection that is cut had on its way is lost, its acknowledgements too.
            others[0].ping();
            // Two of them go with all that they have.
            others.into_iter().for_each(Client::cut);
        }
        eventually("the one that stays gets the rest", || {
            for payload in stays.arrived() {
                assert!(got.insert(payload), "it was acknowledged already");
            }
            got.len() == 400
        });
        stays.expect_nothing();
    }
}

#[test]
fn connected_members_come_before_those_that_are_away() {
    for shards in SHARDS {
        let broker = broker(shards);
        let away = Options::new("away").v5().persistent();
        let mut member = Client::connect(&broker, &away);
        member.subscribe("$share/g/t", QoS::ExactlyOnce);
        member.disconnect();
        let mut publisher = Client::connect(&broker, &Options::new("p"));
        publish_numbers(&mut publisher, 0..3, QoS::ExactlyOnce);
        let mut there = Client::connect(&broker, &Options::new("there"));
        there.subscribe("$share/g/t", QoS::ExactlyOnce);
        publish_numbers(&mut publisher, 3..6, QoS::ExactlyOnce);
        assert_eq!(there.payloads(3), ["3", "4", "5"]);
        let mut member = Client::connect(&broker, &away);
        assert_eq!(member.payloads(3), ["0", "1", "2"]);
        member.expect_nothing();
    }
}

#[test]
fn a_sticky_group_keeps_to_one_member() {
    for shards in SHARDS {
        let setup = Setup::default().global("shared_subscription_strategy sticky");
        let broker = setup.shards(shards).start();
        let mut members = members(&broker, 3, QoS::AtLeastOnce);
        let mut publishers: Vec<_> = (0..4)
            .map(|number| Client::connect(&broker, &Options::new(&format!("p{number}"))))
            .collect();
        for left in (1..=3).rev() {
            for publisher in &mut publishers {
                publish_numbers(publisher, 0..5, QoS::AtLeastOnce);
            }
            let got: Vec<_> = members.iter_mut().map(|member| member.arrived().len()).collect();
            let mut expected = vec![0; left];
            expected[0] = 20;
            assert_eq!(got, expected, "{shards} shards");
            members.remove(0).disconnect();
        }
    }
}

#[test]
fn a_member_whose_receive_maximum_is_used_up_is_passed_over() {
    for shards in SHARDS {
        let broker = broker(shards);
        let options = Options::new("slow").v5().receive_maximum(2);
        let mut slow = Client::connect(&broker, &options);
        slow.subscribe("$share/g/t", QoS::AtLeastOnce);
        let mut quick = Client::connect(&broker, &Options::new("quick-1"));
        quick.subscribe("$share/g/t", QoS::AtLeastOnce);
        let mut publisher = Client::connect(&broker, &Options::new("p"));
        let mut got = 0;
        for number in 0..50 {
            publish_numbers(&mut publisher, number..number + 1, QoS::AtLeastOnce);
            got += quick.arrived().len();
        }
        assert_eq!(got, 48, "{shards} shards");
        for _ in 0..2 {
            slow.message_unacknowledged();
        }
        slow.expect_nothing();
    }
}

/// [MQTT-3.8.3-4]
#[test]
fn no_local_on_a_shared_subscription_ends_the_connection() {
    let broker = broker(2);
    let mut client = Client::connect(&broker, &Options::new("c").v5());
    let options = SubscriptionOptions {
        qos: QoS::AtMostOnce,
        no_local: true,
        retain_as_published: false,
        retain_handling: RetainHandling::SendAtSubscribe,
    };
    let mut bytes = Vec::new();
    let filters = [("$share/g/t", options)];
    let identifier = PacketIdentifier::MIN;
    let version = ProtocolVersion::V5;
    mqtt::encode::subscribe(identifier, Properties::EMPTY, &filters, version, &mut bytes).unwrap();
    client.send(&bytes);
    assert_eq!(client.expect_closed().0, Some(ReasonCode::ProtocolError));
}

#[test]
fn no_retained_messages_and_no_filters_without_a_name() {
    let broker = broker(2);
    for (options, refused) in [(Options::new("old"), 0x80), (Options::new("new").v5(), 0x8F)] {
        let mut client = Client::connect(&broker, &options);
        client.publish_retained("t", b"kept", QoS::AtLeastOnce);
        client.subscribe("$share/g/t", QoS::AtLeastOnce);
        client.expect_nothing();
        for filter in ["$share//t", "$share/+/t", "$share/g", "$share/g/"] {
            assert_eq!(client.subscribe(filter, QoS::AtMostOnce), refused, "{filter}");
        }
        client.unsubscribe("$share/g/t");
        client.publish("t", b"x", QoS::AtLeastOnce);
        client.expect_nothing();
        client.disconnect();
    }
}

#[test]
fn mount_points_are_inside_of_the_group() {
    let setup = Setup::default().shards(2).listener("mount_point inside/");
    let broker = setup.start();
    let mut member = Client::connect(&broker, &Options::new("m"));
    member.subscribe("$share/g/#", QoS::AtMostOnce);
    let mut publisher = Client::connect(&broker, &Options::new("p"));
    publisher.publish("a/b", b"x", QoS::AtLeastOnce);
    assert_eq!(member.message().topic, "a/b");
}

#[test]
fn sys_counts_shared_subscriptions() {
    let broker = Setup::default().shards(2).global("sys_interval 1").start();
    let mut members = members(&broker, 3, QoS::AtMostOnce);
    let mut watcher = Client::connect(&broker, &Options::new("w"));
    watcher.subscribe("$SYS/broker/shared_subscriptions/count", QoS::AtMostOnce);
    while watcher.payloads(1) != ["3"] {}
    members.pop().unwrap().cut();
    while watcher.payloads(1) != ["2"] {}
}
