//! Power cuts, kills and failing disks at any operation: what was reported as durable exists, and what exists was
//! submitted, in order.
//!
//! Invariants: a state can be reproduced from its seed: `STORE_SEED=N cargo test -p store --test log power`;
//! `STORE_STATES=10000` runs that many instead of some hundreds.

use store::simulated::{Fault, SimulatedDisk};
use store::{Durability, Log, Options, StoreError};

use super::model::Model;
use super::workload::{SHARDS, Workload};

fn options(durability: Durability) -> Options {
    Options {
        // A header and three blocks: reclaiming has much to do.
        segment_size: 16 << 10,
        shards: SHARDS,
        durability,
        ..Options::default()
    }
}

fn open(disk: &SimulatedDisk, durability: Durability) -> Result<(Log, Model), StoreError> {
    let (log, recovered) = store::open_with(disk.layer(), &options(durability), Box::new(|_| {}))?;
    if disk.is_off() {
        return Err(StoreError::Stopped("in the middle of its recovery".to_owned()));
    }
    assert!(recovered.damage.is_none(), "{:?}", recovered.damage);
    assert_eq!(recovered.damage.orphans, 0);
    Ok((log, Model::of(&recovered)))
}

/// Runs several lives of a store on one disk; each ends as `fault` says, at a random operation.
fn run(seed: u64, durability: Durability, faults: &[Fault]) {
    let disk = SimulatedDisk::new(seed);
    let mut workload = Workload::new(seed, durability == Durability::Sync);
    let mut opened = Some(open(&disk, durability).unwrap());
    for life in 0..workload.random.u32(1..6) {
        if let Some((log, recovered)) = opened.take() {
            let Some(state) = workload.state_of(&recovered) else {
                panic!("seed {seed}, life {life}: {}", workload.difference(&recovered));
            };
            workload.start(&log, state);
            live(log, &disk, &mut workload, faults);
        }
        if workload.random.bool() {
            disk.power_cut();
        } else {
            disk.kill();
        }
        // Recovery is interrupted as well.
        if workload.random.u8(0..3) == 0 {
            disk.fail_after(workload.random.u64(1..60), Fault::Stop);
        }
        opened = std::panic::catch_unwind(|| open(&disk, durability))
            .unwrap_or_else(|_| panic!("seed {seed}, life {life}"))
            .ok();
        if opened.is_none() {
            assert!(disk.is_off(), "seed {seed}: it does not open");
        }
    }
}

fn live(mut log: Log, disk: &SimulatedDisk, workload: &mut Workload, faults: &[Fault]) {
    let operations = workload.random.u64(1..400);
    let fault = faults[workload.random.usize(0..faults.len())];
    disk.fail_after(operations, fault);
    let steps = workload.random.u32(10..300);
    for _ in 0..steps {
        for _ in 0..workload.random.u8(0..4) {
            workload.batch();
        }
        let result = match workload.random.u8(0..8) {
            0 => log.idle().map(|()| true),
            _ => log.step(),
        };
        match result {
            Ok(_) | Err(StoreError::Full { .. }) => {}
            Err(_) => return,
        }
    }
}

fn states() -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (first, count) = match number("STORE_SEED") {
        Some(seed) => (seed, 1),
        None => (0, 250),
    };
    first..first + number("STORE_STATES").unwrap_or(count)
}

#[test]
fn power_cuts_and_kills_lose_nothing() {
    for seed in states() {
        run(seed, Durability::Sync, &[Fault::Stop]);
    }
}

#[test]
fn failing_disks_lose_nothing() {
    for seed in states() {
        run(
            seed,
            Durability::Sync,
            &[Fault::Io, Fault::NoSpace, Fault::Short, Fault::Stop],
        );
    }
}

#[test]
fn without_durability_what_is_there_is_a_beginning() {
    for seed in states() {
        run(seed, Durability::None, &[Fault::Stop]);
    }
}
