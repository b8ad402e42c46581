//! What a power cut leaves if acknowledgements do not wait, and after a failed write.
//!
//! Invariants: none.

use std::time::{Duration, Instant};

use store::simulated::{Fault, SimulatedDisk};
use store::{Durability, Options, Recovered, StoreError};

use super::{options, publish, session, waiting};

const INTERVAL: Duration = Duration::from_millis(100);
/// Allowance for a thread that the machine does not run at once.
const LATE: Duration = Duration::from_millis(400);

fn recover(disk: &SimulatedDisk, options: &Options) -> Recovered {
    let (_, recovered) = store::open_with(disk.layer(), options, Box::new(|_| {})).unwrap();
    recovered
}

/// What exists is a prefix, and what is missing was submitted within the interval.
#[test]
fn a_power_cut_loses_what_was_submitted_within_the_interval_at_most() {
    let options = Options {
        durability: Durability::Interval(INTERVAL),
        ..options()
    };
    let mut lost_something = false;
    for seed in 0..6 {
        let disk = SimulatedDisk::new(seed);
        let (log, _) = store::open_with(disk.layer(), &options, Box::new(|_| {})).unwrap();
        let thread = log.start().unwrap();
        let mut shard = thread.shard(0);
        shard.append(&session(1, "client"));
        let mut submitted = Vec::new();
        let began = Instant::now();
        // Longer than what may be lost, so that a store that never syncs is detected.
        while began.elapsed() < INTERVAL * 8 + Duration::from_millis(seed * 17) {
            let number = submitted.len() as u64;
            publish(&mut shard, number + 1, 1, number, &number.to_be_bytes());
            let batch = shard.submit();
            assert_eq!(shard.durable(), batch, "nothing waits");
            submitted.push(Instant::now());
            std::thread::sleep(Duration::from_millis(1));
        }
        disk.fail_after(1, Fault::Stop);
        // Everything before may be synced by now; something must be written for the disk to fail.
        let number = submitted.len() as u64;
        publish(&mut shard, number + 1, 1, number, &number.to_be_bytes());
        shard.submit();
        let cut = Instant::now();
        submitted.push(cut);
        assert!(thread.close().is_err());
        disk.power_cut();
        let recovered = recover(&disk, &options);
        assert!(recovered.damage.is_none());
        let found = waiting(&recovered, 1);
        for (number, message) in found.iter().enumerate() {
            assert_eq!(**message, (number as u64).to_be_bytes(), "in their order");
        }
        lost_something |= found.len() < submitted.len();
        if let Some(first_lost) = submitted.get(found.len()) {
            let before = cut.duration_since(*first_lost);
            assert!(
                before <= INTERVAL + LATE,
                "seed {seed}: lost {before:?} before the cut"
            );
        }
    }
    assert!(lost_something, "the power was never cut between two syncs");
}

/// A write that fails is repeated in another segment, and its records become durable.
#[test]
fn a_commit_whose_write_fails_is_written_once_more() {
    for seed in 0..40 {
        let disk = SimulatedDisk::new(seed);
        let (mut log, _) = store::open_with(disk.layer(), &options(), Box::new(|_| {})).unwrap();
        let mut shard = log.shard(0);
        shard.append(&session(1, "client"));
        let mut orders = 0..;
        let mut commit = |log: &mut store::Log, shard: &mut store::ShardLog| {
            let order = orders.next().unwrap();
            publish(shard, order + 1, 1, order, &[7; 3000]);
            let batch = shard.submit();
            (log.step(), batch)
        };
        for _ in 0..seed {
            commit(&mut log, &mut shard).0.unwrap();
        }
        disk.fail_after(1, Fault::Io);
        let (written, batch) = commit(&mut log, &mut shard);
        written.unwrap();
        assert_eq!(shard.durable(), batch, "seed {seed}");
        disk.power_cut();
        let recovered = recover(&disk, &options());
        assert!(recovered.damage.is_none(), "seed {seed}: {:?}", recovered.damage);
        assert_eq!(waiting(&recovered, 1).len() as u64, batch, "seed {seed}");
    }
}

/// If that fails too, it is final: nothing of it counts as durable, and everything before exists.
#[test]
fn a_commit_that_fails_twice_is_not_acknowledged() {
    let disk = SimulatedDisk::new(3);
    let (mut log, _) = store::open_with(disk.layer(), &options(), Box::new(|_| {})).unwrap();
    let mut shard = log.shard(0);
    shard.append(&session(1, "client"));
    publish(&mut shard, 1, 1, 0, b"kept");
    let kept = shard.submit();
    log.step().unwrap();
    for operation in 1..40 {
        disk.fail_after(operation, Fault::Io);
    }
    publish(&mut shard, 2, 1, 1, b"not acknowledged");
    shard.submit();
    let failed = log.step();
    assert!(
        failed.is_err_and(|error| !matches!(error, StoreError::Full { .. })),
        "it is final"
    );
    assert_eq!(shard.durable(), kept);
    disk.power_cut();
    let recovered = recover(&disk, &options());
    assert_eq!(waiting(&recovered, 1)[0], b"kept");
}

/// Creating a segment is tried twice; a disk that fails again is not full, and the store stops.
#[test]
fn a_disk_that_fails_twice_while_a_segment_is_made_is_no_full_disk() {
    let disk = SimulatedDisk::new(11);
    let (mut log, _) = store::open_with(disk.layer(), &options(), Box::new(|_| {})).unwrap();
    let mut shard = log.shard(0);
    shard.append(&session(1, "client"));
    let mut commits = 0..100;
    let failed = commits.find_map(|order| {
        publish(&mut shard, order + 1, 1, order, &[7; 3000]);
        shard.submit();
        // After the commit's own write.
        disk.clear_faults();
        disk.fail_after(2, Fault::Io);
        log.step().err()
    });
    let failed = failed.unwrap();
    assert!(failed.to_string().contains("create another segment"), "{failed}");
    assert!(
        !matches!(failed, StoreError::Full { .. }) && commits.start > 1,
        "{failed}"
    );
}
