//! The order in which passwords are checked, without threads except in the last tests.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Weak};
use std::time::Instant;

use super::*;
use crate::auth::password::{Algorithm, PasswordHash};
use crate::auth::password_file::PasswordFile;

fn job(file: &Arc<PasswordFile>, claimant: UserAtAddress, ticket: u64) -> PasswordCheck {
    PasswordCheck {
        file: Arc::clone(file),
        candidate: file.find("ann"),
        password: Box::from(*b"pw"),
        claimant,
        digest: ticket,
        asked: START,
        deadline: Timestamp::NEVER,
        awaited: somebody(),
        has_begun: false,
        shard: 0,
        ticket,
        generation: 0,
        listener: crate::settings::ListenerId(0),
        user: "ann".into(),
    }
}

/// A claimant that waits as long as the tests run.
fn somebody() -> Weak<()> {
    static SOMEBODY: LazyLock<Arc<()>> = LazyLock::new(Arc::default);
    Arc::downgrade(&SOMEBODY)
}

fn file() -> Arc<PasswordFile> {
    Arc::new(PasswordFile::parse(Path::new("p"), b"").unwrap())
}

fn claimant(back_off: &BackOff, address: u32, user: &str) -> UserAtAddress {
    back_off.claimant(IpAddr::V4(Ipv4Addr::from(address)), user)
}

const START: Timestamp = Timestamp(0);

/// A claimant that has failed often.
fn suspect(back_off: &BackOff, now: Timestamp, user: &str) -> UserAtAddress {
    let suspect = claimant(back_off, 1, user);
    (0..20).for_each(|_| back_off.failed(now, suspect, None));
    suspect
}

fn is_empty(queue: &CheckQueue) -> bool {
    let (fresh, suspect) = (&queue.fresh, &queue.suspect);
    queue.jobs == 0
        && queue.bytes == 0
        && queue.claimants.is_empty()
        && queue.begun.values().all(Vec::is_empty)
        && queue.sources.is_empty()
        && queue.delayed.is_empty()
        && fresh.by_source.is_empty()
        && fresh.sources.is_empty()
        && suspect.by_source.is_empty()
        && suspect.sources.is_empty()
}

/// V40: addresses take turns, and one cannot fill the queue.
#[test]
fn v40_the_queue_is_fair_and_bounded() {
    let (file, mut queue, back_off) = (file(), CheckQueue::default(), BackOff::default());
    let push = |queue: &mut CheckQueue, address: u32, user: &str, ticket| {
        let claimant = claimant(&back_off, address, user);
        queue.push(START, &back_off, job(&file, claimant, ticket))
    };
    let taken = (0..limits::PASSWORD_CHECKS_MAX as u64)
        .filter(|&n| push(&mut queue, 1, &format!("user{n}"), n).is_ok())
        .count();
    assert_eq!(taken, limits::PASSWORD_CHECKS_MAX / 2);
    assert_eq!(push(&mut queue, 2, "bob", 1_000_000), Ok(()));
    assert_eq!(push(&mut queue, 2, "cat", 2_000_000), Ok(()));
    let order: Vec<u64> = (0..5)
        .map(|_| queue.pop(START, &back_off).unwrap().0.ticket)
        .collect();
    assert_eq!(
        order,
        [0, 1_000_000, 1, 2_000_000, 2],
        "the second address waits for one check only"
    );
    for address in 3.. {
        if push(&mut queue, address, "ann", 0).is_err() {
            break;
        }
    }
    assert_eq!(queue.jobs, limits::PASSWORD_CHECKS_MAX);
    while queue.pop(START, &back_off).is_some() {}
    assert!(is_empty(&queue));
}

/// V40: the users of an address take turns, and one that has failed often has every second turn at most.
#[test]
fn v40_users_behind_one_address_do_not_wait_for_one_that_guesses() {
    let (file, mut queue, back_off) = (file(), CheckQueue::default(), BackOff::default());
    let guesser = claimant(&back_off, 1, "guesser");
    for ticket in 1..=100 {
        queue.push(START, &back_off, job(&file, guesser, ticket)).unwrap();
    }
    for user in 0..60 {
        let user = claimant(&back_off, 1, &format!("user{user}"));
        queue.push(START, &back_off, job(&file, user, 1000)).unwrap();
    }
    let mut guesses = 0;
    for served in 1..=61 {
        let (job, _) = queue.pop(START, &back_off).unwrap();
        guesses += usize::from(job.claimant == guesser);
        assert!(guesses <= 1, "{served}");
    }
    // Its tries are wrong from now on, so they are spaced out.
    (0..20).for_each(|_| back_off.failed(START, guesser, None));
    assert!(queue.pop(START, &back_off).is_none(), "its time has not come");
    let later = queue.next_time().unwrap();
    assert!(later > START);
    assert!(queue.pop(later, &back_off).is_some());
    assert!(queue.pop(later, &back_off).is_none(), "one try in its time");
}

#[test]
fn suspects_have_every_second_turn() {
    let (file, mut queue, back_off) = (file(), CheckQueue::default(), BackOff::default());
    let later = START.plus_s(5);
    for number in 0..40 {
        let guesser = suspect(&back_off, START, &format!("guesser{number}"));
        queue.push(later, &back_off, job(&file, guesser, 0)).unwrap();
        let user = claimant(&back_off, 1, &format!("user{number}"));
        queue.push(later, &back_off, job(&file, user, 1)).unwrap();
    }
    let order: Vec<u64> = (0..80)
        .map(|_| queue.pop(later, &back_off).unwrap().0.ticket)
        .collect();
    assert!(order.chunks(2).all(|pair| pair[0] != pair[1]), "{order:?}");
}

#[test]
fn tries_of_one_that_failed_often_are_bounded() {
    let (file, mut queue, back_off) = (file(), CheckQueue::default(), BackOff::default());
    let guesser = suspect(&back_off, START, "ann");
    let expiring = |ticket| PasswordCheck {
        deadline: START.plus_s(1),
        ..job(&file, guesser, ticket)
    };
    for ticket in 0..limits::SUSPECT_CHECKS_MAX as u64 {
        queue.push(START, &back_off, expiring(ticket)).unwrap();
    }
    assert_eq!(
        queue.push(START, &back_off, expiring(0)),
        Err(NotQueued::TooManyTries)
    );
    let later = START.plus_s(2);
    queue.push(later, &back_off, job(&file, guesser, 7)).unwrap();
    assert_eq!(queue.jobs, 1, "what nobody waits for makes room");
    assert_eq!(queue.pop(later, &back_off).unwrap().0.ticket, 7);
    assert!(is_empty(&queue));
}

#[test]
fn v40_queued_passwords_are_bounded_in_bytes() {
    let (file, mut queue, back_off) = (file(), CheckQueue::default(), BackOff::default());
    let large = |address| PasswordCheck {
        password: vec![0; limits::PASSWORD_CHECK_BYTES_MAX / 2].into(),
        ..job(&file, claimant(&back_off, address, "ann"), 0)
    };
    assert!(queue.push(START, &back_off, large(1)).is_ok() && queue.push(START, &back_off, large(2)).is_ok());
    let third = job(&file, claimant(&back_off, 3, "ann"), 0);
    assert_eq!(queue.push(START, &back_off, third), Err(NotQueued::Full));
}

/// A repeated try waits for the answer to the first one, and what is known already is not computed.
#[test]
fn one_password_is_computed_once() {
    let (file, mut queue, back_off) = (file(), CheckQueue::default(), BackOff::default());
    let ann = claimant(&back_off, 1, "ann");
    for digest in [5, 5, 6, 5] {
        queue.push(START, &back_off, job(&file, ann, digest)).unwrap();
    }
    let (first, known) = queue.pop(START, &back_off).unwrap();
    assert_eq!((first.digest, first.has_begun, known), (5, true, None));
    assert_eq!(queue.pop(START, &back_off).unwrap().0.digest, 6);
    assert_eq!(queue.jobs, 2, "they have no turn, and their places");
    back_off.was_wrong(START, ann, 5);
    let same = queue.take_same(ann, 5);
    assert!(same.len() == 2 && !same.iter().any(|job| job.has_begun));
    assert_eq!(queue.jobs, 0);
    queue.push(START, &back_off, job(&file, ann, 5)).unwrap();
    let (again, known) = queue.pop(START, &back_off).unwrap();
    assert_eq!((again.digest, known), (5, Some(false)));
    assert!(is_empty(&queue));
}

/// A check whose connection is closed, or whose time is over, gets no turn.
#[test]
fn what_nobody_waits_for_is_dropped() {
    let (file, mut queue, back_off) = (file(), CheckQueue::default(), BackOff::default());
    let ann = claimant(&back_off, 1, "ann");
    let client = Arc::new(());
    let of_client = PasswordCheck {
        awaited: Arc::downgrade(&client),
        ..job(&file, ann, 1)
    };
    let expiring = PasswordCheck {
        deadline: START.plus_s(1),
        ..job(&file, ann, 2)
    };
    for check in [of_client, expiring, job(&file, ann, 3)] {
        queue.push(START, &back_off, check).unwrap();
    }
    drop(client);
    let later = START.plus_s(1);
    assert_eq!(queue.pop(later, &back_off).unwrap().0.ticket, 3);
    assert!(is_empty(&queue));
}

/// V30, V40: a client with invented names causes no computation, and a wrong password is answered at its time, whether
/// its user exists or not.
#[test]
fn v40_made_up_names_are_not_computed_and_v30_do_not_show_who_exists() {
    static NOW: AtomicU64 = AtomicU64::new(0);
    let now = || Timestamp(NOW.load(Ordering::Relaxed));
    let (sender, answers) = std::sync::mpsc::channel();
    let answer = move |job: PasswordCheck, right| sender.send((job.ticket, right)).unwrap();
    let back_off = Arc::new(BackOff::default());
    let verifier = PasswordChecks::start(1, now, Arc::clone(&back_off), answer).unwrap();
    let hash = PasswordHash::make(
        b"pw",
        Algorithm::Sha512Pbkdf2 {
            iterations: NonZeroU32::new(200_000).unwrap(),
        },
    );
    let text = format!("ann:{}\nbob:{}\n", hash.clone().unwrap(), hash.unwrap());
    let file = Arc::new(PasswordFile::parse(Path::new("p"), text.as_bytes()).unwrap());
    let check = |ticket: u64, user: &str, password: &str| {
        let claimant = claimant(&back_off, 1, user);
        PasswordCheck {
            candidate: file.find(user),
            password: password.as_bytes().into(),
            digest: back_off.digest(password),
            ..job(&file, claimant, ticket)
        }
    };
    file.took_ns(1);
    let begun = Instant::now();
    assert!(file.verify(file.find("bob"), b"pw"));
    let one = begun.elapsed();
    let begun = Instant::now();
    for ticket in 0..1000 {
        let name = format!("name{ticket}");
        verifier.submit(START, check(ticket, &name, "x")).unwrap();
    }
    verifier.submit(START, check(1000, "ann", "wrong")).unwrap();
    verifier.submit(START, check(1001, "ann", "pw")).unwrap();
    assert_eq!(answers.recv_timeout(Duration::from_secs(60)), Ok((1001, true)));
    assert!(begun.elapsed() < one * 100 + Duration::from_secs(5), "{one:?}");
    assert!(answers.try_recv().is_err(), "its time has not come");
    let claimants = || [claimant(&back_off, 1, "ann"), claimant(&back_off, 1, "name1")];
    let known = [back_off.digest("wrong"), back_off.digest("x")];
    for (claimant, digest) in claimants().into_iter().zip(known) {
        assert!(!back_off.knows_wrong(START, claimant, digest), "it would show");
    }
    NOW.store(limits::WRONG_PASSWORD_NS, Ordering::Relaxed);
    let mut refused: Vec<_> = (0..=1000)
        .map(|_| answers.recv_timeout(Duration::from_secs(20)).unwrap())
        .collect();
    refused.sort_unstable();
    assert_eq!(
        refused,
        (0..=1000).map(|ticket| (ticket, false)).collect::<Vec<_>>()
    );
    for (claimant, digest) in claimants().into_iter().zip(known) {
        assert!(back_off.knows_wrong(now(), claimant, digest));
    }
}

#[test]
fn wrong_answers_are_bounded() {
    let (file, wrong, back_off) = (file(), WrongAnswers::default(), BackOff::default());
    let ann = claimant(&back_off, 1, "ann");
    let now = || START;
    for ticket in 0..=limits::WRONG_ANSWERS_MAX as u64 {
        wrong.wait_until(START.plus_s(100 - ticket % 100), job(&file, ann, ticket));
    }
    assert_eq!(
        wrong.next(now).unwrap().ticket % 100,
        99,
        "the one that is due first"
    );
    wrong.close();
    assert!(wrong.next(now).is_none());
}

/// A sleeping thread wakes when the time of a try has come.
#[test]
fn a_delayed_try_is_served_in_its_time() {
    static NOW: AtomicU64 = AtomicU64::new(0);
    let now = || Timestamp(NOW.load(Ordering::Relaxed));
    let (sender, answers) = std::sync::mpsc::channel();
    let answer = move |job: PasswordCheck, _| sender.send(job.ticket).unwrap();
    let back_off = Arc::new(BackOff::default());
    let guesser = suspect(&back_off, START, "ann");
    let verifier = PasswordChecks::start(1, now, Arc::clone(&back_off), answer).unwrap();
    verifier.submit(START, job(&file(), guesser, 9)).unwrap();
    assert!(answers.recv_timeout(Duration::from_millis(50)).is_err());
    NOW.store(START.plus_s(2).0, Ordering::Relaxed);
    assert_eq!(answers.recv_timeout(Duration::from_secs(20)), Ok(9));
}
