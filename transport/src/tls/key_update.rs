//! KeyUpdate (RFC 8446, 4.6.3): the only handshake message that a client may send after the handshake, assembled from
//! the records that contain it.
//!
//! Invariants: no more than the five bytes of the message are kept; a KeyUpdate ends its last record, because the next
//! one uses the new key (RFC 8446, 5.1), and nothing else comes between its records: [`super::records`] checks
//! [`KeyUpdateReader::is_partial`].

use rustls::{ContentType, Error, HandshakeType, InvalidMessage};

use super::records::unexpected;

/// Type, three bytes of length, and whether the peer requests an answer.
const MESSAGE_BYTES: usize = 5;
const HEADER_BYTES: usize = 4;

/// The part of a KeyUpdate that has arrived.
#[derive(Default)]
pub(super) struct KeyUpdateReader {
    bytes: [u8; MESSAGE_BYTES],
    length: u8,
}

impl KeyUpdateReader {
    /// Whether the next record must continue the message.
    pub(super) fn is_partial(&self) -> bool {
        self.length > 0
    }

    /// Takes the content of a record; when the message is complete, returns whether the peer requests an answer.
    pub(super) fn take(&mut self, content: &[u8]) -> Result<Option<bool>, Error> {
        if content.is_empty() {
            return Err(unexpected(ContentType::Handshake));
        }
        for byte in content {
            let place = self.bytes.get_mut(usize::from(self.length));
            // Something follows in the same record.
            *place.ok_or(unexpected(ContentType::Handshake))? = *byte;
            self.length += 1;
            self.check_header()?;
        }
        let [.., request] = self.bytes;
        if usize::from(self.length) < MESSAGE_BYTES {
            return Ok(None);
        }
        self.length = 0;
        match request {
            0 | 1 => Ok(Some(request == 1)),
            _ => Err(Error::InvalidMessage(InvalidMessage::InvalidKeyUpdate)),
        }
    }

    fn check_header(&self) -> Result<(), Error> {
        let [kind, high, middle, low, _] = self.bytes;
        if kind != u8::from(HandshakeType::KeyUpdate) {
            return Err(unexpected(ContentType::Handshake));
        }
        if usize::from(self.length) < HEADER_BYTES {
            return Ok(());
        }
        match u32::from_be_bytes([0, high, middle, low]) {
            1 => Ok(()),
            0 => Err(Error::InvalidMessage(InvalidMessage::MissingData("KeyUpdate"))),
            _ => Err(Error::InvalidMessage(InvalidMessage::TrailingData("KeyUpdate"))),
        }
    }
}
