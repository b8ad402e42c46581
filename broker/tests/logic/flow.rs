//! Publishers wait for clients with a backlog, but not for ever.

use std::sync::Arc;

use mqtt::frame::PacketType;

use super::*;
use broker::limits;
use broker::limits::Watermarks;
use broker::logic::{Shard, Timestamp, shard_counters};
use broker::settings::Settings;

const PAYLOAD_BYTES: usize = 60_000;

/// A publisher that is not paused by then is not paused.
const FILL_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Publishes until the publisher is paused, or the time limit is reached.
fn fill(cluster: &mut Cluster, publisher: Client) -> usize {
    fill_topic(cluster, publisher, "t")
}

fn fill_topic(cluster: &mut Cluster, publisher: Client, topic: &str) -> usize {
    let payload = "x".repeat(PAYLOAD_BYTES);
    let mut sent = 0;
    while !cluster.paused(publisher) && sent * PAYLOAD_BYTES < FILL_BYTES_MAX {
        cluster.publish(publisher, topic, QoS::AtMostOnce, &payload);
        sent += 1;
    }
    sent
}

fn grace_ms() -> u64 {
    (limits::GRACE_NS + 2 * limits::TIMER_STEP_NS) / 1_000_000
}

fn dropped(cluster: &Cluster) -> u64 {
    cluster.count(|counters| counters.publishes_dropped.get())
}

#[test]
fn publishers_wait_for_a_client_that_is_backlogged_and_nothing_is_lost() {
    for shards in [1, 2] {
        let mut cluster = Cluster::new(shards);
        let (first, second) = if shards == 1 {
            ("p", "s".to_owned())
        } else {
            apart(2)
        };
        let publisher = cluster.join(V3, first);
        let bystander = cluster.join(V3, "bystander");
        let subscriber = cluster.join(V3, &second);
        cluster.subscribe(subscriber, "t", QoS::AtMostOnce);
        cluster.set_reading(subscriber, false);
        let mut sent = 0;
        for _ in 0..3 {
            sent += fill(&mut cluster, publisher);
            assert!(cluster.paused(publisher), "{shards} shards");
            cluster.publish(bystander, "other", QoS::AtMostOnce, "x");
            assert!(!cluster.paused(bystander));
            cluster.set_reading(subscriber, true);
            cluster.run_until_idle();
            assert!(!cluster.paused(publisher), "{shards} shards");
            cluster.set_reading(subscriber, false);
        }
        cluster.set_reading(subscriber, true);
        assert_eq!(cluster.payloads(subscriber).len(), sent);
        assert_eq!(dropped(&cluster), 0);
    }
}

#[test]
fn nobody_waits_for_a_client_that_is_slow() {
    let mut cluster = Cluster::new(1);
    let publisher = cluster.join(V3, "p");
    let slow = cluster.join(V3, "slow");
    cluster.subscribe(slow, "t", QoS::AtMostOnce);
    cluster.set_reading(slow, false);
    let mut sent = fill(&mut cluster, publisher);
    assert!(cluster.paused(publisher));
    cluster.advance_ms(grace_ms());
    assert!(!cluster.paused(publisher));
    sent += fill(&mut cluster, publisher);
    assert!(!cluster.paused(publisher), "it is not waited for again");
    cluster.set_reading(slow, true);
    let got = cluster.payloads(slow).len();
    assert_eq!(got, limits::CLIENT_OUTPUT.cap / (PAYLOAD_BYTES + 6));
    assert_eq!(dropped(&cluster), (sent - got) as u64);
    cluster.set_reading(slow, false);
    fill(&mut cluster, publisher);
    assert!(
        !cluster.paused(publisher),
        "nor when it has caught up, before its quarantine is over"
    );
    cluster.set_reading(slow, true);
    cluster.payloads(slow);
    cluster.advance_ms(limits::QUARANTINE_NS / 1_000_000 + 200);
    cluster.set_reading(slow, false);
    fill(&mut cluster, publisher);
    assert!(cluster.paused(publisher), "a minute later it has another chance");
}

/// A client that publishes below the allowed rate does not wait for one that has stopped reading, whose messages are
/// queued up to its limit.
#[test]
fn the_allowed_rate_is_kept_beside_a_client_that_stopped_reading() {
    for shards in [1, 2] {
        let mut cluster = Cluster::new(shards);
        let (first, second) = if shards == 1 {
            ("p", "stopped".to_owned())
        } else {
            apart(2)
        };
        let publisher = cluster.join(V3, first);
        let stopped = cluster.join(V3, &second);
        let reader = cluster.join(V3, "reader");
        for subscriber in [stopped, reader] {
            cluster.subscribe(subscriber, "t", QoS::AtMostOnce);
        }
        cluster.set_reading(stopped, false);
        let payload = "x".repeat(PAYLOAD_BYTES);
        // 15 MB a second.
        let sent = grace_ms() as usize / 4 * 2;
        for _ in 0..sent {
            cluster.publish(publisher, "t", QoS::AtMostOnce, &payload);
            assert!(!cluster.paused(publisher), "{shards} shards");
            cluster.advance_ms(4);
        }
        assert_eq!(cluster.payloads(reader).len(), sent);
        cluster.set_reading(stopped, true);
        let got = cluster.payloads(stopped).len();
        assert_eq!(dropped(&cluster), (sent - got) as u64);
        assert_eq!(got, limits::CLIENT_OUTPUT.cap / (PAYLOAD_BYTES + 6), "of {sent}");
    }
}

/// The same for messages that it must acknowledge: nothing is lost in its grace period.
#[test]
fn the_allowed_rate_is_kept_beside_a_client_that_does_not_acknowledge() {
    let mut cluster = Cluster::with_settings(
        1,
        Settings {
            queued_messages_max: 100,
            sys_interval_s: 0,
            ..Settings::default()
        },
    );
    let publisher = cluster.join(V3, "p");
    let silent = join_unacknowledging(&mut cluster, "silent");
    let sent = grace_ms() as usize / 4;
    for number in 0..sent {
        cluster.send(publisher, &burst(number..number + 1));
        assert!(!cluster.paused(publisher), "{number}");
        cluster.advance_ms(4);
    }
    assert_eq!(dropped(&cluster), 0);
    cluster.advance_ms(grace_ms());
    cluster.send(publisher, &burst(0..1));
    assert!(
        !cluster.paused(publisher) && dropped(&cluster) == 1,
        "by now it is slow"
    );
    assert!(!cluster.payloads(silent).is_empty());
}

#[test]
fn a_client_that_goes_holds_nobody_up() {
    let mut cluster = Cluster::new(1);
    let publisher = cluster.join(V3, "p");
    let subscriber = cluster.join(V3, "s");
    cluster.subscribe(subscriber, "t", QoS::AtMostOnce);
    cluster.set_reading(subscriber, false);
    fill(&mut cluster, publisher);
    assert!(cluster.paused(publisher));
    cluster.cut(subscriber);
    assert!(!cluster.paused(publisher));
}

#[test]
fn a_client_that_does_not_take_its_answers_is_not_read_from() {
    let mut cluster = Cluster::new(1);
    let client = cluster.join(V3, "c");
    let other = cluster.join(V3, "other");
    cluster.set_reading(client, false);
    let pings = [0xC0, 0].repeat(100_000);
    for _ in 0..10 {
        cluster.send(client, &pings);
    }
    assert!(cluster.paused(client));
    cluster.cut(other);
    assert!(cluster.paused(client), "whatever resumes others");
    cluster.set_reading(client, true);
    cluster.run_until_idle();
    assert!(!cluster.paused(client));
}

/// Its keep alive of a second ends one and a half seconds after its last bytes, or after it is checked if it was not
/// read from to protect others: then once more, even if it has a backlog by then.
#[test]
fn who_was_paused_for_others_and_falls_behind_has_its_keep_alive_from_then_on() {
    for paused in [false, true] {
        let mut cluster = Cluster::new(1);
        let slow = cluster.join(V3, "slow");
        cluster.subscribe(slow, "t", QoS::AtMostOnce);
        cluster.set_reading(slow, false);
        let client = cluster.join_with(&Connect {
            keep_alive_s: 1,
            ..connect(V3, "c")
        });
        cluster.subscribe(client, "mine", QoS::AtMostOnce);
        cluster.set_reading(client, false);
        if paused {
            fill(&mut cluster, client);
        }
        assert_eq!(cluster.paused(client), paused);
        cluster.advance_ms(200);
        let other = cluster.join(V3, "other");
        fill_topic(&mut cluster, other, "mine");
        cluster.advance_ms(1_200);
        assert!(!cluster.closed(client));
        cluster.advance_ms(200);
        assert_eq!(cluster.closed(client), !paused, "silent for 1.6 s");
        cluster.advance_ms(1_500);
        assert!(cluster.closed(client), "silent and backlogged for 2.9 s");
    }
}

/// A client that receives QoS 1 messages but has not acknowledged any.
fn join_unacknowledging(cluster: &mut Cluster, name: &str) -> Client {
    let client = cluster.join(V3, name);
    cluster.subscribe(client, "t", QoS::AtLeastOnce);
    client
}

/// PUBLISH packets with these numbers as payloads, in one piece.
fn burst(numbers: std::ops::Range<usize>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in numbers {
        let payload = number.to_string();
        publish("t", QoS::AtLeastOnce, &payload)
            .encode(V3, &mut bytes)
            .unwrap();
    }
    bytes
}

/// Acknowledges everything that arrives until nothing more arrives.
fn acknowledge_all(cluster: &mut Cluster, client: Client) -> Vec<String> {
    let mut payloads = Vec::new();
    while let Some(received) = cluster.next(client) {
        if let Some(Packet::Publish(publish)) = received.packet() {
            payloads.push(String::from_utf8(publish.payload.to_vec()).unwrap());
            if let Some(identifier) = publish.packet_identifier {
                cluster.acknowledge(client, PacketType::PubAck, identifier.get());
            }
        }
    }
    payloads
}

#[test]
fn publishers_wait_for_acknowledgements_before_a_queue_is_full() {
    for shards in [1, 2] {
        let mut cluster = Cluster::new(shards);
        let (first, second) = apart(shards);
        let publisher = cluster.join(V3, first);
        let subscriber = join_unacknowledging(&mut cluster, &second);
        let mut sent = 0;
        for _ in 0..4 {
            // What has been received when the publisher is paused is more than the queue holds.
            while !cluster.paused(publisher) {
                cluster.send(publisher, &burst(sent..sent + 400));
                sent += 400;
            }
            let waiting = cluster.count(|counters| counters.queued_messages.get());
            assert!(waiting > 500, "{waiting}");
            cluster.send(publisher, &burst(sent..sent + 2000));
            sent += 2000;
            let mut got = acknowledge_all(&mut cluster, subscriber);
            assert!(!cluster.paused(publisher), "it goes on below a quarter");
            got.sort_by_key(|payload| payload.parse::<usize>().unwrap());
            got.dedup();
            assert_eq!(got.last().unwrap(), &(sent - 1).to_string());
        }
        assert_eq!(dropped(&cluster), 0, "{shards} shards");
    }
}

#[test]
fn nobody_waits_for_acknowledgements_that_do_not_come() {
    let mut cluster = Cluster::new(1);
    let publisher = cluster.join(V3, "p");
    join_unacknowledging(&mut cluster, "s");
    cluster.send(publisher, &burst(0..1500));
    assert!(cluster.paused(publisher), "its own answers do not set it free");
    assert_eq!(dropped(&cluster), 0);
    cluster.advance_ms(grace_ms());
    assert!(!cluster.paused(publisher));
    cluster.send(publisher, &burst(1500..1600));
    assert!(!cluster.paused(publisher));
    assert_eq!(dropped(&cluster), 100, "the queue is full for one that is slow");
}

#[test]
fn clients_that_publish_to_each_other_do_not_wait_for_each_other() {
    for shards in [1, 2] {
        let mut cluster = Cluster::new(shards);
        let (first, second) = apart(shards);
        let clients = [first, second.as_str()].map(|name| join_unacknowledging(&mut cluster, name));
        for client in clients {
            cluster.send(client, &burst(0..700));
        }
        for client in clients {
            assert!(!cluster.paused(client), "its acknowledgements are needed");
        }
        for _ in 0..2 {
            for client in clients {
                acknowledge_all(&mut cluster, client);
            }
        }
        assert_eq!(cluster.count(|counters| counters.queued_messages.get()), 0);
        assert_eq!(dropped(&cluster), 0);
    }
}

/// Milliseconds that a publisher waits while a client that reads nothing reconnects repeatedly, with that identifier
/// or another. It leaves after this many milliseconds at the latest.
fn waited_for_hostile_ms(cluster: &mut Cluster, publisher: Client, same: bool, stays_ms: u64) -> u64 {
    let mut waited_ms = 0;
    for attempt in 0..40 {
        let name = if same {
            "hostile".to_owned()
        } else {
            format!("hostile-{attempt}")
        };
        let hostile = cluster.join(V3, &name);
        cluster.subscribe(hostile, "t", QoS::AtMostOnce);
        cluster.set_reading(hostile, false);
        fill(cluster, publisher);
        for _ in 0..stays_ms / 10 {
            if cluster.paused(publisher) {
                cluster.advance_ms(10);
                waited_ms += 10;
            }
        }
        cluster.cut(hostile);
        assert!(!cluster.paused(publisher));
    }
    waited_ms
}

/// Neither a new client identifier nor a new connection avoids it, nor does leaving before the grace period is over.
#[test]
fn waiting_in_vain_uses_up_the_grace_of_a_shard() {
    for (same, stays_ms) in [(true, 300), (false, 300), (true, 1000), (false, 1000)] {
        let mut cluster = Cluster::new(1);
        let publisher = cluster.join(V3, "p");
        let budget_ms = limits::GRACE_BUDGET_NS / 1_000_000;
        let waited_ms = waited_for_hostile_ms(&mut cluster, publisher, same, stays_ms);
        assert!(waited_ms <= budget_ms * 2, "{waited_ms} ms in 40 attempts");
        let honest = cluster.join(V3, "honest");
        cluster.subscribe(honest, "h", QoS::AtMostOnce);
        cluster.set_reading(honest, false);
        fill_topic(&mut cluster, publisher, "h");
        assert!(!cluster.paused(publisher), "nobody waits for anybody");
        cluster.set_reading(honest, true);
        cluster.payloads(honest);
        cluster.advance_ms(budget_ms * limits::GRACE_BUDGET_SHARE);
        cluster.set_reading(honest, false);
        fill_topic(&mut cluster, publisher, "h");
        assert!(cluster.paused(publisher), "it has come back");
    }
}

const SUBSCRIBERS: usize = 300;

/// That many subscribers, each of which may hold much without having a backlog, and a publisher in another shard if
/// there is one.
/// there is one.
fn crowd(shards: u16) -> (Cluster, Client, Vec<Client>) {
    let mut cluster = Cluster::new(shards);
    let publisher = cluster.join(V3, "first");
    let owner = broker::logic::owner_shard("first", shards);
    let names = (0..).map(|number| format!("s{number}"));
    let is_remote = |name: &String| shards == 1 || broker::logic::owner_shard(name, shards) != owner;
    let names: Vec<_> = names.filter(is_remote).take(SUBSCRIBERS).collect();
    let subscribers: Vec<_> = names.iter().map(|name| cluster.join(V3, name)).collect();
    for &subscriber in &subscribers {
        cluster.subscribe(subscriber, "t", QoS::AtMostOnce);
        cluster.set_reading(subscriber, false);
    }
    (cluster, publisher, subscribers)
}

#[test]
fn v35_publishers_wait_for_the_sum_over_a_shard_too() {
    for shards in [1, 2] {
        let (mut cluster, publisher, subscribers) = crowd(shards);
        let shard = cluster.shard_of(subscribers[0]);
        let mut sent = 0;
        for _ in 0..2 {
            sent += fill(&mut cluster, publisher);
            assert!(cluster.paused(publisher), "{shards} shards");
            let waiting = cluster.shard(shard).unwrap().flow().output_bytes();
            let bound = limits::SHARD_OUTPUT.high + 2 * SUBSCRIBERS * PAYLOAD_BYTES;
            assert!((limits::SHARD_OUTPUT.high..bound).contains(&waiting), "{waiting}");
            for &subscriber in &subscribers {
                cluster.set_reading(subscriber, true);
            }
            assert!(!cluster.paused(publisher));
            assert_eq!(cluster.shard(shard).unwrap().flow().output_bytes(), 0);
            for &subscriber in &subscribers {
                cluster.set_reading(subscriber, false);
            }
        }
        for subscriber in subscribers {
            cluster.set_reading(subscriber, true);
            assert_eq!(cluster.payloads(subscriber).len(), sent);
        }
        assert_eq!(dropped(&cluster), 0);
    }
}

#[test]
fn v35_who_has_the_most_of_the_sum_is_slow_when_the_grace_period_is_over() {
    let (mut cluster, publisher, subscribers) = crowd(1);
    let healthy = cluster.join(V3, "healthy");
    cluster.subscribe(healthy, "t", QoS::AtMostOnce);
    let mut sent = fill(&mut cluster, publisher);
    cluster.advance_ms(grace_ms());
    assert!(!cluster.paused(publisher));
    for _ in 0..200 {
        sent += 1;
        cluster.publish(publisher, "t", QoS::AtMostOnce, &"x".repeat(PAYLOAD_BYTES));
        assert!(!cluster.paused(publisher), "nobody waits for them");
        let waiting = cluster.shard(0).unwrap().flow().output_bytes();
        let bound = 2 * limits::SHARD_OUTPUT.high + limits::CLIENT_OUTPUT.cap;
        assert!(waiting < bound, "{waiting}");
    }
    assert_eq!(
        cluster.payloads(healthy).len(),
        sent,
        "nothing is lost for the others"
    );
    assert!(dropped(&cluster) > 0);
    for subscriber in subscribers {
        cluster.cut(subscriber);
    }
    assert_eq!(cluster.shard(0).unwrap().flow().output_bytes(), 0);
}

/// Slow clients that hold too much in total lose their connections, those with the most first.
#[test]
fn v35_slow_clients_that_hold_too_much_are_disconnected() {
    let marks = |high, low, cap| Watermarks { high, low, cap };
    let shard_output = marks(1_000_000, 500_000, 4_000_000);
    let settings = Settings {
        client_output: marks(200_000, 100_000, 800_000),
        shard_output,
        sys_interval_s: 0,
        ..Settings::default()
    };
    let mut cluster = Cluster::with_settings(1, settings);
    let publisher = cluster.join(V3, "p");
    let healthy = cluster.join(V3, "healthy");
    cluster.subscribe(healthy, "#", QoS::AtMostOnce);
    let mut slow = Vec::new();
    let mut sent = 0;
    for round in 0..3 {
        for number in 0..4 {
            let client = cluster.join(V3, &format!("slow-{round}-{number}"));
            cluster.subscribe(client, &format!("t/{round}"), QoS::AtMostOnce);
            cluster.set_reading(client, false);
            slow.push(client);
        }
        sent += fill_topic(&mut cluster, publisher, &format!("t/{round}"));
        assert!(cluster.paused(publisher), "round {round}");
        cluster.advance_ms(grace_ms());
        assert!(!cluster.paused(publisher), "round {round}");
        let waiting = cluster.shard(0).unwrap().flow().output_bytes();
        assert!(waiting <= shard_output.cap / 2, "{waiting} in round {round}");
    }
    let closed = slow.iter().filter(|&&client| cluster.closed(client)).count();
    assert!((1..slow.len()).contains(&closed), "{closed} are closed");
    assert_eq!(cluster.payloads(healthy).len(), sent);
}

/// What was written since the bytes of all clients were counted is not in their sum, so it affects no decision.
#[test]
fn v35_who_is_disconnected_has_bytes_in_the_sum() {
    let marks = |high, low, cap| Watermarks { high, low, cap };
    let settings = Settings {
        client_output: marks(100_000, 50_000, 1_000_000),
        shard_output: marks(100_000, 50_000, 400_000),
        sys_interval_s: 0,
        ..Settings::default()
    };
    let mut shard = Shard::new(0, 1, Arc::new(settings), shard_counters(1));
    let mut now = Timestamp(1_000_000_000);
    let mut join = |name: &str, now| {
        let mut bytes = Vec::new();
        connect(V3, name).encode(&mut bytes).unwrap();
        let filters = [(name, options(QoS::AtMostOnce))];
        mqtt::encode::subscribe(id(1), Properties::EMPTY, &filters, V3, &mut bytes).unwrap();
        test_support::open(&mut shard, now, test_support::peer(), &bytes)
    };
    let [publisher, first, second] = ["p", "first", "second"].map(|name| join(name, now));
    let publish_to = |shard: &mut Shard, topic: &str, bytes: usize, now| {
        let mut packet = Vec::new();
        publish(topic, QoS::AtMostOnce, &"x".repeat(bytes))
            .encode(V3, &mut packet)
            .unwrap();
        shard.receive(now, publisher, &packet);
    };
    let flush = |shard: &mut Shard, client, takes_all: bool, now| {
        shard.swap_dirty(&mut Vec::new());
        let out = std::mem::take(shard.delivery().out(client));
        shard.flushed(now, client, if takes_all { 0 } else { out.len() });
    };
    publish_to(&mut shard, "second", 150_000, now);
    flush(&mut shard, second, false, now);
    now = now.plus_ns(limits::GRACE_NS + 2 * limits::TIMER_STEP_NS);
    shard.tick(now);
    flush(&mut shard, second, true, now);
    publish_to(&mut shard, "first", 250_000, now);
    flush(&mut shard, first, false, now);
    now = now.plus_ns(limits::GRACE_NS + 2 * limits::TIMER_STEP_NS);
    publish_to(&mut shard, "second", 300_000, now);
    shard.tick(now);
    assert!(shard.clients().closing(first) && !shard.clients().closing(second));
}

#[test]
fn v35_the_memory_limit_bounds_output_too() {
    let (mut cluster, publisher, _) = crowd(1);
    cluster.set_memory_full(true);
    fill(&mut cluster, publisher);
    assert!(cluster.paused(publisher));
    let waiting = cluster.shard(0).unwrap().flow().output_bytes();
    let bound = limits::SHARD_OUTPUT.eighth().high + 2 * SUBSCRIBERS * PAYLOAD_BYTES;
    assert!(waiting < bound, "{waiting}");
}

/// It publishes to itself, and acknowledges in the same bytes what made space: nobody remains to wait for.
#[test]
fn who_catches_up_in_the_same_bytes_is_read_on() {
    let mut cluster = Cluster::new(1);
    let client = join_unacknowledging(&mut cluster, "c");
    cluster.send(client, &burst(0..20 + 500));
    assert!(!cluster.paused(client));
    let mut bytes = burst(520..521);
    for identifier in 1..=20 {
        mqtt::encode::ack(
            PacketType::PubAck,
            id(identifier),
            ReasonCode::Success,
            V3,
            &mut bytes,
        );
    }
    cluster.send(client, &bytes);
    let rest = (1..30).flat_map(|round: u16| (1..=20).map(move |identifier| round * 20 + identifier));
    let mut bytes = Vec::new();
    for identifier in rest {
        mqtt::encode::ack(
            PacketType::PubAck,
            id(identifier),
            ReasonCode::Success,
            V3,
            &mut bytes,
        );
    }
    cluster.send(client, &[burst(521..523), bytes].concat());
    assert!(!cluster.paused(client));
}
