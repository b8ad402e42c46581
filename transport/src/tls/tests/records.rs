//! Records after the handshake, with rustls' client: every suite, renewed keys, and errors of a peer.

use std::collections::HashSet;
use std::io::{Read as _, Write as _};

use rustls::{AlertDescription, ClientConnection, Error};

use super::configurations::{configurations, configurations_of};
use crate::stream::{Opened, SecureStream, StreamError};
use crate::tls::TlsVersion;

/// A client of rustls and our server, connected by their buffers.
struct Pair {
    client: ClientConnection,
    server: SecureStream,
    /// The bytes that the server and the client have read.
    plain: Vec<u8>,
    client_plain: Vec<u8>,
}

impl Pair {
    fn new() -> Pair {
        Pair::of(None, None)
    }

    /// Two sides before their handshake.
    fn shaking(version: Option<TlsVersion>, suite: Option<&str>) -> Pair {
        let (server, client) = configurations_of(version, suite);
        Pair {
            client: ClientConnection::new(client, "localhost".try_into().unwrap()).unwrap(),
            server: SecureStream::server(Some(&server)).unwrap(),
            plain: Vec::new(),
            client_plain: Vec::new(),
        }
    }

    fn of(version: Option<TlsVersion>, suite: Option<&str>) -> Pair {
        let mut pair = Pair::shaking(version, suite);
        while pair.client.is_handshaking() || pair.server.is_handshaking() {
            pair.client_sends(usize::MAX).unwrap();
        }
        pair
    }

    /// What the client has to send, in one piece.
    fn wire(&mut self) -> Vec<u8> {
        let mut wire = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut wire).unwrap();
        }
        wire
    }

    /// Passes the client's bytes in pieces, and the answers back.
    fn client_sends(&mut self, piece_bytes: usize) -> Result<Opened, StreamError> {
        let wire = self.wire();
        let mut last = Ok(Opened::default());
        for piece in wire.chunks(piece_bytes.min(wire.len().max(1))) {
            last = self.open(piece);
            if last.is_err() {
                break;
            }
        }
        last
    }

    fn open(&mut self, wire: &[u8]) -> Result<Opened, StreamError> {
        let mut answer = Vec::new();
        let opened = self.server.open(wire, &mut self.plain, &mut answer);
        self.client_takes(&answer);
        opened
    }

    fn client_takes(&mut self, mut wire: &[u8]) {
        while !wire.is_empty() {
            self.client.read_tls(&mut wire).unwrap();
            self.client.process_new_packets().unwrap();
            // The end, or nothing more for now.
            let _ = self.client.reader().read_to_end(&mut self.client_plain);
        }
    }

    fn seal(&mut self, plain: &[u8]) {
        let mut wire = Vec::new();
        self.server.seal(plain, &mut wire);
        self.client_takes(&wire);
    }

    /// Exchanges a few messages both ways.
    fn talk(&mut self) {
        for message in [&b"up"[..], &[7; 20_000], b""] {
            self.client.writer().write_all(message).unwrap();
            self.client_sends(977).unwrap();
            assert_eq!(std::mem::take(&mut self.plain), message);
        }
        for message in [&b"down"[..], &[9; 40_000]] {
            self.seal(message);
            assert_eq!(std::mem::take(&mut self.client_plain), message);
        }
    }
}

const SUITES: [(TlsVersion, &str); 6] = [
    (TlsVersion::V1_3, "TLS_AES_128_GCM_SHA256"),
    (TlsVersion::V1_3, "TLS_AES_256_GCM_SHA384"),
    (TlsVersion::V1_3, "TLS_CHACHA20_POLY1305_SHA256"),
    (TlsVersion::V1_2, "ECDHE-ECDSA-AES128-GCM-SHA256"),
    (TlsVersion::V1_2, "ECDHE-ECDSA-AES256-GCM-SHA384"),
    (TlsVersion::V1_2, "ECDHE-ECDSA-CHACHA20-POLY1305"),
];

#[test]
fn every_cipher_suite() {
    for (version, suite) in SUITES {
        let mut pair = Pair::of(Some(version), Some(suite));
        let negotiated = pair.client.negotiated_cipher_suite().unwrap().suite();
        let name = format!("{negotiated:?}").replace("TLS13_", "TLS_");
        assert!(pair.server.negotiated().unwrap().ends_with(&name));
        for _ in 0..3 {
            pair.talk();
        }
    }
}

/// AES-GCM may seal 2^24 records with a key of TLS 1.3: the server renews it automatically.
#[test]
fn keys_are_renewed_before_they_wear_out() {
    let mut pair = Pair::of(Some(TlsVersion::V1_3), Some("TLS_AES_128_GCM_SHA256"));
    assert_eq!(pair.server.limit_records(5), Some((1 << 24) - 1));
    for _ in 0..100 {
        pair.talk();
    }
    let mut wire = Vec::new();
    (0..100).for_each(|_| pair.server.seal(b"message", &mut wire));
    // After every five records of a key, the message that announces a new one.
    assert_eq!(records(&wire).len(), 100 + 100 / 5);
    pair.client_takes(&wire);
    assert_eq!(pair.client_plain.len(), 100 * b"message".len());
}

/// TLS 1.2 cannot renew keys: the connection is closed cleanly.
#[test]
fn a_connection_of_tls_1_2_ends_when_its_key_is_worn_out() {
    let mut pair = Pair::of(Some(TlsVersion::V1_2), Some("ECDHE-ECDSA-AES128-GCM-SHA256"));
    pair.server.limit_records(5);
    let mut wire = Vec::new();
    for _ in 0..100 {
        pair.server.seal(b"message", &mut wire);
    }
    pair.client_takes(&wire);
    // An end without close_notify would be an error.
    assert_eq!(pair.client.reader().read(&mut [0; 8]).unwrap(), 0);
    assert!(pair.client_plain.len() < 5 * b"message".len());
}

#[test]
fn keys_are_renewed_when_the_client_asks() {
    let mut pair = Pair::new();
    for _ in 0..100 {
        pair.client.refresh_traffic_keys().unwrap();
        let (wire, mut answer) = (pair.wire(), Vec::new());
        pair.server.open(&wire, &mut pair.plain, &mut answer).unwrap();
        assert_eq!(records(&answer).len(), 1, "KeyUpdate");
        pair.client_takes(&answer);
        pair.talk();
    }
}

/// What rustls has not sent when its keys are extracted would be lost.
#[test]
fn a_key_may_be_renewed_right_behind_the_handshake() {
    for piece_bytes in [1, 7, usize::MAX] {
        let mut pair = Pair::shaking(None, None);
        pair.client_sends(usize::MAX).unwrap();
        assert!(!pair.client.is_handshaking() && pair.server.is_handshaking());
        pair.client.refresh_traffic_keys().unwrap();
        pair.client.writer().write_all(b"CONNECT").unwrap();
        pair.client_sends(piece_bytes).unwrap();
        assert_eq!(std::mem::take(&mut pair.plain), b"CONNECT");
        pair.talk();
    }
}

#[test]
fn nothing_is_read_behind_a_close_that_comes_with_the_handshake() {
    let mut pair = Pair::shaking(None, None);
    pair.client_sends(usize::MAX).unwrap();
    pair.client.writer().write_all(b"last").unwrap();
    pair.client.send_close_notify();
    let wire = [pair.wire(), b"whatever".to_vec()].concat();
    assert!(pair.open(&wire).unwrap().peer_closed);
    assert_eq!(pair.plain, b"last");
}

#[test]
fn a_client_that_only_renews_keys_is_sent_away() {
    let mut pair = Pair::new();
    for _ in 0..32 {
        pair.client.refresh_traffic_keys().unwrap();
        pair.client_sends(usize::MAX).unwrap();
    }
    pair.client.refresh_traffic_keys().unwrap();
    let wire = pair.wire();
    assert_alert(&mut pair, &wire, AlertDescription::UnexpectedMessage);
}

#[test]
fn a_changed_record_is_refused_and_nothing_of_it_is_read() {
    let mut pair = Pair::new();
    pair.client.writer().write_all(b"good").unwrap();
    let good = pair.wire();
    pair.client.writer().write_all(b"changed").unwrap();
    let mut wire = pair.wire();
    *wire.last_mut().unwrap() ^= 1;
    assert_alert(&mut pair, &[good, wire].concat(), AlertDescription::BadRecordMac);
    assert_eq!(pair.plain, b"good");
}

#[test]
fn headers_that_no_record_has_are_refused() {
    for (header, alert) in [
        // More than the largest record.
        ([23, 3, 3, 0x48, 1], AlertDescription::RecordOverflow),
        // A version that does not exist.
        ([23, 2, 3, 0, 20], AlertDescription::UnexpectedMessage),
        // Plain content types under keys.
        ([21, 3, 3, 0, 2], AlertDescription::UnexpectedMessage),
        ([20, 3, 3, 0, 1], AlertDescription::UnexpectedMessage),
        // Too short for a tag.
        ([23, 3, 3, 0, 2], AlertDescription::BadRecordMac),
    ] {
        let body = vec![1; usize::from(header[4])];
        assert_alert(&mut Pair::new(), &[&header[..], &body].concat(), alert);
    }
}

#[test]
fn nothing_follows_a_close() {
    let mut pair = Pair::new();
    let mut wire = Vec::new();
    pair.server.close(&mut wire);
    let closed_bytes = wire.len();
    pair.server.seal(b"late", &mut wire);
    pair.server.close(&mut wire);
    assert_eq!(wire.len(), closed_bytes);
    pair.client_takes(&wire);
    assert_eq!(pair.client.reader().read(&mut [0; 8]).unwrap(), 0);
    pair.client.send_close_notify();
    assert!(pair.client_sends(1).unwrap().peer_closed);
    assert!(pair.open(b"whatever").unwrap().peer_closed);
    assert!(pair.plain.is_empty());
}

#[test]
fn what_comes_with_the_last_flight_is_read() {
    let (server, client) = configurations();
    for piece_bytes in [1, 7, usize::MAX] {
        let mut client = SecureStream::client(Some(&client), "localhost").unwrap();
        let mut server = SecureStream::server(Some(&server)).unwrap();
        let (mut to_server, mut to_client, mut plain) = (Vec::new(), Vec::new(), Vec::new());
        // The client's bytes are sent after its first flight; both sides' bytes wait for the keys.
        client.seal(b"CONNECT", &mut to_server);
        server.seal(b"waits", &mut to_client);
        assert!(to_client.is_empty());
        let mut read = Vec::new();
        while !to_server.is_empty() {
            let wire = std::mem::take(&mut to_server);
            for piece in wire.chunks(piece_bytes.min(wire.len())) {
                server.open(piece, &mut plain, &mut to_client).unwrap();
            }
            client.open(&to_client, &mut read, &mut to_server).unwrap();
            to_client.clear();
        }
        assert_eq!((&plain[..], &read[..]), (&b"CONNECT"[..], &b"waits"[..]));
    }
}

/// A record of TLS 1.2 with AES-GCM contains a part of its nonce, and never the same one twice.
#[test]
fn no_nonce_is_sent_twice() {
    let mut pair = Pair::of(Some(TlsVersion::V1_2), Some("ECDHE-ECDSA-AES128-GCM-SHA256"));
    let mut wire = Vec::new();
    (0..1_000).for_each(|_| pair.server.seal(b"message", &mut wire));
    let nonces: HashSet<&[u8]> = records(&wire).into_iter().map(|record| &record[5..13]).collect();
    assert_eq!(nonces.len(), 1_000);
}

#[test]
fn no_bit_of_a_record_may_be_changed() {
    for (version, suite) in SUITES {
        for bit in 0..8 * 30 {
            let mut pair = Pair::of(Some(version), Some(suite));
            pair.client.writer().write_all(b"message").unwrap();
            let mut wire = pair.wire();
            // A larger length would only make the server wait for more.
            if bit / 8 == 3 || bit / 8 == 4 || bit / 8 >= wire.len() {
                continue;
            }
            wire[bit / 8] ^= 1 << (bit % 8);
            pair.server
                .open(&wire, &mut pair.plain, &mut Vec::new())
                .unwrap_err();
            assert!(pair.plain.is_empty(), "{suite}: bit {bit}");
        }
    }
}

/// The records in `wire`, with their headers.
fn records(mut wire: &[u8]) -> Vec<&[u8]> {
    let mut records = Vec::new();
    while let [_, _, _, high, low, ..] = *wire {
        let (record, rest) = wire.split_at(5 + usize::from(u16::from_be_bytes([high, low])));
        records.push(record);
        wire = rest;
    }
    records
}

/// The server refuses `wire` with this alert, and neither sends nor reads anything afterwards.
fn assert_alert(pair: &mut Pair, wire: &[u8], alert: AlertDescription) {
    let mut answer = Vec::new();
    pair.server.open(wire, &mut pair.plain, &mut answer).unwrap_err();
    let mut rest = &answer[..];
    let received = loop {
        pair.client.read_tls(&mut rest).unwrap();
        match pair.client.process_new_packets() {
            Ok(_) => assert!(!rest.is_empty(), "no alert"),
            Err(error) => break error,
        }
    };
    assert_eq!(received, Error::AlertReceived(alert));
    answer.clear();
    pair.server.seal(b"late", &mut answer);
    assert!(answer.is_empty() && pair.server.is_closed());
    let read = pair.plain.len();
    pair.server.open(wire, &mut pair.plain, &mut answer).unwrap_err();
    assert!(answer.is_empty() && pair.plain.len() == read);
}
