//! Which publishers and shards are paused, and for what reasons.
//!
//! Invariant: a waiter is paused exactly as long as it has a reason, tested by `any_reasons_end_their_pauses`.

use std::collections::BTreeSet;

use crate::logic::connection::{ConnectionId, ConnectionSlot};
use crate::logic::consumer_state::Cause;

/// The reason for which a publisher is paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::logic) enum Reason {
    /// The client in that slot has too much waiting for its socket, and is the publisher itself.
    OwnOutput { slot: ConnectionSlot },
    /// The client in that slot is backlogged by that cause.
    Client { slot: ConnectionSlot, cause: Cause },
    /// All clients of this shard together have too much output waiting.
    ShardOutput,
    /// Too many records wait to be written to the store.
    Store,
    /// Too many packets of the client in that slot wait for space on the disk; it is the publisher itself.
    Space { slot: ConnectionSlot },
    /// The client in that slot has sent more than its rate; it is the publisher itself.
    Rate { slot: ConnectionSlot },
    /// Too many batches wait for that shard.
    Outbox { shard: u16 },
    /// The other shard asked to pause the publishers to it.
    Remote { shard: u16 },
}

/// A waiter: it is paused until the last of its reasons has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::logic) enum Waiter {
    /// A client, which is not read while it is paused.
    Publisher(ConnectionId),
    /// Another shard, whose clients are not read when they publish to this one.
    Shard(u16),
}

/// All waiters that are paused, with their reasons.
#[derive(Debug, Default)]
pub(in crate::logic) struct Pauses {
    by_reason: BTreeSet<(Reason, Waiter)>,
    by_waiter: BTreeSet<(Waiter, Reason)>,
}

impl Reason {
    /// The lowest value in the order, for range queries.
    const FIRST: Self = Self::OwnOutput {
        slot: ConnectionSlot::FIRST,
    };

    /// Whether the reason may end only by acknowledgements. A client whose own acknowledgements are awaited is not
    /// paused for it; otherwise two clients that publish to each other would wait for each other.
    pub(in crate::logic) fn needs_acknowledgements(self) -> bool {
        match self {
            Self::Client { cause, .. } => cause == Cause::Queue,
            _ => matches!(self, Self::Remote { .. }),
        }
    }
}

impl Waiter {
    /// The lowest value in the order, for range queries.
    const FIRST: Self = Self::Publisher(ConnectionId {
        slot: ConnectionSlot::FIRST,
        generation: 0,
    });
}

impl Pauses {
    /// Adds a reason to the waiter; true if it was not paused.
    pub(in crate::logic) fn add(&mut self, waiter: Waiter, reason: Reason) -> bool {
        let was_paused = self.is_paused(waiter);
        self.by_reason.insert((reason, waiter));
        self.by_waiter.insert((waiter, reason));
        !was_paused
    }

    /// Ends a reason; returns the waiters that had no other.
    pub(in crate::logic) fn end(&mut self, reason: Reason) -> Vec<Waiter> {
        let mut resumed = Vec::new();
        while let Some(waiter) = self.first_waiter(reason) {
            if self.remove(waiter, reason) {
                resumed.push(waiter);
            }
        }
        resumed
    }

    /// The waiter no longer waits for acknowledgements; true if it is no longer paused.
    pub(in crate::logic) fn end_needing_acknowledgements(&mut self, waiter: Waiter) -> bool {
        let reasons = self
            .reasons(waiter)
            .filter(|reason| reason.needs_acknowledgements());
        let mut resumed = false;
        for reason in reasons.collect::<Vec<_>>() {
            resumed = self.remove(waiter, reason);
        }
        resumed
    }

    /// Removes a waiter that is gone, with all of its reasons.
    pub(in crate::logic) fn forget(&mut self, waiter: Waiter) {
        for reason in self.reasons(waiter).collect::<Vec<_>>() {
            self.remove(waiter, reason);
        }
    }

    /// Whether any waiter is paused for this reason.
    pub(in crate::logic) fn is_waited_for(&self, reason: Reason) -> bool {
        self.first_waiter(reason).is_some()
    }

    /// The number of connections that are paused.
    pub(in crate::logic) fn publishers(&self) -> usize {
        let mut count = 0;
        let mut last = None;
        for &(waiter, _) in &self.by_waiter {
            count += usize::from(last != Some(waiter) && matches!(waiter, Waiter::Publisher(_)));
            last = Some(waiter);
        }
        count
    }

    fn is_paused(&self, waiter: Waiter) -> bool {
        self.reasons(waiter).next().is_some()
    }

    fn reasons(&self, waiter: Waiter) -> impl Iterator<Item = Reason> {
        let from = self.by_waiter.range((waiter, Reason::FIRST)..);
        from.take_while(move |(other, _)| *other == waiter)
            .map(|&(_, reason)| reason)
    }

    fn first_waiter(&self, reason: Reason) -> Option<Waiter> {
        let from = (reason, Waiter::FIRST);
        let (other, waiter) = self.by_reason.range(from..).next()?;
        (*other == reason).then_some(*waiter)
    }

    /// Removes one reason; true if it was the last one.
    fn remove(&mut self, waiter: Waiter, reason: Reason) -> bool {
        self.by_reason.remove(&(reason, waiter));
        self.by_waiter.remove(&(waiter, reason)) && !self.is_paused(waiter)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reason(number: u8) -> Reason {
        let slot = ConnectionSlot::test(u32::from(number % 3) + 1);
        let shard = u16::from(number % 3);
        match number / 3 {
            0 => Reason::OwnOutput { slot },
            1 => Reason::Client {
                slot,
                cause: Cause::Output,
            },
            2 => Reason::Client {
                slot,
                cause: Cause::Queue,
            },
            3 => Reason::Outbox { shard },
            4 => Reason::Remote { shard },
            5 => Reason::Store,
            6 => Reason::Space { slot },
            7 => Reason::Rate { slot },
            _ => Reason::ShardOutput,
        }
    }

    fn waiter(number: u8) -> Waiter {
        let id = ConnectionId {
            slot: ConnectionSlot::test(u32::from(number) + 1),
            generation: 7,
        };
        if number < 4 {
            Waiter::Publisher(id)
        } else {
            Waiter::Shard(u16::from(number))
        }
    }

    proptest! {
        /// Compares with a plain list of pairs.
        #[test]
        fn any_reasons_end_their_pauses(calls in proptest::collection::vec((0..8_u8, 0..6_u8, 0..25_u8), 0..60)) {
            let mut pauses = Pauses::default();
            let mut pairs: Vec<(Waiter, Reason)> = Vec::new();
            for (call, who, what) in calls {
                let (who, what) = (waiter(who), reason(what));
                let paused = |pairs: &[(Waiter, Reason)], who| pairs.iter().any(|(waiter, _)| *waiter == who);
                match call {
                    0..=4 => {
                        prop_assert_eq!(pauses.add(who, what), !paused(&pairs, who));
                        if !pairs.contains(&(who, what)) {
                            pairs.push((who, what));
                        }
                    }
                    5 => {
                        let mut waited: Vec<_> = pairs
                            .iter()
                            .filter(|pair| pair.1 == what)
                            .map(|pair| pair.0)
                            .collect();
                        pairs.retain(|pair| pair.1 != what);
                        waited.retain(|&who| !paused(&pairs, who));
                        waited.sort_unstable();
                        prop_assert_eq!(pauses.end(what), waited);
                    }
                    6 => {
                        let before = paused(&pairs, who);
                        pairs.retain(|pair| pair.0 != who || !pair.1.needs_acknowledgements());
                        let resumed = pauses.end_needing_acknowledgements(who);
                        prop_assert_eq!(resumed, before && !paused(&pairs, who));
                    }
                    _ => {
                        pairs.retain(|pair| pair.0 != who);
                        pauses.forget(who);
                    }
                }
                for number in 0..6 {
                    prop_assert_eq!(pauses.is_paused(waiter(number)), paused(&pairs, waiter(number)));
                }
                prop_assert_eq!(pauses.is_waited_for(what), pairs.iter().any(|pair| pair.1 == what));
            }
        }
    }
}
