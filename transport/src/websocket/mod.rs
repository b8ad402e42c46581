//! WebSocket (RFC 6455), the server's side: the upgrade from HTTP, and frames in and out. Bytes in, bytes out, no I/O.
//!
//! Invariants: a frame is never gathered, its bytes go on as they come, so a connection holds the state of one frame header
//! and at most one control frame's payload (125 bytes). Whatever the peer does wrong is answered by a close frame with
//! its code, and nothing is read after that.

mod frames;
pub mod handshake;

use std::fmt;

use tungstenite::protocol::frame::coding::CloseCode;

use crate::stream::{Opened, StreamError};
use crate::tls::connection::TlsConnection;
use frames::{Reader, Step};

/// A connection that was upgraded, above TCP or TLS.
#[derive(Debug)]
pub struct WebSocket {
    tls: Option<TlsConnection>,
    reader: Reader,
    /// A close frame was sent: nothing may follow it.
    closed: bool,
}

/// The peer broke the rules of WebSocket, or of MQTT over it. The connection is over after the close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebSocketError {
    /// The code of the close frame: RFC 6455, section 7.4.1.
    pub code: u16,
    /// What was wrong.
    pub why: &'static str,
}

impl fmt::Display for WebSocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebSocket: {} (close code {})", self.why, self.code)
    }
}

impl std::error::Error for WebSocketError {}

impl WebSocket {
    /// What follows the answer to the upgrade.
    pub(crate) fn new(tls: Option<TlsConnection>, frame_bytes_max: u64) -> Self {
        Self {
            tls,
            reader: Reader::new(frame_bytes_max),
            closed: false,
        }
    }

    pub(crate) fn tls(&self) -> Option<&TlsConnection> {
        self.tls.as_ref()
    }

    pub(crate) fn forget_certificate(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.forget_certificate();
        }
    }

    /// [`crate::stream::SecureStream::open`].
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
        // What came before a fault of TLS counts.
        let peer_closed = self.read(&frames, plain, wire_out)?;
        let opened = opened?;
        Ok(Opened {
            peer_closed: opened.peer_closed || peer_closed,
            ..opened
        })
    }

    /// Reads frames, past TLS; whether the peer closed.
    pub(crate) fn read(
        &mut self,
        frames: &[u8],
        plain: &mut Vec<u8>,
        wire_out: &mut Vec<u8>,
    ) -> Result<bool, WebSocketError> {
        if self.closed {
            return Ok(true);
        }
        let mut answer = Vec::new();
        let step = self.reader.read(frames, plain, &mut answer);
        if let Err(error) = &step {
            frames::push_close(CloseCode::from(error.code), &mut answer);
        }
        self.closed = step != Ok(Step::Goes);
        self.send(&[&answer], wire_out);
        step.map(|step| step == Step::Closed)
    }

    /// One binary frame.
    pub(crate) fn seal(&mut self, plain: &[u8], wire_out: &mut Vec<u8>) {
        if !self.closed && !plain.is_empty() {
            let (header, length) = frames::binary_header(plain.len());
            let header = header.get(..length).unwrap_or_default();
            self.send(&[header, plain], wire_out);
        }
    }

    /// A close frame, and the end of TLS.
    pub(crate) fn close(&mut self, wire_out: &mut Vec<u8>) {
        if !self.closed {
            self.closed = true;
            let mut close = Vec::new();
            frames::push_close(CloseCode::Normal, &mut close);
            self.send(&[&close], wire_out);
        }
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
mod tests;
