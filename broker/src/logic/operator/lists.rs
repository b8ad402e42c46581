//! Lists of sessions, subscriptions and retained messages, part by part.
//!
//! Invariants: a part visits at most [`limits::LIST_PLACES_MAX`] places, whatever it finds.

use mqtt::ProtocolVersion;

use super::{ConnectionEntry, ListPart, ListPlace, Listed, RetainedEntry, SessionEntry, SubscriptionEntry};
use crate::limits;
use crate::logic::clients::Clients;
use crate::logic::retained::RetainedMessages;
use crate::logic::routing::Routing;
use crate::logic::session::{Session, SessionSlot};
use crate::logic::slots::Slot;
use crate::time::Timestamp;
use crate::turn::WorkBudget;

impl Clients {
    /// The sessions of a part.
    pub(super) fn list_sessions(
        &self,
        now: Timestamp,
        work: &mut WorkBudget,
        part: ListPart,
    ) -> Listed<SessionEntry> {
        let mut listed = Listed {
            entries: Vec::new(),
            next: None,
        };
        let mut looked_at = 0;
        for (slot, session) in self.sessions().iter_from(part.from.slot) {
            if listed.entries.len() >= part.entries_max || looked_at >= limits::LIST_PLACES_MAX {
                listed.next = Some(place(slot, 0));
                break;
            }
            looked_at += 1;
            listed.entries.push(self.session_entry(slot, session, now));
        }
        work.spend(looked_at as u64);
        listed
    }

    /// The session of that client only.
    pub(super) fn list_session(&self, now: Timestamp, client_identifier: &str) -> Listed<SessionEntry> {
        let slot = self.sessions().find(client_identifier);
        let entry = slot.and_then(|slot| Some(self.session_entry(slot, self.session(slot)?, now)));
        Listed {
            entries: entry.into_iter().collect(),
            next: None,
        }
    }

    fn session_entry(&self, slot: SessionSlot, session: &Session, now: Timestamp) -> SessionEntry {
        let link = self
            .link(slot)
            .and_then(|link| Some((link, self.connections().get(link)?)));
        let connection = link.map(|(link, connection)| ConnectionEntry {
            id: connection.id(link),
            address: None,
            since: session.since(),
            protocol_level: match connection.version() {
                ProtocolVersion::V3_1 => 3,
                ProtocolVersion::V3_1_1 => 4,
                ProtocolVersion::V5 => 5,
            },
            keep_alive_s: connection.keep_alive_s(),
            listener: connection.listener().0,
            output_bytes: connection.waiting_bytes(),
            is_slow: connection.is_slow(),
            is_paused: connection.is_paused(),
        });
        let (queued_messages, queued_bytes) = session.queued_totals();
        SessionEntry {
            client_identifier: session.client_identifier().into(),
            user: session.user().map(Into::into),
            away_s: connection.is_none().then(|| now.since_s(session.since())),
            connection,
            expiry_s: session.expiry_s(),
            subscriptions: session.subscription_count(),
            queued_messages,
            queued_bytes,
            inflight: session.outstanding(),
        }
    }
}

impl Routing {
    /// The subscriptions of a part, or of that client only.
    pub(super) fn list_subscriptions(
        &self,
        clients: &Clients,
        work: &mut WorkBudget,
        part: ListPart,
        client: Option<&str>,
    ) -> Listed<SubscriptionEntry> {
        let mut listed = Listed {
            entries: Vec::new(),
            next: None,
        };
        let sessions = clients.sessions();
        let only = client.map(|client| sessions.find(client));
        let from = match only {
            Some(None) => return listed,
            Some(Some(slot)) => slot.number().get(),
            None => part.from.slot,
        };
        let entries_max = part.entries_max.min(limits::LIST_PLACES_MAX);
        let mut looked_at = 0;
        for (slot, session) in sessions.iter_from(from) {
            if only.is_some_and(|only| only != Some(slot)) {
                break;
            }
            let first = if slot.number().get() == part.from.slot {
                part.from.entry
            } else {
                0
            };
            let count = session.subscription_count();
            for at in first as usize..count.max(first as usize + 1) {
                if listed.entries.len() >= entries_max || looked_at >= limits::LIST_PLACES_MAX {
                    listed.next = Some(place(slot, at as u32));
                    break;
                }
                looked_at += 1;
                listed.entries.extend(self.subscription_entry(session, at));
            }
            if listed.next.is_some() {
                break;
            }
        }
        work.spend(looked_at as u64);
        listed
    }

    /// A subscription of a session; Shared Subscriptions come last.
    fn subscription_entry(&self, session: &Session, at: usize) -> Option<SubscriptionEntry> {
        let (filter, own, identifier) = match session.subscriptions().get(at) {
            Some(listed) => {
                let subscribers = self.subscribers(listed.filter);
                let own = subscribers.get(listed.position.index());
                let own = own.copied()?;
                (self.name(listed.filter)?, own, own.identifier())
            }
            None => {
                let listed = session.shares().get(at - session.subscriptions().len())?;
                let group = self.group(listed.group)?;
                let own = group.member(listed.position)?;
                let identifiers = own.via.identifiers.as_properties();
                (
                    &*group.name,
                    own.subscriber,
                    identifiers.subscription_identifier(),
                )
            }
        };
        Some(SubscriptionEntry {
            client_identifier: session.client_identifier().into(),
            filter: filter.into(),
            qos: own.qos(),
            no_local: own.no_local(),
            retain_as_published: own.retain_as_published(),
            identifier,
        })
    }
}

impl RetainedMessages {
    /// The messages of a part, with their payloads if these are requested.
    pub(super) fn list(
        &self,
        work: &mut WorkBudget,
        part: ListPart,
        payloads: bool,
    ) -> Listed<RetainedEntry> {
        let mut listed = Listed {
            entries: Vec::new(),
            next: None,
        };
        let (mut looked_at, mut bytes) = (0, 0);
        for (slot, message) in self.messages_from(part.from.slot) {
            if listed.entries.len() >= part.entries_max
                || looked_at >= limits::LIST_PLACES_MAX
                || bytes >= limits::LIST_PAYLOAD_BYTES_MAX
            {
                listed.next = Some(ListPlace { slot, entry: 0 });
                break;
            }
            looked_at += 1;
            if payloads {
                bytes += message.map_or(0, |message| message.payload().len());
            }
            let entry = message.map(|message| RetainedEntry {
                payload: payloads.then(|| message.payload().into()),
                topic: message.topic().into(),
                qos: message.qos(),
                payload_bytes: message.payload().len(),
            });
            listed.entries.extend(entry);
        }
        work.spend(looked_at as u64 + bytes as u64 / LISTED_BYTES);
        listed
    }
}

/// Payload bytes that are copied for about one unit of work.
const LISTED_BYTES: u64 = 1024;

fn place(slot: SessionSlot, entry: u32) -> ListPlace {
    ListPlace {
        slot: slot.number().get(),
        entry,
    }
}
