//! `durability interval` and `none` over kill -9: no acknowledgement waits, and what is lost are the last messages of
//! all, those of the interval or those that were on their way to the operating system.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mqtt::QoS;

use super::client::{Publisher, Subscriber};
use super::{Restarted, SILENCE};
use crate::harness::Setup;

const INTERVAL: Duration = Duration::from_millis(200);
/// Until all that was acknowledged has been written, also on a busy machine.
const WRITTEN: Duration = Duration::from_millis(1500);

/// Publishes until `stop`, or until the broker is gone.
fn publish(
    mut publisher: Publisher,
    port: u16,
    stop: &Arc<AtomicBool>,
) -> std::thread::JoinHandle<Publisher> {
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        let _gone = publisher.run(port, &stop);
        publisher
    })
}

fn loses_the_last_messages_alone(durability: &str) {
    let setup = Setup::default()
        .shards(2)
        .global(&format!("durability {durability}"));
    let restarted = Restarted::with(setup);
    let mut broker = restarted.start();
    let mut away = Subscriber::new("away", "t/+");
    away.subscribe(restarted.port).unwrap();
    let mut publisher = Publisher::new("p", "t/p", QoS::AtLeastOnce, false);
    let mut kept = 0;
    for round in 0..3 {
        let stop = Arc::new(AtomicBool::new(false));
        let running = publish(publisher, restarted.port, &stop);
        std::thread::sleep(INTERVAL);
        stop.store(true, Ordering::Relaxed);
        publisher = running.join().unwrap();
        let acknowledged = publisher.acknowledged.clone();
        assert!(
            acknowledged.len() > 20 * (round + 1),
            "{durability}: {acknowledged:?}"
        );
        std::thread::sleep(WRITTEN);

        let running = publish(publisher, restarted.port, &Arc::default());
        std::thread::sleep(INTERVAL / 2);
        broker.kill();
        publisher = running.join().unwrap();
        broker = restarted.start();
        away.run(restarted.port, SILENCE).unwrap();
        let got: Vec<u64> = away.got.drain(..).map(|(_, _, number)| number).collect();
        let missing = acknowledged
            .iter()
            .filter(|number| **number >= kept && !got.contains(number));
        let missing: Vec<_> = missing.collect();
        assert!(
            missing.is_empty(),
            "{durability}, round {round}: {missing:?} of {got:?}"
        );
        assert!(got.is_sorted(), "{durability}, round {round}: {got:?}");
        // The publisher sends those again that were not acknowledged; those that were and are lost it does not.
        kept = publisher.acknowledged.iter().max().map_or(0, |last| last + 1);
    }
}

#[test]
fn an_interval_bounds_what_a_kill_loses() {
    loses_the_last_messages_alone("interval 200");
}

#[test]
fn without_syncs_a_kill_loses_what_was_on_its_way() {
    loses_the_last_messages_alone("none");
}
