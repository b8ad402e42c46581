//! The window by itself.

use super::*;

fn entry() -> InflightEntry {
    InflightEntry::new(QoS::AtLeastOnce, false, None, None)
}

fn complete(inflight: &mut Inflight, identifier: PacketIdentifier) {
    assert_eq!(inflight.finish(identifier, Awaits::PubAck), Acknowledged::Awaited);
}

#[test]
fn identifiers_go_round_and_skip_zero() {
    let mut inflight = Inflight::default();
    for round in 0..140_000_u32 {
        let identifier = inflight.push(entry());
        assert_eq!(u32::from(identifier.get()), round % 65_535 + 1);
        complete(&mut inflight, identifier);
    }
    assert_eq!(inflight.outstanding(), 0);
}

#[test]
fn acknowledgements_in_any_order_free_their_places() {
    let mut inflight = Inflight::default();
    let identifiers: Vec<_> = (0..100).map(|_| inflight.push(entry())).collect();
    for &identifier in identifiers.iter().skip(1).rev() {
        complete(&mut inflight, identifier);
        assert_eq!(
            inflight.finish(identifier, Awaits::PubAck),
            Acknowledged::Unknown,
            "only once"
        );
    }
    assert_eq!((inflight.outstanding(), inflight.entries.len()), (1, 100));
    complete(&mut inflight, identifiers[0]);
    assert_eq!((inflight.outstanding(), inflight.entries.len()), (0, 0));
}

#[test]
fn an_acknowledgement_of_another_kind_changes_nothing() {
    let mut inflight = Inflight::default();
    let once = inflight.push(entry());
    let twice = inflight.push(InflightEntry::new(QoS::ExactlyOnce, false, None, None));
    for awaited in [Awaits::PubRec, Awaits::PubComp] {
        assert_eq!(inflight.finish(once, awaited), Acknowledged::Mismatched);
    }
    assert_eq!(inflight.release(once), Acknowledged::Mismatched);
    for awaited in [Awaits::PubAck, Awaits::PubComp] {
        assert_eq!(inflight.finish(twice, awaited), Acknowledged::Mismatched);
    }
    assert_eq!(inflight.release(twice), Acknowledged::Awaited);
    assert_eq!(inflight.release(twice), Acknowledged::Awaited, "repeated");
    assert_eq!(inflight.outstanding(), 2);
    let unknown = inflight.push(entry());
    complete(&mut inflight, unknown);
    assert_eq!(inflight.release(unknown), Acknowledged::Unknown);
}

#[test]
fn bytes_count_while_they_are_outstanding() {
    let mut inflight = Inflight::default();
    let first = inflight.push(entry().of_bytes(10));
    let second = inflight.push(entry().of_bytes(5));
    assert_eq!(inflight.outstanding_bytes(), 15);
    complete(&mut inflight, second);
    assert_eq!(inflight.outstanding_bytes(), 10);
    inflight.reconnected();
    assert_eq!(inflight.outstanding_bytes(), 0);
    assert_eq!(
        inflight.next_resend().map(|(identifier, _)| identifier),
        Some(first)
    );
    assert_eq!(inflight.outstanding_bytes(), 10);
    complete(&mut inflight, first);
    assert_eq!(inflight.outstanding_bytes(), 0);
}

#[test]
fn all_identifiers_in_use_gives_out_no_more() {
    let mut inflight = Inflight::default();
    for _ in 0..65_535 {
        assert!(inflight.has_identifier());
        inflight.push(entry());
    }
    assert!(!inflight.has_identifier());
    complete(&mut inflight, PacketIdentifier::MIN);
    assert_eq!(inflight.push(entry()).get(), 1);
}

#[test]
fn resends_follow_the_front() {
    let mut inflight = Inflight::default();
    let identifiers: Vec<_> = (0..3).map(|_| inflight.push(entry())).collect();
    inflight.reconnected();
    assert_eq!(
        inflight.next_resend().map(|(identifier, _)| identifier),
        Some(identifiers[0])
    );
    complete(&mut inflight, identifiers[0]);
    assert_eq!(
        inflight.next_resend().map(|(identifier, _)| identifier),
        Some(identifiers[1])
    );
    assert_eq!(
        inflight.next_resend().map(|(identifier, _)| identifier),
        Some(identifiers[2])
    );
    assert!(inflight.next_resend().is_none() && !inflight.resends());
}
