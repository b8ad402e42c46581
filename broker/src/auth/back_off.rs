//! Delays after many wrong passwords for a user: a guesser gets about one attempt a second for each user, and causes
//! no more cost than that.
//!
//! Invariants: failures are counted by address and user, so a device with a stale password delays only itself. The
//! number of these pairs is bounded ([`limits::BACK_OFF_PAIRS_MAX`]): first one that has been quiet is removed, then
//! the oldest of those that have hardly failed, then the oldest of the others, so nobody can remove its failures by
//! inventing names. The first few mistakes have no consequence. An attempt counts from its beginning until it was
//! found right. A right password is never charged: one that is known to be right is not checked here, and one that is
//! found right clears its pair. Of passwords, only keyed digests of the last wrong ones are kept. Nothing here depends
//! on whether a user exists.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::limits;
use crate::time::Timestamp;

/// Wrong passwords by address and user.
#[derive(Debug, Default)]
pub(super) struct BackOff {
    failures: Mutex<FailureTable>,
    /// Hashes names and passwords under a key before they are kept.
    hasher: RandomState,
}

/// The owner of an address: an IPv6 network of 64 bits counts as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Source(IpAddr);

/// The unit of counting: a user name from one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct UserAtAddress {
    pub(super) source: Source,
    /// Keyed digest of the name.
    user: u64,
}

#[derive(Debug, Default)]
struct FailureTable {
    pairs: HashMap<UserAtAddress, Failures, foldhash::fast::RandomState>,
    /// Pairs that have hardly failed, in the order in which they came.
    innocent: VecDeque<PlaceInOrder>,
    /// Pairs that failed more often than is free, in the order in which they began to.
    suspect: VecDeque<PlaceInOrder>,
    places: u64,
}

/// A pair's place in one of the two orders; it is obsolete if the pair has another one, or is gone.
type PlaceInOrder = (u64, UserAtAddress);

#[derive(Clone, Copy, Debug)]
struct Failures {
    /// Attempts that were wrong or are undecided.
    count: u32,
    /// The number of its [`PlaceInOrder`].
    place: u64,
    last: Timestamp,
    /// The time before which there is no further attempt.
    until: Timestamp,
    /// Keyed digests of the last wrong passwords, the next one to be replaced first.
    wrong: [u64; WRONG_KEPT],
}

/// Wrong passwords without a consequence.
const FREE: u32 = 10;
const FIRST_DELAY_NS: u64 = 50_000_000;
const DELAY_NS_MAX: u64 = 1_000_000_000;
/// How long a pair must be quiet to be removed.
const FORGET_S: u64 = 60;
/// Obsolete places up to which no cleanup is done.
const PLACES_KEPT: usize = 1024;
/// Wrong passwords of a pair that are recognized without hashing: those that devices have stored, a few for each user.
const WRONG_KEPT: usize = 4;

impl Source {
    pub(super) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
            address => address,
        })
    }
}

impl BackOff {
    pub(super) fn claimant(&self, address: IpAddr, user: &str) -> UserAtAddress {
        UserAtAddress {
            source: Source::of(address),
            user: self.hasher.hash_one(user),
        }
    }

    /// The digest of a password, or of what stands for it; never 0.
    pub(super) fn digest(&self, password: impl Hash) -> u64 {
        self.hasher.hash_one(password) | 1
    }

    /// When the claimant may try next: not later than now for one that has hardly failed.
    pub(super) fn not_before(&self, claimant: UserAtAddress) -> Timestamp {
        let table = self.table();
        table
            .pairs
            .get(&claimant)
            .map_or(Timestamp(0), |failures| failures.until)
    }

    /// Whether the claimant has failed so often that its attempts are spaced out.
    pub(super) fn is_suspect(&self, now: Timestamp, claimant: UserAtAddress) -> bool {
        let table = self.table();
        let failures = table.pairs.get(&claimant);
        failures.is_some_and(|failures| failures.count > FREE && now.since_s(failures.last) < FORGET_S)
    }

    /// Whether this password was wrong recently.
    pub(super) fn knows_wrong(&self, now: Timestamp, claimant: UserAtAddress, digest: u64) -> bool {
        let table = self.table();
        let failures = table.pairs.get(&claimant);
        failures
            .is_some_and(|failures| now.since_s(failures.last) < FORGET_S && failures.wrong.contains(&digest))
    }

    /// An attempt of the claimant begins: until it is decided, it counts as wrong.
    pub(super) fn begins(&self, now: Timestamp, claimant: UserAtAddress) {
        self.table().charge(now, claimant);
    }

    /// The password of an attempt that began was right: the attempt no longer counts.
    pub(super) fn succeeded(&self, now: Timestamp, claimant: UserAtAddress) {
        let mut table = self.table();
        let Some(failures) = table.pairs.get_mut(&claimant) else {
            // It was removed in the meantime.
            return;
        };
        failures.count = failures.count.saturating_sub(1);
        failures.until = failures.until.min(now);
        if failures.count == 0 && failures.wrong == [0; WRONG_KEPT] {
            table.pairs.remove(&claimant);
        }
    }

    /// The password of an attempt that began was wrong.
    pub(super) fn was_wrong(&self, now: Timestamp, claimant: UserAtAddress, digest: u64) {
        let mut table = self.table();
        if let Some(failures) = table.pairs.get_mut(&claimant) {
            failures.last = now;
            failures.wrong.rotate_left(1);
            failures.wrong[WRONG_KEPT - 1] = digest;
        }
    }

    /// The claimant could not prove itself, in an attempt whose beginning was not reported; `digest` is that of its
    /// password, if it sent one.
    pub(super) fn failed(&self, now: Timestamp, claimant: UserAtAddress, digest: Option<u64>) {
        self.begins(now, claimant);
        if let Some(digest) = digest {
            self.was_wrong(now, claimant, digest);
        }
    }

    fn table(&self) -> MutexGuard<'_, FailureTable> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FailureTable {
    /// Counts one more attempt as wrong.
    fn charge(&mut self, now: Timestamp, claimant: UserAtAddress) {
        if !self.pairs.contains_key(&claimant) {
            self.make_room(now);
            let place = self.next_place();
            self.innocent.push_back((place, claimant));
            self.pairs.insert(claimant, Failures::new(now, place));
        }
        let next_place = self.next_place();
        let Some(failures) = self.pairs.get_mut(&claimant) else {
            // It was put there above.
            return;
        };
        if now.since_s(failures.last) >= FORGET_S {
            failures.count = 0;
        }
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
        failures.until = failures.until.max(now.plus_ns(delay_ns(failures.count)));
        if failures.count == FREE + 1 {
            failures.place = next_place;
            self.suspect.push_back((next_place, claimant));
        }
    }

    fn next_place(&mut self) -> u64 {
        self.places += 1;
        self.places
    }

    /// Removes those in front that are over, and one more if there is no room.
    fn make_room(&mut self, now: Timestamp) {
        for order in [&mut self.innocent, &mut self.suspect] {
            while let Some(&(place, claimant)) = order.front() {
                let failures = self.pairs.get(&claimant);
                let failures = failures.filter(|failures| failures.place == place);
                if failures.is_some_and(|failures| now.since_s(failures.last) < FORGET_S) {
                    break;
                }
                if failures.is_some() {
                    self.pairs.remove(&claimant);
                }
                order.pop_front();
            }
            let pairs = &self.pairs;
            if order.len() > 2 * pairs.len() + PLACES_KEPT {
                order.retain(|(place, claimant)| pairs.get(claimant).is_some_and(|it| it.place == *place));
            }
        }
        while self.pairs.len() >= limits::BACK_OFF_PAIRS_MAX
            && let Some((place, claimant)) = self.innocent.pop_front().or_else(|| self.suspect.pop_front())
        {
            if self.pairs.get(&claimant).is_some_and(|it| it.place == place) {
                self.pairs.remove(&claimant);
            }
        }
    }
}

impl Failures {
    fn new(now: Timestamp, place: u64) -> Self {
        Self {
            count: 0,
            place,
            last: now,
            until: now,
            wrong: [0; WRONG_KEPT],
        }
    }
}

fn delay_ns(failures: u32) -> u64 {
    match failures.checked_sub(FREE) {
        None => 0,
        Some(more) => (FIRST_DELAY_NS << more.min(16)).min(DELAY_NS_MAX),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn claimant(back_off: &BackOff, address: u32, user: &str) -> UserAtAddress {
        back_off.claimant(IpAddr::V4(Ipv4Addr::from(address)), user)
    }

    /// V40: a guesser gets about one attempt a second for a user, and other users do not wait.
    #[test]
    fn v40_guessing_becomes_slow() {
        let back_off = BackOff::default();
        let mut now = Timestamp(0);
        let (mut tries, guesser) = (0, claimant(&back_off, 1, "ann"));
        while now < Timestamp(0).plus_s(60) {
            if back_off.not_before(guesser) <= now {
                back_off.begins(now, guesser);
                tries += 1;
                back_off.was_wrong(now, guesser, tries);
            }
            for other in [claimant(&back_off, 1, "bob"), claimant(&back_off, 2, "ann")] {
                assert!(back_off.not_before(other) <= now && !back_off.is_suspect(now, other));
            }
            now = now.plus_ns(1_000_000);
        }
        assert!((60..90).contains(&tries), "{tries}");
        assert!(back_off.is_suspect(now, guesser));
        now = now.plus_s(FORGET_S);
        assert!(back_off.not_before(guesser) <= now && !back_off.is_suspect(now, guesser));
        back_off.failed(now, guesser, None);
        assert!(
            back_off.not_before(guesser) <= now,
            "forgotten after a quiet minute"
        );
    }

    #[test]
    fn one_try_at_a_time_after_many_failures_and_a_right_one_is_not_charged() {
        let back_off = BackOff::default();
        let now = Timestamp(0).plus_s(1);
        let ann = claimant(&back_off, 1, "ann");
        (0..FREE + 5).for_each(|_| back_off.failed(now, ann, Some(1)));
        let later = now.plus_s(2);
        assert!(back_off.not_before(ann) <= later);
        back_off.begins(later, ann);
        assert!(
            back_off.not_before(ann) > later,
            "before the first try has been decided"
        );
        back_off.succeeded(later, ann);
        assert!(back_off.not_before(ann) <= later);
    }

    #[test]
    fn the_last_wrong_passwords_are_known() {
        let back_off = BackOff::default();
        let now = Timestamp(0).plus_s(1);
        let ann = claimant(&back_off, 1, "ann");
        let digests: Vec<u64> = (0..6).map(|number| back_off.digest(number)).collect();
        digests
            .iter()
            .for_each(|&digest| back_off.failed(now, ann, Some(digest)));
        let known = |&digest: &u64| back_off.knows_wrong(now, ann, digest);
        assert!(digests[6 - WRONG_KEPT..].iter().all(known));
        assert!(!digests[..6 - WRONG_KEPT].iter().any(known));
        assert!(!back_off.knows_wrong(now, claimant(&back_off, 1, "bob"), digests[5]));
        assert!(!back_off.knows_wrong(now.plus_s(FORGET_S), ann, digests[5]));
    }

    /// V40: the table is bounded, and whoever fills it displaces only its own entries.
    #[test]
    fn v40_pairs_are_bounded() {
        let back_off = BackOff::default();
        let now = Timestamp(0);
        for number in 0..limits::BACK_OFF_PAIRS_MAX as u32 + 100 {
            back_off.failed(now, claimant(&back_off, number, "ann"), Some(1));
        }
        let pairs = || {
            let table = back_off.table();
            assert!(table.innocent.len() + table.suspect.len() <= table.pairs.len() + PLACES_KEPT);
            table.pairs.len()
        };
        assert_eq!(pairs(), limits::BACK_OFF_PAIRS_MAX);
        let newest = claimant(&back_off, limits::BACK_OFF_PAIRS_MAX as u32 + 99, "ann");
        assert!(back_off.knows_wrong(now, newest, 1));
        back_off.failed(
            now.plus_s(FORGET_S),
            claimant(&back_off, u32::MAX, "ann"),
            Some(1),
        );
        assert_eq!(pairs(), 1);
    }

    /// V40: made-up names do not displace a pair that has failed often.
    #[test]
    fn v40_made_up_names_free_nobody_from_its_failures() {
        let back_off = BackOff::default();
        let now = Timestamp(0).plus_s(1);
        let ann = claimant(&back_off, 1, "ann");
        (0..=FREE).for_each(|_| back_off.begins(now, ann));
        for number in 0..2 * limits::BACK_OFF_PAIRS_MAX {
            back_off.begins(now, claimant(&back_off, 1, &format!("name{number}")));
        }
        assert!(back_off.is_suspect(now, ann));
        let suspects = limits::BACK_OFF_PAIRS_MAX as u32 + 100;
        for number in 0..suspects {
            (0..=FREE).for_each(|_| back_off.begins(now, claimant(&back_off, number, "bob")));
        }
        assert_eq!(back_off.table().pairs.len(), limits::BACK_OFF_PAIRS_MAX);
        assert!(!back_off.is_suspect(now, ann), "there is no end of it");
        assert!(back_off.is_suspect(now, claimant(&back_off, suspects - 1, "bob")));
    }

    /// An attempt counts as long as it is undecided, and not at all if it was right.
    #[test]
    fn undecided_tries_count() {
        let back_off = BackOff::default();
        let now = Timestamp(0).plus_s(1);
        let ann = claimant(&back_off, 1, "ann");
        (0..=FREE).for_each(|_| back_off.begins(now, ann));
        assert!(back_off.is_suspect(now, ann));
        back_off.succeeded(now, ann);
        assert!(!back_off.is_suspect(now, ann));
    }

    #[test]
    fn an_ipv6_network_is_one_source() {
        let of = |text: &str| Source::of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
