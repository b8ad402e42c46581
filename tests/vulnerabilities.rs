//! Classes of vulnerabilities that brokers had, tried on a live broker. The numbers are those of docs/SECURITY.md.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use mqtt::frame::PacketType;
use mqtt::packet::{Packet, PacketIdentifier, Publish};
use mqtt::property::{PropertiesBuf, Property};
use mqtt::{ProtocolVersion, QoS, ReasonCode, decode, frame};

use crate::harness::{Broker, Client, Options, Setup};

/// So many connections in a few threads, each of which sends its bytes and waits to be closed.
fn flood(broker: &Broker, connections: usize, bytes: impl Fn(usize) -> Vec<u8> + Sync) {
    const THREADS: usize = 4;
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let bytes = &bytes;
            scope.spawn(move || {
                for number in (thread..connections).step_by(THREADS) {
                    let mut socket = TcpStream::connect(broker.address()).unwrap();
                    socket.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
                    // The broker may close before all is sent.
                    let _sent = socket.write_all(&bytes(number));
                    let mut answer = [0; 256];
                    while socket.read(&mut answer).is_ok_and(|read| read > 0) {}
                }
            });
        }
    });
}

/// By how much memory grows when `work` is done again and again, in KiB: the lowest of a few times, as what was freed
/// is not given back at once.
fn growth_kib(broker: &Broker, mut work: impl FnMut()) -> u64 {
    work();
    let growths = (0..3).map(|_| {
        let before_kib = broker.resident_kib();
        work();
        broker.resident_kib().saturating_sub(before_kib)
    });
    growths.min().unwrap()
}

/// A packet with its Remaining Length.
fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut left = body.len();
    loop {
        let byte = (left % 128) as u8;
        left /= 128;
        packet.push(if left > 0 { byte | 0x80 } else { byte });
        if left == 0 {
            break;
        }
    }
    packet.extend(body);
    packet
}

#[test]
fn v01_connections_that_are_none_keep_no_memory() {
    let broker = Setup::default()
        .global("connection_messages false\nlog_type error")
        .start();
    let firsts: [&[u8]; 4] = [
        b"\x10\xff\xff\xff\x7f\x00\x04MQTT",
        b"\x30\x03\x00\x01t",
        b"\xc0\x00",
        b"GET / HTTP/1.1\r\n\r\n",
    ];
    let grown_kib = growth_kib(&broker, || {
        flood(&broker, 2_500, |number| firsts[number % 4].to_vec())
    });
    assert!(grown_kib < 1024, "{grown_kib} KiB");
    Client::connect(&broker, &Options::new("after")).ping();
}

/// A CONNECT with everything, cut at every byte, and with each byte changed.
#[test]
fn v02_refused_connects_keep_no_memory() {
    let broker = Setup::default()
        .global("connection_messages false\nlog_type error")
        .start();
    let properties = [&b"\x11\0\0\0\x0a"[..], b"\x26\0\x03key\0\x05value", b"\x21\0\x05"].concat();
    let will = [&b"\x18\0\0\0\x05"[..], b"\x26\0\x01a\0\x01b", b"\x03\0\x04text"].concat();
    let mut body = b"\0\x04MQTT\x05\xee\0\x3c".to_vec();
    body.push(properties.len() as u8);
    body.extend(&properties);
    body.extend(b"\0\x06client");
    body.push(will.len() as u8);
    body.extend(&will);
    body.extend(b"\0\x04will\0\x07payload\0\x04user\0\x04pass");
    let malformed = |number: usize| {
        let at = number % body.len();
        if number.is_multiple_of(2) {
            return packet(0x10, &body[..at]);
        }
        let mut changed = body.clone();
        changed[at] ^= 0xff;
        let mut bytes = packet(0x10, &changed);
        // Those that are right all the same are closed by what follows.
        bytes.extend(b"\xf7\x00");
        bytes
    };
    let grown_kib = growth_kib(&broker, || flood(&broker, 4_000, malformed));
    assert!(grown_kib < 1024, "{grown_kib} KiB");
    Client::connect(&broker, &Options::new("after")).ping();
}

#[test]
fn v03_unreleased_messages_are_bounded() {
    let broker = Broker::start();
    let mut watcher = Client::connect(&broker, &Options::new("watcher"));
    watcher.subscribe("#", QoS::AtMostOnce);
    let identifier = |number: u16| PacketIdentifier::new(number);
    // More than the Receive Maximum that the broker has announced, each with an identifier of its own.
    let mut greedy = Client::connect(&broker, &Options::new("greedy").v5());
    for number in 1..=30 {
        greedy.send_again("t", b"x", QoS::ExactlyOnce, false, identifier(number), false);
    }
    assert_eq!(greedy.expect_closed().0, Some(ReasonCode::ReceiveMaximumExceeded));
    assert_eq!(watcher.payloads(20).len(), 20);
    // One message again and again is one message.
    let mut stubborn = Client::connect(&broker, &Options::new("stubborn"));
    let grown_kib = growth_kib(&broker, || {
        for _ in 0..2_500 {
            stubborn.send_again("t", b"again", QoS::ExactlyOnce, false, identifier(1), true);
            stubborn.expect(PacketType::PubRec);
        }
    });
    assert!(grown_kib < 1024, "{grown_kib} KiB");
    assert_eq!(watcher.payloads(1), ["again"]);
    // Every identifier that there is: older clients do not learn a bound, and it is kept small.
    let before_kib = broker.resident_kib();
    let mut hoarder = Client::connect(&broker, &Options::new("hoarder"));
    for number in 1..=u16::MAX {
        hoarder.send_again("other", b"x", QoS::ExactlyOnce, false, identifier(number), false);
        if number % 1000 == 0 {
            for _ in 0..1000 {
                hoarder.expect(PacketType::PubRec);
            }
        }
    }
    let grown_kib = broker.resident_kib().saturating_sub(before_kib);
    assert!(grown_kib < 16 << 10, "{grown_kib} KiB");
    drop(watcher);
}

#[test]
fn v04_a_subscribe_counts_whole_or_not_at_all() {
    let broker = Broker::start();
    for (body, reason) in [
        // The second filter is cut before its options, has reserved bits, a misplaced wildcard.
        (&b"\0\x01\0\0\x01a\0\0\x01b"[..], ReasonCode::MalformedPacket),
        (b"\0\x01\0\0\x01a\0\0\x01b\xc0", ReasonCode::MalformedPacket),
        (b"\0\x01\0\0\x01a\0\0\x02b\xff\0", ReasonCode::MalformedPacket),
    ] {
        let mut client = Client::connect(&broker, &Options::new("kept").v5().persistent());
        client.send(&packet(0x82, body));
        assert_eq!(client.expect_closed().0, Some(reason), "{body:x?}");
        let (mut again, present) = Client::connect_session(&broker, &Options::new("kept").v5().persistent());
        assert!(present);
        let mut publisher = Client::connect(&broker, &Options::new("publisher"));
        publisher.publish("a", b"x", QoS::AtLeastOnce);
        again.expect_nothing();
        again.disconnect();
    }
}

#[test]
fn v05_shared_and_plain_subscriptions_are_different_ones() {
    let broker = Setup::default().shards(2).start();
    let mut publisher = Client::connect(&broker, &Options::new("publisher"));
    let mut publish = |payload: &[u8]| publisher.publish("t", payload, QoS::AtLeastOnce);
    for (kept, ended) in [
        ("t", "$share/g/t"),
        ("$share/g/t", "t"),
        ("$share/g/t", "$share/h/t"),
    ] {
        let mut client = Client::connect(&broker, &Options::new("client").v5());
        let granted = client.subscribe(kept, QoS::AtLeastOnce);
        client.subscribe(ended, QoS::AtLeastOnce);
        client.unsubscribe(ended);
        client.unsubscribe(ended);
        publish(b"once");
        if granted <= 2 {
            assert_eq!(client.payloads(1), ["once"], "{kept} without {ended}");
        }
        client.unsubscribe(kept);
        publish(b"nobody's");
        client.expect_nothing();
        client.disconnect();
    }
}

#[test]
fn v06_levels_are_bounded() {
    let broker = Broker::start();
    let levels = |count: usize| vec!["a"; count].join("/");
    let mut watcher = Client::connect(&broker, &Options::new("watcher"));
    watcher.subscribe("#", QoS::AtMostOnce);
    let mut client = Client::connect(&broker, &Options::new("a").v5());
    assert_eq!(client.subscribe(&levels(201), QoS::AtMostOnce), 0);
    client.publish(&levels(201), b"deep", QoS::AtLeastOnce);
    assert_eq!(client.payloads(1), ["deep"]);
    assert_eq!(watcher.payloads(1), ["deep"]);
    for filter in [
        levels(202),
        "/".repeat(65_535),
        vec!["+"; 32_768].join("/"),
        format!("{}#", "+/".repeat(300)),
    ] {
        assert_eq!(
            client.subscribe(&filter, QoS::AtMostOnce),
            ReasonCode::TopicFilterInvalid as u8
        );
    }
    for topic in [levels(202), "/".repeat(65_535)] {
        let mut client = Client::connect(&broker, &Options::new("b").v5());
        client.send_publish(&topic, b"too deep", QoS::AtMostOnce, false);
        assert_eq!(client.expect_closed().0, Some(ReasonCode::TopicNameInvalid));
    }
    watcher.expect_nothing();
}

#[test]
fn v07_topics_with_a_dollar_are_the_brokers() {
    let broker = Broker::start();
    let mut watcher = Client::connect(&broker, &Options::new("watcher"));
    for filter in ["$SYS/#", "$SYS/+/x", "$x", "#", "+/+", "/", "//"] {
        assert_eq!(watcher.subscribe(filter, QoS::AtMostOnce), 0, "{filter}");
    }
    for filter in ["$CONTROL/#", "$CONTROL", "$share/g/$CONTROL/x/v1"] {
        assert_eq!(watcher.subscribe(filter, QoS::AtMostOnce), 0x80, "{filter}");
    }
    let mut v5 = Client::connect(&broker, &Options::new("v5").v5());
    assert_eq!(
        v5.subscribe("$CONTROL/#", QoS::AtMostOnce),
        ReasonCode::NotAuthorized as u8
    );
    let mut client = Client::connect(&broker, &Options::new("a"));
    for topic in [
        "$SYS/broker/uptime",
        "$SYS/a/x",
        "$SYS",
        "$share/g/t",
        "$share",
        "$",
        "$CONTROL/x/v1",
    ] {
        client.publish(topic, b"forged", QoS::AtLeastOnce);
        client.publish_retained(topic, b"forged", QoS::AtLeastOnce);
    }
    client.publish("//", b"empty levels", QoS::AtLeastOnce);
    loop {
        let message = watcher.message();
        if message.payload == b"empty levels" {
            break;
        }
        assert!(
            !message.topic.starts_with("$SYS") || message.payload != b"forged",
            "{}",
            message.topic
        );
    }
    let mut late = Client::connect(&broker, &Options::new("late"));
    late.subscribe("$SYS/#", QoS::AtMostOnce);
    while late.message().topic != "$SYS/broker/version" {}
}

#[test]
fn v08_topics_that_are_no_text() {
    let broker = Broker::start();
    let mut watcher = Client::connect(&broker, &Options::new("watcher"));
    watcher.subscribe("#", QoS::AtMostOnce);
    let publish = |topic: &[u8]| {
        let length = u16::try_from(topic.len()).unwrap().to_be_bytes();
        packet(0x30, &[&length[..], topic, b"\0payload"].concat())
    };
    let subscribe = |filter: &[u8]| {
        let length = u16::try_from(filter.len()).unwrap().to_be_bytes();
        packet(0x82, &[b"\0\x01\0", &length[..], filter, b"\0"].concat())
    };
    for text in [
        &b""[..],
        b"a\0b",
        b"\xed\xa0\x80",
        b"\xed\xbf\xbf",
        b"\xc0\xaf",
        b"\xf4\x90\x80\x80",
        b"\xff",
    ] {
        for bytes in [publish(text), subscribe(text)] {
            let mut client = Client::connect(&broker, &Options::new("a").v5());
            client.send(&bytes);
            let (reason, _) = client.expect_closed();
            assert!(
                matches!(
                    reason,
                    Some(
                        ReasonCode::MalformedPacket
                            | ReasonCode::ProtocolError
                            | ReasonCode::TopicNameInvalid
                            | ReasonCode::TopicFilterInvalid
                    )
                ),
                "{text:x?}: {reason:?}"
            );
        }
    }
    // A byte order mark is text like any other [MQTT-1.5.4-3].
    let mut client = Client::connect(&broker, &Options::new("a").v5());
    client.publish("\u{feff}bom", b"x", QoS::AtLeastOnce);
    assert_eq!(watcher.message().topic, "\u{feff}bom");
}

#[test]
fn v09_packets_of_servers_end_the_connection() {
    let broker = Broker::start();
    let packets: &[&[u8]] = &[
        b"\x20\x03\0\0\0",
        b"\x20\x02\0\0",
        b"\x90\x04\0\x01\0\0",
        b"\xb0\x04\0\x01\0\0",
        b"\xd0\0",
        b"\x40\x02\0\x01",
        b"\x50\x02\0\x01",
        b"\x62\x02\0\x01",
        b"\x70\x02\0\x01",
        b"\xe0\0",
        b"\xf0\0",
    ];
    for bytes in packets {
        let mut stranger = Client::open(&broker);
        stranger.send(bytes);
        let begin = Instant::now();
        assert_eq!(stranger.read_to_end(), b"", "{bytes:x?} before CONNECT");
        assert!(begin.elapsed() < Duration::from_secs(2));
    }
    let connect = b"\x10\x0e\0\x04MQTT\x05\x02\0\0\0\0\x01a";
    for bytes in packets[..5].iter().chain([&&connect[..]]) {
        let mut client = Client::connect(&broker, &Options::new("a").v5());
        client.send(bytes);
        let (reason, _) = client.expect_closed();
        assert!(
            matches!(
                reason,
                Some(ReasonCode::ProtocolError | ReasonCode::MalformedPacket)
            ),
            "{bytes:x?}: {reason:?}"
        );
    }
    // Acknowledgements of nothing do no harm.
    let mut client = Client::connect(&broker, &Options::new("a").v5());
    client.send(b"\x40\x02\0\x09\x50\x02\0\x09\x62\x02\0\x09\x70\x02\0\x09");
    client.expect(PacketType::PubRel);
    client.expect(PacketType::PubComp);
    client.ping();
}

/// A PUBLISH with so many user properties.
fn with_user_properties(count: usize) -> Vec<u8> {
    let mut properties = PropertiesBuf::new();
    for _ in 0..count {
        properties.push(Property::UserProperty("k", "v")).unwrap();
    }
    let publish = Publish {
        dup: false,
        qos: QoS::AtLeastOnce,
        retain: false,
        topic: "t",
        packet_identifier: PacketIdentifier::new(1),
        properties: properties.as_properties(),
        payload: b"",
    };
    let mut bytes = Vec::new();
    publish.encode(ProtocolVersion::V5, &mut bytes).unwrap();
    bytes
}

#[test]
fn v11_user_properties_take_linear_time() {
    let time_of = |count: usize| {
        let bytes = with_user_properties(count);
        let times = (0..20).map(|_| {
            let begin = Instant::now();
            let frame = frame::split(&bytes, u32::MAX).unwrap().unwrap();
            assert!(matches!(
                decode::packet(&frame, ProtocolVersion::V5),
                Ok(Packet::Publish(_))
            ));
            begin.elapsed()
        });
        (times.min().unwrap(), bytes.len())
    };
    let (small, small_bytes) = time_of(9_000);
    let (large, large_bytes) = time_of(144_000);
    let per_64_kib = large.mul_f64(65_536.0 / large_bytes as f64);
    assert!(per_64_kib < Duration::from_millis(1), "{per_64_kib:?}");
    let ratio = large.as_secs_f64() / small.as_secs_f64() / (large_bytes as f64 / small_bytes as f64);
    assert!(ratio < 4.0, "not linear: {ratio}");
    // The same through the broker, to a subscriber; 100,000 of them.
    let broker = Broker::start();
    let mut client = Client::connect(&broker, &Options::new("a").v5());
    client.subscribe("t", QoS::AtMostOnce);
    let begin = Instant::now();
    client.send(&with_user_properties(100_000));
    client.expect(PacketType::PubAck);
    client.message();
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
}

/// Strangers can keep 100,000 bytes each, for `connect_timeout`, and then it is for others.
#[test]
fn v23_strangers_hold_little_memory_and_not_for_long() {
    const STRANGERS: usize = 100;
    let broker = Setup::default()
        .global("log_type error")
        .global("connect_timeout 5")
        // Where there are several, the second wave may give one of them more strangers than the first did.
        .shards(1)
        .start();
    // A CONNECT of 65,000 bytes of which the last is missing.
    let body = [
        &b"\0\x04MQTT\x04\x06\0\0\0\x01a\0\x01w"[..],
        &64_900u16.to_be_bytes(),
        &vec![b'x'; 64_899],
    ]
    .concat();
    let mut bytes = packet(0x10, &[&body[..], b"!"].concat());
    bytes.pop();
    let wave = || {
        let sockets: Vec<_> = (0..STRANGERS)
            .map(|_| {
                let mut socket = TcpStream::connect(broker.address()).unwrap();
                socket.write_all(&bytes).unwrap();
                socket
            })
            .collect();
        Client::connect(&broker, &Options::new("let in")).ping();
        let kept_kib = broker.resident_kib();
        for mut socket in sockets {
            socket.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
            let mut answer = Vec::new();
            let _closed = socket.read_to_end(&mut answer);
        }
        kept_kib
    };
    let before_kib = broker.resident_kib();
    let first_kib = wave();
    let second_kib = wave();
    let most_kib = before_kib + (STRANGERS as u64 * 128) + (8 << 10);
    assert!(first_kib < most_kib, "{before_kib} to {first_kib} KiB");
    // The same memory serves again, but for receive buffers that were not needed before.
    assert!(
        second_kib < first_kib + (4 << 10),
        "{first_kib}, then {second_kib} KiB"
    );
}

#[test]
fn v29_what_clients_call_themselves_does_not_forge_the_log() {
    let broker = Setup::default().global("log_type all").start();
    let name = "x\n1795418112: Client admin closed.\u{1b}[31m\r";
    let mut client = Client::connect(&broker, &Options::new(name));
    client.subscribe("a\u{1b}]0;owned\u{7}\nb", QoS::AtMostOnce);
    client.disconnect();
    let (status, log) = {
        broker.signal(rustix::process::Signal::TERM);
        broker.wait()
    };
    assert!(status.success());
    assert!(log.contains("Client admin closed"), "the name is there: {log}");
    assert!(
        !log.contains('\u{1b}') && !log.contains('\u{7}') && !log.contains('\r'),
        "{log:?}"
    );
    assert!(
        log.lines()
            .all(|line| !line.starts_with("1795418112: Client admin")),
        "{log}"
    );
}

#[test]
fn v32_shared_filters_that_are_none() {
    let broker = Broker::start();
    for filter in [
        "$share//a",
        "$share/+/a",
        "$share/g",
        "$share/g/",
        "$share",
        "$share/",
    ] {
        let mut client = Client::connect(&broker, &Options::new("a").v5());
        let reason = client.subscribe(filter, QoS::AtMostOnce);
        assert_eq!(reason, ReasonCode::TopicFilterInvalid as u8, "{filter}");
    }
    // What is no filter at all ends the connection.
    for filter in ["$share/#/a", "$share/g+/a", "$share/g/a#"] {
        let mut client = Client::connect(&broker, &Options::new("a").v5());
        let length = u16::try_from(filter.len()).unwrap().to_be_bytes();
        client.send(&packet(
            0x82,
            &[b"\0\x01\0", &length[..], filter.as_bytes(), b"\0"].concat(),
        ));
        assert_eq!(
            client.expect_closed().0,
            Some(ReasonCode::TopicFilterInvalid),
            "{filter}"
        );
    }
}

/// An alias of 0 or above the maximum is 0x94; one that was never set is a protocol error (MQTT 5.0, section
/// 3.3.2.3.4).
#[test]
fn v39_topic_aliases() {
    let broker = Setup::default().listener("max_topic_alias 10").start();
    let publish = |topic: &str, alias: u16| {
        let length = u16::try_from(topic.len()).unwrap().to_be_bytes();
        packet(
            0x30,
            &[&length[..], topic.as_bytes(), b"\x03\x23", &alias.to_be_bytes()].concat(),
        )
    };
    for (topic, alias, reason) in [
        ("t", 0, ReasonCode::TopicAliasInvalid),
        ("t", 11, ReasonCode::TopicAliasInvalid),
        ("t", u16::MAX, ReasonCode::TopicAliasInvalid),
        ("", 11, ReasonCode::TopicAliasInvalid),
        ("", 10, ReasonCode::ProtocolError),
    ] {
        let mut client = Client::connect(&broker, &Options::new("a").v5());
        client.send(&publish(topic, alias));
        assert_eq!(client.expect_closed().0, Some(reason), "{topic:?} {alias}");
    }
    let mut client = Client::connect(&broker, &Options::new("a").v5());
    client.subscribe("t", QoS::AtMostOnce);
    client.send(&publish("t", 10));
    client.send(&publish("", 10));
    assert_eq!(client.payloads(2).len(), 2);
}
