//! The server's side of a handshake, by rustls: bytes in, flights out, until [`Records`] take over.
//!
//! Invariant: an error leaves the alert for it in `wire_out`, and the connection is over.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};
use rustls::{Error, ServerConfig};

use super::records::Records;

/// A connection whose handshake is not over.
pub(crate) struct Handshake {
    connection: UnbufferedServerConnection,
    /// What has come and is not used: less than a message of the handshake.
    incoming: Vec<u8>,
    /// What is to be sealed when there are keys.
    waiting: Vec<u8>,
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake").finish_non_exhaustive()
    }
}

impl Handshake {
    pub(crate) fn new(config: &Arc<ServerConfig>) -> Result<Self, Error> {
        Ok(Self {
            connection: UnbufferedServerConnection::new(Arc::clone(config))?,
            incoming: Vec::new(),
            waiting: Vec::new(),
        })
    }

    /// As [`crate::stream::SecureStream::open`]; true if the peer has closed.
    pub(crate) fn open(
        &mut self,
        wire: &[u8],
        plain: &mut Vec<u8>,
        wire_out: &mut Vec<u8>,
    ) -> Result<bool, Error> {
        self.incoming.extend_from_slice(wire);
        loop {
            let UnbufferedStatus { discard, state, .. } =
                self.connection.process_tls_records(&mut self.incoming);
            let (goes_on, peer_closed) = match state {
                Ok(ConnectionState::EncodeTlsData(data)) => {
                    encode(data, wire_out);
                    (true, false)
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    (true, false)
                }
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        plain.extend_from_slice(record?.payload);
                    }
                    (true, false)
                }
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => (false, true),
                // Blocked, or over.
                Ok(_) => (false, false),
                Err(error) => {
                    self.discard(discard);
                    self.send_alert(wire_out);
                    return Err(error);
                }
            };
            self.discard(discard);
            if !goes_on {
                return Ok(peer_closed);
            }
        }
    }

    /// Keeps what is to be sealed later.
    pub(crate) fn wait(&mut self, plain: &[u8]) {
        self.waiting.extend_from_slice(plain);
    }

    pub(crate) fn is_over(&self) -> bool {
        !self.connection.is_handshaking()
    }

    /// The records after the handshake, what has come of them, and what waits to be sealed.
    pub(crate) fn into_records(self) -> Result<(Records, Vec<u8>, Vec<u8>), Error> {
        let chain = self.connection.peer_certificates();
        let certificate = chain
            .and_then(<[_]>::first)
            .map(|leaf| CertificateDer::into_owned(leaf.clone()));
        let (secrets, keys) = self.connection.dangerous_into_kernel_connection()?;
        let records = Records::new(secrets, keys, certificate)?;
        Ok((records, self.incoming, self.waiting))
    }

    fn discard(&mut self, bytes: usize) {
        self.incoming.drain(..bytes.min(self.incoming.len()));
    }

    /// What rustls queued after an error.
    fn send_alert(&mut self, wire_out: &mut Vec<u8>) {
        let UnbufferedStatus { state, .. } = self.connection.process_tls_records(&mut self.incoming);
        if let Ok(ConnectionState::EncodeTlsData(data)) = state {
            encode(data, wire_out);
        }
    }
}

/// Appends the flight. It is asked for its length first.
fn encode<Data>(mut data: EncodeTlsData<'_, Data>, wire_out: &mut Vec<u8>) {
    let Err(EncodeError::InsufficientSize(wanted)) = data.encode(&mut []) else {
        return;
    };
    let start = wire_out.len();
    wire_out.resize(start + wanted.required_size, 0);
    // There is room for it.
    let _ = data.encode(wire_out.get_mut(start..).unwrap_or_default());
}
