//! Bridges of this broker to others, with the keys of mosquitto.conf: to a real mosquitto and to another Midge.
//!
//! `peer.rs` is a mosquitto that a test starts, `carrying.rs` what goes over a bridge, `cuts.rs` what a cut of either
//! side costs, `course.rs` when a bridge connects and to whom, `access.rs` as whom.
//!
//! Invariants: a bridge is waited for by what it publishes of its state, and not by time.

mod access;
mod carrying;
mod course;
mod cuts;
mod peer;

use mqtt::QoS;

use crate::harness::{Broker, Client, Options, Setup};

/// A configuration with a bridge to this port.
fn bridge_to(port: u16, lines: &[&str]) -> Setup {
    let setup = Setup::default()
        .listener("connection far")
        .listener(&format!("address 127.0.0.1:{port}"))
        .listener("restart_timeout 1");
    lines.iter().fold(setup, |setup, line| setup.listener(line))
}

/// Waits until the bridge of a broker is connected, as that publishes.
fn await_connected(broker: &Broker) {
    await_state(broker, "1");
}

fn await_state(broker: &Broker, state: &str) {
    await_state_at(broker.port(), state);
}

fn await_state_at(port: u16, state: &str) {
    let mut watcher = Client::connect_at(port, &Options::new("watcher").v5());
    watcher.subscribe("$SYS/broker/connection/+/state", QoS::AtMostOnce);
    while watcher.message().payload != state.as_bytes() {}
    watcher.disconnect();
}
