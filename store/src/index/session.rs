//! The index's state of one session.
//!
//! Invariants: a reference that is released no longer counts for its publication. It stays until it is complete, and
//! has an entry in flight.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use super::Place;
use super::table::PagedTable;
use crate::record::Reference;

#[derive(Debug, Default)]
pub(super) struct SessionEntry {
    /// `None` if only records that belong to it were seen.
    pub(super) place: Option<Place>,
    pub(super) subscriptions: HashMap<Box<str>, SubscriptionEntry, foldhash::fast::RandomState>,
    pub(super) references: PagedTable<OpenReference>,
    /// The shared subscription through which references arrived, for the few that have one.
    pub(super) via: BTreeMap<u64, Box<[u8]>>,
    pub(super) in_flight: BTreeMap<u64, InFlightEntry>,
    pub(super) received: BTreeMap<u16, Place>,
    /// The highest order number that was seen, plus one.
    pub(super) next_order: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct SubscriptionEntry {
    pub(super) place: Place,
    pub(super) options: u8,
    pub(super) identifier: u32,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct InFlightEntry {
    pub(super) place: Place,
    pub(super) packet_identifier: u16,
    pub(super) released: bool,
}

/// A reference of a session, without the numbers by which it is found. There is one for each waiting message, so it
/// has no more bytes than necessary.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OpenReference {
    publication: [u8; 8],
    flags: u8,
}

impl OpenReference {
    pub(super) fn new(publication: u64, reference: &Reference<'_>, released: bool) -> Self {
        let flags = reference.qos & QOS
            | if reference.retain { RETAIN } else { 0 }
            | if released { RELEASED } else { 0 };
        Self {
            publication: publication.to_le_bytes(),
            flags,
        }
    }

    pub(super) fn publication(self) -> u64 {
        u64::from_le_bytes(self.publication)
    }

    pub(super) fn qos(self) -> u8 {
        self.flags & QOS
    }

    pub(super) fn retain(self) -> bool {
        self.flags & RETAIN != 0
    }

    pub(super) fn is_released(self) -> bool {
        self.flags & RELEASED != 0
    }

    /// Marks it as released; returns false if it was already.
    pub(super) fn release(&mut self) -> bool {
        let was_open = !self.is_released();
        self.flags |= RELEASED;
        was_open
    }
}

impl SessionEntry {
    /// The places of all its records, except references.
    pub(super) fn places(&self) -> impl Iterator<Item = Place> {
        let places = self.place.iter();
        let places = places.chain(self.subscriptions.values().map(|entry| &entry.place));
        let places = places.chain(self.in_flight.values().map(|entry| &entry.place));
        places.chain(self.received.values()).copied()
    }
}

const QOS: u8 = 3;
const RETAIN: u8 = 4;
const RELEASED: u8 = 8;
