//! Reads the request of an HTTP client and writes the response.
//!
//! Invariants: both end within the time that the connection was given, and the answer is taken at
//! [`limits::PAGE_BYTES_A_SECOND_MIN`] at least.

use std::io::{self, Read, Write as _};
use std::time::{Duration, Instant};

use transport::http::{PLAIN_TEXT, ResponseHead};
use transport::stream::SecureStream;
use transport::websocket::handshake::{self, Page, ParsedRequest, Wanted};

use super::byte_stream::ByteStream;
use crate::limits;

/// A client that waits for its answer.
pub(super) struct HttpClient {
    socket: ByteStream,
    stream: SecureStream,
    until: Instant,
    /// Since when it has been sent something, and how much it has taken.
    sending: Option<(Instant, u64)>,
    /// Bytes on their way to the client.
    wire: Vec<u8>,
    /// What of the request has come.
    plain: Vec<u8>,
}

impl HttpClient {
    /// A client whose request and answer are to be over at `until`.
    pub(super) fn new(socket: ByteStream, stream: SecureStream, until: Instant) -> HttpClient {
        HttpClient {
            socket,
            stream,
            until,
            sending: None,
            wire: Vec::new(),
            plain: Vec::new(),
        }
    }

    /// From now on it is to be over at `until`.
    pub(super) fn set_until(&mut self, until: Instant) {
        self.until = until;
    }

    /// Waits for the request; `None` if it was none that can be answered, and was refused.
    pub(super) fn read(&mut self, wanted: &Wanted) -> io::Result<Option<Page>> {
        loop {
            self.read_more()?;
            match handshake::parse_request(&self.plain, wanted) {
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

    /// The body of a request that was read; `None` if it is longer than `bytes_max`, or its length is not given.
    pub(super) fn read_body(&mut self, page: &Page, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
        let length = page.field("Content-Length").unwrap_or("0").trim();
        let length = length.parse::<usize>().ok().filter(|&length| length <= bytes_max);
        let Some(length) = length.filter(|_| page.field("Transfer-Encoding").is_none()) else {
            return Ok(None);
        };
        while self.plain.len() < page.header_bytes + length {
            self.read_more()?;
        }
        let body = self.plain.get(page.header_bytes..page.header_bytes + length);
        Ok(body.map(<[u8]>::to_vec))
    }

    /// Receives some more of the request.
    fn read_more(&mut self) -> io::Result<()> {
        let mut chunk = [0; 4096];
        self.socket.set_read_timeout(self.left()?)?;
        let read = self.socket.read(&mut chunk)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let received = chunk.get(..read).unwrap_or_default();
        let opened = self.stream.open(received, &mut self.plain, &mut self.wire);
        self.flush()?;
        opened.map_err(|error| io::Error::other(error.to_string()))?;
        Ok(())
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
                return self.socket.shut_down();
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
            self.socket.set_write_timeout(left)?;
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
