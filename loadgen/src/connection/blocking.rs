//! A single connection over a blocking socket, with TLS and WebSocket: sends packets and receives whole packets.
//!
//! Invariant: when [`BlockingConnection::send`] returns, the kernel has the bytes. When [`BlockingConnection::close`]
//! returns, the broker has read them, unless the broker is gone or silent.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mqtt::frame::{self, Frame, REMAINING_LENGTH_MAX};
use mqtt::packet::Packet;
use mqtt::version::ProtocolVersion;
use transport::blocking_socket::BlockingSocket;
use transport::stream::SecureStream;

use super::broken::Broken;
use super::frames::each_frame;
use super::login::{self, Granted};

/// A connection whose calls block.
#[derive(Debug)]
pub struct BlockingConnection {
    socket: BlockingSocket,
    stream: SecureStream,
    /// Decrypted bytes that are not a complete packet yet.
    unread: Vec<u8>,
    /// The buffer that the socket is read into.
    chunk: Box<[u8]>,
    closed: bool,
}

/// Where a connection leads to.
#[derive(Clone, Debug)]
pub enum Destination {
    /// Any of these addresses, from the local address if there is one of the same family.
    Addresses {
        /// The addresses, in the order in which they are tried.
        addresses: Vec<SocketAddr>,
        /// Addresses to connect from.
        local: Vec<IpAddr>,
    },
    /// The Unix socket at this path.
    Unix(PathBuf),
}

impl From<SocketAddr> for Destination {
    fn from(address: SocketAddr) -> Self {
        Self::Addresses {
            addresses: vec![address],
            local: Vec::new(),
        }
    }
}

/// The bytes of one complete packet.
#[derive(Debug)]
pub struct WholePacket(Vec<u8>);

impl WholePacket {
    /// Decodes it.
    ///
    /// # Errors
    /// A violation of the protocol.
    pub fn packet(&self, version: ProtocolVersion) -> Result<Packet<'_>, Broken> {
        Ok(mqtt::decode::packet(&self.frame()?, version)?)
    }

    fn frame(&self) -> Result<Frame<'_>, Broken> {
        frame::split(&self.0, PACKET_BYTES_MAX)?.ok_or(Broken::Closed)
    }
}

impl BlockingConnection {
    /// Connects to the Unix socket, or to the first of the addresses that answers; including TLS and the upgrade to
    /// WebSocket included.
    ///
    /// # Errors
    /// Why none answered, or why the handshake failed.
    pub fn open(
        to: &Destination,
        stream: SecureStream,
        deadline: Instant,
    ) -> Result<BlockingConnection, Broken> {
        let socket = dial(to, deadline)?;
        let mut connection = BlockingConnection {
            socket,
            stream,
            unread: Vec::new(),
            chunk: vec![0; CHUNK_BYTES].into_boxed_slice(),
            closed: false,
        };
        let mut hello = Vec::new();
        connection.stream.start(&mut hello);
        connection.write(&hello)?;
        while connection.stream.is_handshaking() {
            if !connection.fill(deadline)? {
                let what = if connection.stream.is_securing() {
                    "TLS handshake"
                } else {
                    "upgrade to WebSocket"
                };
                return Err(Broken::Refused(format!("no answer to the {what} in time")));
            }
            if connection.closed {
                return Err(Broken::Closed);
            }
        }
        Ok(connection)
    }

    /// Sends a CONNECT and waits for its CONNACK.
    ///
    /// # Errors
    /// The refusal, no answer until `deadline`, or an interruption.
    pub fn log_in(
        &mut self,
        connect: &[u8],
        version: ProtocolVersion,
        deadline: Instant,
        interrupted: &AtomicBool,
    ) -> Result<Granted, Broken> {
        let began = Instant::now();
        self.send(connect)?;
        while Instant::now() < deadline {
            if interrupted.load(Ordering::Relaxed) {
                return Err(Broken::Refused("interrupted".to_owned()));
            }
            let look = Instant::now() + LOOK;
            if let Some(answer) = self.next(deadline.min(look))? {
                return login::connack(&answer.frame()?, version);
            }
        }
        Err(Broken::Timeout(
            deadline.saturating_duration_since(began).as_secs(),
        ))
    }

    /// TLS version and cipher suite; `None` without TLS.
    pub fn negotiated(&self) -> Option<String> {
        self.stream.negotiated()
    }

    /// Sends packets.
    ///
    /// # Errors
    /// The socket's.
    pub fn send(&mut self, packets: &[u8]) -> Result<(), Broken> {
        if self.stream.is_plain() {
            return self.write(packets);
        }
        let mut wire = Vec::with_capacity(packets.len() + 64);
        self.stream.seal(packets, &mut wire);
        self.write(&wire)
    }

    /// The next packet; `None` if none is complete at `until`.
    ///
    /// # Errors
    /// The end of the connection, or a bad packet.
    pub fn next(&mut self, until: Instant) -> Result<Option<WholePacket>, Broken> {
        loop {
            if let Some(frame) = frame::split(&self.unread, PACKET_BYTES_MAX)? {
                let wire_bytes = frame.wire_bytes;
                return Ok(Some(WholePacket(self.unread.drain(..wire_bytes).collect())));
            }
            if self.closed {
                return Err(Broken::Closed);
            }
            if !self.fill(until)? {
                return Ok(None);
            }
        }
    }

    /// Passes each complete packet to `handle`, after one read if none has been received; false if no packet is
    /// complete by `until`.
    ///
    /// # Errors
    /// The end of the connection, a bad packet, or the error of `handle`.
    pub fn receive(
        &mut self,
        until: Instant,
        mut handle: impl FnMut(&Frame<'_>) -> Result<(), Broken>,
    ) -> Result<bool, Broken> {
        loop {
            let taken = each_frame(&self.unread, PACKET_BYTES_MAX, &mut handle)?;
            self.unread.drain(..taken);
            if taken > 0 {
                return Ok(true);
            }
            if self.closed {
                return Err(Broken::Closed);
            }
            if !self.fill(until)? {
                return Ok(false);
            }
        }
    }

    /// Sends DISCONNECT, ends the connection, and waits until the broker has ended it too.
    pub fn close(mut self, version: ProtocolVersion) {
        let mut packet = Vec::new();
        login::disconnect(version, &mut packet);
        // If the broker has closed already, nothing is lost.
        if self.send(&packet).is_err() {
            return;
        }
        let mut wire = Vec::new();
        self.stream.close(&mut wire);
        let _ = self.write(&wire);
        let _ = self.socket.shut_down_write();
        let until = Instant::now() + CLOSES_WITHIN;
        while !self.closed && matches!(self.fill(until), Ok(true)) {
            self.unread.clear();
        }
    }

    /// Reads once; false if nothing arrived by then.
    fn fill(&mut self, until: Instant) -> Result<bool, Broken> {
        let timeout = until.saturating_duration_since(Instant::now());
        self.socket
            .set_read_timeout(timeout.max(Duration::from_millis(1)))?;
        let count = match self.socket.read(&mut self.chunk) {
            Ok(count) => count,
            Err(error) if is_timeout(&error) => return Ok(Instant::now() < until),
            Err(error) => return Err(error.into()),
        };
        let received = self.chunk.get(..count).unwrap_or_default();
        self.closed |= received.is_empty();
        let mut answer = Vec::new();
        let opened = self.stream.open(received, &mut self.unread, &mut answer);
        // The alert of a failed handshake is for the broker, its error for the user.
        let written = self.write(&answer);
        self.closed |= opened?.peer_closed;
        written.map(|()| true)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        let Err(error) = self.socket.write_all(bytes) else {
            return Ok(());
        };
        // The broker's reason for closing may still be readable.
        let until = Instant::now() + REASON_WITHIN;
        self.socket.set_read_timeout(REASON_WITHIN)?;
        while let Ok(count @ 1..) = self.socket.read(&mut self.chunk) {
            let received = self.chunk.get(..count).unwrap_or_default();
            self.stream.open(received, &mut self.unread, &mut Vec::new())?;
            if Instant::now() > until {
                break;
            }
        }
        Err(error.into())
    }
}

fn dial(to: &Destination, deadline: Instant) -> Result<BlockingSocket, Broken> {
    let (addresses, local) = match to {
        Destination::Unix(path) => return Ok(BlockingSocket::unix(path)?),
        Destination::Addresses { addresses, local } => (addresses, local),
    };
    let mut last = Broken::Refused("there is no address to connect to".to_owned());
    for address in addresses {
        let timeout = deadline.saturating_duration_since(Instant::now());
        let is_of_its_family = |local: &&IpAddr| local.is_ipv4() == address.is_ipv4();
        let from = local.iter().find(is_of_its_family).copied();
        if from.is_none() && !local.is_empty() {
            continue;
        }
        match BlockingSocket::tcp(*address, from, timeout.max(Duration::from_millis(1))) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = Broken::Socket(error),
        }
    }
    Err(last)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

/// The largest packet in MQTT.
const PACKET_BYTES_MAX: u32 = REMAINING_LENGTH_MAX + 5;
/// Bytes per read of the socket.
const CHUNK_BYTES: usize = 256 * 1024;
/// Interval of checking for an interruption.
const LOOK: Duration = Duration::from_millis(100);
/// Time for the broker to close after DISCONNECT.
const CLOSES_WITHIN: Duration = Duration::from_secs(2);
/// Time for reading the reason of a broken connection.
const REASON_WITHIN: Duration = Duration::from_millis(500);
