//! A stream as it is on the wire: plain, or TLS by rustls. Bytes in, bytes out, no I/O.
//!
//! Invariants: [`SecureStream::open`] leaves no readable byte inside (so one pass over received bytes is enough), and
//! [`SecureStream::seal`] takes everything it is given (the owner bounds what it gives).

use std::fmt;
use std::io::{BufRead, Write};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, ServerConfig};

use crate::tls::handshake::Handshake;
use crate::tls::records::Records;
use crate::tls::refusal;

/// One connection's security layer.
#[derive(Debug)]
pub struct SecureStream(Layer);

#[derive(Debug)]
enum Layer {
    /// Bytes as they are.
    Plain,
    /// A client's side of TLS 1.2 or 1.3.
    Client(Box<ClientConnection>),
    /// A server's side of TLS 1.2 or 1.3 before the handshake is over, and after it.
    Handshake(Box<Handshake>),
    Records(Box<Records>),
    /// TLS that ended between the two: nothing passes.
    Broken,
}

/// What [`SecureStream::open`] found besides the plain bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// The peer sent close_notify.
    pub peer_closed: bool,
    /// What the operator should know of the peer's certificate, though it was accepted: one sentence, once for each
    /// certificate.
    pub warning: Option<Box<str>>,
}

/// TLS failed: the connection is over, after what `wire_out` holds (an alert) is sent.
#[derive(Debug)]
pub struct TlsError {
    /// What rustls says.
    pub source: rustls::Error,
    /// Whose certificate, what is wrong and what mends it; `None` if rustls says all there is.
    pub why: Option<Box<str>>,
}

impl TlsError {
    fn of(source: rustls::Error, is_server: bool) -> Self {
        let why = refusal::take_reason().or_else(|| refusal::explain(&source, is_server).map(Box::from));
        Self { source, why }
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

impl SecureStream {
    /// Bytes as they are.
    pub const PLAIN: SecureStream = SecureStream(Layer::Plain);

    /// The server's side; `config` as [`crate::tls::server()`] makes it, which lets the handshake hand over its keys.
    ///
    /// # Errors
    /// None in practice: rustls checks the configuration.
    pub fn server(config: Option<&Arc<ServerConfig>>) -> Result<SecureStream, TlsError> {
        match config {
            None => Ok(Self::PLAIN),
            Some(config) => Ok(SecureStream(Layer::Handshake(Box::new(Handshake::new(config)?)))),
        }
    }

    /// The client's side; `server_name` is what the server's certificate must be for.
    ///
    /// # Errors
    /// When `server_name` is neither a DNS name nor an IP address.
    pub fn client(config: Option<&Arc<ClientConfig>>, server_name: &str) -> Result<SecureStream, TlsError> {
        let Some(config) = config else {
            return Ok(Self::PLAIN);
        };
        let name = ServerName::try_from(server_name.to_owned())
            .map_err(|_| rustls::Error::General(format!("not a server name: {server_name:?}")))?;
        let mut connection = ClientConnection::new(Arc::clone(config), name)?;
        connection.set_buffer_limit(None);
        Ok(SecureStream(Layer::Client(Box::new(connection))))
    }

    /// The client's first flight. A server or a plain stream has none.
    pub fn start(&mut self, wire_out: &mut Vec<u8>) {
        if let Layer::Client(connection) = &mut self.0 {
            write_records(connection, wire_out);
        }
    }

    /// Takes `wire` bytes, appends what became readable to `plain`, and what must be answered (handshake, alerts) to
    /// `wire_out`.
    ///
    /// # Errors
    /// What the peer did wrong. `wire_out` then ends with the alert to send.
    pub fn open(
        &mut self,
        wire: &[u8],
        plain: &mut Vec<u8>,
        wire_out: &mut Vec<u8>,
    ) -> Result<Opened, TlsError> {
        match &mut self.0 {
            Layer::Plain => {
                plain.extend_from_slice(wire);
                Ok(Opened::default())
            }
            Layer::Client(connection) => open_client(connection, wire, plain, wire_out),
            Layer::Records(records) => {
                let opened = records.open(wire, plain, wire_out);
                let peer_closed = opened.map_err(|error| TlsError::of(error, true))?;
                Ok(Opened {
                    peer_closed,
                    warning: None,
                })
            }
            Layer::Handshake(handshake) => {
                let shaken = handshake.open(wire, plain, wire_out);
                let warning = refusal::take_warning();
                let mut peer_closed = shaken.map_err(|error| TlsError::of(error, true))?;
                if handshake.is_over() {
                    peer_closed |= self.begin_records(plain, wire_out)?;
                }
                Ok(Opened { peer_closed, warning })
            }
            Layer::Broken => Err(rustls::Error::General("TLS is over".to_owned()).into()),
        }
    }

    /// From the handshake to the records, with what has come and what waits; true if the peer has closed.
    fn begin_records(&mut self, plain: &mut Vec<u8>, wire_out: &mut Vec<u8>) -> Result<bool, TlsError> {
        let Layer::Handshake(handshake) = std::mem::replace(&mut self.0, Layer::Broken) else {
            return Ok(false);
        };
        let (mut records, incoming, waiting) = handshake.into_records()?;
        records.seal(&waiting, wire_out);
        let opened = records.open(&incoming, plain, wire_out);
        self.0 = Layer::Records(Box::new(records));
        opened.map_err(|error| TlsError::of(error, true))
    }

    /// Appends `plain` to `wire_out` as records; before the handshake is over they wait inside.
    pub fn seal(&mut self, plain: &[u8], wire_out: &mut Vec<u8>) {
        match &mut self.0 {
            Layer::Plain => wire_out.extend_from_slice(plain),
            Layer::Records(records) => records.seal(plain, wire_out),
            Layer::Handshake(handshake) => handshake.wait(plain),
            Layer::Client(connection) => {
                // Without a buffer limit the writer takes all.
                let _ = connection.writer().write_all(plain);
                write_records(connection, wire_out);
            }
            Layer::Broken => {}
        }
    }

    /// Appends close_notify. A server whose handshake is not over has nothing to say: the socket's end says it.
    pub fn close(&mut self, wire_out: &mut Vec<u8>) {
        match &mut self.0 {
            Layer::Plain | Layer::Handshake(_) | Layer::Broken => {}
            Layer::Records(records) => records.close(wire_out),
            Layer::Client(connection) => {
                connection.send_close_notify();
                write_records(connection, wire_out);
            }
        }
    }

    /// Whether application bytes cannot flow yet.
    pub fn is_handshaking(&self) -> bool {
        match &self.0 {
            Layer::Handshake(_) => true,
            Layer::Client(connection) => connection.is_handshaking(),
            Layer::Plain | Layer::Records(_) | Layer::Broken => false,
        }
    }

    /// Whether this is not TLS.
    pub fn is_plain(&self) -> bool {
        matches!(self.0, Layer::Plain)
    }

    /// The certificate that the client showed to this server, until [`SecureStream::forget_certificate`].
    pub fn client_certificate(&self) -> Option<&CertificateDer<'static>> {
        match &self.0 {
            Layer::Records(records) => records.certificate(),
            _ => None,
        }
    }

    /// Gives its memory back when it is known who the client is.
    pub fn forget_certificate(&mut self) {
        if let Layer::Records(records) = &mut self.0 {
            records.forget_certificate();
        }
    }

    /// For tests: the server's key wears out after so many records.
    #[cfg(test)]
    pub(crate) fn limit_records(&mut self, records_max: u64) {
        if let Layer::Records(records) = &mut self.0 {
            records.limit_records(records_max);
        }
    }

    /// The negotiated version and cipher suite, for example `TLSv1_3 TLS13_AES_256_GCM_SHA384`; `None` if plain or not
    /// negotiated yet.
    pub fn negotiated(&self) -> Option<String> {
        let (version, suite) = match &self.0 {
            Layer::Client(connection) => (
                connection.protocol_version()?,
                connection.negotiated_cipher_suite()?,
            ),
            Layer::Records(records) => records.negotiated(),
            Layer::Plain | Layer::Handshake(_) | Layer::Broken => return None,
        };
        Some(format!("{version:?} {:?}", suite.suite()))
    }
}

fn open_client(
    connection: &mut ClientConnection,
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
        let state = processed.map_err(|error| TlsError::of(error, false))?;
        opened.peer_closed = state.peer_has_closed();
        take_plain(connection, plain);
    }
    Ok(opened)
}

fn write_records(connection: &mut ClientConnection, wire_out: &mut Vec<u8>) {
    while connection.wants_write() {
        // Writing to a Vec cannot fail.
        if connection.write_tls(wire_out).is_err() {
            return;
        }
    }
}

fn take_plain(connection: &mut ClientConnection, plain: &mut Vec<u8>) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::testing;

    /// Moves bytes both ways until neither side has more to say.
    fn shake(client: &mut SecureStream, server: &mut SecureStream) {
        let (mut to_server, mut to_client, mut plain) = (Vec::new(), Vec::new(), Vec::new());
        client.start(&mut to_server);
        while !to_server.is_empty() || !to_client.is_empty() {
            server
                .open(&std::mem::take(&mut to_server), &mut plain, &mut to_client)
                .unwrap();
            client
                .open(&std::mem::take(&mut to_client), &mut plain, &mut to_server)
                .unwrap();
        }
        assert!(!client.is_handshaking() && !server.is_handshaking() && plain.is_empty());
    }

    fn pair() -> (SecureStream, SecureStream) {
        let (server_config, client_config) = testing::configurations();
        let client = SecureStream::client(Some(&client_config), "localhost").unwrap();
        (client, SecureStream::server(Some(&server_config)).unwrap())
    }

    #[test]
    fn bytes_pass_both_ways_in_any_cut() {
        let (mut client, mut server) = pair();
        shake(&mut client, &mut server);
        let message: Vec<u8> = (0..100_000u32).map(|i| i as u8).collect();
        let (mut wire, mut plain, mut answer) = (Vec::new(), Vec::new(), Vec::new());
        client.seal(&message, &mut wire);
        assert!(wire.len() > message.len());
        for piece in wire.chunks(1_234) {
            server.open(piece, &mut plain, &mut answer).unwrap();
        }
        assert_eq!(plain, message);
        plain.clear();
        server.seal(b"back", &mut answer);
        client.open(&answer, &mut plain, &mut Vec::new()).unwrap();
        assert_eq!(plain, b"back");
    }

    #[test]
    fn close_notify_is_seen() {
        let (mut client, mut server) = pair();
        shake(&mut client, &mut server);
        let mut wire = Vec::new();
        client.seal(b"last", &mut wire);
        client.close(&mut wire);
        let mut plain = Vec::new();
        let opened = server.open(&wire, &mut plain, &mut Vec::new()).unwrap();
        assert!(opened.peer_closed);
        assert_eq!(plain, b"last");
    }

    #[test]
    fn plain_bytes_to_a_tls_server_are_an_error_with_an_alert() {
        let (_, mut server) = pair();
        let mut answer = Vec::new();
        let connect = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00";
        assert!(server.open(connect, &mut Vec::new(), &mut answer).is_err());
        assert_eq!(answer.first(), Some(&21), "record type alert");
    }
}
