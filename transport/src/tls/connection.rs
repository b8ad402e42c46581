//! The TLS of one connection: a client's side by rustls; a server's side as a handshake by rustls and then as our own
//! records, or entirely by rustls if its configuration does not extract the keys
//! ([`super::ServerTls::rustls_records`]).
//!
//! Invariants: plain bytes are kept inside only while they wait for the end of the handshake.

use std::fmt;
use std::io::{BufRead, Write};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, Connection, ProtocolVersion, ServerConfig, ServerConnection,
    SupportedCipherSuite,
};

use super::fault;
use super::handshake::Handshake;
use super::records::Records;
use super::refusal;
use crate::stream::Opened;

/// The TLS 1.2 or 1.3 of a connection.
#[derive(Debug)]
pub struct TlsConnection(State);

#[derive(Debug)]
enum State {
    /// A client's side, and a server's side if it is configured so: by rustls from the first byte to the last.
    Rustls(Box<Connection>),
    /// A server's side before the handshake is over, and after it.
    Handshake(Box<Handshake>),
    Records(Box<Records>),
    /// It ended between the two: nothing is passed on.
    Broken,
}

/// TLS failed: the connection is over, after the content of `wire_out` (an alert) is sent.
#[derive(Debug)]
pub struct TlsError {
    /// The error of rustls.
    pub source: rustls::Error,
    /// The certificate, what is wrong with it and how to fix it; `None` if there is only the error of rustls.
    pub why: Option<Box<str>>,
}

impl TlsError {
    fn of(source: rustls::Error, is_server: bool) -> Self {
        let why = refusal::take_reason();
        let why = why.unwrap_or_else(|| fault::explain(&source, is_server).into());
        Self {
            source,
            why: Some(why),
        }
    }
}

impl From<rustls::Error> for TlsError {
    fn from(source: rustls::Error) -> Self {
        Self { source, why: None }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why {
            Some(why) => write!(f, "TLS: {why}"),
            None => write!(f, "TLS: {}", self.source),
        }
    }
}

impl std::error::Error for TlsError {}

impl TlsConnection {
    pub(crate) fn server(config: &Arc<ServerConfig>) -> Result<TlsConnection, TlsError> {
        if config.enable_secret_extraction {
            return Ok(TlsConnection(State::Handshake(Box::new(Handshake::new(config)?))));
        }
        let mut connection = Connection::from(ServerConnection::new(Arc::clone(config))?);
        connection.set_buffer_limit(None);
        Ok(TlsConnection(State::Rustls(Box::new(connection))))
    }

    pub(crate) fn client(config: &Arc<ClientConfig>, server_name: &str) -> Result<TlsConnection, TlsError> {
        let name = ServerName::try_from(server_name.to_owned())
            .map_err(|_| rustls::Error::General(format!("not a valid server name: {server_name:?}")))?;
        let mut connection = Connection::from(ClientConnection::new(Arc::clone(config), name)?);
        connection.set_buffer_limit(None);
        Ok(TlsConnection(State::Rustls(Box::new(connection))))
    }

    /// Appends the first flight, for [`crate::stream::SecureStream::start`].
    pub(crate) fn start(&mut self, wire_out: &mut Vec<u8>) {
        if let State::Rustls(connection) = &mut self.0 {
            write_records(connection, wire_out);
        }
    }

    /// Opens received records, for [`crate::stream::SecureStream::open`].
    pub(crate) fn open(
        &mut self,
        wire: &[u8],
        plain: &mut Vec<u8>,
        wire_out: &mut Vec<u8>,
    ) -> Result<Opened, TlsError> {
        match &mut self.0 {
            State::Rustls(connection) => open_by_rustls(connection, wire, plain, wire_out),
            State::Records(records) => {
                let opened = records.open(wire, plain, wire_out);
                let peer_closed = opened.map_err(|error| TlsError::of(error, true))?;
                Ok(Opened {
                    peer_closed,
                    warning: None,
                })
            }
            State::Handshake(handshake) => {
                let shaken = handshake.open(wire, plain, wire_out);
                let warning = refusal::take_warning();
                let mut peer_closed = shaken.map_err(|error| TlsError::of(error, true))?;
                if handshake.is_over() {
                    peer_closed |= self.begin_records(plain, wire_out)?;
                }
                Ok(Opened { peer_closed, warning })
            }
            State::Broken => Err(rustls::Error::General("TLS has ended".to_owned()).into()),
        }
    }

    /// Replaces the handshake by the record layer, which takes over received and waiting bytes; returns whether the
    /// peer has closed.
    fn begin_records(&mut self, plain: &mut Vec<u8>, wire_out: &mut Vec<u8>) -> Result<bool, TlsError> {
        let State::Handshake(handshake) = std::mem::replace(&mut self.0, State::Broken) else {
            return Ok(false);
        };
        let (mut records, incoming, waiting) = handshake.into_records()?;
        records.seal(&waiting, wire_out);
        let opened = records.open(&incoming, plain, wire_out);
        self.0 = State::Records(Box::new(records));
        opened.map_err(|error| TlsError::of(error, true))
    }

    /// Seals bytes into records, for [`crate::stream::SecureStream::seal`].
    pub(crate) fn seal(&mut self, plain: &[u8], wire_out: &mut Vec<u8>) {
        match &mut self.0 {
            State::Records(records) => records.seal(plain, wire_out),
            State::Handshake(handshake) => handshake.wait(plain),
            State::Rustls(connection) => {
                // Without a buffer limit the writer accepts everything.
                let _ = connection.writer().write_all(plain);
                write_records(connection, wire_out);
            }
            State::Broken => {}
        }
    }

    /// Appends close_notify. A server whose handshake is not over sends nothing: closing the socket is sufficient.
    pub(crate) fn close(&mut self, wire_out: &mut Vec<u8>) {
        match &mut self.0 {
            State::Handshake(_) | State::Broken => {}
            State::Records(records) => records.close(wire_out),
            State::Rustls(connection) if is_server(connection) && connection.is_handshaking() => {}
            State::Rustls(connection) => {
                connection.send_close_notify();
                write_records(connection, wire_out);
            }
        }
    }

    /// Whether application bytes cannot be sent yet.
    pub(crate) fn is_handshaking(&self) -> bool {
        match &self.0 {
            State::Handshake(_) => true,
            State::Rustls(connection) => connection.is_handshaking(),
            State::Records(_) | State::Broken => false,
        }
    }

    /// The certificate that the client presented to this server, unless it was released.
    pub(crate) fn client_certificate(&self) -> Option<&CertificateDer<'static>> {
        match &self.0 {
            State::Records(records) => records.certificate(),
            State::Rustls(connection) if is_server(connection) => connection.peer_certificates()?.first(),
            _ => None,
        }
    }

    /// Whether nothing can be sent any more: after we closed it or an error on our side, or with a key that has
    /// reached its limit.
    pub(crate) fn is_closed(&self) -> bool {
        match &self.0 {
            State::Records(records) => records.is_closed(),
            State::Broken => true,
            State::Rustls(_) | State::Handshake(_) => false,
        }
    }

    /// Releases our copy when the client has been identified.
    pub(crate) fn forget_certificate(&mut self) {
        if let State::Records(records) = &mut self.0 {
            records.forget_certificate();
        }
    }

    /// For tests: the server's key must be renewed after `records_max` records.
    #[cfg(test)]
    pub(crate) fn limit_records(&mut self, records_max: u64) -> Option<u64> {
        match &mut self.0 {
            State::Records(records) => Some(records.limit_records(records_max)),
            _ => None,
        }
    }

    /// Version and suite, for [`crate::stream::SecureStream::negotiated`].
    pub(crate) fn negotiated(&self) -> Option<String> {
        let (version, suite) = self.version_and_suite()?;
        Some(format!("{} {}", version_name(version), suite_name(suite)))
    }

    /// The version that was negotiated; `None` before that.
    pub(crate) fn version(&self) -> Option<ProtocolVersion> {
        self.version_and_suite().map(|(version, _)| version)
    }

    fn version_and_suite(&self) -> Option<(ProtocolVersion, SupportedCipherSuite)> {
        Some(match &self.0 {
            State::Rustls(connection) => (
                connection.protocol_version()?,
                connection.negotiated_cipher_suite()?,
            ),
            State::Records(records) => records.negotiated(),
            State::Handshake(_) | State::Broken => return None,
        })
    }
}

/// The usual name of a version.
fn version_name(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::TLSv1_2 => "TLS 1.2",
        ProtocolVersion::TLSv1_3 => "TLS 1.3",
        _ => "TLS",
    }
}

/// The name of a suite in IANA's registry.
fn suite_name(suite: SupportedCipherSuite) -> String {
    // rustls marks the suites of TLS 1.3 with its own prefix.
    let name = suite.suite().as_str().unwrap_or("of no name");
    name.replacen("TLS13_", "TLS_", 1)
}

fn is_server(connection: &Connection) -> bool {
    matches!(connection, Connection::Server(_))
}

fn open_by_rustls(
    connection: &mut Connection,
    mut wire: &[u8],
    plain: &mut Vec<u8>,
    wire_out: &mut Vec<u8>,
) -> Result<Opened, TlsError> {
    let mut opened = Opened::default();
    while !wire.is_empty() && !opened.peer_closed {
        connection
            .read_tls(&mut wire)
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        let was_handshaking = connection.is_handshaking();
        let processed = connection.process_new_packets();
        write_records(connection, wire_out);
        if was_handshaking {
            opened.warning = refusal::take_warning().or(opened.warning);
        }
        // What was readable before a fault counts.
        take_plain(connection, plain);
        let state = processed.map_err(|error| TlsError::of(error, is_server(connection)))?;
        opened.peer_closed = state.peer_has_closed();
    }
    Ok(opened)
}

fn write_records(connection: &mut Connection, wire_out: &mut Vec<u8>) {
    while connection.wants_write() {
        // Writing to a Vec cannot fail.
        if connection.write_tls(wire_out).is_err() {
            return;
        }
    }
}

fn take_plain(connection: &mut Connection, plain: &mut Vec<u8>) {
    let mut reader = connection.reader();
    while let Ok(chunk) = reader.fill_buf() {
        let taken = chunk.len();
        if taken == 0 {
            return;
        }
        plain.extend_from_slice(chunk);
        reader.consume(taken);
    }
}
