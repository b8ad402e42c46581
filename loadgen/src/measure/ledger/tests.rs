//! Tables of received sequences, a model that keeps everything, and connections that break.

use super::*;
use Entry::{Duplicate, Foreign, InOrder, Reordered};
use proptest::prelude::*;
use std::collections::HashSet;

const ONE: PublisherRange = PublisherRange {
    first: 0,
    step: 1,
    count: 1,
};

const NO_CUT: fn(u32, Range<u32>) -> u32 = |_, _| 0;

fn entries(sequences: &[u32]) -> Vec<Entry> {
    let mut ledger = Ledger::new(ONE);
    sequences
        .iter()
        .map(|&sequence| ledger.record(0, sequence, NO_CUT))
        .collect()
}

#[test]
fn table_of_entries() {
    let table: [(&[u32], &[Entry]); 6] = [
        (&[0, 1, 2], &[InOrder, InOrder, InOrder]),
        (&[0, 0, 1, 0], &[InOrder, Duplicate, InOrder, Duplicate]),
        (&[0, 2, 1, 3], &[InOrder, InOrder, Reordered, InOrder]),
        (&[0, 2, 1, 1], &[InOrder, InOrder, Reordered, Duplicate]),
        (&[5, 4, 4, 0], &[InOrder, Reordered, Duplicate, Reordered]),
        (
            &[0, 500, 1, 0, 2],
            &[InOrder, InOrder, Reordered, Reordered, Reordered],
        ),
    ];
    // The last row shows the documented limit: 0 came again, but 499 older messages are missing, so it counts as
    // one.
    for (sequences, expected) in table {
        assert_eq!(entries(sequences), expected, "{sequences:?}");
    }
}

#[test]
fn a_very_old_message_is_a_duplicate_when_nothing_older_is_missing() {
    let mut ledger = Ledger::new(ONE);
    for sequence in 0..1_000 {
        assert_eq!(ledger.record(0, sequence, NO_CUT), InOrder);
    }
    assert_eq!(ledger.record(0, 3, NO_CUT), Duplicate);
    assert_eq!(
        ledger.close(|_| 1_000, NO_CUT),
        Totals {
            expected: 1_000,
            received: 1_000,
            duplicate: 1,
            ..Totals::default()
        }
    );
}

#[test]
fn what_never_came_is_lost_and_a_message_of_another_run_is_foreign() {
    let mut ledger = Ledger::new(PublisherRange {
        first: 2,
        step: 3,
        count: 2,
    });
    assert_eq!(ledger.record(2, 0, NO_CUT), InOrder);
    assert_eq!(ledger.record(5, 7, NO_CUT), InOrder);
    for publisher in [0, 1, 3, 4, 8] {
        assert_eq!(ledger.record(publisher, 0, NO_CUT), Foreign, "{publisher}");
    }
    let totals = ledger.close(|publisher| if publisher == 2 { 1 } else { 10 }, NO_CUT);
    assert_eq!(
        totals,
        Totals {
            expected: 11,
            received: 2,
            lost: 9,
            foreign: 5,
            ..Totals::default()
        }
    );
}

#[test]
fn what_later_messages_overtook_is_known_before_the_end() {
    let mut ledger = Ledger::new(ONE);
    let overtaken = [0, 2, 5, 5, 3, 300, 4, 1, 301].map(|sequence| {
        ledger.record(0, sequence, NO_CUT);
        ledger.overtaken()
    });
    assert_eq!(overtaken, [0, 1, 3, 3, 2, 296, 295, 294, 294]);
    let lost = ledger.close(|_| 302, NO_CUT).lost;
    assert_eq!(lost, 294, "and here nothing else is");
}

#[test]
fn sequences_wrap() {
    let mut ledger = Ledger::new(ONE);
    if let Some(pair) = ledger.pairs.first_mut() {
        pair.next = u32::MAX;
    }
    assert_eq!(ledger.record(0, u32::MAX, NO_CUT), InOrder);
    assert_eq!(ledger.record(0, 1, NO_CUT), InOrder);
    assert_eq!(ledger.record(0, 0, NO_CUT), Reordered);
}

/// Ten messages: 3 and 4 are lost; the subscriber is disconnected from the sixth to the eighth.
#[test]
fn what_nobody_was_owed_is_not_lost() {
    let table: [(&[u32], u64); 3] = [
        (&[0, 1, 2, 5], 2),
        (&[0, 1, 2, 3, 4, 5], 2),
        (&[0, 1, 2, 3, 4, 5, 6, 7], 0),
    ];
    for (before, unowed) in table {
        let mut ledger = Ledger::new(ONE);
        for &sequence in before {
            ledger.record(0, sequence, NO_CUT);
        }
        ledger.disconnected();
        ledger.reconnected(|_| 8);
        for sequence in [8, 9] {
            assert_eq!(ledger.record(0, sequence, NO_CUT), InOrder);
        }
        let totals = ledger.close(|_| 10, NO_CUT);
        let lost = if before.contains(&4) { 0 } else { 2 };
        assert_eq!((totals.unowed, totals.lost), (unowed, lost), "{before:?}");
        assert_eq!(totals.expected, totals.received + lost, "{before:?}");
    }
}

#[test]
fn a_subscriber_that_does_not_come_back_is_owed_nothing_more() {
    let mut ledger = Ledger::new(ONE);
    for sequence in [0, 2] {
        ledger.record(0, sequence, NO_CUT);
    }
    ledger.disconnected();
    let totals = ledger.close(|_| 10, NO_CUT);
    assert_eq!((totals.expected, totals.lost, totals.unowed), (3, 1, 7));
}

#[test]
fn what_was_lost_after_the_subscriber_came_back_is_lost() {
    let mut ledger = Ledger::new(ONE);
    ledger.record(0, 0, NO_CUT);
    ledger.disconnected();
    ledger.reconnected(|_| 5);
    ledger.record(0, 7, NO_CUT);
    let totals = ledger.close(|_| 10, NO_CUT);
    assert_eq!((totals.unowed, totals.lost), (4, 4), "5 and 6, 8 and 9");
}

#[test]
fn what_was_on_a_publishers_connection_is_asked_for_once() {
    let mut ledger = Ledger::new(ONE);
    let cut = |publisher: u32, missing: Range<u32>| {
        assert_eq!(publisher, 0);
        u32::from(missing.contains(&3))
    };
    for sequence in [0, 1, 2, 4, 6] {
        ledger.record(0, sequence, cut);
    }
    let totals = ledger.close(|_| 7, cut);
    assert_eq!((totals.unowed, totals.lost, totals.received), (1, 1, 5));
}

proptest! {
    /// Within the range of the bitmap the ledger agrees with a model that keeps every sequence.
    #[test]
    fn agrees_with_a_model_that_keeps_everything(
        steps in proptest::collection::vec((0_u32..4, 0_u32..120), 1..400),
    ) {
        let mut ledger = Ledger::new(ONE);
        let mut seen = HashSet::new();
        let mut highest: Option<u32> = None;
        for (kind, distance) in steps {
            let next = highest.map_or(0, |highest| highest + 1);
            let sequence = match kind {
                0 => next.saturating_sub(distance),
                1 => next + distance,
                _ => next,
            };
            let expected = match (seen.insert(sequence), highest) {
                (false, _) => Duplicate,
                (true, Some(highest)) if sequence < highest => Reordered,
                _ => InOrder,
            };
            highest = highest.max(Some(sequence));
            prop_assert_eq!(ledger.record(0, sequence, NO_CUT), expected);
            let missing = highest.map_or(0, u64::from) + 1 - seen.len() as u64;
            prop_assert_eq!(ledger.overtaken(), missing);
        }
        let sent = u64::from(highest.unwrap_or(0)) + 1;
        let totals = ledger.close(|_| sent, NO_CUT);
        prop_assert_eq!(totals.received, seen.len() as u64);
        prop_assert_eq!(totals.received + totals.lost, sent);
    }

    /// However far apart the sequences are, each is counted once if each arrives once.
    #[test]
    fn a_permutation_is_neither_lost_nor_duplicate(
        order in Just((0..2_000_u32).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let mut ledger = Ledger::new(ONE);
        for sequence in order {
            prop_assert_ne!(ledger.record(0, sequence, NO_CUT), Duplicate);
        }
        let totals = ledger.close(|_| 2_000, NO_CUT);
        prop_assert_eq!((totals.received, totals.lost, totals.duplicate), (2_000, 0, 0));
    }
}
