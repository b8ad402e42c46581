//! Reads the request of an HTTP client and writes the response.
//!
//! Invariants: both end within the time that the connection was given, and the answer is read at
//! [`limits::PAGE_BYTES_A_SECOND_MIN`] at least. Functions with `now` in their name never wait: a socket that does not
//! accept some hundred bytes at once, or the few thousand of a handshake, is not worth waiting for.

use std::io::{self, Read, Write as _};
use std::net::Shutdown;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use transport::http::{PLAIN_TEXT, ResponseHead};
use transport::stream::SecureStream;
use transport::tls::{self, IdentityKind};
use transport::websocket::handshake::{self, Page, ParsedRequest, Wanted};

use super::answer::ApiAnswer;
use super::byte_stream::ByteStream;
use super::no_http::NoHttp;
use crate::limits;
use crate::logic::Handshake;

/// A client that waits for its answer.
pub(super) struct HttpClient {
    socket: ByteStream,
    stream: SecureStream,
    until: Instant,
    /// Since when the response has been sent, and how many bytes the client has read.
    sending: Option<(Instant, u64)>,
    /// Bytes on their way to the client.
    wire: Vec<u8>,
    /// The part of the request that has arrived.
    plain: Vec<u8>,
    /// The number of these bytes that were searched for the end of the header.
    searched_bytes: usize,
    /// More of the request has arrived than will be read.
    has_unread: bool,
}

impl HttpClient {
    /// A client whose request and response must end before `until`.
    pub(super) fn new(socket: ByteStream, stream: SecureStream, until: Instant) -> HttpClient {
        HttpClient {
            socket,
            stream,
            until,
            sending: None,
            wire: Vec::new(),
            plain: Vec::new(),
            searched_bytes: 0,
            has_unread: false,
        }
    }

    /// The user that the client's certificate names.
    ///
    /// # Errors
    /// There is no certificate, or it does not name a user.
    pub(super) fn identity(&self, kind: IdentityKind) -> Result<String, String> {
        tls::client_identity(&self.stream, kind).map_err(|error| error.to_string())
    }

    /// Whether its TLS handshake is in progress.
    pub(super) fn is_securing(&self) -> bool {
        self.stream.is_securing() && !self.stream.is_plain()
    }

    /// How its TLS handshake ended, with the error of the last bytes; `None` if it has not ended.
    pub(super) fn handshake(&self, error: Option<&io::Error>) -> Option<Handshake> {
        if !self.is_securing() {
            return Some(match self.stream.is_tls13()? {
                true => Handshake::Tls13,
                false => Handshake::Tls12,
            });
        }
        let is_gone = [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset];
        Some(match is_gone.contains(&error?.kind()) {
            true => Handshake::Unfinished,
            false => Handshake::Failed,
        })
    }

    /// Changes the time before which it must end.
    pub(super) fn set_until(&mut self, until: Instant) {
        self.until = until;
    }

    /// Waits for the request; `None` if it could not be answered and was refused.
    pub(super) fn read(&mut self, wanted: &Wanted) -> io::Result<Option<Page>> {
        loop {
            self.read_more()?;
            match self.parse(wanted)? {
                RequestState::Incomplete => {}
                RequestState::Page(page) => return Ok(Some(page)),
                RequestState::Refused(_) | RequestState::NoHttp(_) => return Ok(None),
            }
        }
    }

    /// Receives some bytes of the request, without waiting.
    ///
    /// # Errors
    /// The connection cannot continue.
    pub(super) fn receive(&mut self) -> io::Result<()> {
        let mut chunk = [0; RECEIVED_BYTES];
        match self.socket.receive_now(&mut chunk) {
            Ok(received) => {
                let opened = self.take(chunk.get(..received).unwrap_or_default());
                self.flush_now()?;
                opened
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Parses the part of the request that has arrived; a request that cannot be answered is refused.
    pub(super) fn parse(&mut self, wanted: &Wanted) -> io::Result<RequestState> {
        if !self.is_to_be_parsed(wanted) {
            return Ok(RequestState::Incomplete);
        }
        match handshake::parse_request(&self.plain, wanted) {
            ParsedRequest::Incomplete => Ok(RequestState::Incomplete),
            ParsedRequest::Page(page) => Ok(RequestState::Page(page)),
            ParsedRequest::Refused { status: "", .. } => {
                let refused = RequestState::NoHttp(NoHttp::of(&self.plain));
                // A client that speaks another protocol or has gone is refused too.
                let _gone = self.answer_now(&[]);
                Ok(refused)
            }
            ParsedRequest::Refused { status, why, .. } => {
                let _gone = self.answer_now(&ApiAnswer::refused(status, why).to_bytes());
                Ok(RequestState::Refused(why))
            }
            // Upgrades are not answered here.
            ParsedRequest::Upgrade { .. } => Ok(RequestState::Refused("it requests an upgrade")),
        }
    }

    /// Whether to parse what has arrived: a long header is parsed when it ends, and not with each byte.
    fn is_to_be_parsed(&mut self, wanted: &Wanted) -> bool {
        // An empty line may begin in the bytes that came before.
        let from = std::mem::replace(&mut self.searched_bytes, self.plain.len()).saturating_sub(2);
        let new = self.plain.get(from..).unwrap_or_default();
        self.plain.len() <= SHORT_HEADER_BYTES
            || self.plain.len() >= wanted.header_bytes_max
            || new.windows(2).any(|line| line == b"\n\n")
            || new.windows(3).any(|line| line == b"\n\r\n")
    }

    /// Whether the body of a request is complete, or will not be read.
    pub(super) fn has_body(&self, page: &Page) -> bool {
        body_bytes(page).map_or(true, |length| self.plain.len() >= page.header_bytes + length)
    }

    /// Answers a client that waits for this before it sends the missing body (RFC 9110, 10.1.1).
    pub(super) fn continue_now(&mut self, page: &Page) -> io::Result<()> {
        let expected = page.field("Expect").unwrap_or_default();
        if expected.trim().eq_ignore_ascii_case("100-continue") && !self.has_body(page) {
            self.stream.seal(b"HTTP/1.1 100 Continue\r\n\r\n", &mut self.wire);
            self.flush_now()?;
        }
        Ok(())
    }

    /// Sends a short response and closes the connection, without waiting.
    pub(super) fn answer_now(&mut self, answer: &[u8]) -> io::Result<()> {
        if self.is_securing() {
            // The client could not read it.
            return Err(io::ErrorKind::NotConnected.into());
        }
        self.stream.seal(answer, &mut self.wire);
        self.stream.close(&mut self.wire);
        self.flush_now()?;
        self.socket.shut_down(Shutdown::Write)?;
        // Closing a socket with unread bytes would discard the response.
        let mut chunk = [0; RECEIVED_BYTES];
        let socket = &self.socket;
        let has_more = |_: &usize| socket.receive_now(&mut chunk).is_ok_and(|received| received > 0);
        let _dropped = (0..UNREAD_CHUNKS_MAX).take_while(has_more).count();
        Ok(())
    }

    /// Bytes of the request that have arrived.
    pub(super) fn received_bytes(&self) -> usize {
        self.plain.len()
    }

    /// The descriptor to wait on for more of the request.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The body of a request, or why it is not read.
    pub(super) fn read_body(&mut self, page: &Page) -> io::Result<Result<Vec<u8>, WrongBody>> {
        let length = match body_bytes(page) {
            Ok(length) => length,
            Err(wrong) => return Ok(Err(wrong)),
        };
        self.continue_now(page)?;
        while self.plain.len() < page.header_bytes + length {
            self.read_more()?;
        }
        let body = self.plain.get(page.header_bytes..page.header_bytes + length);
        Ok(Ok(body.unwrap_or_default().to_vec()))
    }

    /// Receives some more of the request.
    fn read_more(&mut self) -> io::Result<()> {
        let mut chunk = [0; RECEIVED_BYTES];
        self.socket.set_read_timeout(self.left()?)?;
        let read = self.socket.read(&mut chunk)?;
        let opened = self.take(chunk.get(..read).unwrap_or_default());
        self.flush()?;
        opened
    }

    fn take(&mut self, received: &[u8]) -> io::Result<()> {
        if received.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let opened = self.stream.open(received, &mut self.plain, &mut self.wire);
        opened.map_err(|error| io::Error::other(error.to_string()))?;
        Ok(())
    }

    /// The remaining time, at least a minimum.
    fn left(&self) -> io::Result<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(left)
    }

    /// Sends a response whose body is its status as text, and closes the connection.
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

    /// Sends a response with its body, and closes the connection.
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
                return self.end();
            }
        }
    }

    /// Closes the connection. Closing a socket with unread bytes resets the connection and discards the response, so
    /// the rest of a refused request is read for a moment and dropped.
    fn end(&self) -> io::Result<()> {
        if !self.has_unread {
            return self.socket.shut_down(Shutdown::Both);
        }
        self.socket.shut_down(Shutdown::Write)?;
        let until = Instant::now() + Duration::from_nanos(limits::API_UNREAD_NS_MAX);
        let mut chunk = [0; RECEIVED_BYTES];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            self.socket.set_read_timeout(left)?;
            match self.socket.receive(&mut chunk) {
                Ok(0) | Err(_) => return Ok(()),
                Ok(_) => {}
            }
        }
    }

    /// Records whether more of a request has arrived than was read.
    pub(super) fn note_unread(&mut self, page: &Page) {
        self.has_unread = match body_bytes(page) {
            Ok(length) => self.plain.len() < page.header_bytes + length,
            Err(_) => true,
        };
    }

    /// Sends everything that is pending, without waiting.
    fn flush_now(&mut self) -> io::Result<()> {
        if !self.wire.is_empty() && self.socket.send_now(&self.wire)? < self.wire.len() {
            return Err(io::Error::other("the client does not read"));
        }
        self.wire.clear();
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut wire = self.wire.as_slice();
        let (since, mut taken) = *self.sending.get_or_insert((Instant::now(), 0));
        while !wire.is_empty() {
            // One second, plus the time that the bytes read so far allow.
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

/// The state of a request so far.
pub(super) enum RequestState {
    /// Its header is incomplete.
    Incomplete,
    /// A request that can be answered.
    Page(Page),
    /// An invalid request, with the reason; the connection is over.
    Refused(&'static str),
    /// Not an HTTP request; the connection is over.
    NoHttp(NoHttp),
}

/// Why a body is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WrongBody {
    /// It has several different lengths, so its end is unknown (RFC 9110, 8.6).
    TwoLengths,
    /// Its length is not a number.
    NoNumber,
    /// It is sent in another way than by its length.
    NoLength,
    /// It is longer than allowed.
    TooLong,
}

/// The length of a body.
fn body_bytes(page: &Page) -> Result<usize, WrongBody> {
    let fields = page.fields.iter();
    let mut lengths = fields
        .filter(|(name, _)| name.eq_ignore_ascii_case("Content-Length"))
        .map(|(_, length)| length.trim());
    let first = lengths.next();
    if lengths.any(|other| Some(other) != first) {
        return Err(WrongBody::TwoLengths);
    }
    if page.field("Transfer-Encoding").is_some() {
        return Err(WrongBody::NoLength);
    }
    let length = first.unwrap_or("0");
    if length.is_empty() || !length.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(WrongBody::NoNumber);
    }
    let length = length.parse::<usize>().ok();
    length
        .filter(|&length| length <= limits::API_BODY_BYTES_MAX)
        .ok_or(WrongBody::TooLong)
}

/// Bytes of a request per receive.
const RECEIVED_BYTES: usize = 16 * 1024;
/// Largest number of chunks that are dropped for a client that is refused.
const UNREAD_CHUNKS_MAX: usize = 8;
/// A header up to this size is parsed whenever more of it arrives, so that an invalid one is noticed at once.
const SHORT_HEADER_BYTES: usize = 8192;
/// Bytes of a file per read.
const CHUNK_BYTES: usize = 32 * 1024;

/// The supported methods, for the refusal of others.
pub(super) const ALLOW: &[(&str, &str)] = &[("Allow", "GET, HEAD")];
