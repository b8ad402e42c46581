//! What a listener does with its clients: mount points, prefixes, load balancers.

use mqtt::frame::PacketType;
use mqtt::{QoS, ReasonCode};

use crate::harness::{Broker, Client, Options, Setup, eventually, free_port, run};

const CONNECT: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01a";

fn reason(broker: &Broker, options: &Options) -> ReasonCode {
    let (_, answer) = Client::try_connect(broker, options);
    match answer.as_ref().map(crate::harness::Received::packet) {
        Some(mqtt::Packet::ConnAck(connack)) => connack.reason,
        other => panic!("no CONNACK but {other:?}"),
    }
}

#[test]
fn a_mount_point_keeps_clients_apart() {
    let port = free_port();
    let broker = Setup::default()
        .shards(2)
        .listener(&format!("listener {port} 127.0.0.1\nmount_point inside/"))
        .start();
    let mut outside = Client::connect(&broker, &Options::new("outside"));
    let mut inside: Vec<_> = (0..4)
        .map(|number| Client::connect_at(port, &Options::new(&format!("i{number}"))))
        .collect();
    outside.subscribe("#", QoS::AtLeastOnce);
    for client in &mut inside {
        client.subscribe("t/+", QoS::AtLeastOnce);
    }
    outside.publish("t/x", b"not for those inside", QoS::AtLeastOnce);
    assert_eq!(outside.message().topic, "t/x");
    for (number, qos) in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]
        .into_iter()
        .enumerate()
    {
        inside[number].publish("t/a", b"hello", qos);
        for client in &mut inside {
            let message = client.message();
            assert_eq!(
                (message.topic.as_str(), message.payload.as_slice()),
                ("t/a", b"hello".as_slice())
            );
        }
        assert_eq!(outside.message().topic, "inside/t/a");
    }
}

#[test]
fn client_identifiers_must_begin_as_it_is_said() {
    let broker = Setup::default().global("clientid_prefixes sensor-").start();
    assert_eq!(
        reason(&broker, &Options::new("sensor-1").v5()),
        ReasonCode::Success
    );
    assert_eq!(
        reason(&broker, &Options::new("1").v5()),
        ReasonCode::ClientIdentifierNotValid
    );
}

#[test]
fn user_names_may_be_the_client_identifiers() {
    let broker = Setup::default()
        .shards(2)
        .listener("use_username_as_clientid true")
        .start();
    let mut first = Client::connect(&broker, &Options::new("same").user("one", ""));
    let mut second = Client::connect(&broker, &Options::new("same").user("two", ""));
    first.ping();
    second.ping();
    let _third = Client::connect(&broker, &Options::new("another").user("one", ""));
    first.expect_closed();
    assert_eq!(
        reason(&broker, &Options::new("a").v5()),
        ReasonCode::NotAuthorized
    );
}

#[test]
fn one_interface_or_none() {
    let broker = Setup::default().listener("bind_interface lo").start();
    assert_eq!(reason(&broker, &Options::new("a")), ReasonCode::Success);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c");
    std::fs::write(
        &path,
        format!("listener {}\nbind_interface nosuchif0", free_port()),
    )
    .unwrap();
    let ended = run(&["-c", path.to_str().unwrap(), "--shards", "1"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("bind_interface"), "{}", ended.stderr);
}

/// A header of version 2 for 192.0.2.7 with PP2_TYPE_SSL: the client's flags, and its common name.
fn header(flags: u8, name: &str) -> Vec<u8> {
    let mut ssl = vec![flags, 0, 0, 0, 0, 0x22, 0, u8::try_from(name.len()).unwrap()];
    ssl.extend(name.bytes());
    let mut rest = vec![192, 0, 2, 7, 192, 0, 2, 8, 0x12, 0x34, 7, 91];
    rest.extend([0x20, 0, u8::try_from(ssl.len()).unwrap()]);
    rest.extend(ssl);
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11".to_vec();
    header.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
    header.extend(rest);
    header
}

#[test]
fn a_load_balancer_names_its_clients() {
    let text = b"PROXY TCP4 192.0.2.7 192.0.2.8 4660 1883\r\n".to_vec();
    for (version, header) in [(1, text), (2, header(0, ""))] {
        let broker = Setup::default()
            .listener(&format!("enable_proxy_protocol {version}"))
            .start();
        // Byte by byte, then all at once.
        for chunk in [1, 4096] {
            let mut client = Client::open(&broker);
            let bytes = [&header, CONNECT].concat();
            for piece in bytes.chunks(chunk) {
                client.send(piece);
            }
            client.expect(PacketType::ConnAck);
            client.ping();
        }
        eventually("the client's address is logged", || {
            broker
                .log()
                .contains("New client connected from 192.0.2.7:4660 as a (p2, c1, k0).")
        });
        let mut client = Client::open(&broker);
        client.send(CONNECT);
        assert_eq!(client.read_to_end(), b"", "without the header");
        let mut client = Client::open(&broker);
        client.send(&vec![b'\r'; 5000]);
        assert_eq!(client.read_to_end(), b"");
    }
}

/// What others say of themselves proves nothing.
#[test]
fn load_balancers_may_be_named() {
    let header = b"PROXY TCP4 192.0.2.7 192.0.2.8 4660 1883\r\n";
    for (trusted, is_in) in [("192.0.2.0/24 127.0.0.0/8", true), ("192.0.2.0/24", false)] {
        let setup = Setup::default().listener("enable_proxy_protocol 1");
        let broker = setup
            .listener(&format!("proxy_protocol_trusted {trusted}"))
            .start();
        let mut client = Client::open(&broker);
        client.send(&[&header[..], CONNECT].concat());
        if is_in {
            client.expect(PacketType::ConnAck);
        } else {
            assert_eq!(client.read_to_end(), b"");
            eventually("it is logged", || {
                broker.log().contains("not in proxy_protocol_trusted")
            });
        }
    }
}

#[test]
fn a_load_balancer_answers_for_tls_and_certificates() {
    let broker = Setup::default()
        .listener("enable_proxy_protocol 2")
        .listener("proxy_protocol_v2_require_tls true")
        .listener("require_certificate true")
        .listener("use_identity_as_username true")
        .listener("use_username_as_clientid true")
        .start();
    let mut client = Client::open(&broker);
    client.send(&[&header(7, "user"), CONNECT].concat());
    client.expect(PacketType::ConnAck);
    eventually("the certificate names the client", || {
        broker
            .log()
            .contains("New client connected from 192.0.2.7:4660 as user (p2, c1, k0, u'user').")
    });
    for header in [header(0, "user"), header(1, "user")] {
        let mut client = Client::open(&broker);
        client.send(&[&header, CONNECT].concat());
        assert_eq!(client.read_to_end(), b"");
    }
}
