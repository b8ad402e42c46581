//! One connection of a storm, from TCP to the broker's farewell.
//!
//! Invariant: each stage is timed from the end of the one before, so the stages add up to the whole.

use std::sync::atomic::Ordering;

use mqtt::error::EncodeError;
use mqtt::frame::Frame;
use mqtt::packet::{ConnAck, Connect, Disconnect, Packet};
use mqtt::property::Properties;
use mqtt::reason::ReasonCode;
use transport::clock::monotonic_ns;

use super::worker::{StormResult, StormWorker};
use crate::connection::{Broken, Connection};
use crate::measure::latency::Latency;
use crate::scenario::properties::Carrier;
use crate::scenario::topics::numbered;

/// A connection on its way.
pub(super) struct Guest {
    pub(super) connection: Connection,
    pub(super) stage: Stage,
    pub(super) number: u64,
    pub(super) intended_ns: u64,
    pub(super) entered_at_ns: u64,
    pub(super) measured: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Tcp,
    Tls,
    WebSocket,
    ConnAck,
    Farewell,
}

impl Guest {
    /// TCP is there.
    pub(super) fn connected(&mut self, worker: &mut StormWorker<'_>) -> Result<(), Broken> {
        self.enter(Stage::Tls, worker, |result| &mut result.tcp);
        self.connection.connected(&mut worker.ring);
        self.go_on(worker)
    }

    /// Bytes came.
    pub(super) fn received(
        &mut self,
        bytes: &[u8],
        more: bool,
        worker: &mut StormWorker<'_>,
    ) -> Result<(), Broken> {
        let mut accepted = false;
        let version = worker.state.storm.version;
        self.connection.take(bytes, &mut worker.scratch, |frame, _| {
            accepted = true;
            accept(frame, version)
        })?;
        if accepted && self.stage == Stage::ConnAck {
            self.say_goodbye(worker);
        }
        if !more {
            self.connection.receive(&mut worker.ring);
        }
        self.go_on(worker)
    }

    /// CONNECT, once TLS and WebSocket are there; and what waits to be sent.
    fn go_on(&mut self, worker: &mut StormWorker<'_>) -> Result<(), Broken> {
        if self.stage == Stage::Tls && !self.connection.stream().is_securing() {
            match self.connection.stream().negotiated() {
                Some(negotiated) => {
                    self.enter(Stage::WebSocket, worker, |result| &mut result.tls);
                    worker.result.negotiated.get_or_insert(negotiated);
                }
                None => self.stage = Stage::WebSocket,
            }
        }
        if self.stage == Stage::WebSocket && !self.connection.stream().is_handshaking() {
            if self.connection.stream().is_web_socket() {
                self.enter(Stage::ConnAck, worker, |result| &mut result.web_socket);
            } else {
                self.stage = Stage::ConnAck;
            }
            self.connect(worker)?;
        }
        self.flush(worker)
    }

    fn connect(&mut self, worker: &StormWorker<'_>) -> Result<(), Broken> {
        let storm = &worker.state.storm;
        let client_identifier = format!("lg{:04x}c{}x{}", worker.state.number, worker.index, self.number);
        let user_name = storm.credentials.user_name.as_deref();
        let user_name = user_name.map(|name| numbered(name, self.number as u32));
        let refused = |error: EncodeError| Broken::Refused(error.to_string());
        let properties = storm.properties.of(Carrier::Connect, Some(self.number as u32));
        let properties = properties.map_err(refused)?;
        let connect = Connect {
            version: storm.version,
            clean_start: true,
            keep_alive_s: KEEP_ALIVE_S,
            properties: properties.as_properties(),
            client_identifier: &client_identifier,
            will: None,
            user_name: user_name.as_deref(),
            password: storm.credentials.password.as_deref().map(str::as_bytes),
        };
        connect.encode(self.connection.out()).map_err(refused)
    }

    fn say_goodbye(&mut self, worker: &mut StormWorker<'_>) {
        let now_ns = self.enter(Stage::Farewell, worker, |result| &mut result.connack);
        if self.measured {
            worker
                .result
                .whole
                .record(now_ns.saturating_sub(self.intended_ns));
        }
        worker.state.counts.made.fetch_add(1, Ordering::Relaxed);
        let goodbye = Disconnect {
            reason: ReasonCode::Success,
            properties: Properties::EMPTY,
        };
        goodbye.encode(worker.state.storm.version, self.connection.out());
        self.connection
            .close(&mut worker.ring, &mut worker.scratch, now_ns);
    }

    fn enter(
        &mut self,
        stage: Stage,
        worker: &mut StormWorker<'_>,
        histogram: impl FnOnce(&mut StormResult) -> &mut Latency,
    ) -> u64 {
        let now_ns = monotonic_ns();
        if self.measured {
            histogram(&mut worker.result).record(now_ns.saturating_sub(self.entered_at_ns));
        }
        self.stage = stage;
        self.entered_at_ns = now_ns;
        now_ns
    }

    /// Sends what waits.
    pub(super) fn flush(&mut self, worker: &mut StormWorker<'_>) -> Result<(), Broken> {
        self.connection
            .flush(&mut worker.ring, &mut worker.scratch, monotonic_ns())
    }
}

fn accept(frame: &Frame<'_>, version: mqtt::version::ProtocolVersion) -> Result<(), Broken> {
    match mqtt::decode::packet(frame, version)? {
        Packet::ConnAck(ConnAck {
            reason: ReasonCode::Success,
            ..
        }) => Ok(()),
        Packet::ConnAck(ConnAck { reason, .. }) => Err(Broken::Refused(format!(
            "the broker refused the connection: {reason}"
        ))),
        _ => Err(Broken::Refused(
            "the broker answered CONNECT with another packet".to_owned(),
        )),
    }
}

const KEEP_ALIVE_S: u16 = 60;
