//! The last refusals, drops and disconnects of a shard: why a message did not arrive, or a client is not connected.
//!
//! Invariants: a bounded number of events is kept, with names of bounded length; the lock is taken when something is
//! refused, dropped or ended, and at no other time. Events of one kind displace no events of another kind. Orderly
//! disconnects displace only one another, and so do withheld messages. Each list has a few entries per client: a
//! client that tries again and again displaces only its own. No payload and no password is in an event.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::causes::Denied;
use super::reasons::DisconnectCause;
use crate::limits;
use crate::logic::inconsistency::unreachable_state;
use crate::time::Timestamp;

/// The kinds of recorded events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A client was refused.
    Refused,
    /// Access rules denied a PUBLISH or a Topic Filter, or withheld messages from a subscriber.
    Denied,
    /// A message was dropped for one client.
    Dropped,
    /// The connection of a client ended.
    Disconnected,
}

impl EventKind {
    /// All kinds of recorded events.
    pub const ALL: [Self; 4] = [Self::Refused, Self::Denied, Self::Dropped, Self::Disconnected];

    /// The name of the kind.
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

/// A refusal, drop or disconnect of a client.
#[derive(Clone, Debug)]
pub struct ClientEvent {
    /// The time of the last occurrence, by the broker's clock.
    pub at: Timestamp,
    /// The time of the first occurrence.
    pub since: Timestamp,
    /// The kind of the event.
    pub kind: EventKind,
    /// The reason, as in the metrics.
    pub reason: &'static str,
    /// The identifier of the client; empty if the event concerns no single client.
    pub client: Box<str>,
    /// Hash of the whole identifier, because others may begin alike.
    pub client_hash: u64,
    /// The topic or Topic Filter of the event.
    pub topic: Option<Box<str>>,
    /// The address of a client that was refused.
    pub address: Option<IpAddr>,
    /// Details of the reason.
    pub detail: Option<Box<str>>,
    /// Number of occurrences: drops for one client for one reason are one event per topic, and so are denials.
    pub count: u64,
}

impl ClientEvent {
    /// An event without topic, address and detail.
    #[must_use]
    pub fn new(at: Timestamp, kind: EventKind, reason: &'static str, client: &str) -> Self {
        Self {
            at,
            since: at,
            kind,
            reason,
            client: bounded(client),
            client_hash: hash(client),
            topic: None,
            address: None,
            detail: None,
            count: 1,
        }
    }

    /// The list in which it is kept.
    fn list(&self) -> usize {
        match self.kind {
            EventKind::Refused => 0,
            EventKind::Denied if self.is_withheld() => 5,
            EventKind::Denied => 1,
            EventKind::Dropped => 2,
            EventKind::Disconnected if self.reason == DisconnectCause::Client.label() => 3,
            EventKind::Disconnected => 4,
        }
    }

    /// Whether messages were withheld from a subscriber by access rules.
    fn is_withheld(&self) -> bool {
        self.kind == EventKind::Denied && self.reason == Denied::Read.label()
    }

    /// Whether it is a further drop or denial for the same client, reason and topic.
    fn repeats(&self, known: &Self) -> bool {
        matches!(self.kind, EventKind::Dropped | EventKind::Denied)
            && self.reason == known.reason
            && self.is_of_same(known)
            && self.topic == known.topic
    }

    /// The refusal of a client at this address.
    #[must_use]
    pub fn refused(
        at: Timestamp,
        reason: &'static str,
        client: &str,
        address: Option<IpAddr>,
        detail: Option<&str>,
    ) -> Self {
        Self {
            address,
            ..Self::new(at, EventKind::Refused, reason, client).with_detail(detail)
        }
    }

    /// The event, with its topic.
    #[must_use]
    pub fn with_topic(self, topic: &str) -> Self {
        let topic = Some(bounded(topic));
        Self { topic, ..self }
    }

    /// The part of a name that an event keeps.
    #[must_use]
    pub fn cut(name: &str) -> &str {
        let end = (0..=name.len().min(limits::EVENT_NAME_BYTES_MAX)).rfind(|&end| name.is_char_boundary(end));
        name.get(..end.unwrap_or_default()).unwrap_or_default()
    }

    /// Whether it is an event of the client with this identifier.
    #[must_use]
    pub fn is_of(&self, client: &str) -> bool {
        *self.client == *Self::cut(client) && self.client_hash == hash(client)
    }

    fn is_of_same(&self, other: &Self) -> bool {
        self.client == other.client && self.client_hash == other.client_hash
    }

    /// The event, with details of its reason.
    #[must_use]
    pub fn with_detail(self, detail: Option<&str>) -> Self {
        let detail = detail.map(bounded);
        Self { detail, ..self }
    }
}

/// The last events of a shard.
#[derive(Debug, Default)]
pub struct Events(Mutex<LastEvents>);

/// One list for each kind, one for orderly disconnects, and one for withheld messages.
type LastEvents = [VecDeque<ClientEvent>; 6];

impl Events {
    /// Records an event of a client, replacing the oldest if there are many.
    #[cold]
    pub fn remember(
        &self,
        at: Timestamp,
        kind: EventKind,
        reason: &'static str,
        client: &str,
        topic: Option<&str>,
    ) {
        self.add(ClientEvent {
            topic: topic.map(bounded),
            ..ClientEvent::new(at, kind, reason, client)
        });
    }

    /// Records an event, replacing the oldest of its list if there are many.
    #[cold]
    pub fn add(&self, mut event: ClientEvent) {
        let mut events = self.lock();
        let Some(alike) = events.get_mut(event.list()) else {
            return unreachable_state("an event of no list");
        };
        let known = alike.iter().rposition(|known| event.repeats(known));
        if let Some(known) = known.and_then(|at| alike.remove(at)) {
            event.count += known.count;
            event.since = known.since;
            event.detail = event.detail.or(known.detail);
        } else if let Some(oldest) = oldest_of_client(alike, &event) {
            alike.remove(oldest);
        } else if alike.len() >= limits::EVENTS_KEPT_MAX {
            alike.pop_front();
        }
        alike.push_back(event);
    }

    /// All recorded events; of each kind the oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<ClientEvent> {
        self.lock().iter().flatten().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, LastEvents> {
        // The state is consistent even after a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The oldest event of a client that has its maximum number; events without a name count as many clients.
fn oldest_of_client(events: &VecDeque<ClientEvent>, new: &ClientEvent) -> Option<usize> {
    let mut of_client = (0..).zip(events).filter(|(_, event)| event.is_of_same(new));
    let (oldest, _) = of_client.next().filter(|_| !new.client.is_empty())?;
    (of_client.count() + 1 >= limits::EVENTS_OF_CLIENT_MAX).then_some(oldest)
}

fn hash(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

fn bounded(name: &str) -> Box<str> {
    ClientEvent::cut(name).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_and_names_are_cut() {
        let events = Events::default();
        let long = "\u{e9}".repeat(1000);
        for number in 0..limits::EVENTS_KEPT_MAX as u64 + 3 {
            let client = format!("{number}{long}");
            events.remember(
                Timestamp(number),
                EventKind::Denied,
                "publish",
                &client,
                Some("t"),
            );
        }
        let all = events.all();
        assert_eq!(all.len(), limits::EVENTS_KEPT_MAX);
        assert_eq!(all[0].at, Timestamp(3));
        assert!(limits::EVENT_NAME_BYTES_MAX - all[0].client.len() < 2);
        let longer = format!("3{long}x");
        assert!(all[0].is_of(&format!("3{long}")) && !all[0].is_of(&longer));
    }

    /// Frequent events of one kind do not displace other kinds.
    #[test]
    fn each_kind_displaces_itself_alone() {
        let events = Events::default();
        let many = limits::EVENTS_KEPT_MAX as u64 * 2;
        let flood = |kind, reason, client: &str| {
            for number in 0..many {
                events.add(ClientEvent {
                    topic: Some(format!("t{number}").into()),
                    ..ClientEvent::new(Timestamp(number), kind, reason, client)
                });
            }
        };
        events.remember(
            Timestamp(1),
            EventKind::Disconnected,
            "protocol_error",
            "bad",
            None,
        );
        flood(EventKind::Dropped, "slow_consumer", "slow");
        flood(EventKind::Denied, "publish", "curious");
        flood(EventKind::Disconnected, "client", "good");
        let address = Some([10, 0, 0, 1].into());
        for number in 0..many {
            let detail = "x".repeat(1000);
            let at = Timestamp(number);
            events.add(ClientEvent::refused(
                at,
                "tls_handshake",
                "",
                address,
                Some(&detail),
            ));
        }
        let all = events.all();
        let of = |client: &str| all.iter().filter(|event| &*event.client == client).count();
        assert_eq!(of("bad"), 1);
        assert_eq!(of(""), limits::EVENTS_KEPT_MAX, "they are many clients");
        for client in ["slow", "curious", "good"] {
            assert_eq!(of(client), limits::EVENTS_OF_CLIENT_MAX);
        }
        let detail = all[0].detail.as_ref().unwrap();
        assert_eq!(detail.len(), limits::EVENT_NAME_BYTES_MAX);
    }

    /// A client that repeats an event does not displace others of the same kind.
    #[test]
    fn a_client_displaces_itself_alone() {
        let events = Events::default();
        let deny = |client: &str, number: u64| {
            let topic = format!("t{number}");
            events.remember(
                Timestamp(number),
                EventKind::Denied,
                "publish",
                client,
                Some(&topic),
            );
        };
        deny("once", 1);
        for number in 2..limits::EVENTS_KEPT_MAX as u64 * 2 {
            deny("loops", number);
        }
        let all = events.all();
        assert_eq!(&*all[0].client, "once");
        assert_eq!(all.len(), 1 + limits::EVENTS_OF_CLIENT_MAX);
        let last = all.last().and_then(|event| event.topic.as_deref());
        assert_eq!(last, Some("t511"), "the last ones are left");
    }

    /// A client from which many messages are withheld takes one entry per topic, and displaces no other denial.
    #[test]
    fn messages_withheld_from_a_client_are_one_event() {
        let events = Events::default();
        let at = Timestamp(1);
        events.remember(at, EventKind::Denied, Denied::Publish.label(), "a", Some("t"));
        events.remember(at, EventKind::Denied, Denied::Publish.label(), "a", Some("t"));
        for number in 0..limits::EVENTS_KEPT_MAX as u64 * 2 {
            let client = if number % 2 == 0 {
                "a".to_owned()
            } else {
                format!("c{number}")
            };
            let event = ClientEvent::new(
                Timestamp(number),
                EventKind::Denied,
                Denied::Read.label(),
                &client,
            );
            events.add(event.with_topic("t"));
        }
        let all = events.all();
        let of = |reason: Denied| all.iter().filter(move |event| event.reason == reason.label());
        assert_eq!(
            of(Denied::Publish).map(|event| event.count).collect::<Vec<_>>(),
            [2]
        );
        assert_eq!(of(Denied::Read).count(), limits::EVENTS_KEPT_MAX);
        let last = of(Denied::Read).rfind(|event| &*event.client == "a").unwrap();
        assert_eq!(
            (last.since, last.at, last.count),
            (Timestamp(0), Timestamp(510), 256)
        );
    }

    /// A slow consumer takes one entry per topic, and so do messages that no member takes.
    #[test]
    fn drops_for_one_client_and_topic_are_one_event() {
        let events = Events::default();
        for (at, client, topic) in [
            (1, "a", "t"),
            (2, "b", "t"),
            (3, "a", "u"),
            (4, "", "t"),
            (5, "", "u"),
            (6, "a", "t"),
        ] {
            events.remember(
                Timestamp(at),
                EventKind::Dropped,
                "slow_consumer",
                client,
                Some(topic),
            );
        }
        let all = events.all();
        let places: Vec<_> = all.iter().map(|event| (event.at.0, event.count)).collect();
        assert_eq!(places, [(2, 1), (3, 1), (4, 1), (5, 1), (6, 2)]);
        assert_eq!(all[4].since, Timestamp(1));
    }
}
