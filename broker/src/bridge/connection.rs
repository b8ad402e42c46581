//! One connection of a bridge: its socket, TLS, and the bytes that have come and that are to go.
//!
//! Invariants: nothing here waits. A packet that has come stays until it is handled.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use mqtt::encode;
use mqtt::frame::{self, Frame};
use transport::socket;
use transport::stream::SecureStream;

use crate::limits;

/// A connection to one of the two brokers.
pub(super) struct BridgeConnection {
    socket: OwnedFd,
    stream: SecureStream,
    /// What has come, without TLS.
    pub(super) inbound: Inbound,
    /// Packets that are to be sent.
    pub(super) packets: Vec<u8>,
    /// As it is on the wire; the first `sent` bytes have gone.
    wire: Vec<u8>,
    sent: usize,
    /// Silence after which it is tried; zero if it never is.
    keep_alive: Duration,
    last_sent: Instant,
    last_received: Instant,
    last_ping: Instant,
}

/// Bytes that have come, of which the first ones are handled.
#[derive(Default)]
pub(super) struct Inbound {
    bytes: Vec<u8>,
    handled: usize,
}

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
pub(super) enum BridgeConnectionError {
    #[error("it closed the connection")]
    Closed,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Stream(#[from] transport::stream::StreamError),
    #[error("it has not answered for {0} seconds")]
    Silent(u64),
}

impl BridgeConnection {
    /// A connection over a non-blocking socket; the first flight of TLS is on its way.
    pub(super) fn new(socket: OwnedFd, mut stream: SecureStream, now: Instant) -> Self {
        let mut wire = Vec::new();
        stream.start(&mut wire);
        Self {
            socket,
            stream,
            inbound: Inbound::default(),
            packets: Vec::new(),
            wire,
            sent: 0,
            keep_alive: Duration::ZERO,
            last_sent: now,
            last_received: now,
            last_ping: now,
        }
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// From now on an idle connection is tried after so many seconds; never if it is 0.
    pub(super) fn keep_alive(&mut self, seconds: u16) {
        self.keep_alive = Duration::from_secs(u64::from(seconds));
    }

    /// Takes what has come, up to a bound.
    ///
    /// # Errors
    /// The connection is over; what came before is there to be handled.
    pub(super) fn receive(&mut self, now: Instant, buffer: &mut [u8]) -> Result<(), BridgeConnectionError> {
        let mut taken = 0;
        while taken < limits::BRIDGE_READ_BYTES {
            let count = match socket::receive_now(self.socket.as_fd(), buffer) {
                Ok(0) => return Err(BridgeConnectionError::Closed),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            taken += count;
            self.last_received = now;
            let wire = buffer.get(..count).unwrap_or_default();
            let opened = self.stream.open(wire, &mut self.inbound.bytes, &mut self.wire)?;
            if let Some(warning) = opened.warning {
                tracing::warn!("{warning}");
            }
            if opened.peer_closed {
                return Err(BridgeConnectionError::Closed);
            }
        }
        Ok(())
    }

    /// Sends what the socket takes.
    ///
    /// # Errors
    /// The connection is over.
    pub(super) fn send(&mut self, now: Instant) -> Result<(), BridgeConnectionError> {
        if !self.packets.is_empty() {
            self.last_sent = now;
            self.stream.seal(&self.packets, &mut self.wire);
            self.packets.clear();
        }
        while let Some(rest) = self.wire.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match socket::send_now(self.socket.as_fd(), rest) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.drop_sent();
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.wire.clear();
        self.sent = 0;
        Ok(())
    }

    /// Frees what has gone, where that is much.
    fn drop_sent(&mut self) {
        if self.sent > limits::BRIDGE_READ_BYTES {
            self.wire.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// Bytes that wait to be sent.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.packets.len() + self.wire.len() - self.sent
    }

    /// Tries an idle connection by a PINGREQ.
    ///
    /// # Errors
    /// The other end does not answer.
    pub(super) fn check_alive(&mut self, now: Instant) -> Result<(), BridgeConnectionError> {
        if self.keep_alive.is_zero() {
            return Ok(());
        }
        let silent = now.saturating_duration_since(self.last_received);
        if silent > self.keep_alive.mul_f32(1.5) {
            return Err(BridgeConnectionError::Silent(silent.as_secs()));
        }
        if now >= self.next_ping() {
            self.last_ping = now;
            // What waits shows that this end is alive, once it goes.
            if self.waiting_bytes() == 0 {
                encode::pingreq(&mut self.packets);
            }
        }
        Ok(())
    }

    /// When [`Self::check_alive`] has something to do.
    pub(super) fn next_check(&self) -> Option<Instant> {
        let is_tried = !self.keep_alive.is_zero();
        is_tried.then(|| {
            self.next_ping()
                .min(self.last_received + self.keep_alive.mul_f32(1.5))
        })
    }

    /// A ping is due when nothing went, or nothing came, for so long.
    fn next_ping(&self) -> Instant {
        let quiet = self.last_sent.min(self.last_received).max(self.last_ping);
        quiet + self.keep_alive
    }

    /// Ends the stream in order; what does not fit is not worth waiting for.
    pub(super) fn close(mut self) {
        self.stream.seal(&self.packets, &mut self.wire);
        self.stream.close(&mut self.wire);
        let rest = self.wire.get(self.sent..).unwrap_or_default();
        let _ = socket::send_now(self.socket.as_fd(), rest);
    }
}

impl Inbound {
    /// The next whole packet; its bytes go with [`Self::handled`].
    pub(super) fn next(&self) -> Result<Option<Frame<'_>>, mqtt::DecodeError> {
        self.at(0)
    }

    /// The whole packet that begins so many bytes behind the next one.
    pub(super) fn at(&self, offset: usize) -> Result<Option<Frame<'_>>, mqtt::DecodeError> {
        let rest = self.bytes.get(self.handled + offset..).unwrap_or_default();
        frame::split(rest, limits::PACKET_BYTES_MAX)
    }

    /// Bytes that have come and are not handled.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.bytes.len() - self.handled
    }

    /// The next packet, of so many bytes, is handled.
    pub(super) fn handled(&mut self, bytes: usize) {
        self.handled += bytes;
        if self.handled >= self.bytes.len() {
            self.bytes.clear();
            self.handled = 0;
        } else if self.handled > limits::BRIDGE_READ_BYTES {
            self.bytes.drain(..self.handled);
            self.handled = 0;
        }
    }
}
