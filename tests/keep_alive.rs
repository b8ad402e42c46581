//! Keep alive: one and a half times the interval [MQTT-3.1.2-22].

use std::time::{Duration, Instant};

use mqtt::ReasonCode;

use crate::harness::{Broker, Client, Options};

#[test]
fn a_silent_client_is_closed() {
    let broker = Broker::start();
    let mut old = Client::connect(&broker, &Options::new("a").keep_alive_s(1));
    let mut new = Client::connect(&broker, &Options::new("b").v5().keep_alive_s(1));
    let begin = Instant::now();
    assert_eq!(new.expect_closed().0, Some(ReasonCode::KeepAliveTimeout));
    old.expect_closed();
    let elapsed = begin.elapsed();
    assert!(
        (Duration::from_millis(1300)..Duration::from_millis(3500)).contains(&elapsed),
        "{elapsed:?}"
    );
}

#[test]
fn a_client_that_pings_stays() {
    let broker = Broker::start();
    let mut client = Client::connect(&broker, &Options::new("a").keep_alive_s(1));
    for _ in 0..8 {
        std::thread::sleep(Duration::from_millis(500));
        client.ping();
    }
}

#[test]
fn without_keep_alive_a_silent_client_stays() {
    let broker = Broker::start();
    let mut client = Client::connect(&broker, &Options::new("a").keep_alive_s(0));
    std::thread::sleep(Duration::from_secs(4));
    client.ping();
}
