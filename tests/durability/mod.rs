//! What was acknowledged is there after the broker was killed.
//!
//! `MIDGE_KILL_ROUNDS=200` kills it so often instead of 10 times, `MIDGE_KILL_SEED=N` at other times.

mod client;
mod damage;
mod full;
mod importing;
mod long_queues;
mod many_queued;
mod sessions;
mod starting;
mod stopping;
mod unsynced;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use fastrand::Rng;
use mqtt::{Packet, QoS};
use tempfile::TempDir;

use self::client::{Connection, Publisher, Subscriber};
use crate::harness::{Broker, Setup, free_port};

/// After so long without a message all have come.
const SILENCE: Duration = Duration::from_millis(700);

/// A broker that is started again and again with one store.
struct Restarted {
    setup: Setup,
    port: u16,
    folder: TempDir,
}

impl Restarted {
    fn new(shards: u16) -> Self {
        Self::with(Setup::default().shards(shards))
    }

    fn with(setup: Setup) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let location = folder.path().to_owned();
        Self {
            folder,
            ..Self::at(setup, &location)
        }
    }

    /// With a store in a folder of the test's choice.
    fn at(setup: Setup, location: &Path) -> Self {
        let setup = setup
            .global("persistence true")
            .global(&format!("persistence_location {}", location.display()))
            .global("max_queued_messages 0")
            .global("max_queued_bytes 0")
            .global("max_inflight_messages 100");
        Self {
            setup,
            port: free_port(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn start(&self) -> Broker {
        self.setup.start_at(self.port)
    }
}

/// The clients that go on over all rounds.
struct Clients {
    publishers: Vec<(Publisher, QoS)>,
    retaining: Publisher,
    online: Subscriber,
    away: Subscriber,
}

impl Clients {
    fn new() -> Self {
        let publisher = |name: &str, qos| (Publisher::new(name, &format!("t/{name}"), qos, false), qos);
        Self {
            publishers: vec![
                publisher("once-a", QoS::ExactlyOnce),
                publisher("once-b", QoS::ExactlyOnce),
                publisher("least-a", QoS::AtLeastOnce),
                publisher("least-b", QoS::AtLeastOnce),
            ],
            retaining: Publisher::new("retaining", "r", QoS::AtLeastOnce, true),
            online: Subscriber::new("online", "t/#"),
            away: Subscriber::new("away", "t/+"),
        }
    }

    /// All of them work until the broker is gone, or until what they have sent is acknowledged after `stop`.
    fn run(self, port: u16, stop: &Arc<AtomicBool>) -> JoinHandle<Self> {
        let stop = Arc::clone(stop);
        std::thread::spawn(move || {
            let Self {
                publishers,
                mut retaining,
                mut online,
                away,
            } = self;
            let start = |(mut publisher, qos): (Publisher, QoS)| {
                let stop = Arc::clone(&stop);
                std::thread::spawn(move || {
                    let _gone = publisher.run(port, &stop);
                    (publisher, qos)
                })
            };
            let threads: Vec<_> = publishers.into_iter().map(start).collect();
            let stopped = Arc::clone(&stop);
            let retaining = std::thread::spawn(move || {
                let _gone = retaining.run(port, &stopped);
                retaining
            });
            let _gone = online.run(port, SILENCE);
            Self {
                publishers: threads.into_iter().map(|thread| thread.join().unwrap()).collect(),
                retaining: retaining.join().unwrap(),
                online,
                away,
            }
        })
    }

    /// Everything that was promised.
    fn check(&self) {
        for (publisher, qos) in &self.publishers {
            self.online.check(publisher, *qos);
            self.away.check(publisher, *qos);
        }
    }
}

/// The number of the retained message.
fn retained(port: u16) -> Option<u64> {
    let mut connection = Connection::open(port, "reader").unwrap();
    connection.subscribe("r", QoS::AtMostOnce, 1);
    connection.send().unwrap();
    let (mut subscribed, mut number) = (false, None);
    for _ in 0..40 {
        connection
            .packets(|packet, _| match packet {
                Packet::SubAck(_) => subscribed = true,
                Packet::Publish(publish) => {
                    let text = std::str::from_utf8(publish.payload).unwrap();
                    number = text.split_once(' ').map(|(_, number)| number.parse().unwrap());
                }
                _ => {}
            })
            .unwrap();
        if subscribed && number.is_some() {
            break;
        }
    }
    number
}

fn number_of(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(otherwise)
}

fn kill_again_and_again(shards: u16) {
    let seed = number_of("MIDGE_KILL_SEED", 1) + u64::from(shards);
    let mut rng = Rng::with_seed(seed);
    let restarted = Restarted::new(shards);
    let mut clients = Clients::new();
    let mut broker = restarted.start();
    clients.online.subscribe(restarted.port).unwrap();
    clients.away.subscribe(restarted.port).unwrap();
    for round in 0..number_of("MIDGE_KILL_ROUNDS", 10) {
        let stop = Arc::new(AtomicBool::new(false));
        let running = clients.run(restarted.port, &stop);
        std::thread::sleep(Duration::from_millis(rng.u64(20..400)));
        broker.kill();
        clients = running.join().unwrap();
        broker = restarted.start();
        let there = retained(restarted.port);
        let promised = clients.retaining.acknowledged.last().copied();
        assert!(
            there >= promised,
            "round {round} of seed {seed}: {there:?} is retained, and {promised:?} was acknowledged"
        );
    }
    let stop = Arc::new(AtomicBool::new(true));
    clients = clients.run(restarted.port, &stop).join().unwrap();
    stop.store(true, Ordering::Relaxed);
    clients.away.run(restarted.port, SILENCE).unwrap();
    clients.check();
    for (publisher, _) in &clients.publishers {
        assert!(
            publisher.acknowledged.len() > 20,
            "{} got through",
            publisher.name
        );
    }
    drop(broker);
}

/// [MQTT-3.1.2-5], [MQTT-4.4.0-1]
#[test]
fn what_one_shard_acknowledged_is_there_after_each_kill() {
    kill_again_and_again(1);
}

#[test]
fn what_three_shards_acknowledged_is_there_after_each_kill() {
    kill_again_and_again(3);
}
