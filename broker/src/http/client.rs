//! Reads the request of an HTTP client and writes the response.
//!
//! Invariants: both end within the time that the connection was given, and the answer is taken at
//! [`limits::PAGE_BYTES_A_SECOND_MIN`] at least.

use std::io::{self, Read, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use transport::http::{PLAIN_TEXT, ResponseHead};
use transport::stream::SecureStream;
use transport::websocket::handshake::{self, Page, ParsedRequest, Wanted};

use crate::limits;

/// A client that waits for its answer.
pub(super) struct HttpClient {
    socket: TcpStream,
    stream: SecureStream,
    until: Instant,
    /// Since when it has been sent something, and how much it has taken.
    sending: Option<(Instant, u64)>,
    /// Bytes on their way to the client.
    wire: Vec<u8>,
}

impl HttpClient {
    /// A client whose request and answer are to be over at `until`.
    pub(super) fn new(socket: OwnedFd, stream: SecureStream, until: Instant) -> io::Result<HttpClient> {
        let socket = TcpStream::from(socket);
        socket.set_nonblocking(false)?;
        Ok(HttpClient {
            socket,
            stream,
            until,
            sending: None,
            wire: Vec::new(),
        })
    }

    /// From now on it is to be over at `until`.
    pub(super) fn set_until(&mut self, until: Instant) {
        self.until = until;
    }

    /// Waits for the request; `None` if it was none that can be answered, and was refused.
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
            match handshake::parse_request(&plain, wanted) {
                ParsedRequest::Incomplete => {}
                ParsedRequest::Page(page) => return Ok(Some(page)),
                ParsedRequest::Refused { answer, .. } => {
                    self.stream.seal(&answer, &mut self.wire);
                    self.stream.close(&mut self.wire);
                    self.flush()?;
                    return Ok(None);
                }
                // Nobody sees more of it.
                ParsedRequest::Upgrade { .. } => return Ok(None),
            }
        }
    }

    /// The time that is left, at least some.
    fn left(&self) -> io::Result<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(left)
    }

    /// Sends a response whose body is its status, for people, and ends the connection.
    pub(super) fn send_status(
        self,
        status: &'static str,
        fields: &[(&str, &str)],
        head_only: bool,
    ) -> io::Result<&'static str> {
        let body = format!("{status}\n");
        let head = ResponseHead {
            status,
            content_type: PLAIN_TEXT,
            body_bytes: body.len() as u64,
            fields,
        };
        let body = if head_only { "" } else { &body };
        self.send(&head, body.as_bytes())?;
        Ok(status)
    }

    /// Sends a response with its body, and ends the connection.
    pub(super) fn send(mut self, head: &ResponseHead<'_>, mut body: impl Read) -> io::Result<()> {
        self.stream.seal(head.to_text().as_bytes(), &mut self.wire);
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
        let (since, mut taken) = *self.sending.get_or_insert((Instant::now(), 0));
        while !wire.is_empty() {
            // As long as the bytes taken so far allow, and a second.
            let allowed = Duration::from_millis(1000 + taken * 1000 / limits::PAGE_BYTES_A_SECOND_MIN);
            let left = allowed.saturating_sub(since.elapsed()).min(self.left()?);
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.socket.set_write_timeout(Some(left))?;
            let written = self.socket.write(wire)?;
            taken += written as u64;
            self.sending = Some((since, taken));
            wire = wire.get(written..).unwrap_or_default();
        }
        self.wire.clear();
        Ok(())
    }
}

/// Bytes of a file that are read at once.
const CHUNK_BYTES: usize = 32 * 1024;

/// The methods that there are, for a refusal of others.
pub(super) const ALLOW: &[(&str, &str)] = &[("Allow", "GET, HEAD")];
