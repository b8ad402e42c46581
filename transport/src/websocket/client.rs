//! The client's half of the upgrade from HTTP to WebSocket: RFC 6455, section 4.1.
//!
//! Invariants: a [`Resource`] contains no byte that could end a line of the request; an answer is checked when its
//! header is complete, and at most 16 KiB of it are kept.

use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::derive_accept_key;

/// What a client requests from a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    authority: String,
    path: String,
}

impl Resource {
    /// `authority` is host and port as in a URL, `path` what follows them.
    ///
    /// # Errors
    /// What is wrong with them, as half a sentence.
    pub fn new(authority: &str, path: &str) -> Result<Resource, &'static str> {
        let is_graphic = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if authority.is_empty() || !is_graphic(authority) {
            return Err("a host for WebSocket must have only printable ASCII characters");
        }
        if !path.starts_with('/') || path.contains('#') || !is_graphic(path) {
            return Err(
                "a path for WebSocket must start with / and have only printable ASCII characters, \
                 with others encoded as %20 and the like",
            );
        }
        Ok(Resource {
            authority: authority.to_owned(),
            path: path.to_owned(),
        })
    }
}

/// Why there is no WebSocket connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpgradeError {
    /// The server answered with a status other than 101.
    #[error("WebSocket: the server answered the upgrade with {0} {1}")]
    Status(u16, String),
    /// The answer does not match this request.
    #[error("WebSocket: the server's answer to the upgrade {0}")]
    Answer(&'static str),
}

/// An upgrade that was requested and not answered yet.
#[derive(Debug)]
pub(super) struct Upgrade {
    pub(super) request: Vec<u8>,
    /// The value of Sec-WebSocket-Accept that belongs to the request.
    accept: String,
    /// The part of the answer that has arrived.
    head: Vec<u8>,
    /// Bytes to be sent after the answer.
    pub(super) waiting: Vec<u8>,
}

impl Upgrade {
    /// [MQTT-6.0.0-3], [MQTT3-6.0.0-3]
    pub(super) fn new(resource: &Resource) -> Upgrade {
        let key = generate_key();
        let Resource { authority, path } = resource;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {authority}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        Upgrade {
            request: request.into_bytes(),
            accept: derive_accept_key(key.as_bytes()),
            head: Vec::new(),
            waiting: Vec::new(),
        }
    }

    /// Takes bytes of the answer; when it is complete, returns the frames after it.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<Option<Vec<u8>>, UpgradeError> {
        self.head.extend_from_slice(bytes);
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        match response.parse(&self.head) {
            Ok(httparse::Status::Complete(length)) => {
                self.check(&response)?;
                Ok(Some(self.head.get(length..).unwrap_or_default().to_vec()))
            }
            Ok(httparse::Status::Partial) if self.head.len() >= HEADER_BYTES_MAX => Err(TOO_LONG),
            Ok(httparse::Status::Partial) => Ok(None),
            Err(httparse::Error::TooManyHeaders) => Err(TOO_LONG),
            Err(_) => Err(UpgradeError::Answer("is not HTTP")),
        }
    }

    fn check(&self, response: &httparse::Response<'_, '_>) -> Result<(), UpgradeError> {
        let status = response.code.unwrap_or_default();
        if status != SWITCHING_PROTOCOLS {
            let reason = response.reason.unwrap_or_default().escape_debug();
            return Err(UpgradeError::Status(
                status,
                reason.take(REASON_CHARACTERS_MAX).collect(),
            ));
        }
        let values = |name: &'static str| {
            let of_name = move |header: &&httparse::Header<'_>| header.name.eq_ignore_ascii_case(name);
            let headers = response.headers.iter().filter(of_name);
            headers.filter_map(|header| std::str::from_utf8(header.value).ok())
        };
        let has = |name: &'static str, wanted: &str| {
            let mut words = values(name).flat_map(|value| value.split(',')).map(str::trim);
            words.any(|word| word.eq_ignore_ascii_case(wanted))
        };
        let faults = [
            (!has("Upgrade", "websocket"), "lacks `Upgrade: websocket`"),
            (!has("Connection", "Upgrade"), "lacks `Connection: Upgrade`"),
            (
                !values("Sec-WebSocket-Accept").eq([self.accept.as_str()]),
                "does not have the Sec-WebSocket-Accept of the request",
            ),
            (
                !values("Sec-WebSocket-Protocol").eq([SUBPROTOCOL]),
                "does not agree to the subprotocol mqtt",
            ),
            (
                values("Sec-WebSocket-Extensions").next().is_some(),
                "has an extension that was not requested",
            ),
        ];
        match faults.into_iter().find(|(is_there, _)| *is_there) {
            Some((_, fault)) => Err(UpgradeError::Answer(fault)),
            None => Ok(()),
        }
    }
}

const TOO_LONG: UpgradeError = UpgradeError::Answer("has a header that is too long");
const SUBPROTOCOL: &str = "mqtt";
const SWITCHING_PROTOCOLS: u16 = 101;
/// Largest number of bytes of an answer's header.
const HEADER_BYTES_MAX: usize = 16 * 1024;
/// The largest number of header lines of an answer.
const HEADERS_MAX: usize = 100;
/// Number of characters of a reason to show.
const REASON_CHARACTERS_MAX: usize = 100;
