//! Many subscriptions through real connections: what each takes of the broker's memory, and that it comes back.
//!
//! The figure for a million, of 1,000 connections:
//! `MIDGE_SUBSCRIPTIONS=1000000 cargo test -p tests many_subscriptions -- --nocapture`

use mqtt::QoS;

use crate::harness::{Broker, Client, Options, Setup};

/// Subscriptions, unless `MIDGE_SUBSCRIPTIONS` says another number.
const SUBSCRIPTIONS: usize = 100_000;
const OF_EACH: usize = 1_000;
/// Filters in one SUBSCRIBE.
const AT_ONCE: usize = 500;
/// Bytes for each subscription, in its shard and in another one that knows of it, and what a short run leaves with
/// the allocator. At a million it is half of that.
const BYTES_MAX: usize = 400;
/// Times that all come and go. The allocator gives memory back after a while only, so for a time there may be twice
/// as much; what were not given back at all would be there six times.
const TIMES: usize = 6;

fn filter(number: usize) -> String {
    format!("site/{}/device/{number}/temperature", number % 1000)
}

/// A client with its share of the subscriptions.
fn subscriber(broker: &Broker, number: usize) -> Client {
    let mut client = Client::connect(broker, &Options::new(&format!("subscriber-{number}")));
    let filters: Vec<_> = (number * OF_EACH..(number + 1) * OF_EACH).map(filter).collect();
    for filters in filters.chunks(AT_ONCE) {
        client.subscribe_all(filters, QoS::AtMostOnce);
    }
    client
}

#[test]
fn each_takes_little_memory_and_gives_it_back() {
    let asked = std::env::var("MIDGE_SUBSCRIPTIONS").map(|count| count.parse().unwrap());
    let subscriptions = asked.unwrap_or(SUBSCRIPTIONS);
    for shards in [1, 2] {
        let broker = Setup::default().shards(shards).start();
        let mut publisher = Client::connect(&broker, &Options::new("publisher"));
        let before = broker.resident_kib();
        let mut taken = Vec::new();
        for _ in 0..TIMES {
            let mut clients: Vec<_> = (0..subscriptions / OF_EACH)
                .map(|number| subscriber(&broker, number))
                .collect();
            let kib = broker.resident_kib() - before;
            taken.push(kib as usize * 1024 / subscriptions);
            let last = clients.last_mut().unwrap();
            publisher.publish(&filter(subscriptions - 1), b"x", QoS::AtLeastOnce);
            assert_eq!(last.message().payload, b"x");
            clients.into_iter().for_each(Client::disconnect);
        }
        println!("{subscriptions} subscriptions, {shards} shards: {taken:?} bytes for each");
        assert!(taken[0] < BYTES_MAX, "{taken:?}");
        assert!(taken[TIMES - 1] < 3 * taken[0], "{taken:?}");
    }
}
