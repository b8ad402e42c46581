//! Who sent many wrong passwords has to wait: a guesser gets about one try a second, and costs no more than that.
//!
//! Invariants: bounded in addresses ([`limits::BACK_OFF_ADDRESSES_MAX`]); an address that has been quiet is forgotten;
//! the first few mistakes cost nothing. What is known to be right is not asked here, so a guesser behind the same
//! address does not lock out the clients that are in.

use std::net::{IpAddr, Ipv6Addr};

use dashmap::DashMap;

use crate::limits;
use crate::time::Timestamp;

/// Wrong passwords by address.
#[derive(Debug, Default)]
pub(super) struct BackOff {
    failures: DashMap<Source, Failures, foldhash::fast::RandomState>,
}

/// Whom an address belongs to: an IPv6 network of 64 bits is one customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Source(IpAddr);

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Timestamp,
    /// No try before that.
    until: Timestamp,
}

/// Wrong passwords without a consequence.
const FREE: u32 = 10;
const FIRST_DELAY_NS: u64 = 50_000_000;
const DELAY_NS_MAX: u64 = 1_000_000_000;
/// How long an address must be quiet to be forgotten.
const FORGET_S: u64 = 60;

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
    /// Whether the address may try a password now. A yes to one that has failed often is for one try.
    pub(super) fn admits(&self, now: Timestamp, source: Source) -> bool {
        let Some(mut failures) = self.failures.get_mut(&source) else {
            return true;
        };
        if now < failures.until {
            return false;
        }
        if now.since_s(failures.last) >= FORGET_S {
            failures.count = 0;
        }
        failures.until = now.plus_ns(delay_ns(failures.count));
        true
    }

    /// A wrong password came from there.
    pub(super) fn failed(&self, now: Timestamp, source: Source) {
        if self.failures.len() >= limits::BACK_OFF_ADDRESSES_MAX && !self.failures.contains_key(&source) {
            self.failures
                .retain(|_, failures| now.since_s(failures.last) < FORGET_S);
            if self.failures.len() >= limits::BACK_OFF_ADDRESSES_MAX {
                return;
            }
        }
        let mut failures = self.failures.entry(source).or_insert(Failures {
            count: 0,
            last: now,
            until: now,
        });
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
        failures.until = failures.until.max(now.plus_ns(delay_ns(failures.count)));
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

    fn source(number: u32) -> Source {
        Source::of(IpAddr::V4(Ipv4Addr::from(number)))
    }

    /// V40: a guesser gets about one try a second.
    #[test]
    fn v40_guessing_becomes_slow() {
        let back_off = BackOff::default();
        let mut now = Timestamp(0);
        let (mut tries, guesser) = (0, source(1));
        while now < Timestamp(0).plus_s(60) {
            if back_off.admits(now, guesser) {
                tries += 1;
                back_off.failed(now, guesser);
            }
            assert!(back_off.admits(now, source(2)), "others are not concerned");
            now = now.plus_ns(1_000_000);
        }
        assert!((60..90).contains(&tries), "{tries}");
        now = now.plus_s(FORGET_S);
        assert!(back_off.admits(now, guesser));
        back_off.failed(now, guesser);
        assert!(back_off.admits(now, guesser), "forgotten after a quiet minute");
    }

    #[test]
    fn one_try_at_a_time_after_many_failures() {
        let back_off = BackOff::default();
        let now = Timestamp(0).plus_s(1);
        (0..FREE + 5).for_each(|_| back_off.failed(now, source(1)));
        let later = now.plus_s(2);
        assert!(back_off.admits(later, source(1)));
        assert!(
            !back_off.admits(later, source(1)),
            "before the first try has been decided"
        );
    }

    #[test]
    fn v40_addresses_are_bounded() {
        let back_off = BackOff::default();
        let now = Timestamp(0);
        for number in 0..limits::BACK_OFF_ADDRESSES_MAX as u32 + 100 {
            back_off.failed(now, source(number));
        }
        assert_eq!(back_off.failures.len(), limits::BACK_OFF_ADDRESSES_MAX);
        back_off.failed(now.plus_s(FORGET_S), source(u32::MAX));
        assert_eq!(back_off.failures.len(), 1);
    }

    #[test]
    fn an_ipv6_network_is_one_source() {
        let of = |text: &str| Source::of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
