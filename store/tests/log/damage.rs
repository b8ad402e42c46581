//! Files that were changed from outside: flipped bits, truncated ends, missing files.
//!
//! Invariants: the store opens whatever is in its files; damage is counted, and what is returned was appended exactly
//! so.

use std::collections::BTreeSet;

use store::simulated::SimulatedDisk;
use store::{Log, Options, Recovered};

use super::{publish, session, waiting};

fn options() -> Options {
    Options {
        segment_size: 16 << 10,
        ..Options::default()
    }
}

fn open(disk: &SimulatedDisk) -> (Log, Recovered) {
    store::open_with(disk.layer(), &options(), Box::new(|_| {})).unwrap()
}

/// A disk with a session and messages in many commits, all marked as durable.
fn filled(messages: u64) -> SimulatedDisk {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = open(&disk);
    let mut shard = log.shard(0);
    shard.append(&session(1, "client"));
    for id in 0..messages {
        publish(&mut shard, id, 1, id, &message(id));
        shard.submit();
        log.step().unwrap();
    }
    log.idle().unwrap();
    disk
}

fn message(id: u64) -> Vec<u8> {
    let len = if id % 10 == 3 { 20_000 } else { 50 };
    (0..len).map(|place| (id + place) as u8).collect()
}

/// The messages that still exist; each is one that was published.
fn left(recovered: &Recovered) -> BTreeSet<Vec<u8>> {
    if recovered.sessions.is_empty() {
        return BTreeSet::new();
    }
    waiting(recovered, 1).into_iter().map(<[u8]>::to_vec).collect()
}

fn all(messages: u64) -> BTreeSet<Vec<u8>> {
    (0..messages).map(message).collect()
}

#[test]
fn a_flipped_bit_costs_little_and_is_counted() {
    const MESSAGES: u64 = 40;
    let all = all(MESSAGES);
    let mut random = fastrand::Rng::with_seed(3);
    for round in 0..400 {
        let disk = filled(MESSAGES);
        let before = open(&disk).1;
        assert_eq!(left(&before), all);
        let files = disk.files();
        let (name, size) = &files[random.usize(0..files.len())];
        let place = random.usize(0..*size);
        disk.damage(name, |bytes| bytes[place] ^= 1 << random.u8(0..8));
        let (mut log, recovered) = open(&disk);
        let left = left(&recovered);
        assert!(left.is_subset(&all), "round {round}");
        // A record, or a commit of one message; a damaged header of the session's own commit loses the session.
        let lost = MESSAGES as usize - left.len();
        let damage = &recovered.damage;
        assert!(
            lost <= 1 || recovered.sessions.is_empty(),
            "round {round}: {lost} {damage:?}"
        );
        assert!(lost == 0 || !damage.is_none(), "round {round}: {lost} {damage:?}");
        // The store continues to work.
        let mut shard = log.shard(0);
        shard.append(&session(2, "next"));
        shard.submit();
        log.step().unwrap();
        drop(log);
        let again = open(&disk).1;
        assert!(
            again.sessions.iter().any(|session| session.number == 2),
            "round {round}"
        );
    }
}

#[test]
fn a_file_that_was_cut_or_is_gone_costs_what_was_in_it() {
    const MESSAGES: u64 = 40;
    let all = all(MESSAGES);
    let mut random = fastrand::Rng::with_seed(4);
    for round in 0..200 {
        let disk = filled(MESSAGES);
        let files = disk.files();
        let (name, size) = &files[random.usize(0..files.len())];
        let len = if random.bool() { 0 } else { random.usize(0..*size) };
        disk.damage(name, |bytes| bytes.truncate(len));
        let (_, recovered) = open(&disk);
        let left = left(&recovered);
        assert!(left.is_subset(&all), "round {round}");
        let lost = MESSAGES as usize - left.len();
        assert!(
            lost == 0 || !recovered.damage.is_none(),
            "round {round}: {lost} {:?}",
            recovered.damage
        );
    }
}

/// No other segment refers to the newest one: a file beside them names it.
#[test]
fn a_segment_that_is_missing_is_noticed_whichever_it_is() {
    const MESSAGES: u64 = 40;
    let of_segments = |disk: &SimulatedDisk| {
        let names = disk.files().into_iter().map(|(name, _)| name);
        names
            .filter(|name| name.ends_with(".segment"))
            .collect::<Vec<_>>()
    };
    let mut noticed = 0;
    for number in 0.. {
        let disk = filled(MESSAGES);
        let Some(name) = of_segments(&disk).into_iter().nth(number) else {
            break;
        };
        disk.layer().remove(&name).unwrap();
        let (log, recovered) = open(&disk);
        let lost = MESSAGES as usize - left(&recovered).len();
        // The marks at the end of the log are in segments as well.
        assert!(lost == 0 || !recovered.damage.is_none(), "{name}: {lost}");
        noticed += usize::from(!recovered.damage.is_none());
        drop(log);
        assert!(open(&disk).1.damage.files == 0, "{name}: it is said once");
    }
    assert!(
        noticed > 2,
        "several segments are in use, and {noticed} were noticed"
    );
}

#[test]
fn any_bytes_open() {
    let mut random = fastrand::Rng::with_seed(5);
    for _ in 0..200 {
        let disk = filled(20);
        for (name, _) in disk.files() {
            disk.damage(&name, |bytes| {
                for _ in 0..random.usize(0..30) {
                    let start = random.usize(0..bytes.len());
                    let len = random.usize(0..600).min(bytes.len() - start);
                    match random.u8(0..3) {
                        0 => bytes[start..start + len].fill(random.u8(..)),
                        1 => bytes.copy_within(start..start + len, 0),
                        _ => bytes[start] = random.u8(..),
                    }
                }
            });
        }
        let (mut log, recovered) = open(&disk);
        assert!(left(&recovered).is_subset(&all(20)));
        log.idle().unwrap();
    }
}
