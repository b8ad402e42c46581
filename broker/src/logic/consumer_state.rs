//! One client as a consumer: its states, and what brings it from one to the next.
//!
//! | state      | above a high-water mark    | below a low-water mark   | its timer is due       |
//! |------------|----------------------------|--------------------------|------------------------|
//! | Flowing    | Backlogged, start grace    | Flowing                  | Flowing                |
//! | Backlogged | Backlogged, one cause more | Backlogged, or Flowing ¹ | Flowing, or Slow ²     |
//! | Slow       | Slow                       | Slow                     | Flowing, or Slow ²     |
//!
//! ¹ Backlogged while a cause is left; with the last one it is Flowing, and the timer stops.
//! ² Flowing if it is drained; else Slow, and the quarantine starts.
//!
//! Publishers wait for a cause, and a cause is there in the state Backlogged alone: [`Step::ended`] names those that a
//! step ends. A connection that closes is Flowing, whatever it was.
//!
//! Invariants: the timer runs in every state but Flowing; a client is Backlogged for one grace period at most; a cause
//! that began ends once. `any_events_keep_the_invariants` holds the function to them.

/// The cause of a backlog: bytes that wait for the client's socket, or messages that wait for its acknowledgements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::logic) enum Cause {
    Output,
    Queue,
}

/// Why a client is backlogged: one cause or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::logic) enum Causes {
    Output,
    Queue,
    Both,
}

/// How a client takes what it is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::logic) enum State {
    /// It takes what it is sent, and nobody waits for it.
    #[default]
    Flowing,
    /// More than a high-water mark waits for it: publishers wait until it is below the low-water mark.
    Backlogged(Causes),
    /// It did not catch up within its grace period: nobody waits for it until its quarantine is over.
    Slow,
}

/// What can happen to a client as a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::logic) enum Event {
    /// A high-water mark was exceeded.
    Above(Cause),
    /// The backlog is at a low-water mark or below it.
    Below(Cause),
    /// The grace period or the quarantine is over.
    TimerDue {
        /// Both are below their low-water marks.
        drained: bool,
    },
    /// The client has more than its share of all output of the shard.
    Overdrawn,
    /// The connection closes, so no publisher may wait for it any more.
    Closed,
}

impl Event {
    /// Whether publishers have waited for the client longer than its grace period.
    pub(in crate::logic) fn has_passed_grace(self) -> bool {
        matches!(
            self,
            Self::TimerDue { drained: false } | Self::Overdrawn | Self::Closed
        )
    }
}

/// What a step does to the client's timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::logic) enum TimerChange {
    Keep,
    Stop,
    StartGrace,
    StartQuarantine,
}

/// The next state, and what is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::logic) struct Step {
    pub(in crate::logic) state: State,
    /// The causes that nobody waits for any more.
    pub(in crate::logic) ended: Option<Causes>,
    pub(in crate::logic) timer: TimerChange,
}

/// The one transition function: see the table above.
pub(in crate::logic) fn step(state: State, event: Event) -> Step {
    let unchanged = Step {
        state,
        ended: None,
        timer: TimerChange::Keep,
    };
    match (state, event) {
        (State::Flowing, Event::Above(cause)) => Step {
            state: State::Backlogged(cause.into()),
            timer: TimerChange::StartGrace,
            ..unchanged
        },
        (State::Backlogged(causes), Event::Above(cause)) => Step {
            state: State::Backlogged(causes.with(cause)),
            ..unchanged
        },
        (State::Backlogged(causes), Event::Below(cause)) if causes.contains(cause) => {
            let left = causes.without(cause);
            Step {
                state: left.map_or(State::Flowing, State::Backlogged),
                ended: Some(cause.into()),
                timer: if left.is_some() {
                    TimerChange::Keep
                } else {
                    TimerChange::Stop
                },
            }
        }
        (State::Backlogged(causes), Event::TimerDue { drained: true }) => Step {
            state: State::Flowing,
            ended: Some(causes),
            ..unchanged
        },
        (State::Slow, Event::TimerDue { drained: true }) => Step {
            state: State::Flowing,
            ..unchanged
        },
        (State::Backlogged(_) | State::Slow, Event::TimerDue { drained: false }) | (_, Event::Overdrawn) => {
            Step {
                state: State::Slow,
                ended: state.causes(),
                timer: TimerChange::StartQuarantine,
            }
        }
        (_, Event::Closed) => Step {
            state: State::Flowing,
            ended: state.causes(),
            timer: TimerChange::Stop,
        },
        (State::Flowing, Event::Below(_) | Event::TimerDue { .. })
        | (State::Backlogged(_), Event::Below(_))
        | (State::Slow, Event::Above(_) | Event::Below(_)) => unchanged,
    }
}

impl State {
    /// The causes for which publishers wait.
    pub(in crate::logic) fn causes(self) -> Option<Causes> {
        match self {
            Self::Backlogged(causes) => Some(causes),
            Self::Flowing | Self::Slow => None,
        }
    }

    /// Whether publishers wait for that cause.
    pub(in crate::logic) fn has(self, cause: Cause) -> bool {
        self.causes().is_some_and(|causes| causes.contains(cause))
    }
}

impl Causes {
    pub(in crate::logic) fn contains(self, cause: Cause) -> bool {
        self == Self::Both || self == Self::from(cause)
    }

    fn with(self, cause: Cause) -> Self {
        if self == Self::from(cause) {
            self
        } else {
            Self::Both
        }
    }

    fn without(self, cause: Cause) -> Option<Self> {
        match (self, cause) {
            (Self::Both, Cause::Output) | (Self::Queue, Cause::Output) => Some(Self::Queue),
            (Self::Both, Cause::Queue) | (Self::Output, Cause::Queue) => Some(Self::Output),
            (Self::Output, Cause::Output) | (Self::Queue, Cause::Queue) => None,
        }
    }
}

impl From<Cause> for Causes {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Output => Self::Output,
            Cause::Queue => Self::Queue,
        }
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
            Event::TimerDue { drained: true },
            Event::TimerDue { drained: false },
            Event::Overdrawn,
            Event::Closed,
        ])
    }

    proptest! {
        #[test]
        fn any_events_keep_the_invariants(events in proptest::collection::vec(any_event(), 0..40)) {
            let mut state = State::default();
            let mut timer_runs = false;
            for event in events {
                // A timer that does not run is not due.
                if matches!(event, Event::TimerDue { .. }) && !timer_runs {
                    continue;
                }
                let before = state;
                let Step { state: after, ended, timer } = step(state, event);
                state = after;
                timer_runs = match timer {
                    TimerChange::Keep => timer_runs && !matches!(event, Event::TimerDue { .. }),
                    TimerChange::Stop => false,
                    TimerChange::StartGrace | TimerChange::StartQuarantine => true,
                };
                prop_assert_eq!(timer_runs, state != State::Flowing, "{:?} {:?}", before, event);
                for cause in [Cause::Output, Cause::Queue] {
                    let ends = ended.is_some_and(|causes| causes.contains(cause));
                    prop_assert_eq!(ends, before.has(cause) && !state.has(cause), "{:?} {:?}", before, event);
                    if event == Event::Above(cause) {
                        prop_assert_eq!(state.has(cause), before != State::Slow);
                    }
                    if event == Event::Below(cause) {
                        prop_assert!(!state.has(cause));
                    }
                }
                if let Event::TimerDue { drained } = event {
                    prop_assert_eq!(state, if drained { State::Flowing } else { State::Slow });
                }
                if before.causes().is_some() && state.causes().is_some() {
                    prop_assert_eq!(timer, TimerChange::Keep, "a grace period is not begun anew");
                }
            }
        }
    }
}
