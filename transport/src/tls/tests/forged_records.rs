//! Records that no library sends, from a peer that has the client's keys.

use std::io::Write as _;
use std::sync::Arc;

use rustls::ClientConnection;

use super::configurations::configurations_of;
use crate::stream::{Opened, SecureStream, StreamError};
use crate::tls::TlsVersion;
use crate::tls::protection::Protection;

pub(super) const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;
pub(super) const DATA: u8 = 23;
const UNEXPECTED_MESSAGE: u8 = 10;
const BAD_RECORD_MAC: u8 = 20;
const RECORD_OVERFLOW: u8 = 22;
const ILLEGAL_PARAMETER: u8 = 47;
const DECODE_ERROR: u8 = 50;
const NO_RENEGOTIATION: u8 = 100;

/// A client that seals arbitrary records.
pub(super) struct Forger {
    server: SecureStream,
    sealer: Protection,
    opener: Protection,
    /// What the server has read.
    pub(super) plain: Vec<u8>,
}

impl Forger {
    fn new(version: TlsVersion) -> Forger {
        Forger::new_with(version, false)
    }

    /// A forger with a server whose records are rustls' own, or ours.
    pub(super) fn new_with(version: TlsVersion, rustls_records: bool) -> Forger {
        let (server, client) = configurations_of(Some(version), None);
        let mut server = Arc::unwrap_or_clone(server);
        server.enable_secret_extraction = !rustls_records;
        let server = Arc::new(server);
        let mut client = Arc::unwrap_or_clone(client);
        client.enable_secret_extraction = true;
        let mut client = ClientConnection::new(Arc::new(client), "localhost".try_into().unwrap()).unwrap();
        let mut server = SecureStream::server(Some(&server)).unwrap();
        let mut plain = Vec::new();
        while client.is_handshaking() || server.is_handshaking() {
            let (mut wire, mut answer) = (Vec::new(), Vec::new());
            while client.wants_write() {
                client.write_tls(&mut wire).unwrap();
            }
            server.open(&wire, &mut plain, &mut answer).unwrap();
            client.read_tls(&mut &answer[..]).unwrap();
            client.process_new_packets().unwrap();
        }
        assert_eq!(client.writer().write(b"").unwrap(), 0);
        let version = client.protocol_version().unwrap();
        let secrets = client.dangerous_extract_secrets().unwrap();
        Forger {
            server,
            sealer: Protection::new(secrets.tx, version).unwrap(),
            opener: Protection::new(secrets.rx, version).unwrap(),
            plain,
        }
    }

    fn tls13() -> Forger {
        Forger::new(TlsVersion::V1_3)
    }

    pub(super) fn record(&mut self, content_type: u8, content: &[u8]) -> Vec<u8> {
        let mut wire = Vec::new();
        self.sealer.seal(content_type, content, &mut wire).unwrap();
        wire
    }

    /// Sends a record; returns the alerts that the server answers, levels before descriptions.
    fn send(&mut self, content_type: u8, content: &[u8]) -> (Result<Opened, StreamError>, Vec<[u8; 2]>) {
        let wire = self.record(content_type, content);
        self.open(&wire)
    }

    /// Sends bytes; the alerts are those before an answer to a KeyUpdate, after which the keys are different.
    pub(super) fn open(&mut self, wire: &[u8]) -> (Result<Opened, StreamError>, Vec<[u8; 2]>) {
        let mut answer = Vec::new();
        let opened = self.server.open(wire, &mut self.plain, &mut answer);
        let mut alerts = Vec::new();
        let mut rest = &mut answer[..];
        while let Some((&mut header, behind)) = rest.split_first_chunk_mut::<5>() {
            let (body, next) = behind.split_at_mut(usize::from(u16::from_be_bytes([header[3], header[4]])));
            let Ok((content_type, range)) = self.opener.open(&header, body) else {
                break;
            };
            if content_type == HANDSHAKE {
                break;
            }
            assert_eq!(content_type, ALERT);
            alerts.push(<[u8; 2]>::try_from(&body[range]).unwrap());
            rest = next;
        }
        (opened, alerts)
    }

    fn is_well(&mut self, content_type: u8, content: &[u8]) {
        let (opened, alerts) = self.send(content_type, content);
        assert!(!opened.unwrap().peer_closed && alerts.is_empty());
    }

    fn is_refused(&mut self, content_type: u8, content: &[u8], alerts: &[[u8; 2]]) {
        let read = self.plain.len();
        let (opened, sent) = self.send(content_type, content);
        opened.unwrap_err();
        assert_eq!(
            (sent.as_slice(), self.plain.len()),
            (alerts, read),
            "{content_type} {content:?}"
        );
    }
}

/// RFC 8446, 5.4: padding is removed and counts.
#[test]
fn padding_is_taken_off_and_counts() {
    let mut forger = Forger::tls13();
    forger.is_well(0, &[b"padded".as_slice(), &[DATA], &[0; 100]].concat());
    assert_eq!(forger.plain, b"padded");
    // As long as a record may be, its type included.
    forger.is_well(0, &[&[7; 10_000][..], &[DATA], &[0; 6_383]].concat());
    assert_eq!(forger.plain.len(), 10_006);
    forger.is_refused(
        0,
        &[&[7; 10_000][..], &[DATA], &[0; 6_384]].concat(),
        &[[2, RECORD_OVERFLOW]],
    );
    Forger::tls13().is_refused(0, &[0; 20], &[[2, UNEXPECTED_MESSAGE]]);
}

#[test]
fn types_and_messages_that_do_not_belong_after_a_handshake() {
    for (content_type, content, alert) in [
        // A ChangeCipherSpec, and a type that does not exist.
        (20, &[1][..], UNEXPECTED_MESSAGE),
        (99, b"x", UNEXPECTED_MESSAGE),
        (ALERT, &[], UNEXPECTED_MESSAGE),
        (HANDSHAKE, &[], UNEXPECTED_MESSAGE),
        // ClientHello, Certificate.
        (HANDSHAKE, &[1, 0, 0, 0], UNEXPECTED_MESSAGE),
        (HANDSHAKE, &[11, 0, 0, 0], UNEXPECTED_MESSAGE),
        // KeyUpdate: with an invalid value; with something after it; with another length than 1.
        (HANDSHAKE, &[24, 0, 0, 1, 2], ILLEGAL_PARAMETER),
        (HANDSHAKE, &[24, 0, 0, 1, 0, 24, 0, 0, 1, 0], UNEXPECTED_MESSAGE),
        (HANDSHAKE, &[24, 0, 0, 0], DECODE_ERROR),
        (HANDSHAKE, &[24, 0, 0, 2, 0, 0], DECODE_ERROR),
        (HANDSHAKE, &[24, 1, 0, 1, 0], DECODE_ERROR),
    ] {
        Forger::tls13().is_refused(content_type, content, &[[2, alert]]);
    }
}

/// RFC 8446, 5.1: a message may come in several records, with nothing between them.
#[test]
fn a_key_update_comes_in_any_cut() {
    let update = [24, 0, 0, 1, 0];
    for cut in 1..update.len() {
        let mut forger = Forger::tls13();
        let (begin, end) = update.split_at(cut);
        forger.is_well(HANDSHAKE, begin);
        forger.is_well(HANDSHAKE, end);
        // The next record must use the next key, which the forger does not have.
        forger.is_refused(DATA, b"old key", &[[2, BAD_RECORD_MAC]]);

        for (content_type, content) in [(DATA, &b"x"[..]), (DATA, b""), (ALERT, &[1, 0]), (HANDSHAKE, b"")] {
            let mut forger = Forger::tls13();
            forger.is_well(HANDSHAKE, begin);
            forger.is_refused(content_type, content, &[[2, UNEXPECTED_MESSAGE]]);
        }
    }
    let mut forger = Forger::tls13();
    update[..4]
        .iter()
        .for_each(|byte| forger.is_well(HANDSHAKE, &[*byte]));
    forger.is_refused(HANDSHAKE, &[0, 0], &[[2, UNEXPECTED_MESSAGE]]);
}

#[test]
fn alerts_of_the_peer() {
    for (version, name) in [(TlsVersion::V1_2, "1.2"), (TlsVersion::V1_3, "1.3")] {
        let mut forger = Forger::new(version);
        // handshake_failure: the peer has ended the connection, so nothing is answered.
        forger.is_refused(ALERT, &[2, 40], &[]);
        let (opened, alerts) = Forger::new(version).send(ALERT, &[1, 0]);
        assert!(opened.unwrap().peer_closed && alerts.is_empty(), "{name}");
        // user_canceled, a few times.
        let mut forger = Forger::new(version);
        (0..4).for_each(|_| forger.is_well(ALERT, &[1, 90]));
        forger.is_well(DATA, b"x");
        (0..4).for_each(|_| forger.is_well(ALERT, &[1, 90]));
        forger.is_refused(ALERT, &[1, 90], &[[2, UNEXPECTED_MESSAGE]]);
    }
}

#[test]
fn empty_records_are_bounded_whatever_is_between_them() {
    let mut forger = Forger::tls13();
    for _ in 0..2 {
        (0..32).for_each(|_| forger.is_well(DATA, b""));
        forger.is_well(DATA, b"x");
    }
    (0..4).for_each(|_| forger.is_well(ALERT, &[1, 90]));
    (0..28).for_each(|_| forger.is_well(DATA, b""));
    forger.is_refused(DATA, b"", &[[2, UNEXPECTED_MESSAGE]]);
}

#[test]
fn a_record_that_comes_again_or_too_early_is_refused() {
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let mut forger = Forger::new(version);
        let record = forger.record(DATA, b"once");
        forger.open(&record).0.unwrap();
        let (opened, alerts) = forger.open(&record);
        assert!(opened.is_err() && alerts == [[2, BAD_RECORD_MAC]]);
        assert_eq!(forger.plain, b"once");
        let mut forger = Forger::new(version);
        forger.record(DATA, b"first");
        forger.is_refused(DATA, b"second", &[[2, BAD_RECORD_MAC]]);
    }
}

#[test]
fn tls_1_2_is_not_negotiated_again() {
    let mut forger = Forger::new(TlsVersion::V1_2);
    let alerts = [[1, NO_RENEGOTIATION], [2, UNEXPECTED_MESSAGE]];
    forger.is_refused(HANDSHAKE, &[1, 0, 0, 0], &alerts);
}

#[test]
fn a_record_of_tls_1_3_is_hardly_longer_than_its_content() {
    for (bytes, alert) in [(16_640, BAD_RECORD_MAC), (16_641, RECORD_OVERFLOW)] {
        let mut forger = Forger::tls13();
        let [high, low] = u16::try_from(bytes).unwrap().to_be_bytes();
        let wire = [&[DATA, 3, 3, high, low][..], &vec![1; bytes]].concat();
        let (opened, alerts) = forger.open(&wire);
        assert!(opened.is_err());
        assert_eq!(alerts, [[2, alert]]);
    }
}

#[test]
fn the_forger_has_the_keys() {
    let mut forger = Forger::tls13();
    forger.is_well(DATA, b"as any client");
    assert_eq!(forger.plain, b"as any client");
    assert!(forger.server.negotiated().unwrap().starts_with("TLS 1.3 TLS_"));
}
