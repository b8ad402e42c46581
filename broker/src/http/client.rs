//! A client of HTTP: its request and its answer, within their time.

use std::fmt::Write as _;
use std::io::{self, Read, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use transport::stream::SecureStream;
use transport::websocket::handshake::{self, Heard, Page, Wanted};

/// A client that waits for its answer.
pub(super) struct Client {
    socket: TcpStream,
    stream: SecureStream,
    until: Instant,
    /// On its way.
    wire: Vec<u8>,
}

/// What an answer begins with.
pub(super) struct Head<'a> {
    /// `200 OK`
    pub(super) status: &'a str,
    pub(super) content_type: &'a str,
    /// Whole lines, each with its end.
    pub(super) more: &'a str,
    pub(super) body_bytes: u64,
}

impl Client {
    /// All is to be over then.
    pub(super) fn new(socket: OwnedFd, stream: SecureStream, until: Instant) -> io::Result<Client> {
        let socket = TcpStream::from(socket);
        socket.set_nonblocking(false)?;
        Ok(Client {
            socket,
            stream,
            until,
            wire: Vec::new(),
        })
    }

    /// Waits for the request; `None` if it was none that can be answered, and has been told so.
    pub(super) fn read(&mut self, wanted: &Wanted) -> io::Result<Option<Page>> {
        let mut plain = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            self.socket.set_read_timeout(Some(self.left()?))?;
            let read = self.socket.read(&mut chunk)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let received = chunk.get(..read).unwrap_or_default();
            let opened = self.stream.open(received, &mut plain, &mut self.wire);
            self.flush()?;
            opened.map_err(|error| io::Error::other(error.to_string()))?;
            match handshake::hear(&plain, wanted) {
                Heard::Incomplete => {}
                Heard::Page(page) => return Ok(Some(page)),
                Heard::Refused { answer, .. } => {
                    self.stream.seal(&answer, &mut self.wire);
                    self.stream.close(&mut self.wire);
                    self.flush()?;
                    return Ok(None);
                }
                // Nobody sees more of it.
                Heard::Upgrade { .. } => return Ok(None),
            }
        }
    }

    /// The time that is left.
    fn left(&self) -> io::Result<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(left)
    }

    /// Sends an answer with a body that is a line for people, and ends the connection.
    pub(super) fn say(self, status: &'static str, more: &str, head_only: bool) -> io::Result<&'static str> {
        let body = format!("{status}\n");
        let head = Head {
            status,
            content_type: "text/plain; charset=utf-8",
            more,
            body_bytes: body.len() as u64,
        };
        let body = if head_only { "" } else { &body };
        self.send(&head, body.as_bytes())?;
        Ok(status)
    }

    /// Sends an answer with its body, and ends the connection.
    pub(super) fn send(mut self, head: &Head<'_>, mut body: impl Read) -> io::Result<()> {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _written = write!(
            text,
            "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n{}\r\n",
            head.status, head.content_type, head.body_bytes, head.more
        );
        self.stream.seal(text.as_bytes(), &mut self.wire);
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let read = body.read(&mut chunk)?;
            self.stream
                .seal(chunk.get(..read).unwrap_or_default(), &mut self.wire);
            if read == 0 {
                self.stream.close(&mut self.wire);
            }
            self.flush()?;
            if read == 0 {
                return self.socket.shutdown(Shutdown::Both);
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut wire = self.wire.as_slice();
        while !wire.is_empty() {
            self.socket.set_write_timeout(Some(self.left()?))?;
            let written = self.socket.write(wire)?;
            wire = wire.get(written..).unwrap_or_default();
        }
        self.wire.clear();
        Ok(())
    }
}

/// What is read of a file at once.
const CHUNK_BYTES: usize = 32 * 1024;
