//! Our records compared with those of rustls, for the same script of a peer that has the client's keys: records of any
//! type and content, cut and damaged anywhere. Both read the same, end at the same record, and answer with the same
//! alert.

use proptest::collection::vec;
use proptest::prelude::*;
use rustls::AlertDescription;

use super::forged_records::{ALERT, DATA, Forger, HANDSHAKE};
use crate::tls::TlsVersion;

/// Bytes of a record's header before its length.
const VERSION_END: usize = 3;

/// One step of the script: a record, or a message in several.
#[derive(Clone, Debug)]
struct Forged {
    content_type: u8,
    contents: Vec<Vec<u8>>,
    /// A bit of application data to invert: its place, modulo their number.
    damage: Option<usize>,
    /// They arrive in pieces of this many bytes.
    piece_bytes: usize,
}

/// A server's reaction to a record.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    is_refused: bool,
    peer_closed: bool,
    plain: Vec<u8>,
    fatal_alert: Option<u8>,
}

/// user_canceled is a warning: as a fatal alert it ends the connection for rustls, but not for us (RFC 8446, 6.1).
fn alert_content((level, alert): (u8, u8)) -> Vec<u8> {
    let level = if alert == 90 { 1 } else { level };
    vec![level, alert]
}

/// The type and the contents of the records of a step. Messages of a handshake are complete: ours refuses a wrong one
/// at its first byte, rustls at its last.
fn records() -> impl Strategy<Value = (u8, Vec<Vec<u8>>)> {
    let alert = prop_oneof![Just(0), Just(90), any::<u8>()];
    let message = (0..25_u8, vec(any::<u8>(), 0..8)).prop_map(|(kind, body)| {
        let header = [kind, 0, 0, body.len() as u8];
        [&header[..], &body].concat()
    });
    let one = prop_oneof![
        6 => (Just(DATA), vec(any::<u8>(), 0..200)),
        1 => (Just(DATA), vec(any::<u8>(), 16_000..16_384)),
        1 => (Just(HANDSHAKE), message),
        2 => (Just(ALERT), (1..3_u8, alert).prop_map(alert_content)),
        1 => (Just(ALERT), prop_oneof![vec(any::<u8>(), 0..2), vec(any::<u8>(), 3..5)]),
        1 => (any::<u8>().prop_filter("a part of a message", |kind| *kind != HANDSHAKE), vec(any::<u8>(), 0..20)),
    ];
    let key_update = (0..2_u8, 1..5_usize).prop_map(|(request, cut)| {
        let message = [24, 0, 0, 1, request];
        (HANDSHAKE, vec![message[..cut].to_vec(), message[cut..].to_vec()])
    });
    prop_oneof![
        8 => one.prop_map(|(content_type, content)| (content_type, vec![content])),
        1 => key_update,
    ]
}

fn forged() -> impl Strategy<Value = Forged> {
    let damage = prop_oneof![12 => Just(None), 1 => any::<usize>().prop_map(Some)];
    (records(), damage, 1..4_000_usize).prop_map(|((content_type, contents), damage, piece_bytes)| Forged {
        content_type,
        contents,
        damage,
        piece_bytes,
    })
}

fn outcomes(version: TlsVersion, rustls_records: bool, script: &[Forged]) -> Vec<Outcome> {
    let mut forger = Forger::new_with(version, rustls_records);
    let mut outcomes = Vec::new();
    for forged in script {
        let records = forged
            .contents
            .iter()
            .map(|content| forger.record(forged.content_type, content));
        // Only the first is damaged.
        let mut records = records.collect::<Vec<_>>().into_iter();
        let mut wire = records.next().unwrap_or_default();
        if let Some(damage) = forged.damage.filter(|_| forged.content_type == DATA) {
            // Not type and version: ours authenticates the header as it arrived (RFC 8446, 5.2), rustls as it must be.
            let bit = VERSION_END * 8 + damage % ((wire.len() - VERSION_END) * 8);
            wire[bit / 8] ^= 1 << (bit % 8);
        }
        wire.extend(records.flatten());
        let mut outcome = Outcome {
            is_refused: false,
            peer_closed: false,
            plain: Vec::new(),
            fatal_alert: None,
        };
        for piece in wire.chunks(forged.piece_bytes) {
            let (opened, alerts) = forger.open(piece);
            match opened {
                Ok(opened) => outcome.peer_closed |= opened.peer_closed,
                Err(_) => outcome.is_refused = true,
            }
            outcome.fatal_alert = alerts.iter().find(|alert| alert[0] == 2).map(|alert| alert[1]);
            if outcome.is_refused {
                break;
            }
        }
        if forged.content_type == ALERT {
            // Ours is silent if the peer has ended the connection; rustls answers an alert that it does not know as a
            // warning.
            outcome.fatal_alert = None;
        }
        if forged.content_type == 0 && forged.contents.iter().flatten().all(|&byte| byte == 0) {
            // Without a content type ours sends unexpected_message (RFC 8446, 5.4); rustls ends the connection
            // silently.
            outcome.fatal_alert = None;
        }
        outcome.plain.clone_from(&forger.plain);
        let is_over = outcome.is_refused || outcome.peer_closed;
        outcomes.push(outcome);
        if is_over {
            break;
        }
    }
    outcomes
}

/// Without the cases in which the two are known to answer with different alerts.
fn without_known_differences(mut outcomes: Vec<Outcome>) -> Vec<Outcome> {
    for outcome in &mut outcomes {
        let alert = outcome.fatal_alert.map(AlertDescription::from);
        if let Some(
            AlertDescription::DecodeError
            | AlertDescription::IllegalParameter
            | AlertDescription::RecordOverflow,
        ) = alert
        {
            outcome.fatal_alert = Some(AlertDescription::UnexpectedMessage.into());
        }
    }
    outcomes
}

proptest! {
    #[test]
    fn our_records_take_what_those_of_rustls_take(
        is_tls13 in any::<bool>(),
        script in vec(forged(), 1..12),
    ) {
        let version = if is_tls13 { TlsVersion::V1_3 } else { TlsVersion::V1_2 };
        // rustls lets a client of TLS 1.2 request another handshake a few times, and refuses; ours ends the
        // connection.
        let asks = |forged: &Forged| !is_tls13 && forged.content_type == HANDSHAKE;
        let script: Vec<_> = script.into_iter().filter(|forged| !asks(forged)).collect();
        let ours = without_known_differences(outcomes(version, false, &script));
        let theirs = without_known_differences(outcomes(version, true, &script));
        prop_assert_eq!(ours, theirs);
    }
}
