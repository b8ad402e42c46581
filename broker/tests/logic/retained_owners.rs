//! Retained messages between shards, step by step: what is sent to an owner, when it answers, and what it keeps.
//!
//! Invariants: none.

use std::sync::{Arc, Mutex};

use broker::limits;
use broker::logic::store::{Record, Store, WallClock};
use broker::logic::{ConnectionId, FirstNumbers, Shard, Timestamp, owner_shard, shard_counters};
use broker::settings::Settings;

use super::*;

const NOW: Timestamp = Timestamp(1_000_000_000);

/// The topics of the retained messages that a store has received.
#[derive(Clone, Debug, Default)]
struct RetainedTopics(Arc<Mutex<Vec<String>>>);

impl Store for RetainedTopics {
    fn append(&mut self, record: &Record<'_>) {
        if let Record::Retained { topic, .. } = *record {
            self.0.lock().unwrap().push(topic.to_owned());
        }
    }

    fn submit(&mut self, _is_awaited: bool) -> u64 {
        0
    }

    fn durable(&self) -> u64 {
        0
    }
}

/// Three shards between which batches move only when a test moves them, each with one client.
struct Three {
    shards: Vec<Shard>,
    stores: Vec<RetainedTopics>,
    clients: Vec<ConnectionId>,
}

impl Three {
    fn new() -> Self {
        let counters = shard_counters(3);
        let stores: Vec<_> = (0..3).map(|_| RetainedTopics::default()).collect();
        let settings = Arc::new(Settings {
            sys_interval_s: 0,
            ..Settings::default()
        });
        let shard = |index: u16| {
            let store = Box::new(stores[usize::from(index)].clone());
            let mut shard = Shard::new(index, 3, Arc::clone(&settings), Arc::clone(&counters));
            shard.open_store(store, WallClock::default(), FirstNumbers::default());
            shard
        };
        let mut shards: Vec<_> = (0..3).map(shard).collect();
        let join = |shard: &mut Shard| {
            let mut bytes = Vec::new();
            connect(V5, "c").encode(&mut bytes).unwrap();
            test_support::open(shard, NOW, test_support::peer(), &bytes)
        };
        let clients = shards.iter_mut().map(join).collect();
        let mut three = Self {
            shards,
            stores,
            clients,
        };
        (0..3).for_each(|shard| drop(three.got(shard)));
        three
    }

    fn publish(&mut self, shard: usize, topic: &str, payload: &str) {
        let mut bytes = Vec::new();
        retained(topic, QoS::AtMostOnce, payload)
            .encode(V5, &mut bytes)
            .unwrap();
        self.shards[shard].receive(NOW, self.clients[shard], &bytes);
    }

    fn subscribe(&mut self, shard: usize, filter: &str) {
        let mut bytes = Vec::new();
        let filters = [(filter, options(QoS::AtMostOnce))];
        mqtt::encode::subscribe(id(1), Properties::EMPTY, &filters, V5, &mut bytes).unwrap();
        self.shards[shard].receive(NOW, self.clients[shard], &bytes);
        self.shards[shard].tick(NOW);
    }

    /// Delivers what one shard has for another, which then does its work; returns the number of batches.
    fn pass(&mut self, from: u16, to: u16) -> usize {
        let batches: Vec<_> = self.shards[usize::from(from)].take_batches(to).collect();
        for batch in &batches {
            self.shards[usize::from(to)].receive_batch(NOW, from, batch);
        }
        self.shards[usize::from(to)].tick(NOW);
        batches.len()
    }

    /// Delivers everything, until nothing is sent any more.
    fn pass_all(&mut self) {
        let pairs = (0..3).flat_map(|from| (0..3).map(move |to| (from, to)));
        let pairs: Vec<_> = pairs.filter(|(from, to)| from != to).collect();
        loop {
            let walks = self.shards.iter().any(Shard::has_walks);
            let passed: usize = pairs.iter().map(|&(from, to)| self.pass(from, to)).sum();
            if passed == 0 && !walks {
                return;
            }
        }
    }

    /// Payloads of the PUBLISH packets for a shard's client, with their RETAIN flags.
    fn got(&mut self, shard: usize) -> Vec<(String, bool)> {
        let (logic, client) = (&mut self.shards[shard], self.clients[shard]);
        let mut got = Vec::new();
        while !logic.take_dirty().is_empty() {
            let out = std::mem::take(logic.delivery().out(client));
            let mut rest = out.as_slice();
            while let Some(frame) = mqtt::frame::split(rest, u32::MAX).unwrap() {
                if let Packet::Publish(publish) = mqtt::decode::packet(&frame, V5).unwrap() {
                    let payload = String::from_utf8_lossy(publish.payload).into_owned();
                    got.push((payload, publish.retain));
                }
                rest = &rest[frame.wire_bytes..];
            }
            logic.flushed(NOW, client, 0);
        }
        got
    }

    fn passing(&self, shard: usize) -> usize {
        self.shards[shard].resource_counts().retained_passing
    }
}

/// A topic that the third shard owns.
fn topic_of_third() -> String {
    let mut topics = (0..).map(|number| format!("t/{number}"));
    topics.find(|topic| owner_shard(topic, 3) == 2).unwrap()
}

fn one(payload: &str, retain: bool) -> Vec<(String, bool)> {
    vec![(payload.to_owned(), retain)]
}

#[test]
fn the_owner_alone_holds_a_message_and_the_shard_of_the_publisher_stores_it() {
    let mut three = Three::new();
    let topics: Vec<_> = (0..30).map(|number| format!("t/{number}")).collect();
    for (number, topic) in topics.iter().enumerate() {
        three.publish(number % 3, topic, "x");
    }
    three.pass_all();
    for shard in 0..3_u16 {
        let owned: Vec<_> = topics
            .iter()
            .filter(|topic| owner_shard(topic, 3) == shard)
            .cloned()
            .collect();
        let at = usize::from(shard);
        assert_eq!(three.shards[at].resource_counts().retained, owned.len() as u64);
        let published: Vec<_> = topics.iter().skip(at).step_by(3).cloned().collect();
        assert_eq!(*three.stores[at].0.lock().unwrap(), published);
    }
}

#[test]
fn what_a_shard_published_before_it_knew_of_the_subscription_comes_as_retained() {
    let (mut three, topic) = (Three::new(), topic_of_third());
    three.subscribe(1, &topic);
    three.pass(1, 2);
    three.pass(2, 1);
    assert_eq!(three.passing(1), 1, "the owner waits for the first shard");
    three.publish(0, &topic, "x");
    three.pass(0, 1);
    assert!(
        three.got(1).is_empty(),
        "the first shard does not know of the subscription"
    );
    three.pass(1, 0);
    three.pass(0, 2);
    three.pass(2, 1);
    assert_eq!(three.got(1), one("x", true));
    assert_eq!(three.passing(1), 0);
}

#[test]
fn what_a_shard_publishes_after_it_knows_comes_as_a_message_and_nothing_older_after_it() {
    let (mut three, topic) = (Three::new(), topic_of_third());
    three.publish(0, &topic, "old");
    three.pass_all();
    three.subscribe(1, &topic);
    three.pass(1, 2);
    three.pass(1, 0);
    // The owner answers with what it has; newer messages are faster.
    three.pass(0, 2);
    three.publish(0, &topic, "new");
    three.pass(0, 1);
    assert_eq!(three.got(1), one("new", false));
    three.pass(2, 1);
    assert!(three.got(1).is_empty(), "the older one is dropped");
    assert_eq!(three.passing(1), 0);
}

#[test]
fn of_two_changes_the_later_one_stands_in_whatever_order_they_come() {
    for (first, second) in [("x", "y"), ("x", ""), ("", "y")] {
        for reversed in [false, true] {
            let (mut three, topic) = (Three::new(), topic_of_third());
            three.publish(0, &topic, first);
            three.publish(1, &topic, second);
            let order = if reversed { [1, 0] } else { [0, 1] };
            for from in order {
                three.pass(from, 2);
            }
            three.pass_all();
            three.subscribe(2, &topic);
            let expected = if second.is_empty() {
                Vec::new()
            } else {
                one(second, true)
            };
            assert_eq!(three.got(2), expected);
            three.pass_all();
            assert_eq!(three.passing(2), 0, "nothing is remembered");
        }
    }
}

const MANY: usize = 40_000;

/// An owner of many messages, a subscriber to all of them in the second shard, and the barrier passed on.
fn with_many() -> Three {
    let mut three = Three::new();
    for number in 0..MANY {
        three.publish(2, &format!("many/{number}"), "x");
    }
    three.pass_all();
    three.subscribe(1, "many/#");
    for (from, to) in [(1, 0), (1, 2), (0, 1), (0, 2)] {
        three.pass(from, to);
    }
    three
}

#[test]
fn a_walk_stands_still_while_the_outbox_is_filled() {
    let mut three = with_many();
    for _ in 0..20 {
        three.shards[2].tick(NOW);
    }
    let waiting = three.shards[2].resource_counts().batches;
    assert!(
        waiting <= limits::RETAINED_FOUND_BATCHES_MAX + 2,
        "{waiting} batches"
    );
    assert!(three.shards[2].has_walks());
    three.pass_all();
    assert_eq!(three.got(1).len(), MANY, "all the same");
}

#[test]
fn an_owner_stops_when_nobody_waits_any_more() {
    for unsubscribes in [false, true] {
        let mut three = with_many();
        assert!(three.shards[2].has_walks());
        if unsubscribes {
            let mut bytes = Vec::new();
            mqtt::encode::unsubscribe(id(2), Properties::EMPTY, &["many/#"], V5, &mut bytes).unwrap();
            three.shards[1].receive(NOW, three.clients[1], &bytes);
        } else {
            three.shards[1].lost(NOW, three.clients[1]);
        }
        // What was on its way finds no request, and is answered with a note to stop.
        three.pass(2, 1);
        three.pass(1, 2);
        assert!(!three.shards[2].has_walks());
        three.pass_all();
        assert_eq!((three.passing(0), three.passing(1), three.passing(2)), (0, 0, 0));
    }
}
