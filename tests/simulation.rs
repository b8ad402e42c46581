//! The shards' logic under the simulator: seeds that find nothing, and faults of the shell that each are found.
//!
//! [MQTT-4.3.2-1], [MQTT-4.3.3-1], [MQTT-4.4.0-1], [MQTT-4.6.0-6], [MQTT-3.1.4-3], [MQTT-3.3.4-2], [MQTT-3.8.3-3]:
//! what the model checks on each packet.

use std::sync::atomic::{AtomicU64, Ordering};

use tests::simulation::{Fault, Options, run};

const SEEDS: u64 = 3_000;
const STORED_SEEDS: u64 = 600;

#[test]
fn thousands_of_seeds_find_nothing() {
    let (options, next) = (Options::default(), AtomicU64::new(0));
    let disconnected = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= SEEDS {
                        return;
                    }
                    match run(seed, &options) {
                        Ok(ran) => disconnected.fetch_add(ran.disconnected, Ordering::Relaxed),
                        Err(failure) => panic!("{failure}"),
                    };
                }
            });
        }
    });
    let disconnected = disconnected.into_inner();
    assert!(
        disconnected > 0,
        "no slow client held more than half of a shard's cap"
    );
}

/// With a store: what waits for the disk, in which order, and what of it is there after a crash.
#[test]
fn hundreds_of_seeds_with_a_store_find_nothing() {
    let options = Options {
        stored: true,
        ..Options::default()
    };
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= STORED_SEEDS {
                        return;
                    }
                    if let Err(failure) = run(seed, &options) {
                        panic!("{failure}");
                    }
                }
            });
        }
    });
}

/// Seeds that once found a fault of the broker, or of the model.
#[test]
fn seeds_that_found_something_find_nothing() {
    for (seeds, stored, timed) in [
        (FOUND.as_slice(), false, false),
        (FOUND_TIMED.as_slice(), false, true),
        (FOUND_STORED.as_slice(), true, false),
        (FOUND_STORED_TIMED.as_slice(), true, true),
    ] {
        let options = Options {
            stored,
            timed,
            ..Options::default()
        };
        for &seed in seeds {
            if let Err(failure) = run(seed, &options) {
                panic!("{failure}");
            }
        }
    }
}

/// Of the slow clients others were disconnected than hold the bytes that are counted; a pause lasts longer where the
/// connection is read for a newer one's sake; of two messages that look alike either is the retained one; what was
/// written to a connection that is gone counts until the flush; what comes first in a tick decides whose keep alive is
/// suspended; a QoS that a subscription had before; a deletion that is like an earlier one.
const FOUND: [u64; 11] = [
    6_053_063, 6_172_638, 6_100_314, 6_234_066, 6_303_679, 7_623_050, 7_825_768, 7_971_084, 8_099_810,
    8_107_100, 8_792_659,
];

/// A publisher was paused, and resumed in the same turn because its own queue had to be acknowledged, which was empty
/// again when the model looked.
const FOUND_TIMED: [u64; 1] = [73_355_483];

/// What was sent at QoS 2 expired or was dropped as too large, and the next message with its identifier was lost;
/// messages that look alike in what a start took back; several Wills of one tick for a short queue; a session that had
/// ended and came back; three connections of a client take one another over; a session that was to end with its
/// connection while its queue was in the store alone; a retained message that overtook the queue, after which Packet
/// Identifiers were not in the session's order; publishers that were paused for a queue that had been read and sent.
const FOUND_STORED: [u64; 37] = [
    161, 7_465, 9_909, 14_447, 44_091, 65_422, 65_853, 72_105, 75_655, 78_781, 86_481, 94_594, 95_058,
    102_979, 105_589, 105_770, 118_845, 123_663, 124_963, 157_957, 163_991, 210_855, 238_334, 253_177,
    258_388, 269_715, 281_619, 294_987, 298_501, 321_753, 347_155, 358_903, 366_604, 397_492, 504_125,
    534_414, 539_202,
];

/// A message without an expiry was taken for one with it, as 3.x shows neither; one by a group for one by the session's
/// own subscription; messages that a shard had not taken were routed anew in the order of the log, which is not that of
/// their publication where they were moved; a message of a group that was sent again and lost by a kill was taken for
/// the one that had been acknowledged before.
const FOUND_STORED_TIMED: [u64; 4] = [1_324_777, 1_374_438, 1_482_529, 1_517_427];

#[test]
fn each_fault_of_the_shell_is_found() {
    for fault in [
        Fault::FlushesBeforePush,
        Fault::FlushesWhileBlocked,
        Fault::FlushesDelayedWhileBlocked,
        Fault::AdoptsAtOnce,
        Fault::LosesBatches,
        Fault::RepeatsBatches,
        Fault::NeverTicks,
        Fault::TakesOverAtOnce,
        Fault::NeverStops,
    ] {
        let options = Options {
            shards: Some(3),
            fault: Some(fault),
            ..Options::default()
        };
        let found = (0..SEEDS_TO_FIND).find(|&seed| run(seed, &options).is_err());
        assert!(found.is_some(), "{fault:?} was not found");
        println!("{fault:?} is found by seed {found:?}");
    }
}

/// In so many seeds each fault is found.
const SEEDS_TO_FIND: u64 = 5_000;

#[test]
fn a_failure_says_how_to_replay_it() {
    let options = Options {
        shards: Some(3),
        steps: 100,
        fault: Some(Fault::LosesBatches),
        stored: false,
        timed: false,
    };
    let failure = (0..SEEDS_TO_FIND).find_map(|seed| run(seed, &options).err());
    let failure = failure.unwrap();
    let text = failure.to_string();
    let command = format!("-- --seed {} --steps 100 --shards 3", failure.seed);
    assert!(text.contains(&command) && text.lines().count() > 5, "{text}");
    let again = run(failure.seed, &options).unwrap_err();
    assert_eq!(again.what, failure.what, "a seed replays");
}
