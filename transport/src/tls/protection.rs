//! Record protection: one direction's key of an established connection (RFC 8446, 5.2 and 5.3, for TLS 1.3; RFC 5246,
//! 6.2.3.3, with RFC 5288 and RFC 7905 for TLS 1.2). Records are sealed and opened in place, in the buffers where they
//! stay.
//!
//! Invariant: a sequence number is used once with a key. It continues from where rustls, which created the key,
//! stopped; only a new key starts at 0. Guarded by the exchange with the clients of rustls and OpenSSL in `tests`,
//! and, if the nonce is sent, by `no_nonce_is_sent_twice`.

use std::ops::Range;

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey,
};
use rustls::{ConnectionTrafficSecrets, Error, PeerMisbehaved, ProtocolVersion};

/// Bytes of type, version and length.
pub(super) const HEADER_BYTES: usize = 5;
/// Largest number of plain bytes in a record.
pub(super) const FRAGMENT_BYTES_MAX: usize = 1 << 14;
/// Bytes of the authentication tag of every suite here.
const TAG_BYTES: usize = 16;
/// Bytes of a TLS 1.2 AES-GCM nonce that are sent.
const EXPLICIT_NONCE_BYTES: usize = 8;
const APPLICATION_DATA: u8 = 23;

/// The key of one direction, and the number of its next record.
pub(super) struct Protection {
    key: LessSafeKey,
    iv: [u8; NONCE_LEN],
    sequence: u64,
    form: RecordForm,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum RecordForm {
    /// The type is encrypted; the nonce follows from the sequence number.
    Tls13,
    /// AES-GCM of TLS 1.2: a part of the nonce is sent.
    ExplicitNonce,
    /// ChaCha20-Poly1305 of TLS 1.2: as in 1.3, but the type is not encrypted.
    ImplicitNonce,
}

impl Protection {
    /// `first` is the sequence number of the next record and the key for it, as rustls returns them.
    pub(super) fn new(
        first: (u64, ConnectionTrafficSecrets),
        version: ProtocolVersion,
    ) -> Result<Self, Error> {
        let (sequence, secrets) = first;
        let is_tls13 = version == ProtocolVersion::TLSv1_3;
        let (algorithm, key, iv, form) = match &secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => {
                (&AES_128_GCM, key, iv, RecordForm::ExplicitNonce)
            }
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => {
                (&AES_256_GCM, key, iv, RecordForm::ExplicitNonce)
            }
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
                (&CHACHA20_POLY1305, key, iv, RecordForm::ImplicitNonce)
            }
            _ => {
                return Err(Error::General(
                    "a cipher suite without record protection".to_owned(),
                ));
            }
        };
        let unusable = |_| Error::General("rustls returned a key of the wrong length".to_owned());
        let key = UnboundKey::new(algorithm, key.as_ref()).map_err(unusable)?;
        let mut nonce_base = [0; NONCE_LEN];
        nonce_base.copy_from_slice(iv.as_ref());
        Ok(Self {
            key: LessSafeKey::new(key),
            iv: nonce_base,
            sequence,
            form: if is_tls13 { RecordForm::Tls13 } else { form },
        })
    }

    /// Number of records so far under this key.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Appends one record of at most [`FRAGMENT_BYTES_MAX`] plain bytes; nothing if it cannot be sealed.
    pub(super) fn seal(
        &mut self,
        content_type: u8,
        plain: &[u8],
        wire_out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let start = wire_out.len();
        let (outer_type, extra_bytes) = match self.form {
            RecordForm::Tls13 => (APPLICATION_DATA, 1),
            RecordForm::ExplicitNonce => (content_type, EXPLICIT_NONCE_BYTES),
            RecordForm::ImplicitNonce => (content_type, 0),
        };
        let header = header(outer_type, extra_bytes + plain.len() + TAG_BYTES);
        let nonce = self.nonce();
        wire_out.reserve(HEADER_BYTES + extra_bytes + plain.len() + TAG_BYTES);
        wire_out.extend_from_slice(&header);
        if self.form == RecordForm::ExplicitNonce {
            wire_out.extend_from_slice(&nonce[NONCE_LEN - EXPLICIT_NONCE_BYTES..]);
        }
        let body_at = wire_out.len();
        wire_out.extend_from_slice(plain);
        if self.form == RecordForm::Tls13 {
            wire_out.push(content_type);
        }
        let nonce = Nonce::assume_unique_for_key(nonce);
        let body = wire_out.get_mut(body_at..).unwrap_or_default();
        let tag = match self.form {
            RecordForm::Tls13 => self
                .key
                .seal_in_place_separate_tag(nonce, Aad::from(header), body),
            _ => {
                let aad = Aad::from(self.aad_of_tls12(content_type, plain.len()));
                self.key.seal_in_place_separate_tag(nonce, aad, body)
            }
        };
        let Ok(tag) = tag else {
            wire_out.truncate(start);
            return Err(Error::EncryptError);
        };
        wire_out.extend_from_slice(tag.as_ref());
        self.sequence += 1;
        Ok(())
    }

    /// Opens the `body` of a record (what follows its header) in place; returns the type and the range of the plain
    /// bytes.
    pub(super) fn open(
        &mut self,
        header: &[u8; HEADER_BYTES],
        body: &mut [u8],
    ) -> Result<(u8, Range<usize>), Error> {
        let &[outer_type, major, minor, ..] = header;
        let (nonce, from) = match self.form {
            RecordForm::Tls13 | RecordForm::ImplicitNonce => (self.nonce(), 0),
            RecordForm::ExplicitNonce => (self.explicit_nonce(body)?, EXPLICIT_NONCE_BYTES),
        };
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = body.get_mut(from..).ok_or(Error::DecryptError)?;
        let plain_bytes = sealed.len().checked_sub(TAG_BYTES).ok_or(Error::DecryptError)?;
        let opened = match self.form {
            RecordForm::Tls13 => {
                let aad = Aad::from(*header);
                self.key.open_in_place(nonce, aad, sealed)
            }
            _ => {
                let mut aad = self.aad_of_tls12(outer_type, plain_bytes);
                aad[9..11].copy_from_slice(&[major, minor]);
                self.key.open_in_place(nonce, Aad::from(aad), sealed)
            }
        };
        let plain = opened.map_err(|_| Error::DecryptError)?;
        self.sequence += 1;
        let (content_type, plain_bytes) = match self.form {
            // RFC 8446, 5.4: the padding counts.
            RecordForm::Tls13 if plain.len() > FRAGMENT_BYTES_MAX + 1 => {
                return Err(Error::PeerSentOversizedRecord);
            }
            RecordForm::Tls13 => inner_type(plain)?,
            _ => (outer_type, plain_bytes),
        };
        if plain_bytes > FRAGMENT_BYTES_MAX {
            return Err(Error::PeerSentOversizedRecord);
        }
        Ok((content_type, from..from + plain_bytes))
    }

    /// RFC 8446, 5.3; RFC 5288 leaves the explicit part to the sender, and rustls makes the same choice.
    fn nonce(&self) -> [u8; NONCE_LEN] {
        let mut nonce = self.iv;
        for (byte, number) in nonce.iter_mut().skip(4).zip(self.sequence.to_be_bytes()) {
            *byte ^= number;
        }
        nonce
    }

    fn explicit_nonce(&self, body: &[u8]) -> Result<[u8; NONCE_LEN], Error> {
        let sent: &[u8; EXPLICIT_NONCE_BYTES] = body.first_chunk().ok_or(Error::DecryptError)?;
        let mut nonce = self.iv;
        for (byte, sent) in nonce.iter_mut().skip(NONCE_LEN - EXPLICIT_NONCE_BYTES).zip(sent) {
            *byte = *sent;
        }
        Ok(nonce)
    }

    /// RFC 5246, 6.2.3.3: sequence number, type, version, plain length.
    fn aad_of_tls12(&self, content_type: u8, plain_bytes: usize) -> [u8; 13] {
        let mut aad = [0; 13];
        let (sequence, rest) = aad.split_at_mut(8);
        sequence.copy_from_slice(&self.sequence.to_be_bytes());
        rest.copy_from_slice(&header(content_type, plain_bytes));
        aad
    }
}

/// The header; every version since 1.2 states 1.2 here.
fn header(content_type: u8, bytes: usize) -> [u8; HEADER_BYTES] {
    let [high, low] = (bytes as u16).to_be_bytes();
    [content_type, 3, 3, high, low]
}

/// RFC 8446, 5.4: the content is followed by its type and then zeros.
fn inner_type(plain: &[u8]) -> Result<(u8, usize), Error> {
    let at = plain.iter().rposition(|byte| *byte != 0);
    let found = at.and_then(|at| Some((*plain.get(at)?, at)));
    found.ok_or(Error::PeerMisbehaved(PeerMisbehaved::IllegalTlsInnerPlaintext))
}
