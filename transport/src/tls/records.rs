//! The server's side of a connection whose handshake is over: records only. rustls created the keys and creates the
//! next ones when they are renewed; its buffers and the state of its handshake have been freed, which are most of the
//! memory of a connection.
//!
//! Invariants: no plain bytes are kept inside, and of the wire at most one incomplete record. After an alert of ours,
//! or a close, nothing is sealed any more; after an error nothing is opened any more. A KeyUpdate may arrive in
//! several records (`key_update.rs`). The same bytes mean the same as to rustls' own records, guarded by
//! `tests/differential.rs`.
//!
//! Maximum fragment lengths (RFC 6066, RFC 8449) are not negotiated: rustls does not answer the extensions, which a
//! client must treat as a refusal, and records of up to 16 KiB are sent.

use std::fmt;

use rustls::kernel::KernelConnection;
use rustls::pki_types::CertificateDer;
use rustls::server::ServerConnectionData;
use rustls::{
    AlertDescription, ContentType, Error, ExtractedSecrets, HandshakeType, InvalidMessage, PeerMisbehaved,
    ProtocolVersion, SupportedCipherSuite,
};

use super::key_update::KeyUpdateReader;
use super::protection::{FRAGMENT_BYTES_MAX, HEADER_BYTES, Protection};

/// The number of bytes by which a sealed record may be longer than its content: RFC 5246, 6.2.3.
pub(super) const EXPANSION_BYTES_MAX: usize = 2048;
/// The same in TLS 1.3: RFC 8446, 5.2.
const EXPANSION_BYTES_MAX_TLS13: usize = 256;
/// Largest number of key updates without application data between them: each costs this side a key schedule.
const KEY_UPDATES_MAX: u8 = 32;
/// Largest number of empty records of application data without anything else between them, as in rustls.
const EMPTY_RECORDS_MAX: u8 = 32;
/// Largest number of TLS 1.2 warnings without application data between them.
const WARNINGS_MAX: u8 = 4;
const WARNING: u8 = 1;
const FATAL: u8 = 2;

/// A connection whose handshake is over.
pub(crate) struct Records {
    opener: Protection,
    sealer: Protection,
    version: ProtocolVersion,
    suite: SupportedCipherSuite,
    /// Creates the next keys; `None` in TLS 1.2, which renews none.
    keys: Option<KernelConnection<ServerConnectionData>>,
    /// The client's certificate, from which its identity is read.
    certificate: Option<CertificateDer<'static>>,
    /// The start of a record that has not arrived completely.
    partial: Vec<u8>,
    /// Largest number of records that a key may seal: the suite's confidentiality limit.
    records_max: u64,
    /// A KeyUpdate that has not arrived completely.
    key_update: KeyUpdateReader,
    /// Key updates, warnings or empty records since the last application data.
    idle_messages: u8,
    peer_closed: bool,
    failed: bool,
    closed: bool,
}

/// Omits the keys.
impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records").finish_non_exhaustive()
    }
}

impl Records {
    pub(super) fn new(
        secrets: ExtractedSecrets,
        keys: KernelConnection<ServerConnectionData>,
        certificate: Option<CertificateDer<'static>>,
    ) -> Result<Self, Error> {
        let version = keys.protocol_version();
        let suite = keys.negotiated_cipher_suite();
        let common = match suite {
            SupportedCipherSuite::Tls12(suite) => &suite.common,
            SupportedCipherSuite::Tls13(suite) => &suite.common,
        };
        Ok(Self {
            opener: Protection::new(secrets.rx, version)?,
            sealer: Protection::new(secrets.tx, version)?,
            // One is reserved for the message that announces the new key.
            records_max: common.confidentiality_limit.saturating_sub(1),
            keys: (version == ProtocolVersion::TLSv1_3).then_some(keys),
            version,
            suite,
            certificate,
            partial: Vec::new(),
            key_update: KeyUpdateReader::default(),
            idle_messages: 0,
            peer_closed: false,
            failed: false,
            closed: false,
        })
    }

    /// The certificate that the client presented, unless it was released.
    pub(crate) fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.certificate.as_ref()
    }

    /// The certificate is not needed any more. rustls keeps a copy with the state for the next keys.
    pub(crate) fn forget_certificate(&mut self) {
        self.certificate = None;
    }

    pub(crate) fn negotiated(&self) -> (ProtocolVersion, SupportedCipherSuite) {
        (self.version, self.suite)
    }

    /// Whether nothing can be sent any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// As [`crate::stream::SecureStream::open`]; returns whether the peer has closed.
    pub(crate) fn open(
        &mut self,
        mut wire: &[u8],
        plain: &mut Vec<u8>,
        wire_out: &mut Vec<u8>,
    ) -> Result<bool, Error> {
        if self.failed {
            return Err(Error::General("TLS has ended".to_owned()));
        }
        let result = loop {
            if self.peer_closed || wire.is_empty() {
                break Ok(self.peer_closed);
            }
            if let Err(error) = self.open_some(&mut wire, plain, wire_out) {
                break Err(error);
            }
        };
        if let Err(error) = &result {
            self.failed = true;
            self.refuse(error, wire_out);
        }
        result
    }

    /// Appends `plain` as records; nothing after a close.
    pub(crate) fn seal(&mut self, plain: &[u8], wire_out: &mut Vec<u8>) {
        for fragment in plain.chunks(FRAGMENT_BYTES_MAX) {
            if self.sealer.sequence() >= self.records_max && self.renew_key(wire_out).is_err() {
                // TLS 1.2 cannot renew: the client connects again.
                self.close(wire_out);
            }
            self.send(ContentType::ApplicationData, fragment, wire_out);
        }
    }

    /// Appends close_notify; nothing after a close.
    pub(crate) fn close(&mut self, wire_out: &mut Vec<u8>) {
        self.alert(WARNING, AlertDescription::CloseNotify, wire_out);
        self.closed = true;
    }

    /// For tests: makes a key reach its limit sooner; returns the previous limit.
    #[cfg(test)]
    pub(crate) fn limit_records(&mut self, records_max: u64) -> u64 {
        std::mem::replace(&mut self.records_max, records_max)
    }

    /// Opens one record, or keeps the start of an incomplete one.
    fn open_some(
        &mut self,
        wire: &mut &[u8],
        plain: &mut Vec<u8>,
        wire_out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        if self.partial.is_empty()
            && let Some(bytes) = self.record_bytes(wire)?
            && let Some((record, rest)) = wire.split_at_checked(bytes)
        {
            *wire = rest;
            return self.open_record(record, plain, wire_out);
        }
        let wanted = self.record_bytes(&self.partial)?.unwrap_or(HEADER_BYTES);
        let (taken, rest) = wire.split_at(wire.len().min(wanted.saturating_sub(self.partial.len())));
        *wire = rest;
        self.partial
            .reserve_exact(wanted.saturating_sub(self.partial.len()));
        self.partial.extend_from_slice(taken);
        if self.record_bytes(&self.partial)? == Some(self.partial.len()) {
            let record = std::mem::take(&mut self.partial);
            return self.open_record(&record, plain, wire_out);
        }
        Ok(())
    }

    fn record_bytes(&self, wire: &[u8]) -> Result<Option<usize>, Error> {
        record_bytes(
            wire,
            if self.is_tls13() {
                EXPANSION_BYTES_MAX_TLS13
            } else {
                EXPANSION_BYTES_MAX
            },
        )
    }

    fn is_tls13(&self) -> bool {
        self.version == ProtocolVersion::TLSv1_3
    }

    fn open_record(
        &mut self,
        record: &[u8],
        plain: &mut Vec<u8>,
        wire_out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let Some((header, body)) = record.split_first_chunk::<HEADER_BYTES>() else {
            return Ok(());
        };
        self.check_outer_type(header[0])?;
        let start = plain.len();
        plain.extend_from_slice(body);
        let opened = self
            .opener
            .open(header, plain.get_mut(start..).unwrap_or_default());
        let (content_type, range) = opened.inspect_err(|_| plain.truncate(start))?;
        if range.start > 0 {
            plain.copy_within(start + range.start..start + range.end, start);
        }
        plain.truncate(start + range.len());
        if self.key_update.is_partial() && content_type != u8::from(ContentType::Handshake) {
            plain.truncate(start);
            return Err(Error::PeerMisbehaved(
                PeerMisbehaved::MessageInterleavedWithHandshakeMessage,
            ));
        }
        if content_type == u8::from(ContentType::ApplicationData) {
            if range.is_empty() {
                return self.count_idle(EMPTY_RECORDS_MAX, PeerMisbehaved::TooManyEmptyFragments);
            }
            self.idle_messages = 0;
            return Ok(());
        }
        let message = plain.split_off(start);
        self.handle(ContentType::from(content_type), &message, wire_out)
    }

    /// In TLS 1.3 every record looks like application data by now.
    fn check_outer_type(&self, outer_type: u8) -> Result<(), Error> {
        let outer_type = ContentType::from(outer_type);
        let is_expected = match self.version {
            ProtocolVersion::TLSv1_3 => outer_type == ContentType::ApplicationData,
            _ => matches!(
                outer_type,
                ContentType::ApplicationData | ContentType::Alert | ContentType::Handshake
            ),
        };
        if is_expected {
            Ok(())
        } else {
            Err(unexpected(outer_type))
        }
    }

    fn handle(
        &mut self,
        content_type: ContentType,
        message: &[u8],
        wire_out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        match (content_type, message) {
            (ContentType::Alert, &[level, description]) => {
                self.handle_alert(level, AlertDescription::from(description))
            }
            (ContentType::Handshake, _) if !self.is_tls13() => {
                self.alert(WARNING, AlertDescription::NoRenegotiation, wire_out);
                Err(Error::PeerMisbehaved(
                    PeerMisbehaved::TooManyRenegotiationRequests,
                ))
            }
            (ContentType::Handshake, _) => match self.key_update.take(message)? {
                Some(wants_answer) => self.handle_key_update(wants_answer, wire_out),
                None => Ok(()),
            },
            _ => Err(unexpected(content_type)),
        }
    }

    fn handle_alert(&mut self, level: u8, description: AlertDescription) -> Result<(), Error> {
        let is_tls13 = self.is_tls13();
        match description {
            AlertDescription::CloseNotify => self.peer_closed = true,
            AlertDescription::UserCanceled if is_tls13 => self.count_idle(WARNINGS_MAX, TOO_MANY_WARNINGS)?,
            _ if level == WARNING && !is_tls13 => self.count_idle(WARNINGS_MAX, TOO_MANY_WARNINGS)?,
            _ => return Err(Error::AlertReceived(description)),
        }
        Ok(())
    }

    fn handle_key_update(&mut self, wants_answer: bool, wire_out: &mut Vec<u8>) -> Result<(), Error> {
        self.count_idle(KEY_UPDATES_MAX, PeerMisbehaved::TooManyKeyUpdateRequests)?;
        let next = self.keys.as_mut().ok_or(NO_RENEWAL)?.update_rx_secret()?;
        self.opener = Protection::new(next, ProtocolVersion::TLSv1_3)?;
        if wants_answer {
            self.renew_key(wire_out)?;
        }
        Ok(())
    }

    fn count_idle(&mut self, max: u8, too_many: PeerMisbehaved) -> Result<(), Error> {
        self.idle_messages += 1;
        if self.idle_messages > max {
            return Err(Error::PeerMisbehaved(too_many));
        }
        Ok(())
    }

    /// Sends a KeyUpdate under the old key and changes to the new one. An error in TLS 1.2, which has none.
    fn renew_key(&mut self, wire_out: &mut Vec<u8>) -> Result<(), Error> {
        let next = self.keys.as_mut().ok_or(NO_RENEWAL)?.update_tx_secret()?;
        let update = [u8::from(HandshakeType::KeyUpdate), 0, 0, 1, 0];
        self.send(ContentType::Handshake, &update, wire_out);
        self.sealer = Protection::new(next, ProtocolVersion::TLSv1_3)?;
        Ok(())
    }

    /// Appends the alert for the peer's error, the last record.
    fn refuse(&mut self, error: &Error, wire_out: &mut Vec<u8>) {
        let description = match error {
            // The peer has ended the connection already.
            Error::AlertReceived(_) => None,
            Error::DecryptError => Some(AlertDescription::BadRecordMac),
            Error::PeerSentOversizedRecord => Some(AlertDescription::RecordOverflow),
            Error::General(_) | Error::EncryptError => Some(AlertDescription::InternalError),
            Error::InvalidMessage(InvalidMessage::InvalidKeyUpdate) => {
                Some(AlertDescription::IllegalParameter)
            }
            Error::InvalidMessage(InvalidMessage::MissingData(_) | InvalidMessage::TrailingData(_)) => {
                Some(AlertDescription::DecodeError)
            }
            _ => Some(AlertDescription::UnexpectedMessage),
        };
        if let Some(description) = description {
            self.alert(FATAL, description, wire_out);
        }
        self.closed = true;
    }

    fn alert(&mut self, level: u8, description: AlertDescription, wire_out: &mut Vec<u8>) {
        self.send(ContentType::Alert, &[level, u8::from(description)], wire_out);
    }

    fn send(&mut self, content_type: ContentType, plain: &[u8], wire_out: &mut Vec<u8>) {
        debug_assert!(plain.len() <= FRAGMENT_BYTES_MAX, "fragments are cut before");
        if !self.closed {
            let sealed = self.sealer.seal(u8::from(content_type), plain, wire_out);
            self.closed = sealed.is_err();
        }
    }
}

const TOO_MANY_WARNINGS: PeerMisbehaved = PeerMisbehaved::TooManyWarningAlertsReceived;
/// TLS 1.2 has no KeyUpdate.
const NO_RENEWAL: Error = Error::HandshakeNotComplete;

/// Bytes of the record that starts here, including its header; `None` before the header is complete. It may be longer
/// than its content by `expansion`.
pub(super) fn record_bytes(wire: &[u8], expansion_bytes_max: usize) -> Result<Option<usize>, Error> {
    let Some(&[_, major, _, high, low]) = wire.first_chunk::<HEADER_BYTES>() else {
        return Ok(None);
    };
    if major != 3 {
        return Err(Error::InvalidMessage(InvalidMessage::UnknownProtocolVersion));
    }
    let bytes = usize::from(u16::from_be_bytes([high, low]));
    if bytes > FRAGMENT_BYTES_MAX + expansion_bytes_max {
        return Err(Error::PeerSentOversizedRecord);
    }
    Ok(Some(HEADER_BYTES + bytes))
}

pub(super) fn unexpected(got: ContentType) -> Error {
    Error::InappropriateMessage {
        expect_types: vec![ContentType::ApplicationData, ContentType::Alert],
        got_type: got,
    }
}
