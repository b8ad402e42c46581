//! The server's side of a handshake, by rustls: it takes bytes and returns flights, until [`Records`] take over.
//!
//! Invariants: an error leaves its alert in `wire_out`, and the connection is over. rustls is given one record at a
//! time and none after the handshake: its answers to those (to a KeyUpdate) would be lost with its buffers.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};
use rustls::{Error, ServerConfig};

use super::records::{EXPANSION_BYTES_MAX, Records, record_bytes};

/// A connection whose handshake is not over.
pub(crate) struct Handshake {
    connection: UnbufferedServerConnection,
    /// Bytes that have arrived and are not used yet.
    incoming: Vec<u8>,
    /// Bytes at its start that rustls is given: whole records, which may contain less than a message of the handshake.
    fed: usize,
    /// Bytes to be sealed when there are keys.
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
            fed: 0,
            waiting: Vec::new(),
        })
    }

    /// As [`crate::stream::SecureStream::open`]; returns whether the peer has closed.
    pub(crate) fn open(
        &mut self,
        wire: &[u8],
        plain: &mut Vec<u8>,
        wire_out: &mut Vec<u8>,
    ) -> Result<bool, Error> {
        self.incoming.extend_from_slice(wire);
        loop {
            let fed = self.incoming.get_mut(..self.fed).unwrap_or_default();
            let UnbufferedStatus { discard, state, .. } = self.connection.process_tls_records(fed);
            let met = match state {
                Ok(ConnectionState::EncodeTlsData(data)) => {
                    encode(data, wire_out);
                    Met::Work
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    Met::Work
                }
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        plain.extend_from_slice(record?.payload);
                    }
                    Met::Work
                }
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Met::End,
                // Blocked, or over.
                Ok(_) => Met::Nothing,
                Err(error) => {
                    self.send_alert(wire_out);
                    return Err(error);
                }
            };
            self.discard(discard);
            match met {
                Met::Work => {}
                Met::End => return Ok(true),
                Met::Nothing if self.is_over() || !self.feed() => return Ok(false),
                Met::Nothing => {}
            }
        }
    }

    /// Gives rustls one more record; returns false if none has arrived completely.
    fn feed(&mut self) -> bool {
        let rest = self.incoming.get(self.fed..).unwrap_or_default();
        let more = match record_bytes(rest, EXPANSION_BYTES_MAX) {
            Ok(Some(bytes)) if bytes <= rest.len() => bytes,
            Ok(_) => 0,
            // Not a record: rustls reports what is wrong with it.
            Err(_) => rest.len(),
        };
        self.fed += more;
        more > 0
    }

    /// Keeps bytes that are to be sealed later.
    pub(crate) fn wait(&mut self, plain: &[u8]) {
        self.waiting.extend_from_slice(plain);
    }

    pub(crate) fn is_over(&self) -> bool {
        !self.connection.is_handshaking()
    }

    /// Ends the handshake: returns the record layer, bytes that were received after the handshake, and bytes that wait
    /// to be sealed.
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
        self.fed = self.fed.saturating_sub(bytes);
    }

    /// What rustls queued before and after an error.
    fn send_alert(&mut self, wire_out: &mut Vec<u8>) {
        while self.connection.wants_write() {
            let UnbufferedStatus { state, .. } = self.connection.process_tls_records(&mut []);
            match state {
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, wire_out),
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                _ => return,
            }
        }
    }
}

/// What rustls found in the bytes so far.
enum Met {
    /// Something that was handled, so there may be more.
    Work,
    /// Only a part of what it waits for, or nothing.
    Nothing,
    /// The peer's end of the connection.
    End,
}

/// Appends the flight, after asking for its length.
fn encode<Data>(mut data: EncodeTlsData<'_, Data>, wire_out: &mut Vec<u8>) {
    let Err(EncodeError::InsufficientSize(wanted)) = data.encode(&mut []) else {
        return;
    };
    let start = wire_out.len();
    wire_out.resize(start + wanted.required_size, 0);
    // The buffer has enough space for it.
    let _ = data.encode(wire_out.get_mut(start..).unwrap_or_default());
}
