//! The stream of a connection: plain, or TLS by rustls, or WebSocket above either. It converts bytes and does no I/O.
//!
//! Invariants: [`SecureStream::open`] leaves no readable byte inside (so one pass over received bytes is sufficient),
//! and [`SecureStream::seal`] accepts everything (the owner limits what it passes).

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ProtocolVersion, ServerConfig};

use crate::tls::TlsError;
use crate::tls::connection::TlsConnection;
use crate::websocket::client::{Resource, UpgradeError};
use crate::websocket::{WebSocket, WebSocketError};

/// The layers between a connection's socket and its packets: none, TLS, WebSocket, or both.
#[derive(Debug)]
pub enum SecureStream {
    /// A stream that is not encrypted.
    Plain,
    /// TLS 1.2 or 1.3.
    Tls(TlsConnection),
    /// Binary frames, above TCP or TLS.
    WebSocket(Box<WebSocket>),
}

/// What [`SecureStream::open`] found besides the plain bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Whether the peer sent close_notify.
    pub peer_closed: bool,
    /// What the operator should know about the peer's certificate, although it was accepted: one sentence, once for
    /// each certificate.
    pub warning: Option<Box<str>>,
}

/// What the peer did wrong below MQTT.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The fault is in TLS, or in a certificate.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// The fault is in a WebSocket frame.
    #[error("{0}")]
    WebSocket(#[from] WebSocketError),
    /// The server's answer does not accept the WebSocket upgrade.
    #[error("{0}")]
    Upgrade(#[from] UpgradeError),
}

impl SecureStream {
    /// The server's side; `config` as [`crate::tls::server_config_with`] creates it, which allows the handshake to
    /// hand over its keys.
    ///
    /// # Errors
    /// None in practice: rustls checks the configuration.
    pub fn server(config: Option<&Arc<ServerConfig>>) -> Result<SecureStream, StreamError> {
        Ok(match config {
            None => SecureStream::Plain,
            Some(config) => SecureStream::Tls(TlsConnection::server(config)?),
        })
    }

    /// The client's side; the server's certificate must be valid for `server_name`.
    ///
    /// # Errors
    /// When `server_name` is neither a DNS name nor an IP address.
    pub fn client(
        config: Option<&Arc<ClientConfig>>,
        server_name: &str,
    ) -> Result<SecureStream, StreamError> {
        Ok(match config {
            None => SecureStream::Plain,
            Some(config) => SecureStream::Tls(TlsConnection::client(config, server_name)?),
        })
    }

    /// The client's side with WebSocket above; its first flight and what is sealed wait until they can be sent.
    #[must_use]
    pub fn upgrading(self, resource: &Resource) -> SecureStream {
        let tls = match self {
            SecureStream::Plain => None,
            SecureStream::Tls(connection) => Some(connection),
            SecureStream::WebSocket(_) => return self,
        };
        SecureStream::WebSocket(Box::new(WebSocket::client(tls, resource)))
    }

    /// The client's first flight: of TLS, and the request for the upgrade to WebSocket, which TLS keeps until the
    /// handshake is over. A server or a plain stream has none.
    pub fn start(&mut self, wire_out: &mut Vec<u8>) {
        match self {
            SecureStream::Plain => {}
            SecureStream::Tls(connection) => connection.start(wire_out),
            SecureStream::WebSocket(socket) => socket.start(wire_out),
        }
    }

    /// Switches this stream, which does not use WebSocket yet, to WebSocket frames; the answer to the upgrade was
    /// sealed. A frame of the peer may have `frame_bytes_max` bytes of payload.
    #[must_use]
    pub fn upgraded(self, frame_bytes_max: u64) -> SecureStream {
        let tls = match self {
            SecureStream::Plain => None,
            SecureStream::Tls(connection) => Some(connection),
            SecureStream::WebSocket(_) => return self,
        };
        SecureStream::WebSocket(Box::new(WebSocket::server(tls, frame_bytes_max)))
    }

    /// [`SecureStream::open`] for frames that were already decrypted: those that arrived with the request for the
    /// upgrade.
    ///
    /// # Errors
    /// As for [`SecureStream::open`].
    pub fn open_frames(
        &mut self,
        frames: &[u8],
        plain: &mut Vec<u8>,
        wire_out: &mut Vec<u8>,
    ) -> Result<Opened, StreamError> {
        let SecureStream::WebSocket(socket) = self else {
            return Ok(Opened::default());
        };
        let peer_closed = socket.read(frames, plain, wire_out)?;
        Ok(Opened {
            peer_closed,
            ..Opened::default()
        })
    }

    /// Takes `wire` bytes, appends what became readable to `plain`, and what must be answered (handshake, alerts,
    /// pongs) to `wire_out`.
    ///
    /// # Errors
    /// What the peer did wrong. `wire_out` then ends with the alert or close frame to send.
    pub fn open(
        &mut self,
        wire: &[u8],
        plain: &mut Vec<u8>,
        wire_out: &mut Vec<u8>,
    ) -> Result<Opened, StreamError> {
        match self {
            SecureStream::Plain => {
                plain.extend_from_slice(wire);
                Ok(Opened::default())
            }
            SecureStream::Tls(connection) => Ok(connection.open(wire, plain, wire_out)?),
            SecureStream::WebSocket(socket) => socket.open(wire, plain, wire_out),
        }
    }

    /// Appends `plain` to `wire_out` as records, or as one frame; before the handshake is over it is kept inside.
    pub fn seal(&mut self, plain: &[u8], wire_out: &mut Vec<u8>) {
        match self {
            SecureStream::Plain => wire_out.extend_from_slice(plain),
            SecureStream::Tls(connection) => connection.seal(plain, wire_out),
            SecureStream::WebSocket(socket) => socket.seal(plain, wire_out),
        }
    }

    /// Appends the end of the stream: close_notify, a close frame.
    pub fn close(&mut self, wire_out: &mut Vec<u8>) {
        match self {
            SecureStream::Plain => {}
            SecureStream::Tls(connection) => connection.close(wire_out),
            SecureStream::WebSocket(socket) => socket.close(wire_out),
        }
    }

    /// Whether TLS can send nothing any more: after we closed it or an error on our side, or with a key that has
    /// reached its limit.
    pub fn is_closed(&self) -> bool {
        self.connection().is_some_and(TlsConnection::is_closed)
    }

    /// Whether application bytes cannot be sent yet, because of TLS or of an upgrade.
    pub fn is_handshaking(&self) -> bool {
        match self {
            SecureStream::Plain => false,
            SecureStream::Tls(connection) => connection.is_handshaking(),
            SecureStream::WebSocket(socket) => socket.is_upgrading() || self.is_securing(),
        }
    }

    /// Whether the TLS handshake is not over yet, whatever is above it.
    pub fn is_securing(&self) -> bool {
        self.connection().is_some_and(TlsConnection::is_handshaking)
    }

    /// Whether WebSocket frames are used, or will be.
    pub fn is_web_socket(&self) -> bool {
        matches!(self, SecureStream::WebSocket(_))
    }

    /// Whether TLS is used, whatever is above it.
    pub fn is_tls(&self) -> bool {
        self.connection().is_some()
    }

    /// The certificate that the client presented to this server, until [`SecureStream::forget_certificate`].
    pub fn client_certificate(&self) -> Option<&CertificateDer<'static>> {
        self.connection()?.client_certificate()
    }

    /// Releases its memory when the client has been identified.
    pub fn forget_certificate(&mut self) {
        match self {
            SecureStream::Plain => {}
            SecureStream::Tls(connection) => connection.forget_certificate(),
            SecureStream::WebSocket(socket) => socket.forget_certificate(),
        }
    }

    fn connection(&self) -> Option<&TlsConnection> {
        match self {
            SecureStream::Plain => None,
            SecureStream::Tls(connection) => Some(connection),
            SecureStream::WebSocket(socket) => socket.tls(),
        }
    }

    /// Whether the bytes on the wire are those of the packets.
    pub fn is_plain(&self) -> bool {
        matches!(self, SecureStream::Plain)
    }

    /// The negotiated version and cipher suite, for example `TLS 1.3 TLS_AES_256_GCM_SHA384`; `None` if plain or not
    /// negotiated yet.
    pub fn negotiated(&self) -> Option<String> {
        self.connection()?.negotiated()
    }

    /// Whether TLS 1.3 was negotiated; `None` before that, and without TLS.
    pub fn is_tls13(&self) -> Option<bool> {
        let version = self.connection()?.version()?;
        Some(version == ProtocolVersion::TLSv1_3)
    }

    /// For tests: the server's key must be renewed after this many records.
    #[cfg(test)]
    pub(crate) fn limit_records(&mut self, records_max: u64) -> Option<u64> {
        match self {
            SecureStream::Tls(connection) => connection.limit_records(records_max),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::tests::configurations::configurations;

    /// Moves bytes both ways until neither side has more to send.
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
        let (server_config, client_config) = configurations();
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
