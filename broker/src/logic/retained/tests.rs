//! The owner's view, and which shard owns which topic.

use mqtt::QoS;
use mqtt::property::Properties;

use super::*;
use crate::logic::message::{Message, Publisher};
use crate::logic::shard_counters;
use crate::logic::timer::Timer;
use crate::settings::UNLIMITED;

const UNBOUNDED: RetainedBounds = RetainedBounds {
    messages_max: UNLIMITED,
    bytes_max: UNLIMITED,
};

pub(super) fn message(topic: &str, payload: &str) -> StoredMessage {
    let message = Message {
        topic,
        qos: QoS::AtMostOnce,
        retain: true,
        properties: Properties::EMPTY,
        payload: payload.as_bytes(),
        publisher: Publisher::REMOTE,
    };
    StoredMessage::new(Timestamp(0), &message, &mut Vec::new())
}

fn apply(retained: &mut RetainedMessages, message: &StoredMessage, ticket: u64, timers: &mut Timers) -> bool {
    let change = RetainedChange {
        message,
        ticket: Ticket(ticket),
        publication: None,
        source: &Access::default(),
    };
    retained.apply(change, &ShardCounters::default(), timers)
}

#[test]
fn any_order_of_changes_ends_the_same() {
    let changes: Vec<_> = ["one", "", "two", "", "three"].into_iter().zip(1..).collect();
    for last in 1..=changes.len() {
        for turn in 0..last {
            let mut order = changes[..last].to_vec();
            order.rotate_left(turn);
            for reverse in [false, true] {
                if reverse {
                    order.reverse();
                }
                let mut retained = RetainedMessages::new(0, 1, 2, UNBOUNDED);
                let mut timers = Timers::default();
                for &(payload, ticket) in &order {
                    apply(&mut retained, &message("a/b", payload), ticket, &mut timers);
                }
                let expected = Some(changes[last - 1].0).filter(|payload| !payload.is_empty());
                let found = retained.get("a/b").map(StoredMessage::payload);
                assert_eq!(found, expected.map(str::as_bytes));
                assert_eq!(retained.owned.totals().0, u64::from(expected.is_some()));
            }
        }
    }
}

#[test]
fn with_one_shard_nothing_is_remembered() {
    let mut retained = RetainedMessages::new(0, 0, 1, UNBOUNDED);
    let (counters, mut timers) = (shard_counters(1), Timers::default());
    for payload in ["x", "y", ""] {
        let message = message("a", payload);
        let ticket = retained.draw_ticket(&message, &counters);
        assert!(apply(&mut retained, &message, ticket.0, &mut timers));
    }
    assert_eq!(retained.resource_counts(), RetainedCounts::default());
    assert!(!retained.has_work());
}

#[test]
fn an_expired_message_is_remembered_as_a_deleted_one_is() {
    let mut retained = RetainedMessages::new(0, 0, 2, UNBOUNDED);
    let mut timers = Timers::default();
    let end = Timestamp(0).plus_s(1);
    let newer = message("a", "newer").expiring(end);
    assert!(apply(&mut retained, &newer, 2, &mut timers));
    let Some(Timer::Retained { node }) = timers.take_due(end) else {
        panic!("no timer")
    };
    retained.expire(end, node, &ShardCounters::default());
    assert!(!apply(&mut retained, &message("a", "older"), 1, &mut timers));
    assert_eq!(retained.resource_counts().passing, 1);
    assert!(retained.has_work(), "a barrier is to be set");
}

#[test]
fn each_topic_has_one_owner_and_a_filter_those_of_its_topics() {
    let retained = RetainedMessages::new(0, 2, 4, UNBOUNDED);
    for topic in ["$SYS", "$SYS/broker/uptime"] {
        assert_eq!(retained.owner(topic), 0);
        assert_eq!(retained.owners(topic), Owners::One(0));
    }
    assert_eq!(retained.owners("$SYS/#"), Owners::One(0));
    for filter in ["#", "a/+/b", "$SYSTEM/#", "+/x"] {
        assert_eq!(retained.owners(filter), Owners::All);
    }
    let mut owned = [0; 4];
    for number in 0..4000 {
        let topic = format!("site/{number}/x");
        let owner = retained.owner(&topic);
        assert_eq!(retained.owners(&topic), Owners::One(owner));
        owned[usize::from(owner)] += 1;
    }
    assert!(
        owned.iter().all(|&share| (800..1200).contains(&share)),
        "{owned:?}"
    );
    let alone = RetainedMessages::new(0, 0, 1, UNBOUNDED);
    assert_eq!((alone.owner("a"), alone.owners("#")), (0, Owners::One(0)));
}

#[test]
fn bounds_hold_for_all_shards_together_before_the_owner_knows() {
    let bounds = RetainedBounds {
        messages_max: 2,
        bytes_max: UNLIMITED,
    };
    let counters = shard_counters(2);
    let mut shards: Vec<_> = (0..2).map(|me| RetainedMessages::new(0, me, 2, bounds)).collect();
    for (shard, counters) in shards.iter_mut().zip(&*counters) {
        shard.set_bounds(bounds, counters);
    }
    for (shard, topic) in [(0, "a"), (1, "b")] {
        assert!(shards[shard].check_bounds(topic, 1, &counters).is_ok());
        shards[shard].draw_ticket(&message(topic, "x"), &counters);
    }
    for shard in &shards {
        assert!(shard.check_bounds("c", 1, &counters).is_err());
        assert!(
            shard.check_bounds("a", 1, &counters).is_ok() && shard.check_bounds("b", 1, &counters).is_ok()
        );
    }
    shards[0].draw_ticket(&message("b", ""), &counters);
    assert!(shards[1].check_bounds("c", 1, &counters).is_ok());
}
