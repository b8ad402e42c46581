//! Who sent many wrong passwords for a user has to wait: a guesser gets about one try a second for each user, and costs
//! no more than that.
//!
//! Invariants: counted by address and user, so a device with a stale password slows nobody but itself; bounded in
//! pairs of these ([`limits::BACK_OFF_PAIRS_MAX`]), the oldest is forgotten first, and one that has been quiet at
//! all; the first few mistakes cost nothing. A right password is never charged: what is known to be right is not
//! asked here, and one that is found right frees its pair. Of passwords nothing is kept but keyed digests of the last
//! wrong ones.

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
    /// Keys what is kept of names and passwords.
    hasher: RandomState,
}

/// Whom an address belongs to: an IPv6 network of 64 bits is one customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Source(IpAddr);

/// Who is counted: a user name as it comes from one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct UserAtAddress {
    pub(super) source: Source,
    /// Keyed digest of the name.
    user: u64,
}

#[derive(Debug, Default)]
struct FailureTable {
    pairs: HashMap<UserAtAddress, Failures, foldhash::fast::RandomState>,
    /// In the order in which they came.
    oldest: VecDeque<UserAtAddress>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Timestamp,
    /// No try before that.
    until: Timestamp,
    /// Keyed digests of the last wrong passwords, the next to be replaced first.
    wrong: [u64; WRONG_KEPT],
}

/// Wrong passwords without a consequence.
const FREE: u32 = 10;
const FIRST_DELAY_NS: u64 = 50_000_000;
const DELAY_NS_MAX: u64 = 1_000_000_000;
/// How long a pair must be quiet to be forgotten.
const FORGET_S: u64 = 60;
/// Wrong passwords of a pair that are known again without hashing: what devices have stored, a few of them for a user.
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

    /// What a password, or whatever stands for it, is known by here; never 0.
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

    /// Whether the claimant has failed so often that its tries are spaced out.
    pub(super) fn is_suspect(&self, now: Timestamp, claimant: UserAtAddress) -> bool {
        let table = self.table();
        let failures = table.pairs.get(&claimant);
        failures.is_some_and(|failures| failures.count > FREE && now.since_s(failures.last) < FORGET_S)
    }

    /// Whether this was wrong a moment ago.
    pub(super) fn knows_wrong(&self, now: Timestamp, claimant: UserAtAddress, digest: u64) -> bool {
        let table = self.table();
        let failures = table.pairs.get(&claimant);
        failures
            .is_some_and(|failures| now.since_s(failures.last) < FORGET_S && failures.wrong.contains(&digest))
    }

    /// A try of the claimant begins: until it is decided, the next one waits as if it had failed.
    pub(super) fn begins(&self, now: Timestamp, claimant: UserAtAddress) {
        if let Some(failures) = self.table().pairs.get_mut(&claimant) {
            if now.since_s(failures.last) >= FORGET_S {
                failures.count = 0;
            }
            failures.until = now.plus_ns(delay_ns(failures.count));
        }
    }

    /// The password was right: the next try need not wait for that.
    pub(super) fn succeeded(&self, now: Timestamp, claimant: UserAtAddress) {
        if let Some(failures) = self.table().pairs.get_mut(&claimant) {
            failures.until = failures.until.min(now);
        }
    }

    /// The claimant could not prove itself; `digest` is that of its password, if it sent one.
    pub(super) fn failed(&self, now: Timestamp, claimant: UserAtAddress, digest: Option<u64>) {
        let mut table = self.table();
        let failures = table.entry(now, claimant);
        if now.since_s(failures.last) >= FORGET_S {
            failures.count = 0;
        }
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
        failures.until = failures.until.max(now.plus_ns(delay_ns(failures.count)));
        if let Some(digest) = digest {
            failures.wrong.rotate_left(1);
            failures.wrong[WRONG_KEPT - 1] = digest;
        }
    }

    fn table(&self) -> MutexGuard<'_, FailureTable> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FailureTable {
    /// The entry of the claimant; a new one takes the place of those that are over, or of the oldest.
    fn entry(&mut self, now: Timestamp, claimant: UserAtAddress) -> &mut Failures {
        if !self.pairs.contains_key(&claimant) {
            while let Some(oldest) = self.oldest.front() {
                let is_over = |failures: &Failures| now.since_s(failures.last) >= FORGET_S;
                let is_full = self.pairs.len() >= limits::BACK_OFF_PAIRS_MAX;
                if !is_full && !self.pairs.get(oldest).is_none_or(is_over) {
                    break;
                }
                self.pairs.remove(oldest);
                self.oldest.pop_front();
            }
            self.oldest.push_back(claimant);
        }
        self.pairs.entry(claimant).or_insert(Failures {
            count: 0,
            last: now,
            until: now,
            wrong: [0; WRONG_KEPT],
        })
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

    /// V40: a guesser gets about one try a second for a user, and the users beside it do not wait.
    #[test]
    fn v40_guessing_becomes_slow() {
        let back_off = BackOff::default();
        let mut now = Timestamp(0);
        let (mut tries, guesser) = (0, claimant(&back_off, 1, "ann"));
        while now < Timestamp(0).plus_s(60) {
            if back_off.not_before(guesser) <= now {
                back_off.begins(now, guesser);
                tries += 1;
                back_off.failed(now, guesser, Some(tries));
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

    /// V40: the table is bounded, and whoever fills it makes room for itself alone.
    #[test]
    fn v40_pairs_are_bounded() {
        let back_off = BackOff::default();
        let now = Timestamp(0);
        for number in 0..limits::BACK_OFF_PAIRS_MAX as u32 + 100 {
            back_off.failed(now, claimant(&back_off, number, "ann"), Some(1));
        }
        let pairs = || {
            let table = back_off.table();
            assert_eq!(table.pairs.len(), table.oldest.len());
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

    #[test]
    fn an_ipv6_network_is_one_source() {
        let of = |text: &str| Source::of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
