//! A broker's process, a small blocking client, the certificates of both, a browser, and a Prometheus.

pub(crate) mod api;
mod broker;
mod browser;
mod certificates;
mod client;
pub(crate) mod http;
mod options;
mod packet;
mod prometheus;
mod stream;
mod web_socket;

use std::time::{Duration, Instant};

pub(crate) use broker::{Broker, Run, Setup, free_port, program, run};
pub(crate) use browser::Browser;
pub(crate) use certificates::Certificates;
pub(crate) use client::{Client, subscribe_packet, unsubscribe_packet};
pub(crate) use options::Options;
pub(crate) use packet::{Message, Received};
pub(crate) use prometheus::Prometheus;

/// How long the tests wait for what must come, on a machine that is busy with something else.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);
/// How long they listen for what must not come.
pub(crate) const SILENCE: Duration = Duration::from_millis(300);

/// Waits until `condition` holds.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !condition() {
        assert!(Instant::now() < deadline, "did not happen in {TIMEOUT:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
