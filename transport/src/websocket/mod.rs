//! WebSocket (RFC 6455), both sides: the upgrade from HTTP, and frames in both directions. It takes and returns bytes,
//! without I/O.
//!
//! The server's half of the upgrade is in [`handshake`], before there is a [`WebSocket`]. The client's half is in
//! [`client`], and its [`WebSocket`] waits for the answer. `frames.rs` reads and writes frames, `masking.rs` has the
//! keys for masking.
//!
//! Invariants: a frame is never buffered as a whole; its bytes are passed on as they arrive. So a connection keeps the
//! state of one frame header and at most one control frame's payload (125 bytes). Any error of the peer is answered
//! with a close frame with its code, and nothing is read after that.

pub mod client;
mod frames;
pub mod handshake;
mod masking;

use std::fmt;

use tungstenite::protocol::frame::coding::CloseCode;

use crate::stream::{Opened, StreamError};
use crate::tls::connection::TlsConnection;
use client::{Resource, Upgrade};
use frames::{Reader, Side, Step};

/// A connection that was upgraded, above TCP or TLS.
#[derive(Debug)]
pub struct WebSocket {
    tls: Option<TlsConnection>,
    reader: Reader,
    /// A client's upgrade that was not answered yet.
    upgrade: Option<Box<Upgrade>>,
    /// Whether a close frame was sent: nothing may follow it.
    closed: bool,
}

/// The peer violated WebSocket, or MQTT over it. The connection is over after the close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebSocketError {
    /// The code of the close frame: RFC 6455, section 7.4.1.
    pub code: u16,
    /// What the peer did wrong, as half a sentence.
    pub why: &'static str,
}

impl fmt::Display for WebSocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebSocket: {} (close code {})", self.why, self.code)
    }
}

impl std::error::Error for WebSocketError {}

impl WebSocket {
    /// A server's side: what follows the answer to the upgrade.
    pub(crate) fn server(tls: Option<TlsConnection>, frame_bytes_max: u64) -> Self {
        Self {
            tls,
            reader: Reader::new(Side::Server, frame_bytes_max),
            upgrade: None,
            closed: false,
        }
    }

    /// A client's side, from the upgrade on. A frame may have any length, because none is buffered here.
    pub(crate) fn client(tls: Option<TlsConnection>, resource: &Resource) -> Self {
        Self {
            tls,
            reader: Reader::new(Side::Client, u64::MAX),
            upgrade: Some(Box::new(Upgrade::new(resource))),
            closed: false,
        }
    }

    /// Appends the first flight, for [`crate::stream::SecureStream::start`].
    pub(crate) fn start(&mut self, wire_out: &mut Vec<u8>) {
        if let Some(tls) = &mut self.tls {
            tls.start(wire_out);
        }
        let request = self
            .upgrade
            .as_mut()
            .map(|upgrade| std::mem::take(&mut upgrade.request));
        // TLS keeps it until its handshake is over.
        self.send(&[&request.unwrap_or_default()], wire_out);
    }

    /// Whether the upgrade was not answered yet.
    pub(crate) fn is_upgrading(&self) -> bool {
        self.upgrade.is_some()
    }

    pub(crate) fn tls(&self) -> Option<&TlsConnection> {
        self.tls.as_ref()
    }

    pub(crate) fn forget_certificate(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.forget_certificate();
        }
    }

    /// Opens received frames, for [`crate::stream::SecureStream::open`].
    pub(crate) fn open(
        &mut self,
        wire: &[u8],
        plain: &mut Vec<u8>,
        wire_out: &mut Vec<u8>,
    ) -> Result<Opened, StreamError> {
        let Some(tls) = &mut self.tls else {
            return Ok(Opened {
                peer_closed: self.read(wire, plain, wire_out)?,
                ..Opened::default()
            });
        };
        let mut frames = Vec::new();
        let opened = tls.open(wire, &mut frames, wire_out);
        // Bytes that arrived before an error of TLS are valid.
        let peer_closed = self.read(&frames, plain, wire_out)?;
        let opened = opened?;
        Ok(Opened {
            peer_closed: opened.peer_closed || peer_closed,
            ..opened
        })
    }

    /// Reads bytes that TLS has decrypted: the answer to a client's upgrade, and frames. Returns whether the peer
    /// closed.
    pub(crate) fn read(
        &mut self,
        bytes: &[u8],
        plain: &mut Vec<u8>,
        wire_out: &mut Vec<u8>,
    ) -> Result<bool, StreamError> {
        if self.closed {
            return Ok(true);
        }
        let Some(upgrade) = &mut self.upgrade else {
            return self.read_frames(bytes, plain, wire_out);
        };
        let answered = upgrade.read(bytes);
        self.closed = answered.is_err();
        let Some(frames) = answered? else {
            return Ok(false);
        };
        let waiting = self.upgrade.take().map(|upgrade| upgrade.waiting);
        self.seal(&waiting.unwrap_or_default(), wire_out);
        self.read_frames(&frames, plain, wire_out)
    }

    fn read_frames(
        &mut self,
        frames: &[u8],
        plain: &mut Vec<u8>,
        wire_out: &mut Vec<u8>,
    ) -> Result<bool, StreamError> {
        let mut answer = Vec::new();
        let step = self.reader.read(frames, plain, &mut answer);
        if let Err(error) = &step {
            frames::push_close(CloseCode::from(error.code), self.reader.side(), &mut answer);
        }
        self.closed = step != Ok(Step::Goes);
        self.send(&[&answer], wire_out);
        Ok(step? == Step::Closed)
    }

    /// Appends one binary frame; before the upgrade is answered, the bytes are kept.
    pub(crate) fn seal(&mut self, plain: &[u8], wire_out: &mut Vec<u8>) {
        if self.closed || plain.is_empty() {
            return;
        }
        if let Some(upgrade) = &mut self.upgrade {
            return upgrade.waiting.extend_from_slice(plain);
        }
        match (self.reader.side(), &mut self.tls) {
            (Side::Server, _) => {
                let (header, length) = frames::binary_header(plain.len());
                let header = header.get(..length).unwrap_or_default();
                self.send(&[header, plain], wire_out);
            }
            (Side::Client, None) => frames::push_binary(plain, Side::Client, wire_out),
            (Side::Client, Some(tls)) => {
                let mut frame = Vec::with_capacity(plain.len() + frames::HEADER_BYTES_MAX);
                frames::push_binary(plain, Side::Client, &mut frame);
                tls.seal(&frame, wire_out);
            }
        }
    }

    /// Appends a close frame, and the end of TLS.
    pub(crate) fn close(&mut self, wire_out: &mut Vec<u8>) {
        if !self.closed && self.upgrade.is_none() {
            let mut close = Vec::new();
            frames::push_close(CloseCode::Normal, self.reader.side(), &mut close);
            self.send(&[&close], wire_out);
        }
        self.closed = true;
        if let Some(tls) = &mut self.tls {
            tls.close(wire_out);
        }
    }

    fn send(&mut self, parts: &[&[u8]], wire_out: &mut Vec<u8>) {
        match &mut self.tls {
            // In one record.
            Some(tls) => tls.seal(&parts.concat(), wire_out),
            None => parts.iter().for_each(|part| wire_out.extend_from_slice(part)),
        }
    }
}

#[cfg(test)]
mod client_tests;
#[cfg(test)]
mod tests;
