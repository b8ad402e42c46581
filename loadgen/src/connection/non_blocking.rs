//! One of many connections in a ring: the socket, TLS, an incomplete packet, and the bytes that wait to be sent.
//!
//! Invariants: bytes are sent in the order in which they were appended. While the ring has a send of this connection,
//! nothing else is sent and [`Connection::is_blocked`] is true. A complete packet is handled in the buffer where it
//! was received, without a copy (with TLS: without a second one). What breaks them: sending without
//! [`Connection::flush`].

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

use mqtt::frame::Frame;
use transport::ring::{Ring, Token, note_arrivals};
use transport::socket::{self, Socket};
use transport::stream::SecureStream;

use super::broken::Broken;
use super::frames::each_frame;

/// Buffers that all connections of a thread share.
#[derive(Debug, Default)]
pub struct Scratch {
    plain: Vec<u8>,
    wire: Vec<u8>,
}

/// A connection in a ring.
#[derive(Debug)]
pub struct Connection {
    socket: Socket,
    stream: SecureStream,
    token: Token,
    packet_bytes_max: u32,
    /// The beginning of an incomplete packet.
    unread: Vec<u8>,
    /// Packets that the next flush sends.
    out: Vec<u8>,
    /// TLS records that are neither sent nor in the ring.
    wire: Vec<u8>,
    sending: bool,
    /// Whether the kernel records when its bytes arrive.
    timed: bool,
    sent_at_ns: u64,
}

impl Connection {
    /// Creates the socket, at `local` if that is given, and begins to connect it;
    /// [`transport::ring::Completion::Connected`] reports the end.
    ///
    /// # Errors
    /// The errors of `socket(2)` and `bind(2)`.
    pub fn start(
        ring: &mut Ring,
        address: SocketAddr,
        local: Option<IpAddr>,
        stream: SecureStream,
        token: Token,
        packet_bytes_max: u32,
    ) -> Result<Connection, Broken> {
        let socket = socket::stream_from(address, local)?;
        ring.connect(&socket, address, token);
        let (unread, out, wire) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Connection {
            socket,
            stream,
            token,
            packet_bytes_max,
            unread,
            out,
            wire,
            sending: false,
            timed: false,
            sent_at_ns: 0,
        })
    }

    /// The TCP connection is established: requests its bytes and begins the TLS handshake.
    pub fn connected(&mut self, ring: &mut Ring) {
        self.receive(ring);
        self.stream.start(&mut self.wire);
    }

    /// Has the kernel record when its bytes arrive, from the next [`Connection::receive`] on; has no effect if that is
    /// not possible.
    pub fn note_arrivals(&mut self) {
        self.timed = note_arrivals(&self.socket).is_ok();
    }

    /// Requests bytes until a completion shows that no more will come by itself.
    pub fn receive(&mut self, ring: &mut Ring) {
        if self.timed {
            ring.receive_multishot_timed(&self.socket, self.token);
        } else {
            ring.receive_multishot(&self.socket, self.token);
        }
    }

    /// The buffer for packets of the next flush.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// TLS and WebSocket, with their state.
    pub fn stream(&self) -> &SecureStream {
        &self.stream
    }

    /// Whether [`Connection::flush`] would send anything.
    pub fn has_output(&self) -> bool {
        !self.out.is_empty() || !self.wire.is_empty()
    }

    /// Shuts both directions of the socket down.
    pub fn shut_down(&self) {
        socket::shut_down(self.socket.as_fd());
    }

    /// Whether the socket was full and the rest is still being sent.
    pub fn is_blocked(&self) -> bool {
        self.sending
    }

    /// When bytes were last sent, CLOCK_MONOTONIC ns.
    pub fn sent_at_ns(&self) -> u64 {
        self.sent_at_ns
    }

    /// Takes received bytes and passes each complete packet to `handle`, with the buffer for answers.
    ///
    /// # Errors
    /// The reason why the connection ends: TLS, the packet, or the error of `handle`.
    pub fn take(
        &mut self,
        received: &[u8],
        scratch: &mut Scratch,
        mut handle: impl FnMut(&Frame<'_>, &mut Vec<u8>) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        let mut closed = false;
        let plain = if self.stream.is_plain() {
            received
        } else {
            scratch.plain.clear();
            closed = self
                .stream
                .open(received, &mut scratch.plain, &mut self.wire)?
                .peer_closed;
            &scratch.plain
        };
        let maximum = self.packet_bytes_max;
        if self.unread.is_empty() {
            let taken = each_frame(plain, maximum, |frame| handle(frame, &mut self.out))?;
            self.unread
                .extend_from_slice(plain.get(taken..).unwrap_or_default());
        } else {
            self.unread.extend_from_slice(plain);
            let taken = each_frame(&self.unread, maximum, |frame| handle(frame, &mut self.out))?;
            self.unread.drain(..taken);
        }
        if closed { Err(Broken::Closed) } else { Ok(()) }
    }

    /// Sends what was appended, with one system call if the socket has room.
    ///
    /// # Errors
    /// The error of `send(2)`.
    #[inline]
    pub fn flush(&mut self, ring: &mut Ring, scratch: &mut Scratch, now_ns: u64) -> Result<(), Broken> {
        if self.sending || !self.has_output() {
            return Ok(());
        }
        self.sent_at_ns = now_ns;
        let bytes = if self.stream.is_plain() {
            &self.out
        } else {
            scratch.wire.clear();
            scratch.wire.append(&mut self.wire);
            if !self.out.is_empty() {
                self.stream.seal(&self.out, &mut scratch.wire);
            }
            &scratch.wire
        };
        let sent = match socket::send_now(self.socket.as_fd(), bytes) {
            Ok(sent) => sent,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error.into()),
        };
        if sent < bytes.len() {
            ring.send(&self.socket, self.token, bytes.clone(), sent..bytes.len());
            self.sending = true;
        }
        self.out.clear();
        Ok(())
    }

    /// The ring's send ended.
    ///
    /// # Errors
    /// The send's.
    pub fn sent(&mut self, result: io::Result<()>) -> Result<(), Broken> {
        self.sending = false;
        Ok(result?)
    }

    /// Appends the end of the TLS stream, for the last flush.
    pub fn close(&mut self, ring: &mut Ring, scratch: &mut Scratch, now_ns: u64) {
        if !self.stream.is_plain() && !self.sending {
            self.stream.seal(&self.out, &mut self.wire);
            self.out.clear();
            self.stream.close(&mut self.wire);
        }
        // The run is over: if the broker is gone already, nothing is lost.
        let _ = self.flush(ring, scratch, now_ns);
    }
}
