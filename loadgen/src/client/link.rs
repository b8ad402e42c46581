//! A blocking socket with its TLS and WebSocket: packets out, whole packets in.
//!
//! Invariant: what was sent has reached the kernel when [`Link::send`] returns, and the broker has read it when
//! [`Link::close`] returns, unless the broker is gone or silent.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mqtt::frame::{self, REMAINING_LENGTH_MAX};
use mqtt::packet::Packet;
use mqtt::version::ProtocolVersion;
use rustls::ClientConfig;
use transport::stream::SecureStream;
use transport::websocket::client::Resource;

use crate::connection::Broken;

/// The connection to the broker.
#[derive(Debug)]
pub(super) struct Link {
    socket: TcpStream,
    stream: SecureStream,
    /// Plain bytes that are no whole packet yet.
    unread: Vec<u8>,
    closed: bool,
}

/// One whole packet.
#[derive(Debug)]
pub(super) struct Whole(Vec<u8>);

impl Whole {
    /// Decodes it.
    pub(super) fn packet(&self, version: ProtocolVersion) -> Result<Packet<'_>, Broken> {
        let frame = frame::split(&self.0, PACKET_BYTES_MAX)?.ok_or(Broken::Closed)?;
        Ok(mqtt::decode::packet(&frame, version)?)
    }
}

impl Link {
    /// Connects to the first of the host's addresses that answers, TLS and the upgrade to WebSocket included.
    pub(super) fn connect(
        host: &str,
        port: u16,
        tls: Option<&Arc<ClientConfig>>,
        resource: Option<&Resource>,
        deadline: Instant,
    ) -> Result<Link, Broken> {
        let stream = SecureStream::client(tls, host)?;
        let stream = match resource {
            Some(resource) => stream.upgrading(resource),
            None => stream,
        };
        let socket = dial(host, port, deadline)?;
        socket.set_nodelay(true)?;
        let mut link = Link {
            socket,
            stream,
            unread: Vec::new(),
            closed: false,
        };
        let mut hello = Vec::new();
        link.stream.start(&mut hello);
        link.write(&hello)?;
        while link.stream.is_handshaking() {
            if !link.fill(deadline)? {
                let what = if link.stream.is_securing() {
                    "TLS handshake"
                } else {
                    "upgrade to WebSocket"
                };
                return Err(Broken::Refused(format!("no answer to the {what} in time")));
            }
            if link.closed {
                return Err(Broken::Closed);
            }
        }
        Ok(link)
    }

    /// Sends packets.
    pub(super) fn send(&mut self, packets: &[u8]) -> Result<(), Broken> {
        if self.stream.is_plain() {
            return self.write(packets);
        }
        let mut wire = Vec::with_capacity(packets.len() + 64);
        self.stream.seal(packets, &mut wire);
        self.write(&wire)
    }

    /// The next packet; `None` if none is whole at `until`.
    pub(super) fn next(&mut self, until: Instant) -> Result<Option<Whole>, Broken> {
        loop {
            if let Some(frame) = frame::split(&self.unread, PACKET_BYTES_MAX)? {
                let wire_bytes = frame.wire_bytes;
                return Ok(Some(Whole(self.unread.drain(..wire_bytes).collect())));
            }
            if self.closed {
                return Err(Broken::Closed);
            }
            if !self.fill(until)? {
                return Ok(None);
            }
        }
    }

    /// Ends the connection, and waits until the broker has ended it too.
    pub(super) fn close(mut self) {
        let mut wire = Vec::new();
        self.stream.close(&mut wire);
        // A broker that has closed already loses nothing.
        let _ = self.write(&wire);
        let _ = self.socket.shutdown(Shutdown::Write);
        let until = Instant::now() + FAREWELL;
        while !self.closed && matches!(self.fill(until), Ok(true)) {
            self.unread.clear();
        }
    }

    /// Reads once what has come; false if nothing came until then.
    fn fill(&mut self, until: Instant) -> Result<bool, Broken> {
        let patience = until.saturating_duration_since(Instant::now());
        self.socket
            .set_read_timeout(Some(patience.max(Duration::from_millis(1))))?;
        let mut bytes = [0; 16 * 1024];
        let count = match self.socket.read(&mut bytes) {
            Ok(count) => count,
            Err(error) if is_timeout(&error) => return Ok(Instant::now() < until),
            Err(error) => return Err(error.into()),
        };
        let received = bytes.get(..count).unwrap_or_default();
        self.closed |= received.is_empty();
        let mut answer = Vec::new();
        let opened = self.stream.open(received, &mut self.unread, &mut answer);
        // The alert of a failed handshake is for the broker; the failure itself is for the user.
        let written = self.write(&answer);
        self.closed |= opened?.peer_closed;
        written.map(|()| true)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        let Err(error) = self.socket.write_all(bytes) else {
            return Ok(());
        };
        // Why the broker has closed may still be there to be read.
        let until = Instant::now() + LAST_WORDS;
        let mut wire = [0; 4096];
        self.socket.set_read_timeout(Some(LAST_WORDS))?;
        while let Ok(count @ 1..) = self.socket.read(&mut wire) {
            let received = wire.get(..count).unwrap_or_default();
            self.stream.open(received, &mut self.unread, &mut Vec::new())?;
            if Instant::now() > until {
                break;
            }
        }
        Err(error.into())
    }
}

fn dial(host: &str, port: u16, deadline: Instant) -> Result<TcpStream, Broken> {
    let no_address = |why: String| Broken::Refused(format!("{host} has no address: {why}"));
    let found = (host, port)
        .to_socket_addrs()
        .map_err(|error| no_address(error.to_string()))?;
    let addresses: Vec<SocketAddr> = found.collect();
    let mut last = no_address("the name is unknown".to_owned());
    for address in addresses {
        let patience = deadline.saturating_duration_since(Instant::now());
        match TcpStream::connect_timeout(&address, patience.max(Duration::from_millis(1))) {
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

/// The largest packet that MQTT has.
const PACKET_BYTES_MAX: u32 = REMAINING_LENGTH_MAX + 5;
/// Time for the broker to close after DISCONNECT.
const FAREWELL: Duration = Duration::from_secs(2);
/// Time for the reason of a broken connection to be read.
const LAST_WORDS: Duration = Duration::from_millis(500);
