//! The rates of clients: who sends more than `max_messages_per_second` or `max_bytes_per_second` of its listener is not
//! read from until it is within them again, so its socket fills and it slows down.
//!
//! A rate is a token bucket of one second, kept as the time until which what came is paid for (the generic cell rate
//! algorithm of ITU-T I.371). What a read brought is counted when it was handled, so a client may exceed its rate by
//! what one read holds; after that it waits for as long as it is ahead. One that is ahead by
//! [`limits::RATE_AHEAD_NS_MAX`] is disconnected: it sent many small packets at once at a low rate, or goes on although
//! nobody reads.
//!
//! Invariants: a bucket is there only for a client of a listener with a rate that has sent something, and goes with its
//! connection. Where no listener has a rate, [`Rates::is_on`] is all that is asked.

use std::collections::HashMap;

use mqtt::ReasonCode;

use crate::limits;
use crate::logic::connection::ConnectionId;
use crate::settings::{RateLimits, Settings};
use crate::time::Timestamp;

/// The rates of all clients of a shard.
#[derive(Debug, Default)]
pub(super) struct Rates {
    is_on: bool,
    buckets: HashMap<ConnectionId, Bucket>,
}

/// What a client has sent.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    /// When its messages are paid for.
    messages_paid: Timestamp,
    /// When its bytes are.
    bytes_paid: Timestamp,
    /// It waits until then.
    waits_until: Option<Timestamp>,
}

/// What comes of what a client sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charged {
    /// It is within its rates.
    Within,
    /// It waits until then; it was to wait until the other time before.
    Waits {
        until: Timestamp,
        before: Option<Timestamp>,
    },
    /// It is too far ahead.
    Exceeded(ReasonCode, &'static str),
}

impl Rates {
    pub(super) fn of(settings: &Settings) -> Self {
        let mut rates = Self::default();
        rates.set_settings(settings);
        rates
    }

    pub(super) fn set_settings(&mut self, settings: &Settings) {
        let mut listeners = settings.listeners.iter();
        self.is_on = listeners.any(|listener| listener.rates != RateLimits::default());
    }

    /// Whether any listener has a rate.
    #[inline]
    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    /// A client of a listener with these rates sent so much.
    pub(super) fn charge(
        &mut self,
        now: Timestamp,
        id: ConnectionId,
        rates: RateLimits,
        messages: u64,
        bytes: u64,
    ) -> Charged {
        if rates == RateLimits::default() {
            return Charged::Within;
        }
        let bucket = self.buckets.entry(id).or_default();
        bucket.messages_paid = paid(bucket.messages_paid, now, messages, rates.messages_per_second);
        bucket.bytes_paid = paid(bucket.bytes_paid, now, bytes, rates.bytes_per_second);
        let is_ahead = |paid: Timestamp| paid > now.plus_ns(limits::RATE_AHEAD_NS_MAX);
        if is_ahead(bucket.messages_paid) {
            return Charged::Exceeded(ReasonCode::MessageRateTooHigh, MESSAGES_EXCEEDED);
        }
        if is_ahead(bucket.bytes_paid) {
            return Charged::Exceeded(ReasonCode::QuotaExceeded, BYTES_EXCEEDED);
        }
        let until = bucket.messages_paid.max(bucket.bytes_paid);
        if until <= now {
            return Charged::Within;
        }
        let before = bucket.waits_until.replace(until);
        Charged::Waits { until, before }
    }

    /// The client waits no more.
    pub(super) fn end_wait(&mut self, id: ConnectionId) {
        if let Some(bucket) = self.buckets.get_mut(&id) {
            bucket.waits_until = None;
        }
    }

    /// The connection is gone; until when it would have waited.
    pub(super) fn forget(&mut self, id: ConnectionId) -> Option<Timestamp> {
        self.buckets.remove(&id)?.waits_until
    }
}

/// When so much more is paid for. What was not used for a second is lost.
fn paid(before: Timestamp, now: Timestamp, amount: u64, per_second: Option<u64>) -> Timestamp {
    let Some(per_second) = per_second else {
        return Timestamp(0);
    };
    let from = before.0.max(now.0.saturating_sub(SECOND_NS));
    let cost = u128::from(amount) * u128::from(SECOND_NS) / u128::from(per_second.max(1));
    Timestamp(from.saturating_add(u64::try_from(cost).unwrap_or(u64::MAX)))
}

const SECOND_NS: u64 = 1_000_000_000;
const MESSAGES_EXCEEDED: &str = "it sends far more than max_messages_per_second";
const BYTES_EXCEEDED: &str = "it sends far more than max_bytes_per_second";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::logic::ids::ConnectionSlot;

    const ID: ConnectionId = ConnectionId {
        slot: ConnectionSlot::FIRST,
        generation: 1,
    };
    const START: u64 = 100 * SECOND_NS;

    fn limits_of(messages: u64) -> RateLimits {
        RateLimits {
            messages_per_second: Some(messages),
            bytes_per_second: None,
        }
    }

    #[test]
    fn a_second_may_come_at_once_and_then_one_waits() {
        let mut rates = Rates::default();
        let mut charge = |now: u64, messages| rates.charge(Timestamp(now), ID, limits_of(10), messages, 0);
        assert_eq!(charge(START, 10), Charged::Within);
        let until = Timestamp(START + SECOND_NS / 10);
        assert_eq!(charge(START, 1), Charged::Waits { until, before: None });
        assert_eq!(charge(until.0, 0), Charged::Within);
        let more = Timestamp(until.0 + 2 * SECOND_NS);
        assert_eq!(
            charge(until.0, 20),
            Charged::Waits {
                until: more,
                before: Some(until)
            }
        );
        let exceeded = charge(until.0, 10_000);
        assert_eq!(
            exceeded,
            Charged::Exceeded(ReasonCode::MessageRateTooHigh, MESSAGES_EXCEEDED)
        );
        assert_eq!(rates.forget(ID), Some(more));
        assert_eq!(rates.forget(ID), None);
    }

    #[test]
    fn bytes_have_a_rate_of_their_own() {
        let mut rates = Rates::default();
        let limits = RateLimits {
            messages_per_second: None,
            bytes_per_second: Some(1000),
        };
        let now = Timestamp(START);
        assert_eq!(rates.charge(now, ID, limits, 1_000_000, 1000), Charged::Within);
        let charged = rates.charge(now, ID, limits, 0, 40_000);
        assert_eq!(
            charged,
            Charged::Exceeded(ReasonCode::QuotaExceeded, BYTES_EXCEEDED)
        );
        assert_eq!(
            rates.charge(now, ID, RateLimits::default(), 1 << 40, 1 << 40),
            Charged::Within
        );
    }

    proptest! {
        /// However a client sends, if it waits as long as it is to, it sends no more than its rate and one burst.
        #[test]
        fn any_client_that_waits_keeps_its_rate(
            rate in 1..1000_u64,
            sends in proptest::collection::vec((0..5_u64, 0..500_000_000_u64), 1..100),
        ) {
            let mut rates = Rates::default();
            let (mut now, mut sent) = (START, 0);
            for (messages, pause_ns) in sends {
                now += pause_ns;
                sent += messages;
                match rates.charge(Timestamp(now), ID, limits_of(rate), messages, 0) {
                    Charged::Waits { until, .. } => now = until.0,
                    Charged::Within => {}
                    Charged::Exceeded(..) => prop_assert!(false, "it waits"),
                }
                let allowed = u128::from(rate) * u128::from(now - START + SECOND_NS) / u128::from(SECOND_NS) + 1;
                prop_assert!(u128::from(sent) <= allowed + 1, "{sent} of {allowed}");
            }
        }
    }
}
