//! The last refusals, drops and disconnects of a shard: why a message did not arrive, or a client is not there.
//!
//! Invariants: a bounded number is remembered, with names of a bounded length; the lock is taken when something is
//! refused, dropped or ended, and at no other time. No payload and no password is in it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::limits;
use crate::time::Timestamp;

/// The kinds of what is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A client was not let in.
    Refused,
    /// Access rules denied a PUBLISH or a Topic Filter.
    Denied,
    /// A message was dropped for one client.
    Dropped,
    /// The connection of a client ended.
    Disconnected,
}

impl EventKind {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Denied => "denied",
            Self::Dropped => "dropped",
            Self::Disconnected => "disconnected",
        }
    }
}

/// Something that happened to a client.
#[derive(Clone, Debug)]
pub struct ClientEvent {
    /// When it happened, by the broker's clock.
    pub at: Timestamp,
    /// What happened to the client.
    pub kind: EventKind,
    /// The reason, as the metrics name it.
    pub reason: &'static str,
    /// The identifier of the client.
    pub client: Box<str>,
    /// The topic or the Topic Filter that it is about.
    pub topic: Option<Box<str>>,
}

/// The last events of a shard.
#[derive(Debug, Default)]
pub struct Events(Mutex<VecDeque<ClientEvent>>);

impl Events {
    /// Remembers an event, in place of the oldest if there are many.
    #[cold]
    pub fn remember(
        &self,
        at: Timestamp,
        kind: EventKind,
        reason: &'static str,
        client: &str,
        topic: Option<&str>,
    ) {
        let event = ClientEvent {
            at,
            kind,
            reason,
            client: bounded(client),
            topic: topic.map(bounded),
        };
        let mut events = self.lock();
        if events.len() >= limits::EVENTS_KEPT_MAX {
            events.pop_front();
        }
        events.push_back(event);
    }

    /// The events that are remembered, the oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<ClientEvent> {
        self.lock().iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<ClientEvent>> {
        // Whoever panicked with it left it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bounded(name: &str) -> Box<str> {
    let end = (0..=name.len().min(limits::EVENT_NAME_BYTES_MAX)).rfind(|&end| name.is_char_boundary(end));
    name.get(..end.unwrap_or_default()).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_and_names_are_cut() {
        let events = Events::default();
        let long = "\u{e9}".repeat(1000);
        for number in 0..limits::EVENTS_KEPT_MAX as u64 + 3 {
            events.remember(Timestamp(number), EventKind::Dropped, "expired", &long, Some("t"));
        }
        let all = events.all();
        assert_eq!(all.len(), limits::EVENTS_KEPT_MAX);
        assert_eq!(all[0].at, Timestamp(3));
        assert_eq!(all[0].client.len(), limits::EVENT_NAME_BYTES_MAX);
    }
}
