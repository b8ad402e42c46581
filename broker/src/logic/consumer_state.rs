//! One client as a consumer: its states and their transitions.
//!
//! | state      | `Above` a high-water mark  | `Below` a low-water mark | `Late` | `CaughtUp`, `Closed` |
//! |------------|----------------------------|--------------------------|--------|----------------------|
//! | Flowing    | Backlogged                 | Flowing                  | Slow   | Flowing              |
//! | Backlogged | Backlogged, one cause more | Backlogged, or Flowing ¹ | Slow   | Flowing              |
//! | Slow       | Slow                       | Slow                     | Slow   | Flowing              |
//!
//! ¹ Backlogged while a cause is left.
//!
//! Publishers wait for a cause, and only the state Backlogged has causes. One timer runs in every state except
//! Flowing: the grace period while it is Backlogged, and a quarantine after each Late. When it is due, a client that
//! has caught up gets CaughtUp, and another one Late.
//!
//! Invariants: a client is Backlogged for at most one grace period; a Slow client stays so until it has caught up or
//! closes. `any_events_keep_the_invariants` tests the function for them.

/// The cause of a backlog: bytes that wait for the client's socket, or messages that wait for its acknowledgements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::logic) enum Cause {
    Output,
    Queue,
}

impl Cause {
    pub(in crate::logic) const ALL: [Self; 2] = [Self::Output, Self::Queue];
}

/// The state of a client as a consumer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::logic) enum State {
    /// It keeps up, and no publisher waits for it.
    #[default]
    Flowing,
    /// More than a high-water mark waits for it: publishers wait until it is below the low-water mark.
    Backlogged(Cause),
    /// The same for both causes.
    BackloggedByBoth,
    /// It did not catch up within its grace period: no publisher waits for it until its quarantine is over.
    Slow,
}

/// An event of a client as a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::logic) enum Event {
    /// A high-water mark was exceeded.
    Above(Cause),
    /// The backlog is at a low-water mark or below it.
    Below(Cause),
    /// Its grace period or quarantine is over, and it has not caught up; or the grace period for the shard's sum is
    /// over, and it has more than its share of that.
    Late,
    /// Its grace period or quarantine is over, and both backlogs are below their low-water marks.
    CaughtUp,
    /// The connection closes, so publishers no longer wait for it.
    Closed,
}

impl State {
    /// The state after an event: see the table above.
    pub(in crate::logic) fn after(self, event: Event) -> Self {
        match (self, event) {
            (_, Event::Late) => Self::Slow,
            (_, Event::CaughtUp | Event::Closed) => Self::Flowing,
            (Self::Flowing, Event::Above(cause)) => Self::Backlogged(cause),
            (Self::Backlogged(present), Event::Above(cause)) if present != cause => Self::BackloggedByBoth,
            (Self::Backlogged(present), Event::Below(cause)) if present == cause => Self::Flowing,
            (Self::BackloggedByBoth, Event::Below(Cause::Output)) => Self::Backlogged(Cause::Queue),
            (Self::BackloggedByBoth, Event::Below(Cause::Queue)) => Self::Backlogged(Cause::Output),
            (_, Event::Above(_) | Event::Below(_)) => self,
        }
    }

    /// Whether publishers wait for it.
    pub(in crate::logic) fn is_backlogged(self) -> bool {
        matches!(self, Self::Backlogged(_) | Self::BackloggedByBoth)
    }

    /// Whether publishers wait because of that cause.
    pub(in crate::logic) fn has(self, cause: Cause) -> bool {
        self == Self::BackloggedByBoth || self == Self::Backlogged(cause)
    }
}

const _: () = assert!(size_of::<State>() == 1, "each connection has one");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_event() -> impl Strategy<Value = Event> {
        proptest::sample::select(vec![
            Event::Above(Cause::Output),
            Event::Above(Cause::Queue),
            Event::Below(Cause::Output),
            Event::Below(Cause::Queue),
            Event::Late,
            Event::CaughtUp,
            Event::Closed,
        ])
    }

    proptest! {
        #[test]
        fn any_events_keep_the_invariants(events in proptest::collection::vec(any_event(), 0..40)) {
            let mut state = State::default();
            for event in events {
                let before = state;
                state = before.after(event);
                let is_end = matches!(event, Event::CaughtUp | Event::Closed);
                prop_assert_eq!(
                    state == State::Slow,
                    event == Event::Late || (before == State::Slow && !is_end),
                    "{:?} {:?}", before, event
                );
                for cause in Cause::ALL {
                    let expected = match event {
                        Event::Above(other) if other == cause => before != State::Slow,
                        Event::Below(other) if other == cause => false,
                        Event::Above(_) | Event::Below(_) => before.has(cause),
                        Event::Late | Event::CaughtUp | Event::Closed => false,
                    };
                    prop_assert_eq!(state.has(cause), expected, "{:?} {:?}", before, event);
                }
            }
        }
    }
}
