//! One connection that is made and closed again, from the TCP connect until the broker closes it.
//!
//! Invariant: it counts as made when the broker has accepted it, whether or not the broker closes it after the
//! DISCONNECT.

use std::sync::atomic::Ordering;

use transport::clock::monotonic_ns;
use transport::ring::Ring;

use super::measurements::{ConnectMeasurements, ConnectState};
use crate::connection::login::{self, Login};
use crate::connection::opening::{Opening, Stage};
use crate::connection::{Broken, Connection, Scratch};
use crate::scenario::properties::Carrier;

/// What the connections of one thread share.
pub(super) struct ConnectThread<'a> {
    pub(super) ring: Ring,
    pub(super) state: &'a ConnectState,
    /// Its number among the threads, in client identifiers.
    pub(super) index: usize,
    pub(super) scratch: Scratch,
    pub(super) result: ConnectMeasurements,
}

/// A connection that is being made and closed.
pub(super) struct Attempt {
    pub(super) connection: Connection,
    pub(super) opening: Opening,
    pub(super) number: u64,
    pub(super) intended_ns: u64,
    pub(super) measured: bool,
}

impl Attempt {
    /// The TCP connection is established: TLS or CONNECT is next.
    pub(super) fn connected(&mut self, thread: &mut ConnectThread<'_>) -> Result<(), Broken> {
        self.opening.connected(monotonic_ns(), &mut thread.result.stages);
        self.connection.connected(&mut thread.ring);
        self.go_on(thread)
    }

    /// Takes received bytes, and continues as far as they allow.
    pub(super) fn received(
        &mut self,
        bytes: &[u8],
        more: bool,
        thread: &mut ConnectThread<'_>,
    ) -> Result<(), Broken> {
        let mut accepted = false;
        let version = thread.state.scenario.version;
        let waits = self.opening.stage == Stage::ConnAck;
        self.connection.take(bytes, &mut thread.scratch, |frame, _| {
            if waits && !accepted {
                login::connack(frame, version)?;
                accepted = true;
            }
            Ok(())
        })?;
        if accepted {
            self.disconnect(thread);
        }
        if !more {
            self.connection.receive(&mut thread.ring);
        }
        self.go_on(thread)
    }

    /// Sends CONNECT once TLS and WebSocket are ready, and everything that waits to be sent.
    fn go_on(&mut self, thread: &mut ConnectThread<'_>) -> Result<(), Broken> {
        let times = &mut thread.result.stages;
        if self
            .opening
            .advance(self.connection.stream(), monotonic_ns(), times)
        {
            self.connect(thread)?;
        }
        self.flush(thread)
    }

    fn connect(&mut self, thread: &ConnectThread<'_>) -> Result<(), Broken> {
        let scenario = &thread.state.scenario;
        let client_identifier = format!("lg{:04x}c{}x{}", thread.state.number, thread.index, self.number);
        let number = Some(self.number as u32);
        let properties = scenario.properties.of(Carrier::Connect, number)?;
        let login = Login {
            version: scenario.version,
            clean_start: true,
            keep_alive_s: KEEP_ALIVE_S,
            client_identifier: &client_identifier,
            credentials: &scenario.credentials,
            number,
            properties: properties.as_properties(),
            will: None,
        };
        login.encode(self.connection.out())
    }

    fn disconnect(&mut self, thread: &mut ConnectThread<'_>) {
        let now_ns = monotonic_ns();
        self.opening
            .accepted(Stage::Closing, now_ns, &mut thread.result.stages);
        if self.measured {
            thread
                .result
                .whole
                .record(now_ns.saturating_sub(self.intended_ns));
        }
        thread.state.counts.made.fetch_add(1, Ordering::Relaxed);
        login::disconnect(thread.state.scenario.version, self.connection.out());
        self.connection
            .close(&mut thread.ring, &mut thread.scratch, now_ns);
    }

    /// Sends the waiting bytes.
    pub(super) fn flush(&mut self, thread: &mut ConnectThread<'_>) -> Result<(), Broken> {
        self.connection
            .flush(&mut thread.ring, &mut thread.scratch, monotonic_ns())
    }
}

const KEEP_ALIVE_S: u16 = 60;
