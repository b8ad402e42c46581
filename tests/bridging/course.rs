//! When a bridge connects, to whom, and what it says of it.
//!
//! Invariants: none.

use std::net::{IpAddr, Ipv4Addr};

use mqtt::packet::Packet;
use mqtt::{QoS, ReasonCode};
use rustix::process::Signal;
use transport::socket::reserve_port;

use super::peer::Mosquitto;
use super::{await_connected, await_state, bridge_to};
use crate::harness::{Broker, Certificates, Client, Options, Setup, eventually, free_port};

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[test]
fn the_state_of_a_bridge_is_published_on_both_sides() {
    let Some(mut far) = Mosquitto::start(&[]) else {
        return;
    };
    let near = bridge_to(far.port(), &["topic a out", "remote_clientid bridge"]).start();
    await_connected(&near);
    let topic = "$SYS/broker/connection/bridge/state";
    let mut there = Client::connect_at(far.port(), &Options::new("there"));
    there.subscribe(topic, QoS::AtLeastOnce);
    assert_eq!(there.payloads(1), ["1"]);
    let mut here = Client::connect(&near, &Options::new("here"));
    here.subscribe(topic, QoS::AtLeastOnce);
    assert_eq!(here.payloads(1), ["1"]);
    far.stop();
    assert_eq!(here.payloads(1), ["0"]);
    far.start_again();
    assert_eq!(here.payloads(1), ["1"]);
    // A bridge that is killed cannot say so, but its Will can.
    let mut there = Client::connect_at(far.port(), &Options::new("there"));
    there.subscribe(topic, QoS::AtLeastOnce);
    assert_eq!(there.payloads(1), ["1"]);
    near.kill();
    assert_eq!(there.payloads(1), ["0"]);
}

#[test]
fn a_broker_that_ends_says_so_to_the_other_one() {
    let far = Broker::start();
    let near = bridge_to(far.port(), &["topic a out", "remote_clientid bridge"]).start();
    await_connected(&near);
    let mut there = Client::connect(&far, &Options::new("there"));
    there.subscribe("$SYS/broker/connection/bridge/state", QoS::AtLeastOnce);
    assert_eq!(there.payloads(1), ["1"]);
    near.signal(Signal::TERM);
    let (status, log) = near.wait();
    assert!(status.success(), "{log}");
    assert_eq!(there.payloads(1), ["0"]);
}

#[test]
fn notifications_are_as_they_are_configured() {
    let far = Broker::start();
    let lines = [
        "topic # out 0 a/ b/",
        "notification_topic my/state",
        "notifications_local_only true",
    ];
    let near = bridge_to(far.port(), &lines).start();
    let mut here = Client::connect(&near, &Options::new("here"));
    here.subscribe("my/state", QoS::AtLeastOnce);
    while here.payloads(1) != ["1"] {}
    let mut there = Client::connect(&far, &Options::new("there"));
    there.subscribe("my/state", QoS::AtLeastOnce);
    there.subscribe("$SYS/broker/connection/#", QoS::AtLeastOnce);
    there.expect_nothing();
}

#[test]
fn the_next_address_is_tried() {
    let (_reserved, first) = reserve_port(LOCALHOST).unwrap();
    let second = Broker::start();
    let near = Setup::default()
        .listener("connection far")
        .listener(&format!(
            "addresses 127.0.0.1:{first} 127.0.0.1:{}",
            second.port()
        ))
        .listener("restart_timeout 1")
        .listener("topic # out 1 a/ b/")
        .start();
    await_connected(&near);
    assert!(
        near.log()
            .contains(&format!("is connected to 127.0.0.1:{}", second.port()))
    );
}

#[test]
fn a_lazy_bridge_connects_when_enough_waits_and_leaves_when_nothing_comes() {
    let far = Broker::start();
    let lines = [
        "topic # out 1 a/ b/",
        "start_type lazy",
        "threshold 3",
        "idle_timeout 1",
    ];
    let near = bridge_to(far.port(), &lines).start();
    await_state(&near, "0");
    let mut there = Client::connect(&far, &Options::new("there"));
    there.subscribe("b/#", QoS::AtLeastOnce);
    let mut here = Client::connect(&near, &Options::new("here"));
    for payload in ["1", "2"] {
        here.publish("a/x", payload.as_bytes(), QoS::AtLeastOnce);
    }
    there.expect_nothing();
    // Those at QoS 0 wait too, as mosquitto has it.
    here.publish("a/x", b"3", QoS::AtMostOnce);
    assert_eq!(there.payloads(3), ["1", "2", "3"]);
    await_state(&near, "0");
    for payload in ["4", "5", "6"] {
        here.publish("a/x", payload.as_bytes(), QoS::AtLeastOnce);
    }
    assert_eq!(there.payloads(3), ["4", "5", "6"]);
}

#[test]
fn a_bridge_that_starts_once_stays_away() {
    let far = Broker::start();
    let near = bridge_to(far.port(), &["topic # out 1 a/ b/", "start_type once"]).start();
    await_connected(&near);
    drop(far);
    eventually("the bridge ends", || {
        near.log().contains("ends, as its start_type is once")
    });
    await_state(&near, "0");
}

#[test]
fn a_bridge_speaks_tls_and_shows_its_certificate() {
    let certificates = Certificates::new();
    let far = Setup::default()
        .tls(&certificates)
        .listener("require_certificate true")
        .start();
    let path = |name: &str| certificates.path(name).display().to_string();
    let lines = [
        "topic # out 1 a/ b/".to_owned(),
        format!("bridge_cafile {}", path("ca.crt")),
        format!("bridge_certfile {}", path("client.crt")),
        format!("bridge_keyfile {}", path("client.key")),
    ];
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    let near = bridge_to(far.port(), &lines).start();
    await_connected(&near);
    let config = certificates.client_config(rustls::ALL_VERSIONS, true);
    let mut there = Client::connect(&far, &Options::new("there").tls(config));
    there.subscribe("b/#", QoS::AtLeastOnce);
    Client::connect(&near, &Options::new("here")).publish("a/x", b"1", QoS::AtLeastOnce);
    assert_eq!(there.payloads(1), ["1"]);
}

#[test]
fn a_bridge_goes_back_to_its_first_address() {
    let (reserved, first) = reserve_port(LOCALHOST).unwrap();
    let second = Broker::start();
    let near = Setup::default()
        .listener("connection far")
        .listener(&format!(
            "addresses 127.0.0.1:{first} 127.0.0.1:{}",
            second.port()
        ))
        .listener("restart_timeout 1")
        .listener("topic # out 1 a/ b/")
        .start();
    await_connected(&near);
    drop(reserved);
    let first = Setup::default().start_at(first);
    eventually("the bridge is back", || {
        near.log().contains("its first address is there again")
    });
    await_connected(&near);
    let mut there = Client::connect(&first, &Options::new("there"));
    there.subscribe("b/#", QoS::AtLeastOnce);
    Client::connect(&near, &Options::new("here")).publish("a/x", b"1", QoS::AtLeastOnce);
    assert_eq!(there.payloads(1), ["1"]);
}

#[test]
fn another_client_cannot_have_the_session_of_a_bridge() {
    let near = bridge_to(free_port(), &["topic # out 1 a/ b/", "local_clientid bridge"]).start();
    let options = Options::new("bridge").v5();
    let (_client, connack) = Client::try_connect(&near, &options);
    let connack = connack.expect("a CONNACK");
    let Packet::ConnAck(connack) = connack.packet() else {
        panic!("a CONNACK");
    };
    assert_eq!(connack.reason, ReasonCode::ClientIdentifierNotValid);
}
