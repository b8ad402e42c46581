//! The storage thread: several shards, a full disk, a failing disk.
//!
//! Invariants: none.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use store::simulated::{Fault, SimulatedDisk};
use store::{Durability, Options, Record, ShardLog, StorageThread, StoreError, Wake};

use super::{publish, session, waiting};

const SEGMENT: u32 = 64 << 10;

fn options() -> Options {
    Options {
        segment_size: SEGMENT,
        ..Options::default()
    }
}

fn start(disk: &SimulatedDisk, options: &Options, wake: Wake) -> StorageThread {
    let (log, _) = store::open_with(disk.layer(), options, wake).unwrap();
    log.start().unwrap()
}

fn ignore() -> Wake {
    Box::new(|_| {})
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// One message at a time, each of which is acknowledged at once.
fn fill(shard: &mut ShardLog, from: u64, count: u64) {
    for id in from..from + count {
        publish(shard, id, 1, id, &[7; 2000]);
        shard.submit();
    }
}

#[test]
fn shards_are_woken_when_their_batches_are_durable() {
    let disk = SimulatedDisk::new(1);
    let woken = Arc::new([const { AtomicU64::new(0) }; 4]);
    let counted = Arc::clone(&woken);
    let wake: Wake = Box::new(move |shard| {
        counted[usize::from(shard)].fetch_add(1, Ordering::SeqCst);
    });
    let thread = start(&disk, &options(), wake);
    std::thread::scope(|scope| {
        for number in 0..4_u16 {
            let mut shard = thread.shard(number);
            let woken = &woken;
            scope.spawn(move || {
                let session_number = u64::from(number) << 48 | 1;
                shard.append(&session(session_number, "client"));
                for order in 0..200 {
                    let before = woken[usize::from(number)].load(Ordering::SeqCst);
                    publish(
                        &mut shard,
                        session_number + order,
                        session_number,
                        order,
                        b"message",
                    );
                    let batch = shard.submit();
                    wait_until("woken", || {
                        woken[usize::from(number)].load(Ordering::SeqCst) > before
                    });
                    assert!(shard.durable() >= batch);
                }
            });
        }
    });
    assert_eq!(thread.shard(0).backlog_bytes(), 0);
    thread.close().unwrap();
    disk.power_cut();
    let (_, recovered) = store::open_with(disk.layer(), &options(), ignore()).unwrap();
    assert!(recovered.damage.is_none());
    for number in 0..4 {
        assert_eq!(waiting(&recovered, number << 48 | 1).len(), 200);
    }
}

#[test]
fn a_full_disk_takes_acknowledgements_and_recovers_by_itself() {
    let disk = SimulatedDisk::new(3);
    let thread = start(&disk, &options(), ignore());
    let mut shard = thread.shard(0);
    shard.append(&session(1, "client"));
    disk.set_space(Some(u64::from(SEGMENT) * 12));
    let mut next = 1;
    while !shard.is_full() {
        fill(&mut shard, next, 1);
        next += 1;
        assert!(next < 1000, "it never is full");
        wait_until("durable", || shard.durable() >= shard.next_batch() - 1);
    }
    // What was accepted is acknowledged, one by one.
    for order in 1..next {
        shard.append(&Record::Done { session: 1, order });
        let batch = shard.submit();
        wait_until("an acknowledgement is durable", || shard.durable() >= batch);
    }
    wait_until("there is space again", || !shard.is_full());
    for _ in 0..3 {
        fill(&mut shard, next, 1);
        let batch = shard.submit();
        wait_until("a message is durable again", || shard.durable() >= batch);
        next += 1;
    }
    thread.close().unwrap();
    let (_, recovered) = store::open_with(disk.layer(), &options(), ignore()).unwrap();
    assert!(recovered.damage.is_none());
    assert_eq!(waiting(&recovered, 1).len(), 3);
}

#[test]
fn a_store_that_is_full_waits_for_space_and_acknowledges_nothing_meanwhile() {
    let disk = SimulatedDisk::new(4);
    let thread = start(&disk, &options(), ignore());
    let mut shard = thread.shard(0);
    shard.append(&session(1, "client"));
    disk.set_space(Some(u64::from(SEGMENT) * 6));
    fill(&mut shard, 1, 1000);
    wait_until("full", || shard.is_full());
    std::thread::sleep(Duration::from_millis(300));
    let durable = shard.durable();
    assert!(durable < 1000 && !shard.has_failed());
    disk.set_space(None);
    wait_until("all are durable", || shard.durable() == 1000);
    thread.close().unwrap();
    let (_, recovered) = store::open_with(disk.layer(), &options(), ignore()).unwrap();
    assert_eq!(waiting(&recovered, 1).len(), 1000);
}

/// What waits for space was not acknowledged: it does not prevent the end.
#[test]
fn a_store_that_waits_for_space_ends_when_it_is_asked_to() {
    let disk = SimulatedDisk::new(8);
    let thread = start(&disk, &options(), ignore());
    let mut shard = thread.shard(0);
    shard.append(&session(1, "client"));
    disk.set_space(Some(u64::from(SEGMENT) * 6));
    fill(&mut shard, 1, 1000);
    wait_until("full", || shard.is_full());
    std::thread::sleep(Duration::from_millis(300));
    let durable = shard.durable();
    let begin = Instant::now();
    assert!(matches!(thread.close(), Err(StoreError::Full { .. })));
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    disk.set_space(None);
    let (_, recovered) = store::open_with(disk.layer(), &options(), ignore()).unwrap();
    assert_eq!(waiting(&recovered, 1).len() as u64, durable);
}

#[test]
fn a_disk_that_fails_stops_the_store_and_wakes_the_shards() {
    let disk = SimulatedDisk::new(5);
    let woken = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&woken);
    let wake: Wake = Box::new(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    let thread = start(&disk, &options(), wake);
    let mut shard = thread.shard(0);
    shard.append(&session(1, "client"));
    disk.fail_after(1, Fault::Stop);
    fill(&mut shard, 1, 1);
    wait_until("failed", || thread.has_failed());
    wait_until("woken", || woken.load(Ordering::SeqCst) > 0);
    assert_eq!(shard.durable(), 0);
    assert!(shard.has_failed());
    fill(&mut shard, 2, 1);
    assert!(thread.close().is_err());
}

/// A sync that fails while nobody waits for anything wakes the shards as well.
#[test]
fn a_sync_that_fails_later_wakes_the_shards() {
    let disk = SimulatedDisk::new(9);
    let woken = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&woken);
    let wake: Wake = Box::new(move |shard| {
        counted.fetch_or(1 << shard, Ordering::SeqCst);
    });
    let interval = Options {
        durability: Durability::Interval(Duration::from_millis(300)),
        shards: 3,
        ..options()
    };
    let thread = start(&disk, &interval, wake);
    let mut shard = thread.shard(0);
    disk.stop_at_sync();
    shard.append(&session(1, "client"));
    fill(&mut shard, 1, 1);
    wait_until("woken", || woken.load(Ordering::SeqCst) == 0b111);
    assert!(shard.has_failed() && thread.close().is_err());
}

#[test]
fn with_an_interval_nothing_waits_and_all_is_there_soon() {
    let disk = SimulatedDisk::new(6);
    let interval = Options {
        durability: Durability::Interval(Duration::from_millis(20)),
        ..options()
    };
    let thread = start(&disk, &interval, ignore());
    let mut shard = thread.shard(0);
    shard.append(&session(1, "client"));
    fill(&mut shard, 1, 300);
    assert_eq!(shard.durable(), 300);
    wait_until("written", || shard.backlog_bytes() == 0);
    std::thread::sleep(Duration::from_millis(200));
    disk.fail_after(1, Fault::Stop);
    fill(&mut shard, 301, 1);
    wait_until("failed", || thread.has_failed());
    assert!(thread.close().is_err());
    disk.power_cut();
    let (_, recovered) = store::open_with(disk.layer(), &interval, ignore()).unwrap();
    assert!(recovered.damage.is_none());
    assert!(waiting(&recovered, 1).len() >= 300);
}

#[test]
fn without_durability_segments_are_freed_and_a_kill_loses_nothing_that_was_written() {
    let disk = SimulatedDisk::new(7);
    let none = Options {
        durability: Durability::None,
        ..options()
    };
    let thread = start(&disk, &none, ignore());
    let mut shard = thread.shard(0);
    shard.append(&session(1, "client"));
    for id in 1..3000 {
        fill(&mut shard, id, 1);
        shard.append(&Record::Done {
            session: 1,
            order: id,
        });
        shard.submit();
    }
    wait_until("written", || shard.backlog_bytes() == 0);
    let found = thread.statistics();
    assert!(
        found.segments_used < 30,
        "{} {} {}",
        found.segments_used,
        found.bytes_live,
        found.commits
    );
    disk.fail_after(1, Fault::Stop);
    fill(&mut shard, 3000, 1);
    wait_until("stopped", || shard.has_failed());
    assert!(thread.close().is_err());
    disk.kill();
    let (_, recovered) = store::open_with(disk.layer(), &none, ignore()).unwrap();
    assert!(recovered.damage.is_none());
    // The last one may exist: the write during which the machine stopped may be complete.
    let found = recovered.sessions.iter().find(|found| found.number == 1).unwrap();
    let left: Vec<_> = found
        .references
        .iter()
        .map(|reference| reference.publication)
        .collect();
    assert!(left.iter().all(|id| *id == 3000), "{left:?}");
}

/// Each commit costs a block of the disk and a sync: batches that nobody waits for are written together. A batch that
/// somebody waits for is written at once.
#[test]
fn batches_that_nobody_waits_for_share_commits() {
    let disk = SimulatedDisk::new(8);
    let thread = start(&disk, &options(), ignore());
    let mut shard = thread.shard(0);
    shard.append(&session(1, "client"));
    let first = shard.submit();
    wait_until("the session is durable", || shard.durable() >= first);
    let commits = || thread.statistics().commits;
    let (before, began) = (commits(), Instant::now());
    let mut last = 0;
    for order in 0..300 {
        shard.append(&Record::Done { session: 1, order });
        last = shard.submit_unawaited();
        // Time for a thread that would write each batch at once.
        std::thread::sleep(Duration::from_micros(100));
    }
    wait_until("they are durable by themselves", || shard.durable() >= last);
    let elapsed_ms = began.elapsed().as_millis() as u64;
    let shared = commits() - before;
    assert!(shared <= elapsed_ms + 1, "{shared} commits in {elapsed_ms} ms");
    // One is enough: on a busy machine most take longer.
    let is_quick = |order: u64| {
        shard.append(&Record::Done { session: 1, order });
        shard.submit_unawaited();
        publish(&mut shard, order + 1, 1, order, b"message");
        let began = Instant::now();
        let batch = shard.submit();
        wait_until("an awaited one is durable", || shard.durable() >= batch);
        began.elapsed() < Duration::from_millis(1)
    };
    assert!((0..10_000).any(is_quick), "each waited for more to come");
    thread.close().unwrap();
}
