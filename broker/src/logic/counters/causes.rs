//! Counters of one family that differ in their cause, and the causes.
//!
//! Invariants: each cause has a counter from the start, so that a page shows a 0 and no series begins late. A message
//! that is delivered is not counted under any cause.

use std::marker::PhantomData;

use super::Counter;

/// The type by which a family of counters is divided.
pub trait CounterLabel: Copy + 'static {
    /// All causes with the values of their label, in the order of [`CounterLabel::index`].
    const LABELS: &'static [&'static str];

    /// The index of the cause in [`CounterLabel::LABELS`].
    fn index(self) -> usize;
}

/// A counter for each cause.
#[derive(Debug)]
pub struct CountersByCause<C>(Box<[Counter]>, PhantomData<C>);

impl<C: CounterLabel> Default for CountersByCause<C> {
    fn default() -> Self {
        Self(
            C::LABELS.iter().map(|_| Counter::default()).collect(),
            PhantomData,
        )
    }
}

impl<C: CounterLabel> CountersByCause<C> {
    /// Adds to the counter of `cause`; only for the shard that owns it.
    #[inline]
    pub fn add(&self, cause: C, amount: u64) {
        self.add_at(cause.index(), amount);
    }

    #[inline]
    pub(super) fn add_at(&self, index: usize, amount: u64) {
        if let Some(counter) = self.0.get(index) {
            counter.add(amount);
        }
    }

    /// The value for one cause.
    #[must_use]
    pub fn get(&self, cause: C) -> u64 {
        self.0.get(cause.index()).map_or(0, Counter::get)
    }

    /// The labels and the values, in the order of the causes.
    pub fn values(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        C::LABELS.iter().copied().zip(self.0.iter().map(Counter::get))
    }
}

macro_rules! causes {
    ($(#[$about:meta])* $name:ident { $($(#[$about_cause:meta])* $cause:ident $label:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$about_cause])* $cause,)* }

        impl $name {
            /// The value of the cause's label.
            #[must_use]
            pub fn label(self) -> &'static str {
                Self::LABELS.get(self.index()).copied().unwrap_or_default()
            }
        }

        impl CounterLabel for $name {
            const LABELS: &'static [&'static str] = &[$($label),*];

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

causes! {
    /// Why a message was dropped, for one client or when it was published.
    DropReason {
        /// The session's queue is at its bound.
        QueueFull "queue_full",
        /// The client does not take its QoS 0 messages fast enough.
        SlowConsumer "slow_consumer",
        /// The packet is larger than the client's Maximum Packet Size.
        TooLarge "too_large",
        /// The Message Expiry Interval ran out while the message waited.
        Expired "expired",
        /// Access rules changed while the message waited, or its topic is outside the client's mount point.
        NotAllowed "not_allowed",
        /// `memory_limit` is reached.
        MemoryFull "memory",
        /// The payload is larger than `message_size_limit`, or is not in the format that it names.
        Refused "refused",
        /// The retained messages are at `max_retained_messages` or `max_retained_bytes`.
        Quota "quota",
        /// The store has no space.
        NoSpace "no_space",
        /// The message is in the store, but cannot be read from it any more.
        Unreadable "unreadable",
        /// No member of the group could take it.
        NoMember "no_member",
        /// Its session ended while it waited, or while it was in flight and would have been resent.
        SessionEnded "session_ended",
        /// More retained messages were requested than may wait.
        RetainedRequests "retained_requests",
    }
}

causes! {
    /// What a client was not allowed to do.
    Denied {
        /// It may not publish to the topic.
        Publish "publish",
        /// It may not subscribe with the Topic Filter.
        Subscribe "subscribe",
        /// It may not read the topic of a message that its subscription matches, so the message is withheld from it.
        Read "read",
    }
}
